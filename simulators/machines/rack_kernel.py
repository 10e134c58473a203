"""The compiled inner loop of the formation rack: cells, step logic and instrument, one second at a time.

Each channel runs its own programme. Within a second a step may end (limit, end current, duration) and the next begin:
the moment is found by bisection, so that a voltage limit is never overshot and charge is exact. RC pairs, tray heat and
cell temperature use their exact exponential solutions; CV solves for the current that ends the second at the held
voltage. Plain floats and arrays, no protocol. Bits are reproducible: no fused multiply-add, and noise is an argument.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

F = NDArray[np.float64]

TICK_S = 1.0
# Columns of a programme row, in the order of the rack's step registers.
MODE, CYCLE, CURRENT_A, VOLTAGE_V, END_CURRENT_A, DURATION_S = range(6)
CC_CHARGE, CV_CHARGE, REST, CC_DISCHARGE, PULSE, DONE = 1, 2, 3, 4, 5, 6
OVER_VOLTAGE, UNDER_VOLTAGE, OVER_TEMPERATURE = 1.0, 2.0, 4.0
OVER_VOLTAGE_V, UNDER_VOLTAGE_V, OVER_TEMPERATURE_C = 4.30, 2.00, 60.0

_GAS_CONSTANT, _KELVIN, _T_REF_K = 8.314462618, 273.15, 298.15
# Resistance falls 3 to 7 % over a rack gradient of 4 to 8 C; charge transfer carries most of it.
_EA0, _EA1, _EA2 = 5.0e3, 18.0e3, 9.0e3  # J/mol
# 10 s resistance of LG M50 falls from 57 to 25 mOhm between 0 and 10 % SOC; most of it is charge transfer.
_LOW_SOC = 0.028
_RISE0, _RISE1, _RISE2 = 0.35, 5.0, 2.0
# 21700 in a tray with forced air: 68 g at about 1000 J/(kg K), 0.09 W/K.
_HEAT_CAPACITY_J_K, _COOLING_W_K = 68.0, 0.09
# Air above the tray per mean ampere and channel; gives 4 to 8 C across the rack between C/5 and C/3.
_TRAY_K_PER_A, _TRAY_TAU_S = 4.6, 1500.0
_DAY_S, _DAY_SWING_C = 86_400.0, 0.8


class P(IntEnum):
    """Rows of `parameters`, one column per channel. Here, because the disk cache of a kernel sees its own file only."""

    Q_POS_AH = 0
    Q_NEG_AH = 1
    R0_OHM = 2  # at 25 C and half charge; so are the next two
    R1_OHM = 3
    R2_OHM = 4
    TAU1_S = 5
    TAU2_S = 6
    LEAK_A = 7
    LOSS_CHARGE_AH = 8
    CURRENT_GAIN = 9  # error of the instrument
    PLACE = 10  # share of the tray's heat that reaches this channel
    X_EMPTY = 11
    X_FULL = 12
    CAPACITY_AH = 13


class S(IntEnum):
    """Rows of `state`, one column per channel."""

    Y = 0  # stoichiometry of the positive electrode
    X = 1  # of the negative electrode
    V1 = 2
    V2 = 3
    LOSS_LEFT_AH = 4  # lithium that side reactions will still take
    TEMPERATURE_C = 5
    PHASE = 6  # Phase of the channel
    STEP = 7  # index in the programme, from 0
    STEP_TIME_S = 8
    CURRENT_A = 9  # true, at the end of the tick
    TRUE_CHARGE_AH = 10  # of the first cycle, without the instrument's errors
    TRUE_DISCHARGE_AH = 11
    SIDE_AH = 12  # taken by side reactions so far
    SHOWN_VOLTAGE_V = 13
    SHOWN_CURRENT_A = 14
    SHOWN_STATE = 15
    SHOWN_STEP = 16
    SHOWN_STEP_TIME_S = 17
    SHOWN_CYCLE = 18
    CHARGE_AH = 19
    DISCHARGE_AH = 20
    CHARGE_WH = 21
    DISCHARGE_WH = 22
    FAULT_BITS = 23


class Phase(IntEnum):
    """Where a channel stands."""

    IDLE = 0
    IN_PROGRAMME = 1
    DONE = 2
    FAULT = 3


@kernel
def _interpolate(table: F, s: float) -> float:
    """Linear in the table, and linear beyond its ends."""
    last = table.shape[0] - 1
    at = s * last
    i = min(max(int(at), 0), last - 1)
    return float(table[i] + (at - i) * (table[i + 1] - table[i]))


@kernel
def _slope(table: F, s: float) -> float:
    last = table.shape[0] - 1
    i = min(max(int(s * last), 0), last - 1)
    return float((table[i + 1] - table[i]) * last)


@kernel
def resistances_kernel(c: int, p: F, s: F) -> tuple[float, float, float]:
    """R0, R1, R2 in ohm of channel c at its present charge and temperature."""
    soc = (s[S.X, c] - p[P.X_EMPTY, c]) / (p[P.X_FULL, c] - p[P.X_EMPTY, c])
    low = math.exp(-max(soc, 0.0) / _LOW_SOC)
    warm = (1.0 / (s[S.TEMPERATURE_C, c] + _KELVIN) - 1.0 / _T_REF_K) / _GAS_CONSTANT
    return (
        p[P.R0_OHM, c] * (1.0 + _RISE0 * low) * math.exp(_EA0 * warm),
        p[P.R1_OHM, c] * (1.0 + _RISE1 * low) * math.exp(_EA1 * warm),
        p[P.R2_OHM, c] * (1.0 + _RISE2 * low) * math.exp(_EA2 * warm),
    )


@kernel
def _after(
    c: int, amp: float, h: float, r: tuple[float, float, float], p: F, s: F, pos: F, neg: F
) -> tuple[float, float, float, float, float, float]:
    """Terminal voltage, y, x, v1, v2 and side charge (Ah) of channel c after h seconds at constant current."""
    ah = (amp - p[P.LEAK_A, c]) * h / 3600.0
    side = 0.0
    if amp > 0.0:
        side = s[S.LOSS_LEFT_AH, c] * (1.0 - math.exp(-amp * h / (3600.0 * p[P.LOSS_CHARGE_AH, c])))
    y = s[S.Y, c] - ah / p[P.Q_POS_AH, c]
    x = s[S.X, c] + (ah - side) / p[P.Q_NEG_AH, c]
    a1 = math.exp(-h / p[P.TAU1_S, c])
    a2 = math.exp(-h / p[P.TAU2_S, c])
    v1 = s[S.V1, c] * a1 + r[1] * (1.0 - a1) * amp
    v2 = s[S.V2, c] * a2 + r[2] * (1.0 - a2) * amp
    v = _interpolate(pos, y) - _interpolate(neg, x) + v1 + v2 + amp * r[0]
    return v, y, x, v1, v2, side


@kernel
def _held_current(
    c: int, volt: float, bound: float, h: float, r: tuple[float, float, float], p: F, s: F, pos: F, neg: F
) -> float:
    """Charge current between 0 and `bound` that brings the terminal to `volt` after h seconds (Newton)."""
    amp = min(max(s[S.CURRENT_A, c], 0.0), bound)
    for _ in range(12):
        v, y, x, _, _, _ = _after(c, amp, h, r, p, s, pos, neg)
        rate = h / 3600.0
        slope = -_slope(pos, y) / p[P.Q_POS_AH, c] * rate - _slope(neg, x) / p[P.Q_NEG_AH, c] * rate
        slope += r[0] + r[1] * (1.0 - math.exp(-h / p[P.TAU1_S, c])) + r[2] * (1.0 - math.exp(-h / p[P.TAU2_S, c]))
        new = min(max(amp + (volt - v) / slope, 0.0), bound)
        if abs(new - amp) < 1e-9:
            return float(new)
        amp = new
    return float(amp)


@kernel
def _time_to_limit(
    c: int, amp: float, limit: float, h: float, r: tuple[float, float, float], p: F, s: F, pos: F, neg: F
) -> float:
    """Seconds in 0..h until the terminal reaches `limit`; more than h when it does not."""
    sign = 1.0 if amp > 0.0 else -1.0
    if sign * (_after(c, amp, h, r, p, s, pos, neg)[0] - limit) < 0.0:
        return h + 1.0
    if sign * (_after(c, amp, 0.0, r, p, s, pos, neg)[0] - limit) >= 0.0:
        return 0.0
    low, high = 0.0, h
    for _ in range(24):
        mid = 0.5 * (low + high)
        if sign * (_after(c, amp, mid, r, p, s, pos, neg)[0] - limit) < 0.0:
            low = mid
        else:
            high = mid
    return high


@kernel
def _demand(
    c: int, step: F, left: float, r: tuple[float, float, float], p: F, s: F, pos: F, neg: F
) -> tuple[float, float, bool]:
    """Current and seconds (at most `left`) of channel c's step, and whether the step is over after them."""
    mode = int(step[MODE])
    h = min(left, step[DURATION_S] - s[S.STEP_TIME_S, c])
    over = h >= step[DURATION_S] - s[S.STEP_TIME_S, c]
    if h <= 0.0:
        return 0.0, 0.0, True
    if mode == REST:
        return 0.0, h, over
    if mode == CV_CHARGE:
        amp = _held_current(c, step[VOLTAGE_V], step[CURRENT_A], h, r, p, s, pos, neg)
        return amp, h, over or amp < step[END_CURRENT_A]
    amp = step[CURRENT_A] if mode == CC_CHARGE else -step[CURRENT_A]
    if step[VOLTAGE_V] > 0.0:
        reached = _time_to_limit(c, amp, step[VOLTAGE_V], h, r, p, s, pos, neg)
        if reached <= h:
            return amp, reached, True
    return amp, h, over


