"""Covariance of a half-cell fit whose residuals are correlated: see kernels/esoh.py. No model, no search."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper, contracted_kernel

F = NDArray[np.float64]


@contracted_helper
def _shifted_products(a: F, b: F, free: NDArray[np.bool_], out: F) -> None:
    """out = a' L b; L the mean of both shifts by one."""
    n, m = a.shape
    out[:] = 0.0
    for i in range(n - 1):
        for k in range(m):
            if free[k]:
                for j in range(m):
                    out[j, k] += 0.5 * (a[i + 1, j] * b[i, k] + a[i, j] * b[i + 1, k])


@contracted_helper
def _times(a: F, b: F, out: F) -> None:
    """out = a b with b small and square; Numba's own product would need SciPy."""
    m = b.shape[0]
    for j in range(a.shape[0]):
        for k in range(m):
            total = 0.0
            for i in range(m):
                total += a[j, i] * b[i, k]
            out[j, k] = total


@contracted_helper
def _weights(jac: F, free: NDArray[np.bool_], inverse: F, work: F, by_level: F, by_product: F) -> None:
    """What R J must be multiplied with and summed for the expected moments, which are linear in it: see `_moments`.

    by_level = J A^-1, by_product = J A^-1 (J'LJ) A^-1 - 2 L J A^-1. `work` (2, m, m).
    """
    n, m = jac.shape
    _times(jac, inverse, by_level)
    _shifted_products(jac, by_level, free, work[0])
    _times(inverse, work[0], work[1])
    _times(jac, work[1], by_product)
    for i in range(n):
        for j in range(m):
            if i > 0:
                by_product[i, j] -= by_level[i - 1, j]
            if i < n - 1:
                by_product[i, j] -= by_level[i + 1, j]


@contracted_helper
def _moments(jac: F, free: NDArray[np.bool_], rho: float, by_level: F, by_product: F, rj: F) -> tuple[float, float]:
    """Expected r'r = tr(MR) and sum of r_i r_(i+1) = tr(LMRM) of the residuals for noise of variance 1.

    Fills the free columns of rj = R jac, R_ij = rho^|i-j|, by one pass forward and one back.
    """
    n, m = jac.shape
    level, product = float(n), (n - 1) * rho
    for j in range(m):
        if not free[j]:
            continue
        carry = 0.0
        for i in range(n):
            carry = jac[i, j] + rho * carry
            rj[i, j] = carry
        carry = 0.0
        for i in range(n - 1, -1, -1):
            rj[i, j] += carry
            carry = rho * (jac[i, j] + carry)
            level -= rj[i, j] * by_level[i, j]
            product += rj[i, j] * by_product[i, j]
    return level, product


@contracted_helper
def _correlation(jac: F, free: NDArray[np.bool_], seen: float, rho_max: float, by: F, rj: F) -> float:
    """rho from 0 to `rho_max` with which the expected ratio of the moments is the one that was seen.

    The ratio is nearly straight in rho: false position (Illinois: Dowell & Jarratt, BIT 11 (1971) 168).
    """
    low, high = 0.0, rho_max
    level, product = _moments(jac, free, high, by[0], by[1], rj)
    if level <= 0.0 or seen >= product / level:
        return high
    above = product / level - seen
    level, product = _moments(jac, free, low, by[0], by[1], rj)
    below = product / level - seen
    rho = low
    for _ in range(8):
        if below >= 0.0:
            break
        rho = low - below * (high - low) / (above - below)
        level, product = _moments(jac, free, rho, by[0], by[1], rj)
        away = product / level - seen
        if abs(away) < 1e-4:
            break
        if away > 0.0:
            high, above, below = rho, away, 0.5 * below
        else:
            low, below, above = rho, away, 0.5 * above
    return rho


@contracted_kernel
def expected_moments(jac: F, free: NDArray[np.bool_], inverse: F, rho: float) -> tuple[float, float]:
    """Expected r'r and sum of r_i r_(i+1) of the residuals of a fit for noise of variance 1 and correlation rho."""
    n, m = jac.shape
    work, by = np.empty((2, m, m)), np.empty((2, n, m))
    _weights(jac, free, inverse, work, by[0], by[1])
    return _moments(jac, free, rho, by[0], by[1], np.zeros((n, m)))


@contracted_kernel
def spread(
    jac: F, residual: F, free: NDArray[np.bool_], inverse: F, rho_max: float, covariance: F
) -> tuple[float, float]:
    """Fills the covariance (m, m), zero where not free; returns rho and the degrees of freedom that are left.

    The degrees are those of Satterthwaite for the residual sum, tr(R)^2 / tr(R^2) = n (1 - rho^2)/(1 + rho^2), less the
    parameters, and fewer because rho itself is estimated: the long-run variance goes as (1 + rho)/(1 - rho) and rho's
    variance is (1 - rho^2)/n (Bartlett), which adds 4 rho/(n (1 - rho^2)) to the relative variance 2/degrees; the
    factor rho because a rho of zero is a bound, not an estimate. The covariance is widened so that 1.96 SD is Student's
    95 % band. What is not free must be zero in `inverse`.
    """
    n, m = jac.shape
    work, by, rj = np.empty((2, m, m)), np.empty((2, n, m)), np.zeros((n, m))
    square, neighbour = 0.0, 0.0
    for i in range(n):
        square += residual[i] * residual[i]
        if i > 0:
            neighbour += residual[i] * residual[i - 1]
    _weights(jac, free, inverse, work, by[0], by[1])
    rho = 0.0
    if square > 0.0:
        rho = _correlation(jac, free, neighbour / square, rho_max, by, rj)
    level, _ = _moments(jac, free, rho, by[0], by[1], rj)
    count = 0
    for j in range(m):
        if free[j]:
            count += 1
    degrees = max(n * (1.0 - rho * rho) / (1.0 + rho * rho) - count, 4.0)
    degrees = max(1.0 / (1.0 / degrees + 2.0 * rho / (n * (1.0 - rho * rho))), 4.0)
    # Student's 97.5 % point over the normal's, Cornish-Fisher to second order (Abramowitz & Stegun 26.7.5).
    u = 1.959964
    wide = 1.0 + (u**2 + 1.0) / (4.0 * degrees) + (5.0 * u**4 + 16.0 * u**2 + 3.0) / (96.0 * degrees**2)
    factor = wide * wide * square / max(level, 1e-9)
    b = work[0]
    b[:] = 0.0
    for i in range(n):
        for j in range(m):
            for k in range(m):
                b[j, k] += by[0, i, j] * rj[i, k]
    _times(b, inverse, covariance)
    for j in range(m):
        for k in range(m):
            covariance[j, k] *= factor
    return rho, degrees if math.isfinite(degrees) else 0.0
