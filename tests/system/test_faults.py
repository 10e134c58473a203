"""What a line must survive: a controller killed without warning, and equipment that goes away and comes back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from tests.system.line import fetch, line_file, programs, until, web_port
from tests.system.test_demo import check_books

pytestmark = pytest.mark.system


def rows_of(run: Path, stream: str, device: str) -> pl.DataFrame:
    return pl.read_parquet(run / "parquet" / stream / "*.parquet").filter(pl.col("device") == device).sort("time")


def longest_silence_s(rows: pl.DataFrame) -> float:
    times = rows.select(pl.col("time").unique().sort())["time"]
    return float(times.diff().dt.total_milliseconds().max() or 0) / 1000


def accepted(port: int) -> int:
    return int(max(c["accepted"] for c in fetch(port)["counters"]))


CHART = """name = "temperature"
device = "rack1"
stream = "channel"
column = "temperature_c"
points = [1, 2]
centre = 25.0
sigma = 5.0
"""


def test_a_killed_controller_goes_on_where_it_was(tmp_path: Path, free_port: Callable[[], int]) -> None:
    line, run = line_file(tmp_path, free_port, **{"[twin.chart]": CHART}), tmp_path / "run"
    port = web_port(line)
    with programs(tmp_path) as started:
        started.start("simulate", str(line), "--speed", "240", "--out", str(run)).wait_for("plant time runs")
        first = started.start("run", str(line), "--out", str(run))
        until("both jobs run", lambda: _running(port))
        until("some thousand rows are durable", lambda: accepted(port) > 5_000)
        until("the chart has worked off what waited for its kernel", lambda: _chart_is_current(port))
        acknowledged = accepted(port)
        first.process.kill()
        first.process.wait()
        time.sleep(4.0)
        second = started.start("run", str(line), "--out", str(run))
        until("the second start has data of its own", lambda: accepted(port) > acknowledged + 5_000)
        until("the chart goes on", lambda: _chart_is_current(port))
        assert second.stop() == 0, second.text()
    ledger = check_books(run)
    assert sum(ledger.values()) > acknowledged, "nothing acknowledged is missing"
    for stream, device in (("channel", "rack1"), ("coater", "coater1")):
        gaps = rows_of(run, "gap", device).filter(pl.col("of_stream") == stream)
        outage = gaps.filter(pl.col("reason") == "controller was not running")
        assert outage.height == 1, f"the outage of {device} is one gap"
        assert outage["duration_s"][0] > 4.0 * 240
        rows = rows_of(run, stream, device)
        within = rows.filter(
            (pl.col("time") > outage["time"][0])
            & (pl.col("time") < outage["time"][0] + pl.duration(seconds=int(outage["duration_s"][0]) - 1))
        )
        assert within.height == 0, "the gap says where data are missing"
    starts = rows_of(run, "command", "rack1").filter(pl.col("name") == "start")
    assert starts.height == 1, "the running job is not started again"
    cells = rows_of(run, "cell_state", "rack1").filter(pl.col("channel") == 1)
    assert cells["soc"].is_finite().all()
    charted = rows_of(run, "spc", "rack1").filter((pl.col("chart") == "temperature") & (pl.col("point") == 1))
    outage = rows_of(run, "gap", "rack1").filter(pl.col("of_stream") == "channel")
    before, after = (
        charted.filter(late) for late in (pl.col("time") <= outage["time"][0], pl.col("time") > outage["time"][0])
    )
    assert after["observation"].is_sorted()
    # A checkpoint is at most two seconds old, and 24 polls come in these.
    assert before["observation"].max() - 50 < after["observation"].min() <= before["observation"].max() + 1
    assert json.loads((run / "run.json").read_text())["starts"] == 2


@pytest.mark.long
def test_devices_that_stand_still_for_20_s_disturb_nobody(tmp_path: Path, free_port: Callable[[], int]) -> None:
    line, run = line_file(tmp_path, free_port), tmp_path / "run"
    port = web_port(line)
    holes: dict[str, tuple[int, int]] = {}
    with programs(tmp_path) as started:
        started.start("simulate", str(line), "--speed", "60", "--out", str(run)).wait_for("plant time runs")
        controller = started.start("run", str(line), "--out", str(run))
        until("both jobs run", lambda: _running(port))
        pids = json.loads((run / "simulation.json").read_text())["pids"]
        for away in ("rack1", "coater1"):
            began = _plant_ns(port)
            _stand_still(pids[away], lambda away=away: _device(port, away)["stale"])
            until("it recovers by itself", lambda away=away: not _device(port, away)["stale"], 30.0)
            before = accepted(port)
            until("its data flow again", lambda away=away: _age_s(port, away) < 2.0, 30.0)
            until("and are stored", lambda before=before: accepted(port) > before + 500, 30.0)
            holes[away] = (began, _plant_ns(port))
        assert controller.stop() == 0, controller.text()
    check_books(run)
    for away, stays, stream in (("rack1", "coater1", "coater"), ("coater1", "rack1", "channel")):
        during = pl.col("time").cast(pl.Int64).is_between(*holes[away])
        assert longest_silence_s(rows_of(run, stream, stays).filter(during)) < 5.0 * 60, f"{stays} has no hole"
    assert rows_of(run, "gap", "rack1").filter(pl.col("of_stream") == "channel").height >= 1
    # A Modbus rack keeps nothing for us; an OPC UA server queues, so there the outage may well leave no hole at all.
    if longest_silence_s(rows_of(run, "coater", "coater1")) > 5.0 * 60:
        assert rows_of(run, "gap", "coater1").filter(pl.col("of_stream") == "coater").height >= 1


def _stand_still(pid: int, noticed: Callable[[], object]) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        until("the loss is noticed", noticed, 20.0)
        time.sleep(20.0)
    finally:
        os.kill(pid, signal.SIGCONT)


def _plant_ns(port: int) -> int:
    return int(datetime.fromisoformat(fetch(port)["plant_time"]).timestamp() * 1e9)


def _chart_is_current(port: int) -> bool:
    """Its newest observation is of the last five polls; rows that waited for its kernel come in parts."""
    streams = _device(port, "rack1")["streams"]
    if not {"channel", "spc/temperature"} <= streams.keys():
        return False
    polled, charted = (datetime.fromisoformat(streams[name]["time"]) for name in ("channel", "spc/temperature"))
    return (polled - charted).total_seconds() <= 5 * 20.0


def _running(port: int) -> bool:
    devices = fetch(port)["devices"]
    commands = fetch(port)["commands"]
    done = {c["device"] for c in commands if c["name"] == "start" and c["outcome"] == "confirmed"}
    return len(devices) == 2 and len(done) == 2


def _age_s(port: int, device: str) -> float:
    age = _device(port, device)["age_s"]
    return float("inf") if age is None else float(age)


def _device(port: int, device: str) -> dict[str, object]:
    devices = fetch(port)["devices"]
    found: dict[str, object] = next(d for d in devices if d["device"] == device)
    return found
