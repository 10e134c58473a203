"""Loading of a moving web metre by metre and lane by lane from a scanning gauge's diagonal samples. Nothing of coaters.

loading.py next door keeps running statistics per lane, live, without a model. This file separates what changes along
the web over its whole width (machine direction, MD) from the cross profile (CD), which a diagonal mixes. A sample at
web position z in lane l reads

    y = mean + drift(z) + ripple(z) + c_l(z) [+ wet(z)] + noise

    drift   Ornstein-Uhlenbeck, sd and length [m]           ripple  oscillator of one wavelength, amplitude and phase
    c       profile, sum over lanes 0: random walk whose            drift over `keep` metres; may be absent
            steps resemble each other in neighbouring lanes wet     slow offset of a second gauge

Kalman filter for the separation: Wang, Dumont, Davies, IEEE Control Systems 13(4) (1993) 34-43; Featherstone,
VanAntwerp, Braatz, Identification and Control of Sheet and Film Processes, Springer 2000, chapter 4. Smoother without
inverses: Bierman, Int. J. Control 18 (1973) 65-75 (modified Bryson-Frazier):

    before a sample   l = (I - K h')' l - h nu/S      L = (I - K h')' L (I - K h') + h h'/S
    before a step     l = F' l                        L = F' L F
    smoothed          x - P l                         P - P L P

With one number measured at a time every step costs n^2. Covariances are kept at block starts only; a block is filtered
again when the smoother comes to it, so that memory does not grow with the square of the lanes times the web.
An event is a sample or a node (lane -1), a place where the map is wanted; events come in order of web position.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel

F = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

MEAN, DRIFT, COS, SIN, WET, LANE = 0, 1, 2, 3, 4, 5  # states; LANE is the first of the lanes

# Parameters; kg/m2 and m, the walk in kg/m2 per square root of a metre.
(P_MEAN, P_MEAN_SD, P_NOISE, P_NOISE_WET, P_DRIFT_SD, P_DRIFT_M, P_RIPPLE_SD, P_RIPPLE_M, P_KEEP_M, P_LANE_SD, P_WALK,
 P_WET_SD, P_WET_M) = range(13)  # fmt: skip
PARAMETERS = 13

GATE = 5.0  # sd; a sample further off is a splice, a fly or a wrinkle: one in two million of honest ones
MISSES_MAX = 3  # so many in a row on the same side are the web: it has stepped; in one lane: that lane has
BLOCK = 256  # events between kept covariances
DISTANCE_MAX_M = 1e7
VALUE_MAX_KG_M2 = 1e3  # far beyond any web, and near enough that double precision keeps the covariance

# Memory between events, (3 + lanes,): place, samples used, misses in a row with their sign, and the same of every lane.
M_PLACE, M_USED, M_MISSES, M_LANE = 0, 1, 2, 3


@contracted_kernel
def loading_map_start(par: F, x: F, p: F, memory: F) -> None:
    """State (n,) and covariance (n, n) before the first sample; n = 5 + lanes."""
    lanes = x.shape[0] - LANE
    for i in range(x.shape[0]):
        x[i] = 0.0
        for j in range(x.shape[0]):
            p[i, j] = 0.0
    x[MEAN] = par[P_MEAN]
    p[MEAN, MEAN] = par[P_MEAN_SD] ** 2
    p[DRIFT, DRIFT] = par[P_DRIFT_SD] ** 2
    p[COS, COS] = p[SIN, SIN] = par[P_RIPPLE_SD] ** 2
    p[WET, WET] = par[P_WET_SD] ** 2
    for i in range(lanes):
        for j in range(lanes):
            p[LANE + i, LANE + j] = par[P_LANE_SD] ** 2 * ((1.0 if i == j else 0.0) - 1.0 / lanes)
    for i in range(memory.shape[0]):
        memory[i] = 0.0
    memory[M_PLACE] = math.nan


@contracted_helper
def factors(par: F, distance_m: float) -> tuple[float, float, float, float]:
    """Decay of drift, of the wet offset, and the ripple's decay times cosine and sine, over a distance."""
    drift = math.exp(-distance_m / par[P_DRIFT_M])
    wet = math.exp(-distance_m / par[P_WET_M]) if par[P_WET_SD] > 0.0 else 1.0
    if par[P_RIPPLE_SD] <= 0.0:
        return drift, wet, 1.0, 0.0
    keep = math.exp(-distance_m / par[P_KEEP_M])
    turns = distance_m / par[P_RIPPLE_M]
    turn = 2.0 * math.pi * (turns - math.floor(turns))
    return drift, wet, keep * math.cos(turn), keep * math.sin(turn)


