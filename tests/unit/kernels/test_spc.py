"""Worked examples by hand, textbook tables, average run lengths."""

import math

import numpy as np
import pytest
from scipy import stats

from kernels import spc, spc_t2, status

NORMAL = np.array([[0.0, 1.0]])


def run(update, columns, parameters, values, state=None, offsets=None):
    values = np.asarray(values, dtype=np.float64)
    ends = np.array([0, values.size] if offsets is None else offsets, dtype=np.int64)
    memory = np.zeros((ends.size - 1, columns)) if state is None else state
    out, flags = np.full((values.size, 2), -9.0), np.full(values.size, 99, dtype=np.uint8)
    update(memory, np.atleast_2d(np.asarray(parameters, dtype=np.float64)), values, ends, out, flags)
    return out, flags


def mean_run_length(update, columns, parameters, shift, runs, seed, wanted, chunk=200):
    """Average run length of `runs` charts from a fresh state, in chunks until every one has signalled."""
    rng = np.random.default_rng(seed)
    lengths = np.zeros(runs)
    going, state = np.arange(runs), np.zeros((runs, columns))
    while going.size:
        values = shift + rng.standard_normal(going.size * chunk)
        offsets = chunk * np.arange(going.size + 1)
        rows = np.tile(parameters, (going.size, 1))
        _, flags = run(update, columns, rows, values, state, offsets)
        hit = (flags.reshape(-1, chunk) & wanted) != 0
        first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, chunk)
        lengths[going] += first
        going, state = going[~hit.any(axis=1)], np.ascontiguousarray(state[~hit.any(axis=1)])
    return lengths.mean(), lengths.std() / math.sqrt(runs)


EITHER = spc.ABOVE | spc.BELOW
EWMA = [0.0, 1.0, 0.2, 2.962, 0.0]
CUSUM = [0.0, 1.0, 0.5, 5.0]


@pytest.mark.parametrize(
    ("name", "update", "columns", "parameters", "wanted", "shift", "published", "runs"),
    [
        ("Shewhart", spc.imr_update, spc.IMR_STATE, [0.0, 1.0], EITHER, 0.0, 370.4, 30_000),
        ("Shewhart", spc.imr_update, spc.IMR_STATE, [0.0, 1.0], EITHER, 1.0, 43.9, 30_000),
        ("Western Electric", spc.imr_update, spc.IMR_STATE, [0.0, 1.0], 15, 0.0, 91.75, 30_000),
        ("EWMA", spc.ewma_update, spc.EWMA_STATE, EWMA, EITHER, 0.0, 500.0, 30_000),
        ("EWMA", spc.ewma_update, spc.EWMA_STATE, EWMA, EITHER, 1.0, 10.5, 30_000),
        ("CUSUM", spc.cusum_update, spc.CUSUM_STATE, CUSUM, EITHER, 0.0, 465.0, 30_000),
        ("CUSUM", spc.cusum_update, spc.CUSUM_STATE, CUSUM, EITHER, 1.0, 10.4, 30_000),
    ],
)
def test_average_run_lengths_equal_published_tables(
    name, update, columns, parameters, wanted, shift, published, runs
) -> None:
    """Montgomery tables 9.3 and 9.11, Champ and Woodall, Technometrics 29 (1987) 393 for the four rules together."""
    mean, error = mean_run_length(update, columns, parameters, shift, runs, 11, wanted)
    print(f"{name} at {shift:g} sigma: ARL {mean:.2f} +- {error:.2f}, published {published:g}")
    # 3.5 standard errors of the Monte Carlo, and half of the table's last digit.
    rounding = 0.05 if published != round(published) else 0.5
    assert abs(mean - published) < 3.5 * error + rounding


def test_cusum_worked_example() -> None:
    """The first values of Montgomery's table 9.1 about 10, by hand: u - k = 1.66 - 0.5 = 1.16, + 2.16 - 0.5 = 2.82."""
    x = [9.45, 7.99, 9.29, 11.66, 12.16]
    out, flags = run(spc.cusum_update, 2, [10.0, 1.0, 0.5, 5.0], x)
    np.testing.assert_allclose(out[:, 0], [0.0, 0.0, 0.0, 1.16, 2.82], atol=1e-12)
    np.testing.assert_allclose(out[:, 1], [0.05, 1.56, 1.77, 0.0, 0.0], atol=1e-12)
    assert not flags.any()
    _, flags = run(spc.cusum_update, 2, [10.0, 1.0, 0.5, 5.0], [*x, 13.0, 13.0])
    assert list(flags[5:]) == [spc.ABOVE, spc.ABOVE]  # 2.82 + 2.5 = 5.32


