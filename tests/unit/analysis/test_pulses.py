"""The kind `pulses`: names, settings and refusals of its rows, and its figure."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds.pulses import KIND
from controller.errors import BadInputError

NAMES = ["time_s", "current_a", "soc", *(f"r_{t}s_ohm{end}" for t in (1, 3, 10, 30) for end in ("", "_sd"))]


def record(seconds=40.0, keys=None, **more) -> Record:
    rng = np.random.default_rng(4)
    time = np.concatenate([np.arange(-20.0, 0.0), np.arange(0.0, seconds, 0.1)])
    current = np.where(time >= -1e-9, -5.0, 0.0)
    voltage = 3.7 + 0.03 * current + 1e-4 * rng.standard_normal(time.size)
    columns = {"time_s": time, "current_a": current, "voltage_v": voltage}
    return Record("pulse.csv", keys or {}, columns | {name: np.full(time.size, value) for name, value in more.items()})


def test_row_of_a_pulse_carries_names_with_units() -> None:
    (row,) = KIND.analyse(record(temperature_c=25.5, soc=0.4), Options())
    assert set(NAMES) <= set(row) and json.dumps(row, allow_nan=False)
    assert row["r_10s_ohm"] == pytest.approx(0.03, rel=0.01) and 1e-5 < row["r_10s_ohm_sd"] < 1e-4
    assert (row["direction"], row["temperature_c"], row["soc"], row["refused"]) == ("discharge", 25.5, 0.4, None)


def test_a_short_pulse_says_why_figures_are_missing() -> None:
    (row,) = KIND.analyse(record(seconds=4.0), Options())
    assert row["r_3s_ohm"] is not None and row["r_10s_ohm"] is None and row["r_10s_ohm_sd"] is None
    assert row["refused"] == "10, 30 s: the pulse ended 3.9 s into it, at 3.55 V"
    assert (row["duration_s"], row["end_v"]) == (pytest.approx(3.9), pytest.approx(3.55, abs=1e-3))
    assert row["r_end_ohm"] == pytest.approx(0.03, rel=0.01) and 1e-5 < row["r_end_ohm_sd"] < 1e-4
    assert row["soc"] is None and "temperature_c" not in row


def test_a_record_without_pulse_gives_one_row_with_the_reason() -> None:
    quiet = record()
    quiet.columns["current_a"][:] = 0.0
    (row,) = KIND.analyse(quiet, Options())
    assert row["time_s"] is None and row["refused"] == "no step from rest to a load"
    assert KIND.figure(quiet, [row]) is None


def test_settings_reach_the_twin() -> None:
    plain, wide, soc = (
        KIND.analyse(record(), Options(values))[0]["r_10s_ohm_sd"]
        for values in ({}, {"voltage_sd_v": 1e-2}, {"soc_sd": 0.01, "dr_dsoc_ohm": -0.3})
    )
    assert wide > 10 * plain and soc == pytest.approx(np.hypot(plain, 3e-3))
    polled = KIND.analyse(record(), Options({"stamps": "polled"}))[0]
    assert polled["time_s"] == pytest.approx(-0.05) and polled["stamps"] == "as said"
    assert KIND.analyse(record(), Options())[0]["stamps"] == "at_step: assumed, the stamps do not show it"
    for values in ({"stamps": "often"}, {"voltage_sd_v": "much"}, {"rest_current_a": -1.0}):
        with pytest.raises(BadInputError):
            KIND.analyse(record(), Options(values))


def test_a_name_of_the_group_is_not_said_twice() -> None:
    (row,) = KIND.analyse(record(keys={"temperature_c": 10.0}, temperature_c=10.3), Options())
    assert "temperature_c" not in row


def test_figure_is_plain_data() -> None:
    given = record()
    figure = KIND.figure(given, KIND.analyse(given, Options()))
    assert json.dumps(figure, allow_nan=False) and figure["data"][1]["x"] == [0.0]
    assert "10s: 30." in figure["data"][1]["text"][0] or "10s: 29." in figure["data"][1]["text"][0]


@pytest.mark.data
def test_a_measured_pulse_with_a_stale_row(measured_data) -> None:
    """10 C, level 5, Cell18: the two rows before the load carry 3.485 V, the rest was 3.705 V."""
    path = measured_data / "lgm50_pulses.parquet"
    table = pq.read_table(path, filters=[("temperature_c", "=", 10.0), ("soc_level", "=", 5), ("cell", "=", "Cell18")])
    names = {"time_s": "prog_time_s", "current_a": "current_a", "voltage_v": "voltage_v", "temperature_c": "surface_c"}
    columns = {name: table[column].to_numpy() for name, column in names.items()}
    (row,) = KIND.analyse(Record(path.name, {}, columns), Options())
    assert row["r_10s_ohm"] == pytest.approx(38.4e-3, rel=0.01) and row["stale_rows"] == 2
    assert row["temperature_c"] == pytest.approx(11.2) and row["current_a"] == pytest.approx(-7.5, rel=1e-3)
