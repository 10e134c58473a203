"""The columns of the equivalent-circuit fit: what the record says once, and a pair's response for a time constant.

All columns of a record lie in one work array, one row each, already masked: a row of the record whose voltage does not
count is zero in every column, so that sums need no test.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel, summing

F = NDArray[np.float64]

GRID = 12  # time constants of the start search
W_OFFSET, W_CHARGE, W_R0, W_Y, W_X1, W_X2, W_S1, W_S2 = 0, 1, 2, 3, 4, 5, 6, 7
W_GRID = 4  # the start search's columns, where the pairs' columns lie later
W_DT, W_DRIVE, W_USED, W_A, W_TIME, W_CURRENT, W_VOLTAGE = 16, 17, 18, 19, 20, 21, 22
WORK_ROWS = 23

(I_ROWS, I_USED, I_SCALE, I_CHARGE, I_LO, I_HI, I_HOLD, I_BEFORE, I_BEFORE_S, I_REFERENCE, I_STEPS, I_DT) = range(12)
INFO_ENTRIES = 12

CURRENT_LIMIT_A, VOLTAGE_LIMIT_V, TIME_LIMIT_S = 1e6, 1e4, 1e12  # beyond these a number is no measurement
STEP = 0.05  # a change of this share of the current's span is a step
FLAT = 1e-3  # a span below this share of the current is a constant current
WINDOW = 5  # rows after a step in which its voltage must have come
EARLY, LATE = 0.3, 0.1  # shares of a step's voltage: more is already there, less is not there yet


@contracted_helper
def _copy_rows(time_s: F, current_a: F, voltage_v: F, w: F) -> int:
    """Takes the rows that have a time and a current; -1 when time goes back, else how many."""
    m = 0
    for k in range(time_s.shape[0]):
        t, i, v = time_s[k], current_a[k], voltage_v[k]
        if not (abs(t) <= TIME_LIMIT_S and abs(i) <= CURRENT_LIMIT_A):
            continue
        if m > 0 and t < w[W_TIME, m - 1]:
            return -1
        w[W_TIME, m], w[W_CURRENT, m] = t, i
        good = abs(v) <= VOLTAGE_LIMIT_V
        w[W_VOLTAGE, m] = v if good else 0.0
        w[W_USED, m] = 1.0 if good else 0.0
        m += 1
    return m


@contracted_helper
def _held_since(i: F, k: int, step_a: float) -> int:
    """First of the rows up to k, at most WINDOW back, that have the current of row k."""
    b = k
    while b > 0 and k - b < WINDOW and abs(i[b - 1] - i[k]) <= step_a:
        b -= 1
    return b


@contracted_helper
def _step_resistance(w: F, m: int, step_a: float) -> float:
    """Largest change of voltage per change of current within WINDOW rows of a step."""
    i, v, used = w[W_CURRENT], w[W_VOLTAGE], w[W_USED]
    largest = 0.0
    for k in range(m - 1):
        change = abs(i[k + 1] - i[k])
        base = _held_since(i, k, step_a)
        if change > step_a and used[base] > 0.0:
            for j in range(k, min(k + 1 + WINDOW, m)):
                largest = max(largest, used[j] * abs(v[j] - v[base]) / change)
    return largest


@contracted_helper
def _misplaced(w: F, m: int, step_a: float) -> None:
    """Takes rows out that a cycler wrote with the current of one side of a step and the voltage of the other.

    Seen in 170 of 210 measured pulses. Early voltage: the last rows of the old current already carry the step. Late
    voltage: the first rows of the new current do not carry it yet; the old current still flows. Both up to WINDOW rows.
    """
    ohm = _step_resistance(w, m, step_a)
    i, v, used = w[W_CURRENT], w[W_VOLTAGE], w[W_USED]
    for k in range(m - 1):
        whole = ohm * abs(i[k + 1] - i[k])
        steady = k == 0 or abs(i[k] - i[k - 1]) <= step_a
        if abs(i[k + 1] - i[k]) <= step_a or not steady or not used[k] > 0.0:
            continue
        direction = 1.0 if i[k + 1] > i[k] else -1.0
        early = k
        for b in range(k - 1, _held_since(i, k, step_a) - 1, -1):
            if used[b] > 0.0 and direction * (v[k] - v[b]) > EARLY * whole:
                early = b
                break
        if early < k:
            used[early + 1 : k + 1] = 0.0
            continue
        for j in range(k + 1, min(k + 1 + WINDOW, m)):
            if used[j] > 0.0 and abs(v[j] - v[k]) >= LATE * whole:
                break
            used[j] = 0.0
            w[W_DRIVE, j] = i[k]


@contracted_helper
def _steps(w: F, m: int, step_a: float, before_step: bool, info: F) -> None:
    """Number of steps, longest stretch after one, and the pace of sampling right after the steps."""
    t, i = w[W_TIME], w[W_CURRENT]
    steps, hold, pace = 0, 0.0, math.inf
    begin = 0
    for k in range(m):
        if (k == 0 and before_step) or (k > 0 and abs(i[k] - i[k - 1]) > step_a):
            if steps > 0:
                hold = max(hold, t[k - 1] - t[begin])
            begin = max(k - 1, 0)
            steps += 1
            third = min(begin + 3, m - 1)
            if third > begin and t[third] > t[begin]:
                pace = min(pace, (t[third] - t[begin]) / (third - begin))
    if steps > 0:
        hold = max(hold, t[m - 1] - t[begin])
    info[I_STEPS], info[I_HOLD], info[I_DT] = steps, hold, pace


@contracted_kernel
def prepare(
    time_s: F, current_a: F, voltage_v: F, until_next: bool, before_a: float, before_s: float, ocv_v: float,
    w: F, info: F,
) -> int:  # fmt: skip
    """Fills the columns that hold for every time constant; OK, or why there is nothing to fit."""
    m = _copy_rows(time_s, current_a, voltage_v, w)
    info[I_ROWS] = max(m, 0)
    info[I_USED] = 0.0
    if m < 0:
        return status.BAD_TIME
    if not (abs(before_a) <= CURRENT_LIMIT_A and before_s >= 0.0) or abs(ocv_v) > VOLTAGE_LIMIT_V:
        return status.BAD_INPUT
    largest, low, high = abs(before_a), math.inf, -math.inf
    for k in range(m):
        i = w[W_CURRENT, k]
        largest, low, high = max(largest, abs(i)), min(low, i), max(high, i)
        w[W_DRIVE, k] = w[W_CURRENT, max(k - 1, 0)] if until_next else i
    if 2 * m < time_s.shape[0]:
        return status.BAD_INPUT
    first = w[W_CURRENT, 0] if m > 0 else 0.0
    before = before_a if before_s > 0.0 else 0.0
    before_step = before_s > 0.0 and abs(first - before) > FLAT * largest
    span = high - low
    if m < 4 or not largest > 1e-9 or not (span > FLAT * largest or before_step):
        return status.NOT_IDENTIFIABLE
    step_a = STEP * span if span > FLAT * largest else largest
    _misplaced(w, m, step_a)
    _steps(w, m, step_a, before_step, info)
    info[I_SCALE], info[I_BEFORE], info[I_BEFORE_S] = largest, before / largest, before_s
    return _fill(w, m, span > FLAT * largest, ocv_v, info)


@contracted_helper
def _fill(w: F, m: int, varies: bool, ocv_v: float, info: F) -> int:
    """Offset, charge, current and voltage columns; the range of time constants."""
    used, reference, scale = 0, ocv_v, info[I_SCALE]
    for k in range(m):
        if w[W_USED, k] > 0.0:
            if not math.isfinite(reference):
                reference = w[W_VOLTAGE, k]
            used += 1
    info[I_USED], info[I_REFERENCE] = used, reference
    if 2 * used < m:
        return status.BAD_INPUT
    duration = w[W_TIME, m - 1] - w[W_TIME, 0]
    if not (info[I_HOLD] > 0.0 and math.isfinite(info[I_DT]) and duration > 0.0):
        return status.NOT_IDENTIFIABLE
    charge = 0.0
    r0 = 1.0 if varies or math.isfinite(ocv_v) else 0.0
    for k in range(m):
        dt = w[W_TIME, k] - w[W_TIME, max(k - 1, 0)]
        use = w[W_USED, k]
        w[W_DT, k] = dt
        w[W_DRIVE, k] /= scale
        charge += dt * w[W_DRIVE, k]
        w[W_OFFSET, k] = use
        w[W_CHARGE, k] = use * charge / duration
        w[W_R0, k] = use * r0 * w[W_CURRENT, k] / scale
        w[W_Y, k] = use * (w[W_VOLTAGE, k] - reference)
    info[I_CHARGE] = duration * scale
    info[I_LO] = min(0.5 * info[I_DT], 0.1 * duration)
    info[I_HI] = 3.0 * duration
    return status.OK


@contracted_helper
def _decays(w: F, m: int, rate: float) -> None:
    """w[W_A] = exp(-rate dt): Taylor's series to degree 7 at an argument of at most 0.16, then squared eight times.

    Relative error below 1e-13; beyond exp(-40) it stays at exp(-40).
    """
    a, dt = w[W_A], w[W_DT]
    small = -rate / 256.0
    for k in range(m):
        z = dt[k] * small
        z = z if z > -40.0 / 256.0 else -40.0 / 256.0
        p = 1.0 / 120.0 + z * (1.0 / 720.0 + z * (1.0 / 5040.0))
        p = 1.0 + z * (1.0 + z * (0.5 + z * (1.0 / 6.0 + z * (1.0 / 24.0 + z * p))))
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        a[k] = p * p


@contracted_kernel
def response(w: F, info: F, tau_s: float, row: int, slope_row: int) -> None:
    """The current through a pair's resistance, and (slope_row >= 0) its derivative by ln(tau).

    x' = (i - x)/tau, exact for a current that is constant between samples: x_k = a x_(k-1) + (1 - a) i_k,
    dx_k/dln(tau) = a (dx_(k-1)/dln(tau) + (dt/tau) (x_(k-1) - i_k)), a = exp(-dt/tau). The start is that of a
    current `before` that flowed for before_s after a rest.
    """
    m = int(info[I_ROWS])
    rate = 1.0 / tau_s
    _decays(w, m, rate)
    a, dt, drive, used, out = w[W_A], w[W_DT], w[W_DRIVE], w[W_USED], w[row]
    past = min(info[I_BEFORE_S] * rate, 700.0)
    x = info[I_BEFORE] * (1.0 - math.exp(-past))
    if slope_row < 0:
        for k in range(m):
            x = a[k] * x + (1.0 - a[k]) * drive[k]
            out[k] = used[k] * x
        return
    slope = w[slope_row]
    s = -info[I_BEFORE] * past * math.exp(-past)
    for k in range(m):
        s = a[k] * s + a[k] * (dt[k] * rate) * (x - drive[k])
        x = a[k] * x + (1.0 - a[k]) * drive[k]
        out[k] = used[k] * x
        slope[k] = used[k] * s


@summing
def products(w: F, m: int, first: int, rows: int, gram: F) -> None:
    """gram[a, b] = sum over the record of column a times column b, for a from `first` to `rows` - 1 and b up to a."""
    for a in range(first, rows):
        left = w[a]
        for b in range(a + 1):
            right = w[b]
            total = 0.0
            for k in range(m):
                total += left[k] * right[k]
            gram[a, b] = total


@summing
def lagged(values: F, m: int, lag: int) -> float:
    """Sum of products of a column with itself `lag` rows later."""
    total = 0.0
    for k in range(m - lag):
        total += values[k] * values[k + lag]
    return total


def warm_up() -> None:
    """These compile with kernels/ecm.py."""
