"""What a solved equivalent circuit is worth: parameters, covariance, and whether the record can carry the model.

The covariance is s^2 (J'J)^-1 of the residuals' own variance, times the sum of their autocorrelations up to the first
that is not significant, because neighbouring residuals of a model that is not quite right do not count twice (Bayley
and Hammersley, J. R. Stat. Soc. Suppl. 8 (1946) 184).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper
from kernels.ecm_columns import (
    I_CHARGE,
    I_DT,
    I_HI,
    I_HOLD,
    I_LO,
    I_REFERENCE,
    I_ROWS,
    I_SCALE,
    I_USED,
    W_A,
    W_CHARGE,
    W_OFFSET,
    W_R0,
    W_S1,
    W_X1,
    W_Y,
    lagged,
)  # fmt: skip
from kernels.ecm_solve import HAS_CHARGE, HAS_R0, coefficients, eliminate, linear_columns

F = NDArray[np.float64]
Ints = NDArray[np.int64]

OCV, DRIFT, R0, R1, TAU1, R2, TAU2 = 0, 1, 2, 3, 4, 5, 6  # parameters: columns of `out` and sides of `covariance`
PARAMETERS = 7
TOTAL, TOTAL_SD, HOLD, PAIRS, CAUSE, RMSE, INFLATION, USED = 7, 8, 9, 10, 11, 12, 13, 14
OUTPUTS = 15

NONE, QUICK, SLOW, VAGUE, UNSETTLED, FLAT = 0, 1, 2, 3, 4, 5  # why a richer model was refused

REFUSE_AT = 0.25
"""A resistance or ln(tau) with a larger relative standard deviation is not reported: its band spans a factor 2.7."""
LAGS = 0.25  # of the record: longest autocorrelation looked at


@contracted_helper
def _inflation(w: F, m: int, used: float, squares: float) -> float:
    """Factor of the variance: 1 + 2 (sum of the significant leading autocorrelations of the residuals in w[W_A])."""
    factor = 1.0
    if not squares > 0.0:
        return factor
    least = 1.96 / math.sqrt(used)
    for lag in range(1, int(LAGS * m)):
        rho = lagged(w[W_A], m, lag) / squares
        if not rho > least:
            break
        factor += 2.0 * rho
    return factor


@contracted_helper
def _covariance(gram: F, index: Ints, linear: int, pairs: int, c: F, a: F, length: F, inverse: F) -> bool:
    """(J'J)^-1 of (linear parameters, ln tau) into `inverse`; False when it does not exist."""
    count = linear + pairs
    if not eliminate(gram, index, count, count, a, length):
        return False
    for j in range(count):
        length[j] *= c[j - pairs] if j >= linear else 1.0
    # rows of L^-1 one after the other, then (L L')^-1 = L^-T L^-1
    for j in range(count):
        for i in range(count):
            inverse[i, j] = 0.0
        inverse[j, j] = 1.0 / a[j, j]
        for i in range(j + 1, count):
            total = 0.0
            for q in range(j, i):
                total -= a[i, q] * inverse[q, j]
            inverse[i, j] = total / a[i, i]
    for i in range(count):
        for j in range(i + 1):
            total = 0.0
            for q in range(i, count):
                total += inverse[q, i] * inverse[q, j]
            a[i, j] = total
    for i in range(count):
        for j in range(i + 1):
            scale = length[i] * length[j]
            inverse[i, j] = a[i, j] / scale if scale != 0.0 else math.inf
            inverse[j, i] = inverse[i, j]
    return True


@contracted_helper
def _residuals(w: F, m: int, index: Ints, linear: int, c: F) -> float:
    """Residuals into w[W_A]; the sum of their squares, without the cancellation of the normal equations."""
    r = w[W_A]
    y = w[W_Y]
    for k in range(m):
        r[k] = y[k]
    for j in range(linear):
        column, factor = w[index[j]], c[j]
        for k in range(m):
            r[k] -= factor * column[k]
    return lagged(r, m, 0)


@contracted_helper
def report(
    w: F, info: F, has: int, pairs: int, ln_tau: F, gram: F, index: Ints, a: F, length: F, c: F, inverse: F,
    variance_floor: float, out: F, cov: F,
) -> bool:  # fmt: skip
    """Parameters, covariance and figures of one solved model into `out` and `cov`; False: it has no covariance."""
    m = int(info[I_ROWS])
    linear = linear_columns(has, pairs, index)
    for j in range(pairs):
        index[linear + j] = W_S1 + j
    count = linear + pairs
    free = info[I_USED] - count
    out[:PARAMETERS] = math.nan
    cov[:] = math.nan
    if free < 1.0 or not _covariance(gram, index, linear, pairs, c, a, length, inverse):
        return False
    squares = _residuals(w, m, index, linear, c)
    out[RMSE] = math.sqrt(squares / info[I_USED])
    out[INFLATION] = _inflation(w, m, info[I_USED], squares)
    variance = max(squares / free, variance_floor) * out[INFLATION]
    place, unit = index[count : 2 * count], length  # parameter and its unit, by column
    for j in range(count):
        row = index[j]
        if j >= linear:
            place[j] = TAU1 + 2 * (j - linear)
            unit[j] = math.exp(ln_tau[j - linear])
            out[place[j]] = unit[j]
            continue
        place[j] = (
            OCV if row == W_OFFSET else DRIFT if row == W_CHARGE else R0 if row == W_R0 else R1 + 2 * (row - W_X1)
        )
        unit[j] = 1.0 if row == W_OFFSET else 1.0 / (info[I_CHARGE] if row == W_CHARGE else info[I_SCALE])
        out[place[j]] = c[j] * unit[j] + (info[I_REFERENCE] if row == W_OFFSET else 0.0)
    for i in range(count):
        for j in range(count):
            cov[place[i], place[j]] = inverse[i, j] * unit[i] * unit[j] * variance
    return True


@contracted_helper
def total(out: F, cov: F, hold_s: float, has: int, pairs: int, weight: F) -> None:
    """Resistance after `hold_s` of constant current, R0 + sum Rj (1 - exp(-hold/tau_j)), and its deviation."""
    weight[:] = 0.0
    total = 0.0
    if has & HAS_R0:
        total += out[R0]
        weight[R0] = 1.0
    for j in range(pairs):
        r, tau = out[R1 + 2 * j], out[TAU1 + 2 * j]
        z = min(hold_s / tau, 700.0)
        weight[R1 + 2 * j] = 1.0 - math.exp(-z)
        weight[TAU1 + 2 * j] = -r * z * math.exp(-z) / tau
        total += r * weight[R1 + 2 * j]
    variance = 0.0
    for i in range(PARAMETERS):
        for j in range(PARAMETERS):
            if weight[i] != 0.0 and weight[j] != 0.0:
                variance += weight[i] * weight[j] * cov[i, j]
    out[TOTAL], out[TOTAL_SD] = total, math.sqrt(max(variance, 0.0))


@contracted_helper
def refusal(out: F, cov: F, info: F, has: int, pairs: int) -> int:
    """NONE when every parameter of the model stands out of its uncertainty, otherwise what stands in the way."""
    vague = has & HAS_R0 != 0 and not (out[R0] > 0.0 and math.sqrt(cov[R0, R0]) <= REFUSE_AT * out[R0])
    for j in range(pairs):
        r, tau = R1 + 2 * j, TAU1 + 2 * j
        for p in (r, tau):
            vague = vague or not (out[p] > 0.0 and math.sqrt(cov[p, p]) <= REFUSE_AT * out[p])
        # The whole band must lie within reach: a value that noise has lifted over the edge would be taken for sound.
        band = 2.0 * math.sqrt(cov[tau, tau])
        if out[tau] <= 1.01 * info[I_LO] or out[tau] - band <= info[I_LO]:
            return QUICK
        if out[tau] >= 0.99 * info[I_HI] or out[tau] + band >= info[I_HI]:
            return SLOW
    if not vague:
        return NONE
    if out[TAU1] < info[I_DT]:
        return QUICK
    if out[TAU1 + 2 * (pairs - 1)] > info[I_HOLD]:
        return SLOW
    return VAGUE


@contracted_helper
def resistance_only(
    w: F, info: F, has: int, gram: F, index: Ints, a: F, length: F, c: F, inverse: F, floor: float, out: F, cov: F
) -> bool:  # fmt: skip
    """One resistance; with the charge's slope as a stand-in for a pair that the record only begins to show."""
    for extra in (HAS_CHARGE, 0):
        if extra and has & HAS_CHARGE:
            continue
        model = has | extra
        linear = linear_columns(model, 0, index)
        index[linear] = W_Y
        if not eliminate(gram, index, linear + 1, linear, a, length):
            continue
        coefficients(a, linear, linear, length, c)
        if not report(w, info, model, 0, c, gram, index, a, length, c, inverse, floor, out, cov):
            continue
        if extra and not out[DRIFT] > 2.0 * math.sqrt(cov[DRIFT, DRIFT]):
            continue
        out[TOTAL], out[TOTAL_SD] = out[R0], math.sqrt(cov[R0, R0])
        if extra:
            reach = info[I_HOLD]
            out[TOTAL] += reach * out[DRIFT]
            out[TOTAL_SD] = math.sqrt(
                max(cov[R0, R0] + 2.0 * reach * cov[R0, DRIFT] + reach * reach * cov[DRIFT, DRIFT], 0.0)
            )
            out[DRIFT] = math.nan
            cov[DRIFT, :], cov[:, DRIFT] = math.nan, math.nan
        out[R0] = math.nan
        cov[R0, :], cov[:, R0] = math.nan, math.nan
        return bool(out[TOTAL] > 0.0 and out[TOTAL_SD] <= REFUSE_AT * out[TOTAL])
    return False


def warm_up() -> None:
    """These compile with kernels/ecm.py."""
