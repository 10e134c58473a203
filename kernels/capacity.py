"""Coulomb counting: a record of current and voltage cut into half-cycles and cycles. SI units; nothing of files.

Charge q = sum of dq, energy e = sum of de, over the intervals between good rows (trapezoid rule):

    dq = (i0 + i1)/2 dt,  de = (i0 v0 + i1 v1)/2 dt,  i = 0 where |i| <= rest (an open relay's offset is no charge)

Where the current jumps by a quarter or more (a step edge, a range change) a trapezoid invents charge. A cycler writes a
row at the end of each step, so there the new current holds over the whole interval; a polled device may have switched
anywhere, and the mean is the best guess with standard deviation |i1 - i0| dt/sqrt(12) (a uniform distribution's).

Half-cycles are the stretches between turning points of q that are at least `least` coulombs apart, as in the
hysteresis filter ahead of rainflow counting (ASTM E1049-85, section 5.4): noise, outliers, range glitches and short
pulses of the other sign do not split a half-cycle, rests and CV tails belong to the one that they end.
The efficiencies of cycles are in kernels/capacity_cycles.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel, inlined
from kernels.capacity_blocks import (
    BLOCK,
    EDGE,
    GLITCH_V,
    LONGEST_WAIT,
    TIME_LIMIT_S,
    VOLTAGE_LIMIT_V,
    misread,
    reach,
    steady_flow,
    still,
)
from kernels.capacity_scale import ceiling_of, largest_current, span

F = NDArray[np.float64]
Ints = NDArray[np.int64]

# Settings, NaN where the record is to give the value.
REST_A, LEAST_C, GAP_S, MIDDLE, LIMIT_V, TOLERANCE_V = 0, 1, 2, 3, 4, 5
SETTINGS = 6
# A half-cycle's columns.
(
    DIRECTION, BEGIN_S, END_S, CHARGE_C, ENERGY_J, FLOW_S, BEGIN_V, END_V, LOW_V, HIGH_V, GAPS, LOST_S, BRIDGED,
    EDGE_C2, ENDED, BEGIN_ROW, END_ROW, LOW_ROW,
) = range(18)  # fmt: skip
HALF_COLUMNS = 18
# A record's columns; the last two are written by kernels/capacity_cycles.py.
USED_REST_A, USED_LEAST_C, ROWS, BAD_ROWS, BAD_TIMES, DUPLICATES, ALL_GAPS, USED_LIMIT_V, LIMIT_FROM = range(9)
RECORD_COLUMNS = 9

REST_FRACTION = 0.002  # of the record's largest current: above every cycler's offset, below every CV cut-off
LEAST_FRACTION = 0.02  # of the charge that the record spans: a pulse for a resistance moves less
REST_MOVE_V = 0.1  # a rest that was logged sparsely moves less; more, and something happened in between
COUNTER_LIMIT_C = 1e15
# The running totals, and the marks that copy them at turning points.
(T_Q, T_E, T_FLOW, T_GAPS, T_LOST, T_BRIDGED, T_EDGE, T_LAST_ROW) = range(8)
TOTALS = 8
# What is seen of a half-cycle.
S_BEGUN, S_TIME, S_VOLTAGE, S_ROW, S_LOW, S_LOW_ROW, S_HIGH, S_LAST_ROW = range(8)
SEEN = 8


@contracted_helper
def _see_next(seen: F, row: int, t0: float, begin_v: float, v: float) -> None:
    """One row of what may become the next half-cycle."""
    if seen[S_BEGUN] == 0.0:
        seen[S_BEGUN], seen[S_TIME], seen[S_VOLTAGE], seen[S_ROW] = 1.0, t0, begin_v, row
        seen[S_LOW], seen[S_LOW_ROW], seen[S_HIGH] = v, row, v
    if v < seen[S_LOW]:
        seen[S_LOW], seen[S_LOW_ROW] = v, row
    seen[S_HIGH] = max(seen[S_HIGH], v)
    seen[S_LAST_ROW] = row


@contracted_helper
def _emit(
    halves: F, at: int, direction: float, begin: F, end: F, seen: F, time_s: F, voltage_v: F, ended: bool
) -> int:  # fmt: skip
    """Writes one half-cycle where there is room; returns the next place."""
    if at < halves.shape[0]:
        h = halves[at]
        last = int(end[T_LAST_ROW])
        h[DIRECTION], h[BEGIN_S], h[END_S] = direction, seen[S_TIME], time_s[last]
        h[CHARGE_C] = (end[T_Q] - begin[T_Q]) * direction
        h[ENERGY_J] = (end[T_E] - begin[T_E]) * direction
        h[FLOW_S], h[EDGE_C2] = end[T_FLOW] - begin[T_FLOW], end[T_EDGE] - begin[T_EDGE]
        h[BEGIN_V], h[END_V], h[LOW_V], h[HIGH_V] = seen[S_VOLTAGE], voltage_v[last], seen[S_LOW], seen[S_HIGH]
        h[GAPS], h[LOST_S] = end[T_GAPS] - begin[T_GAPS], end[T_LOST] - begin[T_LOST]
        h[BRIDGED], h[ENDED] = end[T_BRIDGED] - begin[T_BRIDGED], 1.0 if ended else 0.0
        h[BEGIN_ROW], h[END_ROW], h[LOW_ROW] = seen[S_ROW], last, seen[S_LOW_ROW]
    return at + 1


@inlined
def _counted(counter_c: F, before: int, row: int, dt: float, largest: float) -> float:
    """The equipment's own charge from row to row [C]; NaN without a counter and where it was reset in between."""
    if counter_c.shape[0] == 0 or not dt > 0.0:
        return math.nan
    if not (abs(counter_c[before]) <= COUNTER_LIMIT_C and abs(counter_c[row]) <= COUNTER_LIMIT_C):
        return math.nan
    moved = counter_c[row] - counter_c[before]
    return moved if abs(moved) <= 1.1 * largest * dt else math.nan


