import numpy as np
import polars as pl
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds import kind
from controller.errors import BadInputError
from twin.relaxation import V_S_PER_MV_H


def record(seed=1, rests=1):
    """Half an hour of discharge and six hours of rest, `rests` times."""
    rng = np.random.default_rng(seed)
    t = np.concatenate([np.arange(10.0, 1801.0, 10.0), 1800.0 + np.arange(10.0, 21601.0, 10.0)])
    after = np.maximum(t - 1800.0, 0.0)
    v = 3.6 - 0.02 * np.exp(-((after / 2000.0) ** 0.8)) - 0.1 * V_S_PER_MV_H * after
    current = np.where(t <= 1800.0, -1.0, 1e-5)
    time = np.concatenate([t + i * t[-1] for i in range(rests)])
    voltage = np.tile(np.where(t <= 1800.0, 3.5, v), rests) + 5e-5 * rng.standard_normal(time.size)
    return Record("cell.csv", {}, {"time_s": time, "current_a": np.tile(current, rests), "voltage_v": voltage})


def test_rests_are_found_and_timed_from_the_end_of_the_current() -> None:
    rows = kind("relaxation").analyse(record(rests=2), Options())
    assert [row["rest"] for row in rows] == [1, 2]
    for row in rows:
        assert row["refused"] is None
        assert abs(row["k_mv_h"] - 0.1) < 4.0 * row["k_mv_h_sd"]
        assert row["k_v_s"] == pytest.approx(row["k_mv_h"] * V_S_PER_MV_H)
        assert row["tau_s"] == pytest.approx(2000.0, rel=0.05)
        assert row["amplitude_v"] == pytest.approx(0.02, rel=0.05)
        assert {"v_inf_v_sd", "tau_s_sd", "beta_sd", "amplitude_v_sd"} <= row.keys()


def test_what_is_refused_is_absent_and_says_why() -> None:
    whole = record()
    short = Record("cell.csv", {}, {name: column[:420] for name, column in whole.columns.items()})
    (row,) = kind("relaxation").analyse(short, Options())
    assert row["k_mv_h"] is None and row["v_inf_v"] is None
    assert row["refused"].startswith("K not identifiable")
    (row,) = kind("relaxation").analyse(short, Options({"rest_min_s": 36000.0}))
    assert row == {"rest": None, "refused": "no rest of 36000 s or more"}


def test_the_figure_shows_every_rest_and_its_fit() -> None:
    found = kind("relaxation")
    whole = record(rests=2)
    figure = found.figure(whole, found.analyse(whole, Options()))
    assert [trace["name"] for trace in figure["data"]] == ["rest 1", "rest 1, fit", "rest 2", "rest 2, fit"]
    np.testing.assert_allclose(figure["data"][1]["y"][-1], whole.columns["voltage_v"][-1], atol=3e-4)
    assert found.figure(whole, [{"rest": None}]) is None


def test_odd_values_and_settings() -> None:
    found = kind("relaxation")
    empty = Record("cell.csv", {}, {name: np.empty(0) for name in ("time_s", "current_a", "voltage_v")})
    assert found.analyse(empty, Options())[0]["rest"] is None
    odd = record()
    odd.columns["voltage_v"][200:400:3] = np.nan
    odd.columns["current_a"][300] = np.inf
    assert all("refused" in row for row in found.analyse(odd, Options()))
    for values in ({"rest_min_s": -1.0}, {"k_sd_max_mv_h": 0.0}):
        with pytest.raises(BadInputError, match=r"cell\.csv"):
            found.analyse(record(), Options(values))


@pytest.mark.data
def test_rests_of_the_measured_files(measured_data) -> None:
    """Every long rest of the LG M50 and the coin cell is found; none is given a K that is relaxation."""
    for name, rests in (("coin_formation", 1), ("lgm50_c10", 2)):
        table = pl.read_parquet(measured_data / f"{name}.parquet")
        columns = {c: table[c].to_numpy().astype(float) for c in ("time_s", "current_a", "voltage_v")}
        rows = kind("relaxation").analyse(Record(name, {}, columns), Options())
        assert len(rows) >= rests
        for row in rows:
            print(name, row["duration_s"], row["k_mv_h"], row["k_mv_h_sd"], row["end_slope_mv_h"], row["refused"])
            assert row["refused"] is not None
