"""The units of one tray, gathered until all have come, given in order of their places. No chart, no twin.

Units that are worked on together end in the order of what they hold: the smallest cells first. Charted in that order,
any tray looks like a drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.stages.backlog import Backlog
from controller.pipeline.stages.common import NS_PER_S
from controller.types import Frame

Unit = tuple[Frame, int]
"""A Frame and the row in it."""


class Tray:
    """At most `places` units; it is complete with the last of them, or `wait_s` plant seconds after the first."""

    def __init__(self, columns: Sequence[str], places: int, wait_s: float, who: str) -> None:
        self._units = Backlog(columns, places, who, "tray")
        self._places, self._wait_ns = places, int(wait_s * NS_PER_S)
        self._taken: set[int] = set()
        self._until_ns = 0
        self.ragged = self._units.ragged

    def over(self, time_ns: int) -> bool:
        """Whether units wait, and others would come too late at this time."""
        return bool(self._taken) and time_ns > self._until_ns

    def add(self, frame: Frame, row: int) -> list[Unit]:
        """One more unit; units that are complete with it. A place that is taken, or a late unit, begins a new tray."""
        place, time_ns = int(frame.point[row]), int(frame.time_ns[row])
        complete = self.take() if place in self._taken or self.over(time_ns) else []
        if not self._taken:
            self._until_ns = time_ns + self._wait_ns
        self._taken.add(place)
        one = slice(row, row + 1)
        unit = replace(
            frame,
            time_ns=frame.time_ns[one],
            point=frame.point[one],
            columns={name: column[one] for name, column in frame.columns.items()},
            quality=frame.quality[one],
            code=frame.code[one],
        )
        self._units.add(unit)
        return complete + (self.take() if len(self._taken) == self._places else [])

    def take(self) -> list[Unit]:
        """Everything that waits, in order of places; nothing does afterwards."""
        self._taken.clear()
        units = [(frame, row) for frame in self._units.take() for row in range(frame.rows)]
        return sorted(units, key=lambda unit: int(unit[0].point[unit[1]]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a checkpoint."""
        return self._units.arrays() | {"tray_until_ns": np.array([self._until_ns], dtype=np.int64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over those. Raises ValueError."""
        self._units.restore(arrays)
        self._taken = set(arrays[self.ragged[3]].tolist())
        self._until_ns = int(arrays["tray_until_ns"][0])