@inlined
def _flow(
    dt: float, i0: float, i1: float, v0: float, v1: float, rest: float, middle: bool, counted: float
) -> tuple[float, float, float, float]:
    """Charge [C], energy [J], seconds of flow and variance of the charge [C2] of one interval between two rows."""
    a = i0 if abs(i0) > rest else 0.0
    b = i1 if abs(i1) > rest else 0.0
    if abs(b - a) <= EDGE * max(abs(a), abs(b)):
        return 0.5 * dt * (a + b), 0.5 * dt * (a * v0 + b * v1), dt if b != 0.0 else 0.0, 0.0
    if not middle:
        return dt * b, dt * b * v1, dt if b != 0.0 else 0.0, 0.0
    if math.isfinite(counted):
        return counted, counted * 0.5 * (v0 + v1), dt, 0.0
    return 0.5 * dt * (a + b), 0.5 * dt * (a * v0 + b * v1), dt, (b - a) * (b - a) * dt * dt / 12.0


@contracted_helper
def _mark(total: F, q: float, e: float, flow_s: float, last_row: int, peak: F) -> None:
    """Keeps the totals of a turning point."""
    total[T_Q], total[T_E], total[T_FLOW], total[T_LAST_ROW] = q, e, flow_s, last_row
    for j in range(TOTALS):
        peak[j] = total[j]


