"""The compiled inner loop of the formation rack: step logic, instrument and heat, one second at a time.

The cells are those of kernels/spm. Each channel runs its own programme. Within a second a step may end (limit, end
current, duration) and the next begin: the moment is searched for, so that a voltage limit is never overshot and charge
is exact. A held voltage is met at the end of every second. Tray air and cell temperature use their exact exponential
solutions. Plain floats and arrays, no protocol. Bits are reproducible: no fused multiply-add, and noise is an argument.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.spm import S as Cell
from kernels.spm import spm_held_current, spm_step, spm_time_to_limit

F = NDArray[np.float64]

TICK_S = 1.0
# Columns of a programme row, in the order of the rack's step registers.
MODE, CYCLE, CURRENT_A, VOLTAGE_V, END_CURRENT_A, DURATION_S = range(6)
CC_CHARGE, CV_CHARGE, REST, CC_DISCHARGE, PULSE, DONE = 1, 2, 3, 4, 5, 6
# Bits of a channel's fault word.
OVER_VOLTAGE, UNDER_VOLTAGE, OVER_TEMPERATURE, NO_CONTACT, REVERSED, TRIPPED = 1.0, 2.0, 4.0, 8.0, 16.0, 32.0
OVER_VOLTAGE_V, UNDER_VOLTAGE_V, OVER_TEMPERATURE_C = 4.30, 2.00, 60.0

# 21700 in a tray with forced air: 68 g at about 1000 J/(kg K), 0.09 W/K to the air and a little to each neighbour
# through the tray (ours).
_HEAT_CAPACITY_J_K, _COOLING_W_K, _NEIGHBOUR_W_K = 68.0, 0.09, 0.01
# Air above the tray: what the cells give off and what the channels' linear regulators lose (0.7 V), in 10 W/K of air
# for 64 channels; gives 4 to 8 C across the rack between C/5 and C/3 (domain figure of rack gradients).
_REGULATOR_V, _TRAY_K_PER_W, _TRAY_TAU_S = 0.7, 6.2, 1500.0
_DAY_S, _DAY_SWING_C = 86_400.0, 0.8


class P(IntEnum):
    """Rows of `p`: what a channel is, beside its cell. Here, because a kernel's disk cache sees its own family only."""

    CURRENT_GAIN = 0  # error of the instrument
    PLACE = 1  # share of the tray's heat that reaches this channel
    POLARITY = 2  # 1; -1: the cell is in the wrong way round; 0: there is none
    BLOCKED = 3  # fault bits for which the channel takes no current


class S(IntEnum):
    """Rows of `s`, one column per channel: where it stands, beside its cell."""

    PHASE = 0  # Phase of the channel
    STEP = 1  # index in the programme, from 0
    STEP_TIME_S = 2
    TRUE_CHARGE_AH = 3  # of the first cycle, without the instrument's errors
    TRUE_DISCHARGE_AH = 4
    SHOWN_VOLTAGE_V = 5
    SHOWN_CURRENT_A = 6
    SHOWN_STATE = 7
    SHOWN_STEP = 8
    SHOWN_STEP_TIME_S = 9
    SHOWN_CYCLE = 10
    CHARGE_AH = 11
    DISCHARGE_AH = 12
    CHARGE_WH = 13
    DISCHARGE_WH = 14
    FAULT_BITS = 15


class Tray(IntEnum):
    """Places in `tray`: air above ambient in K."""

    WARM = 0  # by the load
    HOT = 1  # by a fault
    HOT_GOAL = 2  # where that leads


class Grid(IntEnum):
    """Places in `grid`: between the mains and the channels, and the meter there."""

    EFFICIENCY = 0  # of the supply, mains to the channels' bus
    REGENERATION = 1  # of its way back; 0: what channels discharge is burnt in them
    STANDBY_W = 2  # controls
    FANS_W = 3  # while the rack runs
    POWER_W = 4  # at the end of the last second; negative: given back
    DRAWN_J = 5
    RETURNED_J = 6


class Phase(IntEnum):
    """Where a channel stands."""

    IDLE = 0
    IN_PROGRAMME = 1
    DONE = 2
    FAULT = 3


@kernel
def _demand(c: int, step: F, left: float, s: F, cell_p: F, cell_s: F, tables: F) -> tuple[float, float, bool]:
    """Current and seconds (at most `left`) of channel c's step, and whether the step is over after them."""
    mode = int(step[MODE])
    h = min(left, step[DURATION_S] - s[S.STEP_TIME_S, c])
    over = h >= step[DURATION_S] - s[S.STEP_TIME_S, c]
    if h <= 0.0:
        return 0.0, 0.0, True
    if mode == REST:
        return 0.0, h, over
    if mode == CV_CHARGE:
        amp = spm_held_current(c, step[VOLTAGE_V], step[CURRENT_A], h, cell_p, cell_s, tables)
        return amp, h, over or amp < step[END_CURRENT_A]
    amp = step[CURRENT_A] if mode == CC_CHARGE else -step[CURRENT_A]
    if step[VOLTAGE_V] > 0.0:
        reached = spm_time_to_limit(c, amp, step[VOLTAGE_V], h, cell_p, cell_s, tables)
        if reached <= h:
            return amp, reached, True
    return amp, h, over


