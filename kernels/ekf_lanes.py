"""The cell filter's arithmetic on lanes of eight cells, written so that the compiler turns it into vector instructions.

Work array `w`: one row per number (kernels/ekf_layout.py), one column per cell. No branches, no calls, no other
array to check for overlap; the formulas and their sources are in kernels/ekf.py.
"""

# ruff: noqa: I001  (one name a line would be eighty lines of imports)
from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import inlined
from kernels.ekf_layout import (
    B0, B1, B2, B3, B4, CURRENT, D_A1, D_A2, D_AMPERE, D_CAPACITY, D_CHARGE, D_COMPARED, D_DRIVE2, D_DT, D_ETA,
    D_FACTOR, D_FLOOR2, D_GATE2, D_GOOD, D_H3, D_HB, D_INNOVATION, D_MEAN, D_MOVED_VAR, D_OUT, D_PER_C, D_POWER, D_R,
    D_R0, D_R1, D_R2, D_SD, D_SLOPE, D_SOUND, D_TAKEN, D_VARIANCE, D_VOLTAGE, D_WALK, D_WARM, FORMED, K, LANES, LEVELS,
    MISSES, MISSES_MAX, N_COUNTER, N_FLOOR1, N_FLOOR2, N_FLOOR_RAW, N_FRACTION, N_GAP, N_GAP_RATE, N_GATE, N_K_WALK,
    N_OCV_RATE, N_OCV_SOC, N_OCV_V, N_R0_WALK, N_UPPER, N_WALK, N_WALK_RAW, N_WALK_TIME, OCV_COLUMNS, OCV_REST,
    OCV_SLOPE, OCV_VALUE, OUT_CAPACITY, OUT_CAPACITY_SD, OUT_INNOVATION, OUT_INNOVATION_SD, OUT_R0, OUT_R0_SD, OUT_SOC,
    OUT_SOC_SD, OUT_U1, OUT_U2, P00, P01, P02, P03, P04, P11, P12, P13, P14, P22, P23, P24, P33, P34, P44, PHASE, R0,
    R0_WALK_TIME, RAW, REST_MOST, REST_SOC, ROUNDING, R_MIN_RELATIVE, SOC, SOC_MARGIN, SOC_SD_MAX, TOPPED, U1, U2,
    U_MAX_V, WARM_MOST,
)  # fmt: skip

F = NDArray[np.float64]
Ints = NDArray[np.int64]


@inlined
def exponentials_lanes(w: F, bits: Ints, powers: F) -> None:
    """Replaces the rows D_FACTOR, D_A1, D_A2 by their exponentials, to 1e-15 relative; arguments within +-700.

    exp(x) = 2^k exp(r), |r| <= ln(2)/2 (Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6),
    because a call of the library's exp per number would cost as much as the covariance. `powers` is `bits` as floats.
    """
    for row in range(D_FACTOR, D_FACTOR + 3):
        for m in range(LANES):
            x = min(max(w[row, m], -700.0), 700.0)
            k = (x * 1.4426950408889634 + ROUNDING) - ROUNDING
            r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
            p = 1.0 / 39916800.0 + r * (1.0 / 479001600.0)
            p = 1.0 / 40320.0 + r * (1.0 / 362880.0 + r * (1.0 / 3628800.0 + r * p))
            p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0 + r * p))
            w[row, m] = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * p))))
            w[row - D_FACTOR + D_POWER, m] = k
    for row in range(3):
        for m in range(LANES):
            bits[row, m] = (np.int64(w[D_POWER + row, m]) + 1023) << 52
        for m in range(LANES):
            w[D_FACTOR + row, m] *= powers[row, m]


