"""The map of loading_map.py one scan behind the gauge: places that are kept open while the samples after them come.

Where the gauge stands, the filter knows the web from one side only. A node is a place whose estimate later samples
still improve: with a row of H for each lane and one for the width, x and P at the node and C = H P, its covariance
with the state that goes on along the web, fixed-point smoothing (Meditch, Information and Control 10 (1967) 610-635;
Anderson, Moore, Optimal Filtering, Prentice-Hall 1979, section 7.2) needs no way back and no kept covariances:

    over a step     C = C F'
    over a sample   value += C h nu / S    variance -= (C h)^2 / S    C -= C h K'

A node costs about half a filter step per sample. It is finished when the gauge has moved across once the width since.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel
from kernels.loading_map import (
    COS,
    DISTANCE_MAX_M,
    DRIFT,
    LANE,
    M_LANE,
    M_PLACE,
    MEAN,
    P_NOISE,
    P_NOISE_WET,
    P_RIPPLE_SD,
    PARAMETERS,
    SIN,
    WET,
    factors,
    loading_map_filter,
    sums,
)

F = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

OPEN_MAX = 16  # nodes at once; nearer to each other than a 16th of a scan none is opened
STANDING = 2  # times the lanes: so many samples finish a node under a gauge that stands

# A node's rows are the lanes and then the width; its columns covariance with the state, value, variance.
N_VALUE, N_VARIANCE = -2, -1
# Of each node: place, and how far the gauge had moved across and how many samples there had been when it was opened.
O_PLACE, O_MOVED, O_COUNT = 0, 1, 2
# Of the web: nodes open, place where the next is due, way across so far, samples, newest cross position, oldest is done
B_OPEN, B_DUE, B_MOVED, B_COUNT, B_CROSS, B_DONE = range(6)
BOOK = 6


@contracted_kernel
def loading_map_open(x: F, p: F, node: F) -> None:
    """Begins a node (1 + lanes, 2 + n) at the state's own place."""
    n, lanes = x.shape[0], node.shape[0] - 1
    for row in range(lanes + 1):
        node[row, N_VALUE] = x[MEAN] + x[DRIFT] + x[COS]
        for j in range(n):
            node[row, j] = p[MEAN, j] + p[DRIFT, j] + p[COS, j]
        if row < lanes:
            node[row, N_VALUE] += x[LANE + row]
            for j in range(n):
                node[row, j] += p[LANE + row, j]
        seen = node[row, MEAN] + node[row, DRIFT] + node[row, COS]
        node[row, N_VARIANCE] = seen + (node[row, LANE + row] if row < lanes else 0.0)


@contracted_helper
def _step(par: F, distance_m: float, node: F) -> None:
    drift, wet, c, s = factors(par, distance_m)
    for row in range(node.shape[0]):
        node[row, DRIFT] *= drift
        node[row, WET] *= wet
        if par[P_RIPPLE_SD] > 0.0:
            a, b = node[row, COS], node[row, SIN]
            node[row, COS], node[row, SIN] = c * a + s * b, c * b - s * a


@contracted_helper
def _sample(lane: int, gauge: int, nu: float, s: float, gain: F, node: F) -> None:
    for row in range(node.shape[0]):
        ch = node[row, MEAN] + node[row, DRIFT] + node[row, COS]
        ch += node[row, LANE + lane] + (node[row, WET] if gauge == 1 else 0.0)
        node[row, N_VALUE] += ch * nu / s
        node[row, N_VARIANCE] -= ch * ch / s
        for j in range(gain.shape[0]):
            node[row, j] -= ch * gain[j]


@contracted_helper
def _follow(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, k: int, x: F, p: F, memory: F, nodes: F,
    opened: int, nu: F, s: F, gain: F, code: Codes,
) -> None:  # fmt: skip
    """One sample for the filter and for the first `opened` of `nodes`."""
    before = memory[M_PLACE]
    loading_map_filter(par, coupling, where_m, lane, gauge, value, k, k + 1, x, p, memory, nu, s, code)
    if opened == 0:
        return
    if memory[M_PLACE] > before:
        for i in range(opened):
            _step(par, min(memory[M_PLACE] - before, DISTANCE_MAX_M), nodes[i])
    if code[k] == status.OK or code[k] == status.STARTED or code[k] == status.AFTER_GAP:
        # The gain P h / S is also P h / R with the P after the sample.
        noise = par[P_NOISE_WET] if gauge[k] == 1 else par[P_NOISE]
        sums(p, lane[k], gauge[k], gain)
        for j in range(gain.shape[0]):
            gain[j] /= noise * noise
        for i in range(opened):
            _sample(lane[k], gauge[k], nu[k], s[k], gain, nodes[i])


