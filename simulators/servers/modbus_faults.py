"""What can break in a Modbus server, and which of it is broken now. No socket, no frame.

What belongs to the network between (late, doubled, delayed or lost bytes) is the proxy's and not here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from simulators.faults import FaultKind, FaultSetting, Settings

_NS_PER_S = 1_000_000_000

FAULTS: Mapping[str, FaultKind] = {
    "restart": FaultKind(
        "The server goes down, drops every client and takes none, then listens again",
        {
            "down_s": FaultSetting(
                "Plant seconds until it listens again; an end of the entry before that counts", "s", 30
            )
        },
    ),
    "cut": FaultKind("Every connection is reset, and every new one too, as long as it lasts"),
    "black_hole": FaultKind("Connections stay open and new ones open, but nothing is answered any more"),
    "slow": FaultKind(
        "Answers come late",
        {"delay_s": FaultSetting("Wall seconds that each answer takes beyond the usual", "s", 0.5)},
    ),
    "busy": FaultKind(
        "Requests are answered with exception 6, server device busy",
        {
            "share": FaultSetting("Share of the requests, 0 to 1", "", 0.3),
            "seed": FaultSetting("Seed of the draw", "", 1.0),
        },
    ),
    "unit_silent": FaultKind(
        "One unit behind the endpoint is gone: exception 11 of the gateway, silence on a serial line",
        {"unit": FaultSetting("Number of the unit; 0: all of them", "", 0.0)},
    ),
    "register_map_shifted": FaultKind(
        "New firmware: the whole map lies higher than it did; the device restarts with another revision",
        {"registers": FaultSetting("Registers that it has moved, downwards where negative", "", 2.0)},
    ),
}


class Trouble:
    """Faults that are on now. Every change goes through `switch`."""

    def __init__(self, busy_share: float) -> None:
        """`busy_share`: of a server that nothing is wrong with."""
        self.cut = self.black_hole = False
        self.extra_delay_s = 0.0
        self.silent: int | None = None  # unit; 0: all
        self.shift = 0
        self.down_ns: int | None = None  # plant nanoseconds still to go
        self._usual_share = self._share = busy_share
        self._rng = random.Random(1)  # noqa: S311 - a plant must be repeatable

    def switch(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end one. Raises ValueError for an unknown name, a wrong setting, or a value that cannot be."""
        if name not in FAULTS:
            raise ValueError(f"a Modbus server has no fault '{name}'; it has: {', '.join(FAULTS)}")
        numbers = {key: float(value) for key, value in FAULTS[name].complete(name, settings).items()}
        match name:
            case "restart":
                down_s = _above(name, "down_s", numbers)
                self.down_ns = round(down_s * _NS_PER_S) if on else (None if self.down_ns is None else 0)
            case "cut":
                self.cut = on
            case "black_hole":
                self.black_hole = on
            case "slow":
                delay_s = _above(name, "delay_s", numbers)
                self.extra_delay_s = delay_s if on else 0.0
            case "busy":
                if not 0.0 <= numbers["share"] <= 1.0:
                    raise ValueError(f"fault '{name}': 'share' is from 0 to 1, not {numbers['share']:g}")
                self._share = numbers["share"] if on else self._usual_share
                self._rng = random.Random(int(numbers["seed"]))  # noqa: S311
            case "unit_silent":
                self.silent = _whole(name, "unit", numbers) if on else None
            case "register_map_shifted":
                shift = _whole(name, "registers", numbers)
                self.shift = shift if on else 0

    def pass_time(self, plant_ns: int) -> bool:
        """So much plant time has gone; True once, when the server comes up again."""
        if self.down_ns is None:
            return False
        self.down_ns -= plant_ns
        if self.down_ns > 0:
            return False
        self.down_ns = None
        return True

    def busy(self) -> bool:
        """Whether this request meets a busy device."""
        return self._share > 0.0 and self._rng.random() < self._share


def _above(name: str, key: str, numbers: Mapping[str, float]) -> float:
    if not numbers[key] >= 0.0:
        raise ValueError(f"fault '{name}': '{key}' is not below 0, as {numbers[key]:g} is")
    return numbers[key]


def _whole(name: str, key: str, numbers: Mapping[str, float]) -> int:
    if not numbers[key].is_integer() or not abs(numbers[key]) < 65_536:
        raise ValueError(f"fault '{name}': '{key}' is a whole number, not {numbers[key]:g}")
    return int(numbers[key])
