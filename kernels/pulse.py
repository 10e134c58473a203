"""Direct-current resistance from current pulses: R(tau) = (v(tau) - v_rest) / (i(tau) - i_rest). SI units, batches.

The procedure is the HPPC test's (Battery Test Manual For Plug-In Hybrid Electric Vehicles, INL/EXT-14-32849, 2014):
the voltage at tau after the step against the last of the rest before. kernels/pulse_edges.py finds the steps. v(tau)
and i(tau) are interpolated between the rows around tau; variances by the first-order law (JCGM 100:2008, 5.1.2):

    var v = s_v2 (wa2 + wb2 + 1) + e2 + (v' s_t)2       e = v' (tau - ta)(tb - tau)/(2 tau)
    var R = (var v + R2 s_i2 (wa2 + wb2 + 1)) / di2 + (dR/dSOC)2 var SOC

s_v, s_i: noise of one sample as rest and pulse show it, at least resolution/sqrt(12). e: the error of a straight line
on a voltage that follows ln t; of a step whose instant is counted see `value_counted`. s_t: where the step lies between
two stamps, or by how much it may be counted wrong. The spread is widened for a noise that is
itself known from nu degrees of freedom only, so that 1.96 of it are the 95 % band (Student's quantile after Cornish and
Fisher: 1.96 (1 + 1.21/nu)).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel
from kernels.pulse_clock import COUNTED, GIVEN, POLLED, UNTOLD, counted, decide, stamps_show
from kernels.pulse_edges import (
    STALE_ROWS,
    drop_stale_inside,
    first_interval,
    height,
    nearest_value,
    noise_of,
    pulse_end,
    resolution_of,
    rest_missed,
    rest_start,
    steady,
    usable_rows,
    voltage_edge,
)
from kernels.pulse_values import slope_at, unheld, value_at, value_counted

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]

REST_PART = 0.02  # of the record's largest current: less is rest
HELD_PART = 0.05  # of the step: mean current up to tau may differ from the current at tau by this
LEAST_CURRENT_A = 1e-12

# Columns of `found` (float) and `places` (int), one row a pulse.
TIME, CURRENT_STEP, REST_V, DURATION, REST_DURATION, NOISE_V, NOISE_A, RESOLUTION_V = 0, 1, 2, 3, 4, 5, 6, 7
SOC, SOC_SD, TEMPERATURE, WIDEN, BLUR, END_V, END_OHM, END_SD = 8, 9, 10, 11, 12, 13, 14, 15
FOUND_COLUMNS = 16
RECORD, REST_ROW, EDGE_ROW, LOAD_ROW, LAST_ROW = 0, 1, 2, 3, 4  # numbers of rows; REST_ROW -1: none
LOAD_PLACE, LAST_PLACE, STAMPS, END_CODE = 5, 6, 7, 8  # places among the usable rows; kernels/pulse_clock.py
PLACE_COLUMNS = 9
# Entries of `settings`, nan where the data shall tell; S_BACK: how far, in sampling intervals, the step lies before the
# first row that carries it (0: that row is its beginning, 0.5: anywhere in the interval). S_GRAIN: what the step's time
# is counted in.
S_REST, S_NOISE, S_RESOLUTION, S_BACK, S_GRAIN = 0, 1, 2, 3, 4
SETTINGS = 5


@helper
def _describe(
    time: Float64Array, current: Float64Array, voltage: Float64Array, extra: Float64Array, rows: Int64Array, n: int,
    on: int, end: int, rest: float, settings: Float64Array, resolution: Float64Array, found: Float64Array,
    places: Int64Array,
) -> int:  # fmt: skip
    """Edge, noise and circumstances of the pulse at places on..end into `found` and `places`; a status code."""
    sign = 1.0 if current[rows[on]] > 0.0 else -1.0
    first = rest_start(time, current, rows, on, rest)
    noise, freedom = noise_of(time, voltage, rows, first, on - 1 - STALE_ROWS, on, end)
    noise_a = noise_of(time, current, rows, first, on - 1, on, end)[0]
    interval = first_interval(time, rows, on, end)
    after_load = first > 0 and abs(current[rows[first - 1]]) > rest and time[rows[first - 1]] <= time[rows[first]]
    known = noise if freedom > 0.0 else resolution[0]
    edge = voltage_edge(time, voltage, rows, first, on, sign, known, interval, after_load)
    floor = resolution[0] / math.sqrt(12.0)
    found[WIDEN] = 1.0
    if math.isfinite(settings[S_NOISE]):
        noise = max(settings[S_NOISE], floor)
    elif freedom > 0.0:
        noise, found[WIDEN] = max(noise, floor), 1.0 + 1.21 / freedom
    seen = edge > first
    gap = time[rows[edge]] - time[rows[edge - 1]] if seen else 0.0
    found[BLUR] = min(gap, interval) if interval > 0.0 else gap  # made ready by `_place_step`
    found[TIME], found[DURATION] = time[rows[edge]], time[rows[end]] - time[rows[edge]]
    found[REST_DURATION] = time[rows[edge - 1]] - time[rows[first]] if seen else math.nan
    found[REST_V] = voltage[rows[edge - 1]] if seen else math.nan
    found[CURRENT_STEP] = current[rows[(on + end) // 2]] - (current[rows[edge - 1]] if seen else 0.0)
    found[NOISE_V], found[RESOLUTION_V] = noise, resolution[0]
    found[NOISE_A] = max(noise_a if math.isfinite(noise_a) else 0.0, resolution[1] / math.sqrt(12.0))
    places[REST_ROW] = rows[edge - 1] if seen else -1
    places[EDGE_ROW], places[LOAD_ROW], places[LAST_ROW] = rows[edge], rows[on], rows[end]
    places[LOAD_PLACE], places[LAST_PLACE] = on, end
    places[STAMPS] = stamps_show(time, rows, n, first, edge, on, end) if seen else UNTOLD
    begun, open_s = counted(time, extra[3], rows, edge, on, end, settings[S_GRAIN]) if seen else (math.nan, math.nan)
    if math.isfinite(begun):
        places[STAMPS], found[BLUR], found[TIME] = COUNTED, open_s, begun
        found[DURATION] = time[rows[end]] - begun
    found[END_V], found[END_OHM], found[END_SD] = voltage[rows[end]], math.nan, math.nan
    near = edge - 1 if seen else edge
    found[SOC], found[SOC_SD] = nearest_value(extra[0], rows, near, end), nearest_value(extra[1], rows, near, end)
    found[TEMPERATURE] = nearest_value(extra[2], rows, near, end)
    if not seen:
        return status.BAD_TIME if on > 0 and time[rows[on - 1]] > time[rows[on]] else status.NO_REST
    alone = edge == on and edge - 1 == first and gap <= 1.0
    if alone and rest_missed(time, current, voltage, rows, n, edge, on, end, rest, sign):
        return status.NO_REST
    return status.OK


@helper
def _place_step(found: Float64Array, places: Int64Array, back: float, stamps: int) -> None:
    """Puts the step `back` of a sampling interval before its first row, and says why."""
    found[BLUR] *= back
    found[TIME] -= found[BLUR]
    found[DURATION] += found[BLUR]
    places[STAMPS] = stamps


@helper
def _quotient(
    time: Float64Array, current: Float64Array, voltage: Float64Array, rows: Int64Array, on: int, end: int, tau: float,
    soc_ohm: float, found: Float64Array, places: Int64Array, got: Float64Array,
) -> tuple[float, float, int]:  # fmt: skip
    """R, its standard deviation and a status code at tau; nan where refused. `got`: as of `value_counted`."""
    rest_v, rest_a = found[REST_V], current[places[REST_ROW]]
    t0, noise, noise_a = found[TIME], found[NOISE_V], found[NOISE_A]
    late = found[BLUR] / math.sqrt(3.0)  # uniform over twice BLUR
    step = got[1] - rest_a
    if unheld(time, current, rows, on, end, t0 + tau, got[1]) > HELD_PART * abs(step):
        return math.nan, math.nan, status.NOT_HELD
    ohm = (got[0] - rest_v) / step + 0.0  # no -0.0
    volt2 = noise * noise * (got[2] + 1.0) + got[3] * got[3] + (got[4] * late) ** 2
    ampere2 = noise_a * noise_a * (got[2] + 1.0)
    noise2 = found[WIDEN] * found[WIDEN] * (volt2 + ohm * ohm * ampere2) / (step * step)
    spread = math.sqrt(noise2 + soc_ohm * soc_ohm)
    if ohm < 0.0 and not ohm > -3.0 * spread:
        return math.nan, math.nan, status.BAD_INPUT
    return ohm, spread, status.SPREAD_UNKNOWN if math.isnan(spread) else status.OK


@helper
def _resistances(
    time: Float64Array, current: Float64Array, voltage: Float64Array, dr_dsoc: float, rows: Int64Array,
    tau: Float64Array, found: Float64Array, places: Int64Array, r: Float64Array, sd: Float64Array, code: UInt8Array,
) -> None:  # fmt: skip
    """R, its standard deviation and its code at each of `tau` and at the last row, for a pulse found good."""
    on, end = places[LOAD_PLACE], places[LAST_PLACE]
    soc_ohm = dr_dsoc * found[SOC_SD] if math.isfinite(dr_dsoc) and found[SOC_SD] >= 0.0 else 0.0
    got = np.zeros(5)
    for m in range(tau.shape[0]):
        if places[STAMPS] == COUNTED:
            code[m] = value_counted(time, current, voltage, rows, on, end, found[TIME], tau[m], got)
        else:
            code[m] = value_at(time, current, voltage, rows, on, end, found[TIME], tau[m], got)
            got[4] = slope_at(time, voltage, rows, on, end, found[TIME], tau[m])
            got[3] *= got[4]
        if code[m] == status.OK:
            r[m], sd[m], code[m] = _quotient(
                time, current, voltage, rows, on, end, tau[m], soc_ohm, found, places, got
            )  # fmt: skip
    got[0], got[1], got[2], got[3] = voltage[rows[end]], current[rows[end]], 1.0, 0.0
    got[4] = slope_at(time, voltage, rows, on, end, found[TIME], found[DURATION])
    found[END_OHM], found[END_SD], places[END_CODE] = _quotient(
        time, current, voltage, rows, on, end, found[DURATION], soc_ohm, found, places, got
    )


@kernel
def pulses(
    time: Float64Array, current: Float64Array, voltage: Float64Array, extra: Float64Array, offsets: Int64Array,
    dr_dsoc: Float64Array, tau: Float64Array, settings: Float64Array, found: Float64Array, places: Int64Array,
    r: Float64Array, sd: Float64Array, code: UInt8Array, record_code: UInt8Array,
) -> int:  # fmt: skip
    """All pulses of n records that lie one behind the other, record k in rows offsets[k]..offsets[k+1]; their number.

    `extra` (4, rows): SOC, its standard deviation, temperature, seconds since the row's step began by the equipment's
    own count; nan where unknown. `dr_dsoc` (n,), nan where unknown.
    `tau` ascending (m,). Writes one row a pulse: `found`, `places` (row numbers), `r`, `sd`, `code` (m each, nan where
    the code says so); R at the last loaded row and its code are in `found` and `places`. More pulses than rows: what
    fits is written, those records' code is OUT_OF_SPACE, and the number is the one needed.
    """
    number = 0
    longest = 0
    for k in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[k + 1] - offsets[k])
    rows = np.empty(longest, dtype=np.int64)
    resolution = np.zeros(2)
    for k in range(offsets.shape[0] - 1):
        n = usable_rows(time, current, voltage, offsets[k], offsets[k + 1], rows)
        largest = 0.0
        for j in range(n):
            largest = max(largest, abs(current[rows[j]]))
        rest = settings[S_REST] if math.isfinite(settings[S_REST]) else REST_PART * largest
        rest = max(rest, LEAST_CURRENT_A)
        least = rest if math.isfinite(settings[S_REST]) else 2.0 * rest
        record_code[k] = status.NOT_FOUND if n > 0 else status.BAD_INPUT
        n = drop_stale_inside(time, current, voltage, rows, n, rest)
        resolution[0] = resolution_of(voltage, rows, n)
        if math.isfinite(settings[S_RESOLUTION]):
            resolution[0] = settings[S_RESOLUTION]
        resolution[1] = resolution_of(current, rows, n)
        began = number
        on = 0
        while on < n:
            if abs(current[rows[on]]) <= rest:
                on += 1
                continue
            end = pulse_end(time, current, rows, n, on, rest)
            # A load of a single stamp is a stray row; one near the limit of rest is the noise of a rest or a CV phase.
            high = height(current, rows, on, end, rest)
            if time[rows[end]] > time[rows[on]] and high > least and steady(time, current, rows, on, end, high):
                if number < found.shape[0]:
                    places[number, RECORD] = k
                    places[number, END_CODE] = _describe(
                        time, current, voltage, extra, rows, n, on, end, rest, settings, resolution, found[number],
                        places[number],
                    )  # fmt: skip
                    if record_code[k] != status.OUT_OF_SPACE:
                        record_code[k] = status.OK
                else:
                    record_code[k] = status.OUT_OF_SPACE
                number += 1
            on = end + 1
        written = min(number, found.shape[0])
        back, stamps = settings[S_BACK], GIVEN
        if not math.isfinite(back):
            stamps = decide(places, STAMPS, began, written)
            back = 0.5 if stamps == POLLED else 0.0
        for p in range(began, written):
            r[p], sd[p], code[p] = math.nan, math.nan, places[p, END_CODE]
            if places[p, STAMPS] != COUNTED:
                _place_step(found[p], places[p], back, stamps)
            if places[p, END_CODE] == status.OK:
                _resistances(
                    time, current, voltage, dr_dsoc[k], rows, tau, found[p], places[p], r[p], sd[p], code[p]
                )  # fmt: skip
    return number


def warm_up() -> None:
    """Compiles with the signatures of twin/pulse.py."""
    time, extra = np.arange(4.0), np.full((4, 4), math.nan)
    row, code = np.empty((1, 1)), np.empty((1, 1), dtype=np.uint8)
    pulses(
        time, np.array([0.0, 1.0, 1.0, 1.0]), time, extra, np.array([0, 4]), np.zeros(1), np.ones(1),
        np.array([math.nan, math.nan, math.nan, 0.0, math.nan]), np.empty((1, FOUND_COLUMNS)),
        np.empty((1, PLACE_COLUMNS), dtype=np.int64), row, row.copy(), code, np.empty(1, dtype=np.uint8),
    )  # fmt: skip
