"""Blocks of ordinary rows, taken at once with vector instructions. Helpers of kernels/capacity.py, which has the rules.

Nearly every row of a record is ordinary: in range, the stamps not falling, the current going on as it was. A
block of such rows changes the totals and nothing else, so its checks and sums need no branch per row. The first row
that is anything else sends its block down the path row by row, and both ways give the same figures up to rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels._jit import summing

F = NDArray[np.float64]

BLOCK = 64  # rows: long enough for vectors to pay, short enough that a step's edge spoils little
LONGEST_WAIT = 16 * BLOCK  # rows, doubled at each block in vain, until the next is tried
TIME_LIMIT_S, VOLTAGE_LIMIT_V = 1e15, 1e5  # beyond it is no time or voltage
EDGE = 0.25  # a CV tail that is logged at all loses less than a quarter from row to row
GLITCH_V = 0.05  # a voltage that falls by more for one row under the same current was misread


@summing
def steady_flow(
    time_s: F, current_a: F, voltage_v: F, row: int, direction: float, rest: float, gap_s: float, ceiling: float
) -> tuple[bool, float, float, int]:
    """Whether BLOCK rows from `row` on go on flowing in `direction` without an edge; twice their charge and energy, and
    how many repeat the time of the row before.
    """
    before, t = time_s[row - 1 : row + BLOCK - 1], time_s[row : row + BLOCK]
    was, now = current_a[row - 1 : row + BLOCK - 1], current_a[row : row + BLOCK]
    had, has = voltage_v[row - 1 : row + BLOCK - 1], voltage_v[row : row + BLOCK]
    good, same, q2, e2 = 0, 0, 0.0, 0.0
    for j in range(BLOCK):
        dt, a, b = t[j] - before[j], was[j], now[j]
        x, y = a * direction, b * direction
        good += (
            (dt >= 0.0) & (dt <= gap_s) & (abs(t[j]) <= TIME_LIMIT_S) & (abs(has[j]) <= VOLTAGE_LIMIT_V)
            & (y > rest) & (y <= ceiling) & (y - x <= EDGE * y) & (x - y <= EDGE * x)
        )  # fmt: skip
        same += dt == 0.0
        q2 += dt * (a + b)
        e2 += dt * (a * had[j] + b * has[j])
    return good == BLOCK, q2, e2, same


@summing
def misread(current_a: F, voltage_v: F, row: int, stop: int, before_a: float) -> bool:
    """Whether the voltage falls at this row and returns at the next, under the same current."""
    same = EDGE * abs(current_a[row])
    return (
        row + 1 < stop
        and voltage_v[row + 1] > voltage_v[row] + GLITCH_V
        and abs(current_a[row + 1] - current_a[row]) <= same
        and abs(before_a - current_a[row]) <= same
    )


@summing
def reach(
    current_a: F, voltage_v: F, first: int, end: int, stop: int, before_a: float, low: float, low_row: int, high: float
) -> tuple[float, int, float]:
    """Lowest voltage, its row and highest voltage, rows `first` to `end` seen; misreadings are not the lowest."""
    for k in range(first, end):
        v = voltage_v[k]
        if v < low:
            if v >= low - GLITCH_V or not misread(current_a, voltage_v, k, stop, before_a):
                low, low_row = v, k
        elif v > high:
            high = v
        before_a = current_a[k]
    return low, low_row, high


@summing
def still(time_s: F, current_a: F, voltage_v: F, row: int, rest: float, gap_s: float) -> tuple[bool, int]:
    """Whether BLOCK rows from `row` on are ordinary rows of rest; how many repeat the time of the row before."""
    before, t = time_s[row - 1 : row + BLOCK - 1], time_s[row : row + BLOCK]
    now, has = current_a[row : row + BLOCK], voltage_v[row : row + BLOCK]
    good, same = 0, 0
    for j in range(BLOCK):
        dt = t[j] - before[j]
        good += (
            (dt >= 0.0) & (dt <= gap_s) & (abs(t[j]) <= TIME_LIMIT_S) & (abs(has[j]) <= VOLTAGE_LIMIT_V)
            & (abs(now[j]) <= rest)
        )  # fmt: skip
        same += dt == 0.0
    return good == BLOCK, same


@summing
def one_way(time_s: F, current_a: F, row: int, gap_s: float, ceiling: float) -> tuple[bool, float]:
    """Whether BLOCK ordinary rows from `row` on move charge one way or not at all; the charge [C]."""
    before, t, i = time_s[row - 1 : row + BLOCK - 1], time_s[row : row + BLOCK], current_a[row : row + BLOCK]
    up, down, q = 0, 0, 0.0
    for j in range(BLOCK):
        dt = t[j] - before[j]
        fits = (dt >= 0.0) & (dt <= gap_s) & (abs(t[j]) <= TIME_LIMIT_S)
        up += fits & (i[j] >= 0.0) & (i[j] <= ceiling)
        down += fits & (i[j] <= 0.0) & (i[j] >= -ceiling)
        q += i[j] * dt
    return (up == BLOCK) | (down == BLOCK), q
