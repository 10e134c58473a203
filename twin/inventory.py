"""What the windows say is in a cell, lithium and both electrodes, and what was lost between two fits. No fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
APART = 1.0 / 3.0
"""Of the SD of diffusion and charge transfer, the share that is each fit's own: 3 K of temperature move both by a tenth
(25 to 35 kJ/mol: O'Kane et al., Phys. Chem. Chem. Phys. 24 (2022) 7909), which is a third of the usual SD of 0.3."""


@dataclass(frozen=True, slots=True, eq=False)
class Ageing:
    """Losses between two fits as fractions of the first.

    SDs take the two fits' own errors as independent, those of diffusion and charge transfer as nearly the same in both.
    """

    lithium_loss: float  # LLI
    lithium_loss_sd: float
    negative_loss: float  # LAM of the negative electrode
    negative_loss_sd: float
    positive_loss: float
    positive_loss_sd: float


def spread(gradient: Float64Array, covariance: Float64Array) -> float:
    """SD of a function of the four window ends, by its gradient."""
    return math.sqrt(max(float(gradient @ covariance[:4, :4] @ gradient), 0.0))


def contents(x0: float, x1: float, y0: float, y1: float, charge_ah: float) -> tuple[Float64Array, Float64Array]:
    """Lithium, negative and positive capacity [Ah] (3,) and their gradients over the window ends (3, 4)."""
    dx, dy = x1 - x0, y0 - y1
    negative, positive = charge_ah / dx, charge_ah / dy
    by_dx, by_dy = -x0 * negative / dx, -y0 * positive / dy
    gradient = [
        [negative - by_dx, by_dx, positive + by_dy, -by_dy],
        [negative / dx, -negative / dx, 0.0, 0.0],
        [0.0, 0.0, -positive / dy, positive / dy],
    ]
    return np.array([x0 * negative + y0 * positive, negative, positive]), np.array(gradient)


def losses(first: Float64Array, second: Float64Array) -> Ageing:
    """LLI and LAM from the inventories (3, 6) of two fits: see `Windows` and `ageing` in twin/esoh.py."""
    found: list[float] = []
    for a, b in zip(first, second, strict=True):
        ratio = float(b[0] / a[0])
        own = math.hypot(a[1] / a[0], b[1] / b[0])
        first_moved, second_moved = a[2:] / a[0], b[2:] / b[0]
        common = math.sqrt(1.0 - APART**2) * float(np.linalg.norm(second_moved - first_moved))
        apart = APART * math.hypot(float(np.linalg.norm(first_moved)), float(np.linalg.norm(second_moved)))
        found += [1.0 - ratio, abs(ratio) * math.hypot(own, common, apart)]
    return Ageing(*found)
