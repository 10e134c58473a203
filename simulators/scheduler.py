"""When the next scan is due and how far it goes. Pure: time comes in as an argument, nothing sleeps here.

Scans lie on a grid of plant time. A process that falls behind never skips physics: it goes on in longer strides until
it has caught up, and its outputs carry the plant time that they belong to.
"""

from __future__ import annotations

import math
from enum import Enum

from simulators.timebase import NS_PER_S

# A scan costs some tenths of a millisecond; more than a hundred a wall second would buy nothing a poller could see.
MIN_SCAN_WALL_S = 0.010
# Longest stride while catching up: short enough that clients are answered in between.
MAX_STRIDE_S = 60.0
# Falling behind is worth a line only when a person could notice; recovery must be clear, or the two would alternate.
BEHIND_WALL_S = 1.0
CAUGHT_UP_WALL_S = 0.1


class Pace(Enum):
    """Change of the schedule's state that is worth telling once."""

    UNCHANGED = "unchanged"
    FELL_BEHIND = "fell behind"
    CAUGHT_UP = "caught up"


class Schedule:
    """Scan times of one machine: multiples of the scan period since the epoch of plant time."""

    def __init__(self, start_ns: int, scan_s: float, speed: float) -> None:
        periods = max(1, math.ceil(speed * MIN_SCAN_WALL_S / scan_s - 1e-9))
        self._scan_ns = round(scan_s * NS_PER_S) * periods
        self._max_scans = max(1, int(MAX_STRIDE_S * NS_PER_S) // self._scan_ns)
        self._done_ns = start_ns // self._scan_ns * self._scan_ns
        self._speed = speed
        self._behind = False

    @property
    def scan_ns(self) -> int:
        """Plant nanoseconds between scans when the process keeps up."""
        return self._scan_ns

    @property
    def due_ns(self) -> int:
        """Plant time of the next scan."""
        return self._done_ns + self._scan_ns

    def stride(self, now_ns: int) -> int | None:
        """Plant time to advance to now, or None when no scan is due yet. Counts as done once given."""
        scans = (now_ns - self._done_ns) // self._scan_ns
        if scans < 1:
            return None
        self._done_ns += min(scans, self._max_scans) * self._scan_ns
        return self._done_ns

    def pace(self, now_ns: int) -> Pace:
        """Whether the schedule has just fallen behind or caught up; each is told once."""
        lag_wall_s = (now_ns - self.due_ns) / (self._speed * NS_PER_S)
        if not self._behind and lag_wall_s > BEHIND_WALL_S:
            self._behind = True
            return Pace.FELL_BEHIND
        if self._behind and lag_wall_s < CAUGHT_UP_WALL_S:
            self._behind = False
            return Pace.CAUGHT_UP
        return Pace.UNCHANGED
