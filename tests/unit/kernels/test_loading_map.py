"""The filter and smoother against the same model written as one big Gaussian, and every outcome of a sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import loading_map as k
from kernels import status
from kernels.loading_map_smooth import loading_map_smooth
from kernels.loading_map_tune import loading_map_spectrum, loading_map_tune

LANES = 4
COUPLING = np.array([[3, -1, -1, -1], [-1, 3, -1, -1], [-1, -1, 3, -1], [-1, -1, -1, 3]]) / 3.0


def parameters() -> np.ndarray:
    par = np.zeros(k.PARAMETERS)
    par[k.P_MEAN], par[k.P_MEAN_SD], par[k.P_LANE_SD] = 0.17, 0.02, 0.004
    par[k.P_NOISE], par[k.P_NOISE_WET], par[k.P_WALK] = 8e-4, 1.2e-3, 1e-4
    par[k.P_DRIFT_SD], par[k.P_DRIFT_M] = 2e-3, 40.0
    par[k.P_RIPPLE_SD], par[k.P_RIPPLE_M], par[k.P_KEEP_M] = 6e-4, 5.3, 90.0
    par[k.P_WET_SD], par[k.P_WET_M] = 2e-3, 70.0
    return par


def covariance(par, where, seen_lane, gauge) -> np.ndarray:
    """Between what is seen at any two events (lane -1: the whole width), written down from the model's definition."""
    w1, w2 = np.meshgrid(where, where, indexing="ij")
    d, first = np.abs(w1 - w2), np.minimum(w1, w2) - where.min()
    c = par[k.P_MEAN_SD] ** 2 + par[k.P_DRIFT_SD] ** 2 * np.exp(-d / par[k.P_DRIFT_M])
    c += par[k.P_RIPPLE_SD] ** 2 * np.exp(-d / par[k.P_KEEP_M]) * np.cos(2 * np.pi * d / par[k.P_RIPPLE_M])
    prior = par[k.P_LANE_SD] ** 2 * (np.eye(LANES) - 1 / LANES)
    on = seen_lane >= 0
    a, b = np.ix_(seen_lane[on], seen_lane[on])
    c[np.ix_(on, on)] += prior[a, b] + par[k.P_WALK] ** 2 * first[np.ix_(on, on)] * COUPLING[a, b]
    wet = np.outer(gauge == 1, gauge == 1)
    return c + wet * par[k.P_WET_SD] ** 2 * np.exp(-d / par[k.P_WET_M])


def smooth(par, where, lane, gauge, value, lanes=LANES, coupling=COUPLING):
    events, nodes = len(where), int((lane < 0).sum())
    out = (np.empty((nodes, lanes)), np.empty((nodes, lanes)), np.empty((nodes, 2)), np.empty(events), np.empty(events))
    code = np.empty(events, dtype=np.uint8)
    cost = loading_map_smooth(par, coupling, where, lane, gauge, value, *out, code)
    return cost, *out[:3], code


