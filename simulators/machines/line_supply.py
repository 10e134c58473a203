"""Material from outside the line, made from a seed, where no station upstream is on it. Endless; no time, no files.

Names begin with "supply:": genealogy ends there. Spreads are those of a line that runs well: loading 1.6 % between
metres as the simulated coater has in open loop; the others are assumed and said where they stand.
"""

from __future__ import annotations

import numpy as np

from simulators.machines import line_design as design
from simulators.material import Row

_LOADING_SPREAD = 0.016
_LANE_SPREAD = 0.009
_ELECTROLYTE_SPREAD = 0.005
_POROSITY_SPREAD = 0.004
_LEAK_V_H, _SHORT_LEAK_V_H, _SHORT_SHARE = 5e-6, 5e-4, 0.01


class Supply:
    """Items of one kind, one after the other."""

    def __init__(self, kind: str, seed: int) -> None:
        """Raises KeyError for a kind that nobody supplies."""
        makers = {
            "batch": self._batch,
            "metre": self._metre,
            "sheet": self._sheet,
            "stack": self._stack,
            "formed": self._formed,
        }
        self._kind, self._make = kind, makers[kind]
        self._rng = np.random.default_rng([seed, 0x5099])
        self._number = 0

    def items(self, count: int, plant_ns: int) -> list[Row]:
        """The next `count` items, finished at `plant_ns`."""
        rows = []
        for _ in range(count):
            self._number += 1
            rows.append({"id": self._name(self._kind), "time_ns": plant_ns, "scrap": "", **self._make()})
        return rows

    def _name(self, kind: str) -> str:
        return f"supply:{kind}:{self._number:06d}"

    def _batch(self) -> Row:
        solids = 0.65 * (1.0 + 0.004 * float(self._rng.standard_normal()))
        density, viscosity = design.slurry_density_kg_m3(solids), design.slurry_viscosity_pa_s(solids)
        return {"mass_kg": 75.0, "solids_fraction": solids, "density_kg_m3": density, "viscosity_pa_s": viscosity}

    def _metre(self) -> Row:
        normal = self._rng.standard_normal(design.LANES + 1)
        mean = design.LOADING_KG_M2 * (1.0 + _LOADING_SPREAD * normal[-1])
        lanes = mean * (1.0 + _LANE_SPREAD * normal[:-1])
        dry_kg = float(lanes.mean()) * design.WIDTH_M
        return {
            "batch": self._name("batch"),
            "web_position_m": float(self._number),
            "coated_s": 0.0,
            "width_m": design.WIDTH_M,
            "length_m": 1.0,
            "loading_kg_m2": float(lanes.mean()),
            "foil_kg_m2": design.FOIL_KG_M2,
            "solids_fraction": 0.65,
            "wet_kg": dry_kg / 0.65,
            "residual_solvent_fraction": 0.004,
            "binder_index": 1.1,
            "lane_kg_m2": lanes.tolist(),
        }

    def _sheet(self) -> Row:
        first, second = self._rng.standard_normal(2)
        loading = design.LOADING_KG_M2 * (1.0 + _LOADING_SPREAD * first)
        porosity = design.POROSITY + _POROSITY_SPREAD * second
        width = design.WIDTH_M * (design.LANES - 2) / design.LANES / design.STRIPS
        area = width / design.SHEETS_A_METRE
        thickness = float(design.coating_thickness_m(loading, porosity)) + design.FOIL_KG_M2 / 2700.0
        return {
            "metre": self._name("metre"),
            "strip": float(1 + self._number % design.STRIPS),
            "place": 1.0,
            "area_m2": area,
            "loading_kg_m2": loading,
            "dry_kg": loading * area,
            "foil_kg": design.FOIL_KG_M2 * area,
            "thickness_m": thickness,
            "porosity": porosity,
            "residual_solvent_fraction": 0.004,
            "binder_index": 1.1,
        }

    def _stack(self) -> Row:
        sheets = [self._sheet() for _ in range(design.SHEETS_A_CELL)]
        area, dry_kg = sum(s["area_m2"] for s in sheets), sum(s["dry_kg"] for s in sheets)
        loading_factor = dry_kg / area / design.LOADING_KG_M2
        anode, contact = self._rng.standard_normal(2)
        anode_factor = 1.0 + 0.008 * anode
        return {
            "sheets": [self._name("sheet")],
            "defects": [],
            "area_m2": area,
            "dry_kg": dry_kg,
            "loading_kg_m2": dry_kg / area,
            "loading_factor": loading_factor,
            "anode_factor": anode_factor,
            "np_ratio": design.np_ratio(anode_factor, loading_factor),
            "porosity": float(np.mean([s["porosity"] for s in sheets])),
            "overhang_error_m": 0.0,
            "contact_ohm": 1e-3 * float(np.exp(0.1 * contact)),
        }

    def _formed(self) -> Row:
        first, second = self._rng.standard_normal(2)
        short = self._rng.random() < _SHORT_SHARE
        loading_factor = 1.0 + _LOADING_SPREAD / 3.0 * first
        return {
            "cell": self._name("cell"),
            "defects": ["soft_short"] if short else [],
            "channel": 0.0,
            "loading_factor": loading_factor,
            "np_ratio": design.np_ratio(1.0 + 0.008 * second, loading_factor),
            "capacity_ah": 5.0 * loading_factor,
            "first_cycle_efficiency": 0.872 + 0.004 * second,
            "leak_v_h": _SHORT_LEAK_V_H if short else _LEAK_V_H,
        }