@contracted_kernel
def loading_map_follow(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, first: int, last: int,
    x: F, p: F, memory: F, nodes: F, opened: int, code: Codes,
) -> None:  # fmt: skip
    """Filters samples `first` to `last` - 1 as loading_map.py does, and the first `opened` of `nodes` with them."""
    nu, s, gain = np.empty(where_m.shape[0]), np.empty(where_m.shape[0]), np.empty(x.shape[0])
    for k in range(first, last):
        _follow(par, coupling, where_m, lane, gauge, value, k, x, p, memory, nodes, opened, nu, s, gain, code)


@contracted_helper
def _done(book: F, opened: F, lanes: int, scan_m: float) -> bool:
    """Whether the oldest node is."""
    return bool(
        book[B_OPEN] > 0.0
        and (book[B_MOVED] - opened[0, O_MOVED] >= scan_m or book[B_COUNT] - opened[0, O_COUNT] >= STANDING * lanes)
    )


@contracted_kernel
def loading_map_behind(
    par: F, coupling: F, where_m: F, lane: Ints, gauge: Ints, value: F, cross_m: F, step_m: float, scan_m: float,
    first: int, last: int, x: F, p: F, memory: F, nodes: F, opened: F, book: F, code: Codes,
) -> int:  # fmt: skip
    """Goes on until the oldest node is done (then B_DONE is 1) or the samples are; returns the first not yet taken.

    `nodes` (OPEN_MAX, 1 + lanes, 2 + n), `opened` (OPEN_MAX, 3), `book` (BOOK,) begin as zeros with B_DUE at -inf; who
    takes the oldest node moves the others up and counts B_OPEN down. Every `step_m` along the web one is opened. Done:
    the gauge has moved by `scan_m` across since.
    """
    lanes = x.shape[0] - LANE
    nu, s, gain = np.empty(where_m.shape[0]), np.empty(where_m.shape[0]), np.empty(x.shape[0])
    for k in range(first, last):
        book[B_DONE] = 1.0 if _done(book, opened, lanes, scan_m) else 0.0
        if book[B_DONE] > 0.0:
            return k
        count = int(book[B_OPEN])
        _follow(par, coupling, where_m, lane, gauge, value, k, x, p, memory, nodes, count, nu, s, gain, code)
        if code[k] == status.BAD_INPUT or code[k] == status.BAD_TIME:
            continue
        if book[B_COUNT] > 0.0:
            book[B_MOVED] += abs(cross_m[k] - book[B_CROSS])
        book[B_CROSS] = cross_m[k]
        book[B_COUNT] += 1.0
        if where_m[k] < book[B_DUE] or count >= OPEN_MAX:
            continue
        if count > 0:
            newest = opened[count - 1]
            moved, samples = book[B_MOVED] - newest[O_MOVED], book[B_COUNT] - newest[O_COUNT]
            if moved * OPEN_MAX < scan_m and samples * OPEN_MAX < STANDING * lanes:
                continue
        loading_map_open(x, p, nodes[count])
        opened[count, O_PLACE], opened[count, O_MOVED], opened[count, O_COUNT] = (
            where_m[k], book[B_MOVED], book[B_COUNT],
        )  # fmt: skip
        book[B_OPEN] += 1.0
        book[B_DUE] = where_m[k] + step_m
    book[B_DONE] = 1.0 if _done(book, opened, lanes, scan_m) else 0.0
    return last


def warm_up() -> None:
    """Compiles with the signatures of twin/loading_map_live.py."""
    lanes, n = 2, LANE + 2
    par, one = np.ones(PARAMETERS), np.ones(1)
    zero, code = np.zeros(1, dtype=np.int64), np.empty(1, dtype=np.uint8)
    coupling = np.array([[1.0, -1.0], [-1.0, 1.0]])
    x, p, memory = np.ones(n), np.eye(n), np.zeros(M_LANE + lanes)
    memory[M_PLACE] = math.nan
    nodes, opened, book = np.zeros((OPEN_MAX, 1 + lanes, 2 + n)), np.zeros((OPEN_MAX, 3)), np.zeros(BOOK)
    loading_map_open(x, p, nodes[0])
    loading_map_follow(par, coupling, one, zero, zero, one, 0, 1, x, p, memory, nodes, 1, code)
    loading_map_behind(
        par, coupling, one, zero, zero, one, one, 1.0, 1.0, 0, 1, x, p, memory, nodes, opened, book, code
    )
