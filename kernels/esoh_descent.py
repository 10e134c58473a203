"""Levenberg-Marquardt of a half-cell fit, with analytic derivatives: see kernels/esoh.py. No starts, no statistics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper, contracted_kernel, inlined

F = NDArray[np.float64]

X0, X100, Y0, Y100, R, FRACTION = 0, 1, 2, 3, 4, 5
PARAMETERS = 6
LOW = np.array([-0.05, 0.05, 0.05, -0.05, -1e6, 0.0])
HIGH = np.array([0.95, 1.10, 1.10, 0.95, 1e6, 0.6])
CURRENT, N_OHM, P_OHM = 0, 1, 2  # of a curve's load
THERMAL_V = 8.314462618 * 298.15 / 96485.33212  # RT/F at 25 C
EDGE = 0.002
SERIES = 0.4


@inlined
def _cubic(y0: float, m0: float, y1: float, m1: float, step: float, t: float) -> tuple[float, float]:
    """Hermite's cubic and its slope at the fraction t of a cell of width `step`; outside 0 to 1 a straight line."""
    if t < 0.0:
        return y0 + m0 * step * t, m0
    if t > 1.0:
        return y1 + m1 * step * (t - 1.0), m1
    rise = y1 - y0
    d0, d1 = m0 * step, m1 * step
    c2, c3 = 3.0 * rise - 2.0 * d0 - d1, d0 + d1 - 2.0 * rise
    return y0 + t * (d0 + t * (c2 + t * c3)), (d0 + t * (2.0 * c2 + 3.0 * t * c3)) / step


@inlined
def _cell(rows: int, grid: F, at: float) -> tuple[int, float]:
    """The table's cell and the place in it, below 0 or above 1 where `at` lies beyond the table."""
    position = (at - grid[0]) / grid[1]
    k = min(max(int(min(max(position, 0.0), 1e9)), 0), rows - 2)
    return k, position - k


@contracted_helper
def _one(table: F, grid: F, at: float) -> tuple[float, float]:
    """Value and slope of a table (m, 2) of values and slopes; straight lines beyond its ends."""
    k, t = _cell(table.shape[0], grid, at)
    return _cubic(table[k, 0], table[k, 1], table[k + 1, 0], table[k + 1, 1], grid[1], t)


@inlined
def _blend(neg: F, f: float, x: float, k: int) -> tuple[int, float, float, float]:
    """The cell, sought from k, at whose ends (1 - f) G + f S lie about x; Un, dUn/dx and dUn/df there.

    Un is the cubic over that charge through the table's potentials; slopes as dU/dt over the charge's d/dt, held to
    three times the cell's own fall, so that it stays monotone (Fritsch & Carlson, SIAM J. Numer. Anal. 17 (1980) 238).
    """
    g = 1.0 - f
    last = neg.shape[0] - 2
    while k < last and g * neg[k + 1, 4] + f * neg[k + 1, 2] < x:
        k += 1
    while k > 0 and g * neg[k, 4] + f * neg[k, 2] > x:
        k -= 1
    low = g * neg[k, 4] + f * neg[k, 2]
    width = max(g * neg[k + 1, 4] + f * neg[k + 1, 2] - low, 1e-12)
    t = (x - low) / width
    steepest = 3.0 * (neg[k + 1, 0] - neg[k, 0]) / width
    m0 = max(neg[k, 1] / (g * neg[k, 5] + f * neg[k, 3]), steepest)
    m1 = max(neg[k + 1, 1] / (g * neg[k + 1, 5] + f * neg[k + 1, 3]), steepest)
    un, un_slope = _cubic(neg[k, 0], m0, neg[k + 1, 0], m1, width, t)
    apart, next_apart = neg[k, 2] - neg[k, 4], neg[k + 1, 2] - neg[k + 1, 4]
    return k, un, un_slope, -un_slope * (apart + min(max(t, 0.0), 1.0) * (next_apart - apart))


