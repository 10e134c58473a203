"""Half-cell stoichiometry fit of slow curves, many in one call. No files, no search for the curve in a record.

    v(z) = Up(y) - Un(x) + R i,   x = x_0 + z (x_100 - x_0),   y = y_0 + z (y_100 - y_0)

with z the charge from the discharged (0) to the charged end (1) of the curve, for each electrode as its particles'
surfaces show it (twin/polarisation.py), and each electrode's charge transfer added where it is known: Dubarry et al.,
J. Power Sources 219 (2012) 204; Mohtat et al., J. Electrochem. Soc. 166 (2019) A2566. In a blended negative electrode
graphite and silicon hold one potential and share the charge: x = (1 - f) G(t) + f S(t), Un = g(t), G and S the
stoichiometries of both at the potential g(t); G(t) = t wherever graphite holds lithium, so that the equation is
solvable where g is flat.

Covariance: the model's errors are smooth, so residuals are correlated and (J'J)^-1 s^2 is far too small. Residuals are
taken as a first-order autoregression with correlations R_ij = rho^|i-j|, and the covariance of ordinary least squares
under it is s^2 A^-1 (J'RJ) A^-1, A = J'J. rho and s^2 are those whose expected residual moments, with the fitted
directions taken out (tr(MR) and tr(LMRM), M = I - J A^-1 J', L the mean of both shifts), equal the observed ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel
from kernels.esoh_descent import (
    CURRENT,
    FRACTION,
    HIGH,
    LOW,
    N_OHM,
    PARAMETERS,
    X0,
    X100,
    Y0,
    Y100,
    R,
    descend,
    inverted,
    model,
    normal,
)
from kernels.esoh_spread import spread

F = NDArray[np.float64]
Ints = NDArray[np.int64]

RMSE, RHO, DEGREES, STEPS, OUTPUTS = 6, 7, 8, 9, 10  # behind the parameters in a row of the output
LEAST_POINTS = 20
WINDOW_SD_MAX = 0.06  # an end of a window that is known no better is not known
RMSE_MAX_V = 0.05  # beyond, the half-cell tables do not belong to this cell
RHO_MAX = 0.98
VOLTAGE_LIMIT_V = 100.0
RIVAL = 9.0  # a minimum elsewhere whose sum of squares is larger by less than this per degree is as good: 3 sigma
POLISHED = 3  # starts that are finished
NEAR = 0.005  # window ends closer than this are the same minimum
AHEAD = 0.5  # of the charge: what an electrode's surface may be ahead of its mean
OHMIC_MAX_V = 0.2  # no slow curve has more; R = 0.8 ohm and a positive window of half the width mimic one poorly
# Every which point and how many steps, for a start and for the end. An array, because Numba compiles a function once
# more for each literal that it is called with.
STAGES = np.array([[4, 6], [1, 60]])
COARSE, FINE = 0, 1


@contracted_helper
def _positive_at(pos: F, pos_grid: F, potential: float) -> float:
    """Stoichiometry of a falling table at that potential, within the table."""
    low, high = 0, pos.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if pos[middle, 0] > potential:
            low = middle
        else:
            high = middle
    return float(pos_grid[0] + pos_grid[1] * low)


@contracted_helper
def _begin(p: F, start: F, load: F, z: F, v: F, pos: F, pos_grid: F, neg: F, neg_grid: F, out: F, jac: F) -> None:
    """A start (x_0, x_100, f) with the positive window that makes both ends' voltages right."""
    n = z.shape[0]
    p[X0], p[X100], p[FRACTION], p[R] = start[0], start[1], start[2], 0.0
    p[Y0], p[Y100] = 0.5, 0.5
    model(p, load, z, n - 1, pos, pos_grid, neg, neg_grid, out, jac)
    middle = pos_grid[0] + 0.5 * pos_grid[1] * (pos.shape[0] - 1)
    k = pos.shape[0] // 2
    offset = pos[k, 0] + (0.5 - middle) * pos[k, 1]
    p[Y0] = _positive_at(pos, pos_grid, v[0] - out[0] + offset)
    p[Y100] = _positive_at(pos, pos_grid, v[n - 1] - out[n - 1] + offset)


