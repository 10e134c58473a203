"""What is true of the rack's cells and no instrument shows: windows at rest, resistance. Nothing moves here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.spm import P, S
from kernels.spm_cell import potential_kernel

F = NDArray[np.float64]

EMPTY_V, FULL_V = 2.5, 4.2
# Rows of the result.
X_EMPTY, X_FULL, R0_OHM = range(3)


@kernel
def truth_kernel(cell_p: F, cell_s: F, tables: F) -> F:
    """(3, cells): the negative electrode at rest at EMPTY_V and at FULL_V with the lithium that is left, and R0 in ohm.

    R0: everything ohmic, the film, and both charge transfers for a small current at mean stoichiometries.
    """
    cells = cell_s.shape[1]
    found = np.empty((3, cells))
    for c in range(cells):
        q_neg, q_pos = cell_p[P.Q_NEG_C, c], cell_p[P.Q_POS_C, c]
        x, y = cell_s[S.X, c], cell_s[S.Y, c]
        lithium = x * q_neg + y * q_pos
        for row, volt in ((X_EMPTY, EMPTY_V), (X_FULL, FULL_V)):
            low, high = 0.0, 1.0
            for _ in range(40):
                mid = 0.5 * (low + high)
                rest = potential_kernel(tables, 1, (lithium - mid * q_neg) / q_pos, 0.0)
                if rest - potential_kernel(tables, 0, mid, 0.0) < volt:
                    low = mid
                else:
                    high = mid
            found[row, c] = 0.5 * (low + high)
        film_m = cell_p[P.SEI_START_M, c] + cell_p[P.SEI_M_PER_C, c] * cell_s[S.SEI_C, c]
        ohm = cell_p[P.CONTACT_OHM, c] + cell_p[P.SEI_OHM_PER_M, c] * film_m
        for j0, fill in ((cell_s[S.J0_NEG, c], x), (cell_s[S.J0_POS, c], y)):
            ohm += cell_s[S.THERMAL_V, c] / (j0 * math.sqrt(max(fill * (1.0 - fill), 1e-9)))
        found[R0_OHM, c] = ohm
    return found
