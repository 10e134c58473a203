"""Web drive, slurry pump and coating: how much lies on every piece of web, and where that piece is now.

Mass is conserved: what the pump delivered lies on the web. No dryer, no gauge, no sequence here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import LANES, STEP_S, CoaterParameters

# Standard deviations and correlation times of the process. Together with the lane profile they make a loading CV near
# 1.6 %: 144 real cathodes, comma-coated in open loop, had 2.3, 1.3 and 1.2 % at gaps of 100, 200 and 300 um.
_PUMP_DRIFT = (0.007, 7200.0)
_PUMP_JITTER = 0.0015
_PUMP_RIPPLE = 0.003
_PUMP_RIPPLE_PERIOD_S = 37.0
_BATCH_DRIFT = (0.006, 10800.0)
_TILT_DRIFT = (0.005, 5400.0)
_BOW_DRIFT = (0.003, 5400.0)
_SPEED_JITTER = 0.0005
_LANE_SPREAD = 0.009
# Surface tension piles slurry up at the edges and thins it just inside them.
_EDGE = (0.028, -0.012)

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


class CoaterWeb:
    """Speed, position, pump and the coated web between die and gauge."""

    def __init__(self, p: CoaterParameters, rng: np.random.Generator) -> None:
        self._p = p
        self._noise = p.disturbance
        starts = rng.standard_normal(4).tolist()
        self._pump_drift = Drift(_PUMP_DRIFT[0], _PUMP_DRIFT[1], STEP_S, starts[0])
        self._batch = Drift(_BATCH_DRIFT[0], _BATCH_DRIFT[1], STEP_S, starts[1])
        self._tilt = Drift(_TILT_DRIFT[0], _TILT_DRIFT[1], STEP_S, starts[2])
        self._bow = Drift(_BOW_DRIFT[0], _BOW_DRIFT[1], STEP_S, starts[3])
        self._ripple_phase = float(rng.uniform(0.0, 2.0 * math.pi))
        self._base, self._tilt_shape, self._bow_shape = _profile(rng, p.disturbance)
        self._base_list = self._base.tolist()
        self._tilt_list = self._tilt_shape.tolist()
        self._bow_list = self._bow_shape.tolist()
        self._web_keep = math.exp(-STEP_S / p.web_lag_s)
        self._ramp_m_s = 0.0
        self._nominal_ml_s = 0.0
        self._carried_kg = (0.0, 0.0)
        self._history: deque[Segment] = deque()
        self.speed_m_s = 0.0
        self.measured_speed_m_s = 0.0
        self.position_m = 0.0
        self.flow_ml_s = 0.0
        self.measured_flow_ml_s = 0.0
        self.last: Segment | None = None

    def step(self, speed_sp_m_s: float, pump_sp_ml_s: float, normal: list[float]) -> Segment | None:
        """One inner step towards the two set-points (0: stop). The web that passed the die, None when it stood."""
        before = self.speed_m_s
        self._drive(speed_sp_m_s, normal[0])
        length = 0.5 * (before + self.speed_m_s) * STEP_S
        flow_before = self.flow_ml_s
        self._pump(pump_sp_ml_s, normal)
        slurry_kg = 0.5 * (flow_before + self.flow_ml_s) * 1e-6 * STEP_S * self._p.slurry_density_kg_m3
        solids = self._p.solids_fraction * (1.0 + self._noise * self._batch.step(normal[4]))
        tilt = self._noise * self._tilt.step(normal[5])
        bow = self._noise * self._bow.step(normal[6])
        dry = slurry_kg * solids + self._carried_kg[0]
        solvent = slurry_kg * (1.0 - solids) + self._carried_kg[1]
        if length <= 0.0:
            # What drips while the web stands lies at the die and leaves with the next piece of web.
            self._carried_kg = (dry, solvent)
            self.last = None
            return None
        self._carried_kg = (0.0, 0.0)
        self.position_m += length
        loading = dry / (length * self._p.width_m)
        segment = Segment(self.position_m, length, dry, solvent, loading, tilt, bow)
        self._history.append(segment)
        self.last = segment
        return segment

    def _drive(self, target_m_s: float, normal: float) -> None:
        reach = self._p.web_acceleration_m_s2 * STEP_S
        self._ramp_m_s += min(reach, max(-reach, target_m_s - self._ramp_m_s))
        self.speed_m_s = self._ramp_m_s + (self.speed_m_s - self._ramp_m_s) * self._web_keep
        if target_m_s == 0.0 and self._ramp_m_s == 0.0 and self.speed_m_s < 1e-4:
            self.speed_m_s = 0.0
        self.measured_speed_m_s = self.speed_m_s * (1.0 + self._noise * _SPEED_JITTER * normal)

    def _pump(self, target_ml_s: float, normal: list[float]) -> None:
        lag = self._p.pump_lag_s if target_ml_s > 0.0 else self._p.shut_off_lag_s
        self._nominal_ml_s = target_ml_s + (self._nominal_ml_s - target_ml_s) * math.exp(-STEP_S / lag)
        if target_ml_s == 0.0 and self._nominal_ml_s < 1e-6:
            self._nominal_ml_s = 0.0
        self._ripple_phase += 2.0 * math.pi * STEP_S / _PUMP_RIPPLE_PERIOD_S
        error = self._pump_drift.step(normal[1]) + _PUMP_RIPPLE * math.sin(self._ripple_phase)
        self.flow_ml_s = self._nominal_ml_s * (1.0 + self._noise * (error + _PUMP_JITTER * normal[2]))
        self.measured_flow_ml_s = self.flow_ml_s * (1.0 + self._noise * 0.001 * normal[3])

    def under(self, distance_m: float) -> Segment | None:
        """The piece of web that is `distance_m` behind the die, None before any is there.

        Ever the same distance: web that has passed it is forgotten.
        """
        place = self.position_m - distance_m
        history = self._history
        while history and history[0].end_m < place:
            history.popleft()
        return history[0] if history and place > 0.0 else None

    def lane_loading(self, segment: Segment, lane: int) -> float:
        """Dry mass per area of one lane (from 0) of that piece of web, kg/m2."""
        relative = self._base_list[lane] + segment.tilt * self._tilt_list[lane] + segment.bow * self._bow_list[lane]
        return float(segment.loading_kg_m2 * relative)

    def profile(self, segment: Segment) -> NDArray[np.float64]:
        """Dry mass per area of all lanes of that piece of web, kg/m2; their mean is the segment's loading."""
        relative = self._base + segment.tilt * self._tilt_shape + segment.bow * self._bow_shape
        return np.asarray(segment.loading_kg_m2 * relative, dtype=np.float64)


def _profile(
    rng: np.random.Generator, size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The die's lasting lane profile (mean 1), and the shapes of its two slow drifts (mean 0, SD 1)."""
    across = np.linspace(-1.0, 1.0, LANES)
    base = _LANE_SPREAD * rng.standard_normal(LANES)
    # Lips deflect smoothly: neighbouring lanes resemble each other.
    base = np.convolve(np.pad(base, 2, mode="edge"), np.full(5, 0.2), mode="valid") * math.sqrt(5.0)
    base[[0, -1]] += _EDGE[0]
    base[[1, -2]] += _EDGE[1]
    base -= base.mean()
    bow = across**2 - np.mean(across**2)
    return 1.0 + size * base, across / across.std(), bow / bow.std()