@kernel
def _move(
    c: int, amp: float, h: float, r: tuple[float, float, float], p: F, s: F, pos: F, neg: F
) -> tuple[float, float]:
    """Channel c for h seconds at constant current: terminal voltage, and heat in J."""
    volt, y, x, v1, v2, side = _after(c, amp, h, r, p, s, pos, neg)
    heat = h * (amp * amp * r[0] + 0.5 * (s[S.V1, c] ** 2 + v1 * v1) / r[1] + 0.5 * (s[S.V2, c] ** 2 + v2 * v2) / r[2])
    s[S.Y, c], s[S.X, c], s[S.V1, c], s[S.V2, c] = y, x, v1, v2
    s[S.LOSS_LEFT_AH, c] -= side
    s[S.SIDE_AH, c] += side
    s[S.CURRENT_A, c] = amp
    return volt, heat


@kernel
def _tick_channel(
    c: int, active: bool, programme: F, first_cycle: float, noise: F, p: F, s: F, pos: F, neg: F
) -> tuple[float, float]:
    """Channel c for one second: true terminal voltage at its end, and heat in J. noise: volt, ampere."""
    left, volt, heat, measured_ah = TICK_S, 0.0, 0.0, 0.0
    shown_state = DONE if int(s[S.PHASE, c]) == Phase.DONE else 0
    # A programme of 32 steps that all end at once would still come to its end within the second.
    for _ in range(programme.shape[0] + 1):
        if left <= 0.0:
            break
        r = resistances_kernel(c, p, s)
        amp, h, over = 0.0, left, False
        running = active and int(s[S.PHASE, c]) == Phase.IN_PROGRAMME
        if running:
            step = programme[int(s[S.STEP, c])]
            amp, h, over = _demand(c, step, left, r, p, s, pos, neg)
        if h > 0.0:
            volt, joule = _move(c, amp, h, r, p, s, pos, neg)
            heat += joule
            ah = amp * (1.0 + p[P.CURRENT_GAIN, c]) * h / 3600.0
            measured_ah += abs(ah)
            left -= h
            if ah > 0.0:
                s[S.CHARGE_AH, c] += ah
            else:
                s[S.DISCHARGE_AH, c] -= ah
            if running:
                s[S.STEP_TIME_S, c] += h
                shown_state = int(step[MODE])
                s[S.SHOWN_STEP, c], s[S.SHOWN_CYCLE, c], s[S.SHOWN_STEP_TIME_S, c] = (
                    s[S.STEP, c] + 1.0,
                    step[CYCLE],
                    s[S.STEP_TIME_S, c],
                )
                if step[CYCLE] == first_cycle:
                    s[S.TRUE_CHARGE_AH, c] += max(amp, 0.0) * h / 3600.0
                    s[S.TRUE_DISCHARGE_AH, c] += max(-amp, 0.0) * h / 3600.0
            elif int(s[S.PHASE, c]) == Phase.DONE:
                shown_state = DONE
        if over:
            s[S.STEP_TIME_S, c] = 0.0
            s[S.STEP, c] += 1.0
            if int(s[S.STEP, c]) >= programme.shape[0]:
                s[S.STEP, c] = programme.shape[0] - 1.0
                s[S.PHASE, c] = float(Phase.DONE.value)
    _show(c, volt, shown_state, measured_ah, noise, p, s)
    return volt, heat


