"""Stacking: sheets of one strip, in their order, with bought anodes and separator to a dry stack with welded tabs.

Each cell knows its sheets. Anode loading, overhang and contact are drawn per stack; spreads are assumed. Cathode mass
is conserved: sheets taken = stacks + scrap + on the table.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from simulators.faults import FaultKind, FaultSetting
from simulators.machine import Values
from simulators.machines import line_design as design
from simulators.machines.line_machine import STEP_S, LineMachine
from simulators.material import Row


class Stacking(LineMachine):
    """Parameters: seconds a stack, spreads, and what the inspection lets pass."""

    NAME = "stacking"
    TAKES = "sheet"
    MAKES = "stack"
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "stack_s": 30.0,
        "anode_spread": 0.008,
        "overhang_spread_m": 0.15e-3,
        "overhang_limit_m": 0.6e-3,
        "contact_ohm": 1e-3,
        "contact_spread": 0.1,
        "short_fraction": 0.003,
        "soft_short_fraction": 0.002,
    }
    faults: Mapping[str, FaultKind] = MappingProxyType(
        {
            "misaligned": FaultKind(
                "the gripper lays sheets down beside their place",
                {"offset_m": FaultSetting("offset that adds to the overhang's error", "m", 0.4e-3)},
            ),
            "poor_weld": FaultKind(
                "tabs are welded badly: contact resistance grows",
                {"factor": FaultSetting("on the contact resistance", "1", 3.0)},
            ),
        }
    )
    RATED_ITEM_S = 30.0
    CELLS_AN_ITEM = 1.0

    def own_setpoints(self) -> Mapping[str, float]:
        return {"stacker_sheets_sp": float(design.SHEETS_A_CELL)}

    def begin(self) -> None:
        self._table: dict[float, deque[Row]] = {}
        self._worked_s = 0.0
        self._overhang_m = self._np = math.nan
        self.in_dry_kg = self.stacks_dry_kg = self.scrap_dry_kg = 0.0

    def has_work(self) -> bool:
        self._sort()
        return self._full() is not None

    def in_front(self) -> Iterable[Row]:
        return chain(self.inbox, *self._table.values())

    def waiting(self) -> int:
        return len(self.inbox) + sum(len(pile) for pile in self._table.values())

    def _sort(self) -> None:
        """From the cart to a pile per strip."""
        while self.inbox:
            sheet = self.inbox.popleft()
            self.in_dry_kg += sheet["dry_kg"]
            self._table.setdefault(sheet["strip"], deque()).append(sheet)

    def _full(self) -> deque[Row] | None:
        wanted = int(self.setpoints["stacker_sheets_sp"])
        return max((pile for pile in self._table.values() if len(pile) >= wanted), key=len, default=None)

    def work(self, now_ns: int) -> float:
        self._worked_s += STEP_S
        while self._worked_s >= self.p["stack_s"] and (pile := self._full()) is not None:
            self._worked_s -= self.p["stack_s"]
            self._stack([pile.popleft() for _ in range(int(self.setpoints["stacker_sheets_sp"]))], now_ns)
        return 1.0

    def _stack(self, sheets: list[Row], now_ns: int) -> None:
        p = self.p
        normal, chance = self.rng.standard_normal(3), self.rng.random(2)
        area, dry_kg = math.fsum(s["area_m2"] for s in sheets), math.fsum(s["dry_kg"] for s in sheets)
        loading = dry_kg / area
        factor = loading / design.LOADING_KG_M2
        anode = 1.0 + p["anode_spread"] * float(normal[0])
        overhang = abs(p["overhang_spread_m"] * float(normal[1]) + self.setting("misaligned", "offset_m", 0.0))
        weld = self.setting("poor_weld", "factor", 1.0)
        scrap = ""
        if overhang > p["overhang_limit_m"]:
            scrap = "overhang"
        elif chance[0] < p["short_fraction"]:
            scrap = "short"
        ratio = design.np_ratio(anode, factor)
        defects = ["soft_short"] if chance[1] < p["soft_short_fraction"] else []
        defects += ["low_np"] if ratio < 1.0 else []
        row: Row = {
            "sheets": [sheet["id"] for sheet in sheets],
            "defects": defects,
            "area_m2": area,
            "dry_kg": dry_kg,
            "loading_kg_m2": loading,
            "loading_factor": factor,
            "anode_factor": anode,
            "np_ratio": ratio,
            "porosity": float(np.mean([sheet["porosity"] for sheet in sheets])),
            "overhang_error_m": overhang,
            "contact_ohm": p["contact_ohm"] * weld * math.exp(p["contact_spread"] * float(normal[2])),
        }
        self._overhang_m, self._np = overhang, ratio
        self.finish(row, now_ns, scrap)
        if scrap:
            self.scrap_dry_kg += dry_kg
        else:
            self.stacks_dry_kg += dry_kg

    @property
    def table_dry_kg(self) -> float:
        """Cathode on the table."""
        return math.fsum(sheet["dry_kg"] for pile in self._table.values() for sheet in pile)

    def own_values(self) -> Mapping[str, float | Values]:
        return {
            "stacker_overhang_error_m": self._overhang_m,
            "stacker_sheets_on_table": self.waiting() - len(self.inbox),
            "stacker_stack_s": self.p["stack_s"],
        }

    def own_truth(self) -> Mapping[str, float]:
        return {
            "in_dry_kg": self.in_dry_kg,
            "stacks_dry_kg": self.stacks_dry_kg,
            "scrap_dry_kg": self.scrap_dry_kg,
            "table_dry_kg": self.table_dry_kg,
            "np_ratio": self._np,
        }
