"""The die's lips: how the flow spreads over the lanes, for good, drifting, and with what is stuck in the slot.

The pump sets the mean, the lips only share it out: a lane that gets less leaves more to the others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, CoaterParameters

Lanes = NDArray[np.float64]

_TILT_DRIFT = (0.005, 5400.0)
_BOW_DRIFT = (0.003, 5400.0)
_LANE_SPREAD = 0.009
# Surface tension piles slurry up at the edges and thins it just inside them.
_EDGE = (0.033, -0.013)
# Pressure opens the slot in its middle: bow per relative change of the pressure from that of the reference flow.
_BOW_PER_PRESSURE = 0.01
_REFERENCE_ML_S = 3.25
# A lump holds up its neighbours' flow too.
_CLOG_BESIDE = 0.3
# Stripes of a film that is a third too thin reach down to the foil.
_STRIPE_GAIN = 3.0


class DieLips:
    """Relative loading of each lane; its mean is 1."""

    def __init__(self, p: CoaterParameters, rng: np.random.Generator, starts: tuple[float, float]) -> None:
        self._size = p.disturbance
        self._tilt = Drift(_TILT_DRIFT[0], _TILT_DRIFT[1], STEP_S, starts[0])
        self._bow = Drift(_BOW_DRIFT[0], _BOW_DRIFT[1], STEP_S, starts[1])
        self.base, self.tilt_shape, self.bow_shape = _profile(rng, p.disturbance, p.lanes)
        self._lists = (self.base.tolist(), self.tilt_shape.tolist(), self.bow_shape.tolist())
        slot = 12.0 * p.viscosity_pa_s * 1e-6 * p.die_land_m / (p.width_m * p.die_slot_m**3)
        self._reference_pa = slot * _REFERENCE_ML_S
        self._clogs: dict[int, float] = {}
        self._clog_mask: Lanes | None = None
        self.tilt = 0.0
        self.bow = 0.0

    def step(self, normals: list[float], pressure_pa: float) -> None:
        """One inner step; two unit normal numbers."""
        self.tilt = self._size * self._tilt.step(normals[0])
        bow = self._bow.step(normals[1]) - _BOW_PER_PRESSURE * (pressure_pa / self._reference_pa - 1.0)
        self.bow = self._size * bow

    def clog(self, lane: int, depth: float) -> None:
        """A lump takes `depth` (0 to 1) of the flow of `lane` (from 0); 0 takes the lump away."""
        self._clogs.pop(lane, None)
        if depth > 0.0:
            self._clogs[lane] = depth
        mask = np.ones(self.base.size)
        for place, deep in self._clogs.items():
            for other, share in ((place, 1.0), (place - 1, _CLOG_BESIDE), (place + 1, _CLOG_BESIDE)):
                if 0 <= other < mask.size:
                    mask[other] *= 1.0 - share * deep
        self._clog_mask = mask if self._clogs else None

    def mask(self, film_m: float, thinnest_m: float) -> Lanes | None:
        """What the lanes keep of their share, None where nothing is wrong."""
        if film_m >= thinnest_m or film_m <= 0.0:
            return self._clog_mask
        deep = min(1.0, _STRIPE_GAIN * (1.0 - film_m / thinnest_m))
        stripes = np.where(np.arange(self.base.size) % 2 == 0, 1.0 + deep, 1.0 - deep)
        return stripes if self._clog_mask is None else stripes * self._clog_mask

    def lane(self, lane: int, tilt: float, bow: float) -> float:
        """Relative loading of one lane (from 0) where nothing is stuck."""
        base, tilts, bows = self._lists
        return float(base[lane] + tilt * tilts[lane] + bow * bows[lane])

    def profile(self, tilt: float, bow: float, mask: Lanes | None) -> Lanes:
        """Relative loading of all lanes."""
        relative = self.base + tilt * self.tilt_shape + bow * self.bow_shape
        if mask is not None:
            relative = relative * mask
            total = relative.mean()
            relative = relative / total if total > 0.0 else np.ones_like(relative)
        return np.asarray(relative, dtype=np.float64)


def _profile(rng: np.random.Generator, size: float, lanes: int) -> tuple[Lanes, Lanes, Lanes]:
    """The die's lasting lane profile (mean 1), and the shapes of its two slow drifts (mean 0, SD 1)."""
    across = np.linspace(-1.0, 1.0, lanes)
    base = _LANE_SPREAD * rng.standard_normal(lanes)
    # Lips deflect smoothly: neighbouring lanes resemble each other.
    base = np.convolve(np.pad(base, 2, mode="edge"), np.full(5, 0.2), mode="valid") * math.sqrt(5.0)
    base[[0, -1]] += _EDGE[0]
    base[[1, -2]] += _EDGE[1]
    base -= base.mean()
    bow = across**2 - np.mean(across**2)
    return 1.0 + size * base, across / across.std(), bow / bow.std()
