"""Rows of the three streams from slow curves: which curve counts, in which order, and why one does not. No Frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.pipeline.curves import Curve
from controller.pipeline.stages.slow_estimates import (
    MOST_HOLE,
    STATUS_OF,
    Columns,
    Why,
    ageing_columns,
    found_peaks,
    heads,
    ocv_columns,
    peak_columns,
    unseen,
    window_columns,
    windows,
)
from controller.pipeline.stages.slow_memory import CellMemory, Loss, Pair
from twin.dqdv import Peak
from twin.esoh import Electrodes, Windows

LEAST_SPAN_V = 0.5
"""What a slow curve crosses at least; the default of `celltwin analyse dqdv` too."""
SPAN_PART, END_PART = 0.6, 0.1
"""Of the cell's voltage window: what a full sweep crosses at least, and how near its last sample comes to the limit."""

Rows = tuple[str, list[Curve], Columns]
"""A stream, the curve that each of its rows belongs to, and its columns."""


@dataclass(frozen=True, slots=True)
class SlowCell:
    """What is known of the cells. Electrodes: None where no half-cell tables are named for that direction."""

    capacity_ah: float
    voltage_min_v: float
    voltage_max_v: float
    slow_c_rate: float
    charging: Electrodes | None = None
    discharging: Electrodes | None = None

    def tables(self, curve: Curve) -> Electrodes | None:
        """The electrodes in the curve's direction."""
        return self.charging if curve.current_a > 0.0 else self.discharging

    @property
    def has_tables(self) -> bool:
        """Whether windows are fitted at all."""
        return self.charging is not None or self.discharging is not None

    def is_slow(self, curve: Curve) -> bool:
        """Whether there is something to learn from the curve."""
        return abs(curve.current_a) <= self.slow_c_rate * self.capacity_ah and curve.span_v >= LEAST_SPAN_V

    def is_first_charge(self, curve: Curve) -> bool:
        """Whether this is where the film is made: a cell begins its life here."""
        return curve.current_a > 0.0 and curve.cycle <= 1

    def why(self, curve: Curve) -> Why:
        """Whether the curve runs from one end of the cell's window to the other, seen throughout."""
        if self.is_first_charge(curve):
            return Why.FIRST_CHARGE
        if (why := unseen(curve)) is not Why.TRIED:
            return why
        end = float(curve.voltage_v[-1])
        window = self.voltage_max_v - self.voltage_min_v
        away = self.voltage_max_v - end if curve.current_a > 0.0 else end - self.voltage_min_v
        return Why.TRIED if curve.span_v >= SPAN_PART * window and away <= END_PART * window else Why.PARTIAL


def results(cell: SlowCell, memory: CellMemory, curves: Sequence[Curve]) -> list[Rows]:
    """All streams of curves in the order in which they ended; one without rows is a first charge that was not slow."""
    slow = [curve for curve in curves if len(curve.rows)]
    whys = [cell.why(curve) for curve in slow]
    found, status = found_peaks(slow)
    fits = _fits(cell, slow, whys)
    named: list[Sequence[Peak]] = []
    losses: list[Loss] = []
    pairs: list[Pair] = []
    at = 0
    for curve in curves:  # what is remembered of a cell depends on the order
        if cell.is_first_charge(curve):
            memory.forget(curve.channel)
        if len(curve.rows):
            named.append(() if _holed(curve) else memory.follow(curve, found[at]))
            losses.append(memory.compare(curve, fits[at]))
            pair = memory.pair(curve, whys[at])
            pairs += [pair] if pair is not None else []
            at += 1
    rows: list[Rows] = []
    if slow:
        holes = np.array([_holed(curve) for curve in slow])
        codes_of = {"status": np.where(holes, STATUS_OF[Why.HOLE], status).astype(np.float64)}
        rows.append(("cell_dqdv", slow, {**heads(slow), **peak_columns(named), **codes_of}))
    if slow and cell.has_tables:
        columns = {**heads(slow), **window_columns(fits), **_judged(cell, slow, whys, fits), **_losses(losses)}
        rows.append(("cell_esoh", slow, columns))
    if pairs:
        rows.append(("cell_ocv", [pair.second for pair in pairs], _ocv(pairs)))
    return rows


def _holed(curve: Curve) -> bool:
    """Whether so much is missing that its peaks mean nothing."""
    return curve.widest_c > MOST_HOLE * curve.moved_c


def _fits(cell: SlowCell, slow: Sequence[Curve], whys: Sequence[Why]) -> list[Windows | None]:
    """A fit for each curve that can have one."""
    chosen = [n for n, curve in enumerate(slow) if whys[n] is Why.TRIED and cell.tables(curve) is not None]
    fits = dict(zip(chosen, windows([slow[n] for n in chosen], cell.charging, cell.discharging), strict=True))
    return [fits.get(n) for n in range(len(slow))]


def _judged(cell: SlowCell, slow: Sequence[Curve], whys: Sequence[Why], fits: Sequence[Windows | None]) -> Columns:
    reasons = [
        Why.NO_TABLE if why is Why.TRIED and cell.tables(curve) is None else why
        for curve, why in zip(slow, whys, strict=True)
    ]
    status = [STATUS_OF[why] if fit is None else fit.status for why, fit in zip(reasons, fits, strict=True)]
    return {
        "identifiable": np.array([float(fit is not None and fit.identifiable) for fit in fits]),
        "why": np.array(reasons, dtype=np.float64),
        "status": np.array(status, dtype=np.float64),
    }


def _losses(losses: Sequence[Loss]) -> Columns:
    return {
        **ageing_columns([loss.ageing for loss in losses]),
        "since_cycle": np.array([loss.since_cycle for loss in losses], dtype=np.float64),
        "since_a": np.array([loss.since_a for loss in losses], dtype=np.float64),
    }


def _ocv(pairs: Sequence[Pair]) -> Columns:
    """Of each pair: which steps, and the curve or why there is none."""
    columns: Columns = ocv_columns(
        [(pair.first, pair.second) for pair in pairs], [pair.why is Why.TRIED for pair in pairs]
    )
    for name, of in (("charge", 1.0), ("discharge", -1.0)):
        mine = [pair.first if pair.first.current_a * of > 0.0 else pair.second for pair in pairs]
        columns[f"{name}_step"] = np.array([curve.step for curve in mine], dtype=np.float64)
        columns[f"{name}_a"] = np.array([curve.current_a for curve in mine])
    columns["cycle"] = np.array([pair.second.cycle for pair in pairs], dtype=np.float64)
    both = [0.5 * (pair.first.temperature_c + pair.second.temperature_c) for pair in pairs]
    columns["temperature_c"] = np.array(both)
    columns["why"] = np.array([pair.why for pair in pairs], dtype=np.float64)
    return columns