def test_ewma_worked_example() -> None:
    """Montgomery example 9.2, lambda 0.1, L 2.7, centre 10: z1 = 9.945, z2 = 9.7495; exact limits 0.27, 0.3632."""
    out, _ = run(spc.ewma_update, 2, [10.0, 1.0, 0.1, 2.7, 1.0], [9.45, 7.99])
    np.testing.assert_allclose(10.0 + out[:, 0], [9.945, 9.7495], atol=1e-12)
    np.testing.assert_allclose(out[:, 1], [0.27, 0.27 * math.sqrt(1.81)], rtol=1e-12)
    out, _ = run(spc.ewma_update, 2, [10.0, 1.0, 0.1, 2.7, 0.0], [9.45])
    assert out[0, 1] == pytest.approx(2.7 * math.sqrt(0.1 / 1.9))


def test_western_electric_rules_one_by_one() -> None:
    def flags(values):
        return run(spc.imr_update, spc.IMR_STATE, NORMAL, values)[1] & 0b1111

    assert list(flags([0.5, 3.1, -0.2, -3.1])) == [0, 1, 0, 1]
    assert list(flags([2.1, 0.0, 2.1])) == [0, 0, spc.TWO_OF_THREE]
    assert not flags([2.1, 0.0, -2.1]).any() and not flags([2.1, 0.0, 0.0, 2.1]).any()
    assert list(flags([-1.1, -1.2, 0.3, -1.1, -1.1])) == [0, 0, 0, 0, spc.FOUR_OF_FIVE]
    assert list(flags([0.1] * 9))[6:] == [0, spc.EIGHT_OF_ONE_SIDE, spc.EIGHT_OF_ONE_SIDE]
    assert not flags([0.1] * 7 + [0.0] + [0.1] * 7).any()
    assert not flags([0.1] * 7 + [-0.1]).any()


def test_moving_range_and_limits() -> None:
    """33.75, 33.05, 34.00, 33.81: mean 33.6525, mean moving range 0.6133 (0.70, 0.95, 0.19), sigma 0.5436."""
    values, offsets = np.array([33.75, 33.05, np.nan, 34.0, 33.81, 1.0]), np.array([0, 5, 6])
    out, code = np.empty((2, 3)), np.empty(2, dtype=np.uint8)
    spc.imr_limits(values, offsets, out, code)
    np.testing.assert_allclose(out[0], [33.6525, 0.6133333 / 1.1283792, 4.0], rtol=1e-6)
    assert list(code) == [status.OK, status.WAITING]
    out, flags = run(spc.imr_update, spc.IMR_STATE, NORMAL, [0.0, 3.6, 0.0, 3.7 - 1e-9])
    assert np.isnan(out[0, 1]) and out[1, 1] == 3.6
    assert [bool(f & spc.MOVING_RANGE) for f in flags] == [False, False, False, True]  # 3.267 x 1.128 = 3.686


def test_cpk_and_its_interval() -> None:
    """n = 20, Cpk 1.33: 1.96 sqrt(1/180 + 1.33^2/38) = 1.96 x 0.22828 = 0.4474."""
    values = np.tile([-1.0, 1.0], 10)
    values /= values.std(ddof=1)
    out, code = np.empty((1, 6)), np.empty(1, dtype=np.uint8)
    offsets, bounds = np.array([0, 20]), np.array([[-3.99, 10.0, 1.96]])
    spc.cpk_update(np.zeros((1, 3)), bounds, values, offsets, out, code)
    np.testing.assert_allclose(out[0, :3], [1.33, 0.8826, 1.7774], atol=5e-5)
    spc.cpk_update(np.zeros((1, 3)), bounds, np.full(20, 5.0), offsets, out, code)
    assert code[0] == status.NOT_IDENTIFIABLE and math.isnan(out[0, 0])


def test_cpk_interval_holds_the_truth() -> None:
    """Bissell's interval is an approximation: 93 to 97 % at n = 100, 2,000 draws of a true Cpk of 4/3."""
    rng = np.random.default_rng(3)
    n, m = 2000, 100
    out, code = np.empty((n, 6)), np.empty(n, dtype=np.uint8)
    bounds = np.tile([-4.0, 4.0 + 1e9, 1.96], (n, 1))
    spc.cpk_update(np.zeros((n, 3)), bounds, rng.standard_normal(n * m), m * np.arange(n + 1), out, code)
    inside = (out[:, 1] < 4.0 / 3.0) & (out[:, 2] > 4.0 / 3.0)
    assert 0.93 <= inside.mean() <= 0.97


