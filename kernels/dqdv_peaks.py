"""Peaks of incremental capacity curves: where, how high, how wide, how much charge, and which is which. No units.

A part of kernels/dqdv.py that got a file of its own; the grids and bandwidths are those of `slope_batch`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel
from kernels.dqdv import GRID_PER_H

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

# From noise of f to noise of its slope, per bandwidth, and of its integral, in bandwidths; K is the triweight:
# sqrt(int K''^2 / int K'^2) / 3 = sqrt(11) / 3 and 3 sqrt(int K^2 / int K'^2) = 3 sqrt(10 / 39).
SLOPE_NOISE = math.sqrt(11.0) / 3.0
AREA_NOISE = 3.0 * math.sqrt(10.0 / 39.0)
AT, HEIGHT, WIDTH, AREA, EXCESS = 0, 1, 2, 3, 4  # of a peak
SD = 5  # further on stands each one's sd
PEAK_COLUMNS = 10
END = 3 * GRID_PER_H
VAGUE = 0.02  # of the area: beyond, a flat valley leaves open where the peak ends, and the area is not given


@helper
def _crossing(f: Float64Array, peak: int, end: int, way: int, level: float) -> float:
    """Where f first falls to `level` between `peak` and `end`, in grid points; NaN if it does not."""
    k = peak
    while k != end:
        if f[k + way] <= level:
            place: float = k + way * (f[k] - level) / (f[k] - f[k + way])
            return place
        k += way
    return math.nan


@kernel
def peaks_batch(
    value: Float64Array, value_sd: Float64Array, start: Float64Array, bandwidth: Float64Array,
    least_prominence: float, sigmas: float, peaks: Float64Array, found: Int64Array, code: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Peaks of n curves in rising x: `peaks` (n, m, 10) position, height, full width at half prominence, area between
    the valleys beside it (NaN where one is flat), area above the higher valley, and their sd; `found` (n,); `code`
    (n,) OUT_OF_SPACE: more than m.

    A maximum counts when it stands out of both its valleys (down to the next higher maximum) by `least_prominence` of
    the curve's highest value and by `sigmas` of its own standard deviations. No peak within a bandwidth of the ends.
    """
    points = value.shape[1]
    for r in range(found.shape[0]):
        f, sd, h = value[r], value_sd[r], bandwidth[r]
        step = h / GRID_PER_H
        found[r] = 0
        code[r] = status.NOT_IDENTIFIABLE
        peaks[r] = math.nan
        first, last, highest = points, -1, 0.0
        for g in range(points):
            if math.isfinite(f[g]):
                first, last, highest = min(first, g), g, max(highest, f[g])
        if last - first < 2 * GRID_PER_H or not np.isfinite(f[first : last + 1]).all():
            continue
        code[r] = status.OK
        tops = np.empty(points, np.int64)
        count = 0
        for g in range(first + GRID_PER_H, last - GRID_PER_H + 1):
            if not (f[g] > f[g - 1] and f[g] >= f[g + 1]):
                continue
            valley_l, valley_r = g, g
            k = g
            while k > first and f[k - 1] <= f[g]:
                k -= 1
                valley_l = k if f[k] < f[valley_l] else valley_l
            k = g
            while k < last and f[k + 1] <= f[g]:
                k += 1
                valley_r = k if f[k] < f[valley_r] else valley_r
            prominence = f[g] - max(f[valley_l], f[valley_r])
            doubt = sigmas * sd[g] if math.isfinite(sd[g]) else 0.0
            if prominence > max(least_prominence * highest, doubt):
                tops[count] = g
                count += 1
        for p in range(count):
            if p == peaks.shape[1]:
                code[r] = status.OUT_OF_SPACE
                break
            before = first if p == 0 else tops[p - 1]
            after = last if p == count - 1 else tops[p + 1]
            low, low_sd = _valley(f, sd, before, tops[p], step)
            high, high_sd = _valley(f, sd, tops[p], after, step)
            peaks[r, p, SD + AREA] = (f[low] * low_sd) ** 2 + (f[high] * high_sd) ** 2
            _measure(f, sd, tops[p], low, high, start[r], step, h, peaks[r, p])
            # Within the reach of K the curve's ends lean on one side only, and their noise is larger than stated.
            left, left_sd = _level(f, sd, min(before + END, tops[p]) if p == 0 else before, tops[p])
            right, right_sd = _level(f, sd, tops[p], max(after - END, tops[p]) if p == count - 1 else after)
            level, level_sd = _higher(left, left_sd, right, right_sd)
            peaks[r, p, EXCESS], peaks[r, p, SD + EXCESS] = _stands_out(
                f, sd, tops[p], low, high, level, level_sd, step
            )
            found[r] += 1


