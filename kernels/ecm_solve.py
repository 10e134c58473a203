"""Variable projection for the equivalent-circuit fit: normal equations, start search, Levenberg-Marquardt on ln(tau).

For given time constants the model is linear; Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973) 413, eliminate the
linear parameters, and Kaufman, BIT 15 (1975) 49, leaves out the small second term of the derivative. In normal
equations that is one partial Cholesky factorisation of the Gram matrix of (linear columns, slopes, voltage): what is
left of the slopes and the voltage are the normal equations of the time constants alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper
from kernels.ecm_columns import (
    GRID,
    I_HI,
    I_LO,
    I_ROWS,
    W_CHARGE,
    W_GRID,
    W_OFFSET,
    W_R0,
    W_S1,
    W_X1,
    W_Y,
    products,
    response,
)  # fmt: skip

F = NDArray[np.float64]
Ints = NDArray[np.int64]

SINGULAR = 1e-11  # least pivot of a column of unit length: closer to the others it is one of them
ITERATIONS = 40
SETTLED = 1e-5  # step of ln(tau): a thousandth of any standard deviation worth stating
LEAP = 1.2  # largest step of ln(tau)

HAS_OFFSET, HAS_CHARGE, HAS_R0 = 1, 2, 4  # which linear columns are fitted


@contracted_helper
def linear_columns(has: int, pairs: int, index: Ints) -> int:
    """Writes the work rows of the linear columns into `index`; how many."""
    n = 0
    for bit, row in ((HAS_OFFSET, W_OFFSET), (HAS_CHARGE, W_CHARGE), (HAS_R0, W_R0)):
        if has & bit:
            index[n] = row
            n += 1
    for j in range(pairs):
        index[n] = W_X1 + j
        n += 1
    return n


@contracted_helper
def eliminate(gram: F, index: Ints, count: int, linear: int, a: F, length: F) -> bool:
    """Partial Cholesky factor in `a` of gram[index, index], columns at unit length. False: linear columns coincide.

    Columns before `linear` hold the factor; the rest is what is left of the products after projecting those out.
    """
    for i in range(count):
        d = gram[index[i], index[i]]
        length[i] = math.sqrt(d) if d > 0.0 else 1.0
        for j in range(i + 1):
            p, q = max(index[i], index[j]), min(index[i], index[j])
            a[i, j] = gram[p, q] / (length[i] * length[j])
    for j in range(linear):
        if not a[j, j] > SINGULAR:
            return False
        root = math.sqrt(a[j, j])
        a[j, j] = root
        for i in range(j + 1, count):
            a[i, j] /= root
        for i in range(j + 1, count):
            for q in range(j + 1, i + 1):
                a[i, q] -= a[i, j] * a[q, j]
    return True


@contracted_helper
def coefficients(a: F, linear: int, last: int, length: F, c: F) -> None:
    """Linear parameters from the factor, the voltage being column `last`."""
    for i in range(linear - 1, -1, -1):
        total = a[last, i]
        for j in range(i + 1, linear):
            total -= a[j, i] * c[j]
        c[i] = total / a[i, i]
    for i in range(linear):
        c[i] *= length[last] / length[i]


@contracted_helper
def search(w: F, info: F, has: int, gram: F, index: Ints, a: F, length: F, start: F) -> None:
    """Best single time constant into start[0], best two into start[1:3]; 0 where none gives positive resistances."""
    m = int(info[I_ROWS])
    low = math.log(info[I_LO])
    step = (math.log(info[I_HI]) - low) / (GRID - 1)
    for g in range(GRID):
        response(w, info, math.exp(low + g * step), W_GRID + g, -1)
    products(w, m, W_GRID, W_GRID + GRID, gram)
    linear = linear_columns(has, 0, index)
    for g in range(GRID):
        index[linear + g] = W_GRID + g
    last = linear + GRID
    index[last] = W_Y
    start[:3] = 0.0
    if not eliminate(gram, index, last + 1, linear, a, length):
        return
    best1, best2 = 0.0, 0.0
    for g in range(GRID):
        i = linear + g
        if not a[i, i] > SINGULAR:
            continue
        y1 = a[last, i]
        if y1 > 0.0 and y1 * y1 / a[i, i] > best1:
            best1 = y1 * y1 / a[i, i]
            start[0] = math.exp(low + g * step)
        for h in range(g):
            j = linear + h
            det = a[i, i] * a[j, j] - a[i, j] * a[i, j]
            if not det > 1e-9 * a[i, i] * a[j, j]:
                continue
            c1 = (y1 * a[j, j] - a[last, j] * a[i, j]) / det
            c2 = (a[last, j] * a[i, i] - y1 * a[i, j]) / det
            gain = c1 * y1 + c2 * a[last, j]
            if c1 > 0.0 and c2 > 0.0 and gain > best2:
                best2 = gain
                start[1], start[2] = math.exp(low + h * step), math.exp(low + g * step)


@contracted_helper
def project(
    w: F, info: F, has: int, pairs: int, t1: float, t2: float, gram: F, index: Ints, a: F, length: F, c: F
) -> float:
    """Sum of squared residuals at ln(tau) = t1, t2; inf where the columns coincide. Leaves factor and `c` behind."""
    m = int(info[I_ROWS])
    response(w, info, math.exp(t1), W_X1, W_S1)
    if pairs == 2:
        response(w, info, math.exp(t2), W_X1 + 1, W_S1 + 1)
    products(w, m, W_X1, W_S1 + pairs, gram)
    linear = linear_columns(has, pairs, index)
    for j in range(pairs):
        index[linear + j] = W_S1 + j
    last = linear + pairs
    index[last] = W_Y
    if not eliminate(gram, index, last + 1, linear, a, length):
        return math.inf
    coefficients(a, linear, last, length, c)
    return float(a[last, last] * length[last] * length[last])


@contracted_helper
def _step(a: F, length: F, c: F, linear: int, pairs: int, damping: float, ln_tau: F, low: float, high: float) -> None:
    """Damped Gauss-Newton step of ln(tau) into ln_tau[2:4], within the bounds."""
    last = linear + pairs
    k1 = c[linear - pairs] * length[linear]
    s11 = a[linear, linear] * k1 * k1 * (1.0 + damping)
    g1 = a[last, linear] * k1 * length[last]
    if pairs == 1:
        d1, d2 = (g1 / s11 if s11 > 0.0 else 0.0), 0.0
    else:
        k2 = c[linear - 1] * length[linear + 1]
        s22 = a[linear + 1, linear + 1] * k2 * k2 * (1.0 + damping)
        s12 = a[linear + 1, linear] * k1 * k2
        g2 = a[last, linear + 1] * k2 * length[last]
        det = s11 * s22 - s12 * s12
        d1 = (g1 * s22 - g2 * s12) / det if det > 0.0 else 0.0
        d2 = (g2 * s11 - g1 * s12) / det if det > 0.0 else 0.0
    for j, d in ((0, d1), (1, d2)):
        leap = min(max(d, -LEAP), LEAP)
        ln_tau[2 + j] = min(max(ln_tau[j] + leap, low), high) if j < pairs else ln_tau[j]


@contracted_helper
def minimise(w: F, info: F, has: int, pairs: int, ln_tau: F, gram: F, index: Ints, a: F, length: F, c: F) -> bool:
    """Levenberg-Marquardt from ln_tau[:pairs], which it moves; False when it does not settle.

    Leaves columns, Gram matrix, factor and coefficients at the solution, the quicker pair first.
    """
    low, high = math.log(info[I_LO]), math.log(info[I_HI])
    best = project(w, info, has, pairs, ln_tau[0], ln_tau[1], gram, index, a, length, c)
    settled, fresh, damping = False, True, 1e-3
    old_a, old_c, old_length = a.copy(), c.copy(), length.copy()
    linear = linear_columns(has, pairs, index)
    for _ in range(ITERATIONS):
        if not math.isfinite(best):
            return False
        if fresh:
            for i in range(linear + pairs + 1):
                for j in range(a.shape[1]):
                    old_a[i, j] = a[i, j]
            for i in range(c.shape[0]):
                old_c[i], old_length[i] = c[i], length[i]
        _step(old_a, old_length, old_c, linear, pairs, damping, ln_tau, low, high)
        move = max(abs(ln_tau[2] - ln_tau[0]), abs(ln_tau[3] - ln_tau[1]))
        if move < SETTLED:
            settled = True
            break
        trial = project(w, info, has, pairs, ln_tau[2], ln_tau[3], gram, index, a, length, c)
        fresh = trial <= best
        if fresh:
            ln_tau[0], ln_tau[1], best = ln_tau[2], ln_tau[3], trial
            damping = max(0.1 * damping, 1e-9)
        else:
            damping *= 10.0
            if damping > 1e9:
                settled = move < 1e-3  # the sum of squares has reached its rounding error
                break
    swapped = pairs == 2 and ln_tau[0] > ln_tau[1]
    if swapped:
        ln_tau[0], ln_tau[1] = ln_tau[1], ln_tau[0]
    if swapped or not fresh:
        best = project(w, info, has, pairs, ln_tau[0], ln_tau[1], gram, index, a, length, c)
    return settled and math.isfinite(best)


def warm_up() -> None:
    """These compile with kernels/ecm.py."""
