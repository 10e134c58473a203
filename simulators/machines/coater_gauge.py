"""Scanning gauge: goes to and fro across the moving web and sees one lane of one piece of web at a time.

It stands behind the dryer, so that what it sees passed the die a web length earlier. It sees nothing but the web.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulators.machines.coater_parameters import LANES, STEP_S, CoaterParameters
from simulators.machines.coater_web import CoaterWeb

# Thinner than this is bare foil to the gauge.
_COATED_KG_M2 = 0.005


class ScanningGauge:
    """Position, reading and the profile of the last completed scan. NaN where there is no coating to see."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._travel_m = p.width_m * STEP_S / p.scan_duration_s
        self._direction = 1.0
        self._sums = [0.0] * LANES
        self._counts = [0] * LANES
        self.cross_position_m = 0.0
        self.web_position_m = math.nan
        self.loading_kg_m2 = math.nan
        self.profile_kg_m2: NDArray[np.float64] = np.full(LANES, math.nan)
        self.scans = 0

    @property
    def sees_coating(self) -> bool:
        """True when coated web is under the gauge."""
        return not math.isnan(self.loading_kg_m2)

    def step(self, web: CoaterWeb, normal: float) -> None:
        """One inner step: move, look, and close the scan at the far edge."""
        segment = web.under(self._p.gauge_distance_m)
        if segment is None or segment.loading_kg_m2 < _COATED_KG_M2:
            self._park()
            return
        self.web_position_m = web.position_m - self._p.gauge_distance_m
        if web.speed_m_s > 0.0:
            self._move()
        lane = min(LANES - 1, int(self.cross_position_m / self._p.width_m * LANES))
        error = self._p.disturbance * self._p.gauge_noise_fraction * normal
        self.loading_kg_m2 = web.lane_loading(segment, lane) * (1.0 + error)
        self._sums[lane] += self.loading_kg_m2
        self._counts[lane] += 1

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

    def _close_scan(self) -> None:
        pairs = zip(self._sums, self._counts, strict=True)
        self.profile_kg_m2 = np.array([s / n if n else math.nan for s, n in pairs])
        self.scans += 1
        self._clear()

    def _clear(self) -> None:
        self._sums = [0.0] * LANES
        self._counts = [0] * LANES

    def _park(self) -> None:
        """Without coating the gauge waits at the operator side; a scan that it began is not a scan."""
        if self.sees_coating:
            self._clear()
        self.cross_position_m = 0.0
        self._direction = 1.0
        self.loading_kg_m2 = math.nan
        self.web_position_m = math.nan
