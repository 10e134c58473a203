"""`capacity`: charge, energy, efficiencies per cycle of a record. Columns in, rows out; the counting is the twin's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from controller.types import Float64Array
from twin.capacity import CountSettings, CycleCounts, count_one

FIGURE_POINTS = 2000
COLUMNS = (
    "charge_sd_ah", "discharge_sd_ah", "charge_wh", "charge_sd_wh", "discharge_wh", "discharge_sd_wh",
    "charge_mean_v", "discharge_mean_v", "coulombic_efficiency", "coulombic_efficiency_sd", "energy_efficiency",
    "lowest_v", "begin_s", "end_s", "lost_s",
)  # fmt: skip
# The convention of rows is NAME_sd; the twin puts the unit last.
RENAMED = {
    "charge_sd_ah": "charge_ah_sd", "discharge_sd_ah": "discharge_ah_sd", "charge_sd_wh": "charge_wh_sd",
    "discharge_sd_wh": "discharge_wh_sd",
}  # fmt: skip


def _figure(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _row(counts: CycleCounts, k: int) -> Row:
    first = int(counts.cycle[k]) == 1
    row: Row = {
        "cycle": int(counts.cycle[k]),
        "charge_ah": _figure(counts.charge_ah[k]),
        "discharge_ah": _figure(counts.discharge_ah[k]),
        "first_cycle_efficiency": counts.first_cycle_efficiency() if first else None,
        "first_cycle_efficiency_sd": _figure(counts.coulombic_efficiency_sd[k]) if first else None,
        "refused": counts.refused[k],
    }
    row |= {RENAMED.get(name, name): _figure(getattr(counts, name)[k]) for name in COLUMNS}
    row |= {"gaps": int(counts.gaps[k]), "bridged": int(counts.bridged[k])}
    row |= {"limit_v": _figure(counts.limit_v[0]), "limit_source": counts.limit_source[0]}
    row |= {"bad_rows": int(counts.bad_rows[0]), "duplicates": int(counts.duplicates[0])}
    return row


class CapacityKind:
    """Coulomb counting per cycle."""

    name = "capacity"
    text = "charge, energy and efficiency per cycle; first-cycle efficiency where the discharge reached its limit"
    needs: tuple[str, ...] = ("time_s", "current_a", "voltage_v")
    takes: tuple[str, ...] = ("net_charge_ah",)
    settings: tuple[Setting, ...] = (
        Setting("limit_v", None, "voltage limit of discharges [V]; found in the record when not given"),
        Setting("tolerance_v", 0.01, "within which the limit counts as reached [V]"),
        Setting("gap_limit_s", 300.0, "longer steps between rows are not integrated unless net_charge_ah is there [s]"),
        Setting("rest_current_a", None, "less counts as none [A]; 0.2 % of the largest when not given"),
        Setting("least_ah", None, "a half-cycle moves at least this [Ah]; 2 % of what the record spans when not given"),
        Setting("polled", 0.0, "1: rows lie at polls, not at the ends of steps"),
        Setting("current_gain_sd", None, "relative standard deviation of the current's gain"),
        Setting("current_offset_sd_a", None, "standard deviation of the current's offset [A]"),
        Setting("voltage_offset_sd_v", None, "standard deviation of the voltage's offset [V]"),
    )

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """One row per cycle; one row with `refused` where no charge has moved."""
        values: dict[str, Any] = {s.name: options.values.get(s.name, s.default) for s in self.settings}
        values["polled"] = bool(values["polled"])
        columns = record.columns
        try:
            counts = count_one(
                columns["time_s"], columns["current_a"], columns["voltage_v"], columns.get("net_charge_ah"),
                CountSettings(**values),
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise BadInputError(f"{record.source}: {error}") from error
        if not len(counts.cycle):
            empty: dict[str, Cell] = dict.fromkeys(("cycle", "charge_ah", "discharge_ah", "first_cycle_efficiency"))
            return [empty | {"refused": f"no_charge: {counts.reason[0]}"}]
        return [_row(counts, k) for k in range(len(counts.cycle))]

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """Voltage over time with the cycles' bounds; None without cycles."""
        if rows[0]["cycle"] is None:
            return None
        time_s, voltage_v = record.columns["time_s"], record.columns["voltage_v"]
        shown = np.unique(np.linspace(0, len(time_s) - 1, min(len(time_s), FIGURE_POINTS)).astype(np.int64))
        bounds = [
            {"type": "rect", "xref": "x", "yref": "paper", "x0": _hours(row["begin_s"]), "x1": _hours(row["end_s"]),
             "y0": 0, "y1": 1, "line": {"width": 0}, "fillcolor": "rgba(70,130,180,0.12)"}
            for row in rows
        ]  # fmt: skip
        return {
            "data": [{"type": "scatter", "mode": "lines", "name": "voltage_v", "x": _list(time_s[shown] / 3600.0),
                      "y": _list(voltage_v[shown])}],
            "layout": {"title": {"text": "Cycles"}, "xaxis": {"title": {"text": "time [h]"}},
                       "yaxis": {"title": {"text": "voltage [V]"}}, "shapes": bounds},
        }  # fmt: skip


def _hours(value: Cell) -> float | None:
    return value / 3600.0 if isinstance(value, float) else None


def _list(values: Float64Array) -> list[float | None]:
    return [_figure(value) for value in values.tolist()]


KIND = CapacityKind()
