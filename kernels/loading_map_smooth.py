"""The smoother of loading_map.py: every node of the map from the samples on both of its sides. Model: there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel
from kernels.loading_map import (
    BLOCK,
    COS,
    DISTANCE_MAX_M,
    DRIFT,
    LANE,
    M_LANE,
    M_PLACE,
    MEAN,
    P_RIPPLE_SD,
    PARAMETERS,
    SIN,
    WET,
    factors,
    loading_map_filter,
    loading_map_start,
    measure,
    predict,
)

F = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]


@contracted_helper
def _copy(source: F, target: F) -> None:
    """Flat copy; a slice assignment would cost seconds of compile time."""
    a, b = source.ravel(), target.ravel()
    for i in range(a.shape[0]):
        b[i] = a[i]


@contracted_helper
def _back_over_sample(lane: int, gauge: int, gain: F, nu: float, s: float, back: F, far: F, w: F) -> None:
    """l = C'l - h nu/S, L = C'LC + h h'/S with C = I - gain h'; only rows and columns of h change."""
    n = back.shape[0]
    g = 0.0
    for i in range(n):
        g += gain[i] * back[i]
    both = 0.0
    for i in range(n):
        sum_i = 0.0
        for j in range(n):
            sum_i += far[i, j] * gain[j]
        w[i] = sum_i
        both += gain[i] * sum_i
    seen = (MEAN, DRIFT, COS, LANE + lane, WET)
    count = 5 if gauge == 1 else 4
    for a in range(count):
        r = seen[a]
        back[r] -= g + nu / s
        for j in range(n):
            far[r, j] -= w[j]
        for i in range(n):
            far[i, r] -= w[i]
    for a in range(count):
        for b in range(count):
            far[seen[a], seen[b]] += both + 1.0 / s


@contracted_helper
def _back_over_step(par: F, distance_m: float, back: F, far: F) -> None:
    n = back.shape[0]
    drift, wet, c, s = factors(par, distance_m)
    back[DRIFT] *= drift
    back[WET] *= wet
    for j in range(n):
        far[DRIFT, j] *= drift
        far[WET, j] *= wet
    for i in range(n):
        far[i, DRIFT] *= drift
        far[i, WET] *= wet
    if par[P_RIPPLE_SD] > 0.0:
        back[COS], back[SIN] = c * back[COS] - s * back[SIN], c * back[SIN] + s * back[COS]
        for j in range(n):
            far[COS, j], far[SIN, j] = c * far[COS, j] - s * far[SIN, j], c * far[SIN, j] + s * far[COS, j]
        for i in range(n):
            far[i, COS], far[i, SIN] = c * far[i, COS] - s * far[i, SIN], c * far[i, SIN] + s * far[i, COS]


@contracted_helper
def _node(x: F, p: F, back: F, far: F, seen: F, tail: F, loading: F, loading_sd: F, whole: F) -> None:
    """Smoothed loading at a node: x - P l, P - P L P, for every lane (rows 0 .. lanes - 1 of `seen`) and the width."""
    n, lanes = x.shape[0], loading.shape[0]
    for row in range(lanes + 1):
        for j in range(n):
            seen[row, j] = p[MEAN, j] + p[DRIFT, j] + p[COS, j]
        if row < lanes:
            for j in range(n):
                seen[row, j] += p[LANE + row, j]
    for row in range(lanes + 1):
        value = x[MEAN] + x[DRIFT] + x[COS]
        var = seen[row, MEAN] + seen[row, DRIFT] + seen[row, COS]
        if row < lanes:
            value += x[LANE + row]
            var += seen[row, LANE + row]
        for j in range(n):
            tail[j] = 0.0
        for i in range(n):
            value -= seen[row, i] * back[i]
            for j in range(n):
                tail[j] += seen[row, i] * far[i, j]
        for j in range(n):
            var -= tail[j] * seen[row, j]
        sd = math.sqrt(max(var, 0.0))
        if row < lanes:
            loading[row], loading_sd[row] = value, sd
        else:
            whole[0], whole[1] = value, sd


@contracted_helper
def _again(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, first: int, last: int,
    x: F, p: F, memory: F, states: F, covariances: F, gains: F, steps: F, pairs: F, code: Codes,
) -> None:  # fmt: skip
    """Filters a block once more and keeps what the smoother needs of each of its events."""
    for k in range(first, last):
        r = k - first
        steps[r] = 0.0
        pairs[r, 0] = pairs[r, 1] = 0.0
        if code[k] == status.BAD_INPUT or code[k] == status.BAD_TIME:
            continue
        if memory[M_PLACE] == memory[M_PLACE]:
            steps[r] = min(where_m[k] - memory[M_PLACE], DISTANCE_MAX_M)
        if steps[r] > 0.0:
            predict(par, coupling, steps[r], x, p)
        memory[M_PLACE] = where_m[k]
        if lane[k] < 0:
            _copy(x, states[r])
            _copy(p, covariances[r])
        else:
            pairs[r, 0], pairs[r, 1], _ = measure(par, lane[k], gauge[k], value[k], x, p, memory, gains[r])


@contracted_kernel
def loading_map_smooth(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F,
    loading: F, loading_sd: F, whole: F, innovation: F, variance: F, code: Codes,
) -> float:  # fmt: skip
    """Filters and smooths all events of one web; returns twice the negative log likelihood.

    Rows of `loading`, `loading_sd` (nodes, lanes) and `whole` (nodes, 2: MD loading and sd) belong to the nodes in
    order. `innovation`, `variance`, `code` (events,) as in `loading_map_filter`.
    """
    events, lanes = where_m.shape[0], loading.shape[1]
    n = LANE + lanes
    blocks = (events + BLOCK - 1) // BLOCK
    kept_x, kept_p, kept_m = np.empty((blocks, n)), np.empty((blocks, n, n)), np.empty((blocks, M_LANE + lanes))
    x, p, memory = np.empty(n), np.empty((n, n)), np.empty(M_LANE + lanes)
    loading_map_start(par, x, p, memory)
    cost = 0.0
    for b in range(blocks):
        _copy(x, kept_x[b])
        _copy(p, kept_p[b])
        _copy(memory, kept_m[b])
        last = min((b + 1) * BLOCK, events)
        cost += loading_map_filter(
            par, coupling, where_m, lane, gauge, value, b * BLOCK, last, x, p, memory, innovation, variance, code
        )
    states, covariances = np.empty((BLOCK, n)), np.empty((BLOCK, n, n))
    gains, steps, pairs = np.empty((BLOCK, n)), np.empty(BLOCK), np.empty((BLOCK, 2))
    back, far, seen, tail = np.zeros(n), np.zeros((n, n)), np.empty((lanes + 1, n)), np.empty(n)
    node = loading.shape[0]
    for b in range(blocks - 1, -1, -1):
        first, last = b * BLOCK, min((b + 1) * BLOCK, events)
        _copy(kept_x[b], x)
        _copy(kept_p[b], p)
        _copy(kept_m[b], memory)
        _again(par, coupling, where_m, lane, gauge, value, first, last, x, p, memory, states, covariances, gains,
               steps, pairs, code)  # fmt: skip
        for k in range(last - 1, first - 1, -1):
            r = k - first
            if lane[k] < 0:
                node -= 1
                if code[k] == status.PREDICTED:
                    _node(
                        states[r], covariances[r], back, far, seen, tail, loading[node], loading_sd[node], whole[node]
                    )
                else:
                    for j in range(lanes):
                        loading[node, j] = loading_sd[node, j] = math.nan
                    whole[node, 0] = whole[node, 1] = math.nan
            elif code[k] == status.OK or code[k] == status.STARTED or code[k] == status.AFTER_GAP:
                _back_over_sample(lane[k], gauge[k], gains[r], pairs[r, 0], pairs[r, 1], back, far, tail)
            if steps[r] > 0.0:
                _back_over_step(par, steps[r], back, far)
    return cost


def warm_up() -> None:
    """Compiles with the signatures of twin/loading_map.py."""
    par = np.ones(PARAMETERS)
    lane = np.array([0, -1], dtype=np.int64)
    place, pair = np.arange(2.0), np.empty(2)
    coupling = np.array([[1.0, -1.0], [-1.0, 1.0]])
    code = np.empty(2, dtype=np.uint8)
    map_, sd, whole = np.empty((1, 2)), np.empty((1, 2)), np.empty((1, 2))
    loading_map_smooth(par, coupling, place, lane, np.zeros_like(lane), place, map_, sd, whole, pair, np.empty(2), code)