@kernel
def _count(c: int, amp: float, h: float, step: F, running: bool, first_cycle: float, p: F, s: F) -> float:
    """Counters and step registers of channel c after h seconds; measured charge in Ah, without sign."""
    ah = amp * (1.0 + p[P.CURRENT_GAIN, c]) * h / 3600.0
    if ah > 0.0:
        s[S.CHARGE_AH, c] += ah
    else:
        s[S.DISCHARGE_AH, c] -= ah
    if running:
        s[S.STEP_TIME_S, c] += h
        s[S.SHOWN_STEP, c], s[S.SHOWN_CYCLE, c] = s[S.STEP, c] + 1.0, step[CYCLE]
        s[S.SHOWN_STEP_TIME_S, c] = s[S.STEP_TIME_S, c]
        if step[CYCLE] == first_cycle:
            s[S.TRUE_CHARGE_AH, c] += max(amp, 0.0) * h / 3600.0
            s[S.TRUE_DISCHARGE_AH, c] += max(-amp, 0.0) * h / 3600.0
    return float(abs(ah))


@kernel
def _tick_channel(
    c: int, active: bool, programme: F, first_cycle: float, noise: F, p: F, s: F, cell_p: F, cell_s: F, tables: F
) -> tuple[float, float]:
    """Channel c for one second: true terminal voltage at its end, and heat in J. noise: volt, ampere."""
    if p[P.BLOCKED, c] > 0.0 and active and int(s[S.PHASE, c]) == Phase.IN_PROGRAMME:
        s[S.FAULT_BITS, c], s[S.PHASE, c] = p[P.BLOCKED, c], float(Phase.FAULT.value)
    left, volt, heat, measured_ah = TICK_S, 0.0, 0.0, 0.0
    shown_state = DONE if int(s[S.PHASE, c]) == Phase.DONE else 0
    if p[P.POLARITY, c] == 0.0:
        left, cell_s[Cell.CURRENT_A, c] = 0.0, 0.0
    # A programme of 32 steps that all end at once would still come to its end within the second.
    for _ in range(programme.shape[0] + 1):
        if left <= 0.0:
            break
        amp, h, over = 0.0, left, False
        running = active and int(s[S.PHASE, c]) == Phase.IN_PROGRAMME
        step = programme[int(s[S.STEP, c])]
        if running:
            amp, h, over = _demand(c, step, left, s, cell_p, cell_s, tables)
        if h > 0.0:
            volt, joule = spm_step(c, amp, h, cell_p, cell_s, tables)
            heat += joule
            measured_ah += _count(c, amp, h, step, running, first_cycle, p, s)
            left -= h
            if running:
                shown_state = int(step[MODE])
            elif int(s[S.PHASE, c]) == Phase.DONE:
                shown_state = DONE
        if over:
            s[S.STEP_TIME_S, c] = 0.0
            s[S.STEP, c] += 1.0
            if int(s[S.STEP, c]) >= programme.shape[0]:
                s[S.STEP, c] = programme.shape[0] - 1.0
                s[S.PHASE, c] = float(Phase.DONE.value)
    _show(c, p[P.POLARITY, c] * volt, shown_state, measured_ah, noise, cell_s[Cell.CURRENT_A, c], p, s)
    return volt, heat


@kernel
def _show(c: int, volt: float, shown_state: int, measured_ah: float, noise: F, amp: float, p: F, s: F) -> None:
    """What the instrument of channel c reads at the end of the second, and its counters of charge and energy.

    The relay is open when no current is asked for: current and counters then are exactly still.
    """
    s[S.SHOWN_STATE, c] = shown_state
    s[S.SHOWN_VOLTAGE_V, c] = volt + noise[0]
    s[S.SHOWN_CURRENT_A, c] = 0.0
    if amp != 0.0:
        s[S.SHOWN_CURRENT_A, c] = amp * (1.0 + p[P.CURRENT_GAIN, c]) + noise[1]
        drift_ah = noise[1] * TICK_S / 3600.0
        if amp > 0.0:
            s[S.CHARGE_AH, c] += drift_ah
            s[S.CHARGE_WH, c] += s[S.SHOWN_VOLTAGE_V, c] * (measured_ah + drift_ah)
        else:
            s[S.DISCHARGE_AH, c] -= drift_ah
            s[S.DISCHARGE_WH, c] += s[S.SHOWN_VOLTAGE_V, c] * (measured_ah - drift_ah)


