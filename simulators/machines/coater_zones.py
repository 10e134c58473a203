"""The dryer's air, zone by zone: temperature under control, fans, exhaust, solvent in the air, energy. No web in here.

Each zone's air is well mixed. What evaporates into it leaves through its exhaust, and the books of it are kept.
"""

from __future__ import annotations

import math

import numpy as np

from simulators.machines.coater_drying import SOLVENTS, Array, lel_share
from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, CoaterParameters

_RIPPLE = (0.25, 40.0)
_FAN_LAG_S = 10.0
# Without its fan a zone still has this share of its flow: draught, and the neighbours' fans.
STALLED = 0.05
_AIR_J_KG_K, _AIR_KG_K_M3 = 1006.0, 353.0  # density of air is 353 / T at one atmosphere
J_PER_KWH = 3.6e6


class Heaters:
    """Air temperature of each zone: first order towards its set-point, leaking a little to its neighbours."""

    def __init__(self, p: CoaterParameters, normals: list[float]) -> None:
        self._p = p
        self._share = 1.0 - math.exp(-STEP_S / p.zone_lag_s)
        self._ripple = [Drift(_RIPPLE[0], _RIPPLE[1], STEP_S, start) for start in normals]
        self._base = [p.ambient_c] * p.zones
        self.air_c = [p.ambient_c] * p.zones
        self.warming_k_s = [0.0] * p.zones
        self.works = [True] * p.zones

    def step(self, setpoints_c: list[float] | None, normals: list[float]) -> None:
        """One inner step; None: heaters off, everything cools to the room."""
        p, base = self._p, self._base
        off = setpoints_c is None
        wanted = [p.ambient_c] * p.zones if setpoints_c is None else setpoints_c
        targets = [t if works else p.ambient_c for t, works in zip(wanted, self.works, strict=True)]
        # The outer walls are tight: beyond them it is as warm as inside.
        row = [base[0], *base, base[-1]]
        self._base = [
            t + self._share * (target - t + p.zone_coupling * (before + after - 2.0 * t))
            for t, target, before, after in zip(base, targets, row[:-2], row[2:], strict=True)
        ]
        self.warming_k_s = [(new - old) / STEP_S for new, old in zip(self._base, base, strict=True)]
        ripple = [r.step(n) for r, n in zip(self._ripple, normals, strict=True)]
        on = 0.0 if off else p.disturbance
        self.air_c = [t + on * r for t, r in zip(self._base, ripple, strict=True)]

    def ready(self, setpoints_c: list[float]) -> bool:
        """True when every zone is close enough to its set-point for a start."""
        return all(abs(a - s) <= self._p.zone_ready_k for a, s in zip(self.air_c, setpoints_c, strict=True))


class ZoneAir:
    """Fans, exhaust, solvent vapour and energy of each zone."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._solvent = SOLVENTS[p.solvent]
        self._fan_share = 1.0 - math.exp(-STEP_S / _FAN_LAG_S)
        self.fan_works = [True] * p.zones
        self.flow = [1.0] * p.zones
        self.exhaust_m3_s = [p.exhaust_m3_s] * p.zones
        self.vapour_kg = [0.0] * p.zones
        self.power_w = [0.0] * p.zones
        self.energy_j = 0.0
        self.taken_up_kg = 0.0
        self.exhausted_kg = 0.0
        # For the kernel.
        self.h = np.full(p.zones, p.heat_transfer_w_m2_k)
        self.air_kg_m3 = np.zeros(p.zones)

    def lel(self, air_c: list[float]) -> list[float]:
        """Solvent in each zone's air as a share of the lower explosive limit."""
        return [lel_share(float(c), t, self._solvent) for c, t in zip(self.air_kg_m3, air_c, strict=True)]

    def blow(self, flow_sp: list[float], exhaust_sp_m3_s: list[float], powered: bool) -> None:
        """Fans follow their set-points (share of full flow; m3/s at the zone's temperature)."""
        p, share = self._p, self._fan_share
        for z in range(p.zones):
            runs = powered and self.fan_works[z]
            flow = flow_sp[z] if runs else STALLED
            exhaust = exhaust_sp_m3_s[z] * (1.0 if runs else STALLED)
            if flow != self.flow[z]:
                self.flow[z] += share * (flow - self.flow[z])
                # Arrays of slot nozzles: Nu grows with Re^(2/3) (Martin, Advances in Heat Transfer 13 (1977) 1).
                self.h[z] = p.heat_transfer_w_m2_k * self.flow[z] ** (2.0 / 3.0)
            self.exhaust_m3_s[z] += share * (exhaust - self.exhaust_m3_s[z])

    def step(self, heaters: Heaters, evaporated_kg: Array, web_j: Array, powered: bool) -> None:
        """One inner step: what evaporated comes in evenly, the mixed air goes out; books and meters."""
        p = self._p
        evaporated, to_web = evaporated_kg.tolist(), web_j.tolist()
        total_w = 0.0
        for z in range(p.zones):
            exhaust = self.exhaust_m3_s[z]
            a = exhaust / p.zone_air_m3
            keep = math.exp(-a * STEP_S)
            before, came = self.vapour_kg[z], evaporated[z]
            after = before * keep + came / (a * STEP_S) * (1.0 - keep) if a > 0.0 else before + came
            self.exhausted_kg += before + came - after
            self.taken_up_kg += came
            self.vapour_kg[z] = after
            self.air_kg_m3[z] = after / p.zone_air_m3
            air_c = heaters.air_c[z]
            makeup = exhaust * _AIR_KG_K_M3 / (air_c + 273.15) * _AIR_J_KG_K
            heat = (makeup + p.wall_loss_w_k) * (air_c - p.ambient_c) + to_web[z] / STEP_S
            heat += p.zone_heat_j_k * heaters.warming_k_s[z]
            heater_w = max(0.0, heat) if powered and heaters.works[z] else 0.0
            fan_w = p.fan_power_w * self.flow[z] ** 3 if powered and self.fan_works[z] else 0.0
            self.power_w[z] = heater_w + fan_w
            total_w += heater_w + fan_w
        self.energy_j += total_w * STEP_S