@pytest.mark.parametrize("samples", [1, 7, 600])  # 600 events and their nodes are more than one block
def test_equals_the_conditional_of_one_big_gaussian(samples: int) -> None:
    rng = np.random.default_rng(4)
    par = parameters()
    where = np.sort(rng.uniform(0, samples * 1.7, samples))
    lane, gauge = rng.integers(0, LANES, samples), (rng.random(samples) < 0.3).astype(np.int64)
    noise = np.where(gauge == 1, par[k.P_NOISE_WET], par[k.P_NOISE])
    every = max(1, samples // 20)
    at = where[::every] + 0.3
    truth_cov = covariance(par, where, lane, gauge)
    value = par[k.P_MEAN] + np.linalg.cholesky(truth_cov + np.diag(noise**2)) @ rng.standard_normal(samples)
    all_where = np.concatenate([where, at])
    order = np.argsort(all_where, kind="stable")
    all_lane = np.concatenate([lane, np.full(at.size, -1)])[order]
    all_gauge = np.concatenate([gauge, np.zeros(at.size, dtype=np.int64)])[order]
    all_value = np.concatenate([value, np.zeros(at.size)])[order]
    cost, loading, sd, whole, code = smooth(par, all_where[order], all_lane, all_gauge, all_value)
    assert not (code == status.OUTLIER).any()
    # The same by hand: mean + C21 (C11 + R)^-1 (y - mean).
    inner = truth_cov + np.diag(noise**2)
    by_hand = np.linalg.slogdet(inner)[1] + (value - par[k.P_MEAN]) @ np.linalg.solve(inner, value - par[k.P_MEAN])
    assert cost == pytest.approx(by_hand, rel=1e-8)
    for target in (0, 2, -1):
        w = np.concatenate([where, at])
        big = covariance(par, w, np.concatenate([lane, np.full(at.size, target)]), np.append(gauge, np.zeros(at.size)))
        cross = big[samples:, :samples]
        mean = par[k.P_MEAN] + cross @ np.linalg.solve(inner, value - par[k.P_MEAN])
        var = np.diag(big[samples:, samples:] - cross @ np.linalg.solve(inner, cross.T))
        np.testing.assert_allclose(loading[:, target] if target >= 0 else whole[:, 0], mean, rtol=1e-8)
        np.testing.assert_allclose(sd[:, target] if target >= 0 else whole[:, 1], np.sqrt(var), rtol=1e-6)


def filtered(par, where, lane, value, lanes=LANES, coupling=COUPLING):
    n = len(where)
    x, p, memory = np.empty(k.LANE + lanes), np.empty((k.LANE + lanes,) * 2), np.empty(k.M_LANE + lanes)
    k.loading_map_start(par, x, p, memory)
    nu, var, code = np.empty(n), np.empty(n), np.empty(n, dtype=np.uint8)
    where, value = np.asarray(where, dtype=np.float64), np.asarray(value, dtype=np.float64)
    lane, gauge = np.asarray(lane, dtype=np.int64), np.zeros(n, dtype=np.int64)
    k.loading_map_filter(par, coupling, where, lane, gauge, value, 0, n, x, p, memory, nu, var, code)
    loading, sd, whole = np.empty(lanes), np.empty(lanes), np.empty(2)
    k.loading_map_state(x, p, loading, sd, whole)
    return loading, sd, whole, code


def test_worked_example_of_one_sample() -> None:
    """Mean 0.17 +- 0.02, lane +- 0.004 sqrt(3/4), drift 2e-3, ripple 6e-4, noise 8e-4; 0.18 is seen in lane 1.

    h'Ph = 4e-4 + 4e-6 + 3.6e-7 + 1.2e-5 = 4.1636e-4; S = h'Ph + 6.4e-7 = 4.17e-4; loading 0.17 + 0.01 * 41636/41700;
    its variance h'Ph (1 - h'Ph/S) = 6.39e-7. The width's mean takes 4.0436e-4 / 4.17e-4 of the 0.01.
    """
    loading, sd, whole, code = filtered(parameters(), [5.0], [1], [0.18])
    assert list(code) == [status.STARTED]
    assert loading[1] == pytest.approx(0.17 + 0.01 * 41636 / 41700, rel=1e-12)
    assert sd[1] == pytest.approx(math.sqrt(4.1636e-4 * (1 - 41636 / 41700)), rel=1e-6)
    assert whole[0] == pytest.approx(0.17 + 0.01 * 40436 / 41700, rel=1e-12)


def test_outcomes_of_samples() -> None:
    par, nan = parameters(), math.nan
    where = [0.0, 1.0, 2.0, 3.0, 2.5, nan, 4.0, 5.0]
    value = [0.17, 0.17, 0.17, nan, 0.17, 0.17, 0.30, 0.17]
    code = filtered(par, where, [0, 1, 2, 3, 0, 0, 1, 9], value)[3]
    s = status
    assert list(code) == [s.STARTED, s.OK, s.OK, s.BAD_INPUT, s.BAD_TIME, s.BAD_INPUT, s.OUTLIER, s.BAD_INPUT]


def test_a_web_that_steps_is_followed_from_the_third_sample_on() -> None:
    where = np.arange(60.0)
    value = np.where(where < 40, 0.17, 0.21)
    loading, _, _, code = filtered(parameters(), where, where % LANES, value)
    assert list(np.flatnonzero(code == status.OUTLIER)) == [40, 41]
    assert code[42] == status.AFTER_GAP
    np.testing.assert_allclose(loading, 0.21, atol=2e-3)  # the drift pulls towards its mean


def test_a_lane_that_steps_is_followed_too() -> None:
    where = np.arange(160.0)
    lane = (where % LANES).astype(int)
    value = np.where((where > 80) & (lane == 2), 0.20, 0.17)
    loading, _, _, code = filtered(parameters(), where, lane, value)
    assert (code[lane == 2] == status.OUTLIER).sum() == 2
    assert (code[lane != 2] == status.OUTLIER).sum() <= 2  # lanes sum to nothing: the others move while it is found
    np.testing.assert_allclose(loading, [0.17, 0.17, 0.20, 0.17], atol=2e-3)


def test_tuning_finds_the_noise_and_the_drift() -> None:
    rng = np.random.default_rng(11)
    par = parameters()
    par[k.P_RIPPLE_SD] = par[k.P_WET_SD] = 0.0
    n = 800
    where, lane = np.arange(n) * 1.3, rng.integers(0, LANES, n)
    gauge = np.zeros(n, dtype=np.int64)
    cov = covariance(par, where, lane, gauge) + par[k.P_NOISE] ** 2 * np.eye(n)
    value = par[k.P_MEAN] + np.linalg.cholesky(cov) @ rng.standard_normal(n)
    found = par.copy()
    found[[k.P_NOISE, k.P_DRIFT_SD, k.P_DRIFT_M, k.P_WALK]] *= (3.0, 0.4, 2.5, 3.0)
    free = np.array([k.P_NOISE, k.P_DRIFT_SD, k.P_DRIFT_M, k.P_WALK])
    cost, runs = loading_map_tune(found, free, COUPLING, where, lane, gauge, value, 150)
    assert runs <= 160
    assert math.isfinite(cost)
    assert found[k.P_NOISE] == pytest.approx(par[k.P_NOISE], rel=0.08)
    assert found[k.P_DRIFT_SD] == pytest.approx(par[k.P_DRIFT_SD], rel=0.35)
    assert found[k.P_WALK] == pytest.approx(par[k.P_WALK], rel=0.35)


def test_spectrum_has_its_peak_where_the_wave_is() -> None:
    """n samples of a cosine of unit power: n/2 at its wave number, near 1 for noise."""
    rng = np.random.default_rng(2)
    where = np.sort(rng.uniform(0, 500, 400))
    power = np.empty(400)
    loading_map_spectrum(where, np.cos(2 * np.pi * where / 4.0), 1e-3, power)
    assert np.argmax(power) == 249  # 0.25 a metre
    assert power[249] == pytest.approx(200, rel=0.05)
    loading_map_spectrum(where, rng.standard_normal(400), 1e-3, power)
    assert power.mean() == pytest.approx(1, abs=0.4)


anything = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(anything, st.integers(-3, 9), st.integers(0, 1), anything), max_size=30))
def test_any_floats_give_a_status(rows) -> None:
    where = np.array([r[0] for r in rows], dtype=np.float64)
    lane, gauge = (np.array([r[j] for r in rows], dtype=np.int64) for j in (1, 2))
    value = np.array([r[3] for r in rows], dtype=np.float64)
    cost, loading, sd, _, code = smooth(parameters(), where, lane, gauge, value)
    assert set(code) <= set(range(len(status.NAMES)))
    assert not math.isnan(cost)
    good = code[lane < 0] == status.PREDICTED
    assert np.isnan(loading[~good]).all()
    assert np.isfinite(loading[good]).all() and np.isfinite(sd[good]).all()


def test_readings_that_no_web_has_are_bad_input() -> None:
    """Three in a row once overflowed the covariance of a web that steps."""
    loading, sd, _, code = filtered(parameters(), [0.0, 0.0, 0.0, 1.0], [0, 0, 0, 1], [0.0, 0.0, -1.4e154, 999.0])
    assert list(code) == [status.OUTLIER, status.OUTLIER, status.BAD_INPUT, status.OUTLIER]
    assert np.isfinite(loading).all() and np.isfinite(sd).all()
