"""Whether a record's rows were written when its steps happened, or at the pace of a clock that knew nothing of them.

A cycler writes a row as a step begins and another as it ends: two stamps lie close together there, or an even pace
begins anew at the step. Polled rows go on at their pace through the step. Each pulse of a record says what its stamps
show; the record's pulses decide together. Equipment that counts how long its step has run says more than any stamp. No
voltage in here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import helper
from kernels.pulse_edges import TIME_LIMIT_S

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

GIVEN, AT_STEP, POLLED, UNTOLD = 0, 1, 2, 3  # said by the caller; or shown by the stamps, or not
COUNTED = 4  # by the equipment, row by row
NEIGHBOURS = 8  # intervals on each side of the step
FEWEST = 3
CLOSE_PART = 0.5  # of the usual interval: two rows so close were not written by a pace
ALIKE_PART = 0.1  # usual intervals before and after the step that differ by more are two paces
UNEVEN_PART = 0.25  # of the interval: stamps that stray further keep no pace
ROUND_PART = 0.02  # of the interval: beyond the strays seen
COUNTS = 8  # rows of the load whose counts are compared
APART_PART = 0.25  # of an interval: counts that disagree by more are not of one step
FINEST_S = 1e-3


@helper
def usual_interval(time: Float64Array, rows: Int64Array, lo: int, hi: int) -> float:
    """Median of the first NEIGHBOURS intervals above 0 between places lo..hi; nan where they are fewer than FEWEST."""
    steps = np.empty(NEIGHBOURS)
    count = 0
    for k in range(lo, hi):
        step = time[rows[k + 1]] - time[rows[k]]
        if step > 0.0 and count < NEIGHBOURS:
            at = count
            while at > 0 and steps[at - 1] > step:
                steps[at] = steps[at - 1]
                at -= 1
            steps[at] = step
            count += 1
    if count < FEWEST:
        return math.nan
    return float(0.5 * (steps[(count - 1) // 2] + steps[count // 2]))


@helper
def stray(step: float, pace: float) -> float:
    """How far `step` is from a whole number of `pace`s, at least one; polls may be missing."""
    return abs(step - max(1.0, math.floor(step / pace + 0.5)) * pace)


@helper
def stamps_show(time: Float64Array, rows: Int64Array, n: int, first: int, edge: int, on: int, end: int) -> int:
    """AT_STEP, POLLED or UNTOLD: rest at places first..edge - 1, load's voltage from `edge`, its current on..end."""
    begin, late = max(first, edge - 1 - NEIGHBOURS), min(end, on + NEIGHBOURS)
    before, after = usual_interval(time, rows, begin, edge - 1), usual_interval(time, rows, on, late)
    last = usual_interval(time, rows, max(on, end - NEIGHBOURS), end)
    least = min(before, after) if before > 0.0 else after
    for k in range(edge, on + 1):
        if time[rows[k]] - time[rows[k - 1]] < CLOSE_PART * least:
            return AT_STEP
    if end + 1 < n and 0.0 <= time[rows[end + 1]] - time[rows[end]] < CLOSE_PART * last:
        return AT_STEP
    if not abs(before - after) <= ALIKE_PART * max(before, after):
        return UNTOLD
    pace = 0.5 * (before + after)
    furthest = 0.0
    for k in range(begin, edge - 1):
        furthest = max(furthest, stray(time[rows[k + 1]] - time[rows[k]], pace))
    for k in range(on, late):
        furthest = max(furthest, stray(time[rows[k + 1]] - time[rows[k]], pace))
    if furthest > UNEVEN_PART * pace:
        return UNTOLD
    within = furthest + ROUND_PART * pace
    return POLLED if stray(time[rows[edge]] - time[rows[edge - 1]], pace) <= within else AT_STEP


@helper
def decide(places: Int64Array, column: int, first: int, stop: int) -> int:
    """What most pulses `first` to `stop` of one record show, those left out that show nothing; UNTOLD at a tie."""
    surplus = 0
    for p in range(first, stop):
        if places[p, column] == POLLED:
            surplus += 1
        elif places[p, column] == AT_STEP:
            surplus -= 1
    return POLLED if surplus > 0 else AT_STEP if surplus < 0 else UNTOLD


@helper
def grain_of(counts: Float64Array, rows: Int64Array, on: int, last: int) -> float:
    """The coarsest of 1, 0.1, 0.01 s, 1 ms of which all counts are multiples: what they may have been rounded to."""
    grain = 1.0
    while grain > 1.5 * FINEST_S:
        whole = True
        for k in range(on, last):
            turns = counts[rows[k]] / grain
            whole = whole and abs(turns - math.floor(turns + 0.5)) < 1e-3
        if whole:
            break
        grain *= 0.1
    return grain


@helper
def counted(
    time: Float64Array, counts: Float64Array, rows: Int64Array, edge: int, on: int, end: int, grain: float
) -> tuple[float, float]:
    """When the step began by `counts` (seconds since, of each row), and half the width of what that leaves open.

    nan where nobody counted, or what was counted is no step that begins between places edge - 1 and `edge`. A count may
    be cut or rounded: a whole `grain` (nan: the counts show it) to both sides, beside what the rows disagree by.
    """
    last = on
    total, low, high = 0.0, math.inf, -math.inf
    while last <= end and last - on < COUNTS and 0.0 <= counts[rows[last]] <= TIME_LIMIT_S:
        if last > on and counts[rows[last]] < counts[rows[last - 1]]:
            break  # the next step
        begun = time[rows[last]] - counts[rows[last]]
        total, low, high = total + begun, min(low, begun), max(high, begun)
        last += 1
    if last == on:
        return math.nan, math.nan
    before, after = time[rows[edge - 1]], time[rows[edge]]
    if not math.isfinite(grain):
        grain = grain_of(counts, rows, on, last)
    begun, open_s = total / (last - on), grain + 0.5 * (high - low)
    if high - low > 2.0 * grain + APART_PART * (after - before) or not before - open_s <= begun <= after + open_s:
        return math.nan, math.nan
    return min(max(begun, before), after), open_s


def warm_up() -> None:
    """Nothing of its own: kernels/pulse.py calls each function here, and so compiles it with the types in use."""