@kernel
def _guard(c: int, volt: float, amp: float, temperature_c: float, s: F) -> None:
    """The rack's hard limits: current off for good on this channel, with a fault bit. Not the recipe's business."""
    bits = 0.0
    if amp > 0.0 and volt > OVER_VOLTAGE_V:
        bits = OVER_VOLTAGE
    if amp < 0.0 and volt < UNDER_VOLTAGE_V:
        bits = UNDER_VOLTAGE
    if temperature_c > OVER_TEMPERATURE_C:
        bits += OVER_TEMPERATURE
    if bits > 0.0 and int(s[S.PHASE, c]) == Phase.IN_PROGRAMME:
        s[S.FAULT_BITS, c] = bits
        s[S.PHASE, c] = float(Phase.FAULT.value)


@kernel
def ambient_kernel(tick: int, mean_c: float) -> float:
    """Air in front of the rack in C; it swings a little with the day."""
    return mean_c + _DAY_SWING_C * math.sin(2.0 * math.pi * (tick % int(_DAY_S)) / _DAY_S)


@kernel
def _exchange(width: int, temperature_c: F, joule: F) -> None:
    """Adds to `joule` what neighbours in the tray give each other in a second; a row has `width` places."""
    channels = len(joule)
    for c in range(channels):
        for other in (c + 1, c + width):
            if other < channels and (other == c + width or other % width != 0):
                passed = _NEIGHBOUR_W_K * TICK_S * (temperature_c[other] - temperature_c[c])
                joule[c] += passed
                joule[other] -= passed


@kernel
def _meter(drawn_w: float, given_w: float, active: bool, grid: F) -> None:
    """A second of what the channels draw from their bus and give to it, as the meter at the mains sees it."""
    net_w = drawn_w - given_w if grid[Grid.REGENERATION] > 0.0 else drawn_w
    watt = net_w / grid[Grid.EFFICIENCY] if net_w > 0.0 else net_w * grid[Grid.REGENERATION]
    watt += grid[Grid.STANDBY_W]
    if active:
        watt += grid[Grid.FANS_W]
    grid[Grid.POWER_W] = watt
    if watt > 0.0:
        grid[Grid.DRAWN_J] += watt * TICK_S
    else:
        grid[Grid.RETURNED_J] -= watt * TICK_S


@kernel
def run_kernel(
    tick: int, ticks: int, active: bool, programme: F, noise: F, mean_c: float, tray: F, grid: F,
    p: F, s: F, cell_p: F, cell_s: F, tables: F,
) -> int:  # fmt: skip
    """The rack for `ticks` seconds after second `tick`. Returns the seconds done.

    Fewer than asked when active and the last channel has just left the programme. programme (steps, 6), at least one
    row; noise (ticks, channels, 2) in V and A; tray (len(Tray),); grid (len(Grid),); p, s: rows P and S; cell_p,
    cell_s, tables as kernels/spm_layout has them. tray, grid, s and cell_s are changed in place.
    """
    channels = s.shape[1]
    width = max(1, round(math.sqrt(channels)))
    tray_keeps = math.exp(-TICK_S / _TRAY_TAU_S)
    cell_keeps = math.exp(-TICK_S * _COOLING_W_K / _HEAT_CAPACITY_J_K)
    first_cycle = programme[0, CYCLE]
    shared = np.empty(channels)
    for k in range(ticks):
        ambient = ambient_kernel(tick + k, mean_c) + tray[Tray.HOT]
        watt, drawn_w, given_w, in_programme = 0.0, 0.0, 0.0, 0
        shared[:] = 0.0
        _exchange(width, cell_s[Cell.TEMPERATURE_C], shared)
        for c in range(channels):
            volt, heat = _tick_channel(c, active, programme, first_cycle, noise[k, c], p, s, cell_p, cell_s, tables)
            amp = cell_s[Cell.CURRENT_A, c]
            final = ambient + p[P.PLACE, c] * tray[Tray.WARM] + (heat + shared[c]) / TICK_S / _COOLING_W_K
            warm = final + (cell_s[Cell.TEMPERATURE_C, c] - final) * cell_keeps
            cell_s[Cell.TEMPERATURE_C, c] = warm
            _guard(c, volt, amp, warm, s)
            watt += heat / TICK_S + _REGULATOR_V * abs(amp)
            if amp > 0.0:
                drawn_w += amp * (volt + _REGULATOR_V)
            else:
                given_w -= amp * max(volt - _REGULATOR_V, 0.0)
            in_programme += int(s[S.PHASE, c]) == Phase.IN_PROGRAMME
        level = _TRAY_K_PER_W * watt / channels
        tray[Tray.WARM] = level + (tray[Tray.WARM] - level) * tray_keeps
        tray[Tray.HOT] = tray[Tray.HOT_GOAL] + (tray[Tray.HOT] - tray[Tray.HOT_GOAL]) * tray_keeps
        _meter(drawn_w, given_w, active, grid)
        if active and in_programme == 0:
            return k + 1
    return ticks
