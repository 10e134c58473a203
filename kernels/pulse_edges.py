"""Finds where a current pulse begins and ends in one record of time, current and voltage. No resistance in here.

A pulse is a run of rows whose current is beyond `rest` with one sign. Cyclers disturb its edges: the row that opens the
step may carry the old zero current with the new voltage, once or twice and with a repeated stamp; the row that closes
it may do the same, followed by a last loaded row of the same stamp. Both are told from true rest by the voltage alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import helper, kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

TIME_LIMIT_S = 1e15  # 30 million years; double precision still resolves 0.1 s there
CURRENT_LIMIT_A = 1e6
VOLTAGE_LIMIT_V = 1e4
STALE_ROWS = 3  # rows before the first loaded one that may already carry the load's voltage; seen: 2
STALE_SPAN_S = 0.5  # or one and a half sampling intervals, the longer; seen: 0.22
STALE_PART = 0.3  # least part of the whole step in one jump; seen: 0.70 and more
NOISE_FACTOR = 6.0
STEADY_PART = 0.2  # of the step: a current that moves by more within a second is no pulse
SWING_ROWS = 8
REST_SCAN = 64  # rows of rest that the noise is taken from
RECURRENCES = 3  # of the smallest step, before it is taken for the converter's


@helper
def usable_rows(
    time: Float64Array, current: Float64Array, voltage: Float64Array, lo: int, hi: int, rows: Int64Array
) -> int:
    """Writes the indices of rows that are finite and physical to `rows`; their number.

    A zero-current row inside a pulse that only repeats a neighbour's stamp or voltage is none.
    """
    n = 0
    for j in range(lo, hi):
        if abs(time[j]) <= TIME_LIMIT_S and abs(current[j]) <= CURRENT_LIMIT_A and abs(voltage[j]) <= VOLTAGE_LIMIT_V:
            rows[n] = j
            n += 1
    return n


@helper
def drop_stale_inside(
    time: Float64Array, current: Float64Array, voltage: Float64Array, rows: Int64Array, n: int, rest: float
) -> int:
    """Removes zero-current rows between two loaded ones whose stamp or voltage shows that the load went on."""
    low, high = math.inf, -math.inf
    for k in range(n):
        low, high = min(low, voltage[rows[k]]), max(high, voltage[rows[k]])
    near = 0.02 * (high - low)
    kept = 0
    for k in range(n):
        j = rows[k]
        if abs(current[j]) <= rest and kept > 0 and k + 1 < n:
            before, after = rows[kept - 1], rows[k + 1]
            same = (current[before] > rest and current[after] > rest) or (
                current[before] < -rest and current[after] < -rest
            )
            still = abs(voltage[j] - voltage[before]) <= near and abs(voltage[j] - voltage[after]) <= near
            quick = 0.0 <= time[after] - time[before] <= 1.0
            if same and (time[after] == time[j] or (still and quick)):
                continue
        rows[kept] = j
        kept += 1
    return kept


@helper
def pulse_end(time: Float64Array, current: Float64Array, rows: Int64Array, n: int, on: int, rest: float) -> int:
    """Place of the last row of the pulse that begins at place `on`: same sign, time not running backwards."""
    sign = 1.0 if current[rows[on]] > 0.0 else -1.0
    end = on
    while end + 1 < n:
        j = rows[end + 1]
        if sign * current[j] <= rest or time[j] < time[rows[end]]:
            break
        end += 1
    return end


@helper
def height(current: Float64Array, rows: Int64Array, on: int, end: int, rest: float) -> float:
    """Largest current of the pulse, from the row of rest before it where there is one."""
    sign = 1.0 if current[rows[on]] > 0.0 else -1.0
    before = sign * current[rows[on - 1]] if on > 0 and abs(current[rows[on - 1]]) <= rest else 0.0
    most = 0.0
    for k in range(on, end + 1):
        most = max(most, sign * current[rows[k]] - before)
    return most


@helper
def steady(time: Float64Array, current: Float64Array, rows: Int64Array, on: int, end: int, high: float) -> bool:
    """Whether the current stands, which a swing of a drive cycle or of a dithered voltage does not. `high`: its height.

    It moves by at most STEADY_PART for a second (or one row) after the first row, which may be a ramp's; and a run of
    no more than SWING_ROWS intervals has a mean near its height.
    """
    begin = on + 1 if end > on + 1 else on
    low, most = current[rows[begin]], current[rows[begin]]
    for k in range(begin + 1, end + 1):
        low, most = min(low, current[rows[k]]), max(most, current[rows[k]])
        if time[rows[k]] - time[rows[begin]] >= 1.0:
            break
    if most - low > STEADY_PART * high:
        return False
    if end - on > SWING_ROWS:
        return True
    total = 0.0
    for k in range(on, end + 1):
        total += abs(current[rows[k]])
    return bool(total >= (1.0 - STEADY_PART) * high * (end - on + 1))


@helper
def rest_start(time: Float64Array, current: Float64Array, rows: Int64Array, on: int, rest: float) -> int:
    """First place of the rest before `on`, at most REST_SCAN rows back; `on` where there is none."""
    first = on
    while first > 0 and on - first < REST_SCAN:
        j = rows[first - 1]
        if abs(current[j]) > rest or time[j] > time[rows[first]]:
            break
        first -= 1
    return first


@helper
def first_interval(time: Float64Array, rows: Int64Array, on: int, end: int) -> float:
    """Seconds from place `on` to the next stamp that differs; 0 where there is none up to `end`."""
    for k in range(on + 1, end + 1):
        step = time[rows[k]] - time[rows[on]]
        if step > 0.0:
            return float(step)
    return 0.0


@helper
def voltage_edge(
    time: Float64Array, voltage: Float64Array, rows: Int64Array, first: int, on: int, sign: float, noise: float,
    interval: float, after_load: bool,
) -> int:  # fmt: skip
    """Place of the first row that carries the load's voltage: `on`, or up to STALE_ROWS before it.

    An earlier zero-current row counts when most of the step happens on its way in (STALE_PART, NOISE_FACTOR noises)
    and no row after it goes back. `after_load`: the rest's first row may itself be stale, so nothing is read from it.
    """
    least = first + 2 if after_load else first + 1
    span = max(STALE_SPAN_S, 1.5 * interval)
    for k in range(max(least, on - STALE_ROWS), on):
        if time[rows[on]] - time[rows[k]] > span:
            continue
        before = voltage[rows[k - 1]]
        whole = sign * (voltage[rows[on]] - before)
        jump = sign * (voltage[rows[k]] - before)
        if whole <= 0.0 or jump < STALE_PART * whole or jump <= NOISE_FACTOR * noise:
            continue
        stays = True
        for j in range(k + 1, on):
            stays = stays and sign * (voltage[rows[j]] - before) >= STALE_PART * whole
        if stays:
            return k
    return on


@helper
def scatter(
    time: Float64Array, values: Float64Array, rows: Int64Array, lo: int, hi: int, limit: float
) -> tuple[float, int]:
    """Sum of squared residuals of each row of places lo..hi from the line of its neighbours, and how many.

    Each is scaled to the variance of one sample; those beyond `limit` (a variance) are left out.
    """
    total, count = 0.0, 0
    for k in range(lo + 1, hi):
        a, b, c = rows[k - 1], rows[k], rows[k + 1]
        if not time[a] < time[b] < time[c]:
            continue
        w = (time[b] - time[a]) / (time[c] - time[a])
        residual = values[b] - (1.0 - w) * values[a] - w * values[c]
        square = residual * residual / (1.0 + w * w + (1.0 - w) * (1.0 - w))
        if square <= limit:
            total += square
            count += 1
    return total, count


@kernel
def noise_of(
    time: Float64Array, values: Float64Array, rows: Int64Array, first: int, rest_end: int, on: int, end: int
) -> tuple[float, float]:
    """Standard deviation of one sample over rest and pulse, and its degrees of freedom (0: unknown, nan).

    The quick first relaxation is no noise: residuals beyond three standard deviations are left out until none is (a
    normal law so cut keeps 0.9733 of its variance). Neighbouring residuals share samples (correlations -2/3 and 1/6
    where evenly spaced), which leaves 1/1.944 of the degrees of freedom.
    """
    limit = math.inf
    variance, count = math.nan, 0
    for _ in range(20):
        rest_sum, rest_count = scatter(time, values, rows, first, rest_end, limit)
        load_sum, load_count = scatter(time, values, rows, on, end, limit)
        if rest_count + load_count == 0 or rest_count + load_count == count:
            break
        count = rest_count + load_count
        variance = (rest_sum + load_sum) / (0.9733 * count)
        limit = 9.0 * variance
    if count < 3:
        return math.nan, 0.0
    return math.sqrt(variance), count / 1.944


@kernel
def resolution_of(values: Float64Array, rows: Int64Array, n: int) -> float:
    """Smallest step between neighbouring rows; 0 where it does not recur: then it is no step of a converter."""
    least, recurs = math.inf, 0
    for k in range(1, n):
        step = abs(values[rows[k]] - values[rows[k - 1]])
        if step > 1e-12:
            least = min(least, step)
    for k in range(1, n):
        step = abs(values[rows[k]] - values[rows[k - 1]])
        if 1e-12 < step <= 1.2 * least:
            recurs += 1
    return least if recurs >= RECURRENCES else 0.0


@helper
def rest_missed(
    time: Float64Array, current: Float64Array, voltage: Float64Array, rows: Int64Array, n: int, edge: int, on: int,
    end: int, rest: float, sign: float,
) -> bool:  # fmt: skip
    """Whether the only row of rest must itself be stale: the step off is more than twice the step on."""
    off, delay = 0.0, 0.0
    for k in range(end + 1, min(end + 5, n)):
        after = time[rows[k]] - time[rows[end]]
        if abs(current[rows[k]]) > rest or not 0.0 <= after <= 3.0:
            break
        if sign * (voltage[rows[end]] - voltage[rows[k]]) > off:
            off, delay = sign * (voltage[rows[end]] - voltage[rows[k]]), after
    k = on
    while k < end and time[rows[k]] - time[rows[edge]] < delay:
        k += 1
    return bool(sign * (voltage[rows[k]] - voltage[rows[edge - 1]]) < 0.5 * off)


@helper
def nearest_value(values: Float64Array, rows: Int64Array, at: int, end: int) -> float:
    """The last finite value at or up to 8 rows before place `at`, else the first up to `end`; nan without."""
    for k in range(at, max(at - 9, -1), -1):
        if math.isfinite(values[rows[k]]):
            return float(values[rows[k]])
    for k in range(at + 1, end + 1):
        if math.isfinite(values[rows[k]]):
            return float(values[rows[k]])
    return math.nan


def warm_up() -> None:
    """Nothing of its own: kernels/pulse.py calls each function here, and so compiles it with the types in use."""
