"""One single-particle cell with a growing SEI, over one step of time. No programme, no limits of one.

Two spheres with constant diffusivity as sums of eigenmodes, exact for a current that is constant or linear in time;
Butler-Volmer; a film that grows behind a tunnelling barrier and a diffusion barrier in series, integrated exactly for a
potential that moves linearly. Sources: docs/plants/cell.md. Arrays: kernels/spm_layout.py.
"""

from __future__ import annotations

import math

from kernels._jit import helper, kernel
from kernels.spm_layout import (
    FARADAY,
    GAS_CONSTANT,
    KELVIN,
    MODES,
    REMAINDER,
    T_REF_K,
    TEMPERATURE_STEP_K,
    F,
    P,
    S,
)
from kernels.spm_particle import modes_at_kernel, shift_kernel, weigh_kernel

_LOWEST_FILL = 1e-9  # of a surface, in the exchange current: beyond it the overpotential would be infinite
_LARGEST = 600.0  # of exponents


@helper
def _exp(x: float) -> float:
    """exp that neither overflows nor raises."""
    return math.exp(min(max(x, -_LARGEST), _LARGEST))


@helper
def look_up_kernel(tables: F, row: int, s: float) -> float:
    """Linear in the table and beyond its ends."""
    last = tables.shape[1] - 1
    i = 0
    if s > 0.0:
        i = int(min(s * last, last - 1.0))
    return float(tables[row, i] + (s * last - i) * (tables[row, i + 1] - tables[row, i]))


@kernel
def potential_kernel(tables: F, row: int, s: float, warm_k: float) -> float:
    """Open-circuit potential of one electrode in V, `warm_k` above the reference temperature."""
    last = tables.shape[1] - 1
    i = 0
    if s > 0.0:
        i = int(min(s * last, last - 1.0))
    share = s * last - i
    v = tables[row, i] + share * (tables[row, i + 1] - tables[row, i])
    entropy = tables[row + 2, i] + share * (tables[row + 2, i + 1] - tables[row + 2, i])
    return float(v + warm_k * entropy)


@helper
def _fall(tables: F, s: float) -> float:
    """How much the negative potential falls per stoichiometry."""
    last = tables.shape[1] - 1
    i = 0
    if s > 0.0:
        i = int(min(s * last, last - 1.0))
    return float((tables[0, i] - tables[0, i + 1]) * last)


@helper
def _overpotential(amp: float, j0: float, fill: float, thermal_v: float) -> float:
    """Butler-Volmer with alpha = 1/2, inverted; the sign is that of the current."""
    fill = min(max(fill, _LOWEST_FILL), 1.0 - _LOWEST_FILL)
    return 2.0 * thermal_v * math.asinh(amp / (2.0 * j0 * math.sqrt(fill * (1.0 - fill))))


@helper
def refresh_kernel(c: int, p: F, s: F) -> None:
    """What follows from the temperature of cell c, when that has moved (Arrhenius)."""
    if abs(s[S.TEMPERATURE_C, c] - s[S.AT_C, c]) <= TEMPERATURE_STEP_K:
        return
    kelvin = s[S.TEMPERATURE_C, c] + KELVIN
    warm = (1.0 / T_REF_K - 1.0 / kelvin) / GAS_CONSTANT
    s[S.AT_C, c] = s[S.TEMPERATURE_C, c]
    s[S.RATE_NEG, c] = p[P.DIFFUSION_NEG_1_S, c] * _exp(p[P.EA_DIFFUSION_NEG, c] * warm)
    s[S.RATE_POS, c] = p[P.DIFFUSION_POS_1_S, c] * _exp(p[P.EA_DIFFUSION_POS, c] * warm)
    s[S.J0_NEG, c] = p[P.J0_NEG_A, c] * _exp(p[P.EA_J0_NEG, c] * warm)
    s[S.J0_POS, c] = p[P.J0_POS_A, c] * _exp(p[P.EA_J0_POS, c] * warm)
    s[S.SEI_RATE, c] = p[P.SEI_RATE_A, c] * _exp(p[P.EA_SEI, c] * warm)
    s[S.THERMAL_V, c] = GAS_CONSTANT * kelvin / FARADAY
    s[S.AT_H, c], s[S.TRIED_H, c] = -1.0, -1.0


