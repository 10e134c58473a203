"""A whole simulated line behind fault proxies: the controller goes on, and says where data are missing and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.system.line import line_file, programs, until
from tests.system.test_demo import check_books

pytestmark = [pytest.mark.long, pytest.mark.system]

SPEED = 240
CUT_S, HOLE_S = 600.0, 720.0
SCENARIO = f"""name = "storm"
title = "Both devices are lost for a while, one after the other"

[[fault]]
at_s = 1800
duration_s = {CUT_S}
repeat_every_s = 2400  # again, where the controller took its time to start
device = "rack1"
kind = "net_cut"

[[fault]]
at_s = 2100
duration_s = {HOLE_S}
repeat_every_s = 2400
device = "coater1"
kind = "net_black_hole"
after = "reset"

[[fault]]
at_s = 0
device = "rack1"
kind = "net_duplicate"
share = 0.3
"""


def rows_of(run: Path, stream: str, device: str) -> pl.DataFrame:
    return pl.read_parquet(run / "parquet" / stream / "*.parquet").filter(pl.col("device") == device).sort("time")


def test_a_line_behind_proxies_goes_on_and_its_gaps_have_their_reason(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    line, run = line_file(tmp_path, free_port), tmp_path / "run"
    (tmp_path / "storm.toml").write_text(SCENARIO)
    play = ["--speed", str(SPEED), "--out", str(run), "--via-proxy", "--scenario", str(tmp_path / "storm.toml")]
    with programs(tmp_path) as started:
        plant = started.start("simulate", str(line), *play)
        plant.wait_for("plant time runs")
        controller = started.start("run", str(line), "--out", str(run))

        until("both are back", lambda: came_back(run))
        assert controller.stop() == 0, controller.text()
        assert plant.stop() == 0, plant.text()
    check_books(run)
    assert "rack1: network: connections=" in (run / "log" / "rack1.log").read_text()
    faults = pl.read_parquet(run / "truth" / "rack1" / "faults.parquet" / "*.parquet")
    assert {"net_cut", "net_duplicate"} <= set(faults["kind"])
    cells = rows_of(run, "channel", "rack1")
    assert cells.select("time", "channel").is_unique().all()
    gaps = rows_of(run, "gap", "rack1").filter(pl.col("of_stream") == "channel").sort("duration_s", descending=True)
    assert gaps["duration_s"][0] > 0.5 * CUT_S, gaps
    assert "rack1 (modbus.tcp://127.0.0.1:" in gaps["reason"][0], gaps
    # A subscription's server has kept what happened in the hole: seconds of wall time, and it queues for half a minute.
    times = rows_of(run, "coater", "coater1").filter(pl.col("coater_state") > 0)["time"].unique().sort()
    assert max(times.diff().dt.total_milliseconds().drop_nulls().to_list()) < 500 * HOLE_S


def came_back(run: Path) -> bool:
    """The rack's gap and the coater's return are on disk."""
    if not all(any((run / "parquet" / stream).glob("*.parquet")) for stream in ("gap", "event")):
        return False
    said = rows_of(run, "event", "coater1")["message"]
    return bool(rows_of(run, "gap", "rack1").height) and said.str.contains("connection is back").any()