@inlined
def drive_lanes(w: F, noise: F) -> None:
    """What moves the cells over dt: mean current, noise of the drive, charge per SOC. A lane that stays has dt = 0."""
    gap_s, gap_rate, counter_var = noise[N_GAP], noise[N_GAP_RATE], noise[N_COUNTER] ** 2
    walk_formed, walk_raw, fraction2 = noise[N_WALK], noise[N_WALK_RAW], noise[N_FRACTION] ** 2
    floor2_formed, floor2_raw = noise[N_FLOOR2], noise[N_FLOOR_RAW]
    for m in range(LANES):
        dt, charge, ampere_hours = w[D_DT, m], w[D_CHARGE, m], w[D_CAPACITY, m]
        per_s = 1.0 / max(dt, 1e-9)
        step = w[D_AMPERE, m] - w[CURRENT, m]
        trapezoid = 0.5 * (w[D_AMPERE, m] + w[CURRENT, m])
        # The mean current over what nobody saw has a standard deviation of its own.
        gap_a = gap_rate * ampere_hours * max(dt - gap_s, 0.0) * per_s
        # A step at an unknown moment of the interval: its charge is uniform over step * dt.
        shape2 = step * step * (1.0 / 12.0) + gap_a * gap_a
        # Not a plausible counter difference (reset, swapped channel): more than 10 C, or more than the cell holds.
        counted = abs(charge) <= min(4680.0 * ampere_hours, 10.0 * ampere_hours * dt + 1.0)
        mean = charge * per_s if counted else trapezoid
        moved_var = counter_var if dt > 0.0 else 0.0
        w[D_MOVED_VAR, m] = moved_var if counted else moved_var + shape2 * dt * dt
        shape2 += (mean - trapezoid) * (mean - trapezoid)
        # In a first charge, lithium that the SEI will take still holds the positive electrode down.
        raw = w[PHASE, m] < FORMED
        charged_raw = raw and mean > 0.0
        w[D_FLOOR2, m] = floor2_raw if raw else floor2_formed
        w[D_WALK, m] = walk_raw if charged_raw else walk_formed
        w[D_PER_C, m] = (w[D_ETA, m] if charged_raw else 1.0) / (3600.0 * ampere_hours)
        w[D_MEAN, m] = mean
        # Overpotentials carry the model's error as coloured noise: a floor (OCV table, temperature) and a fraction of
        # the drive (resistances that depend on SOC, diffusion that is no RC pair), each with its pair's time constant.
        w[D_DRIVE2, m] = fraction2 * mean * mean + shape2
        warm = min(max(w[D_WARM, m], -WARM_MOST), WARM_MOST)  # exp(warm) to 3e-5 at the bound, to 1e-13 for a kelvin
        p = 0.5 + warm * (1.0 / 6.0 + warm * (1.0 / 24.0 + warm * (1.0 / 120.0)))
        factor = w[D_FACTOR, m] * (1.0 + warm * (1.0 + warm * p))
        w[D_R1, m] *= factor
        w[D_R2, m] *= factor


@inlined
def predict_lanes(w: F, noise: F) -> None:
    """Moves all lanes. A lane whose dt and 1 - a are zero stays as it is."""
    floor1, r0_walk = noise[N_FLOOR1] ** 2, noise[N_R0_WALK] ** 2
    k_walk, time_walk, ocv_rate = noise[N_K_WALK], noise[N_WALK_TIME], noise[N_OCV_RATE]
    for m in range(LANES):
        dt, mean, per_c = w[D_DT, m], w[D_MEAN, m], w[D_PER_C, m]
        r1, r2, a1, a2 = w[D_R1, m], w[D_R2, m], w[D_A1, m], w[D_A2, m]
        p04, p14, p24, p44 = w[P04, m], w[P14, m], w[P24, m], w[P44, m]
        r0_2 = w[D_R0, m] * w[D_R0, m]
        g = per_c * mean * dt
        moved = g * w[K, m]
        throughput = abs(moved)
        spread = per_c * w[K, m]
        q0 = w[D_MOVED_VAR, m] * spread * spread + w[D_WALK, m] * w[D_WALK, m] * throughput + time_walk * dt
        q1 = (floor1 + r1 * r1 * w[D_DRIVE2, m]) * (1.0 - a1 * a1)
        q2 = (w[D_FLOOR2, m] * w[D_FLOOR2, m] + r2 * r2 * w[D_DRIVE2, m]) * (1.0 - a2 * a2)
        w[SOC, m] = min(max(w[SOC, m] + moved, -SOC_MARGIN), 1.0 + SOC_MARGIN)
        w[U1, m] = min(max(a1 * w[U1, m] + r1 * (1.0 - a1) * mean, -U_MAX_V), U_MAX_V)
        w[U2, m] = min(max(a2 * w[U2, m] + r2 * (1.0 - a2) * mean, -U_MAX_V), U_MAX_V)
        p00 = w[P00, m] + g * (2.0 * p04 + g * p44) + q0
        # Scaling a row and a column by the same number keeps the matrix positive definite.
        shrink = math.sqrt(min(1.0, SOC_SD_MAX * SOC_SD_MAX / max(p00, 1e-30)))
        w[P00, m] = shrink * shrink * p00
        w[P01, m] = shrink * a1 * (w[P01, m] + g * p14)
        w[P02, m] = shrink * a2 * (w[P02, m] + g * p24)
        w[P03, m] = shrink * (w[P03, m] + g * w[P34, m])
        w[P04, m] = shrink * (p04 + g * p44)
        w[P11, m] = a1 * a1 * w[P11, m] + q1
        w[P12, m] *= a1 * a2
        w[P13, m] *= a1
        w[P14, m] = a1 * p14
        w[P22, m] = a2 * a2 * w[P22, m] + q2
        w[P23, m] *= a2
        w[P24, m] = a2 * p24
        w[P33, m] += r0_2 * (r0_walk * throughput + R0_WALK_TIME * dt)
        w[P44, m] = p44 + k_walk * dt
        # exp(-x) to 0.013, because a fourth exponential would cost more than the difference means.
        x = throughput * ocv_rate
        stay = 1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0)))))
        b4 = w[B4, m]
        w[B0, m] = shrink * stay * (w[B0, m] + g * b4)
        w[B1, m] *= stay * a1
        w[B2, m] *= stay * a2
        w[B3, m] *= stay
        w[B4, m] = stay * b4


