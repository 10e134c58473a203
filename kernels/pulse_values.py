"""Voltage, current and their course at a time inside one pulse. Helpers of kernels/pulse.py; no resistance in here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

LINE_PART = 0.25  # (tau - ta)(tb - tau) <= this tau2: a straight line is then within 1/8 of a ln t law's unit
LEAST_PART, MOST_PART = 0.1, 1.5  # of tau: where the step's instant is counted, the row before it, or the first after
REACH_PART = 0.1  # of tau: how far beyond the last row a value may lie, and no more than one sampling interval


@helper
def value_at(
    time: Float64Array, current: Float64Array, voltage: Float64Array, rows: Int64Array, on: int, end: int, t0: float,
    tau: float, got: Float64Array,
) -> int:  # fmt: skip
    """v, i, sum of squared weights and error variance of v without noise at tau into `got` (4,); a status code."""
    target = t0 + tau
    if target < time[rows[on]]:
        return status.NOT_SAMPLED
    b = on
    while b <= end and time[rows[b]] <= target:
        b += 1
    reach = 0.0
    if b > end:  # the rows end at tau, or a sampling interval before it
        reach = target - time[rows[end]]
        a = end - 1
        while a > on and (time[rows[a]] >= time[rows[end]] or time[rows[end]] - time[rows[a]] < 2.0 * reach):
            a -= 1
        last = end
        while last > on and time[rows[last]] >= time[rows[end]]:
            last -= 1
        if reach > 0.0 and reach > 1.01 * min(time[rows[end]] - time[rows[last]], REACH_PART * tau):
            return status.TOO_SHORT
        a, b = (end, end) if reach == 0.0 else (max(a, on), end)
    else:
        a = b - 1
    ta, tb = time[rows[a]], time[rows[b]]
    weight = (target - ta) / (tb - ta) if tb > ta else 0.0
    if reach == 0.0 and (target - ta) * (tb - target) > LINE_PART * tau * tau:
        return status.NOT_SAMPLED
    got[0] = voltage[rows[a]] + weight * (voltage[rows[b]] - voltage[rows[a]])
    got[1] = current[rows[a]] + weight * (current[rows[b]] - current[rows[a]])
    got[2] = weight * weight + (1.0 - weight) * (1.0 - weight)
    if reach > 0.0:
        got[1] = current[rows[b]]
        got[3] = 0.25 * reach  # a straight line is off by less than a quarter of what it adds
    else:
        got[3] = (target - ta) * (tb - target) / (2.0 * tau)
    return status.OK


@helper
def value_counted(
    time: Float64Array, current: Float64Array, voltage: Float64Array, rows: Int64Array, on: int, end: int, t0: float,
    tau: float, got: Float64Array,
) -> int:  # fmt: skip
    """As `value_at` for a step whose instant t0 is known, from rows that may lie far apart; got[3] in volts, got[4]
    the slope at tau.

    A cell's voltage after a step runs between a straight line and ln t. Between two rows, and a little before the
    first, it is taken to go with the root of t (diffusion: Sand 1901), which lies midway; how far the two others are
    apart is the error: uniform over it.
    """
    target = t0 + tau
    b = on
    while b <= end and time[rows[b]] <= target:
        b += 1
    a = b - 1
    if b == on:  # the first row comes late
        a = on
        while b <= end and time[rows[b]] <= time[rows[a]]:
            b += 1
        if b > end or time[rows[a]] - t0 > MOST_PART * tau:
            return status.NOT_SAMPLED
    elif b > end:
        code = value_at(time, current, voltage, rows, on, end, t0, tau, got)
        got[4] = slope_at(time, voltage, rows, on, end, t0, tau)
        got[3] *= got[4]
        return code
    ta, tb = max(time[rows[a]] - t0, 0.0), time[rows[b]] - t0
    if ta < LEAST_PART * tau and (tau - ta) * (tb - tau) > LINE_PART * tau * tau:
        return status.NOT_SAMPLED
    straight = (tau - ta) / (tb - ta)
    root = (math.sqrt(tau) - math.sqrt(ta)) / (math.sqrt(tb) - math.sqrt(ta))
    steep = math.log(tau / ta) / math.log(tb / ta) if ta > 0.0 else 1.0
    change = voltage[rows[b]] - voltage[rows[a]]
    got[0] = voltage[rows[a]] + root * change
    got[1] = current[rows[a]] + straight * (current[rows[b]] - current[rows[a]])
    got[2] = root * root + (1.0 - root) * (1.0 - root)
    got[3] = 0.5 * abs(steep - straight) * change / math.sqrt(3.0)
    got[4] = change / (math.sqrt(tb) - math.sqrt(ta)) / (2.0 * math.sqrt(tau))
    return status.OK


@helper
def slope_at(
    time: Float64Array, voltage: Float64Array, rows: Int64Array, on: int, end: int, t0: float, tau: float
) -> float:
    """Voltage per second around tau, over a quarter of tau to both sides."""
    a = on
    while a < end and time[rows[a]] < t0 + 0.75 * tau:
        a += 1
    b = a
    while b < end and time[rows[b]] < t0 + 1.25 * tau:
        b += 1
    if time[rows[b]] <= time[rows[a]]:
        a = max(on, b - 2)
    span = time[rows[b]] - time[rows[a]]
    return (voltage[rows[b]] - voltage[rows[a]]) / span if span > 0.0 else 0.0


@helper
def unheld(
    time: Float64Array, current: Float64Array, rows: Int64Array, on: int, end: int, target: float, now: float
) -> float:
    """How far the mean current from the first loaded row to `target` is from `now`, the current then."""
    charge = 0.0
    for k in range(on, end):
        t, after = time[rows[k]], time[rows[k + 1]]
        if t >= target:
            break
        charge += 0.5 * (current[rows[k]] + current[rows[k + 1]]) * (min(after, target) - t)
    span = min(target, time[rows[end]]) - time[rows[on]]
    return abs(charge / span - now) if span > 0.0 else 0.0


def warm_up() -> None:
    """Nothing of its own: kernels/pulse.py calls each function here, and so compiles it with the types in use."""
