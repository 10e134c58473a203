"""Plant time of a simulated line: one linear map from the wall clock, given to every process at its start.

A small copy of its own on purpose: simulators and controller share a command-line argument and no code.
"""

from __future__ import annotations

from dataclasses import dataclass

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TimeBase:
    """plant_ns(wall_ns) = plant_start_ns + speed * (wall_ns - wall_start_ns)."""

    plant_start_ns: int
    wall_start_ns: int
    speed: float

    @classmethod
    def parse(cls, text: str) -> TimeBase:
        """From 'PLANT_START_NS,WALL_START_NS,SPEED'. Raises ValueError that says what is wrong."""
        parts = text.split(",")
        if len(parts) != 3:
            raise ValueError(f"time base '{text}' is not PLANT_START_NS,WALL_START_NS,SPEED")
        try:
            base = cls(int(parts[0]), int(parts[1]), float(parts[2]))
        except ValueError:
            raise ValueError(f"time base '{text}' is not two whole numbers and a number") from None
        if not 0.0 < base.speed < 1e6:
            raise ValueError(f"speed {base.speed:g} in the time base is not between 0 and 1e6")
        return base

    def plant_ns(self, wall_ns: int) -> int:
        """Plant time at a wall time, both UTC nanoseconds."""
        return self.plant_start_ns + int((wall_ns - self.wall_start_ns) * self.speed)

    def wall_s_until(self, plant_ns: int, wall_ns: int) -> float:
        """Wall seconds from `wall_ns` until the plant reaches `plant_ns`; negative when that has passed."""
        return (plant_ns - self.plant_ns(wall_ns)) / (self.speed * NS_PER_S)