@contracted_helper
def _usable(z: F, v: F, load: F) -> bool:
    """Whether a curve can be fitted at all: enough finite points, charge in rising order from end to end."""
    n = z.shape[0]
    if n < LEAST_POINTS or not abs(load[CURRENT]) <= 1e6:
        return False
    for side in range(2):
        if not 0.0 <= load[N_OHM + side] <= 1e6:
            return False
        for i in range(n):
            if not (abs(v[i]) <= VOLTAGE_LIMIT_V and -AHEAD <= z[i, side] <= 1.0 + AHEAD):
                return False
            if i > 0 and not (z[i, side] >= z[i - 1, side]):
                return False
        if not z[n - 1, side] - z[0, side] > 0.5:
            return False
    return True


@contracted_helper
def _near(a: F, b: F) -> bool:
    """Whether the windows are the same for all purposes; False where one is NaN."""
    near = True
    for j in range(Y100 + 1):
        near = near and abs(a[j] - b[j]) < NEAR
    return near


@contracted_helper
def _search(
    load: F, z: F, v: F, starts: F, free: NDArray[np.bool_], pos: F, pos_grid: F, neg: F, neg_grid: F,
    out: F, jac: F, work: F, p: F, rival: F,
) -> tuple[float, float, int]:  # fmt: skip
    """Fills the minimum `p` and the next best `rival`; returns their sums of squares (inf: none) and p's steps.

    Every start takes a few steps on every fourth point; the best ones that have not come to a finished minimum by then
    are finished on all. Steps of -1: not settled.
    """
    for j in range(PARAMETERS):
        p[j], rival[j] = math.nan, math.nan
    s, every = starts.shape[0], STAGES[FINE, 0]
    tried, cost = np.empty((s, PARAMETERS)), np.empty(s)
    stride = STAGES[COARSE, 0] if z.shape[0] >= STAGES[COARSE, 0] * 50 else every
    for k in range(s):
        _begin(tried[k], starts[k], load, z, v, pos, pos_grid, neg, neg_grid, out, jac)
        cost[k], _ = descend(
            tried[k], load, z, v, stride, STAGES[COARSE, 1], free, pos, pos_grid, neg, neg_grid, out, jac, work
        )
        if not math.isfinite(cost[k]):
            cost[k] = math.inf
    best, rival_cost, steps, finished = math.inf, math.inf, -1, 0
    for _ in range(s):
        k = 0
        for j in range(s):
            if cost[j] < cost[k]:
                k = j
        if finished == POLISHED or not cost[k] < math.inf:
            break
        cost[k] = math.inf
        if _near(tried[k], p) or _near(tried[k], rival):
            continue
        finished += 1
        total, taken = descend(
            tried[k], load, z, v, every, STAGES[FINE, 1], free, pos, pos_grid, neg, neg_grid, out, jac, work
        )
        if total < best:
            rival_cost = best
            best, steps = total, taken
            for j in range(PARAMETERS):
                rival[j], p[j] = p[j], tried[k, j]
        elif total < rival_cost:
            rival_cost = total
            for j in range(PARAMETERS):
                rival[j] = tried[k, j]
    return best, rival_cost, steps


@contracted_helper
def _linearised(
    p: F, load: F, z: F, v: F, free: NDArray[np.bool_], pos: F, pos_grid: F, neg: F, neg_grid: F,
    out: F, jac: F, work: F,
) -> bool:  # fmt: skip
    """Residuals in `out`, derivatives in `jac` and the inverse of J'J in work[1] at p; False: the data do not settle p.

    A silicon fraction at its bound of zero is no longer free.
    """
    if p[FRACTION] <= LOW[FRACTION]:
        free[FRACTION] = False
    every = STAGES[FINE, 0]
    model(p, load, z, every, pos, pos_grid, neg, neg_grid, out, jac)
    normal(v, out, jac, every, work[0], work[4, 0])
    for i in range(z.shape[0]):
        out[i] = v[i] - out[i]
    for j in range(PARAMETERS):
        if free[j] and (p[j] <= LOW[j] or p[j] >= HIGH[j]):
            return False
    return inverted(work[0], free, work[1], work[2])


@contracted_helper
def _known(covariance: F) -> bool:
    """Whether the ends of the windows are known well enough to be told."""
    known = True
    for j in range(PARAMETERS):
        known = known and 0.0 <= covariance[j, j] < math.inf
        known = known and (j > Y100 or math.sqrt(covariance[j, j]) <= WINDOW_SD_MAX)
    return known


@contracted_helper
def _withhold(row: F, covariance: F) -> None:
    """No parameters, no covariance; what the row says about the fit itself stays."""
    for j in range(PARAMETERS):
        row[j] = math.nan
        for k in range(PARAMETERS):
            covariance[j, k] = math.nan