@helper
def _valley(f: Float64Array, sd: Float64Array, first: int, last: int, step: float) -> tuple[int, float]:
    """Lowest place of f from `first` to `last`, or the middle of the stretch that its noise makes as low; its sd.

    Without a bend that stands out of the noise the sd is half the stretch: where noise puts the lowest it also puts
    the ends.
    """
    k = first + int(np.argmin(f[first : last + 1]))
    ceiling = f[k] + 4.0 * sd[k]  # the lowest of a flat stretch is itself about two below it
    left = right = k
    while left > first and f[left - 1] <= ceiling:
        left -= 1
    while right < last and f[right + 1] <= ceiling:
        right += 1
    stretch = (right - left + 1) * step
    h = step * GRID_PER_H
    k = (left + right) // 2
    if first + GRID_PER_H <= k <= last - GRID_PER_H:
        bend = (f[k - GRID_PER_H] - 2.0 * f[k] + f[k + GRID_PER_H]) / (h * h)
        if bend * h * h > 6.0 * sd[k]:
            return k, min(0.5 * stretch, SLOPE_NOISE * sd[k] / h / bend)
    return k, 0.5 * stretch


@helper
def _level(f: Float64Array, sd: Float64Array, first: int, last: int) -> tuple[float, float]:
    """How low f is in its valley from `first` to `last`, and the sd of that.

    The mean of the middle half of the stretch that noise makes as low as the lowest; its noise is that of the integral
    over it. A valley narrower than two bandwidths has its lowest value.
    """
    k = first + int(np.argmin(f[first : last + 1]))
    ceiling = f[k] + 6.0 * sd[k]  # the lowest of a flat stretch is itself about two below it
    left = right = k
    while left > first and f[left - 1] <= ceiling:
        left -= 1
    while right < last and f[right + 1] <= ceiling:
        right += 1
    if right - left < 2 * GRID_PER_H:
        return f[k], sd[k]
    quarter = (right - left) // 4
    left, right = left + quarter, right - quarter
    noise = AREA_NOISE * math.hypot(sd[left], sd[right]) * GRID_PER_H / (right - left + 1)
    return f[left : right + 1].mean(), min(noise, sd[k])


@kernel
def _higher(a: float, a_sd: float, b: float, b_sd: float) -> tuple[float, float]:
    """Mean and sd of the higher of two levels that are known to a_sd and b_sd (Clark, Oper. Res. 9 (1961) 145)."""
    apart = math.hypot(a_sd, b_sd)
    if not apart > 0.0:
        return max(a, b), a_sd if a > b else b_sd
    x = (a - b) / apart
    part, density = 0.5 * (1.0 + math.erf(x / math.sqrt(2.0))), math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    rise = (a - b) * part + apart * density  # above b
    square = ((a - b) ** 2 + a_sd * a_sd) * part + b_sd * b_sd * (1.0 - part) + (a - b) * apart * density
    return b + rise, math.sqrt(max(square - rise * rise, 0.0))


@helper
def _stands_out(
    f: Float64Array, sd: Float64Array, g: int, low: int, high: int, level: float, level_sd: float, step: float
) -> tuple[float, float]:  # fmt: skip
    """Integral of f above `level` around the top g, out to where it first falls to it, and its sd.

    At those places f is at the level: moving them changes nothing, so a flat valley leaves nothing open.
    """
    left = right = g
    while left > low and f[left - 1] > level:
        left -= 1
    while right < high and f[right + 1] > level:
        right += 1
    total = 0.0
    for k in range(left, right + 1):
        total += f[k] - level
    wide = (right - left + 1) * step
    noise = AREA_NOISE * GRID_PER_H * step * math.hypot(sd[left], sd[right])
    return total * step, math.hypot(noise, wide * level_sd)