@helper
def prepare_kernel(c: int, h: float, p: F, s: F) -> tuple[float, float]:
    """Surface stoichiometries (negative, positive) of cell c after h seconds without current; keeps what h asks for."""
    if h != s[S.AT_H, c]:
        s[S.X_FIRST, c], s[S.X_LAST, c] = weigh_kernel(h, s[S.RATE_NEG, c], p[P.Q_NEG_C, c], S.X_GAIN.value, c, s)
        s[S.Y_FIRST, c], s[S.Y_LAST, c] = weigh_kernel(h, s[S.RATE_POS, c], p[P.Q_POS_C, c], S.Y_GAIN.value, c, s)
        s[S.AT_H, c] = h
    x, y = s[S.X, c], s[S.Y, c]
    for k in range(MODES):
        x += s[S.X_MODES + k, c] * (1.0 - s[S.X_GAIN + k, c])
        y += s[S.Y_MODES + k, c] * (1.0 - s[S.Y_GAIN + k, c])
    return x, y


@helper
def leak_kernel(c: int, p: F, s: F) -> float:
    """Current inside the cell that its terminals do not see, in A, at the last voltage."""
    return float(p[P.LEAK_A, c] + p[P.SHORT_S, c] * s[S.VOLTAGE_V, c])


@helper
def _film_ohm(c: int, p: F, sei_c: float) -> float:
    return float(p[P.SEI_OHM_PER_M, c] * (p[P.SEI_START_M, c] + p[P.SEI_M_PER_C, c] * sei_c))


@helper
def _negative_v(c: int, x: float, amp: float, s: F, tables: F) -> float:
    """Potential of the negative particle against its solution, without the film, in V."""
    warm_k = s[S.TEMPERATURE_C, c] + KELVIN - T_REF_K
    return potential_kernel(tables, 0, x, warm_k) - _overpotential(amp, s[S.J0_NEG, c], x, s[S.THERMAL_V, c])


@helper
def _drive(c: int, inner_v: float, amp: float, film_ohm: float, p: F, s: F) -> float:
    """Logarithm of the factor by which the potential speeds the film's growth."""
    outer = (1.0 - p[P.SEI_BEHIND_FILM, c]) * amp * film_ohm
    return float(-p[P.SEI_ALPHA, c] * (inner_v - outer - p[P.SEI_U_V, c]) / s[S.THERMAL_V, c])


@helper
def _terminal_v(c: int, x: float, y: float, amp: float, inside: float, sei_c: float, p: F, s: F, tables: F) -> float:
    """Voltage from surface stoichiometries; `inside` is the current through the interfaces."""
    warm_k = s[S.TEMPERATURE_C, c] + KELVIN - T_REF_K
    positive = potential_kernel(tables, 1, y, warm_k) + _overpotential(inside, s[S.J0_POS, c], y, s[S.THERMAL_V, c])
    negative = _negative_v(c, x, inside, s, tables) - inside * _film_ohm(c, p, sei_c)
    return float(positive - negative + amp * p[P.CONTACT_OHM, c])


@helper
def _surfaces_now(c: int, inside: float, p: F, s: F) -> tuple[float, float]:
    """Surface stoichiometries of cell c at this moment, under the current `inside`."""
    x = s[S.X, c] + 2.0 * REMAINDER * (inside - s[S.SEI_A, c]) / (3.0 * s[S.RATE_NEG, c] * p[P.Q_NEG_C, c])
    y = s[S.Y, c] - 2.0 * REMAINDER * inside / (3.0 * s[S.RATE_POS, c] * p[P.Q_POS_C, c])
    for k in range(MODES):
        x += s[S.X_MODES + k, c]
        y += s[S.Y_MODES + k, c]
    return x, y


