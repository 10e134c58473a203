"""Single-particle cells with a growing SEI: many through a programme, or one for one step of time.

What callers use; the physics is in spm_cell, the rows of the arrays in spm_layout. Two particles with constant
diffusivity, Butler-Volmer, one ohmic resistance, a film behind a tunnelling and a diffusion barrier; temperature is
an input. Sources, equations and what is not modelled: docs/plants/cell.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel
from kernels.spm_cell import (
    attempt_kernel,
    commit_kernel,
    leak_kernel,
    potential_kernel,
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
    KELVIN,
    MODE,
    PULSE,
    REST,
    STATE_ROWS,
    T_REF_K,
    VOLTAGE_V,
    End,
    F,
    P,
    S,
    Table,
)  # fmt: skip
from kernels.spm_limits import held_current_kernel, time_to_limit_kernel
from kernels.spm_programme import MAX_STEPS, run_cell_kernel

Codes = NDArray[np.int64]

__all__ = [
    "STATE_ROWS",
    "End",
    "P",
    "S",
    "Table",
    "spm_after",
    "spm_check",
    "spm_fresh",
    "spm_held_current",
    "spm_run",
    "spm_step",
    "spm_time_to_limit",
    "spm_voltage",
]

# Beyond these nothing is a cell, and sums would lose what makes them exact.
_LARGEST, _SMALLEST = 1e15, 1e-12
_PARAMETERS, _TABLES, _ENDS = len(P), len(Table), len(End)
_INPUTS = int(S.AT_C)


@kernel
def spm_check(c: int, p: F, s: F) -> int:
    """OK, or BAD_INPUT when cell c's parameters or state are not finite or not those of a cell."""
    for row in range(_PARAMETERS):
        if not abs(p[row, c]) < _LARGEST:
            return status.BAD_INPUT
    for row in (P.Q_NEG_C, P.Q_POS_C, P.DIFFUSION_NEG_1_S, P.DIFFUSION_POS_1_S, P.J0_NEG_A, P.J0_POS_A):
        if not p[row, c] > _SMALLEST:
            return status.BAD_INPUT
    for row in range(P.CONTACT_OHM.value, P.EA_SEI.value):
        if p[row, c] < 0.0 and row not in (P.SEI_U_V, P.LEAK_A):
            return status.BAD_INPUT
    for row in range(_INPUTS):
        if not abs(s[row, c]) < _LARGEST:
            return status.BAD_INPUT
    if not -150.0 < s[S.TEMPERATURE_C, c] < 500.0 or not (0.0 < s[S.X, c] < 1.0 and 0.0 < s[S.Y, c] < 1.0):
        return status.BAD_INPUT
    return status.OK


@kernel
def spm_fresh(c: int, x: float, y: float, temperature_c: float, p: F, s: F, tables: F) -> None:
    """Puts cell c at rest, without history, at stoichiometries x (negative) and y (positive)."""
    for row in range(s.shape[0]):
        s[row, c] = 0.0
    s[S.X, c], s[S.Y, c], s[S.TEMPERATURE_C, c], s[S.AT_C, c], s[S.TRIED_H, c] = x, y, temperature_c, -1e9, -1.0
    refresh_kernel(c, p, s)
    warm_k = temperature_c - 25.0
    s[S.VOLTAGE_V, c] = potential_kernel(tables, 1, y, warm_k) - potential_kernel(tables, 0, x, warm_k)


@kernel
def spm_voltage(c: int, amp: float, p: F, s: F, tables: F) -> float:
    """Terminal voltage of cell c at this moment if `amp` flowed. Nothing moves."""
    return voltage_now_kernel(c, amp, p, s, tables)


@kernel
def spm_after(c: int, amp: float, h: float, p: F, s: F, tables: F) -> float:
    """Terminal voltage of cell c after h seconds at constant current. Nothing moves."""
    refresh_kernel(c, p, s)
    return attempt_kernel(c, amp, amp, h, p, s, tables)


@kernel
def spm_time_to_limit(c: int, amp: float, limit: float, h: float, p: F, s: F, tables: F) -> float:
    """Seconds in 0..h until cell c's terminals reach `limit` at constant current; more than h when they do not."""
    refresh_kernel(c, p, s)
    return time_to_limit_kernel(c, amp, limit, h, p, s, tables)


@kernel
def spm_held_current(c: int, volt: float, bound: float, h: float, p: F, s: F, tables: F) -> float:
    """Constant charge current between 0 and `bound` after h seconds of which cell c stands at `volt`. Nothing moves."""
    refresh_kernel(c, p, s)
    return held_current_kernel(c, -1.0, s[S.CURRENT_A, c], volt, bound, h, p, s, tables)


@kernel
def spm_step(c: int, amp: float, h: float, p: F, s: F, tables: F) -> tuple[float, float]:
    """Moves cell c by h seconds at constant current: terminal voltage at the end, and the heat of the step in J.

    Heat is what the terminals give and the particles' mean potentials do not store (Bernardi et al. 1985, mixing
    included), plus I T dU/dT, at the step's end. A voltage that is not finite: the cell has left its physics.
    """
    refresh_kernel(c, p, s)
    inside = amp - leak_kernel(c, p, s)
    volt = attempt_kernel(c, amp, amp, h, p, s, tables)
    commit_kernel(c, amp, amp, h, volt, p, s)
    return volt, h * _heat_w(c, volt, amp, inside, s, tables)


