"""The history of every metre: what it was coated with and dried in, from the die to the dryer's exit. Bounded memory.

Two cells of web are a metre. Bare metres have no history.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from simulators.machine import Values
from simulators.machines.coater_dryer import DriedCell, Part
from simulators.machines.coater_parameters import CELL_M, CoaterParameters
from simulators.machines.coater_web import CoaterWeb

CELLS_A_METRE = round(1.0 / CELL_M)
# A metre with less than this was not meant to be coated.
_COATED_KG_M2 = 0.001
_COLUMNS = (
    *("point", "web_position_m", "coated_s", "dried_s", "slurry_batch", "solids_fraction", "viscosity_pa_s"),
    *("web_speed_sp_m_s", "web_speed_m_s", "pump_rate_sp_ml_s", "pump_rate_ml_s", "dryer_tension_n", "splice"),
    *("striped", "mass_loading_kg_m2", "residual_solvent_fraction", "web_temperature_c", "binder_index"),
    *("peak_flux_kg_m2_s", "drying_s"),
)
MOST_METRES = 5_000
"""Finished metres that are kept for those who read them; the oldest go first."""


@dataclass(slots=True)
class AtTheDie:
    """What held when a cell of web left the die."""

    time_s: float  # plant time, seconds since 1970
    batch: int
    solids_fraction: float
    viscosity_pa_s: float
    speed_sp_m_s: float
    speed_m_s: float
    pump_sp_ml_s: float
    pump_ml_s: float
    tension_n: float
    zone_sp_c: list[float]


@dataclass(slots=True)
class _Cell:
    die: AtTheDie
    lanes: Values
    splice: bool
    striped: bool


class MetreLog:
    """Joins what the die did with what the dryer did, and hands out finished metres."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._cells: dict[int, _Cell] = {}
        self._halves: list[list[float]] = []
        self._finished: deque[Values] = deque(maxlen=MOST_METRES)
        self._count = 0
        self._read: dict[str, int] = {}
        zones = range(1, p.zones + 1)
        self.columns = list(_COLUMNS)
        self.columns += [f"zone_{z}_sp_c" for z in zones] + [f"zone_{z}_c" for z in zones]
        self.columns += [f"lane_{lane:02d}_kg_m2" for lane in range(1, p.lanes + 1)]
        self._at = {name: i for i, name in enumerate(self.columns)}
        self._worst = [self._at[name] for name in ("splice", "striped", "peak_flux_kg_m2_s")]
        self._mass = [i for name, i in self._at.items() if name == "mass_loading_kg_m2" or name.startswith("lane_")]

    def coated(self, number: int, parts: list[Part], web: CoaterWeb, die: AtTheDie) -> None:
        """A cell of web is complete at the die."""
        dry_kg = sum(s.dry_kg * part / s.length_m for s, part in parts)
        if dry_kg < _COATED_KG_M2 * CELL_M * self._p.width_m:
            return
        lanes = np.sum([web.profile(s) * part for s, part in parts], axis=0) / CELL_M
        self._cells[number] = _Cell(die, lanes, any(s.splice for s, _ in parts), any(s.striped for s, _ in parts))

    def dried(self, cell: DriedCell, now_s: float) -> None:
        """A cell of web has left the dryer."""
        known = self._cells.pop(cell.number, None)
        if known is not None:
            die, drying_s = known.die, float(cell.zone_s.sum())
            self._halves.append(
                [
                    *(cell.number // CELLS_A_METRE, (cell.number + 0.5) * CELL_M, die.time_s, now_s, float(die.batch)),
                    *(die.solids_fraction, die.viscosity_pa_s, die.speed_sp_m_s, die.speed_m_s, die.pump_sp_ml_s),
                    *(die.pump_ml_s, die.tension_n, float(known.splice), float(known.striped)),
                    *(float(known.lanes.mean()), cell.residual_fraction, cell.web_c, cell.binder_index),
                    *(cell.peak_flux_kg_m2_s, drying_s, *die.zone_sp_c, *cell.zone_c.tolist(), *known.lanes.tolist()),
                ]
            )
        if cell.number % CELLS_A_METRE == CELLS_A_METRE - 1 and self._halves:
            rows = np.array(self._halves)
            metre = rows.mean(axis=0)
            metre[self._worst] = rows[:, self._worst].max(axis=0)
            metre[self._at["web_position_m"]] = metre[0] + 0.5
            metre[self._at["slurry_batch"]] = rows[-1, self._at["slurry_batch"]]  # what came last
            # A half that is bare counts as nothing, so that loading times area is what lies on the metre.
            metre[self._mass] *= len(rows) / CELLS_A_METRE
            self._finished.append(metre)
            self._count += 1
            self._halves.clear()

    def take(self, reader: str) -> dict[str, Values]:
        """Columns of the metres finished since this reader's last call, one row each; none when there are none."""
        fresh = min(self._count - self._read.get(reader, 0), len(self._finished))
        self._read[reader] = self._count
        if not fresh:
            return {}
        rows = np.array([self._finished[k] for k in range(-fresh, 0)])
        return {name: rows[:, i] for i, name in enumerate(self.columns)}
