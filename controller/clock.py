"""Plant time for the controller. Everything that schedules or stamps takes a Clock; nothing else reads the wall clock.

Against real equipment plant time is wall time. Against a simulated line it runs `speed` times faster from a common
time base, so that every process of the line agrees on what time it is without talking about it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Plant time and waiting in plant time."""

    @property
    def speed(self) -> float:
        """Plant seconds per wall second."""
        ...

    def now_ns(self) -> int:
        """Plant time as UTC nanoseconds since 1970."""
        ...

    async def sleep(self, plant_s: float) -> None:
        """Wait for `plant_s` seconds of plant time; zero or less yields once."""
        ...


@dataclass(frozen=True, slots=True)
class TimeBase:
    """plant_ns(wall_ns) = plant_start_ns + speed * (wall_ns - wall_start_ns). Shared by all processes of a line."""

    plant_start_ns: int
    wall_start_ns: int
    speed: float

    def plant_ns(self, wall_ns: int) -> int:
        """Plant time at a wall time, both UTC nanoseconds."""
        return self.plant_start_ns + int((wall_ns - self.wall_start_ns) * self.speed)

    def text(self) -> str:
        """PLANT_START_NS,WALL_START_NS,SPEED: how processes of a line hand it on."""
        return f"{self.plant_start_ns},{self.wall_start_ns},{self.speed!r}"


class LineClock:
    """Wall clock seen through a TimeBase; without one, plant time is wall time."""

    def __init__(self, base: TimeBase | None = None) -> None:
        self._base = base or TimeBase(0, 0, 1.0)

    @property
    def speed(self) -> float:
        """Plant seconds per wall second."""
        return self._base.speed

    def now_ns(self) -> int:
        """Plant time as UTC nanoseconds since 1970."""
        return self._base.plant_ns(time.time_ns())

    async def sleep(self, plant_s: float) -> None:
        """Wait for `plant_s` seconds of plant time; zero or less yields once."""
        await asyncio.sleep(max(0.0, plant_s / self._base.speed))
