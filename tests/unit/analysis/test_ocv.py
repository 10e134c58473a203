import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds import kind
from controller.errors import BadInputError


def record(columns, source="cell.csv"):
    return Record(source, {}, columns)


@pytest.mark.data
def test_rows_and_figure_of_the_four_scripts(measured_data: Path) -> None:
    table = pl.read_parquet(measured_data / "a123_ocv_25c.parquet")
    given = record({n: table[n].cast(pl.Float64).to_numpy() for n in table.columns})
    ocv = kind("ocv")
    rows = ocv.analyse(given, Options({"points": 101.0}))
    assert len(rows) == 101
    assert {"soc", "ocv_v", "ocv_v_sd", "hysteresis_v", "hysteresis_v_sd", "discharge_ah", "charge_ah"} <= set(rows[0])
    assert all(row["refused"] is None and row["ocv_v_sd"] > 0 for row in rows)
    assert abs(rows[0]["discharge_ah"] / rows[0]["charge_ah"] - 1) < 0.005
    json.dumps(rows, allow_nan=False)
    figure = ocv.figure(given, rows)
    assert figure is not None and len(figure["data"][0]["x"]) == 101
    json.dumps(figure, allow_nan=False)


def test_a_record_without_both_directions_is_refused_by_name() -> None:
    time = np.arange(100.0)
    given = record({"time_s": time, "current_a": np.full(100, -1.0), "voltage_v": np.linspace(4.2, 3.0, 100)})
    ocv = kind("ocv")
    rows = ocv.analyse(given, Options())
    assert len(rows) == 1 and rows[0]["ocv_v"] is None and "slow charge" in str(rows[0]["refused"])
    assert ocv.figure(given, rows) is None


@pytest.mark.parametrize("points", [2.0, float("nan"), float("inf"), 1e30])
def test_a_wrong_grid_is_bad_input(points) -> None:
    column = np.zeros(5)
    with pytest.raises(BadInputError, match=r"cell\.csv"):
        kind("ocv").analyse(
            record({"time_s": column, "current_a": column, "voltage_v": column}), Options({"points": points})
        )
