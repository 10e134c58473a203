"""Four-zone dryer: air temperatures under control, and the solvent in every piece of web between die and exit.

Solvent is conserved: in = still in the web + evaporated + gone out with the web.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulators.machines.coater_drying import ZERO_C_K, dry, wet_film
from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, ZONES, CoaterParameters
from simulators.machines.coater_web import Segment

# Drying is integrated in closed form, so that its step only sets the size of the pieces of web: 0.5 m at 0.1 m/s.
STEPS_PER_PARCEL = 5
_RIPPLE = (0.25, 40.0)
# Grid of the film's temperature and rate over air temperature.
_GRID_K = np.arange(ZERO_C_K, ZERO_C_K + 261.0)


class Heaters:
    """Air temperature of each zone: first order towards its set-point, leaking a little to its neighbours."""

    def __init__(self, p: CoaterParameters, normals: list[float]) -> None:
        self._p = p
        self._share = 1.0 - math.exp(-STEP_S / p.zone_lag_s)
        self._ripple = [Drift(_RIPPLE[0], _RIPPLE[1], STEP_S, start) for start in normals]
        self._base = [p.ambient_c] * ZONES
        self.air_c = [p.ambient_c] * ZONES

    def step(self, setpoints_c: list[float] | None, normals: list[float]) -> None:
        """One inner step; None: heaters off, everything cools to the room."""
        p, base = self._p, self._base
        targets = [p.ambient_c] * ZONES if setpoints_c is None else setpoints_c
        # The outer walls are tight: beyond them it is as warm as inside.
        row = [base[0], *base, base[-1]]
        self._base = base = [
            t + self._share * (target - t + p.zone_coupling * (before + after - 2.0 * t))
            for t, target, before, after in zip(base, targets, row[:-2], row[2:], strict=True)
        ]
        ripple = [r.step(n) for r, n in zip(self._ripple, normals, strict=True)]
        on = 0.0 if setpoints_c is None else p.disturbance
        self.air_c = [t + on * r for t, r in zip(base, ripple, strict=True)]

    def ready(self, setpoints_c: list[float]) -> bool:
        """True when every zone is close enough to its set-point for a start."""
        return all(abs(a - s) <= self._p.zone_ready_k for a, s in zip(self.air_c, setpoints_c, strict=True))


class Dryer:
    """Pieces of web on their way from the die to the dryer's exit, and what came out last."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._film_k, self._rate = wet_film(_GRID_K, p.heat_transfer_w_m2_k)
        self._exit_m = p.die_to_dryer_m + ZONES * p.zone_length_m
        self._zone_begin = p.die_to_dryer_m + p.zone_length_m * np.arange(ZONES)[:, np.newaxis]
        self._zone_end = self._zone_begin + p.zone_length_m
        # Rows: distance of the centre from the die, length, dry kg, solvent kg.
        self._parcels: NDArray[np.float64] = np.empty((4, 0))
        self._growing = [0.0, 0.0, 0.0]
        self._steps = 0
        self.solvent_in_kg = 0.0
        self.evaporated_kg = 0.0
        self.solvent_out_kg = 0.0
        self.residual_fraction = math.nan
        self.web_c = p.ambient_c

    @property
    def solvent_inside_kg(self) -> float:
        """Solvent in the web between die and exit, wet part at the die included."""
        return float(self._parcels[3].sum()) + self._growing[2]

    def step(self, segment: Segment | None, air_c: list[float]) -> None:
        """One inner step: take up the web that passed the die, dry every few steps."""
        if segment is not None:
            self._growing[0] += segment.length_m
            self._growing[1] += segment.dry_kg
            self._growing[2] += segment.solvent_kg
            self.solvent_in_kg += segment.solvent_kg
        self._steps += 1
        if self._steps == STEPS_PER_PARCEL:
            self._steps = 0
            self._dry(air_c)

    def _dry(self, air_c: list[float]) -> None:
        duration = STEP_S * STEPS_PER_PARCEL
        moved, dry_kg, solvent_kg = self._growing
        old = self._parcels
        if old.shape[1]:
            self._evaporate(moved, duration, air_c)
            old[0] += moved
        if moved > 0.0:
            self._growing = [0.0, 0.0, 0.0]
            fresh = np.array([[0.5 * moved], [moved], [dry_kg], [solvent_kg]])
            self._parcels = np.concatenate((fresh, old), axis=1)
        self._leave(air_c)

    def _evaporate(self, moved: float, duration: float, air_c: list[float]) -> None:
        place, length, dry_kg, solvent_kg = self._parcels
        area = length * self._p.width_m
        critical = self._p.critical_solvent_fraction * dry_kg / area
        solvent = solvent_kg / area
        if moved > 0.0:
            inside = np.minimum(place + moved, self._zone_end) - np.maximum(place, self._zone_begin)
            time_s = np.maximum(inside, 0.0) * (duration / moved)
        else:
            time_s = np.where((place >= self._zone_begin) & (place < self._zone_end), duration, 0.0)
        rates = np.interp(np.array(air_c) + ZERO_C_K, _GRID_K, self._rate)
        left = dry(solvent, critical, rates @ time_s)
        self.evaporated_kg += float(((solvent - left) * area).sum())
        self._parcels[3] = left * area

    def _leave(self, air_c: list[float]) -> None:
        """Take away what has passed the exit; the oldest pieces are the last columns."""
        parcels = self._parcels
        staying = int(np.searchsorted(parcels[0], self._exit_m))
        if staying == parcels.shape[1]:
            return
        gone = parcels[:, staying:]
        self.solvent_out_kg += float(gone[3].sum())
        self._parcels = parcels[:, :staying].copy()
        dry_kg, solvent_kg = float(gone[2, 0]), float(gone[3, 0])
        air_k = air_c[-1] + ZERO_C_K
        coated = dry_kg > 0.005 * self._p.width_m * float(gone[1, 0])
        self.residual_fraction = solvent_kg / dry_kg if coated else math.nan
        # In the falling-rate period film and air draw together as the rate falls: heat in = heat of evaporation.
        wetness = min(1.0, self.residual_fraction / self._p.critical_solvent_fraction) if coated else 0.0
        film_k = float(np.interp(air_k, _GRID_K, self._film_k))
        self.web_c = air_k - (air_k - film_k) * wetness - ZERO_C_K
