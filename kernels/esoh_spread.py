"""Covariance of a half-cell fit whose residuals are correlated: see kernels/esoh.py. No model, no search."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_kernel

F = NDArray[np.float64]


@contracted_kernel
def _correlated(jac: F, free: NDArray[np.bool_], rho: float, rj: F) -> None:
    """rj = R jac with R_ij = rho^|i-j|, by one pass forward and one back."""
    n = jac.shape[0]
    for j in range(jac.shape[1]):
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


@contracted_kernel
def _products(jac: F, rj: F, free: NDArray[np.bool_], b: F, e: F) -> None:
    """b = J' R J, e = J' R L J; L the mean of both shifts by one."""
    n, m = jac.shape
    b[:] = 0.0
    e[:] = 0.0
    for i in range(n):
        for k in range(m):
            if not free[k]:
                continue
            shifted = 0.0
            if i > 0:
                shifted += 0.5 * jac[i - 1, k]
            if i < n - 1:
                shifted += 0.5 * jac[i + 1, k]
            for j in range(m):
                if free[j]:
                    b[j, k] += rj[i, j] * jac[i, k]
                    e[j, k] += rj[i, j] * shifted


@contracted_kernel
def _times(a: F, b: F, out: F) -> None:
    """out = a b, small; Numba's own product would need SciPy."""
    m = a.shape[0]
    for j in range(m):
        for k in range(m):
            total = 0.0
            for i in range(m):
                total += a[j, i] * b[i, k]
            out[j, k] = total


@contracted_kernel
def expected_moments(
    jac: F, free: NDArray[np.bool_], inverse: F, c: F, rho: float, rj: F, work: F
) -> tuple[float, float]:
    """Expected r'r and sum of r_i r_(i+1) of the residuals for noise of variance 1; fills work[0] = J'RJ. c = J'LJ.

    `work` (4, m, m).
    """
    n, m = jac.shape
    b, e, ab, ac = work[0], work[1], work[2], work[3]
    _correlated(jac, free, rho, rj)
    _products(jac, rj, free, b, e)
    level = float(n)
    product = (n - 1) * rho
    _times(inverse, b, ab)
    _times(inverse, c, ac)
    for j in range(m):
        level -= ab[j, j]
        for k in range(m):
            product -= 2.0 * inverse[j, k] * e[k, j]
            product += ab[j, k] * ac[k, j]
    return level, product


@contracted_kernel
def spread(
    jac: F, residual: F, free: NDArray[np.bool_], inverse: F, rho_max: float, rj: F, covariance: F
) -> tuple[float, float]:
    """Fills the covariance (m, m), zero where not free; returns rho and the degrees of freedom that are left.

    The degrees are those of Satterthwaite for the residual sum, tr(R)^2 / tr(R^2) = n (1 - rho^2)/(1 + rho^2), less the
    parameters, and fewer because rho itself is estimated: the long-run variance goes as (1 + rho)/(1 - rho) and rho's
    variance is (1 - rho^2)/n (Bartlett), which adds 4 rho/(n (1 - rho^2)) to the relative variance 2/degrees; the
    factor rho because a rho of zero is a bound, not an estimate. The covariance is widened so that 1.96 SD is Student's
    95 % band.
    """
    n, m = jac.shape
    work, c = np.zeros((4, m, m)), np.zeros((m, m))
    _correlated(jac, free, 0.0, rj)
    _products(jac, rj, free, work[0], c)  # R = I: e is J'LJ
    square, neighbour = 0.0, 0.0
    for i in range(n):
        square += residual[i] * residual[i]
        if i > 0:
            neighbour += residual[i] * residual[i - 1]
    rho = 0.0
    count = 0
    for j in range(m):
        if free[j]:
            count += 1
    if square > 0.0:
        seen = neighbour / square
        low, high = 0.0, rho_max
        level, product = expected_moments(jac, free, inverse, c, high, rj, work)
        if level <= 0.0 or seen >= product / level:
            rho = high
        else:
            # The ratio is nearly straight in rho: false position (Illinois: Dowell & Jarratt, BIT 11 (1971) 168).
            above = product / level - seen
            level, product = expected_moments(jac, free, inverse, c, low, rj, work)
            below = product / level - seen
            for _ in range(8):
                if below >= 0.0:
                    break
                rho = low - below * (high - low) / (above - below)
                level, product = expected_moments(jac, free, inverse, c, rho, rj, work)
                away = product / level - seen
                if abs(away) < 1e-4:
                    break
                if away > 0.0:
                    high, above, below = rho, away, 0.5 * below
                else:
                    low, below, above = rho, away, 0.5 * above
    level, product = expected_moments(jac, free, inverse, c, rho, rj, work)
    degrees = max(n * (1.0 - rho * rho) / (1.0 + rho * rho) - count, 4.0)
    degrees = max(1.0 / (1.0 / degrees + 2.0 * rho / (n * (1.0 - rho * rho))), 4.0)
    # Student's 97.5 % point over the normal's, Cornish-Fisher to second order (Abramowitz & Stegun 26.7.5).
    u = 1.959964
    wide = 1.0 + (u**2 + 1.0) / (4.0 * degrees) + (5.0 * u**4 + 16.0 * u**2 + 3.0) / (96.0 * degrees**2)
    factor = wide * wide * square / max(level, 1e-9)
    _times(inverse, work[0], work[1])
    _times(work[1], inverse, covariance)
    for j in range(m):
        for k in range(m):
            covariance[j, k] *= factor
    return rho, degrees if math.isfinite(degrees) else 0.0
