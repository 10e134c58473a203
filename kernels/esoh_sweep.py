"""The slow charge or discharge in a record, and its points evenly in charge for a half-cell fit. No model, no fit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel

F = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME_CURRENT = 0.2  # of the mean: a sample further away belongs to another step
LEAST_SAMPLES = 20
LIMIT = 1e15  # a time or current beyond is no measurement
VOLTAGE_LIMIT_V = 100.0
WINDOW = 0.125  # half-width over which samples are averaged, in spacings: the mean of more would feel the curvature


@helper
def _good(time_s: float, current_a: float, voltage_v: float) -> bool:
    return abs(time_s) < LIMIT and abs(current_a) < LIMIT and abs(voltage_v) < VOLTAGE_LIMIT_V


@kernel
def find_sweep(time_s: F, current_a: F, voltage_v: F, sign: float, span: Ints) -> tuple[float, float, int]:
    """The run of nearly constant current of that sign that moves most charge: `span` (first, last + 1).

    Returns its charge [C] and mean current [A], both signed, and the code. Samples that are no numbers and those whose
    time does not advance are left out; a sample of another current ends the run.
    """
    best = 0.0
    best_s = 1.0
    span[0], span[1] = 0, 0
    first, count, last_good = -1, 0, -1
    charge, mean = 0.0, 0.0
    usable = 0
    for i in range(time_s.shape[0]):
        if not _good(time_s[i], current_a[i], voltage_v[i]):
            continue
        usable += 1
        forward = sign * current_a[i]
        joined = False
        if count > 0:
            if not (time_s[i] > time_s[last_good]):
                continue
            joined = forward > 0.0 and abs(forward - mean) <= SAME_CURRENT * mean
        if joined:
            charge += 0.5 * sign * (current_a[i] + current_a[last_good]) * (time_s[i] - time_s[last_good])
            count += 1
            mean += (forward - mean) / count
            last_good = i
            if count >= LEAST_SAMPLES and charge > best:
                best = charge
                best_s = time_s[i] - time_s[first]
                span[0], span[1] = first, i + 1
        elif forward > 0.0:
            first, count, last_good, charge, mean = i, 1, i, 0.0, forward
        else:
            count = 0
    if usable < LEAST_SAMPLES:
        return math.nan, math.nan, status.BAD_INPUT
    if span[1] == 0 or not (best > 0.0 and best_s > 0.0):
        return math.nan, math.nan, status.NOT_FOUND
    return sign * best, sign * best / best_s, status.OK


@kernel
def even_points(time_s: F, current_a: F, voltage_v: F, sign: float, span: Ints, charge_c: float, z: F, v: F) -> int:
    """Fills z (m,), rising, and v (m,) with up to m points evenly in charge of the run `span`; returns how many.

    z is 0 at the discharged and 1 at the charged end. Each point is the mean of the samples within an eighth of a
    spacing about the middle of its share of the charge, or the nearest sample; a share without samples has no point.
    """
    m = z.shape[0]
    total = abs(charge_c)
    if m == 0 or not (total > 0.0):
        return 0
    charge, last_good = 0.0, -1
    written, share = 0, -1
    count, sum_z, sum_v, nearest = 0, 0.0, 0.0, 2.0
    for i in range(span[0], span[1] + 1):
        at, cell, usable = 0.0, m, True
        if i < span[1]:
            usable = _good(time_s[i], current_a[i], voltage_v[i])
            if usable and last_good >= 0:
                usable = time_s[i] > time_s[last_good]
                if usable:
                    charge += 0.5 * sign * (current_a[i] + current_a[last_good]) * (time_s[i] - time_s[last_good])
            if not usable:
                continue
            last_good = i
            at = min(max(charge / total, 0.0), 1.0)
            cell = min(int(at * m), m - 1)
        if cell != share:
            if share >= 0 and written < m:
                place = written if sign > 0.0 else m - 1 - written
                mean = sum_z / count
                z[place] = mean if sign > 0.0 else 1.0 - mean
                v[place] = sum_v / count
                written += 1
            share, count, sum_z, sum_v, nearest = cell, 0, 0.0, 0.0, 2.0
        if i < span[1]:
            away = abs(at * m - cell - 0.5)
            if away <= WINDOW:
                if nearest > WINDOW:
                    count, sum_z, sum_v = 0, 0.0, 0.0
                nearest = 0.0
                count, sum_z, sum_v = count + 1, sum_z + at, sum_v + voltage_v[i]
            elif away < nearest:
                nearest, count, sum_z, sum_v = away, 1, at, voltage_v[i]
    if sign < 0.0:
        for k in range(written):
            z[k], v[k] = z[m - written + k], v[m - written + k]
    return written


def warm_up() -> None:
    """Compiles with the signatures of twin/esoh.py."""
    ramp, span = np.linspace(0.0, 1.0, 30), np.zeros(2, dtype=np.int64)
    find_sweep(ramp, np.ones(30), ramp, 1.0, span)
    even_points(ramp, np.ones(30), ramp, 1.0, span, 1.0, np.empty(30), np.empty(30))
