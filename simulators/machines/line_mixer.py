"""Planetary mixer: charges powder, binder solution and solvent, mixes, and hands over a batch of slurry.

One batch is one job of the state model: charged at the start of EXECUTE, handed over at its end. What sticks to vessel
and tools (the heel) stays and goes into the next batch. Slurry is conserved: charged = batches + scrap + in the vessel.
Dispersing is one time constant; temperature is one lump between shaft power and cooling jacket. Both are assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from simulators.faults import FaultKind, FaultSetting
from simulators.machine import Values
from simulators.machines import line_design as design
from simulators.machines.line_machine import STEP_S, LineMachine
from simulators.machines.line_states import Event, State
from simulators.material import HANDOVER_S, Material, Row
from simulators.timebase import NS_PER_S

_SLURRY_J_KG_K = 1_200.0
_LOST = frozenset({State.STOPPING, State.ABORTING})


class Mixer(LineMachine):
    """Parameters: batches of the shift before, spread of what is charged, share of the vessel that stays, and so on."""

    NAME = "mixer"
    MAKES = "batch"
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "ready_batches": 1.0,
        "charge_spread": 0.008,  # with powder's moisture and binder solution: solids vary by 0.4 % from batch to batch
        "heel_fraction": 0.02,
        "solids_tolerance": 0.015,
        "disperse_s": 1800.0,
        "jacket_c": 20.0,
        "jacket_w_k": 60.0,
        "shaft_w": 1500.0,
    }
    faults: Mapping[str, FaultKind] = MappingProxyType(
        {
            "solids_error": FaultKind(
                "the solvent's dosing is off: solids deviate by a fraction",
                {"fraction": FaultSetting("relative deviation of the solids", "1", -0.01)},
            )
        }
    )
    RATED_ITEM_S = 9000.0
    CELLS_AN_ITEM = 75.0 * 0.65 / (design.LOADING_KG_M2 * design.WIDTH_M) * design.CELLS_A_METRE

    def own_setpoints(self) -> Mapping[str, float]:
        return {"mixer_solids_sp": 0.65, "mixer_batch_sp_kg": 75.0, "mixer_time_sp_s": 9000.0}

    def begin(self) -> None:
        self._vessel_kg = 0.0
        self._solids = 0.0
        self._mixed_s = 0.0
        self._charged = False
        self._temperature_c = self.p["jacket_c"]
        self.charged_kg = self.out_kg = self.scrap_kg = 0.0

    def connect(self, material: Material) -> None:
        """As for all; a new run begins with the batches that the shift before has left."""
        super().connect(material)
        for _ in range(int(self.p["ready_batches"]) if not self.made_before else 0):
            self._charge()
            self._hand_over(self._start_ns - HANDOVER_S * NS_PER_S, "")
        material.flush()

    def _charge(self) -> None:
        fault = self.setting("solids_error", "fraction", 0.0)
        solids = self.setpoints["mixer_solids_sp"] * (1.0 + fault)
        powder, solvent = 1.0 + self.p["charge_spread"] * self.rng.standard_normal(2)
        mass = self.setpoints["mixer_batch_sp_kg"]
        dry_kg, wet_kg = float(mass * solids * powder), float(mass * (1.0 - solids) * solvent)
        heel_kg = self._vessel_kg
        self._solids = (dry_kg + heel_kg * self._solids) / (dry_kg + wet_kg + heel_kg)
        self._vessel_kg = heel_kg + dry_kg + wet_kg
        self.charged_kg += dry_kg + wet_kg
        self._charged, self._mixed_s = True, 0.0

    def work(self, now_ns: int) -> float:
        if not self._charged:
            self._charge()
        self._mixed_s += STEP_S
        if self._mixed_s >= self.setpoints["mixer_time_sp_s"]:
            off = abs(self._solids / self.setpoints["mixer_solids_sp"] - 1.0) > self.p["solids_tolerance"]
            self._hand_over(now_ns, "solids out of tolerance" if off else "")
            self.unit.trigger(Event.COMPLETED)
        return 0.6 + 0.4 * self._lumps

    @property
    def _lumps(self) -> float:
        """Share that is not dispersed yet."""
        return math.exp(-self._mixed_s / self.p["disperse_s"])

    def _hand_over(self, now_ns: int, scrap: str) -> None:
        left = self._vessel_kg * self.p["heel_fraction"]
        mass = self._vessel_kg - left
        row: Row = {
            "mass_kg": mass,
            "solids_fraction": self._solids,
            "density_kg_m3": design.slurry_density_kg_m3(self._solids),
            "viscosity_pa_s": design.slurry_viscosity_pa_s(self._solids),
        }
        self.finish(row, now_ns, scrap)
        if scrap:
            self.scrap_kg += mass
        else:
            self.out_kg += mass
        self._vessel_kg, self._charged = left, False

    def rest(self, now_ns: int) -> None:
        if self._charged and self.unit.state in _LOST:
            self._hand_over(now_ns, "stopped while mixing")
        heat_w = self.p["shaft_w"] * (0.6 + 0.4 * self._lumps) if self.unit.state is State.EXECUTE else 0.0
        capacity = (self._vessel_kg + 50.0) * _SLURRY_J_KG_K  # with vessel and tools
        steady = self.p["jacket_c"] + heat_w / self.p["jacket_w_k"]
        self._temperature_c = steady + (self._temperature_c - steady) * math.exp(
            -self.p["jacket_w_k"] * STEP_S / capacity
        )

    def own_values(self) -> Mapping[str, float | Values]:
        mixing = self._charged and self.unit.state is State.EXECUTE
        viscosity = (
            design.slurry_viscosity_pa_s(self._solids) * (1.0 + 2.0 * self._lumps) if self._charged else math.nan
        )
        return {
            "mixer_temperature_c": self._temperature_c,
            "mixer_viscosity_pa_s": viscosity,
            "mixer_mass_kg": self._vessel_kg,
            "mixer_progress": min(1.0, self._mixed_s / self.setpoints["mixer_time_sp_s"]) if self._charged else 0.0,
            "mixer_speed_rpm": 60.0 if mixing else 0.0,
        }

    def own_truth(self) -> Mapping[str, float]:
        return {
            "charged_kg": self.charged_kg,
            "batches_kg": self.out_kg,
            "scrap_kg": self.scrap_kg,
            "vessel_kg": self._vessel_kg,
            "solids_fraction": self._solids,
        }
