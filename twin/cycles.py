"""Cycle figures of a rack's channels as they happen, from the equipment's own charge counters. No integration, no I/O.

The counters are exact over polls that we missed and over restarts of ours; a step's share is their difference between
two step changes. A step's end is seen one sample late, at the rest that follows it, where the counters stand still.

    first-cycle efficiency = discharge / charge of cycle 1

is given only when the counters were seen at zero before it and the discharge ended at the cell's lower voltage limit
(domain practice: a partial discharge gives a plausible number that means nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from configs.schema.cell import CellModel
from twin.checkpoint import pack, unpack

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

LIMIT_MARGIN_V = 0.15
"""The last sample under load may be a poll before the step's end, where the voltage falls by some mV/s."""

LEAST_FRACTION = 0.2
"""Discharges of less than this part of the nominal capacity (pulses, top-downs) are no capacity measurement."""


class Verdict(IntEnum):
    """Why a cycle has no first-cycle efficiency; 0: it has."""

    GIVEN = 0
    NOT_FIRST_CYCLE = 1
    NOT_AT_LIMIT = 2
    BEGINNING_NOT_SEEN = 3


@dataclass(frozen=True, slots=True, eq=False)
class CycleResults:
    """Discharges that have just ended, arrays (m,); m is 0 most of the time."""

    channel: Int64Array  # 1-based
    cycle: Float64Array
    charge_ah: Float64Array  # of the cycle so far
    discharge_ah: Float64Array  # of the cycle so far
    end_voltage_v: Float64Array  # last sample under load
    first_cycle_efficiency: Float64Array  # nan where `verdict` is not GIVEN
    verdict: Float64Array

    def columns(self) -> dict[str, Float64Array]:
        """The figures by name, for a Frame."""
        names = [name for name in self.__slots__ if name != "channel"]
        return {name: getattr(self, name) for name in names}


class CycleBook:
    """Follows the counters of `channels` cells of one design."""

    def __init__(self, model: CellModel, channels: int) -> None:
        self._limit_v = model.voltage_min_v + LIMIT_MARGIN_V
        self._least_ah = LEAST_FRACTION * model.capacity_ah
        self._head: dict[str, str | int | float] = {
            "format": "celltwin-cycle-book",
            "version": 1,
            "model": model.name,
            "channels": channels,
        }
        # Per channel: step, cycle, charge and discharge at the last step change, sums of the cycle, last voltage under
        # load, whether the counters were seen at zero, last current.
        self._book = np.full((channels, 9), np.nan)

    def update(
        self,
        channel: Int64Array,
        step: Float64Array,
        cycle: Float64Array,
        voltage_v: Float64Array,
        current_a: Float64Array,
        charge_ah: Float64Array,
        discharge_ah: Float64Array,
    ) -> CycleResults:
        """One sample of each channel named (1-based, each once), arrays (m,); rows that are not finite are skipped."""
        columns = np.stack([step, cycle, voltage_v, current_a, charge_ah, discharge_ah], axis=1).astype(np.float64)
        good = np.isfinite(columns).all(axis=1) & (channel >= 1) & (channel <= self._book.shape[0])
        at, columns = channel[good].astype(np.int64) - 1, columns[good]
        book = self._book[at]
        fresh = ~np.isfinite(book[:, 0]) | (columns[:, 4] < book[:, 2]) | (columns[:, 5] < book[:, 3])
        changed = ~fresh & (columns[:, 0] != book[:, 0])
        # Steps that passed unseen (an outage) moved charge that belongs to no one cycle for certain.
        skipped = changed & (columns[:, 0] != book[:, 0] + 1.0)
        book[skipped, 7] = 0.0
        moved = np.where(changed[:, None], columns[:, 4:6] - book[:, 2:4], 0.0)
        book[:, 4:6] += np.where(changed[:, None], moved, 0.0)
        # Counters stand still at rest: what moved since the last sample of a rest belongs to the step that follows it.
        resting = book[:, 8] == 0.0
        ended = changed & ~skipped & ~resting & (moved[:, 1] >= self._least_ah)
        results = self._results(at[ended] + 1, book[ended])
        # A new cycle starts its sums anew; a channel not seen before, or whose counters began anew, starts its book.
        anew = fresh | (changed & (columns[:, 1] != book[:, 1]))
        book[anew, 4:6] = np.where((changed & resting)[:, None], moved, 0.0)[anew]
        mark = fresh | changed
        book[mark, 0:2] = columns[mark, 0:2]
        book[mark, 2:4] = columns[mark, 4:6]
        book[fresh, 7] = (columns[fresh, 4:6] == 0.0).all(axis=1)
        loaded = (np.abs(columns[:, 3]) > 0.0) | fresh
        book[loaded, 6] = columns[loaded, 2]
        book[:, 8] = columns[:, 3]
        self._book[at] = book
        return results

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        return pack(self._head, {"book": self._book})

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same design and number of channels. ValueError otherwise, and nothing changed."""
        self._book = unpack(data, self._head, {"book": self._book})["book"]

    def _results(self, channel: Int64Array, book: Float64Array) -> CycleResults:
        cycle, charge, discharge, end_v, whole = book[:, 1], book[:, 4], book[:, 5], book[:, 6], book[:, 7]
        verdict = np.full(channel.size, float(Verdict.GIVEN))
        verdict[(whole == 0.0) | (charge <= 0.0)] = Verdict.BEGINNING_NOT_SEEN
        verdict[end_v > self._limit_v] = Verdict.NOT_AT_LIMIT
        verdict[cycle != 1.0] = Verdict.NOT_FIRST_CYCLE
        given = verdict == Verdict.GIVEN
        efficiency = np.full(channel.size, np.nan)
        efficiency[given] = discharge[given] / charge[given]
        return CycleResults(channel, cycle.copy(), charge.copy(), discharge.copy(), end_v.copy(), efficiency, verdict)
