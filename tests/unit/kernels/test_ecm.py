import math

import numpy as np
import pytest

from kernels import ecm_columns as columns
from kernels import ecm_report as report
from kernels import status
from kernels.ecm import ecm_fit

NAN = math.nan


def fit(time_s, current_a, voltage_v, pairs=2, ocv=NAN, drift=False, until_next=False, before=(0.0, 0.0), floor=1e-9):
    """One record; (out, covariance, code)."""
    arrays = [np.asarray(a, dtype=np.float64) for a in (time_s, current_a, voltage_v)]
    out, cov = np.zeros((1, report.OUTPUTS)), np.zeros((1, report.PARAMETERS, report.PARAMETERS))
    code = np.zeros(1, dtype=np.uint8)
    one = np.ones(1)
    offsets = np.array([0, len(arrays[0])])
    ecm_fit(
        offsets, *arrays, before[0] * one, before[1] * one, ocv * one, pairs, drift, until_next, floor, 0, 1,
        out, cov, code,
    )  # fmt: skip
    return out[0], cov[0], code[0]


def prepared(time_s, current_a, voltage_v, until_next=False, before=(0.0, 0.0)):
    m = len(time_s)
    w, info = np.zeros((columns.WORK_ROWS, m)), np.zeros(columns.INFO_ENTRIES)
    arrays = [np.asarray(a, dtype=np.float64) for a in (time_s, current_a, voltage_v)]
    code = columns.prepare(*arrays, until_next, before[0], before[1], NAN, w, info)
    return w, info, code


UNEVEN = np.cumsum(np.r_[0.0, np.tile([0.1, 0.5, 1.0, 0.3, 2.0, 0.7], 60)])
ON, OFF = UNEVEN[7], UNEVEN[137]  # cyclers log a row where they change the current


def pulse(t, on, off, current, r0, pairs):
    """Closed form: R0 i + sum R i (1 - exp(-(t - on)/tau)) while the current flows, the decay of that afterwards."""
    i = np.where((t > on) & (t <= off), current, 0.0)
    v = 3.6 + r0 * i
    for r, tau in pairs:
        rise = 1.0 - np.exp(-np.clip(t - on, 0.0, off - on) / tau)
        v = v + current * r * rise * np.exp(-np.clip(t - off, 0.0, None) / tau)
    return i, v


def test_worked_example_of_the_response() -> None:
    """1 A into tau = 2 s for 2 s, then nothing: 1 - 1/e after 2 s, (1 - 1/e)/e after 4 s, by hand."""
    w, info, code = prepared([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 1.0, 0.0, 0.0], [3.0, 3.1, 3.1, 3.05, 3.05])
    assert code == status.OK
    columns.response(w, info, 2.0, columns.W_X1, columns.W_S1)
    e = math.exp(-1.0)
    np.testing.assert_allclose(w[columns.W_X1, [0, 2, 4]], [0.0, 1.0 - e, (1.0 - e) * e], rtol=1e-12)


def test_derivative_is_that_of_the_response() -> None:
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.uniform(0.0, 3.0, 80))
    w, info, code = prepared(t, rng.standard_normal(80), 3.0 + rng.standard_normal(80), before=(2.0, 5.0))
    assert code == status.OK
    columns.response(w, info, 4.0, columns.W_X1, columns.W_S1)
    slope = w[columns.W_S1].copy()
    columns.response(w, info, 4.0 * math.exp(1e-5), columns.W_X1, -1)
    up = w[columns.W_X1].copy()
    columns.response(w, info, 4.0 * math.exp(-1e-5), columns.W_X1, -1)
    np.testing.assert_allclose((up - w[columns.W_X1]) / 2e-5, slope, atol=1e-8)


