"""Parts of the relaxation fit: layout, block means, projected sums, the search. The model stands in relaxation.py."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper

F = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# Columns of the output.
V_INF, AMPLITUDE, K, TAU, BETA = 0, 1, 2, 3, 4
V_INF_SD, AMPLITUDE_SD, K_SD, TAU_SD, BETA_SD = 5, 6, 7, 8, 9
NOISE, CORRELATION, END, END_SLOPE, USED, DURATION = 10, 11, 12, 13, 14, 15
COLUMNS = 16

# Why a record has no K: finer than the outcome code.
WHY_NONE, WHY_FEW, WHY_TIME, WHY_STUCK, WHY_NOT_OVER, WHY_NOT_SEEN, WHY_BOUND, WHY_SINGULAR, WHY_WIDE = range(9)
WHY_DRIFTS = 9

SAMPLES_MIN, BLOCKS_MIN = 20, 10
BLOCKS_MAX = 512
BLOCK_GROWTH = 1.0 / 24.0
VOLTAGE_LIMIT_V, TIME_LIMIT_S = 1.0e3, 1.0e12
BETA_LOW, BETA_HIGH = 0.2, 1.5  # disorder stretches; a little above 1 lets noise about 1 be noise
TAU_HIGH = 3.0  # of the record's length
SEEN_CHI2 = 25.0  # the relaxation must lower the residuals' chi-square by this much over a straight line
DRIFT_MAX = 4.0  # standard deviations by which the first half of a record may disagree with the whole
INDEPENDENT_MIN = 30.0  # samples / correlation time: residuals that wander more slowly are the model being wrong
STEPS_MAX = 60
W, T, LOG_T, Y = 0, 1, 2, 3  # rows of the blocks


@contracted_helper
def factorise(a: F, n: int) -> bool:
    """Cholesky factor of the n x n corner of `a` in its lower triangle; False when a pivot has lost its digits."""
    for j in range(n):
        pivot = a[j, j]
        least = 1e-12 * pivot
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not (pivot > least and pivot > 1e-300):
            return False
        root = math.sqrt(pivot)
        a[j, j] = root
        for i in range(j + 1, n):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            a[i, j] = s / root
    return True


@contracted_helper
def solve_factored(a: F, n: int, x: F) -> None:
    """Solves with the factor `a` in place."""
    for i in range(n):
        for k in range(i):
            x[i] -= a[i, k] * x[k]
        x[i] /= a[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= a[k, i] * x[k]
        x[i] /= a[i, i]


@contracted_helper
def block_means(time_s: F, voltage_v: F, first: int, last: int, start_s: float, info: F, blocks: F) -> int:
    """Means over blocks that widen with time; their number, 0 where the record is unusable (`info[3]` says why).

    info: [0] samples used, [1] last time, [2] voltage subtracted, [3] why, [4] smallest step of voltage. Samples that
    are not finite or beyond a limit are left out, and so are those before the start.
    """
    info[:] = 0.0
    if not abs(start_s) <= TIME_LIMIT_S:
        info[3] = WHY_FEW
        return 0
    before, end, level, step = -1.0, -1.0, 0.0, math.inf
    count, total = 0, 0.0
    for k in range(first, last):
        t, v = time_s[k] - start_s, voltage_v[k]
        if not (0.0 <= t <= TIME_LIMIT_S and abs(v) <= VOLTAGE_LIMIT_V):
            continue
        if t < end:
            info[3] = WHY_TIME
            return 0
        if count > 0 and v != before and abs(v - before) < step:
            step = abs(v - before)
        before, end = v, t
        count += 1
        total += v
    info[0], info[1] = count, end
    if count < SAMPLES_MIN or end <= 0.0:
        info[3] = WHY_FEW
        return 0
    if step == math.inf:
        info[3] = WHY_STUCK
        return 0
    level = total / count
    info[2], info[4] = level, step
    n, close = -1, -1.0
    for k in range(first, last):
        t, v = time_s[k] - start_s, voltage_v[k]
        if not (0.0 <= t <= TIME_LIMIT_S and abs(v) <= VOLTAGE_LIMIT_V):
            continue
        if t > close and n < BLOCKS_MAX - 1:
            n += 1
            close = t + max(BLOCK_GROWTH * t, 1e-6 * end)
            blocks[W, n] = blocks[T, n] = blocks[Y, n] = 0.0
        blocks[W, n] += 1.0
        blocks[T, n] += t
        blocks[Y, n] += v - level
    n += 1
    for j in range(n):
        blocks[T, j] /= blocks[W, j] * end  # time in units of the record
        blocks[Y, j] /= blocks[W, j]
        blocks[LOG_T, j] = math.log(max(blocks[T, j], 1e-12))
    if n < BLOCKS_MIN:
        info[3] = WHY_FEW
        return 0
    return n


@contracted_helper
def projected_sums(blocks: F, n: int, log_tau: float, beta: float, m: F, b: F) -> float:
    """Weighted products of the columns 1, e, t, ez, ezL and y, with z = (t/tau)^beta, L = ln(t/tau), e = exp(-z).

    m (5, 5) lower triangle, b (5,); returns the sum of squares of y.
    """
    s00 = s10 = s11 = s20 = s21 = s22 = s30 = s31 = s32 = s33 = s40 = s41 = s42 = s43 = s44 = 0.0
    y0 = y1 = y2 = y3 = y4 = yy = 0.0
    for j in range(n):
        w, t, y = blocks[W, j], blocks[T, j], blocks[Y, j]
        away = blocks[LOG_T, j] - log_tau
        z = math.exp(min(beta * away, 7.0))
        e = math.exp(-z)
        d = e * z
        q = d * away
        we, wt, wd, wq, wy = w * e, w * t, w * d, w * q, w * y
        s00 += w
        s10 += we
        s11 += we * e
        s20 += wt
        s21 += wt * e
        s22 += wt * t
        s30 += wd
        s31 += wd * e
        s32 += wd * t
        s33 += wd * d
        s40 += wq
        s41 += wq * e
        s42 += wq * t
        s43 += wq * d
        s44 += wq * q
        y0 += wy
        y1 += wy * e
        y2 += wy * t
        y3 += wy * d
        y4 += wy * q
        yy += wy * y
    m[0, 0], m[1, 0], m[1, 1], m[2, 0], m[2, 1], m[2, 2] = s00, s10, s11, s20, s21, s22
    m[3, 0], m[3, 1], m[3, 2], m[3, 3] = s30, s31, s32, s33
    m[4, 0], m[4, 1], m[4, 2], m[4, 3], m[4, 4] = s40, s41, s42, s43, s44
    b[0], b[1], b[2], b[3], b[4] = y0, y1, y2, y3, y4
    return yy


@contracted_helper
def project(m: F, b: F, yy: float, beta: float, c: F, reduced: F, factor: F, column: F) -> float:
    """Linear coefficients `c` (3,) of 1, e, t and the reduced gradient and matrix of (ln tau, ln beta).

    reduced: g1, g2, h11, h21, h22. Returns the residual sum of squares; inf where the columns are not independent.
    """
    for i in range(3):
        for j in range(3):
            factor[i, j] = m[i, j]
    if not factorise(factor, 3):
        return math.inf
    for i in range(3):
        c[i] = b[i]
    solve_factored(factor, 3, c)
    scale1, scale2 = c[1] * beta, -c[1] * beta
    r3, r4 = b[3], b[4]
    for i in range(3):
        r3 -= m[3, i] * c[i]
        r4 -= m[4, i] * c[i]
    h33, h43, h44 = m[3, 3], m[4, 3], m[4, 4]
    for i in range(3):
        column[i] = m[3, i]
    solve_factored(factor, 3, column)
    for i in range(3):
        h33 -= column[i] * m[3, i]
        h43 -= column[i] * m[4, i]
    for i in range(3):
        column[i] = m[4, i]
    solve_factored(factor, 3, column)
    for i in range(3):
        h44 -= column[i] * m[4, i]
    reduced[0], reduced[1] = scale1 * r3, scale2 * r4
    reduced[2], reduced[3], reduced[4] = scale1 * scale1 * h33, scale1 * scale2 * h43, scale2 * scale2 * h44
    return float(max(yy - c[0] * b[0] - c[1] * b[1] - c[2] * b[2], 0.0))


@contracted_helper
def grid_start(
    blocks: F, n: int, low: float, m: F, b: F, c: F, reduced: F, factor: F, column: F
) -> tuple[float, float]:
    """The best start of ln tau (in units of the record) and ln beta."""
    best, best_tau, best_beta = math.inf, math.log(0.2), math.log(0.7)
    high = math.log(1.0)
    for i in range(6):
        log_tau = low + (high - low) * i / 5.0
        for j in range(2):
            beta = 0.5 + 0.4 * j
            yy = projected_sums(blocks, n, log_tau, beta, m, b)
            sse = project(m, b, yy, beta, c, reduced, factor, column)
            if sse < best:
                best, best_tau, best_beta = sse, log_tau, math.log(beta)
    return best_tau, best_beta


@contracted_helper
def search(
    blocks: F, n: int, low: float, log_tau: float, log_beta: float,
    m: F, b: F, c: F, reduced: F, factor: F, column: F,
) -> tuple[float, float, float]:  # fmt: skip
    """ln tau, ln beta and the residual sum of squares at the least squares; m, b, c belong to them."""
    high, beta_low, beta_high = math.log(TAU_HIGH), math.log(BETA_LOW), math.log(BETA_HIGH)
    yy = projected_sums(blocks, n, log_tau, math.exp(log_beta), m, b)
    sse = project(m, b, yy, math.exp(log_beta), c, reduced, factor, column)
    damping = 1e-3
    for _ in range(STEPS_MAX):
        g1, g2, h11, h21, h22 = reduced[0], reduced[1], reduced[2], reduced[3], reduced[4]
        d11, d22 = h11 * (1.0 + damping), h22 * (1.0 + damping)
        det = d11 * d22 - h21 * h21
        if not det > 0.0:
            if damping > 1e6:
                break
            damping = max(damping * 10.0, 1e-6)
            continue
        step1, step2 = (d22 * g1 - h21 * g2) / det, (d11 * g2 - h21 * g1) / det
        step1, step2 = min(max(step1, -1.0), 1.0), min(max(step2, -0.5), 0.5)
        try_tau, try_beta = min(max(log_tau + step1, low), high), min(max(log_beta + step2, beta_low), beta_high)
        moved = abs(try_tau - log_tau) + abs(try_beta - log_beta)
        beta = math.exp(try_beta)
        yy = projected_sums(blocks, n, try_tau, beta, m, b)
        try_sse = project(m, b, yy, beta, c, reduced, factor, column)
        if try_sse <= sse:
            gain = sse - try_sse
            log_tau, log_beta, sse = try_tau, try_beta, try_sse
            damping = max(damping * 0.2, 1e-9)
            if moved < 1e-7 or (gain <= 1e-7 * sse and damping < 1e-2):
                break
        else:
            damping *= 10.0
            yy = projected_sums(blocks, n, log_tau, math.exp(log_beta), m, b)
            project(m, b, yy, math.exp(log_beta), c, reduced, factor, column)
            if moved < 1e-7 or damping > 1e8:
                break
    return log_tau, log_beta, sse


@contracted_helper
def correlation_time(r: F, n: int, parameters: int, variance: float) -> float:
    """Integrated autocorrelation time [samples], at least 1: tau = 1 + 2 sum rho_k, window at 2.5 tau.

    A fit of p parameters takes p tau/n off every rho_k, which is put back. A window of more than 40 lags goes on with
    means of four: the long-run variance is the same, the cost stays n. Overwrites `r`.
    """
    folded, own = 1.0, variance
    while own > 0.0:
        raw, time, closed = 1.0, 1.0, False
        for lag in range(1, min(n // 3, 40) + 1):
            s = 0.0
            for k in range(lag, n):
                s += r[k] * r[k - lag]
            raw += 2.0 * s / (n * own)
            time = raw / max(1.0 - (2.0 * lag + 1.0) * parameters / n, 0.2)
            if lag >= 2.5 * time:
                closed = True
                break
        if closed or n < 240:
            return float(max(folded * time * own / variance, 1.0))
        n //= 4
        folded *= 4.0
        own = 0.0
        for k in range(n):
            r[k] = 0.25 * (r[4 * k] + r[4 * k + 1] + r[4 * k + 2] + r[4 * k + 3])
            own += r[k] * r[k] / n
    return 1.0
