"""What lies in the rack's tray: cells, what is wrong with them, and the heat around them. No registers, no commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kernels.spm import P as CellP
from kernels.spm import S as Cell
from simulators.faults import Settings
from simulators.machine import Values
from simulators.machines.formation_cell import Batch, Spread, fresh_cells, places, potential_tables
from simulators.machines.rack_faults import FAULTS, act, checked, make_defect, make_empty, parse_defects
from simulators.machines.rack_kernel import Grid, P, S, Tray, run_kernel
from simulators.machines.rack_truth import R0_OHM, X_EMPTY, X_FULL, truth_kernel

CURRENT_GAIN_SD = 2e-4
LINE_SHORT_OHM = 1300.0  # a soft short that stacking made: 0.5 mV/h of a cell at rest


class Cells:
    """The channels of one rack with their cells: arrays as rack_kernel and kernels/spm_layout have them."""

    def __init__(self, rng: np.random.Generator, channels: int, spread: Spread, defects: str, room_c: float) -> None:
        """Raises ValueError for defects that this rack cannot have."""
        self._batch = Batch(rng, channels, spread)
        self._made_p = np.zeros((len(P), channels))
        self._made_p[P.CURRENT_GAIN] = CURRENT_GAIN_SD * np.clip(rng.standard_normal(channels), -2.3, 2.3)
        self._made_p[P.PLACE] = places(channels)
        self._made_p[P.POLARITY] = 1.0
        self._made_cell_p = self._batch.rows()
        for name, c, value in parse_defects(defects, channels):
            make_defect(name, c, value, self._made_cell_p, self._made_p)
        self._broken: dict[tuple[str, int], float] = {}
        self.tables = potential_tables()
        self.tray = np.zeros(len(Tray))
        self.grid = np.zeros(len(Grid))
        self.p, self.cell_p = self._made_p.copy(), self._made_cell_p.copy()
        self.s = np.zeros((len(S), channels))
        self.cell_s = fresh_cells(self.cell_p, self.tables, room_c)
        self.s[S.SHOWN_VOLTAGE_V] = self.p[P.POLARITY] * self.cell_s[Cell.VOLTAGE_V]

    def run(self, tick: int, ticks: int, active: bool, programme: Values, noise: Values, mean_c: float) -> int:
        """run_kernel on these cells."""
        arrays = (self.tray, self.grid, self.p, self.s, self.cell_p, self.cell_s, self.tables)
        done: int = run_kernel(tick, ticks, active, programme, noise, mean_c, *arrays)
        return done

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end a fault of a cell, a channel or the tray. Raises ValueError."""
        channel, value = checked(FAULTS[name], name, settings, self.p.shape[1])
        if name == "hot_tray":
            self.tray[Tray.HOT_GOAL] = value if on else 0.0
            return
        if on:
            self._broken[name, channel] = value
        else:
            self._broken.pop((name, channel), None)
        self._apply()

    def _apply(self) -> None:
        before = self.cell_p.copy()
        self.p[:], self.cell_p[:] = self._made_p, self._made_cell_p
        for (name, c), value in self._broken.items():
            act(name, c, value, self.cell_p, self.p)
        changed = (before != self.cell_p).any(axis=0)
        self.cell_s[Cell.AT_C, changed] = -1e9  # what was kept for speed holds no more

    def take_tray(self, cells: Iterable[Mapping[str, Any]]) -> None:
        """Cells of the line, as simulators.material.cells_for_tray gives them; channels not named are empty.

        What the line does not say of a cell (kinetics, film, leak) is the batch's. Faults of cells go with them.
        """
        filled = np.zeros(self.p.shape[1], dtype=bool)
        rows = [(int(cell["channel"]) - 1, cell) for cell in cells]
        for c, cell in rows:
            self._batch.take(cell, c)
            filled[c] = True
        self._made_cell_p = self._batch.rows()
        self._made_p[P.POLARITY], self._made_p[P.BLOCKED] = 1.0, 0.0
        for c, cell in rows:
            if "soft_short" in cell["defects"]:
                make_defect("soft_short", c, LINE_SHORT_OHM, self._made_cell_p, self._made_p)
        for empty in np.flatnonzero(~filled):
            make_empty(int(empty), self._made_p)
        self._broken = {key: value for key, value in self._broken.items() if key[0] == "channel_trip"}
        self._apply()
        self.cell_s[:] = fresh_cells(self.cell_p, self.tables, float(self.cell_s[Cell.TEMPERATURE_C].mean()))

    def truth(self, cycle_over: Values) -> Mapping[str, Values]:
        """Columns of the truth; NaN where there is no cell. `cycle_over`: channels whose first cycle has ended."""
        p, s, cell_p, cell_s = self.p, self.s, self.cell_p, self.cell_s
        found = truth_kernel(cell_p, cell_s, self.tables)
        known = cycle_over & (s[S.TRUE_CHARGE_AH] > 0) & (s[S.TRUE_DISCHARGE_AH] > 0)
        charged = np.where(known, s[S.TRUE_CHARGE_AH], 1.0)
        window = found[X_FULL] - found[X_EMPTY]
        columns = {
            "soc": (cell_s[Cell.X] - found[X_EMPTY]) / window,
            "capacity_ah": window * cell_p[CellP.Q_NEG_C] / 3600.0,
            "r0_ohm": found[R0_OHM],
            "temperature_c": cell_s[Cell.TEMPERATURE_C].copy(),
            "first_cycle_efficiency": np.where(known, s[S.TRUE_DISCHARGE_AH] / charged, np.nan),
            "x": cell_s[Cell.X].copy(),
            "y": cell_s[Cell.Y].copy(),
            "sei_ah": cell_s[Cell.SEI_C] / 3600.0,
            "leak_a": cell_p[CellP.LEAK_A] + cell_p[CellP.SHORT_S] * cell_s[Cell.VOLTAGE_V],
        }
        empty = p[P.POLARITY] == 0.0
        return {"point": np.arange(1.0, p.shape[1] + 1.0)} | {
            name: np.where(empty, np.nan, values) for name, values in columns.items()
        }
