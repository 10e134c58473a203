"""Incremental capacity dQ/dV and differential voltage dV/dQ at a stated bandwidth; peaks and their followers. No units.

A record is y over x in time order (y = charge over x = voltage, or the other way round). The straight line between two
rows spreads its dy evenly over its dx; the sum, seen through a kernel K of standard deviation h, is

    f(x) = sum_i dy_i * mean of K((x - x') / h) over x' from x_i to x_i+1      K: triweight, support 3 h

so f is exactly the slope of the measured curve convolved with K: nothing is resampled, no difference quotient formed, a
repeated voltage (plateau, quantised, duplicate row) is a finite weight, and the area under dQ/dV is the charge moved.
Kernel and its moments: Wand and Jones, Kernel Smoothing (1995), table 2.1; sums in fine bins as in Silverman,
Appl. Stat. 31 (1982) 93 (a bin is h/8: widens h by 0.13 %). Within 3 h of the record's ends f is divided by the part of
K that lies inside.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

GRID_PER_H = 4  # grid points per bandwidth
BINS_PER_STEP = 2
REACH = 3 * GRID_PER_H * BINS_PER_STEP  # bins on either side of a grid point
LEAST_ROWS = 10
NOISE_ROWS = 4096


@kernel
def voltage_noise(voltage_v: Float64Array, charge_c: Float64Array, offsets: Int64Array, sd_v: Float64Array) -> None:
    """Standard deviation (n,) of one reading per record, from rows against the line between their neighbours (median
    absolute, so that steps do not count; of a long record some 4,096 rows), at least the resolution over sqrt(12).
    NaN below three good rows.
    """
    for r in range(sd_v.shape[0]):
        v, q = voltage_v[offsets[r] : offsets[r + 1]], charge_c[offsets[r] : offsets[r + 1]]
        away = np.empty(v.shape[0])
        found, least = 0, math.inf
        for i in range(1, v.shape[0] - 1, max(1, v.shape[0] // NOISE_ROWS)):
            span = q[i + 1] - q[i - 1]
            step = abs(v[i] - v[i - 1])
            if 1e-9 < step < least:
                least = step
            if not (abs(span) > 0.0 and abs(v[i - 1]) < 1e6 and abs(v[i]) < 1e6 and abs(v[i + 1]) < 1e6):
                continue
            t = (q[i] - q[i - 1]) / span
            if 0.0 < t < 1.0:
                size = math.sqrt(1.0 + t * t + (1.0 - t) * (1.0 - t))
                away[found] = abs(v[i] - (1.0 - t) * v[i - 1] - t * v[i + 1]) / size
                found += 1
        sd_v[r] = math.nan
        if found > 0:
            floor = least / math.sqrt(12.0) if least < 0.01 else 0.0
            sd_v[r] = max(1.4826 * np.median(away[:found]), floor)


@kernel
def _cumulative(u: float) -> float:
    """Integral of the triweight 35/32 (1 - u^2)^3 from -1 to u."""
    u = min(max(u, -1.0), 1.0)
    return 0.5 + 35.0 / 32.0 * u * (1.0 - u * u * (1.0 - u * u * (0.6 - u * u / 7.0)))


@helper
def _spread(
    x: Float64Array, y: Float64Array, start: float, bin_width: float, way: float, noise_of_x: bool,
    bins: Float64Array, tilt: Float64Array, even: Float64Array, noise: Float64Array,
) -> tuple[int, int, float, float]:  # fmt: skip
    """Sums dy per bin, and the squared weights of the readings' noise; rows used, rows not, lowest and highest x.

    `even` holds the changes of what is spread evenly: constant work per row, however far it jumps. `tilt` is the first
    moment about the bins' centres; without it readings would be rounded to bins, which is noise of its own.
    """
    used, bad, last = 0, 0, -1
    low, high = math.inf, -math.inf
    count = bins.shape[0]
    for i in range(x.shape[0]):
        a = (x[i] - start) / bin_width
        if not (abs(a) < 3.0 * count and abs(y[i]) < 1e15):
            bad += 1  # bridged
            continue
        if not 0.0 <= a < count - 1:
            last = -1  # outside the grid: what moves there counts nowhere
            continue
        used += 1
        low, high = min(low, x[i]), max(high, x[i])
        if last >= 0:
            b = (x[last] - start) / bin_width
            dy, left, right = way * (y[i] - y[last]), min(a, b), max(a, b)
            first, end = int(left), int(right)
            if first == end:
                bins[first] += dy
                tilt[first] += dy * (0.5 * (left + right) - first - 0.5)
            else:
                d = dy / (right - left)
                part = first + 1 - left
                bins[first] += d * part
                tilt[first] += d * part * 0.5 * (1.0 - part)
                part = right - end
                bins[end] += d * part
                tilt[end] -= d * part * 0.5 * (1.0 - part)
                even[first + 1] += d
                even[end] -= d
            weight = dy if noise_of_x else x[i] - x[last]
            noise[int(0.5 * (left + right))] += weight * weight
        last = i
    return used, bad, low, high


@kernel
def slope_batch(
    x: Float64Array, y: Float64Array, offsets: Int64Array, start: Float64Array, bandwidth: Float64Array,
    reading_sd: Float64Array, noise_of_x: bool, value: Float64Array, value_sd: Float64Array, code: NDArray[np.uint8],
) -> None:  # fmt: skip
    """dy/dx of n records, positive where y and x run the same way; `value`, `value_sd` (n, g), `code` (n,).

    Grid of record r: start + k * bandwidth / 4, both (n,); NaN beyond the record's own x. `reading_sd` (n,) is of one
    row's voltage, which is x if `noise_of_x`, else y. NOT_IDENTIFIABLE: under ten rows or shorter than six bandwidths.
    """
    points = value.shape[1]
    margin = REACH + BINS_PER_STEP
    count = (points - 1) * BINS_PER_STEP + 2 * margin
    bins, tilt, even, noise = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    taps, tilts, slopes = np.empty(2 * REACH), np.empty(2 * REACH), np.empty(2 * REACH)
    for k in range(2 * REACH):
        u = (k + 0.5 - REACH) / REACH
        taps[k] = _cumulative(u + 0.5 / REACH) - _cumulative(u - 0.5 / REACH)
        slope = -35.0 / 32.0 * 6.0 * u * (1.0 - u * u) ** 2
        tilts[k] = slope / (REACH * REACH)
        slopes[k] = slope * slope
    for r in range(code.shape[0]):
        value[r] = math.nan
        value_sd[r] = math.nan
        code[r] = status.BAD_INPUT
        h, at = bandwidth[r], start[r]
        if not (1e-12 < h < 1e12 and abs(at) < 1e12):
            continue
        xs, ys = x[offsets[r] : offsets[r + 1]], y[offsets[r] : offsets[r + 1]]
        width = h / (GRID_PER_H * BINS_PER_STEP)
        bins[:] = 0.0
        tilt[:] = 0.0
        even[:] = 0.0
        noise[:] = 0.0
        way = _way(ys) if noise_of_x else _way(xs)
        used, bad, low, high = _spread(xs, ys, at - margin * width, width, way, noise_of_x, bins, tilt, even, noise)
        if used == 0:
            continue
        if used < LEAST_ROWS or high - low < 6.0 * h:
            code[r] = status.NOT_IDENTIFIABLE
            continue
        level = 0.0
        for k in range(count):
            level += even[k]
            bins[k] += level
        sd = reading_sd[r] if 0.0 <= reading_sd[r] < math.inf else math.nan
        for g in range(points):
            place = at + g * h / GRID_PER_H
            if not (low <= place <= high):
                continue
            first = margin + g * BINS_PER_STEP - REACH
            total, square = 0.0, 0.0
            for k in range(2 * REACH):
                total += taps[k] * bins[first + k] + tilts[k] * tilt[first + k]
                square += slopes[k] * noise[first + k]
            inside = _cumulative((high - place) / (3.0 * h)) - _cumulative((low - place) / (3.0 * h))
            value[r, g] = total / (width * inside)
            value_sd[r, g] = sd * math.sqrt(square) / (9.0 * h * h * inside)
        code[r] = status.OK if bad == 0 else status.DEGRADED


@helper
def _way(charge: Float64Array) -> float:
    """1 where the charge grows over the record, -1 where it falls."""
    first, last = math.nan, math.nan
    for i in range(charge.shape[0]):
        if abs(charge[i]) < 1e15:
            if not math.isfinite(first):
                first = charge[i]
            last = charge[i]
    return 1.0 if last >= first else -1.0


def warm_up() -> None:
    """Compiles with the signatures of twin/dqdv.py."""
    x, one = np.linspace(0.0, 10.0, 50), np.ones(1)
    offsets, code = np.array([0, 50]), np.empty(1, dtype=np.uint8)
    value, value_sd, sd = np.empty((1, 41)), np.empty((1, 41)), np.empty(1)
    voltage_noise(x, x, offsets, sd)
    slope_batch(x, x * x, offsets, 0.0 * one, one, sd, True, value, value_sd, code)
