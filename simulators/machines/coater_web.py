"""Web drive, slurry pump and coating: how much lies on every piece of web, and where that piece is now.

Mass is conserved: what the pump delivered lies on the web. No dryer, no gauge, no sequence here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from simulators.machines.coater_die import DieLips, Lanes
from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, CoaterParameters
from simulators.machines.coater_slurry import SlurryFeed

# Standard deviations and correlation times of the process. Together with slurry and lips they make a loading CV near
# 1.6 %: 144 real cathodes, comma-coated in open loop, had 2.3, 1.3 and 1.2 % at gaps of 100, 200 and 300 um.
_PUMP_DRIFT = (0.007, 7200.0)
_PUMP_JITTER = 0.0015
_PUMP_RIPPLE = 0.003
_PUMP_RIPPLE_PERIOD_S = 37.0
_SPEED_JITTER = 0.0005
# The die lets go of the web while a splice passes; what it held back follows at once.
_SPLICE_M = 0.4
_SPLICE_KEPT = 0.5
_QUICK_STOP_M_S2 = 0.05

NORMALS = 7
"""Random numbers that one step takes."""


@dataclass(slots=True)
class Segment:
    """The web that passed the die in one inner step."""

    end_m: float  # web position of its trailing end
    length_m: float
    dry_kg: float
    solvent_kg: float
    loading_kg_m2: float  # dry, mean over the width
    tilt: float  # relative cross-web deviations at that time
    bow: float
    mask: Lanes | None = None  # what clogs and stripes leave to each lane
    splice: bool = False
    striped: bool = False  # the bead broke: the film was too thin for it


class CoaterWeb:
    """Speed, position, pump and the coated web between die and gauge."""

    def __init__(
        self, p: CoaterParameters, rng: np.random.Generator, batches: np.random.Generator | None = None
    ) -> None:
        """`batches` makes the slurry; without one, `rng` does."""
        self._p = p
        self._noise = p.disturbance
        starts = rng.standard_normal(4).tolist()
        self._pump_drift = Drift(_PUMP_DRIFT[0], _PUMP_DRIFT[1], STEP_S, starts[0])
        self._ripple_phase = float(rng.uniform(0.0, 2.0 * math.pi))
        self.lips = DieLips(p, rng, (starts[2], starts[3]))
        self.slurry = SlurryFeed(p, rng if batches is None else batches, starts[1])
        self._web_keep = math.exp(-STEP_S / p.web_lag_s)
        self._ramp_m_s = 0.0
        self._nominal_ml_s = 0.0
        self._carried_kg = (0.0, 0.0)
        self._behind: dict[float, deque[Segment]] = {p.gauge_distance_m: deque(), p.die_to_wet_gauge_m: deque()}
        self._splice_left_m = 0.0
        self.pump_share = 1.0  # of what the pump should deliver; a fault's
        self.quick_stop = False
        self.splices: deque[float] = deque(maxlen=16)
        self.speed_m_s = 0.0
        self.measured_speed_m_s = 0.0
        self.position_m = 0.0
        self.flow_ml_s = 0.0
        self.measured_flow_ml_s = 0.0
        self.slurry_kg = 0.0  # all that the pump delivered
        self.pressure_pa = 0.0
        self.last: Segment | None = None

    @property
    def held_back_kg(self) -> tuple[float, float]:
        """Dry mass and solvent that hang at the die and are not yet on the web."""
        return self._carried_kg

    def splice(self) -> None:
        """A splice is at the die."""
        self._splice_left_m = _SPLICE_M
        self.splices.append(self.position_m)

    def step(self, speed_sp_m_s: float, pump_sp_ml_s: float, normal: list[float]) -> Segment | None:
        """One inner step towards the two set-points (0: stop). The web that passed the die, None when it stood."""
        before = self.speed_m_s
        self._drive(speed_sp_m_s, normal[0])
        length = 0.5 * (before + self.speed_m_s) * STEP_S
        flow_before = self.flow_ml_s
        self._pump(pump_sp_ml_s, normal)
        flow = 0.5 * (flow_before + self.flow_ml_s)
        self.slurry.step(flow, normal[4])
        self.pressure_pa = self.slurry.die_pressure_pa(flow)
        self.lips.step(normal[5:7], self.pressure_pa)
        slurry_kg = flow * 1e-6 * STEP_S * self._p.slurry_density_kg_m3
        self.slurry_kg += slurry_kg
        solids = self.slurry.solids_fraction
        dry = slurry_kg * solids + self._carried_kg[0]
        solvent = slurry_kg * (1.0 - solids) + self._carried_kg[1]
        if length <= 0.0:
            # What drips while the web stands lies at the die and leaves with the next piece of web.
            self._carried_kg = (dry, solvent)
            self.last = None
            return None
        self._carried_kg = (0.0, 0.0)
        spliced = self._splice_left_m > 0.0
        if spliced:
            self._splice_left_m -= length
            self._carried_kg = (dry * _SPLICE_KEPT, solvent * _SPLICE_KEPT)
            dry, solvent = dry - self._carried_kg[0], solvent - self._carried_kg[1]
        return self._lay(length, dry, solvent, spliced)

    def _lay(self, length: float, dry: float, solvent: float, spliced: bool) -> Segment:
        self.position_m += length
        area = length * self._p.width_m
        film_m = (dry + solvent) / (self._p.slurry_density_kg_m3 * area)
        lips, thinnest_m = self.lips, self.slurry.thinnest_film_m(self.speed_m_s)
        segment = Segment(self.position_m, length, dry, solvent, dry / area, lips.tilt, lips.bow)
        segment.mask = lips.mask(film_m, thinnest_m)
        segment.splice, segment.striped = spliced, 0.0 < film_m < thinnest_m
        for pieces in self._behind.values():
            pieces.append(segment)
        self.last = segment
        return segment

    def _drive(self, target_m_s: float, normal: float) -> None:
        reach = (_QUICK_STOP_M_S2 if self.quick_stop else self._p.web_acceleration_m_s2) * STEP_S
        self._ramp_m_s += min(reach, max(-reach, target_m_s - self._ramp_m_s))
        self.speed_m_s = self._ramp_m_s + (self.speed_m_s - self._ramp_m_s) * self._web_keep
        if target_m_s == 0.0 and self._ramp_m_s == 0.0 and self.speed_m_s < 1e-4:
            self.speed_m_s = 0.0
        self.measured_speed_m_s = self.speed_m_s * (1.0 + self._noise * _SPEED_JITTER * normal)

    def _pump(self, target_ml_s: float, normal: list[float]) -> None:
        lag = self._p.shut_off_lag_s
        if target_ml_s > 0.0:
            lag = self._p.pump_lag_s * self.slurry.viscosity_pa_s / self._p.viscosity_pa_s
        wanted = target_ml_s * self.pump_share
        self._nominal_ml_s = wanted + (self._nominal_ml_s - wanted) * math.exp(-STEP_S / lag)
        if wanted == 0.0 and self._nominal_ml_s < 1e-6:
            self._nominal_ml_s = 0.0
        self._ripple_phase += 2.0 * math.pi * STEP_S / _PUMP_RIPPLE_PERIOD_S
        error = self._pump_drift.step(normal[1]) + _PUMP_RIPPLE * math.sin(self._ripple_phase)
        self.flow_ml_s = self._nominal_ml_s * (1.0 + self._noise * (error + _PUMP_JITTER * normal[2]))
        self.measured_flow_ml_s = self.flow_ml_s * (1.0 + self._noise * 0.001 * normal[3])

    def under(self, distance_m: float) -> Segment | None:
        """The piece of web that is `distance_m` behind the die, None before any is there.

        Ever one of the two gauges' distances: web that has passed it is forgotten.
        """
        place = self.position_m - distance_m
        pieces = self._behind[distance_m]
        while pieces and pieces[0].end_m < place:
            pieces.popleft()
        return pieces[0] if pieces and place > 0.0 else None

    def lane_loading(self, segment: Segment, lane: int) -> float:
        """Dry mass per area of one lane (from 0) of that piece of web, kg/m2."""
        if segment.mask is not None:
            return float(self.profile(segment)[lane])
        return segment.loading_kg_m2 * self.lips.lane(lane, segment.tilt, segment.bow)

    def profile(self, segment: Segment) -> Lanes:
        """Dry mass per area of all lanes of that piece of web, kg/m2; their mean is the segment's loading."""
        return segment.loading_kg_m2 * self.lips.profile(segment.tilt, segment.bow, segment.mask)
