"""What is remembered of each cell between its slow steps: peaks' names, first windows, a curve to pair. No fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.curves import Curve
from controller.pipeline.stages.curve_queue import CurveQueue
from controller.pipeline.stages.slow_estimates import PEAKS, Why
from twin.checkpoint import pack, unpack
from twin.dqdv import Peak, followed
from twin.esoh import Windows
from twin.inventory import Ageing, losses
from twin.polarisation import CAUSES

SAME_CURRENT = 0.1
"""Of a current: only between curves so alike is a shift of a peak ageing, not rate. As in `celltwin analyse dqdv`."""
CONTENT = (3, 2 + CAUSES)
"""Shape of the inventory of a cell's first windows, against which losses are counted; cycle and current follow."""
_UNKNOWN_PEAK = dict.fromkeys((f.name for f in fields(Peak) if f.name != "name"), np.nan)


class Pair(NamedTuple):
    """A charge and a discharge, in the order in which they ended, and whether they give an open-circuit voltage."""

    first: Curve
    second: Curve
    why: Why


class Loss(NamedTuple):
    """What was lost since a cell's first windows, and the cycle and current of those. None, NaN: nothing to compare."""

    ageing: Ageing | None
    since_cycle: float
    since_a: float


class CellMemory:
    """Memory of the cells in one rack, direction by direction (row 0 discharge, row 1 charge)."""

    def __init__(self, channels: int) -> None:
        self._peaks = np.full((channels, 2, PEAKS, 2), np.nan)  # voltage, charge of P1 to P6
        self._current = np.full((channels, 2), np.nan)
        # Of the first cell that had a peak of that name: a tray's cells shall call the same peak by the same name.
        self._tray_peaks = np.full((2, PEAKS, 2), np.nan)
        self._tray_current = np.full(2, np.nan)
        self._first = np.full((channels, 2, CONTENT[0] * CONTENT[1] + 2), np.nan)
        self._kept: dict[int, Curve] = {}  # by channel: waits for its counterpart
        self._lot = ""

    def lot(self, words: str) -> None:
        """The labels under which the next curves came: another lot is other cells."""
        if words != self._lot:
            self._lot = words
            for channel in range(1, len(self._current) + 1):
                self.forget(channel)

    def forget(self, channel: int) -> None:
        """A cell that begins its life."""
        at = channel - 1
        self._peaks[at], self._current[at], self._first[at] = np.nan, np.nan, np.nan
        self._kept.pop(channel, None)

    def follow(self, curve: Curve, found: Sequence[Peak]) -> tuple[Peak, ...]:
        """The peaks under the names that they had in the cell's last curve of that direction and current.

        A name that the cell never had is one of the tray's. P1 to P4 rise in voltage as the first cell had them; what
        comes later may lie between.
        """
        way = int(curve.current_a > 0.0)
        at = curve.channel - 1, way
        if not _alike(curve.current_a, self._current[at]):
            self._peaks[at], self._current[at] = np.nan, curve.current_a
        if not _alike(curve.current_a, self._tray_current[way]):
            self._tray_peaks[way], self._tray_current[way] = np.nan, curve.current_a
        places = np.where(np.isfinite(self._peaks[at][:, :1]), self._peaks[at], self._tray_peaks[way])
        rows = [(f"P{p + 1}", *row) for p, row in enumerate(places.tolist()) if np.isfinite(row[0])]
        known = [
            Peak(name, **{**_UNKNOWN_PEAK, "voltage_v": volt, "area_ah": area})
            for name, volt, area in sorted(rows, key=lambda row: row[1])
        ]
        named = followed([known, found], names=[peak.name for peak in known])[1] if known else tuple(found)
        for peak in named:
            number = int(peak.name[1:]) - 1
            if number < PEAKS:
                self._peaks[at][number] = peak.voltage_v, peak.area_ah
                if not np.isfinite(self._tray_peaks[way, number, 0]):
                    self._tray_peaks[way, number] = peak.voltage_v, peak.area_ah
        return named

    def compare(self, curve: Curve, fit: Windows | None) -> Loss:
        """Losses since the cell's first windows in that direction; the first are kept."""
        if fit is None or not fit.identifiable:
            return Loss(None, np.nan, np.nan)
        at = curve.channel - 1, int(curve.current_a > 0.0)
        row = self._first[at]
        if not np.isfinite(row).all():
            row[:] = [*fit.inventory.ravel(), curve.cycle, curve.current_a]
            return Loss(None, np.nan, np.nan)
        first = row[:-2].reshape(CONTENT)
        return Loss(losses(first, fit.inventory), float(row[-2]), float(row[-1]))

    def pair(self, curve: Curve, why: Why) -> Pair | None:
        """The curve with its counterpart, if that came before; else it waits for it."""
        kept = self._kept.pop(curve.channel, None)
        if why not in {Why.TRIED, Why.FIRST_CHARGE}:
            return None
        found = None
        if kept is not None and kept.current_a * curve.current_a < 0.0 and kept.cycle == curve.cycle:
            found = Pair(kept, curve, why if len(kept.rows) else Why.FIRST_CHARGE)
        if found is None or found.why is not Why.TRIED:
            self._kept[curve.channel] = curve if why is Why.TRIED else without_rows(curve)
        return found

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        kept = CurveQueue("kept")
        kept.add(list(self._kept.values()), {})
        words = np.frombuffer(self._lot.encode(), dtype=np.uint8)
        return pack(self._head, {**self._arrays, "lot": words, **kept.arrays()})

    def restore(self, saved: bytes) -> None:
        """Takes a `checkpoint`. ValueError for anything else."""
        kept = CurveQueue("kept")
        like: dict[str, NDArray[Any]] = {**self._arrays, "lot": np.zeros(0, dtype=np.uint8), **kept.like}
        arrays = unpack(saved, self._head, like, ragged=("lot", *kept.like))
        kept.restore(arrays)
        self._peaks, self._current, self._first = (arrays[name] for name in ("peaks", "current", "first"))
        self._tray_peaks, self._tray_current = arrays["tray_peaks"], arrays["tray_current"]
        self._lot = arrays["lot"].tobytes().decode()
        self._kept = {curve.channel: curve for curve, _ in kept.take(len(kept))}

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        tray = {"tray_peaks": self._tray_peaks, "tray_current": self._tray_current}
        return {"peaks": self._peaks, "current": self._current, "first": self._first, **tray}

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-slow-memory", "version": 2}


def without_rows(curve: Curve) -> Curve:
    """What a curve says without its rows: that it was there."""
    return replace(curve, rows=curve.rows[:0])


def _alike(current_a: float, other_a: float) -> bool:
    """Whether two currents are nearly one; with NaN they are not."""
    return bool(abs(current_a - other_a) <= SAME_CURRENT * abs(other_a))
