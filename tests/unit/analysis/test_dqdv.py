import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds import kind
from controller.errors import BadInputError


@pytest.mark.data
def test_rows_and_figure_of_lgm50(measured_data: Path) -> None:
    table = pl.read_parquet(measured_data / "lgm50_c10.parquet")
    given = Record("lgm50", {}, {n: table[n].cast(pl.Float64).to_numpy() for n in table.columns})
    dqdv = kind("dqdv")
    rows = dqdv.analyse(given, Options())
    slow = [row for row in rows if abs(abs(float(row["branch_current_a"])) - 0.5) < 0.01]
    assert [row["direction"] for row in slow] == ["discharge"] * 4 + ["charge"] * 4
    for row in slow:
        assert row["refused"] is None and row["area_ah"] > 0.3
        for name in ("voltage_v", "height_ah_v", "width_v", "area_ah"):
            assert row[name] > 0 and row[f"{name}_sd"] >= 0
    json.dumps(rows, allow_nan=False)
    figure = dqdv.figure(given, rows)
    assert figure is not None and len(figure["data"]) == 3
    json.dumps(figure, allow_nan=False)
    full = dqdv.figure(given, dqdv.analyse(given, Options({"least_span_v": 1.0})))
    assert full is not None and len(full["data"]) == 2


@pytest.mark.data
def test_names_last_over_the_cycles_of_the_coin_cell(measured_data: Path) -> None:
    table = pl.read_parquet(measured_data / "coin_formation.parquet")
    given = Record("coin", {}, {n: table[n].cast(pl.Float64).to_numpy() for n in table.columns})
    rows = kind("dqdv").analyse(given, Options({"bandwidth_v": 0.01}))
    charges = [(row["branch"], row["peak"], row["voltage_v"]) for row in rows if row["direction"] == "charge"]
    first = {name: v for branch, name, v in charges if branch == 1}
    later = {name: v for branch, name, v in charges if branch != 1}
    assert set(first) == set(later) == {"P1", "P2", "P3"}
    assert all(abs(first[name] - later[name]) < 0.05 for name in first)


def test_a_record_without_a_branch_says_so() -> None:
    column = np.zeros(50)
    given = Record("rest", {}, {"time_s": np.arange(50.0), "current_a": column, "voltage_v": column + 3.7})
    rows = kind("dqdv").analyse(given, Options())
    assert len(rows) == 1 and rows[0]["peak"] is None and "no span" in str(rows[0]["refused"])
    assert kind("dqdv").figure(given, rows) is None


@pytest.mark.parametrize("setting", [{"bandwidth_v": 0.0}, {"bandwidth_v": float("nan")}, {"reach_v": -1.0}])
def test_wrong_settings_are_bad_input(setting) -> None:
    time = np.arange(100.0)
    columns = {"time_s": time, "current_a": np.full(100, -1.0), "voltage_v": np.linspace(4.2, 3.0, 100)}
    with pytest.raises(BadInputError, match="cell"):
        kind("dqdv").analyse(Record("cell", {}, columns), Options(setting))