@inlined
def compare_lanes(w: F, noise: F, flat: F, points: int) -> None:
    """What the good samples say against the predictions. A cell that was never charged has no voltage to compare with.

    The same interpolation as `ocv_at`, without its branches, in the level of the table that suits the SOC's variance.
    `flat` is the table (levels, points, columns) as one row: one address for each cell instead of three strides.
    """
    cells, bottom_v = float(points - 1), flat[OCV_VALUE]
    last, row, per_cell = np.uintp(points - 2), np.uintp(points), 1.0 / (points - 1)
    upper_v, gate2 = noise[N_UPPER], noise[N_GATE] ** 2
    ocv_var, ocv_soc2 = noise[N_OCV_V] ** 2, noise[N_OCV_SOC] ** 2
    per_level, most = (LEVELS - 1) / math.sqrt(SOC_SD_MAX), SOC_SD_MAX * SOC_SD_MAX
    for m in range(LANES):
        soc = w[SOC, m]
        p00 = w[P00, m]
        known = p00 if (p00 > 0.0) & (p00 < most) else (most if p00 >= most else 0.0)  # an index, also of what is not
        level = np.uintp(math.sqrt(math.sqrt(known)) * per_level + 0.5)
        inside = soc if (soc >= 0.0) & (soc <= 1.0) else (1.0 if soc > 1.0 else 0.0)
        position = inside * cells
        k = min(np.uintp(position), last)
        t = position - k
        at = (level * row + k) * np.uintp(OCV_COLUMNS)
        v0, v1 = flat[at + np.uintp(OCV_VALUE)], flat[at + np.uintp(OCV_COLUMNS + OCV_VALUE)]
        m0, m1 = flat[at + np.uintp(OCV_SLOPE)] * per_cell, flat[at + np.uintp(OCV_COLUMNS + OCV_SLOPE)] * per_cell
        rest0, rest1 = flat[at + np.uintp(OCV_REST)], flat[at + np.uintp(OCV_COLUMNS + OCV_REST)]
        c2 = 3.0 * (v1 - v0) - 2.0 * m0 - m1
        c3 = m0 + m1 - 2.0 * (v1 - v0)
        slope = cells * (m0 + t * (2.0 * c2 + 3.0 * t * c3))
        open_v = v0 + t * (m0 + t * (c2 + t * c3)) + slope * (soc - inside)

        voltage, h3 = w[D_VOLTAGE, m], w[D_FACTOR, m] * w[D_AMPERE, m]
        good, phase = w[D_GOOD, m], w[PHASE, m]
        over = w[U1, m] + w[U2, m] + h3 * w[R0, m]
        ended = FORMED if (phase == TOPPED) & (w[D_AMPERE, m] <= 0.0) else phase
        phase = TOPPED if (phase == RAW) & (voltage > upper_v) & (good > 0.0) else (ended if good > 0.0 else phase)
        compared = 0.0 if (phase == RAW) & (voltage - over < bottom_v) else good
        w[PHASE, m] = phase
        w[CURRENT, m] = w[D_AMPERE, m]
        throughput = abs(w[D_MEAN, m] * w[D_PER_C, m] * w[D_DT, m])
        repeat = min(max(REST_SOC / max(throughput, 1e-12), 1.0), REST_MOST)
        w[D_SLOPE, m] = slope
        w[D_H3, m] = h3
        w[D_INNOVATION, m] = voltage - open_v - over if compared > 0.0 else 0.0
        w[D_R, m] = w[D_SD, m] * w[D_SD, m] + repeat * (rest0 + t * (rest1 - rest0))
        w[D_HB, m] = math.sqrt(ocv_var + ocv_soc2 * slope * slope)
        w[D_GATE2, m] = gate2 if w[MISSES, m] < MISSES_MAX else math.inf
        w[D_COMPARED, m] = compared


