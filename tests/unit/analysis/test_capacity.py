import json

import numpy as np
import pandas as pd
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds import kind
from controller.errors import BadInputError

KIND = kind("capacity")


def record(time_s, current_a, voltage_v, **more) -> Record:
    columns = {"time_s": time_s, "current_a": current_a, "voltage_v": voltage_v} | more
    return Record("file", {}, {name: np.asarray(c, dtype=float) for name, c in columns.items()})


def test_rows_carry_units_and_reasons() -> None:
    time_s = np.arange(0.0, 7200.0, 10.0)
    rows = KIND.analyse(record(time_s, np.where(time_s < 3600, 1.0, -1.0), 3.5 + 0 * time_s), Options())
    assert [row["cycle"] for row in rows] == [1]
    assert rows[0]["charge_ah"] == pytest.approx(1.0, rel=0.01)
    assert rows[0]["first_cycle_efficiency"] is None
    assert str(rows[0]["refused"]).startswith("discharge_not_ended: ")
    assert rows[0]["charge_ah_sd"] is None
    json.dumps(rows, allow_nan=False)
    chosen = Options({"current_gain_sd": 1e-3, "polled": 1.0, "limit_v": 3.5})
    rows = KIND.analyse(record(time_s, np.where(time_s < 3600, 1.0, -1.0), 3.5 + 0 * time_s), chosen)
    assert rows[0]["charge_ah_sd"] == pytest.approx(1e-3, rel=0.02)
    figure = KIND.figure(record(time_s, time_s, 3.5 + 0 * time_s), rows)
    assert figure is not None and len(figure["layout"]["shapes"]) == 1
    json.dumps(figure, allow_nan=False)


def test_nothing_to_count_is_a_row_that_says_so() -> None:
    rows = KIND.analyse(record([], [], []), Options())
    assert len(rows) == 1 and str(rows[0]["refused"]).startswith("no_charge: no row")
    assert KIND.figure(record([], [], []), rows) is None
    rows = KIND.analyse(record([0, 1], [0, 0], [3, 3]), Options())
    assert rows[0]["refused"] == "no_charge: no charge has moved"


def test_bad_input() -> None:
    with pytest.raises(BadInputError, match="file: columns differ"):
        KIND.analyse(record([0, 1], [0], [3, 3]), Options())
    with pytest.raises(BadInputError, match="gap_limit_s"):
        KIND.analyse(record([0, 1], [0, 1], [3, 3]), Options({"gap_limit_s": -1.0}))


@pytest.mark.data
def test_coin_cell(measured_data) -> None:
    path = measured_data / "coin_formation.parquet"
    if not path.is_file():
        pytest.skip("coin_formation.parquet is not on this machine")
    data = pd.read_parquet(path)
    rows = KIND.analyse(record(data["time_s"], data["current_a"], data["voltage_v"]), Options())
    assert rows[0]["first_cycle_efficiency"] == pytest.approx(0.870, abs=0.01)
    assert rows[0]["refused"] is None and rows[1]["first_cycle_efficiency"] is None