@kernel
def _show(c: int, volt: float, shown_state: int, measured_ah: float, noise: F, p: F, s: F) -> None:
    """What the instrument of channel c reads at the end of the second, and its counters of charge and energy.

    The relay is open when no current is asked for: current and counters then are exactly still.
    """
    s[S.SHOWN_STATE, c] = shown_state
    s[S.SHOWN_VOLTAGE_V, c] = volt + noise[0]
    s[S.SHOWN_CURRENT_A, c] = 0.0
    amp = s[S.CURRENT_A, c]
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
def _guard(c: int, volt: float, s: F) -> None:
    """The rack's hard limits: current off for good on this channel, with a fault bit. Not the recipe's business."""
    bits = 0.0
    if s[S.CURRENT_A, c] > 0.0 and volt > OVER_VOLTAGE_V:
        bits = OVER_VOLTAGE
    if s[S.CURRENT_A, c] < 0.0 and volt < UNDER_VOLTAGE_V:
        bits = UNDER_VOLTAGE
    if s[S.TEMPERATURE_C, c] > OVER_TEMPERATURE_C:
        bits += OVER_TEMPERATURE
    if bits > 0.0 and int(s[S.PHASE, c]) == Phase.IN_PROGRAMME:
        s[S.FAULT_BITS, c] = bits
        s[S.PHASE, c] = float(Phase.FAULT.value)