@helper
def voltage_now_kernel(c: int, amp: float, p: F, s: F, tables: F) -> float:
    """Terminal voltage of cell c at this moment if `amp` flowed."""
    refresh_kernel(c, p, s)
    inside = amp - leak_kernel(c, p, s)
    x, y = _surfaces_now(c, inside, p, s)
    return _terminal_v(c, x, y, amp, inside, s[S.SEI_C, c], p, s, tables)


@helper
def _grow(c: int, h: float, x_free: float, last: float, first_drive: float, p: F, s: F, tables: F) -> float:
    """Mean growth current of cell c over h seconds: how long the film would take for it, against h (Newton in ln).

    x_free: surface stoichiometry at the end if nothing grew; last: current inside at the end. The time to bind q is
    the integral of exp(decay L) / (rate exp(drive)) + block L over q, with the drive linear in time.
    """
    rate = s[S.SEI_RATE, c]
    if rate <= 0.0 or h <= 0.0:
        return 0.0 if rate <= 0.0 else float(s[S.SEI_A, c])
    per_amp = s[S.X_FIRST, c] + s[S.X_LAST, c]
    start_m = p[P.SEI_START_M, c] + p[P.SEI_M_PER_C, c] * s[S.SEI_C, c]
    bend = p[P.SEI_DECAY_1_M, c] * p[P.SEI_M_PER_C, c] * h
    slow = _exp(p[P.SEI_DECAY_1_M, c] * start_m) / rate
    block = p[P.SEI_BLOCK_1_A_M, c]
    low, high = math.log(1e-30), math.log(1e4)
    u = min(max(math.log(max(s[S.SEI_A, c], 1e-30)), low), high)
    for _ in range(40):
        amp = math.exp(u)
        x = x_free - per_amp * amp
        end_drive = _drive(c, _negative_v(c, x, last, s, tables), last, _film_ohm(c, p, s[S.SEI_C, c] + amp * h), p, s)
        rise = end_drive - first_drive
        flat = abs(rise) < 1e-5
        mean = 1.0 + 0.5 * rise if flat else math.expm1(min(rise, _LARGEST)) / rise
        lean = 0.5 if flat else (_exp(rise) - mean) / (rise * mean)
        z = bend * amp
        barrier = math.expm1(min(z, _LARGEST)) / z if z > 1e-8 else 1.0
        growth = slow * _exp(-first_drive) * amp / mean * barrier
        diffusion = block * amp * (start_m + 0.5 * p[P.SEI_M_PER_C, c] * amp * h)
        took = growth + diffusion  # as a share of h
        away = math.log(took) if took > 0.0 else -_LARGEST
        s[S.TRIED_DRIVE_END, c] = end_drive
        if abs(away) < 1e-8 or high - low < 1e-12:
            break
        if away > 0.0:
            high = u
        else:
            low = u
        # d(end drive) / d(ln amp): the growth takes lithium off the surface, which lifts its potential.
        softer = p[P.SEI_ALPHA, c] / s[S.THERMAL_V, c] * _fall(tables, x) * per_amp * amp
        slope = growth * ((z / -math.expm1(-z) if z > 1e-8 else 1.0) + lean * softer)
        slope += block * amp * (start_m + p[P.SEI_M_PER_C, c] * amp * h)
        new = u - away * took / slope if slope > 0.0 else 0.5 * (low + high)
        u = new if low < new < high else 0.5 * (low + high)
    return math.exp(u)


