"""Open-circuit relaxation and leak of many cells at rest, told apart by a fit. SI units; nothing of trays or grades.

    V(t) = V_inf - A exp(-(t/tau)^beta) - K t        t from the moment the current stopped

Stretched exponential: Kohlrausch, Ann. Phys. Chem. 91 (1854) 179; of a cell's rest: Deng et al., J. Power Sources 451
(2020) 227793. A and K of either sign (A > 0: the voltage climbs); K > 0 is self-discharge.

V_inf, A and K are linear and projected out (Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973) 413, in Kaufman's form:
the Gauss-Newton step for ln tau and ln beta is the Schur complement of the full one); Levenberg-Marquardt on those two
starts from the best of a grid. The fit runs on block means whose width grows with t (t/24): the model bends on the
scale of t, so that a block's mean stands for its samples to 1e-4 of A, and a six-hour record becomes 130 numbers.

The covariance is that of the linearised fit times the residuals' variance times their integrated autocorrelation time
(Sokal 1996, Monte Carlo methods in statistical mechanics, lecture 3), so that slow
noise and a model that does not quite hold widen the band. Noise too small to dither a coarse converter adds what two
ends of a staircase leave open.
"""

# ruff: noqa: I001  (one name a line would be forty lines of imports)
from __future__ import annotations

import math

import numpy as np

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel
from kernels.relaxation_search import (
    AMPLITUDE, BETA, BETA_HIGH, BETA_LOW, BETA_SD, BLOCKS_MAX, BLOCKS_MIN, COLUMNS, CORRELATION, DRIFT_MAX, DURATION,
    END, END_SLOPE, INDEPENDENT_MIN, K, K_SD, LOG_T, NOISE, SEEN_CHI2, T, TAU, TAU_HIGH, TAU_SD, TIME_LIMIT_S, USED,
    V_INF, V_INF_SD, VOLTAGE_LIMIT_V, W, WHY_BOUND, WHY_DRIFTS, WHY_FEW, WHY_NONE, WHY_NOT_OVER, WHY_NOT_SEEN,
    WHY_SINGULAR, WHY_TIME, WHY_WIDE, Y, Bytes, F, Ints,
    block_means, correlation_time, factorise, grid_start, projected_sums, search, solve_factored,
)  # fmt: skip


@contracted_helper
def _residuals(
    time_s: F, voltage_v: F, first: int, last: int, start_s: float, info: F, blocks: F, c: F, log_tau: float,
    beta: float, r: F,
) -> int:  # fmt: skip
    """Residuals of every sample into `r`; how many. Within a block the exponential is its parabola, to 2e-6."""
    n, end, j, left = 0, info[1], -1, 0.0
    middle = e = slope = bend = 0.0
    for k in range(first, last):
        t, v = time_s[k] - start_s, voltage_v[k]
        if not (0.0 <= t <= TIME_LIMIT_S and abs(v) <= VOLTAGE_LIMIT_V):
            continue
        if left <= 0.0:
            j += 1
            left, middle = blocks[W, j], blocks[T, j]
            z = math.exp(min(beta * (blocks[LOG_T, j] - log_tau), 7.0))
            e, slope, bend = math.exp(-z), 0.0, 0.0
            if middle > 1e-6:
                slope = -e * z * beta / middle
                bend = slope * (beta - 1.0 - z * beta) / middle
        left -= 1.0
        away = t / end - middle
        r[n] = v - info[2] - c[0] - c[1] * (e + away * (slope + 0.5 * bend * away)) - c[2] * (middle + away)
        n += 1
    return n


@contracted_helper
def _noise(r: F, n: int, parameters: int, row: F) -> float:
    """Writes the residuals' SD and correlation time; the variance that scales the inverse of the sums."""
    square = 0.0
    for k in range(n):
        square += r[k] * r[k]
    variance = square / (n - parameters)
    row[NOISE] = math.sqrt(variance)
    row[CORRELATION] = correlation_time(r, n, parameters, square / n)
    return float(variance * row[CORRELATION])


@contracted_helper
def _slope_variance(variance: float, info: F, noise_v: float) -> float:
    """`variance` of a voltage change per record, and what a converter's step leaves open where no noise dithers it.

    Both ends of a staircase are uniform over one step: step^2/12 each.
    """
    return variance + (info[4] * info[4] / 6.0 if noise_v < 0.5 * info[4] else 0.0)