@contracted_helper
def predict(par: F, coupling: F, distance_m: float, x: F, p: F) -> None:
    """The state so much further along the web."""
    n = x.shape[0]
    drift, wet, c, s = factors(par, distance_m)
    x[DRIFT] *= drift
    for j in range(n):
        p[DRIFT, j] *= drift
    for i in range(n):
        p[i, DRIFT] *= drift
    if par[P_WET_SD] > 0.0:
        x[WET] *= wet
        for j in range(n):
            p[WET, j] *= wet
        for i in range(n):
            p[i, WET] *= wet
    if par[P_RIPPLE_SD] > 0.0:
        x[COS], x[SIN] = c * x[COS] + s * x[SIN], c * x[SIN] - s * x[COS]
        for j in range(n):
            p[COS, j], p[SIN, j] = c * p[COS, j] + s * p[SIN, j], c * p[SIN, j] - s * p[COS, j]
        for i in range(n):
            p[i, COS], p[i, SIN] = c * p[i, COS] + s * p[i, SIN], c * p[i, SIN] - s * p[i, COS]
        fresh = par[P_RIPPLE_SD] ** 2 * (1.0 - c * c - s * s)
        p[COS, COS] += fresh
        p[SIN, SIN] += fresh
    p[DRIFT, DRIFT] += par[P_DRIFT_SD] ** 2 * (1.0 - drift * drift)
    p[WET, WET] += par[P_WET_SD] ** 2 * (1.0 - wet * wet)
    walked = par[P_WALK] ** 2 * distance_m
    if walked > 0.0:
        for i in range(n - LANE):
            for j in range(n - LANE):
                p[LANE + i, LANE + j] += walked * coupling[i, j]


@contracted_helper
def sums(p: F, lane: int, gauge: int, c: F) -> float:
    """c = P h and h'P h for what a gauge sees in a lane."""
    row = LANE + lane
    for j in range(c.shape[0]):
        c[j] = p[MEAN, j] + p[DRIFT, j] + p[COS, j] + p[row, j]
    if gauge == 1:
        for j in range(c.shape[0]):
            c[j] += p[WET, j]
    seen: float = c[MEAN] + c[DRIFT] + c[COS] + c[row] + (c[WET] if gauge == 1 else 0.0)
    return seen


@contracted_helper
def measure(par: F, lane: int, gauge: int, value: float, x: F, p: F, memory: F, c: F) -> tuple[float, float, int]:
    """One sample; `c` becomes the gain. Returns innovation, its variance and the code. Not used: the gain is zero."""
    n = x.shape[0]
    seen = x[MEAN] + x[DRIFT] + x[COS] + x[LANE + lane] + (x[WET] if gauge == 1 else 0.0)
    noise = par[P_NOISE_WET] if gauge == 1 else par[P_NOISE]
    s = sums(p, lane, gauge, c) + noise * noise
    nu = value - seen
    code = status.OK if memory[M_USED] > 0.0 else status.STARTED
    if nu * nu > GATE * GATE * s:
        side = 1.0 if nu > 0.0 else -1.0
        for m in (M_MISSES, M_LANE + lane):
            memory[m] = memory[m] + side if memory[m] * side > 0.0 else side
        if abs(memory[M_MISSES]) >= MISSES_MAX:
            p[DRIFT, DRIFT] += nu * nu
        elif abs(memory[M_LANE + lane]) >= MISSES_MAX:
            lanes = n - LANE
            for i in range(lanes):
                for j in range(lanes):
                    share = ((1.0 if i == lane else 0.0) - 1.0 / lanes) * ((1.0 if j == lane else 0.0) - 1.0 / lanes)
                    p[LANE + i, LANE + j] += nu * nu * share
        else:
            for i in range(n):
                c[i] = 0.0
            return nu, s, status.OUTLIER
        s = sums(p, lane, gauge, c) + noise * noise
        code = status.AFTER_GAP
    memory[M_MISSES] = memory[M_LANE + lane] = 0.0
    memory[M_USED] += 1.0
    for i in range(n):
        gain = c[i] / s
        x[i] += gain * nu
        for j in range(n):
            p[i, j] -= gain * c[j]
    for i in range(n):
        c[i] /= s
    return nu, s, code