@helper
def attempt_kernel(c: int, amp0: float, amp1: float, h: float, p: F, s: F, tables: F) -> float:
    """Terminal voltage of cell c after h seconds with a current that goes from amp0 to amp1 linearly.

    Nothing moves; what the trial found is kept in the TRIED rows, and commit_kernel makes it so. The trial that stands
    is not made twice.
    """
    if h == s[S.TRIED_H, c] and amp0 == s[S.TRIED_FIRST_A, c] and amp1 == s[S.TRIED_LAST_A, c]:
        return float(s[S.TRIED_V, c])
    leak = leak_kernel(c, p, s)
    first, last = amp0 - leak, amp1 - leak
    x_now, _ = _surfaces_now(c, first, p, s)
    film = _film_ohm(c, p, s[S.SEI_C, c])
    s[S.TRIED_DRIVE, c] = _drive(c, _negative_v(c, x_now, first, s, tables), first, film, p, s)
    s[S.TRIED_DRIVE_END, c] = s[S.TRIED_DRIVE, c]
    x, y = prepare_kernel(c, h, p, s)
    x += s[S.X_FIRST, c] * first + s[S.X_LAST, c] * last
    y -= s[S.Y_FIRST, c] * first + s[S.Y_LAST, c] * last
    grown = _grow(c, h, x, last, s[S.TRIED_DRIVE, c], p, s, tables)
    s[S.TRIED_SEI_A, c] = grown
    x -= (s[S.X_FIRST, c] + s[S.X_LAST, c]) * grown
    volt = _terminal_v(c, x, y, amp1, last, s[S.SEI_C, c] + grown * h, p, s, tables)
    s[S.TRIED_FIRST_A, c], s[S.TRIED_LAST_A, c], s[S.TRIED_H, c], s[S.TRIED_V, c] = amp0, amp1, h, volt
    return volt


@helper
def commit_kernel(c: int, amp0: float, amp1: float, h: float, volt: float, p: F, s: F) -> None:
    """Moves cell c by the trial that was just made with the same arguments."""
    leak, grown = leak_kernel(c, p, s), s[S.TRIED_SEI_A, c]
    first, last = amp0 - leak, amp1 - leak
    mean = 0.5 * (first + last)
    shift_kernel(
        c, S.X_MODES.value, S.X_GAIN.value, first - grown, last - grown, h, s[S.RATE_NEG, c], p[P.Q_NEG_C, c], s
    )
    shift_kernel(c, S.Y_MODES.value, S.Y_GAIN.value, -first, -last, h, s[S.RATE_POS, c], p[P.Q_POS_C, c], s)
    s[S.X, c] += (mean - grown) * h / p[P.Q_NEG_C, c]
    s[S.Y, c] -= mean * h / p[P.Q_POS_C, c]
    s[S.SEI_C, c] += grown * h
    s[S.CHARGE_C, c] += 0.5 * (amp0 + amp1) * h
    s[S.LEAKED_C, c] += leak * h
    s[S.SEI_A, c], s[S.CURRENT_A, c], s[S.VOLTAGE_V, c], s[S.TRIED_H, c] = grown, amp1, volt, -1.0


@helper
def glance_kernel(c: int, amp0: float, amp1: float, h: float, at: float, p: F, s: F, tables: F) -> tuple[float, float]:
    """Terminal voltage and SEI charge of cell c, `at` seconds into the step of h seconds that was just tried."""
    leak, grown = leak_kernel(c, p, s), s[S.TRIED_SEI_A, c]
    amp = amp0 + (amp1 - amp0) * at / h
    first, last = amp0 - leak, amp - leak
    mean = 0.5 * (first + last)
    x = s[S.X, c] + (mean - grown) * at / p[P.Q_NEG_C, c]
    y = s[S.Y, c] - mean * at / p[P.Q_POS_C, c]
    x += modes_at_kernel(c, S.X_MODES.value, first - grown, last - grown, at, s[S.RATE_NEG, c], p[P.Q_NEG_C, c], s)
    y += modes_at_kernel(c, S.Y_MODES.value, -first, -last, at, s[S.RATE_POS, c], p[P.Q_POS_C, c], s)
    sei_c = s[S.SEI_C, c] + grown * at
    return _terminal_v(c, x, y, amp, last, sei_c, p, s, tables), sei_c
