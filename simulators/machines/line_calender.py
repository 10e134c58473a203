"""Calender, slitter and cutter in one line: metres of web in; sheets, trim and scrap out.

Dry mass and foil are conserved: metres = sheets + trim + scrap, strip by strip. Within a metre the loading along the
web is taken as constant; across, a sheet has the mean of the lanes that it was cut from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from simulators.faults import FaultKind, FaultSetting
from simulators.machine import Values
from simulators.machines import line_design as design
from simulators.machines.line_machine import STEP_S, LineMachine
from simulators.material import Row


class CalenderSlitter(LineMachine):
    """Parameters: what the gauge behind the calender and the moisture meter let pass."""

    NAME = "calender_slitter"
    TAKES = "metre"
    MAKES = "sheet"
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "loading_limit_fraction": 0.15,
        "solvent_limit_fraction": 0.05,
        "burr_scrap_fraction": 0.003,
    }
    faults: Mapping[str, FaultKind] = MappingProxyType(
        {
            "line_load_error": FaultKind(
                "the rolls press less or more than the display says",
                {"fraction": FaultSetting("relative deviation of the line load", "1", -0.2)},
            ),
            "blunt_knife": FaultKind(
                "burrs: more sheets are thrown out",
                {"fraction": FaultSetting("share of the sheets that is scrapped", "1", 0.1)},
            ),
        }
    )
    RATED_ITEM_S = 5.0 / (design.STRIPS * design.SHEETS_A_METRE)
    CELLS_AN_ITEM = 1.0 / design.SHEETS_A_CELL

    def own_setpoints(self) -> Mapping[str, float]:
        return {"calender_speed_sp_m_s": 0.2, "calender_line_load_sp_n_m": design.LINE_LOAD_N_M}

    def begin(self) -> None:
        self._reach_m = 0.0
        self._speed_m_s = 0.0
        self._last = {"thickness": math.nan, "porosity": math.nan, "loading": math.nan}
        self.in_dry_kg = self.sheets_dry_kg = self.trim_dry_kg = self.scrap_dry_kg = 0.0
        self.in_foil_kg = self.sheets_foil_kg = self.trim_foil_kg = self.scrap_foil_kg = 0.0
        self.metres = 0

    def work(self, now_ns: int) -> float:
        self._speed_m_s = self.setpoints["calender_speed_sp_m_s"]
        self._reach_m += self._speed_m_s * STEP_S
        while self.inbox and self._reach_m >= self.inbox[0]["length_m"]:
            metre = self.inbox.popleft()
            self._reach_m -= metre["length_m"]
            self._pass(metre, now_ns)
        if not self.inbox:
            self._reach_m = 0.0
        return self._speed_m_s / 0.2

    def _pass(self, metre: Row, now_ns: int) -> None:
        lanes = np.array(metre["lane_kg_m2"])
        lane_m2 = metre["width_m"] / len(lanes) * metre["length_m"]
        load = self.setpoints["calender_line_load_sp_n_m"] * (1.0 + self.setting("line_load_error", "fraction", 0.0))
        porosity = design.calendered_porosity(load, np.maximum(lanes, 1e-6))
        thickness = design.coating_thickness_m(lanes, porosity) + metre["foil_kg_m2"] / 2700.0
        self._last = {"thickness": float(thickness.mean()), "porosity": float(porosity.mean())}
        self._last["loading"] = float(lanes.mean())
        self.metres += 1
        self.in_dry_kg += float(lanes.sum()) * lane_m2
        self.in_foil_kg += metre["foil_kg_m2"] * lane_m2 * len(lanes)
        each = (len(lanes) - 2) // design.STRIPS
        edge = (len(lanes) - each * design.STRIPS) // 2
        kept = slice(edge, edge + each * design.STRIPS)
        trimmed = float(lanes[: kept.start].sum() + lanes[kept.stop :].sum())
        self.trim_dry_kg += trimmed * lane_m2
        self.trim_foil_kg += metre["foil_kg_m2"] * lane_m2 * (len(lanes) - each * design.STRIPS)
        for strip in range(design.STRIPS):
            own = slice(edge + strip * each, edge + (strip + 1) * each)
            area = each * lane_m2 / design.SHEETS_A_METRE
            self._cut(metre, strip, area, float(lanes[own].mean()), float(thickness[own].mean()), now_ns)

    def _cut(self, metre: Row, strip: int, area: float, loading: float, thickness: float, now_ns: int) -> None:
        porosity = 1.0 - loading / (design.SOLID_KG_M3 * (thickness - metre["foil_kg_m2"] / 2700.0))
        whole = ""
        if abs(loading / design.LOADING_KG_M2 - 1.0) > self.p["loading_limit_fraction"]:
            whole = "loading out of limits"
        elif not metre["residual_solvent_fraction"] <= self.p["solvent_limit_fraction"]:
            whole = "not dry"
        burrs = self.rng.random(design.SHEETS_A_METRE)
        share = self.setting("blunt_knife", "fraction", self.p["burr_scrap_fraction"])
        for place in range(design.SHEETS_A_METRE):
            row: Row = {
                "metre": metre["id"],
                "strip": strip + 1.0,
                "place": place + 1.0,
                "area_m2": area,
                "loading_kg_m2": loading,
                "dry_kg": loading * area,
                "foil_kg": metre["foil_kg_m2"] * area,
                "thickness_m": thickness,
                "porosity": porosity,
                "residual_solvent_fraction": metre["residual_solvent_fraction"],
                "binder_index": metre["binder_index"],
            }
            scrap = whole or ("burr" if burrs[place] < share else "")
            self.finish(row, now_ns, scrap)
            if scrap:
                self.scrap_dry_kg += row["dry_kg"]
                self.scrap_foil_kg += row["foil_kg"]
            else:
                self.sheets_dry_kg += row["dry_kg"]
                self.sheets_foil_kg += row["foil_kg"]

    def own_values(self) -> Mapping[str, float | Values]:
        running = self.unit.state.name == "EXECUTE"
        return {
            "calender_speed_m_s": self._speed_m_s if running else 0.0,
            "calender_line_load_n_m": self.setpoints["calender_line_load_sp_n_m"] if running else 0.0,
            "calender_thickness_m": self._last["thickness"],
            "calender_porosity": self._last["porosity"],
            "calender_loading_kg_m2": self._last["loading"],
        }

    def own_truth(self) -> Mapping[str, float]:
        return {
            "metres": self.metres,
            "in_dry_kg": self.in_dry_kg,
            "sheets_dry_kg": self.sheets_dry_kg,
            "trim_dry_kg": self.trim_dry_kg,
            "scrap_dry_kg": self.scrap_dry_kg,
            "in_foil_kg": self.in_foil_kg,
            "sheets_foil_kg": self.sheets_foil_kg,
            "trim_foil_kg": self.trim_foil_kg,
            "scrap_foil_kg": self.scrap_foil_kg,
        }
