"""The whole pilot line over the wire: the controller reads every station as it is, and material flows meanwhile."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from configs.loader import packaged
from tests.system.line import programs, until

pytestmark = [pytest.mark.long, pytest.mark.system]

STATIONS = {"mixer1", "calender1", "stacker1", "filler1", "shelf1"}


def pilot_line(folder: Path, free_port: Callable[[], int]) -> Path:
    text = re.sub(r"\b(4848\d|5028\d|8378)\b", lambda _: str(free_port()), packaged("lines")["pilot_line"].read_text())
    path = folder / "line.toml"
    path.write_text(text)
    return path


def test_a_demo_of_the_pilot_line_reads_every_station_and_moves_material(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    line, run = pilot_line(tmp_path, free_port), tmp_path / "run"
    with programs(tmp_path) as started:
        # Coated, calendered and stacked: an hour of plant time, seconds on a machine that is not busy.
        demo = started.start("demo", str(line), "--seconds", "150", "--out", str(run))
        until("a stack of sheets", (run / "material" / "stack.parquet").exists, timeout_s=120.0)
        assert demo.stop(signal.SIGINT) == 0, demo.text()
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    unit = pl.read_parquet(run / "parquet" / "unit" / "*.parquet")
    assert set(unit["device"]) == STATIONS
    for device in STATIONS:
        rows = unit.filter(pl.col("device") == device).sort("time")
        assert rows["unit_energy_kwh"][-1] > rows["unit_energy_kwh"][0]
        assert (rows["unit_energy_kwh"].diff().drop_nulls() >= 0).all(), "a meter only goes up"
        # What is behind the stacker has nothing to work on yet: suspended.
        working = {6.0} if device in {"mixer1", "calender1", "stacker1"} else {5.0}
        assert working <= set(rows["unit_state"]), f"{device} has never worked"
    for stream in ("mixer", "calender", "stacker", "filler", "shelf", "shelf_place", "coater", "channel"):
        assert any((run / "parquet" / stream).glob("*.parquet")), stream
    for stream, device in (("rack", "rack1"), ("coater_unit", "coater1")):
        rows = pl.read_parquet(run / "parquet" / stream / "*.parquet").sort("time")
        assert set(rows["device"]) == {device}
        assert rows["unit_energy_kwh"][-1] > rows["unit_energy_kwh"][0]
        assert (5.0 if device == "rack1" else 6.0) in set(rows["unit_state"]), f"{device}: starved, or coats"
    started = pl.read_parquet(run / "parquet" / "event" / "*.parquet").filter(pl.col("message") == "job started")
    assert set(started["device"]) == STATIONS | {"coater1"}, "everything but the rack, which waits for its tray"
    metres = pl.read_parquet(run / "material" / "metre.parquet" / "*.parquet")
    sheets = pl.read_parquet(run / "material" / "sheet.parquet" / "*.parquet")
    assert set(metres["device"]) == {"coater1"}
    assert set(sheets["metre"]) <= set(metres["id"])
    assert metres["batch"].str.starts_with("mixer1:").all()
    truth = pl.read_parquet(run / "truth" / "calender1" / "*.parquet").sort("time")
    assert truth["made"][-1] > 0


FORMATION = """
kind = "formation"
name = "quick"
title = "An hour, for the test"
programme_id = 9
step = [
  { mode = "cc_charge", current_a = 5.0, voltage_limit_v = 4.2, duration_s = 1800 },
  { mode = "cc_discharge", current_a = 5.0, voltage_limit_v = 2.5, duration_s = 1500 },
  { mode = "rest", duration_s = 60, cycle = 2 },
]
"""
AGEING = """
kind = "unit"
name = "short"
title = "An hour on the shelf"
[setpoint]
ageing_time_sp_s = 3600.0
"""


def quick_line(folder: Path, free_port: Callable[[], int]) -> Path:
    """The pilot line with an hour of soaking, formation and ageing each, and little room before the stations."""
    path = pilot_line(folder, free_port)
    (folder / "quick.toml").write_text(FORMATION)
    (folder / "short.toml").write_text(AGEING)
    text = path.read_text().replace('"formation_a_sample"', '"quick.toml"').replace('"age_a_sample"', '"short.toml"')
    text = text.replace('machine = "filling"\n', 'machine = "filling"\nsoak_s = 1200\nwetting_s = 900\n')
    for many, few in ((4000, 1500), (400, 80), (256, 100)):
        text = text.replace(f"buffer = {many}\n", f"buffer = {few}\n")
    path.write_text(text)
    return path


def test_two_trays_go_through_formation_and_ageing_over_the_wire_and_nothing_is_lost(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    line, run = quick_line(tmp_path, free_port), tmp_path / "run"
    with programs(tmp_path) as started:
        demo = started.start("demo", str(line), "--seconds", "84", "--out", str(run))
        assert demo.process.wait(400.0) == 0, demo.text()
    assert json.loads((run / "run.json").read_text())["status"] == "complete"
    found = {
        kind: pl.read_parquet(run / "material" / f"{kind}.parquet" / "*.parquet")
        for kind in ("batch", "metre", "sheet", "stack", "cell", "formed", "aged")
    }
    assert len(found["formed"]) >= 128, "two trays at least"
    assert found["formed"]["cell"].n_unique() == len(found["formed"]), "each cell once"
    assert found["aged"]["cell"].is_in(found["formed"]["cell"].implode()).all()
    events = pl.read_parquet(run / "parquet" / "event" / "*.parquet").filter(pl.col("device") == "rack1")["message"]
    assert "job 1 complete, the next one follows" in set(events)
    truth = {device: pl.read_parquet(run / "truth" / device / "*.parquet").sort("time") for device in sorted(STATIONS)}
    # What a station counts is what it has written, but for what the last cart has not fetched.
    for device, kind in (("calender1", "sheet"), ("stacker1", "stack"), ("filler1", "cell"), ("shelf1", "aged")):
        rows, last = found[kind], truth[device].tail(1)
        made, scrapped = int(last["made"][0]), int(last["scrapped"][0])
        assert len(rows) <= made + scrapped + 64
        assert (truth[device]["time"].diff().drop_nulls().dt.total_seconds() > 0).all(), "plant time goes on"
    assert any(2.0 in set(table["waits_for"]) for table in truth.values()), "a full buffer stops who fills it"
    sheets = truth["calender1"].tail(1)
    parts = sheets["sheets_dry_kg"][0] + sheets["trim_dry_kg"][0] + sheets["scrap_dry_kg"][0]
    assert sheets["in_dry_kg"][0] == pytest.approx(parts, rel=1e-9)
