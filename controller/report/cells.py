"""What a formation run says about each cell: capacity, first-cycle efficiency, resistance, and how good the filter was.

Pure arithmetic on the rack's own counters and the filter's results. A number that the data do not support is refused
with its reason: a "first-cycle efficiency" whose discharge did not end at its voltage limit is not one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from controller.clock import NS_PER_S
from controller.report.data import Rows
from controller.types import Float64Array

CV_CHARGE, CC_DISCHARGE, DONE = 2, 4, 6
"""States of a rack's channel; the numbers of configs/equipment/formation_rack_64.toml."""

LIMIT_TOLERANCE_V = 0.02
BAND_95 = 1.96


@dataclass(frozen=True, slots=True)
class Discharge:
    """One discharge step with the charge of its cycle. `refused` is empty when it ended at its voltage limit."""

    cycle: int
    charge_ah: float
    discharge_ah: float
    end_voltage_v: float
    refused: str = ""


@dataclass(frozen=True, slots=True)
class FilterQuality:
    """Filter against truth after the first full charge of one channel."""

    samples: int
    rms_soc: float
    bias_soc: float
    coverage_95: float  # share of samples with the truth inside the filter's 95 % band


@dataclass(slots=True)
class Cell:
    """Everything the report says about one channel. None: not known, and the reason beside it where one matters."""

    device: str
    channel: int
    completed: bool = False
    last_state: int | None = None
    fault_bits: int = 0
    bad_rows: int = 0
    discharges: tuple[Discharge, ...] = ()
    capacity_ah: float | None = None
    capacity_cycle: int | None = None
    first_cycle_efficiency: float | None = None
    efficiency_refused: str = ""
    r0_ohm: float | None = None
    r0_sd_ohm: float | None = None
    true_r0_ohm: float | None = None
    true_capacity_ah: float | None = None
    true_efficiency: float | None = None
    full_at_ns: int | None = None  # end of the first constant-voltage charge
    quality: FilterQuality | None = None
    score: float = 0.0
    reasons: list[str] = field(default_factory=list)
    furthest: str = ""  # the largest deviation, also when it is nothing unusual

    @property
    def why(self) -> str:
        """The reasons of the rank, in one line."""
        return "; ".join(self.reasons) or (
            f"within the spread; {self.furthest}" if self.furthest else "nothing notable"
        )


