"""Hotelling's T2 of many channels of p variables: learning the normal state, watching it, the limit. No grades.

T2 = (x - mean)' S^-1 (x - mean), through the Cholesky factor of S. Sources: Montgomery, Introduction to Statistical
Quality Control, section 11.3; limit for new observations against m learnt ones (Tracy, Young and Mason, J. Qual.
Technol. 24 (1992) 88): p (m + 1)(m - 1)/(m (m - p)) F(1 - alpha; p, m - p).
"""

from __future__ import annotations

import math

import numpy as np

from kernels import status
from kernels._jit import helper, kernel
from kernels.spc import ABOVE, BAD, VALUE_LIMIT, Bytes, F, Ints

VARIABLES_MAX = 32


@helper
def _usable(values: F, k: int) -> bool:
    good = True
    for j in range(values.shape[1]):
        good &= abs(values[k, j]) <= VALUE_LIMIT
    return good


@kernel
def t2_learn(count: F, mean: F, scatter: F, values: F, offsets: Ints) -> int:
    """Adds observations (total, p) to count (n,), mean (n, p) and scatter (n, p, p), which start as zeros.

    Welford's recurrence with both deviations. Observations that are not finite do not count; returns how many did.
    """
    p, used = values.shape[1], 0
    before = np.empty(p)
    for i in range(offsets.shape[0] - 1):
        for k in range(offsets[i], offsets[i + 1]):
            if not _usable(values, k):
                continue
            used += 1
            count[i] += 1.0
            for j in range(p):
                before[j] = values[k, j] - mean[i, j]
                mean[i, j] += before[j] / count[i]
            for j in range(p):
                for m in range(j + 1):
                    scatter[i, j, m] += before[j] * (values[k, m] - mean[i, m])
    return used


@kernel
def t2_factor(count: F, scatter: F, factor: F, code: Bytes) -> None:
    """Cholesky factors (n, p, p) of the covariances; NOT_IDENTIFIABLE where variables are constant or repeat others."""
    p = scatter.shape[1]
    for i in range(count.shape[0]):
        factor[i] = 0.0
        code[i] = status.OK if count[i] > p + 1.0 else status.WAITING
        for j in range(p):
            if code[i] != status.OK:
                break
            for row in range(j, p):
                s = scatter[i, row, j] / (count[i] - 1.0)
                for m in range(j):
                    s -= factor[i, row, m] * factor[i, j, m]
                if row > j:
                    factor[i, row, j] = s / factor[i, j, j]
                elif s > 1e-12 * scatter[i, j, j] / (count[i] - 1.0) and s > 1e-300:
                    factor[i, j, j] = math.sqrt(s)
                else:
                    code[i] = status.NOT_IDENTIFIABLE
                    break
        if code[i] != status.OK:
            factor[i] = math.nan


@kernel
def t2_update(mean: F, factor: F, limit: F, values: F, offsets: Ints, out: F, flags: Bytes) -> None:
    """T2 of observations (total, p) into out (total,); ABOVE beyond limit (n,), BAD where there is no T2."""
    p = values.shape[1]
    y = np.empty(p)
    for i in range(offsets.shape[0] - 1):
        for k in range(offsets[i], offsets[i + 1]):
            total = 0.0
            for j in range(p):
                s = values[k, j] - mean[i, j]
                for m in range(j):
                    s -= factor[i, j, m] * y[m]
                y[j] = s / factor[i, j, j] if factor[i, j, j] > 0.0 else math.nan
                total += y[j] * y[j]
            good = total <= VALUE_LIMIT * VALUE_LIMIT and limit[i] > 0.0
            out[k] = total if good else math.nan
            flags[k] = BAD if not good else ABOVE if total > limit[i] else 0


@helper
def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 2000):
        for even in range(2):
            if even == 0:
                term = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
            else:
                term = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
            d = 1.0 + term * d
            c = 1.0 + term / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            h *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return h


@helper
def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), a and b positive; nan otherwise."""
    if not (a > 0.0 and b > 0.0 and 0.0 <= x <= 1.0):
        return math.nan
    if not 0.0 < x < 1.0:
        return x
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _beta_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _beta_fraction(b, a, 1.0 - x) / b


@kernel
def t2_limit(p: int, m: float, alpha: float) -> float:
    """Upper limit of T2 of a new observation, false alarm `alpha`, against m learnt ones; nan where there is none.

    With F = (m - p)/p * w/(1 - w), w beta distributed (p/2, (m - p)/2), the limit is (m + 1)(m - 1)/m * w/(1 - w).
    """
    if not (1 <= p <= VARIABLES_MAX and m > p and m <= 1e9 and 1e-12 <= alpha < 1.0):
        return math.nan
    # 1 - w is sought, whose small values keep their digits: I_(1-w)((m-p)/2, p/2) = alpha.
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if incomplete_beta(0.5 * (m - p), 0.5 * p, middle) < alpha:
            low = middle
        else:
            high = middle
    rest = 0.5 * (low + high)
    if not 0.0 < rest < 1.0:
        return math.nan
    return (m + 1.0) * (m - 1.0) / m * (1.0 - rest) / rest


def warm_up() -> None:
    """Compiles with the signatures of twin/spc.py."""
    values, offsets = np.zeros((3, 2)), np.array([0, 3], dtype=np.int64)
    count, mean, scatter, factor = np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    flags = np.empty(3, dtype=np.uint8)
    t2_learn(count, mean, scatter, values, offsets)
    t2_factor(count, scatter, factor, flags[:1])
    t2_update(mean, factor, np.ones(1), values, offsets, np.empty(3), flags)
    t2_limit(2, 30.0, 0.01)
