"""The web in the dryer: cells of wet coating between die and exit, and what came out last.

Solvent is conserved: in = still in the web + evaporated + gone out with the web. The air is in coater_zones, the
physics of a cell in kernels/drying.py.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels import drying as k
from simulators.machines.coater_drying import SOLVENTS, Array, solvent_row, web_row
from simulators.machines.coater_parameters import CELL_M, STEP_S, CoaterParameters
from simulators.machines.coater_web import Segment
from simulators.machines.coater_zones import ZoneAir

Part = tuple[Segment, float]
"""A piece of web and how much of its length counts."""


@dataclass(slots=True)
class DriedCell:
    """A cell of web that has left the dryer."""

    number: int  # counts cells from the start of the web; two make a metre
    dry_kg_m2: float
    residual_fraction: float  # NaN for bare foil
    web_c: float
    binder_index: float  # binder at the surface over its mean
    peak_flux_kg_m2_s: float
    zone_s: Array
    zone_c: Array  # mean air temperature that it met, NaN where it was not


class Dryer:
    """Cells of web on their way from the die to the dryer's exit."""

    def __init__(
        self,
        p: CoaterParameters,
        on_cell: Callable[[int, list[Part]], None] | None = None,
        on_dried: Callable[[DriedCell], None] | None = None,
    ) -> None:
        """`on_cell` hears of every cell that is complete at the die, `on_dried` of every one that leaves."""
        self._p = p
        self._on_cell, self._on_dried = on_cell, on_dried
        self._solvent_row = solvent_row(SOLVENTS[p.solvent])
        self._web_row = web_row(p)
        self._borders = p.die_to_dryer_m + p.zone_length_m * np.arange(p.zones + 1.0)
        room = math.ceil(p.dryer_exit_m / CELL_M) + 8
        self._cells: Array = np.zeros((room, k.PER_ZONE + 2 * p.zones))
        self._count = 0
        self._growing: list[Part] = []
        self._number = 0  # of the cell that grows at the die
        self._grown_m = 0.0
        self._grown_solvent_kg = 0.0
        self._air = np.zeros(p.zones)
        self._lost = np.zeros(p.zones)
        self._heat = np.zeros(p.zones)
        self._area = CELL_M * p.width_m
        self.evaporated_step_kg: Array = np.zeros(p.zones)
        self.heat_step_j: Array = np.zeros(p.zones)
        self.solvent_in_kg = 0.0
        self.dry_in_kg = 0.0
        self.evaporated_kg = 0.0
        self.solvent_out_kg = 0.0
        self.dry_out_kg = 0.0
        self._left: deque[float] = deque(maxlen=math.ceil(p.dryer_to_gauge_m / CELL_M) + 8)  # residuals, oldest first
        self._left_last = -1  # number of the newest of them
        self.residual_fraction = math.nan
        self.binder_index = math.nan
        self.web_c = p.ambient_c

    @property
    def solvent_inside_kg(self) -> float:
        """Solvent in the web between die and exit, wet part at the die included."""
        return float(self._cells[: self._count, k.SOLVENT].sum()) * self._area + self._grown_solvent_kg

    @property
    def dry_inside_kg(self) -> float:
        """Dry mass between die and exit."""
        growing = sum(s.dry_kg * part / s.length_m for s, part in self._growing)
        return float(self._cells[: self._count, k.DRY].sum()) * self._area + growing

    def residual_at(self, position_m: float) -> float:
        """Residual solvent of the web at that web position, not far behind the exit; 0 for bare foil."""
        back = self._left_last - int(position_m / CELL_M)
        return self._left[-1 - back] if 0 <= back < len(self._left) else 0.0

    def zone_web_c(self) -> list[float]:
        """Web temperature at each zone's end, of the last cell before it."""
        found = []
        position = self._number * CELL_M + self._grown_m
        for end in self._borders[1:]:
            places = position - self._cells[: self._count, k.CENTRE_M]
            before = int(np.searchsorted(places, end))
            found.append(float(self._cells[before - 1, k.WEB_C]) if before else self._p.ambient_c)
        return found

    def step(self, segment: Segment | None, air_c: list[float], air: ZoneAir) -> None:
        """One inner step: dry what is there while it moves, then take up the web that passed the die."""
        moved = 0.0 if segment is None else segment.length_m
        if self._count:
            self._air[:] = air_c
            before = self._number * CELL_M + self._grown_m
            lost = k.drying_step(
                self._cells,
                self._count,
                before,
                moved,
                STEP_S,
                self._borders,
                self._air,
                air.h,
                air.air_kg_m3,
                self._solvent_row,
                self._web_row,
                self._lost,
                self._heat,
            )
            self.evaporated_step_kg = self._lost * self._area
            self.heat_step_j = self._heat * self._area
            self.evaporated_kg += lost * self._area
        if segment is not None:
            self._take_up(segment)
            self._leave()

    def _take_up(self, segment: Segment) -> None:
        """Cut the piece at the borders of the cells."""
        self.solvent_in_kg += segment.solvent_kg
        self.dry_in_kg += segment.dry_kg
        left = segment.length_m
        while self._grown_m + left >= CELL_M:
            part = CELL_M - self._grown_m
            self._add(segment, part)
            left -= part
            self._close()
        if left > 0.0:
            self._add(segment, left)

    def _add(self, segment: Segment, part_m: float) -> None:
        self._growing.append((segment, part_m))
        self._grown_m += part_m
        self._grown_solvent_kg += segment.solvent_kg * part_m / segment.length_m

    def _close(self) -> None:
        cells = self._cells
        if self._count == len(cells):
            self._cells = cells = np.concatenate((cells, np.zeros_like(cells)))
        cells[1 : self._count + 1] = cells[: self._count].copy()
        cells[0] = 0.0
        dry_kg = sum(s.dry_kg * part / s.length_m for s, part in self._growing)
        values = ((self._number + 0.5) * CELL_M, dry_kg / self._area, self._grown_solvent_kg / self._area)
        cells[0, : k.BINDER + 1] = (*values, self._p.ambient_c, 1.0)
        cells[0, k.ID] = self._number
        self._count += 1
        if self._on_cell is not None:
            self._on_cell(self._number, self._growing)
        self._growing = []
        self._number += 1
        self._grown_m = self._grown_solvent_kg = 0.0

    def _leave(self) -> None:
        """Take away what has passed the exit; the oldest cells are the last rows."""
        position = self._number * CELL_M + self._grown_m
        while self._count and position - self._cells[self._count - 1, k.CENTRE_M] >= self._borders[-1]:
            self._count -= 1
            self._out(self._cells[self._count])

    def _out(self, cell: Array) -> None:
        zones = self._p.zones
        dry, solvent = float(cell[k.DRY]), float(cell[k.SOLVENT])
        self.solvent_out_kg += solvent * self._area
        self.dry_out_kg += dry * self._area
        coated = dry > 0.005
        self.residual_fraction = solvent / dry if coated else math.nan
        self.binder_index = float(cell[k.BINDER]) if coated else math.nan
        self.web_c = float(cell[k.WEB_C])
        self._left.append(self.residual_fraction if coated else 0.0)
        self._left_last = int(cell[k.ID])
        if self._on_dried is None:
            return
        seconds = cell[k.PER_ZONE : k.PER_ZONE + zones].copy()
        warmth = cell[k.PER_ZONE + zones :]
        mean_c = np.divide(warmth, seconds, out=np.full(zones, math.nan), where=seconds > 0.0)
        flux = float(cell[k.PEAK_FLUX])
        number = int(cell[k.ID])
        self._on_dried(
            DriedCell(number, dry, self.residual_fraction, self.web_c, self.binder_index, flux, seconds, mean_c)
        )
