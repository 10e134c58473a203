"""The live map against the truth: places one scan behind the gauge, as the line publishes them.

The bar is the plain running mean per lane (twin/loading.py), the line's own statistics: half its RMSE or less.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels import loading_map as layout
from tests.unit.twin.test_loading_map import LANES, WIDTH_M, coater_web, running_mean_rmse, synthetic_web
from twin.loading_map_live import LiveLoadingMap
from twin.loading_map_model import coupling, prior, samples


def behind_rows(rows: np.ndarray, truth: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors and errors over sd of the live map as the line publishes it, against the truth at its own place; lags."""
    live, errors, ratios, lags = LiveLoadingMap(LANES, WIDTH_M), [], [], []
    for start in range(0, len(rows), 100):
        for found in live.update(*rows[start : start + 100].T).behind:
            at = truth[int(found.web_position_m)]
            if found.web_position_m >= least and math.isfinite(at[0]):
                errors.append(found.loading_kg_m2 - at)
                ratios.append(errors[-1] / found.loading_sd_kg_m2)
                lags.append(found.lag_m)
    return np.array(errors), np.array(ratios), np.array(lags)


@pytest.mark.parametrize("seed", [5, *range(10, 18), *(pytest.param(n, marks=pytest.mark.long) for n in range(18, 26))])
def test_the_live_map_halves_the_error_of_the_running_mean_on_every_synthetic_web(seed: int) -> None:
    rows, truth = synthetic_web(seed)
    error, ratio, lag = behind_rows(rows, truth, 100)
    times = running_mean_rmse(rows, truth, 100) / math.sqrt((error**2).mean())
    inside = (np.abs(ratio) < 1.96).mean()
    print(f"web {seed}: running mean {times:.2f} times the live map, inside 95 %: {inside:.1%}")
    assert times > 2.0
    assert inside > 0.85  # these webs are not the model's: loading.md
    assert ((lag > 16.9) & (lag < 18.5)).all()  # one scan of 17 m
    assert len(error) > 225  # each ten metres


@pytest.mark.parametrize("seed", [11, 12])
def test_the_live_map_halves_the_error_of_the_running_mean_on_the_plants_web(seed: int) -> None:
    rows, truth = coater_web(seed, 4.0)
    error, ratio, lag = behind_rows(rows, truth, 100)
    times = running_mean_rmse(rows, truth, 100) / math.sqrt((error**2).mean())
    print(f"coater {seed}: {times:.2f} times, inside {(np.abs(ratio) < 1.96).mean():.1%}, lag {lag.mean():.1f} m")
    assert times > 2.0
    assert 0.87 < (np.abs(ratio) < 1.96).mean() < 0.99
    assert ((lag > 8.0) & (lag < 15.0)).all()


def exactly(rows: np.ndarray, place: float, par: np.ndarray) -> tuple[float, float]:
    """Mean over the width at `place` from samples before and after, as one Gaussian conditional without any filter."""
    given, couple = samples(*rows.T, LANES, WIDTH_M), coupling(LANES)
    at = np.append(given.where_m, place)
    walked = np.minimum.outer(at, at) - at[0]
    drift = par[layout.P_DRIFT_SD] ** 2 * np.exp(-np.abs(np.subtract.outer(at, at)) / par[layout.P_DRIFT_M])
    common = par[layout.P_MEAN_SD] ** 2 + drift
    one = np.eye(LANES)[given.lane]
    across = par[layout.P_LANE_SD] ** 2 * one @ (np.eye(LANES) - 1 / LANES) @ one.T
    across += par[layout.P_WALK] ** 2 * walked[:-1, :-1] * (one @ couple @ one.T)
    seen = common[:-1, :-1] + across + par[layout.P_NOISE] ** 2 * np.eye(len(rows))
    weights = np.linalg.solve(seen, common[:-1, -1])
    mean = par[layout.P_MEAN]
    return mean + weights @ (given.value - mean), math.sqrt(common[-1, -1] - weights @ common[:-1, -1])


