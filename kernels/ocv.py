"""Open-circuit voltage over SOC from a slow charge and a slow discharge. Nothing of files, units or cell chemistry.

After Plett, Battery Management Systems 1 (2015), section 2.10 (several scripts, counters joined, ohmic drops removed),
with the midpoint of the two branches instead of one branch per half, and a standard deviation:

    OCV(z) = (V_c(z) - |I_c| R + V_d(z) + |I_d| R) / 2        hysteresis half-width = (V_c' - V_d') / 2

Each branch is read at the grid by local linear regression (Fan and Gijbels, Local Polynomial Modelling (1996), section
3.2). Monotone by pooling adjacent violators (Barlow et al., Statistical Inference under Order Restrictions (1972)).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

CURRENT_BAND = 0.05  # a branch's current stays within this of its mean
ODD_ROWS = 2  # so many rows in a row outside the band do not end a branch (a range change, a spike)
LEAST_SLOPE_V = 1e-3  # V per unit SOC, so that the curve can be inverted
ASYMMETRY = 0.2  # the branches' slow polarisation may differ by this part of the half-width: rectangular
END = 0.1  # within this of empty and full only the branch that starts there at rest is near equilibrium
SLACK = 0.25  # of a grid step: how far outside its samples a branch may be read
OUT_OCV, OUT_OCV_SD, OUT_HALF, OUT_HALF_SD = 0, 1, 2, 3
OUTPUT_ROWS = 4
IN_DISCHARGE_A, IN_CHARGE_A, IN_OHM, IN_OHM_SD, IN_SOC_SD = 0, 1, 2, 3, 4
INPUTS = 5


@kernel
def joined_charge(
    part: Int64Array, time_s: Float64Array, current_a: Float64Array, counter_c: Float64Array, charge_c: Float64Array
) -> int:
    """Net charge (n,) in coulomb over scripts joined end to end, 0 at the first row; returns rows that were no use.

    `part` changes where a new script begins; nothing flows between scripts. Within one the change of `counter_c`
    counts where it is known and possible, otherwise the trapezoid of the current.
    """
    total, bad, last = 0.0, 0, -1
    for i in range(time_s.shape[0]):
        charge_c[i] = total
        if not (math.isfinite(time_s[i]) and abs(current_a[i]) < 1e6):
            bad += 1
            continue
        if last >= 0 and part[i] == part[last]:
            dt = time_s[i] - time_s[last]
            most = max(abs(current_a[i]), abs(current_a[last]))
            moved = 0.5 * (current_a[i] + current_a[last]) * dt
            counted = counter_c[i] - counter_c[last]
            # Twice the larger current and ten seconds of it: a step between two rows is no reset of the counter.
            if 0.0 <= dt < 1e9:
                if abs(counted) <= 2.0 * most * (dt + 10.0) + 1.0:
                    moved = counted
                total += moved
            else:
                bad += 1
        last = i
        charge_c[i] = total
    return bad


@kernel
def find_branches(
    part: Int64Array, current_a: Float64Array, voltage_v: Float64Array, least_span_v: float, first_last: Int64Array,
    mean_a: Float64Array,
) -> int:  # fmt: skip
    """Spans of constant current (m, 2: first row, last row) that cross at least `least_span_v`; returns how many.

    Writes at most m of them and returns -1 if there are more.
    """
    n, found, i = current_a.shape[0], 0, 0
    while i < n:
        if not (1e-9 < abs(current_a[i]) < 1e6):
            i += 1
            continue
        mean, count, last, odd = current_a[i], 1.0, i, 0
        low, high = math.inf, -math.inf
        j = i
        while j < n and odd <= ODD_ROWS and part[j] == part[i]:
            if abs(current_a[j] - mean) <= CURRENT_BAND * abs(mean):
                mean += (current_a[j] - mean) / count
                count += 1.0
                last, odd = j, 0
                if abs(voltage_v[j]) < 1e6:
                    low, high = min(low, voltage_v[j]), max(high, voltage_v[j])
            else:
                odd += 1
            j += 1
        if high - low >= least_span_v:
            if found == mean_a.shape[0]:
                return -1
            first_last[found, 0], first_last[found, 1], mean_a[found] = i, last, mean
            found += 1
        i = last + 1
    return found


@helper
def _read_branch(soc: Float64Array, voltage_v: Float64Array, value: Float64Array, var: Float64Array) -> None:
    """Local linear regression at the grid of `value` (g,) over SOC 0 to 1; NaN where the branch does not reach."""
    points = value.shape[0]
    step = 1.0 / (points - 1)
    reach = 1.5 * step
    sums = np.zeros((points, 9))
    low, high = math.inf, -math.inf
    for i in range(soc.shape[0]):
        z, v = soc[i], voltage_v[i]
        if not (-0.5 < z < 1.5 and abs(v) < 1e6):
            continue
        low, high = min(low, z), max(high, z)
        for g in range(max(0, math.ceil((z - reach) / step)), min(points - 1, math.floor((z + reach) / step)) + 1):
            d = (z - g * step) / step
            w = max(1.0 - (d / 1.5) ** 2, 0.0)
            row = sums[g]
            row[0] += w
            row[1] += w * d
            row[2] += w * d * d
            row[3] += w * v
            row[4] += w * d * v
            row[5] += w * v * v
            row[6] += w * w
            row[7] += w * w * d
            row[8] += w * w * d * d
    for g in range(points):
        s0, s1, s2, t0, t1, vv, r0, r1, r2 = sums[g]
        det = s0 * s2 - s1 * s1
        value[g] = var[g] = math.nan
        if low - SLACK * step <= g * step <= high + SLACK * step and det > 1e-6 * s0 * s0 and s0 * s0 > 1.5 * r0:
            value[g] = (s2 * t0 - s1 * t1) / det
            slope = (s0 * t1 - s1 * t0) / det
            rest = max(vv - value[g] * t0 - slope * t1, 0.0) / (s0 - r0 / s0)
            var[g] = rest * (s2 * s2 * r0 - 2.0 * s1 * s2 * r1 + s1 * s1 * r2) / (det * det)
    _bridge(value, var, low, high)


@helper
def _bridge(value: Float64Array, var: Float64Array, low: float, high: float) -> None:
    """Straight lines over grid points that no sample came near, between those that have a value."""
    last = -1
    for g in range(value.shape[0]):
        if not math.isfinite(value[g]):
            continue
        for k in range(last + 1, g):
            if last >= 0:
                t = (k - last) / (g - last)
                value[k] = (1.0 - t) * value[last] + t * value[g]
                # Anywhere between its ends: the variance of a rectangle over the rise.
                var[k] = (value[g] - value[last]) ** 2 / 12.0
        last = g


@helper
def _combine(dis: Float64Array, chg: Float64Array, half: Float64Array, ocv: Float64Array) -> int:
    """Midpoint and half-width; one branch alone takes the half-width of the nearest point that has both."""
    points, both = ocv.shape[0], 0
    for g in range(points):
        half[g] = 0.5 * (chg[g] - dis[g])
        if math.isfinite(half[g]):
            both += 1
    if both < points // 2:
        return status.NOT_IDENTIFIABLE
    for g in range(1, points):
        if not math.isfinite(half[g]):
            half[g] = half[g - 1]
    for g in range(points - 2, -1, -1):
        if not math.isfinite(half[g]):
            half[g] = half[g + 1]
    for g in range(points):
        z = g / (points - 1)
        if math.isfinite(chg[g]) and (z < END or not math.isfinite(dis[g])):
            ocv[g] = chg[g] - half[g] * min(min(z, 1.0 - z) / END, 1.0)
        elif math.isfinite(dis[g]):
            ocv[g] = dis[g] + half[g] * min((1.0 - z) / END, 1.0)
        else:
            return status.NOT_IDENTIFIABLE
    return status.OK


@kernel
def _monotone(ocv: Float64Array, sd: Float64Array) -> None:
    """Least squares with weights 1/sd^2 among curves that rise by at least LEAST_SLOPE_V per unit SOC, in place."""
    points = ocv.shape[0]
    mean, weight, size = np.empty(points), np.empty(points), np.empty(points, np.int64)
    blocks = 0
    for g in range(points):
        mean[blocks] = ocv[g] - LEAST_SLOPE_V * g / (points - 1)
        weight[blocks], size[blocks] = 1.0 / max(sd[g], 1e-6) ** 2, 1
        blocks += 1
        while blocks > 1 and mean[blocks - 2] >= mean[blocks - 1]:
            a, b = blocks - 2, blocks - 1
            mean[a] = (weight[a] * mean[a] + weight[b] * mean[b]) / (weight[a] + weight[b])
            weight[a] += weight[b]
            size[a] += size[b]
            blocks -= 1
    g = 0
    for b in range(blocks):
        for _ in range(size[b]):
            ocv[g] = mean[b] + LEAST_SLOPE_V * g / (points - 1)
            g += 1


@kernel
def ocv_batch(
    soc: Float64Array, voltage_v: Float64Array, offsets: Int64Array, given: Float64Array, out: Float64Array,
    code: NDArray[np.uint8],
) -> None:  # fmt: skip
    """OCV of n cells on a grid of g points over SOC 0 to 1. Branches lie one behind the other: `offsets` (2n + 1),
    cell r's discharge is branch 2r, its charge 2r + 1.

    `given` (n, 5): |I| of discharge and charge, ohm, its sd, sd of SOC. `out` (n, 4, g): OCV, sd, half-width, sd;
    `code` (n,). Without half of the grid on both branches NOT_IDENTIFIABLE, NaN throughout.
    """
    points = out.shape[2]
    dis, chg, var_d, var_c = np.empty(points), np.empty(points), np.empty(points), np.empty(points)
    for r in range(code.shape[0]):
        out[r] = math.nan
        code[r] = status.BAD_INPUT
        if points < 5 or not np.isfinite(given[r]).all():
            continue
        a, b, c = offsets[2 * r], offsets[2 * r + 1], offsets[2 * r + 2]
        _read_branch(soc[a:b], voltage_v[a:b], dis, var_d)
        _read_branch(soc[b:c], voltage_v[b:c], chg, var_c)
        i_d, i_c, ohm, ohm_sd, soc_sd = given[r]
        dis += i_d * ohm
        chg -= i_c * ohm
        ocv, half = out[r, OUT_OCV], out[r, OUT_HALF]
        code[r] = _combine(dis, chg, half, ocv)
        if code[r] != status.OK:
            out[r] = math.nan
            continue
        for g in range(points):
            z = g / (points - 1)
            ramp = min(min(z, 1.0 - z) / END, 1.0)
            before, after = max(g - 1, 0), min(g + 1, points - 1)
            slope = (ocv[after] - ocv[before]) / (after - before) * (points - 1)
            noise = 0.25 * (var_d[g] + var_c[g]) if math.isfinite(var_d[g] + var_c[g]) else math.nan
            if not math.isfinite(noise):
                noise = var_d[g] if math.isfinite(var_d[g]) else var_c[g]
            doubt = (ASYMMETRY + (1.0 - ramp) * (1.0 - ASYMMETRY)) ** 2 * half[g] ** 2 / 3.0
            drop = 0.5 * (i_c - i_d) * ramp * ohm_sd + (1.0 - ramp) * max(i_c, i_d) * ohm_sd
            out[r, OUT_OCV_SD, g] = math.sqrt(noise + doubt + drop**2 + (slope * soc_sd) ** 2)
            out[r, OUT_HALF_SD, g] = math.sqrt(
                noise + doubt + (0.5 * (i_c + i_d) * ohm_sd) ** 2 + (slope * soc_sd) ** 2
            )
        _monotone(ocv, out[r, OUT_OCV_SD])


def warm_up() -> None:
    """Compiles with the signatures of twin/ocv.py."""
    part, z = np.zeros(20, dtype=np.int64), np.linspace(0.0, 1.0, 20)
    joined_charge(part, z, z, z, np.empty(20))
    find_branches(part, z, z, 0.1, np.empty((4, 2), dtype=np.int64), np.empty(4))
    offsets = np.array([0, 20, 40])
    out, code = np.empty((1, OUTPUT_ROWS, 11)), np.empty(1, dtype=np.uint8)
    ocv_batch(np.tile(z, 2), np.tile(z, 2), offsets, np.zeros((1, INPUTS)), out, code)