@contracted_helper
def _line(
    time_s: F, voltage_v: F, first: int, last: int, start_s: float, info: F, blocks: F, n: int, r: F, row: F,
    m: F, b: F, c: F,
) -> int:  # fmt: skip
    """V_inf and K of a straight line, for cells whose relaxation is long over. Returns why K is refused."""
    end = info[1]
    projected_sums(blocks, n, 0.0, 1.0, m, b)
    s, st, stt = m[0, 0], m[2, 0], m[2, 2]
    det = s * stt - st * st
    if not det > 1e-12 * s * stt:
        return WHY_SINGULAR
    c[0], c[1], c[2] = (stt * b[0] - st * b[2]) / det, 0.0, (s * b[2] - st * b[0]) / det
    used = _residuals(time_s, voltage_v, first, last, start_s, info, blocks, c, 0.0, 1.0, r)
    scale = _noise(r, used, 2, row)
    row[V_INF], row[K], row[END_SLOPE] = info[2] + c[0], -c[2] / end, c[2] / end
    row[V_INF_SD] = math.sqrt(scale * stt / det)
    whole, fall = scale * s / det, c[2]
    row[K_SD] = math.sqrt(_slope_variance(whole, info, row[NOISE])) / end
    half = n
    while half > 2 and blocks[T, half - 1] > 0.5:
        half -= 1
    projected_sums(blocks, half, 0.0, 1.0, m, b)
    s, st, stt = m[0, 0], m[2, 0], m[2, 2]
    det = s * stt - st * st
    if not det > 1e-12 * s * stt:
        return WHY_NONE
    return _steady((s * b[2] - st * b[0]) / det - fall, scale * s / det, whole)


@contracted_helper
def _curve(
    time_s: F, voltage_v: F, first: int, last: int, start_s: float, info: F, blocks: F, n: int, r: F, row: F,
    m: F, b: F, c: F, factor: F, end_min: float,
) -> int:  # fmt: skip
    """All five parameters and their standard deviations. Returns why K is refused; `row` then holds what is known."""
    end = info[1]
    low = math.log(max(blocks[T, 0], 1.0 / 3000.0))
    reduced, column = np.zeros(5), np.zeros(5)
    log_tau, log_beta = grid_start(blocks, n, low, m, b, c, reduced, factor, column)
    log_tau, log_beta, sse = search(blocks, n, low, log_tau, log_beta, m, b, c, reduced, factor, column)
    if not sse < math.inf:
        return WHY_SINGULAR
    beta = math.exp(log_beta)
    z = math.exp(-beta * log_tau)
    row[END_SLOPE] = (c[2] - c[1] * beta * z * math.exp(-z)) / end
    row[END] = z
    used = _residuals(time_s, voltage_v, first, last, start_s, info, blocks, c, log_tau, beta, r)
    scale = _noise(r, used, 5, row)
    reason = _doubt(blocks, n, row, m, b, c, sse, scale, log_tau, log_beta, low, end_min)
    if reason != WHY_NONE:
        return reason
    if not _information(m, c, beta, factor):
        return WHY_SINGULAR
    tau = math.exp(log_tau) * end
    row[V_INF], row[AMPLITUDE], row[K], row[TAU], row[BETA] = info[2] + c[0], -c[1], -c[2] / end, tau, beta
    for k in range(5):
        row[V_INF_SD + k] = math.sqrt(scale * _variance(factor, 5, k, column))
    row[TAU_SD] *= tau
    row[BETA_SD] *= beta
    whole, fall = row[K_SD] ** 2, c[2]
    row[K_SD] = math.sqrt(_slope_variance(whole, info, row[NOISE])) / end
    half = n
    while half > BLOCKS_MIN and blocks[T, half - 1] > 0.5:
        half -= 1
    _, log_beta, sse = search(blocks, half, low, log_tau, log_beta, m, b, c, reduced, factor, column)
    if not (sse < math.inf and _information(m, c, math.exp(log_beta), factor)):
        return WHY_NONE
    return _steady(c[2] - fall, scale * _variance(factor, 5, 2, column), whole)


@contracted_helper
def _doubt(
    blocks: F, n: int, row: F, m: F, b: F, c: F, sse: float, scale: float, log_tau: float, log_beta: float,
    low: float, end_min: float,
) -> int:  # fmt: skip
    """Why the relaxation that was found does not stand apart from a leak."""
    if math.exp(-math.exp(log_beta) * log_tau) < end_min or log_tau > math.log(0.99 * TAU_HIGH):
        return WHY_NOT_OVER
    s, st, stt = m[0, 0], m[2, 0], m[2, 2]
    slope = (s * b[2] - st * b[0]) / (s * stt - st * st)
    offset = (b[0] - slope * st) / s
    straight = 0.0
    for j in range(n):
        away = blocks[Y, j] - offset - slope * blocks[T, j]
        straight += blocks[W, j] * away * away
    if not straight - sse > SEEN_CHI2 * scale:
        return WHY_NOT_SEEN
    # Below 1e-4 of A the residuals are those of the block means, not of the model.
    if row[NOISE] > 1e-4 * abs(c[1]) and row[USED] < INDEPENDENT_MIN * row[CORRELATION]:
        return WHY_BOUND
    if log_beta <= math.log(1.01 * BETA_LOW) or log_beta >= math.log(0.99 * BETA_HIGH) or log_tau <= low + 1e-6:
        return WHY_BOUND
    return WHY_NONE