@inlined
def _transfer(current: float, ohm: float, at: float) -> tuple[float, float]:
    """Charge-transfer overpotential and its slope over the stoichiometry `at`; `ohm` at half full, small currents.

    Butler-Volmer with equal coefficients, 2 RT/F asinh(j / 2 j0), and j0 as sqrt(at (1 - at)): Doyle et al., J.
    Electrochem. Soc. 140 (1993) 1526. Flat beyond EDGE, where no cell is.
    """
    if ohm == 0.0:
        return 0.0, 0.0
    held = min(max(at, EDGE), 1.0 - EDGE)
    over = 1.0 / (held * (1.0 - held))
    u = current * ohm * (0.25 / THERMAL_V) * math.sqrt(over)
    if abs(u) < SERIES:  # asinh and 1 / sqrt(1 + u^2) to 1e-7: half as long as the logarithm
        s = u * u
        eta = u * (1.0 - s * (1.0 / 6.0 - s * (3.0 / 40.0 - s * (15.0 / 336.0 - s * (105.0 / 3456.0)))))
        bend = 1.0 - s * (0.5 - s * (0.375 - s * (0.3125 - s * 0.2734375)))
    else:
        root = math.sqrt(1.0 + u * u)
        eta = math.copysign(math.log(abs(u) + root), u)
        bend = 1.0 / root
    slope = 0.0 if at != held else -THERMAL_V * u * (1.0 - 2.0 * held) * over * bend
    return 2.0 * THERMAL_V * eta, slope


@contracted_kernel
def model(p: F, load: F, z: F, stride: int, pos: F, pos_grid: F, neg: F, neg_grid: F, out: F, jac: F) -> None:
    """Voltage `out` (n,) and its derivatives `jac` (n, 6) at every `stride`th of z (n, 2); others are not touched.

    z: charge as the negative and the positive electrode's surface shows it. load (3,): CURRENT, N_OHM, P_OHM.
    """
    f, current = p[FRACTION], load[CURRENT]
    blended = neg.shape[1] == 6
    k, _ = _cell(neg.shape[0], neg_grid, p[X0])
    for i in range(0, z.shape[0], stride):
        zn, zp = z[i, 0], z[i, 1]
        y, x = p[Y0] + zp * (p[Y100] - p[Y0]), p[X0] + zn * (p[X100] - p[X0])
        up, up_slope = _one(pos, pos_grid, y)
        by_fraction = 0.0
        if blended:
            k, un, un_slope, by_fraction = _blend(neg, f, x, k)
        else:
            un, un_slope = _one(neg, neg_grid, x)
        eta_n, eta_n_slope = _transfer(current, load[N_OHM], x)
        eta_p, eta_p_slope = _transfer(current, load[P_OHM], y)
        out[i] = up - un + current * p[R] + eta_n + eta_p
        un_slope -= eta_n_slope
        up_slope += eta_p_slope
        jac[i, X0], jac[i, X100] = -un_slope * (1.0 - zn), -un_slope * zn
        jac[i, Y0], jac[i, Y100] = up_slope * (1.0 - zp), up_slope * zp
        jac[i, R], jac[i, FRACTION] = current, -by_fraction


@contracted_helper
def normal(v: F, out: F, jac: F, stride: int, a: F, g: F) -> float:
    """a = J'J, g = J'(v - model) over every `stride`th row; returns the sum of squares."""
    a[:] = 0.0
    g[:] = 0.0
    total = 0.0
    for i in range(0, v.shape[0], stride):
        away = v[i] - out[i]
        total += away * away
        for j in range(PARAMETERS):
            g[j] += jac[i, j] * away
            for k in range(j + 1):
                a[j, k] += jac[i, j] * jac[i, k]
    for j in range(PARAMETERS):
        for k in range(j):
            a[k, j] = a[j, k]
    return total


