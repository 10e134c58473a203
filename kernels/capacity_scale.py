"""What scale a record has: its largest current and the charge that it spans. Helpers of kernels/capacity.py."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import contracted_helper
from kernels.capacity_blocks import BLOCK, LONGEST_WAIT, TIME_LIMIT_S, one_way

F = NDArray[np.float64]

CURRENT_LIMIT_A = 1e6  # beyond it is no current
SAMPLED = 4096
OUTLIER = 1000.0


@contracted_helper
def largest_current(current_a: F, start: int, stop: int) -> float:
    """Power of two above the largest current; one row in a thousand (of 20 or more, at least one) is an outlier."""
    stride = 1 + (stop - start) // SAMPLED
    bins = np.zeros(64, dtype=np.int64)
    rows = 0
    for k in range(start, stop, stride):
        size = abs(current_a[k])
        if 1e-12 <= size <= CURRENT_LIMIT_A:
            bins[math.floor(math.log2(size)) + 40] += 1
        rows += 1
    above = 0
    for j in range(63, -1, -1):
        above += bins[j]
        if above > max(rows // 1000, 1 if rows >= 20 else 0):
            return 2.0 ** (j - 39)
    return 0.0


@contracted_helper
def ceiling_of(largest: float) -> float:
    """More [A] is a misreading; a pulse of 2C in a formation at C/20 is forty times its current."""
    return min(max(OUTLIER * largest, 1e-9), CURRENT_LIMIT_A)


@contracted_helper
def span(time_s: F, current_a: F, start: int, stop: int, gap_s: float, ceiling: float, least: float) -> float:
    """Charge [C] between the extremes of q, signed by which extreme came first; stops once it reaches `least`."""
    q, low, high, t0 = 0.0, 0.0, 0.0, math.nan
    k, before, by_row, wait = start - 1, -1, start + 1, BLOCK  # rows before `by_row` are taken one by one
    while k + 1 < stop:
        k += 1
        ordinary, moved = False, 0.0
        if k >= by_row and before == k - 1 and k + BLOCK <= stop:
            ordinary, moved = one_way(time_s, current_a, k, gap_s, ceiling)
            by_row, wait = (k, BLOCK) if ordinary else (k + wait, min(2 * wait, LONGEST_WAIT))
        if ordinary:
            k += BLOCK - 1
        elif not (abs(current_a[k]) <= ceiling and abs(time_s[k]) <= TIME_LIMIT_S):
            continue
        else:
            dt = time_s[k] - t0
            moved = current_a[k] * dt if 0.0 < dt <= gap_s else 0.0
        t0, before = time_s[k], k
        q += moved
        if q > high:
            high = q
            if q - low >= least:
                return q - low
        elif q < low:
            low = q
            if high - q >= least:
                return q - high
    return high - low
