"""The dryer's air, zone by zone: temperature under control, fans, exhaust, solvent in the air, energy. No web in here.

Each zone's air is well mixed. What evaporates into it leaves through its exhaust, and the books of it are kept.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import drying_air as k
from simulators.machines.coater_drying import SOLVENTS, Array
from simulators.machines.coater_noise import Drift
from simulators.machines.coater_parameters import STEP_S, CoaterParameters

_RIPPLE = (0.25, 40.0)
_FAN_LAG_S = 10.0
# Without its fan a zone still has this share of its flow: draught, and the neighbours' fans.
STALLED = 0.05
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
        self._fan_share = 1.0 - math.exp(-STEP_S / _FAN_LAG_S)
        self.fan_works = [True] * p.zones
        self._blown: tuple[object, ...] = ()
        self._table = np.zeros((k.ROWS, p.zones))
        self._table[k.FLOW] = 1.0
        self._table[k.EXHAUST_M3_S] = p.exhaust_m3_s
        solvent = SOLVENTS[p.solvent]
        self._common = np.array(
            [
                *(p.ambient_c, p.zone_air_m3, p.wall_loss_w_k, p.zone_heat_j_k, p.fan_power_w),
                *(solvent.molar_kg, solvent.lel_fraction or 0.0),
            ]
        )
        # Views of the table: nozzle air over its design, exhaust at the zone's temperature, solvent in the zone's air,
        # the same per volume and over the lower explosive limit, power of heater and fans.
        self.flow: Array = self._table[k.FLOW]
        self.exhaust_m3_s: Array = self._table[k.EXHAUST_M3_S]
        self.vapour_kg: Array = self._table[k.VAPOUR_KG]
        self.air_kg_m3: Array = self._table[k.AIR_KG_M3]
        self.lel: Array = self._table[k.LEL]
        self.power_w: Array = self._table[k.POWER_W]
        self.h: Array = np.full(p.zones, p.heat_transfer_w_m2_k)  # for the web
        self.highest_lel = 0.0
        self.energy_j = 0.0
        self.taken_up_kg = 0.0
        self.exhausted_kg = 0.0

    def blow(self, flow_sp: list[float], exhaust_sp_m3_s: list[float], on: bool) -> None:
        """Fans follow their set-points (share of full flow; m3/s at the zone's temperature)."""
        asked = (*flow_sp, *exhaust_sp_m3_s, *self.fan_works, on)
        if asked == self._blown:
            return
        p, share, table = self._p, self._fan_share, self._table
        runs = np.array(self.fan_works) & on
        flow = np.where(runs, flow_sp, STALLED)
        exhaust = np.array(exhaust_sp_m3_s) * np.where(runs, 1.0, STALLED)
        for row, wanted in ((k.FLOW, flow), (k.EXHAUST_M3_S, exhaust)):
            table[row] += share * (wanted - table[row])
        settled = np.allclose(table[k.FLOW], flow, 0.0, 1e-9) and np.allclose(table[k.EXHAUST_M3_S], exhaust, 0.0, 1e-9)
        self._blown = asked if settled else ()
        # Arrays of slot nozzles: Nu grows with Re^(2/3) (Martin, Advances in Heat Transfer 13 (1977) 1).
        self.h = p.heat_transfer_w_m2_k * table[k.FLOW] ** (2.0 / 3.0)

    def step(self, heaters: Heaters, evaporated_kg: Array, web_j: Array, heated: bool, blown: bool = True) -> None:
        """One inner step: what evaporated comes in evenly, the mixed air goes out; books and meters."""
        table = self._table
        table[k.AIR_C] = heaters.air_c
        table[k.WARMING_K_S] = heaters.warming_k_s
        table[k.HEATER] = heaters.works if heated else 0.0
        table[k.FAN] = self.fan_works if blown else 0.0
        exhausted, taken_up, total_w, self.highest_lel = k.air_step(table, self._common, STEP_S, evaporated_kg, web_j)
        self.exhausted_kg += exhausted
        self.taken_up_kg += taken_up
        self.energy_j += total_w * STEP_S