@contracted_helper
def _ambiguous(p: F, best: float, rival: F, rival_cost: float, degrees: float, covariance: F, current: float) -> bool:
    """Whether another minimum that a cell could have is as good and lies elsewhere."""
    if rival_cost > best * (1.0 + RIVAL / degrees) or abs(current * rival[R]) > OHMIC_MAX_V:
        return False
    apart = False
    for j in range(Y100 + 1):
        apart = apart or abs(rival[j] - p[j]) > max(4.0 * math.sqrt(covariance[j, j]), 0.01)
    return apart


@contracted_kernel
def esoh_batch(
    z: F, v: F, offsets: Ints, loads: F, starts: F, pos: F, pos_grid: F, neg: F, neg_grid: F,
    rows: F, covariances: F, codes: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Fits n curves that lie one behind the other: curve k is offsets[k] to offsets[k + 1] of z (m, 2) and v (m,).

    loads (n, 3): see `model`. `starts` (s, 3): x_0, x_100, f. `pos` (m, 2): values and slopes on the uniform grid (low,
    step), falling; `neg` the same or blended (m, 6): see `_blend`. Fills rows (n, 10): x_0, x_100, y_0, y_100, R, f,
    RMSE, rho, degrees of freedom, steps; covariances (n, 6, 6) and codes (n,). What a code other than OK withholds is
    NaN. Not fitted, so with a variance of zero: R without current, f without a blend or at its bound of zero.
    """
    work, free = np.zeros((5, PARAMETERS, PARAMETERS)), np.ones(PARAMETERS, dtype=np.bool_)
    p, rival = np.empty(PARAMETERS), np.empty(PARAMETERS)
    for n in range(codes.shape[0]):
        row, first, last = rows[n], offsets[n], offsets[n + 1]
        for j in range(OUTPUTS):
            row[j] = math.nan
        _withhold(row, covariances[n])
        codes[n] = status.BAD_INPUT
        if not (0 <= first <= last <= z.shape[0]) or not _usable(z[first:last], v[first:last], loads[n]):
            continue
        at, volts, load = z[first:last], v[first:last], loads[n]
        out, jac = np.empty(last - first), np.zeros((last - first, PARAMETERS))
        for j in range(PARAMETERS):
            free[j] = True
        free[R] = load[CURRENT] != 0.0
        free[FRACTION] = neg.shape[1] == 6
        best, rival_cost, steps = _search(
            load, at, volts, starts, free, pos, pos_grid, neg, neg_grid, out, jac, work, p, rival
        )
        codes[n] = status.NOT_IDENTIFIABLE
        if not math.isfinite(best):
            continue
        row[RMSE], row[STEPS] = math.sqrt(best / (last - first)), float(steps)
        if row[RMSE] > RMSE_MAX_V:
            codes[n] = status.OUTLIER
        elif steps >= 0 and _linearised(p, load, at, volts, free, pos, pos_grid, neg, neg_grid, out, jac, work):
            row[RHO], row[DEGREES] = spread(jac, out, free, work[1], RHO_MAX, covariances[n])
            if _known(covariances[n]) and not _ambiguous(
                p, best, rival, rival_cost, row[DEGREES], covariances[n], load[CURRENT]
            ):
                codes[n] = status.OK
                for j in range(PARAMETERS):
                    row[j] = p[j]
                if neg.shape[1] != 6:
                    row[FRACTION] = math.nan
                if load[CURRENT] == 0.0:
                    row[R] = math.nan
            else:
                _withhold(row, covariances[n])


def warm_up() -> None:
    """Compiles with the signatures of twin/esoh.py."""
    z = np.linspace(0.0, 1.0, LEAST_POINTS)
    falling = np.array([[4.5, -1.0], [3.5, -1.0]])
    grid = np.array([0.0, 1.0])
    for width in (2, 6):
        neg = np.array([[1.0, -0.9, 0.0, 1.0, 0.0, 1.0], [0.1, -0.9, 1.0, 1.0, 1.0, 1.0]])[:, :width].copy()
        esoh_batch(
            np.stack((z, z), axis=1), z + 3.0, np.array([0, LEAST_POINTS]), np.ones((1, 3)),
            np.array([[0.02, 0.9, 0.1]]), falling, grid, neg, grid,
            np.empty((1, OUTPUTS)), np.empty((1, PARAMETERS, PARAMETERS)), np.empty(1, dtype=np.uint8),
        )  # fmt: skip
