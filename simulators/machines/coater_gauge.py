"""Scanning gauges: each goes to and fro across the moving web and sees one lane of one piece of web at a time.

A gauge stands some way behind the die, so that what it sees passed the die a web length earlier. It sees nothing but
the web: beta or X-ray transmission, gross minus foil. Now and then it goes off the web and standardises.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulators.machines.coater_parameters import STEP_S, CoaterParameters
from simulators.machines.coater_web import CoaterWeb

# Thinner than this is bare foil to the gauge.
_COATED_KG_M2 = 0.005
# The head is lifted while a splice is this close.
_SPLICE_CLEARANCE_M = 1.0
_HOUR_S = 3600.0


class ScanningGauge:
    """Position, reading and the profile of the last completed scan. NaN where there is no coating to see."""

    def __init__(self, p: CoaterParameters, wet: bool = False) -> None:
        """`wet`: stands before the dryer and weighs slurry; else behind it, and weighs dry coating."""
        self._p = p
        self._wet = wet
        self._distance_m = p.die_to_wet_gauge_m if wet else p.gauge_distance_m
        self._noise = p.disturbance * (p.wet_gauge_noise_fraction if wet else p.gauge_noise_fraction)
        self._wander = p.disturbance * p.gauge_drift_fraction * math.sqrt(STEP_S / _HOUR_S)
        self._travel_m = p.width_m * STEP_S / p.scan_duration_s
        self._direction = 1.0
        self._since_standard_s = 0.0
        self._pause_s = 0.0
        self._seeing = False
        self._clear()
        self.drift = 0.0  # relative; a standardisation takes it away
        self.offset_kg_m2 = 0.0  # a fault's, that no standardisation sees
        self.fault_kg_m2_h = 0.0
        self.cross_position_m = 0.0
        self.web_position_m = math.nan
        self.loading_kg_m2 = math.nan
        self.profile_kg_m2: NDArray[np.float64] = np.full(p.lanes, math.nan)
        self.scans = 0

    @property
    def standardising(self) -> bool:
        """True while it is off the web to find its zero."""
        return self._pause_s > 0.0

    def step(self, web: CoaterWeb, normal: float, wander: float = 0.0, residual: float = 0.0) -> None:
        """One inner step: move, look, and close the scan at the far edge. Two unit normal numbers.

        `residual`: solvent per dry mass that is left in the web under a dry gauge; it weighs that too.
        """
        self.drift += self._wander * wander
        self.offset_kg_m2 += self.fault_kg_m2_h * STEP_S / _HOUR_S
        self._since_standard_s += STEP_S
        segment = web.under(self._distance_m)
        if segment is None or segment.loading_kg_m2 < _COATED_KG_M2:
            self._park()
            return
        self._seeing = True
        place = web.position_m - self._distance_m
        if self._pause_s > 0.0:
            self._pause_s -= STEP_S
            if self._pause_s > 0.0:
                self._blind()
                return
        if web.speed_m_s > 0.0:
            self._move()
        if self._pause_s > 0.0 or (web.splices and self._lifted(web, place)):
            self._blind()
            return
        self.web_position_m = place
        lane = min(self._p.lanes - 1, int(self.cross_position_m / self._p.width_m * self._p.lanes))
        seen = web.lane_loading(segment, lane)
        seen *= 1.0 + (segment.solvent_kg / segment.dry_kg if self._wet else residual)
        self.loading_kg_m2 = seen * (1.0 + self._noise * normal + self.drift) + self.offset_kg_m2
        self._sums[lane] += self.loading_kg_m2
        self._counts[lane] += 1

    @staticmethod
    def _lifted(web: CoaterWeb, place: float) -> bool:
        return any(abs(place - at) < _SPLICE_CLEARANCE_M for at in web.splices)

    def _move(self) -> None:
        place = self.cross_position_m + self._direction * self._travel_m
        if 0.0 <= place <= self._p.width_m:
            self.cross_position_m = place
            return
        self._close_scan()
        # Turn at the edge and come back by what was left over.
        edge = self._p.width_m if place > 0.0 else 0.0
        self._direction = -self._direction
        self.cross_position_m = edge - (place - edge)
        if 0.0 < self._p.standardise_every_s <= self._since_standard_s:
            self._standardise()
            self._pause_s = self._p.standardise_s

    def _standardise(self) -> None:
        self._since_standard_s = 0.0
        self.drift = 0.0

    def _close_scan(self) -> None:
        pairs = zip(self._sums, self._counts, strict=True)
        self.profile_kg_m2 = np.array([s / n if n else math.nan for s, n in pairs])
        self.scans += 1
        self._clear()

    def _clear(self) -> None:
        self._sums = [0.0] * self._p.lanes
        self._counts = [0] * self._p.lanes

    def _blind(self) -> None:
        self.loading_kg_m2 = math.nan
        self.web_position_m = math.nan

    def _park(self) -> None:
        """Without coating the gauge waits at the operator side and finds its zero; a scan that it began is none."""
        if self._seeing:
            self._clear()
        self._seeing = False
        self._pause_s = 0.0
        self._standardise()
        self.cross_position_m = 0.0
        self._direction = 1.0
        self._blind()
