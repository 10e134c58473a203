"""Twins of a formation rack's channels, sample by sample: the cell filter and the book of cycles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.stages.common import Due, result, samples
from controller.types import Float64Array, Frame, Quality
from twin.cycles import CycleBook
from twin.ekf import CellFilter

COULOMB_PER_AH = 3600.0


class CellStage:
    """The cell filter on the stream of a rack's channels."""

    def __init__(self, twin: CellFilter, publish_period_s: float) -> None:
        self._twin = twin
        self._due = Due(publish_period_s)

    def process(self, frame: Frame) -> list[Frame]:
        """One update for each sample of each channel; the result has a row for every row of the Frame."""
        results = [self._update(frame, rows) for rows in samples(frame)]
        if not results or not self._due.is_due(frame.time_ns):
            return []
        columns = {name: np.concatenate([r[name] for r in results]) for name in results[0]}
        rows = np.concatenate(list(samples(frame)))
        return [result(frame, "cell_state", frame.time_ns[rows], frame.point[rows], columns, frame.quality[rows])]

    def _update(self, frame: Frame, rows: NDArray[np.int64]) -> dict[str, Float64Array]:
        """Spread the rows over all channels of the filter; a channel without a row has no good sample."""
        n = self._twin.channels
        at = frame.point[rows] - 1
        times = np.full(n, int(frame.time_ns[rows].max()), dtype=np.int64)
        times[at] = frame.time_ns[rows]
        quality = np.full(n, Quality.BAD, dtype=np.uint8)
        quality[at] = frame.quality[rows]

        def column(name: str) -> Float64Array:
            values = np.full(n, np.nan)
            if name in frame.columns:
                values[at] = frame.columns[name][rows]
            return values

        net_charge_c = (column("charge_ah") - column("discharge_ah")) * COULOMB_PER_AH
        self._twin.follow(np.where(quality < Quality.BAD, column("charge_ah"), np.nan))
        states = self._twin.update(
            times,
            column("voltage_v"),
            column("current_a"),
            column("temperature_c"),
            quality,
            net_charge_c=net_charge_c,
        )
        return {name: values[at] for name, values in states.columns().items()}

    def catch_up(self) -> list[Frame]:
        """Nothing waits here."""
        return []

    def checkpoint(self) -> bytes:
        """The filter's whole state."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        self._twin.restore(saved)


class CycleStage:
    """Capacity and first-cycle efficiency, on the discharge's end that makes them known."""

    def __init__(self, twin: CycleBook) -> None:
        self._twin = twin
        self._gave = False

    def process(self, frame: Frame) -> list[Frame]:
        """A row for every discharge that has just ended; bad rows of the Frame are left out."""
        found = []
        for rows in samples(frame):
            good = rows[frame.quality[rows] < Quality.BAD]
            columns = (frame.columns[name][good] for name in ("step", "cycle", "voltage_v", "current_a"))
            counters = (frame.columns[name][good] for name in ("charge_ah", "discharge_ah"))
            results = self._twin.update(frame.point[good].astype(np.int64), *columns, *counters)
            if results.channel.size:
                point = results.channel.astype(np.int32)
                times = np.full(point.size, int(frame.time_ns[good].max()), dtype=np.int64)
                quality = np.zeros(point.size, dtype=np.uint8)
                found.append(result(frame, "cell_cycle", times, point, results.columns(), quality))
        self._gave = bool(found)
        return found

    def catch_up(self) -> list[Frame]:
        """Nothing waits here."""
        return []

    def urgent(self) -> bool:
        """Whether a discharge has just ended: it ends only once, a restart must know."""
        return self._gave

    def checkpoint(self) -> bytes:
        """The book so far."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        self._twin.restore(saved)
