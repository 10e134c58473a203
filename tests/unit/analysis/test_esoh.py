import json

import numpy as np
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds.esoh import KIND
from controller.errors import BadInputError
from twin.halfcell import load


def record() -> Record:
    t = np.arange(0.0, 36000.0, 20.0)
    z = 1.0 - t / t[-1]
    positive, negative = load("nmc811_chen2020"), load("graphite_siox_chen2020")
    v = np.interp(0.9 - 0.63 * z, positive.stoichiometry, positive.potential_v)
    v -= np.interp(0.03 + 0.77 * z, negative.stoichiometry, negative.potential_v) + 0.02
    v += 0.5e-3 * np.random.default_rng(1).standard_normal(t.size)
    return Record("a.csv", {}, {"time_s": t, "current_a": np.full(t.size, -0.5), "voltage_v": v})


def test_row_and_figure() -> None:
    rows = KIND.analyse(record(), Options())
    assert len(rows) == 1
    row = rows[0]
    json.dumps(row)
    assert row["identifiable"] is True and row["refused"] is None
    for name, true in (("x_0", 0.03), ("x_100", 0.80), ("y_0", 0.90), ("y_100", 0.27), ("resistance_ohm", 0.04)):
        assert abs(row[name] - true) < 4 * row[name + "_sd"] + 1e-3
    assert row["n_to_p"] == pytest.approx(1 + 0.2 / 0.77, abs=0.02) and row["rmse_v"] < 1e-3
    figure = KIND.figure(record(), rows)
    assert [trace["name"] for trace in figure["data"]] == ["measured", "fitted"]
    json.dumps(figure)


def test_what_cannot_be_fitted_is_refused_in_words() -> None:
    rows = KIND.analyse(record(), Options({"direction": "charge"}))
    assert rows[0]["x_0"] is None and rows[0]["identifiable"] is False
    assert "no run of constant current" in rows[0]["refused"]
    assert KIND.figure(record(), rows) is None


@pytest.mark.parametrize("values", [{"positive": "none.csv"}, {"silicon": "none.csv"}, {"direction": "up"}])
def test_what_the_person_must_correct(values) -> None:
    with pytest.raises(BadInputError):
        KIND.analyse(record(), Options(values))
