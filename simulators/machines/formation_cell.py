"""The cells in the simulated rack: half-cell potentials, their windows, and how 64 cells of one batch differ.

These are the plant's true parameters. The twin has its own, from its own files, and must never see these. Half-cell
potentials and stoichiometry windows: Chen et al. 2020, J. Electrochem. Soc. 167 080534 (LG M50, 5 Ah, NMC811 against
graphite-SiOx). The kernel that moves them is in rack_kernel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.machine import Values
from simulators.machines.rack_kernel import P, S

CAPACITY_AH = 5.0
X_EMPTY, X_FULL = 0.0263, 0.9106  # negative electrode at 2.5 V and 4.2 V
Y_EMPTY, Y_FULL = 0.8540, 0.2638  # positive electrode at 2.5 V and 4.2 V
TABLE_POINTS = 4001  # linear interpolation errs by less than 0.03 mV where graphite is steepest
FRESH_V = 2.75  # a cell that was filled, soaked and tickled, before its first charge

# Spread within one batch. SD of resistance and of the loss after Weng et al. 2021 (arXiv:2203.14158).
CAPACITY_SD = 0.02
RESISTANCE_SD = 0.06
LOSS_MEAN, LOSS_SD = 0.163, 0.011  # lithium lost to SEI per capacity: efficiency 87.5 % with SD 0.8 %
SPREAD_LIMIT = 2.3  # in SD; a batch has passed incoming inspection
# Side reactions take a share of the charge that decays with charge passed: most SEI grows before 1 Ah.
LOSS_CHARGE_AH = 1.4
LEAK_A, LEAK_SD_LOG = 30e-6, 0.4  # 0.006 Ah a week, log-normal
CURRENT_GAIN_SD = 2e-4


def positive_v(y: Values) -> Values:
    """NMC811 against lithium (Chen et al. 2020, eq. 8)."""
    v: Values = (
        -0.8090 * y
        + 4.4875
        - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (y - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (y - 0.3120))
    )
    return v


def negative_v(x: Values) -> Values:
    """Graphite-SiOx against lithium (Chen et al. 2020, eq. 9)."""
    v: Values = (
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )
    return v


def potential_tables() -> tuple[Values, Values]:
    """Positive and negative potential on a uniform grid of stoichiometry from 0 to 1."""
    grid = np.linspace(0.0, 1.0, TABLE_POINTS)
    return positive_v(grid), negative_v(grid)


def places(channels: int) -> Values:
    """Share of the tray's heat per channel, 0.2 to 1.2: warm at the back, and a little in the middle of each row."""
    width = max(1, round(channels**0.5))
    row, column = np.divmod(np.arange(channels), width)
    middle = 1.0 - np.abs(2.0 * column / max(1, width - 1) - 1.0)
    back = row / max(1, -(-channels // width) - 1)
    share: Values = 0.2 + 0.8 * back + 0.2 * middle
    return share


def draw_parameters(rng: np.random.Generator, channels: int) -> tuple[Values, Values]:
    """Parameters (len(P), channels) of one batch and the lithium in Ah that each cell will lose in formation."""

    def spread() -> NDArray[np.float64]:
        return np.clip(rng.standard_normal(channels), -SPREAD_LIMIT, SPREAD_LIMIT)

    capacity = CAPACITY_AH * (1.0 + CAPACITY_SD * spread())
    loss = capacity * (LOSS_MEAN + LOSS_SD * spread())
    # One factor for the whole cell (electrolyte, tabs, welds) and a small one for each part.
    common = 1.0 + RESISTANCE_SD * spread()
    p = np.empty((len(P), channels))
    p[P.CAPACITY_AH] = capacity
    p[P.Q_POS_AH] = capacity / (Y_EMPTY - Y_FULL)
    p[P.Q_NEG_AH] = capacity / (X_FULL - X_EMPTY)
    # 10 s resistance of LG M50 at 25 C and mid charge: 33 to 36 mOhm (PyBOP's LGM50_5Ah_Pulse).
    p[P.R0_OHM] = 0.0280 * common
    p[P.R1_OHM] = 0.0070 * common * (1.0 + 0.03 * spread())
    p[P.R2_OHM] = 0.0165 * common * (1.0 + 0.05 * spread())
    p[P.TAU1_S] = 9.0 * (1.0 + 0.05 * spread())
    p[P.TAU2_S] = 950.0 * (1.0 + 0.10 * spread())
    p[P.LEAK_A] = LEAK_A * np.exp(LEAK_SD_LOG * spread())
    p[P.LOSS_CHARGE_AH] = LOSS_CHARGE_AH * capacity / CAPACITY_AH
    p[P.CURRENT_GAIN] = CURRENT_GAIN_SD * spread()
    p[P.PLACE] = places(channels)
    p[P.X_EMPTY], p[P.X_FULL] = X_EMPTY, X_FULL
    return p, loss


def fresh_state(p: Values, loss_ah: Values, temperature_c: float) -> Values:
    """State (len(S), channels) before formation, at FRESH_V.

    The lithium in both electrodes is that of the empty cell after formation plus what formation will take, so that
    the windows of Chen et al. hold afterwards. FRESH_V then fixes how it is shared; solved by bisection in x.
    """
    state = np.zeros((len(S), p.shape[1]))
    lithium_ah = Y_EMPTY * p[P.Q_POS_AH] + X_EMPTY * p[P.Q_NEG_AH] + loss_ah
    low, high = np.full(p.shape[1], 0.001), np.full(p.shape[1], 0.1)
    for _ in range(50):
        x = 0.5 * (low + high)
        y = (lithium_ah - x * p[P.Q_NEG_AH]) / p[P.Q_POS_AH]
        below = positive_v(y) - negative_v(x) < FRESH_V
        low, high = np.where(below, x, low), np.where(below, high, x)
    state[S.X], state[S.Y] = x, y
    state[S.LOSS_LEFT_AH] = loss_ah
    state[S.TEMPERATURE_C] = temperature_c
    state[S.SHOWN_VOLTAGE_V] = positive_v(y) - negative_v(x)
    return state