@contracted_kernel
def loading_map_filter(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, first: int, last: int,
    x: F, p: F, memory: F, innovation: F, variance: F, code: Codes,
) -> float:  # fmt: skip
    """Filters events `first` to `last` - 1 in place; returns twice the negative log likelihood (robust beyond GATE).

    `coupling` (lanes, lanes): covariance of the profile's steps, rows summing to 0, mean diagonal 1. `innovation`,
    `variance`, `code` (events,): per sample; a node gets nan and PREDICTED. Decreasing places: BAD_TIME, not used.
    """
    gain = np.empty(x.shape[0])
    cost = 0.0
    for k in range(first, last):
        innovation[k] = variance[k] = math.nan
        code[k] = status.PREDICTED
        if not (math.isfinite(where_m[k]) and lane[k] < x.shape[0] - LANE):
            code[k] = status.BAD_INPUT
            continue
        distance = where_m[k] - memory[M_PLACE] if memory[M_PLACE] == memory[M_PLACE] else 0.0
        if distance < 0.0:
            code[k] = status.BAD_TIME
            continue
        if distance > 0.0:
            predict(par, coupling, min(distance, DISTANCE_MAX_M), x, p)
        memory[M_PLACE] = where_m[k]
        if lane[k] < 0:
            continue
        if not abs(value[k]) <= VALUE_MAX_KG_M2:
            code[k] = status.BAD_INPUT
            continue
        nu, s, found = measure(par, lane[k], gauge[k], value[k], x, p, memory, gain)
        innovation[k], variance[k], code[k] = nu, s, found
        cost += math.log(s) + min(nu * nu / s, GATE * GATE)
    return cost


@contracted_kernel
def loading_map_state(x: F, p: F, loading: F, loading_sd: F, whole: F) -> None:
    """What a state says: loading and sd of every lane (lanes,); `whole` (2,): MD loading of the width and its sd."""
    c = np.empty(x.shape[0])
    common = x[MEAN] + x[DRIFT] + x[COS]
    for i in range(loading.shape[0]):
        loading[i] = common + x[LANE + i]
        loading_sd[i] = math.sqrt(max(sums(p, i, 0, c), 0.0))
    total = 0.0
    for i in (MEAN, DRIFT, COS):
        total += p[i, MEAN] + p[i, DRIFT] + p[i, COS]
    whole[0], whole[1] = common, math.sqrt(max(total, 0.0))


def warm_up() -> None:
    """Compiles with the signatures of twin/loading_map.py."""
    lanes, n = 2, LANE + 2
    par = np.array([0.17, 0.03, 1e-3, 1e-3, 1e-3, 300.0, 0.0, 4.0, 500.0, 0.01, 1e-5, 1e-3, 1000.0])
    x, p, memory, one = np.empty(n), np.empty((n, n)), np.empty(M_LANE + lanes), np.ones(1)
    zero = np.zeros(1, dtype=np.int64)
    loading_map_start(par, x, p, memory)
    coupling = np.array([[1.0, -1.0], [-1.0, 1.0]])
    code = np.empty(1, dtype=np.uint8)
    loading_map_filter(par, coupling, one, zero, zero, one, 0, 1, x, p, memory, np.empty(1), np.empty(1), code)
    loading_map_state(x, p, np.empty(lanes), np.empty(lanes), np.empty(2))