def test_a_place_behind_the_gauge_is_what_the_samples_before_and_after_it_say() -> None:
    """Against the joint normal law of all samples, solved at once; and the end's last scan is not given."""
    rows, _ = synthetic_web(7, metres=60)
    live = LiveLoadingMap(LANES, WIDTH_M)
    found = live.update(*rows.T).behind
    assert len(rows) < 4 * LANES, "one model, that of before the first search"
    assert [f.web_position_m for f in found] == pytest.approx([0.0, 10.22, 20.44, 30.66, 40.88], abs=0.01)
    for one in found:
        assert one.lag_m == pytest.approx(rows[one.row, 0] - one.web_position_m)
        value, sd = exactly(rows[: one.row + 1], one.web_position_m, prior(float(rows[0, 2]), wet=False))
        assert one.md_kg_m2 == pytest.approx(value, rel=1e-9)
        assert one.md_sd_kg_m2 == pytest.approx(sd, rel=1e-7)
        assert one.loading_kg_m2.mean() == pytest.approx(one.md_kg_m2)


def test_places_behind_the_gauge_are_the_same_in_any_batches_and_bounded_under_a_standing_gauge() -> None:
    rows, _ = synthetic_web(6, metres=400)
    wanted = LiveLoadingMap(LANES, WIDTH_M, step_m=0.0).update(*rows.T).behind
    apart = np.diff([f.web_position_m for f in wanted])
    assert apart.min() == pytest.approx(2 * 0.73), "a 16th of the scan is 1.06 m"
    assert apart.mean() < 2.2 * 0.73
    live, found = LiveLoadingMap(LANES, WIDTH_M, step_m=0.0), []
    for start in range(0, len(rows), 7):
        found += live.update(*rows[start : start + 7].T).behind
    assert [f.web_position_m for f in found] == [f.web_position_m for f in wanted]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.loading_kg_m2, b.loading_kg_m2)
        np.testing.assert_array_equal(a.loading_sd_kg_m2, b.loading_sd_kg_m2)
    still = LiveLoadingMap(LANES, WIDTH_M).update(rows[:, 0], np.full(len(rows), 0.1), rows[:, 2]).behind
    lags = np.array([f.lag_m for f in still])
    assert lags == pytest.approx(2 * LANES * 0.73, abs=0.1)


def test_live_goes_on_from_its_checkpoint_as_if_nothing_had_been() -> None:
    rows, _ = synthetic_web(5, metres=700)
    straight, first = LiveLoadingMap(LANES, WIDTH_M), LiveLoadingMap(LANES, WIDTH_M)
    straight.restore(LiveLoadingMap(LANES, WIDTH_M).checkpoint())
    for cut in (0, 40, 500):
        part = rows[cut : {0: 40, 40: 500, 500: len(rows)}[cut]]
        again = LiveLoadingMap(LANES, WIDTH_M)
        again.restore(first.checkpoint())
        first = again
        want, found = straight.update(*part.T), first.update(*part.T)
        np.testing.assert_array_equal(found.loading_kg_m2, want.loading_kg_m2)
        np.testing.assert_array_equal(found.loading_sd_kg_m2, want.loading_sd_kg_m2)
        assert [f.row for f in found.behind] == [f.row for f in want.behind]
        for a, b in zip(found.behind, want.behind, strict=True):
            np.testing.assert_array_equal(a.loading_kg_m2, b.loading_kg_m2)
    assert len(first.checkpoint()) < 60_000
    short = LiveLoadingMap(LANES, WIDTH_M, step_m=1.0)
    for other in (LiveLoadingMap(LANES, 0.5), LiveLoadingMap(12, WIDTH_M), LiveLoadingMap(LANES, WIDTH_M, 0.04), short):
        with pytest.raises(ValueError, match="checkpoint"):
            other.restore(first.checkpoint())
    with pytest.raises(ValueError, match="checkpoint"):
        first.restore(b"not one")