def test_two_pairs_come_back_from_a_clean_record() -> None:
    i, v = pulse(UNEVEN, ON, OFF, -5.0, 0.02, [(0.008, 4.0), (0.012, 50.0)])
    out, cov, code = fit(UNEVEN, i, v)
    assert code == status.OK and out[report.PAIRS] == 2
    np.testing.assert_allclose(out[[0, 2, 3, 4, 5, 6]], [3.6, 0.02, 0.008, 4.0, 0.012, 50.0], rtol=1e-4)
    assert np.isnan(out[report.DRIFT]) and np.isnan(cov[report.DRIFT]).all()


def test_known_rest_voltage_and_drift() -> None:
    """dOCV/dq = 1e-5 V/C: by the definition of the drift."""
    i, v = pulse(UNEVEN, ON, OFF, -5.0, 0.02, [(0.008, 4.0)])
    charge = np.cumsum(i * np.diff(UNEVEN, prepend=0.0))
    out, _, code = fit(UNEVEN, i, v + 1e-5 * charge, pairs=1, ocv=3.6, drift=True)
    assert code == status.OK
    np.testing.assert_allclose(out[[1, 2, 3, 4]], [1e-5, 0.02, 0.008, 4.0], rtol=1e-4)
    assert np.isnan(out[report.OCV])


def test_current_held_until_the_next_row() -> None:
    """The same plant, logged with the current that is set from the row on."""
    t = np.arange(0.0, 200.0)
    v = pulse(t, 10.0, 60.0, 2.0, 0.0, [(0.03, 12.0)])[1]
    ahead = np.where((t >= 10.0) & (t < 60.0), 2.0, 0.0)
    out, _, code = fit(t, ahead, v + 0.05 * ahead, pairs=1, until_next=True)
    assert code == status.OK
    np.testing.assert_allclose(out[[2, 3, 4]], [0.05, 0.03, 12.0], rtol=1e-4)


@pytest.mark.parametrize("before_s", [30.0, math.inf])
def test_relaxation_after_a_pulse_of_known_length(before_s: float) -> None:
    """No current in the record: R0 is not in it, the pair is (start at i (1 - exp(-length/tau)))."""
    t = np.arange(0.0, 100.0, 0.5)
    start = 0.04 * (1.0 - math.exp(-before_s / 15.0)) * 2.0
    out, _, code = fit(t, 0.0 * t, 3.7 + start * np.exp(-t / 15.0), pairs=1, before=(2.0, before_s))
    assert code == status.OK and np.isnan(out[report.R0])
    np.testing.assert_allclose(out[[0, 3, 4]], [3.7, 0.04, 15.0], rtol=1e-4)


def test_uncertainty_of_a_bare_resistance_is_that_of_a_straight_line() -> None:
    """Line through (i, v): var(slope) = s^2/sum (i - mean)^2, s^2 = RSS/(n - 2). Any textbook of regression."""
    rng = np.random.default_rng(3)
    t = np.arange(40.0)
    i = np.where(t % 20 < 10, 0.0, 1.0)
    v = 3.0 + 0.05 * i + 1e-3 * rng.standard_normal(40)
    out, _, code = fit(t, i, v, pairs=1)
    slope, offset = np.polyfit(i, v, 1)
    sd = math.sqrt(np.sum((v - offset - slope * i) ** 2) / 38 / np.sum((i - i.mean()) ** 2))
    assert code == status.REDUCED and out[report.PAIRS] == 0
    assert out[report.TOTAL] == pytest.approx(slope, rel=1e-9)
    assert out[report.TOTAL_SD] == pytest.approx(sd * math.sqrt(out[report.INFLATION]), rel=1e-9)


def test_correlated_residuals_widen_the_band() -> None:
    rng = np.random.default_rng(4)
    i, v = pulse(UNEVEN, ON, OFF, -5.0, 0.02, [(0.008, 4.0), (0.012, 50.0)])
    slow = np.convolve(rng.standard_normal(len(v) + 19), np.ones(20) / 20, "valid")
    white, _, _ = fit(UNEVEN, i, v + 1e-4 * rng.standard_normal(len(v)))
    coloured, _, _ = fit(UNEVEN, i, v + 1e-4 * slow)
    assert white[report.INFLATION] < 1.5 < 4.0 < coloured[report.INFLATION]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("which", ["early", "late"])