@contracted_helper
def _walk(
    time_s: F, current_a: F, voltage_v: F, counter_c: F, start: int, stop: int, direction: float, rest: float,
    least: float, gap_s: float, middle: bool, largest: float, halves: F, at: int, tally: F,
) -> int:  # fmt: skip
    """Half-cycles of one record into `halves` from `at` on; returns the next place. One pass over the rows."""
    total, begin, peak, own, following = (
        np.zeros(TOTALS),
        np.zeros(TOTALS),
        np.zeros(TOTALS),
        np.zeros(SEEN),
        np.zeros(SEEN),
    )
    rising, before, counts, begun = False, -1, counter_c.shape[0] > 0, False
    t0, i0, v0, q, e, flow_s, low, high = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    low_row, last_row, ceiling = start, start, ceiling_of(largest)
    k, by_row, wait = start - 1, start + 1, BLOCK  # rows before `by_row` are taken one by one
    while k + 1 < stop:
        k += 1
        if k >= by_row and before == k - 1 and k + BLOCK <= stop:
            last = k + BLOCK - 1
            if not rising and abs(i0) <= rest:
                quiet, same = still(time_s, current_a, voltage_v, k, rest, gap_s)
                if quiet:
                    tally[DUPLICATES] += same
                    t0, i0, v0, before, k, wait = time_s[last], current_a[last], voltage_v[last], last, last, BLOCK
                    continue
            elif rising and begun and i0 * direction > rest:
                steady, q2, e2, same = steady_flow(time_s, current_a, voltage_v, k, direction, rest, gap_s, ceiling)
                if steady:
                    q, e, flow_s = q + 0.5 * q2, e + 0.5 * e2, flow_s + (time_s[last] - t0)
                    low, low_row, high = reach(current_a, voltage_v, k, last + 1, stop, i0, low, low_row, high)
                    t0, i0, v0, before, k, last_row = time_s[last], current_a[last], voltage_v[last], last, last, last
                    tally[DUPLICATES] += same
                    wait = BLOCK
                    continue
            by_row, wait = k + wait, min(2 * wait, LONGEST_WAIT)
        t, i, v = time_s[k], current_a[k], voltage_v[k]
        if not (abs(t) <= TIME_LIMIT_S and abs(i) <= ceiling and abs(v) <= VOLTAGE_LIMIT_V):
            tally[BAD_ROWS] += 1.0
            continue
        if before < 0:
            t0, i0, v0, before = t, i, v, k
        dt = t - t0
        if dt < 0.0 and (k + 1 >= stop or not time_s[k + 1] < t0):
            tally[BAD_TIMES] += 1.0  # one row out of order; two in a row are a clock that began anew
            continue
        counted = _counted(counter_c, before, k, dt, largest) if counts else math.nan
        dq, de, flows_s, variance, lost = 0.0, 0.0, 0.0, 0.0, False
        if 0.0 < dt <= gap_s:
            dq, de, flows_s, variance = _flow(dt, i0, i, v0, v, rest, middle, counted)
        elif dt != 0.0 and math.isfinite(counted):
            dq, de, flows_s = counted, counted * 0.5 * (v0 + v), dt if counted != 0.0 else 0.0
            if counted != 0.0:
                total[T_BRIDGED] += 1.0
        elif dt != 0.0:
            lost = dt < 0.0 or abs(i0) > rest or abs(i) > rest or abs(v - v0) > REST_MOVE_V
        elif k != before:
            tally[DUPLICATES] += 1.0
        if rising and dq * direction <= 0.0 and dt != 0.0:
            rising = False
            _mark(total, q, e, flow_s, last_row, peak)
            following[S_BEGUN] = 0.0
        if lost:  # after the mark: what is lost here belongs to what comes after
            total[T_GAPS] += 1.0
            total[T_LOST] += max(dt, 0.0)
        if variance != 0.0:
            total[T_EDGE] += variance
        q += dq
        e += de
        flow_s += flows_s
        if not rising and (q - peak[T_Q]) * direction > 0.0:
            rising = True
        if i * direction > rest:
            if not begun:
                begun, low, high, low_row = True, v, v, k
                own[S_TIME], own[S_VOLTAGE], own[S_ROW] = t0, v0 if abs(i0) <= rest else v, k
            if v < low:
                if v >= low - GLITCH_V or not misread(current_a, voltage_v, k, stop, i0):
                    low, low_row = v, k
            elif v > high:
                high = v
            last_row = k
        elif i * direction < -rest:
            _see_next(following, k, t0, v0 if abs(i0) <= rest else v, v)
        t0, i0, v0, before = t, i, v, k
        if not rising and (peak[T_Q] - q) * direction >= least:
            own[S_LOW], own[S_LOW_ROW], own[S_HIGH] = low, low_row, high
            if begun and (peak[T_Q] - begin[T_Q]) * direction > 0.0:  # not at a first direction guessed wrong
                at = _emit(halves, at, direction, begin, peak, own, time_s, voltage_v, True)
            for j in range(TOTALS):
                begin[j] = peak[j]
            for j in range(SEEN):
                own[j] = following[j]
            low, low_row, high = own[S_LOW], int(own[S_LOW_ROW]), own[S_HIGH]
            begun, last_row = own[S_BEGUN] != 0.0, int(own[S_LAST_ROW])
            direction, rising = -direction, True
    if rising:
        _mark(total, q, e, flow_s, last_row, peak)
    if begun and (peak[T_Q] - begin[T_Q]) * direction > 0.0:
        own[S_LOW], own[S_LOW_ROW], own[S_HIGH] = low, low_row, high
        at = _emit(halves, at, direction, begin, peak, own, time_s, voltage_v, not (rising and abs(i0) > rest))
    tally[ALL_GAPS] = total[T_GAPS]
    return at