@inlined
def measure_lanes(w: F) -> None:
    """One scalar update of the lanes that are to be taken; a lane whose innovation the gate refuses is not."""
    for m in range(LANES):
        h0, h3, hb, innovation = w[D_SLOPE, m], w[D_H3, m], w[D_HB, m], w[D_INNOVATION, m]
        c0 = h0 * w[P00, m] + w[P01, m] + w[P02, m] + h3 * w[P03, m] + hb * w[B0, m]
        c1 = h0 * w[P01, m] + w[P11, m] + w[P12, m] + h3 * w[P13, m] + hb * w[B1, m]
        c2 = h0 * w[P02, m] + w[P12, m] + w[P22, m] + h3 * w[P23, m] + hb * w[B2, m]
        c3 = h0 * w[P03, m] + w[P13, m] + w[P23, m] + h3 * w[P33, m] + hb * w[B3, m]
        c4 = h0 * w[P04, m] + w[P14, m] + w[P24, m] + h3 * w[P34, m] + hb * w[B4, m]
        cb = h0 * w[B0, m] + w[B1, m] + w[B2, m] + h3 * w[B3, m] + hb
        known = h0 * c0 + c1 + c2 + h3 * c3 + hb * cb
        variance = known + max(w[D_R, m], R_MIN_RELATIVE * known)
        taken = w[D_COMPARED, m] if innovation * innovation <= w[D_GATE2, m] * variance else 0.0
        w[D_VARIANCE, m] = variance
        w[D_TAKEN, m] = taken
        w[MISSES, m] = 0.0 if taken > 0.0 else w[MISSES, m]
        gain = taken / variance
        k0, k1, k2, k3, k4 = c0 * gain, c1 * gain, c2 * gain, c3 * gain, c4 * gain
        w[SOC, m] = min(max(w[SOC, m] + k0 * innovation, -SOC_MARGIN), 1.0 + SOC_MARGIN)
        w[U1, m] = min(max(w[U1, m] + k1 * innovation, -U_MAX_V), U_MAX_V)
        w[U2, m] = min(max(w[U2, m] + k2 * innovation, -U_MAX_V), U_MAX_V)
        w[R0, m] = min(max(w[R0, m] + k3 * innovation, 0.1 * w[D_R0, m]), 10.0 * w[D_R0, m])
        w[K, m] = min(max(w[K, m] + k4 * innovation, 0.5), 2.0)
        w[P00, m] -= k0 * c0
        w[P01, m] -= k0 * c1
        w[P02, m] -= k0 * c2
        w[P03, m] -= k0 * c3
        w[P04, m] -= k0 * c4
        w[P11, m] -= k1 * c1
        w[P12, m] -= k1 * c2
        w[P13, m] -= k1 * c3
        w[P14, m] -= k1 * c4
        w[P22, m] -= k2 * c2
        w[P23, m] -= k2 * c3
        w[P24, m] -= k2 * c4
        w[P33, m] -= k3 * c3
        w[P34, m] -= k3 * c4
        w[P44, m] -= k4 * c4
        # Considered, not estimated: the gain of b is zero, its variance stays 1 (Schmidt 1966).
        w[B0, m] -= k0 * cb
        w[B1, m] -= k1 * cb
        w[B2, m] -= k2 * cb
        w[B3, m] -= k3 * cb
        w[B4, m] -= k4 * cb


@inlined
def results_lanes(w: F) -> None:
    """Estimates and their standard deviations of all lanes."""
    for m in range(LANES):
        w[D_OUT + OUT_SOC, m] = w[SOC, m]
        w[D_OUT + OUT_SOC_SD, m] = math.sqrt(max(w[P00, m], 0.0))
        w[D_OUT + OUT_U1, m] = w[U1, m]
        w[D_OUT + OUT_U2, m] = w[U2, m]
        w[D_OUT + OUT_R0, m] = w[R0, m]
        w[D_OUT + OUT_R0_SD, m] = math.sqrt(max(w[P33, m], 0.0))
        capacity = w[D_CAPACITY, m] / w[K, m]
        w[D_OUT + OUT_CAPACITY, m] = capacity
        w[D_OUT + OUT_CAPACITY_SD, m] = capacity / w[K, m] * math.sqrt(max(w[P44, m], 0.0))
        compared = w[D_COMPARED, m] > 0.0
        w[D_OUT + OUT_INNOVATION, m] = w[D_INNOVATION, m] if compared else math.nan
        w[D_OUT + OUT_INNOVATION_SD, m] = math.sqrt(max(w[D_VARIANCE, m], 0.0)) if compared else math.nan


@inlined
def check_lanes(w: F) -> None:
    """Marks the lanes whose means and variances are finite and whose variances are positive."""
    for m in range(LANES):
        means = abs(w[SOC, m]) + abs(w[U1, m]) + abs(w[U2, m]) + abs(w[R0, m]) + abs(w[K, m])
        variances = w[P00, m] + w[P11, m] + w[P22, m] + w[P33, m] + w[P44, m]
        least = min(w[P00, m], w[P11, m], w[P22, m], w[P33, m], w[P44, m])
        w[D_SOUND, m] = 1.0 if (means < 1e6) & (variances < 1e6) & (least > 0.0) else 0.0
