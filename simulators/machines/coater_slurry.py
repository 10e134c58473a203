"""Slurry from batch to bead: solids and viscosity by batch, and the thinnest film that the bead can hold.

No pump and no web. A batch differs from the recipe by chance; the stirred feed vessel blends it into the one before.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, CoaterParameters

# Batch to batch, and slowly within a batch (settling, evaporation in the vessel); relative to the solids.
_BATCH_SPREAD = 0.004
_WITHIN = (0.0045, 10800.0)
# A concentrated suspension thickens steeply near its densest packing (Krieger and Dougherty, Trans. Soc. Rheol. 3
# (1959) 137); around the recipe's solids that is a power of about 15. Mixing adds a spread of its own.
_VISCOSITY_POWER = 15.0
_VISCOSITY_SPREAD = 0.05
# Surface tension of NMP, N/m.
_SURFACE_N_M = 0.041
# Above a critical capillary number the thinnest film is a fixed share of the gap (Lee, Liu and Yu, Chem. Eng. Sci. 47
# (1992) 1703); below, capillary pressure holds a thinner one (Ruschak, Chem. Eng. Sci. 31 (1976) 1057).
_THINNEST_SHARE = 0.6


class SlurryFeed:
    """What comes to the die."""

    def __init__(self, p: CoaterParameters, rng: np.random.Generator, start: float) -> None:
        """`rng` makes the batches one after the other; `start` is a unit normal number."""
        self._p = p
        self._rng = rng
        self._within = Drift(_WITHIN[0], _WITHIN[1], STEP_S, start)
        self._fed_l = 0.0
        self._delivered: deque[float] = deque()  # relative solids of batches that wait, from a mixer
        self._own = True
        self.batch = 0
        self.viscosity_factor = 1.0  # a fault's
        self._next_batch()
        self._solids, self._thickness = self._fresh
        self.solids_fraction = p.solids_fraction
        self.viscosity_pa_s = p.viscosity_pa_s
        self.step(0.0, 0.0)

    def _next_batch(self) -> None:
        self.batch += 1
        a, b = self._rng.standard_normal(2).tolist()
        size = self._p.disturbance
        self._fresh = (size * _BATCH_SPREAD * a, size * _VISCOSITY_SPREAD * b)
        if self._delivered:
            self._fresh = (self._delivered.popleft(), self._fresh[1])

    def deliver(self, solids_fraction: float) -> int:
        """A mixer's batch instead of one by chance: the first while nothing was drawn, else the next. Its number."""
        relative = solids_fraction / self._p.solids_fraction - 1.0
        if self._own and self.batch == 1 and self._fed_l == 0.0:
            self._own = False
            self._fresh, self._solids = (relative, self._fresh[1]), relative
            return 1
        self._delivered.append(relative)
        return self.batch + len(self._delivered)

    def step(self, flow_ml_s: float, normal: float) -> None:
        """One inner step in which `flow_ml_s` left the vessel."""
        p = self._p
        drawn_l = flow_ml_s * 1e-3 * STEP_S
        if drawn_l > 0.0:
            share = 1.0 - math.exp(-drawn_l / p.feed_vessel_l)
            self._solids += share * (self._fresh[0] - self._solids)
            self._thickness += share * (self._fresh[1] - self._thickness)
            self._fed_l += drawn_l
            if self._fed_l >= p.batch_l:
                self._fed_l -= p.batch_l
                self._next_batch()
        relative = 1.0 + self._solids + p.disturbance * self._within.step(normal)
        self.solids_fraction = p.solids_fraction * relative
        thick = float(relative**_VISCOSITY_POWER) * (1.0 + self._thickness) * self.viscosity_factor
        self.viscosity_pa_s = p.viscosity_pa_s * thick

    def die_pressure_pa(self, flow_ml_s: float) -> float:
        """Pressure that drives the flow through the die's slot: laminar flow between plates."""
        p = self._p
        slot_m4 = p.width_m * p.die_slot_m * p.die_slot_m * p.die_slot_m
        return 12.0e-6 * self.viscosity_pa_s * flow_ml_s * p.die_land_m / slot_m4

    def thinnest_film_m(self, speed_m_s: float) -> float:
        """Wet films thinner than this break into stripes."""
        capillary = self.viscosity_pa_s * speed_m_s / _SURFACE_N_M
        if capillary <= 0.0:
            return 0.0
        share: float = 1.0 / (1.0 + 2.0 * (0.65 / capillary) ** (2.0 / 3.0))
        return self._p.die_gap_m * min(_THINNEST_SHARE, share)