def analyse(device: str, raw: Rows, states: Rows, truth: Rows, steps: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """One Cell per channel that has raw rows. `steps`: the recipe's steps, empty when unknown."""
    cells = []
    for channel, rows in raw.points():
        cell = Cell(device, channel)
        _from_counters(cell, _last_programme(rows), steps)
        cell.bad_rows = int(np.count_nonzero(rows.column("quality") > 0))
        _from_filter(cell, states.of_point(channel), truth.of_point(channel))
        cells.append(cell)
    return cells


def discharges(rows: Rows, steps: Sequence[Mapping[str, Any]]) -> tuple[Discharge, ...]:
    """Every discharge step of one channel's programme; `rows` are of one channel, in order of time."""
    step, state = rows.column("step"), rows.column("state")
    if not rows.count:
        return ()
    edges = [0, *(np.flatnonzero(np.diff(step) != 0) + 1).tolist(), rows.count]
    found = []
    for first, end in pairwise(edges):
        if state[first] == CC_DISCHARGE or state[end - 1] == CC_DISCHARGE:
            found.append(_discharge(rows, first, end, steps))
    return tuple(found)


def _last_programme(rows: Rows) -> Rows:
    """Rows since the last programme start: the rack's counters begin anew there."""
    known = np.isfinite(rows.column("step")) & np.isfinite(rows.column("state"))
    kept = rows.cut(known)
    falls = np.flatnonzero(np.diff(kept.column("charge_ah")) < 0)
    return kept.after(int(kept.time_ns[falls[-1] + 1])) if falls.size else kept


def _discharge(rows: Rows, first: int, end: int, steps: Sequence[Mapping[str, Any]]) -> Discharge:
    cycle_of = rows.column("cycle")
    cycle = int(np.nan_to_num(cycle_of[end - 1], nan=0.0))
    mine, before = cycle_of == cycle, cycle_of < cycle
    charge_ah, discharge_ah = (
        _top(rows.column(name)[mine]) - (_top(rows.column(name)[before]) if before.any() else 0.0)
        for name in ("charge_ah", "discharge_ah")
    )
    voltage_v = float(rows.column("voltage_v")[end - 1])
    refused = _why_refused(rows, first, end, steps) or _cycle_start_refused(rows, mine, before)
    return Discharge(cycle, charge_ah, discharge_ah, voltage_v, refused)


def _why_refused(rows: Rows, first: int, end: int, steps: Sequence[Mapping[str, Any]]) -> str:
    """Why this discharge did not demonstrably end at its voltage limit; empty when it did."""
    index = int(rows.column("step")[first]) - 1
    limit_v = float(steps[index].get("voltage_limit_v") or 0.0) if 0 <= index < len(steps) else 0.0
    if limit_v <= 0.0:
        return "voltage limit of the discharge unknown"
    if end >= rows.count:
        return "discharge had not ended"
    if np.nan_to_num(rows.column("fault_bits")[first:end]).any():
        return "fault during the discharge"
    if rows.column("step")[end] != index + 2 and rows.column("state")[end] != DONE:
        return "programme was stopped in the discharge"
    return _not_at_limit(rows, first, end, limit_v)


def _not_at_limit(rows: Rows, first: int, end: int, limit_v: float) -> str:
    """The step ended somewhere in the last poll period: at the slope before it, could it have reached the limit?"""
    period_s = float(np.median(np.diff(rows.time_ns))) / NS_PER_S
    wait_s = float(rows.time_ns[end] - rows.time_ns[end - 1]) / NS_PER_S
    if wait_s > 3.5 * period_s:
        return f"its end was not recorded (gap of {wait_s / 60:.0f} min)"
    voltage_v = rows.column("voltage_v")[first:end]
    last_v = float(voltage_v[-1])
    if voltage_v.shape[0] < 2 or not np.isfinite(voltage_v[-2:]).all():
        return "voltage at its end not known"
    dt_s = float(rows.time_ns[end - 1] - rows.time_ns[end - 2]) / NS_PER_S
    fall_v = max(0.0, float(voltage_v[-2] - last_v)) / max(dt_s, 1e-9) * wait_s
    if last_v - 2.0 * fall_v > limit_v + LIMIT_TOLERANCE_V:
        return f"discharge ended at {last_v:.2f} V, not at its limit of {limit_v:.2f} V"
    return ""


def _cycle_start_refused(rows: Rows, mine: Any, before: Any) -> str:
    """A gap over the start of the cycle may hide charge that belongs to the one before."""
    if not before.any():
        return ""
    gap_s = float(rows.time_ns[mine].min() - rows.time_ns[before].max()) / NS_PER_S
    period_s = float(np.median(np.diff(rows.time_ns))) / NS_PER_S
    return f"start of the cycle was not recorded (gap of {gap_s / 60:.0f} min)" if gap_s > 3.5 * period_s else ""


def _from_counters(cell: Cell, rows: Rows, steps: Sequence[Mapping[str, Any]]) -> None:
    if not rows.count:
        cell.efficiency_refused = "no good rows"
        return
    state = rows.column("state")
    cell.last_state = int(state[-1])
    cell.completed = cell.last_state == DONE
    cell.fault_bits = int(np.bitwise_or.reduce(np.nan_to_num(rows.column("fault_bits")).astype(np.int64)))
    held = np.flatnonzero(state == CV_CHARGE)
    ended = np.flatnonzero((state[:-1] == CV_CHARGE) & (state[1:] != CV_CHARGE))
    if ended.size:
        cell.full_at_ns = int(rows.time_ns[ended[0] + 1])
    cell.discharges = discharges(rows, steps)
    good = [d for d in cell.discharges if not d.refused]
    if good:
        cell.capacity_ah, cell.capacity_cycle = good[-1].discharge_ah, good[-1].cycle
    first = next((d for d in cell.discharges if d.cycle == 1), None)
    if first is None:
        cell.efficiency_refused = "first cycle has no discharge yet"
    elif first.refused:
        cell.efficiency_refused = first.refused
    elif not held.size or not cell.full_at_ns:
        cell.efficiency_refused = "first charge was not full: no constant-voltage step"
    elif first.charge_ah <= 0:
        cell.efficiency_refused = "no charge counted in the first cycle"
    else:
        cell.first_cycle_efficiency = first.discharge_ah / first.charge_ah


def _from_filter(cell: Cell, states: Rows, truth: Rows) -> None:
    r0_ohm = states.column("r0_ohm")
    if (known := np.flatnonzero(np.isfinite(r0_ohm))).size:
        cell.r0_ohm = float(r0_ohm[known[-1]])
        cell.r0_sd_ohm = float(states.column("r0_sd_ohm")[known[-1]])
    if truth.count:
        cell.true_r0_ohm = _last(truth.column("r0_ohm"))
        cell.true_capacity_ah = _last(truth.column("capacity_ah"))
        cell.true_efficiency = _last(truth.column("first_cycle_efficiency"))
    if cell.full_at_ns is not None:
        cell.quality = _quality(states.after(cell.full_at_ns), truth)


def _quality(states: Rows, truth: Rows) -> FilterQuality | None:
    true_soc = at_times(truth, "soc", states)
    soc, sd = states.column("soc"), states.column("soc_sd")
    use = np.isfinite(true_soc) & np.isfinite(soc) & np.isfinite(sd)
    if not use.any():
        return None
    error = (soc - true_soc)[use]
    inside = np.abs(error) <= BAND_95 * sd[use]
    return FilterQuality(int(use.sum()), float(np.sqrt(np.mean(error**2))), float(error.mean()), float(inside.mean()))


def at_times(rows: Rows, name: str, wanted: Rows) -> Float64Array:
    """A column interpolated to other rows' times; NaN outside it and inside holes of more than three of its periods."""
    values = rows.column(name)
    known = np.isfinite(values)
    time_ns, values = rows.time_ns[known], values[known]
    if time_ns.shape[0] < 2:
        return np.full(wanted.count, np.nan)
    x = (time_ns - time_ns[0]).astype(np.float64)
    at = (wanted.time_ns - time_ns[0]).astype(np.float64)
    after = np.clip(np.searchsorted(x, at), 1, x.shape[0] - 1)
    step = np.diff(x)
    near = (at >= x[0]) & (at <= x[-1]) & (step[after - 1] <= 3.5 * np.median(step))
    return np.where(near, np.interp(at, x, values), np.nan)


def _top(values: Float64Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else float("nan")


def _last(values: Float64Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else None