@helper
def _measure(
    f: Float64Array, sd: Float64Array, g: int, low: int, high: int, start: float, step: float, h: float,
    out: Float64Array,
) -> None:  # fmt: skip
    """One peak, its top by the parabola through three points; `out` holds the valleys' part of the area's variance."""
    bend = f[g - 1] - 2.0 * f[g] + f[g + 1]
    shift = 0.5 * (f[g - 1] - f[g + 1]) / bend if bend < 0.0 else 0.0
    out[AT] = start + (g + shift) * step
    out[HEIGHT] = f[g] - 0.25 * (f[g - 1] - f[g + 1]) * shift
    area = -0.5 * (f[low] + f[high])
    for k in range(low, high + 1):
        area += f[k]
    vague = math.sqrt(out[SD + AREA]) > VAGUE * area * step
    out[AREA] = math.nan if vague else area * step
    slope_sd = SLOPE_NOISE * sd[g] / h
    out[SD + AT] = slope_sd * step * step / -bend if bend < 0.0 else math.nan
    out[SD + HEIGHT] = sd[g]
    out[SD + AREA] = (
        math.nan if vague else math.sqrt(out[SD + AREA] + (AREA_NOISE * h) ** 2 * (sd[low] ** 2 + sd[high] ** 2))
    )
    level = 0.5 * (out[HEIGHT] + max(f[low], f[high]))
    left, right = _crossing(f, g, low, -1, level), _crossing(f, g, high, 1, level)
    out[WIDTH] = (right - left) * step
    if math.isfinite(left) and math.isfinite(right):
        own, lever = 0.0, 0.0
        for place in (left, right):
            k = min(max(int(place), low), high - 1)
            slope = abs(f[k + 1] - f[k]) / step
            if slope == 0.0:
                return
            own += (sd[k] / slope) ** 2
            lever += 1.0 / slope
        # The level moves both crossings apart: half of the top's noise and half of the valley's.
        level_sd = 0.5 * math.hypot(sd[g], sd[low if f[low] > f[high] else high])
        out[SD + WIDTH] = math.sqrt(own + (level_sd * lever) ** 2)


@kernel
def follow(at: Float64Array, area: Float64Array, before_at: Float64Array, before_area: Float64Array,
           reach: float, match: Int64Array) -> None:  # fmt: skip
    """Which peak of the curve before each of k peaks is: `match` (k,), -1 for a new one. Order is never crossed.

    Least total cost by dynamic programming (Needleman and Wunsch, J. Mol. Biol. 48 (1970) 443): a pair costs half of
    (shift/reach)^2 + (ln of the areas' ratio / ln 4)^2, a peak without partner 1/2; beyond `reach` there is no pair.
    An area that is not known does not count.
    """
    k, m = at.shape[0], before_at.shape[0]
    cost, choice = np.zeros((k + 1, m + 1)), np.zeros((k + 1, m + 1), np.int64)
    for i in range(k + 1):
        for j in range(m + 1):
            if i == 0 or j == 0:
                cost[i, j], choice[i, j] = 0.5 * (i + j), 1 if j == 0 else 2
                continue
            cost[i, j], choice[i, j] = cost[i - 1, j] + 0.5, 1
            if cost[i, j - 1] + 0.5 < cost[i, j]:
                cost[i, j], choice[i, j] = cost[i, j - 1] + 0.5, 2
            shift = abs(at[i - 1] - before_at[j - 1])
            if shift <= reach:
                known = 0.0 < area[i - 1] < math.inf and 0.0 < before_area[j - 1] < math.inf
                ratio = math.log(area[i - 1] / before_area[j - 1]) / math.log(4.0) if known else 0.0
                pair = cost[i - 1, j - 1] + 0.5 * ((shift / reach) ** 2 + ratio * ratio)
                if pair < cost[i, j]:
                    cost[i, j], choice[i, j] = pair, 0
    i, j = k, m
    while i > 0:
        if choice[i, j] == 0:
            match[i - 1] = j - 1
            i, j = i - 1, j - 1
        elif choice[i, j] == 1:
            match[i - 1] = -1
            i -= 1
        else:
            j -= 1


def warm_up() -> None:
    """Compiles with the signatures of twin/dqdv.py."""
    one, code, found = np.ones(1), np.empty(1, dtype=np.uint8), np.empty(1, dtype=np.int64)
    curve = np.ones((1, 41))
    peaks_batch(curve, curve, 0.0 * one, one, 0.05, 4.0, np.empty((1, 8, PEAK_COLUMNS)), found, code)
    follow(one, one, one, one, 1.0, np.empty(1, dtype=np.int64))
