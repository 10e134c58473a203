"""Rows of the single-particle cell's arrays, and the numbers of its particles. No kernel in here.

Every array is (rows, cells): `p` what a cell is, `s` how it stands, `tables` (len(Table), n) potentials that all cells
share, on a uniform grid of stoichiometry from 0 to 1. Currents are of the whole cell, positive in charge.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

MODES = 10
_EXACT, _BINS = 7, (7, 11, 22, 60)
GAS_CONSTANT, FARADAY, KELVIN, T_REF_K = 8.314462618, 96485.33212, 273.15, 298.15
# Diffusion and kinetics follow the cell's temperature in steps of this size: 1e-4 of a rate, and no exponentials
# while a cell's temperature stands.
TEMPERATURE_STEP_K = 0.01

# Columns of a programme row, as in the rack's step registers.
MODE, CYCLE, CURRENT_A, VOLTAGE_V, END_CURRENT_A, DURATION_S = range(6)
CC_CHARGE, CV_CHARGE, REST, CC_DISCHARGE, PULSE = 1, 2, 3, 4, 5


def _roots(count: int) -> F:
    """The first positive roots of tan(mu) = mu (Crank 1975, The Mathematics of Diffusion, table 6.2), by bisection."""
    found = np.empty(count)
    for k in range(count):
        low, high = (k + 1) * math.pi, (k + 1.5) * math.pi
        for _ in range(60):
            mid = 0.5 * (low + high)
            # sin(mu) - mu cos(mu) has no poles and changes its sign once in between.
            if (math.sin(mid) - mid * math.cos(mid)) * (-1.0) ** k < 0.0:
                high = mid
            else:
                low = mid
        found[k] = 0.5 * (low + high)
    return found


def _modes() -> tuple[F, F, float]:
    """Decay (times D/R^2) and share of the surface's steady state of each mode, and the share of what is left.

    The first seven are eigenmodes. The next 53 are gathered in three, each with the sum of the shares 1 / mu^2 and with
    the decay that gives them the right first moment in time; the rest acts at once.
    """
    mu2 = _roots(60) ** 2
    decay, share = np.empty(MODES), np.empty(MODES)
    for k in range(MODES):
        first, last = (k, k + 1) if k < _EXACT else (_BINS[k - _EXACT], _BINS[k - _EXACT + 1])
        share[k] = np.sum(1.0 / mu2[first:last])
        decay[k] = share[k] / np.sum(mu2[first:last] ** -2.0)
    # Over all roots the shares add up to 1/10: the surface stands g / 5 above the mean.
    return decay, share, 0.1 - float(np.sum(share))


DECAY, SHARE, REMAINDER = _modes()
INVERSE_DECAY: F = 1.0 / DECAY


class P(IntEnum):
    """Rows of `p`: what a cell is. Rates and exchange currents at 25 C, with activation energies in J/mol."""

    Q_NEG_C = 0  # charge from stoichiometry 0 to 1
    Q_POS_C = 1
    DIFFUSION_NEG_1_S = 2  # D / R^2
    DIFFUSION_POS_1_S = 3
    EA_DIFFUSION_NEG = 4
    EA_DIFFUSION_POS = 5
    J0_NEG_A = 6  # exchange current over sqrt(x (1 - x)), of the whole electrode
    J0_POS_A = 7
    EA_J0_NEG = 8
    EA_J0_POS = 9
    CONTACT_OHM = 10  # everything ohmic outside the film: electrolyte, foils, tabs, contacts
    LEAK_A = 11  # self-discharge inside the cell
    SHORT_S = 12  # conductance of a soft short across the cell
    SEI_RATE_A = 13  # growth at no film and no driving overpotential; 0: no growth
    SEI_ALPHA = 14
    SEI_U_V = 15
    SEI_DECAY_1_M = 16  # tunnelling barrier; 0: none
    SEI_BLOCK_1_A_M = 17  # 1 / (F c D area) of what diffuses through the film; 0: no limit
    SEI_BEHIND_FILM = 18  # 1: the driving potential is the particle's, 0: the film's drop adds to it
    SEI_START_M = 19
    SEI_M_PER_C = 20
    SEI_OHM_PER_M = 21
    EA_SEI = 22


class S(IntEnum):
    """Rows of `s`: how a cell stands. Rows from AT_C on are kept for speed; `spm_fresh` and the steps fill them."""

    TEMPERATURE_C = 0  # input; may be changed between steps
    X = 1  # mean stoichiometry of the negative electrode
    Y = 2  # of the positive electrode
    SEI_C = 3  # lithium bound in SEI since the start
    VOLTAGE_V = 4  # at the terminals, at the end of the last step
    CURRENT_A = 5  # at the terminals, at the end of the last step
    SEI_A = 6  # mean growth of the last step
    CHARGE_C = 7  # charge minus discharge through the terminals since the start
    LEAKED_C = 8  # through leak and soft short since the start
    X_MODES = 9
    Y_MODES = 19
    AT_C = 29
    RATE_NEG = 30
    RATE_POS = 31
    J0_NEG = 32
    J0_POS = 33
    SEI_RATE = 34
    THERMAL_V = 35  # R T / F
    AT_H = 36
    X_GAIN = 37  # 1 - exp(-lambda h)
    Y_GAIN = 47
    X_FIRST = 57  # surface stoichiometry per ampere at the start of the step, at its end
    X_LAST = 58
    Y_FIRST = 59
    Y_LAST = 60
    TRIED_SEI_A = 61
    TRIED_DRIVE = 62  # ln of the growth's potential factor, at the start and at the end of the last trial
    TRIED_DRIVE_END = 63
    TRIED_FIRST_A = 64
    TRIED_LAST_A = 65
    TRIED_H = 66  # -1: no trial stands
    TRIED_V = 67


STATE_ROWS = 68


class Table(IntEnum):
    """Rows of `tables`."""

    U_NEG_V = 0
    U_POS_V = 1
    ENTROPY_NEG_V_K = 2  # dU/dT
    ENTROPY_POS_V_K = 3


class End(IntEnum):
    """Last axis of the `ends` of spm_run: what stood at the end of each step of the programme."""

    TIME_S = 0
    VOLTAGE_V = 1
    CURRENT_A = 2
    CHARGE_C = 3  # through the terminals in this step, discharge negative
    SEI_C = 4  # since the start
