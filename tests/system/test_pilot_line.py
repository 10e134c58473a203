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
    metres = pl.read_parquet(run / "material" / "metre.parquet" / "*.parquet")
    sheets = pl.read_parquet(run / "material" / "sheet.parquet" / "*.parquet")
    assert set(metres["device"]) == {"coater1"}
    assert set(sheets["metre"]) <= set(metres["id"])
    assert metres["batch"].str.starts_with("mixer1:").all()
    truth = pl.read_parquet(run / "truth" / "calender1" / "*.parquet").sort("time")
    assert truth["made"][-1] > 0
