"""Filling and soaking: electrolyte into dry stacks under vacuum, weighed before and after, then time to wet them.

Electrolyte rises in pores with the square root of time (Lucas 1918; Washburn, Phys. Rev. 17 (1921) 273), and slower in
smaller ones: the time to wet a stack through goes here with the inverse square of the cathode's porosity. That exponent
and the design's soaking time are assumed. Electrolyte is conserved: dispensed = in cells + scrap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from simulators.faults import FaultKind, FaultSetting
from simulators.machine import Values
from simulators.machines import line_design as design
from simulators.machines.line_machine import STEP_S, LineMachine
from simulators.material import Row
from simulators.timebase import NS_PER_S


class Filling(LineMachine):
    """Parameters: seconds a cell, soaking time, spread of the dose, and what the scales let pass."""

    NAME = "filling"
    TAKES = "stack"
    MAKES = "cell"
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "fill_s": 30.0,
        "soak_s": 7200.0,
        "wetting_s": 5400.0,
        "dose_spread": 0.005,
        "dose_limit_fraction": 0.05,
        "nominal_dose_kg": 8e-3,
    }
    faults: Mapping[str, FaultKind] = MappingProxyType(
        {
            "short_dose": FaultKind(
                "a worn pump seal: less electrolyte than weighed",
                {"fraction": FaultSetting("share that is missing and not weighed", "1", 0.1)},
            )
        }
    )
    RATED_ITEM_S = 30.0
    CELLS_AN_ITEM = 1.0

    def own_setpoints(self) -> Mapping[str, float]:
        return {"filler_dose_sp_kg": self.p["nominal_dose_kg"]}

    def begin(self) -> None:
        self._soaking: deque[tuple[int, Row]] = deque()
        self._worked_s = 0.0
        self._dose_kg = math.nan
        self.dispensed_kg = self.cells_kg = self.scrap_kg = 0.0

    def work(self, now_ns: int) -> float:
        self._worked_s += STEP_S
        while self._worked_s >= self.p["fill_s"] and self.inbox:
            self._worked_s -= self.p["fill_s"]
            self._fill(self.inbox.popleft(), now_ns)
        return 1.0

    def _fill(self, stack: Row, now_ns: int) -> None:
        wanted = self.setpoints["filler_dose_sp_kg"]
        weighed = wanted * (1.0 + self.p["dose_spread"] * float(self.rng.standard_normal()))
        dose = weighed * (1.0 - self.setting("short_dose", "fraction", 0.0))
        self._dose_kg = weighed
        self.dispensed_kg += dose
        row: Row = {
            "stack": stack["id"],
            "defects": list(stack["defects"]),
            "loading_factor": stack["loading_factor"],
            "np_ratio": stack["np_ratio"],
            "porosity": stack["porosity"],
            "contact_ohm": stack["contact_ohm"],
            "electrolyte_kg": dose,
            "electrolyte_factor": dose / self.p["nominal_dose_kg"],
            "wetted_fraction": 0.0,
        }
        if abs(weighed / wanted - 1.0) > self.p["dose_limit_fraction"]:
            self.scrap_kg += dose
            self.finish(row, now_ns, "dose")
            return
        self._soaking.append((now_ns + round(self.p["soak_s"]) * NS_PER_S, row))

    def in_work(self) -> int:
        return len(self._soaking)

    def rest(self, now_ns: int) -> None:
        while self._soaking and self._soaking[0][0] <= now_ns:
            _, row = self._soaking.popleft()
            whole_s = self.p["wetting_s"] * (design.POROSITY / row["porosity"]) ** 2
            row["wetted_fraction"] = min(1.0, math.sqrt(self.p["soak_s"] / whole_s))
            row["defects"] += ["dry"] if row["electrolyte_factor"] * row["wetted_fraction"] < 0.9 else []
            self.cells_kg += row["electrolyte_kg"]
            self.finish(row, now_ns)

    def own_values(self) -> Mapping[str, float | Values]:
        return {"filler_dose_kg": self._dose_kg, "filler_soaking": len(self._soaking)}

    def own_truth(self) -> Mapping[str, float]:
        soaking = math.fsum(row["electrolyte_kg"] for _, row in self._soaking)
        return {
            "dispensed_kg": self.dispensed_kg,
            "cells_kg": self.cells_kg,
            "scrap_kg": self.scrap_kg,
            "soaking_kg": soaking,
        }