@contracted_kernel
def inverted(a: F, free: NDArray[np.bool_], out: F, work: F) -> bool:
    """Inverse of the free part of a positive definite matrix, zero elsewhere; False where it is not safely so.

    Scaled to a unit diagonal first; Cholesky pivots below 1e-11 are no information (double precision ends at 1e-16).
    """
    n = a.shape[0]
    work[:] = 0.0
    out[:] = 0.0
    for j in range(n):
        if not free[j]:
            continue
        if not (a[j, j] > 1e-30):
            return False
        for k in range(j + 1):
            if not free[k]:
                continue
            total = a[j, k] / math.sqrt(a[j, j] * a[k, k])
            for m in range(k):
                total -= work[j, m] * work[k, m]
            if j == k:
                if not (total > 1e-11):
                    return False
                work[j, j] = math.sqrt(total)
            else:
                work[j, k] = total / work[k, k]
    for column in range(n):
        if not free[column]:
            continue
        for j in range(column, n):
            if free[j]:
                total = 1.0 if j == column else 0.0
                for m in range(column, j):
                    total -= work[j, m] * out[m, column]
                out[j, column] = total / work[j, j]
        for j in range(n - 1, -1, -1):
            if free[j]:
                total = out[j, column]
                for m in range(j + 1, n):
                    total -= work[m, j] * out[m, column]
                out[j, column] = total / work[j, j]
    for j in range(n):
        for k in range(n):
            if free[j] and free[k]:
                out[j, k] /= math.sqrt(a[j, j] * a[k, k])
    return True


@contracted_helper
def descend(
    p: F, load: F, z: F, v: F, stride: int, most: int, free: NDArray[np.bool_],
    pos: F, pos_grid: F, neg: F, neg_grid: F, out: F, jac: F, work: F,
) -> tuple[float, int]:  # fmt: skip
    """Levenberg-Marquardt within LOW and HIGH from `p`, which it moves; sum of squares and steps (-1: not settled).

    Marquardt, J. SIAM 11 (1963) 431. Settled when a step would lower the sum by less than 1e-6 of the noise variance.
    A parameter that pushes against its bound stays there for that step. `work` (5, 6, 6).
    """
    a, g, damped, inverse, trial = work[0], work[4, 0], work[1], work[2], work[4, 1]
    moving = np.empty(PARAMETERS, dtype=np.bool_)
    points = (z.shape[0] + stride - 1) // stride
    model(p, load, z, stride, pos, pos_grid, neg, neg_grid, out, jac)
    best = normal(v, out, jac, stride, a, g)
    damping = 1e-3
    for step in range(most):
        for j in range(PARAMETERS):
            moving[j] = free[j] and not ((p[j] <= LOW[j] and g[j] < 0.0) or (p[j] >= HIGH[j] and g[j] > 0.0))
        lowered = False
        expected = 0.0
        for _ in range(12):
            for j in range(PARAMETERS):
                for k in range(PARAMETERS):
                    damped[j, k] = a[j, k]
                damped[j, j] *= 1.0 + damping
            if inverted(damped, moving, inverse, work[3]):
                expected = 0.0
                for j in range(PARAMETERS):
                    move = 0.0
                    for k in range(PARAMETERS):
                        move += inverse[j, k] * g[k]
                    expected += move * g[j]
                    trial[j] = min(max(p[j] + move, LOW[j]), HIGH[j])
                if expected <= 1e-6 * best / points or best <= 1e-20 * points:
                    return best, step
                model(trial, load, z, stride, pos, pos_grid, neg, neg_grid, out, jac)
                total = 0.0
                for i in range(0, z.shape[0], stride):
                    total += (v[i] - out[i]) ** 2
                if total < best:
                    lowered = True
                    break
            damping = min(max(damping, 1e-6) * 6.0, 1e12)
        if not lowered:
            return best, step
        for j in range(PARAMETERS):
            p[j] = trial[j]
        best = normal(v, out, jac, stride, a, g)
        damping = max(damping * 0.1, 1e-12)
    return best, -1