@pytest.mark.parametrize(
    ("update", "columns", "parameters"),
    [
        (spc.imr_update, spc.IMR_STATE, [0.1, 0.9]),
        (spc.ewma_update, spc.EWMA_STATE, [0.1, 0.9, 0.2, 2.9, 1.0]),
        (spc.cusum_update, spc.CUSUM_STATE, [0.1, 0.9, 0.5, 5.0]),
    ],
)
def test_a_stream_is_a_batch_cut_anywhere_and_any_float_is_answered(update, columns, parameters) -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal(400)
    values[rng.integers(0, 400, 40)] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e300], 40)
    whole, flags = run(update, columns, parameters, values)
    state, parts, raised = np.zeros((1, columns)), [], []
    for piece in np.split(values, [1, 1, 7, 200]):
        out, some = run(update, columns, parameters, piece, state)
        parts.append(out)
        raised.append(some)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(np.concatenate(raised), flags)
    bad = ~(np.abs(values) <= spc.VALUE_LIMIT)
    assert (flags[bad] == spc.BAD).all() and not (flags[~bad] & spc.BAD).any()
    assert np.isfinite(whole[~bad, 0]).all()
    for broken in ([np.nan, 1.0], [0.0, 0.0], [0.0, -1.0], [0.0, np.inf]):
        assert (run(update, columns, broken + parameters[2:], values)[1] == spc.BAD).all()


def learn(values, offsets):
    n, p = len(offsets) - 1, values.shape[1]
    count, mean, scatter, factor = np.zeros(n), np.zeros((n, p)), np.zeros((n, p, p)), np.zeros((n, p, p))
    code = np.empty(n, dtype=np.uint8)
    spc_t2.t2_learn(count, mean, scatter, values, np.asarray(offsets))
    spc_t2.t2_factor(count, scatter, factor, code)
    return count, mean, factor, code


def test_t2_worked_example() -> None:
    """S = [[1, .5], [.5, 1]], S^-1 = [[4, -2], [-2, 4]]/3: (1, 1) gives 4/3, (1, -1) gives 4."""
    factor = np.linalg.cholesky(np.array([[[1.0, 0.5], [0.5, 1.0]]]))
    out, flags = np.empty(3), np.empty(3, dtype=np.uint8)
    values = np.array([[1.0, 1.0], [1.0, -1.0], [np.nan, 0.0]])
    spc_t2.t2_update(np.zeros((1, 2)), factor, np.array([3.0]), values, np.array([0, 3]), out, flags)
    np.testing.assert_allclose(out, [4.0 / 3.0, 4.0, np.nan])
    assert list(flags) == [0, spc.ABOVE, spc.BAD]


def test_t2_learns_a_covariance_and_refuses_a_singular_one() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3)) + 1e4
    twice = np.concatenate([values, values])
    twice[200:, 2] = twice[200:, 1]
    count, mean, factor, code = learn(np.concatenate([twice, values[:3]]), [0, 200, 400, 403])
    assert list(code) == [status.OK, status.NOT_IDENTIFIABLE, status.WAITING] and list(count) == [200, 200, 3]
    np.testing.assert_allclose(mean[0], values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(factor[0] @ factor[0].T, np.cov(values.T), rtol=1e-7)
    assert np.isnan(factor[1:]).all()


def test_t2_limit_is_scipy_s_and_its_false_alarms_are_alpha() -> None:
    for p, m, alpha in ((1, 10, 0.05), (2, 25, 0.0027), (5, 30, 0.01), (20, 500, 1e-6), (3, 1e6, 0.0027)):
        wanted = p * (m + 1) * (m - 1) / (m * (m - p)) * stats.f.isf(alpha, p, m - p)
        assert spc_t2.t2_limit(p, float(m), alpha) == pytest.approx(wanted, rel=1e-6)
    for p, m, alpha in ((2, 2.0, 0.01), (0, 10.0, 0.01), (2, math.nan, 0.01), (2, 10.0, 0.0), (99, 1e3, 0.1)):
        assert math.isnan(spc_t2.t2_limit(p, m, alpha))
    rng = np.random.default_rng(6)
    n, m = 4000, 20
    values = rng.standard_normal((n * m, 2))
    count, mean, factor, code = learn(values, m * np.arange(n + 1))
    assert (code == status.OK).all() and (count == m).all()
    out, flags = np.empty(n * 10), np.empty(n * 10, dtype=np.uint8)
    limit = np.full(n, spc_t2.t2_limit(2, float(m), 0.05))
    spc_t2.t2_update(mean, factor, limit, rng.standard_normal((n * 10, 2)), 10 * np.arange(n + 1), out, flags)
    assert (flags == spc.ABOVE).mean() == pytest.approx(0.05, abs=0.005)