@contracted_kernel
def capacity_halves(
    time_s: F, current_a: F, voltage_v: F, counter_c: F, offsets: Ints, settings: F,
    halves: F, half_offsets: Ints, records: F, code: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Cuts n records, rows offsets[r] to offsets[r + 1] of the flat arrays, into half-cycles; returns their number.

    `counter_c` is the equipment's net charge [C] or empty. Writes `halves` (m, HALF_COLUMNS), `half_offsets` (n + 1),
    `records` (n, RECORD_COLUMNS) and `code` (n,): OK, AFTER_GAP (charge was lost), WAITING (no half-cycle yet),
    BAD_INPUT (no usable row), OUT_OF_SPACE (m is less than the number returned).
    """
    at = 0
    half_offsets[0] = 0
    for r in range(offsets.shape[0] - 1):
        start, stop = offsets[r], offsets[r + 1]
        record = records[r]
        for j in range(RECORD_COLUMNS):
            record[j] = 0.0
        record[USED_LIMIT_V] = math.nan
        largest = largest_current(current_a, start, stop)
        rest, least = settings[REST_A], settings[LEAST_C]
        if math.isnan(rest):
            rest = REST_FRACTION * largest
        if math.isnan(least):
            least = LEAST_FRACTION * abs(
                span(time_s, current_a, start, stop, settings[GAP_S], ceiling_of(largest), math.inf)
            )
        began = at
        if not least > 0.0:  # no charge moved at all; the walk then only counts rows
            least = math.inf
        if stop > start:
            direction = (
                1.0 if span(time_s, current_a, start, stop, settings[GAP_S], ceiling_of(largest), least) > 0.0 else -1.0
            )
            at = _walk(
                time_s, current_a, voltage_v, counter_c, start, stop, direction, rest, least, settings[GAP_S],
                settings[MIDDLE] != 0.0, largest, halves, at, record,
            )  # fmt: skip
        record[USED_REST_A], record[USED_LEAST_C], record[ROWS] = rest, least, stop - start
        half_offsets[r + 1] = at
        code[r] = status.OK
        if at > halves.shape[0]:
            code[r] = status.OUT_OF_SPACE
        elif record[BAD_ROWS] + record[BAD_TIMES] >= record[ROWS]:
            code[r] = status.BAD_INPUT
        elif at == began:
            code[r] = status.WAITING
        elif record[ALL_GAPS] > 0.0:
            code[r] = status.AFTER_GAP
    return at


def warm_up() -> None:
    """Compiles with the signatures of twin/capacity.py."""
    time_s = np.arange(4.0)
    capacity_halves(
        time_s, np.array([1.0, 1.0, -1.0, -1.0]), np.ones(4), np.empty(0), np.array([0, 4]),
        np.array([math.nan, math.nan, 300.0, 0.0, math.nan, 0.01]), np.empty((4, HALF_COLUMNS)),
        np.empty(2, dtype=np.int64), np.empty((1, RECORD_COLUMNS)), np.empty(1, dtype=np.uint8),
    )  # fmt: skip