def test_a_row_with_one_sides_current_and_the_others_voltage_does_not_count(which: str, rows: int) -> None:
    """As in the LG M50 file, where they repeat the stamp of the step, up to four times."""
    t = np.arange(0.0, 100.0, 0.5)
    i, v = pulse(t, 10.0, 50.0, -5.0, 0.03, [(0.01, 8.0)])
    k = 20  # the last row at rest; the step is right after it
    where, wrong = np.full(rows, k + 1), (0.0, v[k] - 0.15) if which == "early" else (-5.0, v[k])
    t, i, v = np.insert(t, where, t[k]), np.insert(i, where, wrong[0]), np.insert(v, where, wrong[1])
    out, _, code = fit(t, i, v, pairs=1)
    assert code == status.OK and out[report.USED] == len(t) - rows
    np.testing.assert_allclose(out[[2, 3, 4]], [0.03, 0.01, 8.0], rtol=1e-4)


def test_what_is_no_record() -> None:
    t = np.arange(50.0)
    i, v = pulse(t, 10.0, 30.0, 1.0, 0.05, [(0.02, 5.0)])
    assert fit([], [], [])[2] == status.NOT_IDENTIFIABLE
    assert fit(t, 0 * t, v)[2] == fit(t, 0 * t + 1, v)[2] == status.NOT_IDENTIFIABLE
    assert fit(0 * t, i, v)[2] == status.NOT_IDENTIFIABLE
    assert fit(t[::-1], i, v)[2] == status.BAD_TIME
    assert fit(t, i, v * NAN)[2] == status.BAD_INPUT
    assert fit(t, i, v, before=(NAN, 1.0))[2] == fit(t, i, v, before=(1.0, -1.0))[2] == status.BAD_INPUT
    broken = v.copy()
    broken[[3, 17, 40]] = NAN, math.inf, 1e30
    out, _, code = fit(t, i, broken, pairs=1)
    assert code == status.OK and out[report.USED] == 47
    np.testing.assert_allclose(out[[2, 3, 4]], [0.05, 0.02, 5.0], rtol=1e-4)


def test_negative_resistances_are_never_reported() -> None:
    """A plant that does not exist: the voltage falls while the charge current flows on."""
    i, v = pulse(UNEVEN, ON, OFF, 5.0, 0.05, [(-0.01, 10.0)])
    out, _, code = fit(UNEVEN, i, v)
    assert code in {status.REDUCED, status.NOT_IDENTIFIABLE} and not (out[2:7] < 0).any()


def test_any_floats_are_answered() -> None:
    rng = np.random.default_rng(5)
    strange = np.array([NAN, math.inf, -math.inf, 1e30, -1e30, 0.0, 1e-300, 1e300, 1.0, 3.7, -0.0])
    for trial in range(1500):
        n = int(rng.integers(0, 40))
        t, i, v = (rng.standard_normal(n) * 10.0 ** rng.integers(-9, 10) for _ in range(3))
        if trial % 3:
            t = np.sort(np.abs(t))
        for a in (t, i, v):
            hit = rng.random(n) < rng.choice([0.0, 0.05, 0.6])
            a[hit] = rng.choice(strange, hit.sum())
        before = (float(rng.choice(strange)), float(abs(rng.choice(strange)))) if trial % 4 == 0 else (0.0, 0.0)
        out, cov, code = fit(t, i, v, 1 + trial % 2, float(rng.choice([NAN, 3.7, 1e30])), trial % 5 == 0, before=before)
        if code in {status.OK, status.REDUCED}:
            told = np.isfinite(out[: report.PARAMETERS])
            assert np.isfinite(out[report.TOTAL]) or told[report.R1]
            assert (np.diag(cov)[told] >= 0.0).all() and not np.isinf(out).any()
            assert not (out[[2, 3, 4, 5, 6]] <= 0.0).any()
        else:
            assert np.isnan(out[: report.HOLD]).all() and np.isnan(cov).all()