@contracted_helper
def _information(m: F, c: F, beta: float, factor: F) -> bool:
    """Factor of the information on (1, e, t, ln tau, ln beta); False where it has lost its digits."""
    for i in range(5):
        by = c[1] * beta if i == 3 else -c[1] * beta if i == 4 else 1.0
        for j in range(i + 1):
            also = c[1] * beta if j == 3 else -c[1] * beta if j == 4 else 1.0
            factor[i, j] = m[i, j] * by * also
    return factorise(factor, 5)


@contracted_helper
def _variance(factor: F, n: int, k: int, column: F) -> float:
    """Diagonal element k of the inverse of what `factor` is the factor of."""
    for i in range(n):
        column[i] = 1.0 if i == k else 0.0
    solve_factored(factor, n, column)
    return float(column[k])


@contracted_helper
def _steady(change: float, half: float, whole: float) -> int:
    """Hausman's test that the record's first half gives the leak of the whole: Var(K_half - K) = Var(K_half) - Var(K).

    A leak does; the tail of a relaxation that is no single stretched exponential passes for a leak that slows down.
    """
    spread = half - whole
    return WHY_DRIFTS if spread > 0.0 and change * change > DRIFT_MAX * DRIFT_MAX * spread else WHY_NONE


@contracted_kernel
def relaxation_fit(
    time_s: F,
    voltage_v: F,
    offsets: Ints,
    start_s: F,
    relaxed: bool,
    k_sd_max_v_s: float,
    end_min: float,
    out: F,
    code: Bytes,
    why: Bytes,
) -> None:
    """Fits n records: record i is offsets[i] to offsets[i + 1] of `time_s` and `voltage_v`, at rest since start_s[i].

    `relaxed` fits a straight line: the caller knows that the relaxation is over. `k_sd_max_v_s`: a wider K is refused.
    `end_min`: how many powers of e the relaxation must have fallen by, (t_end/tau)^beta. Writes `out` (n, COLUMNS), nan
    where the record does not give a value, `code` OK, WAITING (too few samples), BAD_TIME or NOT_IDENTIFIABLE, and
    `why`.
    """
    longest, total = 1, time_s.shape[0]
    for i in range(offsets.shape[0] - 1):
        longest = max(longest, min(offsets[i + 1], total) - max(offsets[i], 0))
    blocks, r, info = np.empty((4, BLOCKS_MAX)), np.empty(longest), np.empty(5)
    m, b, c, factor = np.zeros((5, 5)), np.zeros(5), np.zeros(3), np.zeros((5, 5))
    for i in range(offsets.shape[0] - 1):
        row = out[i]
        row[:] = math.nan
        first, last = max(offsets[i], 0), min(offsets[i + 1], total)
        n = block_means(time_s, voltage_v, first, last, start_s[i], info, blocks)
        row[USED], row[DURATION] = info[0], max(info[1], 0.0)
        reason = int(info[3])
        if n > 0 and relaxed:
            reason = _line(time_s, voltage_v, first, last, start_s[i], info, blocks, n, r, row, m, b, c)
        elif n > 0:
            reason = _curve(
                time_s, voltage_v, first, last, start_s[i], info, blocks, n, r, row, m, b, c, factor, end_min
            )
        if reason == WHY_NONE and not row[K_SD] <= k_sd_max_v_s:
            reason = WHY_WIDE
        if reason != WHY_NONE:
            row[: BETA_SD + 1] = math.nan
        why[i] = reason
        code[i] = _outcome(reason)


@contracted_helper
def _outcome(why: int) -> int:
    if why == WHY_NONE:
        return status.OK
    if why == WHY_TIME:
        return status.BAD_TIME
    if why == WHY_FEW:
        return status.WAITING
    return status.NOT_IDENTIFIABLE


def warm_up() -> None:
    """Compiles with the signatures of twin/relaxation.py."""
    t = np.arange(1.0, 101.0)
    v = 3.6 - 0.01 * np.exp(-np.sqrt(t / 9.0)) + 1e-4 * np.cos(t * t)
    offsets, out = np.array([0, 100], dtype=np.int64), np.empty((1, COLUMNS))
    code, why = np.empty(1, dtype=np.uint8), np.empty(1, dtype=np.uint8)
    relaxation_fit(t, v, offsets, np.zeros(1), False, math.inf, 1.0, out, code, why)
