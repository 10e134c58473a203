"""Estimates on finished steps over a whole line: a controller killed twice loses and repeats none of them.

The numbers are held against `celltwin analyse pulses` on the Parquet files that the same run has written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from tests.system.line import fetch, line_file, own_formation, programs, until, web_port
from tests.system.test_demo import check_books

pytestmark = [pytest.mark.long, pytest.mark.system]

SPEED = 120.0
FORMATION = """kind = "formation"
name = "short"
title = "Charge, pulse and discharge, each out of a rest"
programme_id = 7
step = [
  { mode = "rest", duration_s = 1200, cycle = 1 },
  { mode = "cc_charge", current_a = 2.0, voltage_limit_v = 4.2, duration_s = 1200, cycle = 1 },
  { mode = "rest", duration_s = 1800, cycle = 1 },
  { mode = "pulse", current_a = 5.0, duration_s = 90, cycle = 1 },
  { mode = "rest", duration_s = 3900, cycle = 1 },
  { mode = "cc_discharge", current_a = 1.0, voltage_limit_v = 2.5, duration_s = 300, cycle = 1 },
  { mode = "rest", duration_s = 600, cycle = 1 },
]
"""
LOADS, RESTS, PULSE = [2, 4, 6], [1, 3, 5, 7], 4
CHANNELS = 64
KILLS_S = (1600.0, 4550.0)
"""Plant seconds after the programme's start: in the charge, and in the rest after the pulse. The rests that follow are
so long that a controller which needs 20 s to start on a busy machine still sees them, and the steps after them."""
GRADED_S = 300.0
"""Wall seconds for the whole programme, also where the kernels of the events still compile."""


def stream(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "parquet" / name / "*.parquet")


def test_a_controller_killed_twice_loses_and_repeats_no_step(tmp_path: Path, free_port: Callable[[], int]) -> None:
    line, run = line_file(tmp_path, free_port), tmp_path / "run"
    own_formation(line, FORMATION)
    port = web_port(line)
    with programs(tmp_path) as started:
        started.start("simulate", str(line), "--speed", f"{SPEED:g}", "--out", str(run)).wait_for("plant time runs")
        controller = started.start("run", str(line), "--out", str(run))
        until("the rack is in its programme", lambda: _newest(port, "channel", "step", 1) == 1)
        start_s = _plant_s(port)
        for after_s in KILLS_S:
            until(f"{after_s:g} s of plant time", lambda s=after_s: _plant_s(port) - start_s > s, 60.0)
            controller.process.kill()
            controller.process.wait()
            controller = started.start("run", str(line), "--out", str(run))
            until("it follows the rack again", lambda: _newest(port, "cell_state", "soc", 1) is not None)
        until("the tray is graded", lambda: _newest(port, "cell_grade", "grade", CHANNELS) is not None, GRADED_S)
        assert controller.stop() == 0, controller.text()
        analysed = started.start(
            "analyse", "pulses", str(run / "parquet" / "channel"), "--by", "channel", "--set", "stamps=polled",
            "--json",
        )  # fmt: skip
        assert analysed.process.wait(60) == 0, analysed.text()
    rows = check_books(run)
    assert rows["cell_grade"] == CHANNELS
    _each_seen_step_once(run)
    _numbers_of_analyse(run, json.loads(analysed.text()))
    said = [message for message in stream(run, "event")["message"] if message.startswith("tray graded: ")]
    assert len(said) == 1


def _each_seen_step_once(run: Path) -> None:
    """Every step whose end is in the raw data has its row, and no other."""
    raw = stream(run, "channel").filter(pl.col("step") > 0).group_by("channel", "step").len()
    seen = {channel: set(part["step"].to_list()) for (channel,), part in raw.group_by("channel")}
    assert all(steps >= {1, 2, 3, 5, 6, 7} for steps in seen.values()), "the kills left every long step some samples"
    for name, wanted in (("cell_pulse", LOADS), ("cell_rest", RESTS)):
        found = stream(run, name)
        for (channel,), part in found.group_by("channel"):
            assert sorted(part["step"].to_list()) == [step for step in wanted if step in seen[channel]], (name, channel)
    circuits = stream(run, "cell_ecm")
    assert sorted(circuits["channel"].to_list()) == sorted(c for c, steps in seen.items() if PULSE in steps)


def _numbers_of_analyse(run: Path, analysed: list[dict[str, float]]) -> None:
    """What was given live is what `analyse` gives for the same step."""
    first_s = stream(run, "channel")["time"].min().timestamp()  # type: ignore[union-attr]
    live = stream(run, "cell_pulse").with_columns(at_s=pl.col("time").dt.timestamp("ns") / 1e9)
    compared = 0
    for row in live.iter_rows(named=True):
        same = [
            other
            for other in analysed
            if other["channel"] == row["channel"] and abs(first_s + other["time_s"] - row["at_s"]) < 40.0
        ]
        for name in ("r_10s_ohm", "r_30s_ohm"):
            if row[name] is not None:
                (one,) = same
                assert row[name] == pytest.approx(one[name], rel=1e-6)
                compared += 1
    assert compared > CHANNELS


def _newest(port: int, name: str, column: str, channel: int) -> float | None:
    (rack,) = [device for device in fetch(port)["devices"] if device["device"] == "rack1"]
    found = rack["streams"][name]
    value: float | None = found["columns"][column][found["point"].index(channel)]
    return value


def _plant_s(port: int) -> float:
    return datetime.fromisoformat(fetch(port)["plant_time"]).timestamp()
