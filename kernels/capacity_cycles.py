"""From half-cycles to cycles: which voltage limit discharges have, and whether an efficiency may be given. SI units.

A cycle is a charge and the discharge after it. Its coulombic efficiency is discharge / charge, and means something only
when the cell came back to where it began: the charge began empty, the discharge reached its voltage limit and went on
to its end, and no charge was lost in between. Otherwise a code says which of these failed.

Both directions are counted by one instrument: its gain error cancels in the ratio, its offset o does not,
    sd(eff) = eff sd(o) (T_charge/Q_charge + T_discharge/Q_discharge),
the first-order propagation of one common error (JCGM 100:2008, section 5.2).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import capacity as c
from kernels._jit import contracted_helper, contracted_kernel
from kernels.capacity_blocks import TIME_LIMIT_S, VOLTAGE_LIMIT_V
from kernels.capacity_scale import CURRENT_LIMIT_A

F = NDArray[np.float64]
Ints = NDArray[np.int64]

# A cycle's columns: charge's, then discharge's row among the half-cycles (-1: none).
NUMBER, CHARGE, DISCHARGE, EFFICIENCY, ENERGY_EFFICIENCY, REFUSED = range(6)
CYCLE_COLUMNS = 6
# Why there is no efficiency. The codes are stored in data and never change meaning.
GIVEN, NO_CHARGE, NO_DISCHARGE, NOT_ENDED, LIMIT_UNKNOWN, LIMIT_NOT_REACHED, GAP, NOT_FROM_EMPTY, MORE_OUT_THAN_IN = (
    range(9)
)
# Where the limit comes from.
LIMIT_NONE, LIMIT_GIVEN, LIMIT_REPEATED, LIMIT_STEEP = range(4)

STEEP_TWICE, STEEP_ALONE = 1.5, 2.5
ROUND_V, ROUND_WITHIN_V = 0.05, 0.002
EMPTY_PART = 1.0 / 3.0
MORE_OUT = 1.02
WENT_ON = 0.01


@contracted_helper
def _steepness(time_s: F, current_a: F, voltage_v: F, half: F) -> float:
    """Mean slope dV/dQ of the last 5 % of the charge before the lowest voltage, over that from 50 % to 95 %.

    0.6 to 2.0 anywhere in the upper 80 % of a slow discharge of the LG M50, 3.5 to 33 at the cut-off of the measured
    cells. Zero where it cannot be told.
    """
    first, low = int(half[c.BEGIN_ROW]), int(half[c.LOW_ROW])
    end, near, middle, total = voltage_v[low], math.nan, math.nan, 0.0
    for turn in range(2):  # the whole charge first, then where 5 % and half of it lie, from the end back
        q, after = 0.0, low
        for k in range(low - 1, first - 1, -1):
            if not (abs(time_s[k]) <= TIME_LIMIT_S and abs(current_a[k]) <= CURRENT_LIMIT_A):
                continue
            dt = time_s[after] - time_s[k]
            if not abs(voltage_v[k]) <= VOLTAGE_LIMIT_V or dt < 0.0:
                continue
            q += abs(current_a[after]) * dt
            after = k
            if turn == 1 and math.isnan(near) and q >= 0.05 * total:
                near = voltage_v[k]
            if turn == 1 and q >= 0.5 * total:
                middle = voltage_v[k]
                break
        total = max(total, q)
    slope = (middle - near) / 0.45
    if not (math.isfinite(slope) and slope > 0.0):
        return 0.0
    ratio: float = (near - end) / 0.05 / slope
    return ratio


@contracted_helper
def _end_row(time_s: F, current_a: F, voltage_v: F, half: F, tolerance: float) -> int:
    """Row at which a discharge ended: that of its lowest voltage, unless it went on above it at much the same current.

    A machine that reaches its limit stops, holds or steps down. Where more than 1 % of the charge follows otherwise,
    the lowest voltage was a misreading, and the last row stands.
    """
    low, last = int(half[c.LOW_ROW]), int(half[c.END_ROW])
    least, above, went_on, before = 0.75 * abs(current_a[low]), voltage_v[low] + tolerance, 0.0, low
    for k in range(low + 1, last + 1):
        if not (abs(time_s[k]) <= TIME_LIMIT_S and abs(current_a[k]) <= CURRENT_LIMIT_A):
            continue
        if not abs(voltage_v[k]) <= VOLTAGE_LIMIT_V or time_s[k] < time_s[before]:
            continue
        if current_a[k] < -least and voltage_v[k] > above:
            went_on -= current_a[k] * (time_s[k] - time_s[before])
        before = k
    return last if went_on > WENT_ON * half[c.CHARGE_C] else low


@contracted_helper
def _find_limit(time_s: F, current_a: F, voltage_v: F, halves: F, tolerance: float) -> tuple[float, int]:
    """Lowest voltage at which the record's discharges were ended, and where that comes from.

    Believed when two discharges ended within `tolerance` of it and the lower one fell steeply there, or when one alone
    fell very steeply and ended on a multiple of 50 mV within 2 mV, as limits are set and chance rarely has it.
    """
    lowest, at = math.inf, -1
    for j in range(halves.shape[0]):
        if halves[j, c.DIRECTION] < 0.0 and halves[j, c.ENDED] != 0.0 and halves[j, c.LOW_V] < lowest:
            lowest, at = halves[j, c.LOW_V], j
    if at < 0:
        return math.nan, LIMIT_NONE
    same = 0
    for j in range(halves.shape[0]):
        if halves[j, c.DIRECTION] < 0.0 and halves[j, c.ENDED] != 0.0 and halves[j, c.LOW_V] <= lowest + tolerance:
            same += 1
    steep = _steepness(time_s, current_a, voltage_v, halves[at])
    if same >= 2 and steep >= STEEP_TWICE:
        return lowest, LIMIT_REPEATED
    step = ROUND_V * math.floor(lowest / ROUND_V + 0.5)
    if steep >= STEEP_ALONE and abs(lowest - step) <= ROUND_WITHIN_V:
        return step, LIMIT_STEEP
    return math.nan, LIMIT_NONE


@contracted_helper
def _judge(halves: F, charge: int, discharge: int, limit: float, tolerance: float) -> int:  # noqa: PLR0911  (one a refusal)
    """Why the cycle has no efficiency, or GIVEN."""
    if charge < 0:
        return NO_CHARGE
    if discharge < 0:
        return NO_DISCHARGE
    into, out = halves[charge], halves[discharge]
    if out[c.ENDED] == 0.0 and not out[c.END_V] <= limit + tolerance:
        return NOT_ENDED
    if math.isnan(limit):
        return LIMIT_UNKNOWN
    if not out[c.LOW_V] <= limit + tolerance:
        return LIMIT_NOT_REACHED
    if into[c.GAPS] + out[c.GAPS] > 0.0:
        return GAP
    if into[c.BEGIN_V] > limit + EMPTY_PART * (into[c.HIGH_V] - limit):
        return NOT_FROM_EMPTY
    if not out[c.CHARGE_C] <= MORE_OUT * into[c.CHARGE_C]:
        return MORE_OUT_THAN_IN
    return GIVEN


@contracted_kernel
def capacity_cycles(
    time_s: F, current_a: F, voltage_v: F, settings: F, halves: F, half_offsets: Ints, records: F, cycles: F,
    cycle_offsets: Ints,
) -> int:  # fmt: skip
    """Cycles of n records from what `capacity_halves` found in them; returns their number, at most that of halves.

    Writes `cycles` (at least as many rows as `halves`, CYCLE_COLUMNS), `cycle_offsets` (n + 1) and two columns of
    `records`; a discharge's LOW columns become where it ended. Cycles count from 1; a discharge before any charge is
    cycle 0.
    """
    at = 0
    cycle_offsets[0] = 0
    for r in range(half_offsets.shape[0] - 1):
        start, stop = half_offsets[r], half_offsets[r + 1]
        for j in range(start, stop):
            if halves[j, c.DIRECTION] < 0.0:
                row = _end_row(time_s, current_a, voltage_v, halves[j], settings[c.TOLERANCE_V])
                halves[j, c.LOW_ROW], halves[j, c.LOW_V] = row, voltage_v[row]
        limit, source = settings[c.LIMIT_V], LIMIT_GIVEN
        if math.isnan(limit):
            limit, source = _find_limit(time_s, current_a, voltage_v, halves[start:stop], settings[c.TOLERANCE_V])
        records[r, c.USED_LIMIT_V], records[r, c.LIMIT_FROM] = limit, source
        number, j = 1, start
        while j < stop:
            charge, discharge = -1, -1
            if halves[j, c.DIRECTION] > 0.0:
                charge = j
                if j + 1 < stop:
                    discharge = j + 1
            else:
                discharge = j
                number = 0
            cycle = cycles[at]
            cycle[NUMBER], cycle[CHARGE], cycle[DISCHARGE] = number, charge, discharge
            cycle[EFFICIENCY], cycle[ENERGY_EFFICIENCY] = math.nan, math.nan
            refused = _judge(halves, charge, discharge, limit, settings[c.TOLERANCE_V])
            if refused == GIVEN:
                cycle[EFFICIENCY] = halves[discharge, c.CHARGE_C] / halves[charge, c.CHARGE_C]
                if halves[charge, c.ENERGY_J] > 0.0:
                    cycle[ENERGY_EFFICIENCY] = halves[discharge, c.ENERGY_J] / halves[charge, c.ENERGY_J]
            cycle[REFUSED] = refused
            j = max(charge, discharge) + 1
            number += 1
            at += 1
        cycle_offsets[r + 1] = at
    return at


def warm_up() -> None:
    """Compiles with the signatures of twin/capacity.py."""
    time_s = np.arange(4.0)
    settings = np.array([math.nan, math.nan, 300.0, 0.0, math.nan, 0.01])
    halves, offsets = np.zeros((2, c.HALF_COLUMNS)), np.array([0, 1])
    halves[0, c.DIRECTION], halves[0, c.ENDED] = -1.0, 1.0
    capacity_cycles(
        time_s, time_s, time_s, settings, halves, offsets, np.zeros((1, c.RECORD_COLUMNS)),
        np.empty((2, CYCLE_COLUMNS)), np.empty(2, dtype=np.int64),
    )  # fmt: skip