@helper
def _heat_w(c: int, volt: float, amp: float, inside: float, s: F, tables: F) -> float:
    """Heat of cell c in W; dU/dT(T) of full minus empty lattice, tables in V/K."""
    warm_k = s[S.TEMPERATURE_C, c] + KELVIN - T_REF_K
    x, y = s[S.X, c], s[S.Y, c]
    open_v = potential_kernel(tables, 1, y, warm_k) - potential_kernel(tables, 0, x, warm_k)
    entropy = potential_kernel(tables, 1, y, warm_k + 1.0) - potential_kernel(tables, 0, x, warm_k + 1.0)
    entropy -= open_v
    return float(amp * volt - inside * (open_v - (s[S.TEMPERATURE_C, c] + KELVIN) * entropy))


@kernel
def spm_run(programme: F, time_s: F, p: F, s: F, tables: F, volt: F, current: F, sei: F, ends: F, codes: Codes) -> int:
    """Every cell through the programme; returns how many came through. `s` holds their states afterwards.

    programme (steps, 6) as in the rack's registers; time_s (times,) ascending; volt, current, sei (cells, times) are
    filled at those times, sei in C, NaN beyond the programme's end; ends (cells, steps, len(End)); codes (cells,):
    OK, BAD_INPUT, or OUT_OF_SPACE for a cell that would need more steps of time than any real one. A cell that is
    not OK keeps its state, its outputs are NaN. -1 and nothing written: the arrays' shapes do not fit.
    """
    good, cells, times = 0, s.shape[1], time_s.shape[0]
    if (
        s.shape[0] != STATE_ROWS
        or p.shape != (_PARAMETERS, cells)
        or codes.shape[0] != cells
        or programme.shape[1] != 6
    ):
        return -1
    if volt.shape != (cells, times) or current.shape != (cells, times) or sei.shape != (cells, times):
        return -1
    if programme.shape[1] != 6 or ends.shape != (cells, programme.shape[0], _ENDS):
        return -1
    bad = programme.shape[0] == 0 or not _sound(programme, time_s, tables)
    mine, own = np.empty((s.shape[0], 1)), np.empty((p.shape[0], 1))
    for c in range(cells):
        volt[c], current[c], sei[c], ends[c] = np.nan, np.nan, np.nan, np.nan
        codes[c] = status.BAD_INPUT if bad else spm_check(c, p, s)
        if codes[c] != status.OK:
            continue
        for row in range(s.shape[0]):
            mine[row, 0] = s[row, c]
        for row in range(p.shape[0]):
            own[row, 0] = p[row, c]
        fine, used = run_cell_kernel(programme, time_s, own, mine, tables, volt[c], current[c], sei[c], ends[c])
        if fine:
            for row in range(s.shape[0]):
                s[row, c] = mine[row, 0]
            good += 1
        else:
            codes[c] = status.OUT_OF_SPACE if used > MAX_STEPS else status.BAD_INPUT
            volt[c], current[c], sei[c], ends[c] = np.nan, np.nan, np.nan, np.nan
    return good


@helper
def _sound(programme: F, time_s: F, tables: F) -> bool:
    """Whether programme, times and tables can be used at all."""
    for k in range(programme.shape[0]):
        mode = programme[k, MODE]
        if mode not in (CC_CHARGE, CV_CHARGE, REST, CC_DISCHARGE, PULSE):
            return False
        for column in (CURRENT_A, VOLTAGE_V, END_CURRENT_A, DURATION_S):
            if not 0.0 <= programme[k, column] < 1e9:
                return False
    for k in range(time_s.shape[0]):
        if not 0.0 <= time_s[k] < 1e15 or (k > 0 and time_s[k] < time_s[k - 1]):
            return False
    if tables.shape[0] != _TABLES or tables.shape[1] < 3:
        return False
    for row in range(tables.shape[0]):
        for k in range(tables.shape[1]):
            if not abs(tables[row, k]) < 1e3:
                return False
    return True


def warm_up() -> None:
    """Compiles, on one cell and a programme of one second."""
    grid = np.linspace(0.0, 1.0, 3)
    tables = np.stack([1.0 - grid, 4.5 - grid, 0.0 * grid, 0.0 * grid])
    p, s = np.full((len(P), 1), 1e-3), np.zeros((STATE_ROWS, 1))
    p[[P.Q_NEG_C, P.Q_POS_C, P.J0_NEG_A, P.J0_POS_A], 0] = 2e4, 2e4, 1.0, 1.0
    spm_fresh(0, 0.5, 0.5, 25.0, p, s, tables)
    spm_voltage(0, 0.1, p, s, tables)
    spm_after(0, 0.1, 1.0, p, s, tables)
    spm_time_to_limit(0, 0.1, 3.6, 1.0, p, s, tables)
    spm_held_current(0, 3.6, 1.0, 1.0, p, s, tables)
    spm_step(0, 0.1, 1.0, p, s, tables)
    volt, current, sei, ends = (np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1, len(End))))
    codes = np.empty(1, dtype=np.int64)
    spm_run(np.array([[3.0, 1.0, 0.0, 0.0, 0.0, 1.0]]), np.zeros(1), p, s, tables, volt, current, sei, ends, codes)