@kernel
def ambient_kernel(tick: int, mean_c: float) -> float:
    """Air in front of the rack in C; it swings a little with the day."""
    return mean_c + _DAY_SWING_C * math.sin(2.0 * math.pi * (tick % int(_DAY_S)) / _DAY_S)


@kernel
def run_kernel(
    tick: int, ticks: int, active: bool, programme: F, noise: F, mean_c: float, tray: F, p: F, s: F, pos: F, neg: F
) -> int:
    """The rack for `ticks` seconds after second `tick`. Returns the seconds done.

    Fewer than asked when active and the last channel has just left the programme. programme (steps, 6), at least one
    row; noise (ticks, channels, 2) in V and A; tray (1,) is the air above ambient in K; p, s: rows P and S; pos, neg:
    potentials on a uniform grid. tray and s are changed in place.
    """
    channels = s.shape[1]
    tray_keeps = math.exp(-TICK_S / _TRAY_TAU_S)
    cell_keeps = math.exp(-TICK_S * _COOLING_W_K / _HEAT_CAPACITY_J_K)
    first_cycle = programme[0, CYCLE]
    for k in range(ticks):
        ambient = ambient_kernel(tick + k, mean_c)
        load, in_programme = 0.0, 0
        for c in range(channels):
            volt, heat = _tick_channel(c, active, programme, first_cycle, noise[k, c], p, s, pos, neg)
            air = ambient + p[P.PLACE, c] * tray[0]
            final = air + heat / TICK_S / _COOLING_W_K
            s[S.TEMPERATURE_C, c] = final + (s[S.TEMPERATURE_C, c] - final) * cell_keeps
            _guard(c, volt, s)
            load += abs(s[S.CURRENT_A, c])
            in_programme += int(s[S.PHASE, c]) == Phase.IN_PROGRAMME
        level = _TRAY_K_PER_A * load / channels
        tray[0] = level + (tray[0] - level) * tray_keeps
        if active and in_programme == 0:
            return k + 1
    return ticks
