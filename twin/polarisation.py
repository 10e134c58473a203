"""What stands between a particle's mean and the voltage at constant current: diffusion and charge transfer. No fit.

A sphere that takes lithium at a constant rate has, once settled, its surface ahead of its mean x by

    x_surface - x = tau dx/dt,   tau = R^2 / (15 D)

and before that by the share g(t) = 1 - 10 sum exp(-b_n^2 D t / R^2) / b_n^2, tan b_n = b_n: Crank, The Mathematics of
Diffusion, 2nd ed. 1975, equation 6.45. In a charge the negative electrode's surface is fuller than its mean and the
positive one's emptier, in a discharge the other way round. Time counts from the beginning of the curve, before
which the cell is taken to have rested. Charge transfer: `model` in kernels/esoh_descent.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from configs.schema.cell import POLARISATION_SD, HalfCells

Float64Array = NDArray[np.float64]
CAUSES = 4  # of common error: diffusion and charge transfer of the negative and the positive electrode
TRANSFERS = (2, 3)  # those of them that are charge transfer
ROOTS, GRID, SETTLED = 2000, 1500, 0.8  # D t / R^2 from which on nothing changes: exp(-4.49^2 0.8) = 1e-7


@dataclass(frozen=True, slots=True)
class Polarisation:
    """What is known of both electrodes; 0: nothing, and nothing is taken out. SDs relative, one per kind.

    ValueError: a value that is negative or no number, the diffusion of one electrode only.
    """

    negative_diffusion_s: float = 0.0  # tau
    positive_diffusion_s: float = 0.0
    diffusion_sd: float = POLARISATION_SD
    negative_transfer_ohm: float = 0.0  # at half full, small currents, 25 C
    positive_transfer_ohm: float = 0.0
    transfer_sd: float = POLARISATION_SD

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is a number of at least 0, not {value!r}")
        if (self.negative_diffusion_s > 0.0) != (self.positive_diffusion_s > 0.0):
            raise ValueError("negative_diffusion_s and positive_diffusion_s belong together: one alone is no mean")

    @classmethod
    def known(cls, of: HalfCells) -> Polarisation:
        """What a cell file says."""
        diffusion = (of.negative_diffusion_s or 0.0, of.positive_diffusion_s or 0.0, of.diffusion_sd)
        return cls(*diffusion, of.negative_transfer_ohm, of.positive_transfer_ohm, of.transfer_sd)

    @property
    def of_mean(self) -> bool:
        """Whether windows are of mean stoichiometries: the diffusion of both electrodes is known."""
        return self.negative_diffusion_s > 0.0 and self.positive_diffusion_s > 0.0

    def seen(self, z: Float64Array, current_a: float, charge_c: float) -> Float64Array:
        """Charge (m, 2) as the surfaces of the negative and the positive electrode show it at `z` (m,) of a curve."""
        out = np.stack((z, z), axis=1)
        if not (charge_c > 0.0 and math.isfinite(charge_c) and math.isfinite(current_a)):
            return out
        rate = current_a / charge_c
        since = z if current_a > 0.0 else 1.0 - z  # of the curve's charge
        for side, tau_s in enumerate((self.negative_diffusion_s, self.positive_diffusion_s)):
            if tau_s > 0.0 and rate != 0.0:
                out[:, side] += rate * tau_s * settled(since / (15.0 * tau_s * abs(rate)))
        return out

    def load(self, current_a: float) -> tuple[float, float, float]:
        """What the kernel calls the load of a curve."""
        return current_a, self.negative_transfer_ohm, self.positive_transfer_ohm

    @property
    def varied(self) -> tuple[Polarisation | None, ...]:
        """One with one SD more for each cause; None for a cause that is not known or has no SD."""
        return _varied(self)


@lru_cache(maxsize=16)
def _varied(of: Polarisation) -> tuple[Polarisation | None, ...]:
    names = ("negative_diffusion_s", "positive_diffusion_s", "negative_transfer_ohm", "positive_transfer_ohm")
    sds = (of.diffusion_sd, of.diffusion_sd, of.transfer_sd, of.transfer_sd)
    own = {name: getattr(of, name) for name in of.__slots__}
    return tuple(
        Polarisation(**{**own, name: own[name] * (1.0 + sd)}) if own[name] * sd > 0.0 else None
        for name, sd in zip(names, sds, strict=True)
    )


def settled(fourier: Float64Array) -> Float64Array:
    """g at D t / R^2: the share of its final lead that a sphere's surface has."""
    roots, values = _table()
    share: Float64Array = np.interp(np.sqrt(fourier), roots, values)
    return share


@lru_cache(maxsize=1)
def _table() -> tuple[Float64Array, Float64Array]:
    """g over the root of D t / R^2, in which it is smooth."""
    middle = (np.arange(1, ROOTS + 1) + 0.5) * np.pi
    b = middle - 1.0 / middle
    for _ in range(4):  # Newton on sin b - b cos b
        b -= (np.sin(b) - b * np.cos(b)) / (b * np.sin(b))
    at = np.linspace(0.0, math.sqrt(SETTLED), GRID)
    left = np.array([np.sum(np.exp(-np.minimum(b**2 * s**2, 700.0)) / b**2) for s in at])
    left[0] = 0.1  # of all roots
    return at, 1.0 - 10.0 * left


NONE = Polarisation()
