"""One single-particle cell through a programme of steps, with steps of time as long as its film and its hold allow.

Works on a copy of one cell's column, (rows, 1). Constant current needs no short steps for diffusion, which is exact;
the film's potential and a held current are taken as linear within a step, and the steps are as long as that is true.
"""

from __future__ import annotations

import math

from kernels._jit import helper
from kernels.spm_cell import (
    attempt_kernel,
    commit_kernel,
    glance_kernel,
    refresh_kernel,
    voltage_now_kernel,
)
from kernels.spm_layout import (
    CC_CHARGE,
    CC_DISCHARGE,
    CURRENT_A,
    CV_CHARGE,
    DURATION_S,
    END_CURRENT_A,
    MODE,
    PULSE,
    REST,
    VOLTAGE_V,
    End,
    F,
    P,
    S,
)
from kernels.spm_limits import held_current_kernel, search_kernel

MAX_STEPS = 20_000
_FIRST_S, _SHORTEST_S, _LONGEST_S = 1.0, 1e-3, 3600.0
_SEI_C = 0.05  # error of the film's charge that a step may make
_FAR_V = 50.0  # no cell stands there
_SHORT_C = 20.0  # twice the error of a soft short's charge in a step: its current follows the last voltage
_HELD = 0.004  # bend of a held current in a step, as a share of its bound


@helper
def run_cell_kernel(
    programme: F, time_s: F, p: F, s: F, tables: F, volt: F, current: F, sei: F, ends: F
) -> tuple[bool, int]:
    """Cell 0 of p and s through the programme; whether all stayed finite and in bounds, and the steps of time used.

    volt, current, sei: (times,), filled at the times asked for; ends: (steps, len(End)).
    """
    now, out, used = 0.0, 0, 0
    amp = 0.0
    refresh_kernel(0, p, s)
    s[S.VOLTAGE_V, 0] = voltage_now_kernel(0, 0.0, p, s, tables)
    for k in range(programme.shape[0]):
        step = programme[k]
        charge = s[S.CHARGE_C, 0]
        amp, over = _begin(step, amp, p, s, tables)
        limit = step[VOLTAGE_V] if int(step[MODE]) in (CC_CHARGE, CC_DISCHARGE) else 0.0
        sign = 1.0 if amp > 0.0 else -1.0
        spent, h, slope, bend = 0.0, _FIRST_S, 0.0, 0.0
        while not over:
            used += 1
            if used > MAX_STEPS:
                return False, used
            left = step[DURATION_S] - spent
            if left <= 0.0:
                break
            h = min(h, left)
            amp0 = amp
            if int(step[MODE]) == CV_CHARGE:
                amp1, h, reached = _hold(step, amp0, amp0 + bend * h, h, p, s, tables)
                reached = reached or h >= left
            else:
                amp1, reached = amp0, h >= left
            v = attempt_kernel(0, amp0, amp1, h, p, s, tables)
            if not abs(v) < _FAR_V and h > _SHORTEST_S:
                h = max(0.2 * h, _SHORTEST_S)  # so long a step would leave the electrodes' range
                continue
            if limit > 0.0 and sign * (v - limit) > 0.0:
                h = search_kernel(0, amp0, limit, h, sign * (v - limit), p, s, tables)
                reached = True
                if h <= 0.0:
                    break
                v = attempt_kernel(0, amp0, amp1, h, p, s, tables)
            if not abs(v) < _FAR_V:
                return False, used
            rise = s[S.TRIED_DRIVE_END, 0] - s[S.TRIED_DRIVE, 0]
            error = s[S.TRIED_SEI_A, 0] * h * abs(rise - slope * h) / (6.0 * _SEI_C)
            if int(step[MODE]) == CV_CHARGE:
                error = max(error, abs(amp1 - amp0 - bend * h) / (_HELD * step[CURRENT_A]))
            error = max(error, p[P.SHORT_S, 0] * abs(v - s[S.VOLTAGE_V, 0]) * h / _SHORT_C)
            if error > 1.0 and h > _SHORTEST_S:
                h = max(h * max(0.2, 0.8 / math.sqrt(error)), _SHORTEST_S)
                continue
            while out < time_s.shape[0] and time_s[out] <= now + h:
                at = max(time_s[out] - now, 0.0)
                volt[out], sei[out] = glance_kernel(0, amp0, amp1, h, at, p, s, tables)
                current[out] = amp0 + (amp1 - amp0) * at / h
                out += 1
            commit_kernel(0, amp0, amp1, h, v, p, s)
            slope, bend = rise / h, (amp1 - amp0) / h
            now, spent, amp, over = now + h, spent + h, amp1, reached
            h = min(h * min(3.0, 0.9 / math.sqrt(max(error, 1e-4))), _LONGEST_S)
        ends[k, End.TIME_S], ends[k, End.VOLTAGE_V], ends[k, End.CURRENT_A] = now, s[S.VOLTAGE_V, 0], s[S.CURRENT_A, 0]
        ends[k, End.CHARGE_C], ends[k, End.SEI_C] = s[S.CHARGE_C, 0] - charge, s[S.SEI_C, 0]
    return True, used


@helper
def _begin(step: F, amp: float, p: F, s: F, tables: F) -> tuple[float, bool]:
    """Current at the start of a step, and whether the step is over before it began."""
    mode = int(step[MODE])
    if mode == REST:
        amp = 0.0
    elif mode == CV_CHARGE:
        amp = held_current_kernel(0, -1.0, amp, step[VOLTAGE_V], step[CURRENT_A], 0.0, p, s, tables)
        return amp, amp <= step[END_CURRENT_A]
    else:
        amp = step[CURRENT_A] if mode == CC_CHARGE else -step[CURRENT_A]
    v = voltage_now_kernel(0, amp, p, s, tables)
    past = mode not in (REST, PULSE) and step[VOLTAGE_V] > 0.0
    sign = 1.0 if amp > 0.0 else -1.0
    return amp, past and sign * (v - step[VOLTAGE_V]) >= 0.0


@helper
def _hold(step: F, amp: float, guess: float, h: float, p: F, s: F, tables: F) -> tuple[float, float, bool]:
    """Current at the end of the next h seconds of a hold, the seconds it lasts of them, and whether it ends there."""
    bound, end, volt = step[CURRENT_A], step[END_CURRENT_A], step[VOLTAGE_V]
    last = held_current_kernel(0, amp, guess, volt, bound, h, p, s, tables)
    if last > end:
        return last, h, False
    low, high = 0.0, h
    for _ in range(40):
        if last > end * (1.0 - 1e-6) - 1e-9 or high - low <= 1e-6:
            break
        h = 0.5 * (low + high)
        tried = held_current_kernel(0, amp, last, volt, bound, h, p, s, tables)
        if tried > end:
            low = h
        else:
            high, last = h, tried
    return last, high, True
