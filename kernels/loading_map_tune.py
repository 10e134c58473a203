"""What the web's model does not know beforehand: noise, drift, profile walk, ripple, found from the samples themselves.

Maximum likelihood of the filter's innovations (Schweppe, IEEE Trans. Inf. Theory 11 (1965) 61-70), held by a wide
log-normal prior so that a short record keeps a sensible value; search by Nelder and Mead, Computer Journal 7 (1965)
308-313. The ripple's wavelength is the highest peak of the innovations' periodogram.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper, contracted_kernel
from kernels.loading_map import LANE, M_LANE, PARAMETERS, loading_map_filter, loading_map_start

F = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_LOG_SD = 2.0  # a factor of seven either way costs as much as one sample 1 sd off
LOG_REACH = 7.0  # a factor of a thousand: beyond it the prior was in the wrong unit
FIRST_STEP = 0.7  # a factor of two
TOLERANCE = 0.05  # of twice the log likelihood: far below what the data can tell (1)


@contracted_helper
def _cost(
    theta: F, start: F, free: Ints, par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F,
    x: F, p: F, memory: F, innovation: F, variance: F, code: NDArray[np.uint8],
) -> float:  # fmt: skip
    """Twice the negative log posterior at parameters start * exp(theta)."""
    prior = 0.0
    for a in range(free.shape[0]):
        away = min(max(theta[a], -LOG_REACH), LOG_REACH)
        par[free[a]] = start[free[a]] * math.exp(away)
        prior += (theta[a] / PRIOR_LOG_SD) ** 2
    loading_map_start(par, x, p, memory)
    events = where_m.shape[0]
    cost = prior + loading_map_filter(
        par, coupling, where_m, lane, gauge, value, 0, events, x, p, memory, innovation, variance, code
    )
    return cost if math.isfinite(cost) else 1e300


@contracted_helper
def _set(target: F, source: F, cost: float) -> float:
    for a in range(target.shape[0]):
        target[a] = source[a]
    return cost


@contracted_helper
def _sort(points: F, costs: F) -> None:
    """Rows by cost; plain exchanges of a handful of rows, and no library sort to compile."""
    for a in range(1, costs.shape[0]):
        for b in range(a, 0, -1):
            if costs[b] >= costs[b - 1]:
                break
            costs[b], costs[b - 1] = costs[b - 1], costs[b]
            for c in range(points.shape[1]):
                points[b, c], points[b - 1, c] = points[b - 1, c], points[b, c]


@contracted_kernel
def loading_map_tune(
    par: F, free: Ints, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, most: int
) -> tuple[float, int]:
    """Sets the parameters `free` of `par` from samples (no nodes); at most `most` runs of the filter.

    Returns twice the negative log posterior and the number of runs. `par` holds the centre of the prior before.
    """
    m, n, events = free.shape[0], LANE + coupling.shape[0], where_m.shape[0]
    start = par.copy()
    x, p, memory = np.empty(n), np.empty((n, n)), np.empty(M_LANE + coupling.shape[0])
    nu, s, code = np.empty(events), np.empty(events), np.empty(events, dtype=np.uint8)
    points, costs = np.zeros((m + 1, m)), np.empty(m + 1)
    centre, trial, beyond = np.empty(m), np.empty(m), np.empty(m)
    for a in range(m + 1):
        if a > 0:
            points[a, a - 1] = FIRST_STEP
        costs[a] = _cost(points[a], start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code)
    runs = m + 1
    while runs < most:
        _sort(points, costs)
        if costs[m] - costs[0] < TOLERANCE:
            break
        for a in range(m):
            centre[a] = 0.0
            for b in range(m):
                centre[a] += points[b, a] / m
            trial[a] = 2.0 * centre[a] - points[m, a]
            beyond[a] = 3.0 * centre[a] - 2.0 * points[m, a]
        found: float = _cost(trial, start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code)
        runs += 1
        if found < costs[0]:
            far: float = _cost(
                beyond, start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code
            )
            runs += 1
            if far < found:
                costs[m] = _set(points[m], beyond, far)
            else:
                costs[m] = _set(points[m], trial, found)
            continue
        if found < costs[m - 1]:
            costs[m] = _set(points[m], trial, found)
            continue
        for a in range(m):
            beyond[a] = 0.5 * (centre[a] + (trial[a] if found < costs[m] else points[m, a]))
        near: float = _cost(beyond, start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code)
        runs += 1
        if near < min(found, float(costs[m])):
            costs[m] = _set(points[m], beyond, near)
            continue
        for b in range(1, m + 1):
            for a in range(m):
                points[b, a] = 0.5 * (points[b, a] + points[0, a])
            costs[b] = _cost(
                points[b], start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code
            )
        runs += m
    _sort(points, costs)
    lowest = _cost(points[0], start, free, par, coupling, where_m, lane, gauge, value, x, p, memory, nu, s, code)
    return lowest, runs + 1


@contracted_kernel
def loading_map_spectrum(where_m: F, signal: F, step_per_m: float, power: F) -> None:
    """Periodogram of n unevenly placed values at wave numbers (k + 1) * step_per_m; unit white noise has power 1.

    |sum s exp(-2 pi i f x)|^2 / sum s^2 (Scargle, Astrophys. J. 263 (1982) 835); the phases turn by recurrence.
    """
    n = where_m.shape[0]
    turn_c, turn_s, c, s = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    total = 0.0
    for i in range(n):
        turns = (where_m[i] - where_m[0]) * step_per_m
        angle = 2.0 * math.pi * (turns - math.floor(turns))
        turn_c[i] = c[i] = math.cos(angle)
        turn_s[i] = s[i] = math.sin(angle)
        total += signal[i] * signal[i]
    for k in range(power.shape[0]):
        real = imaginary = 0.0
        for i in range(n):
            real += signal[i] * c[i]
            imaginary += signal[i] * s[i]
            c[i], s[i] = c[i] * turn_c[i] - s[i] * turn_s[i], s[i] * turn_c[i] + c[i] * turn_s[i]
        power[k] = (real * real + imaginary * imaginary) / total if total > 0.0 else 0.0


def warm_up() -> None:
    """Compiles with the signatures of twin/loading_map.py."""
    lane = np.zeros(2, dtype=np.int64)
    place = np.arange(2.0)
    coupling = np.array([[1.0, -1.0], [-1.0, 1.0]])
    loading_map_tune(np.ones(PARAMETERS), np.array([2], dtype=np.int64), coupling, place, lane, lane, place, 3)
    loading_map_spectrum(place, place, 0.1, np.empty(2))
