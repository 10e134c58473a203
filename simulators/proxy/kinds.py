"""What can break in the network, as data, and which of it is broken now. No socket, no clock.

Kinds begin with net_, so that they are never taken for what breaks in a server, which has a cut of its own. Times in
their settings are wall seconds: networks and the deadlines of those who use them are as fast beside a line that runs at
a thousand times real time as beside a real one. When they begin and end is plant time, as for every fault.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from simulators.faults import FaultKind, FaultSetting, Settings


class Direction(Enum):
    """Which way bytes go."""

    TO_TARGET = "to_target"
    TO_CLIENT = "to_client"


_WAY = FaultSetting("Which way: both, to_target or to_client", default="both")
_SHARE = "Share of the replies, 0 to 1"

NETWORK_FAULTS: Mapping[str, FaultKind] = {
    "net_cut": FaultKind("All connections are closed and new ones refused"),
    "net_black_hole": FaultKind(
        "Nothing arrives any more; connections stay open, new ones are accepted and stay silent",
        {
            "direction": _WAY,
            "after": FaultSetting("What was under way: deliver it at the end (TCP repeats) or reset", "", "deliver"),
        },
    ),
    "net_half_open": FaultKind(
        "One end of each open connection is gone and the other is not told; new connections work",
        {"keeps": FaultSetting("Who still believes in the connection: client or target", "", "client")},
    ),
    "net_reset": FaultKind(
        "Connections are reset (RST), new ones likewise",
        {"after_bytes": FaultSetting("Bytes that still reach the client on each connection", "bytes", 0.0)},
    ),
    "net_delay": FaultKind(
        "Everything arrives later, in order",
        {
            "delay_s": FaultSetting("Mean delay, wall time", "s"),
            "jitter_s": FaultSetting("Half width of its uniform spread, wall time", "s", 0.0),
            "direction": _WAY,
        },
    ),
    "net_bandwidth": FaultKind(
        "Each connection gets so many bytes a second",
        {"bytes_per_s": FaultSetting("Bytes a second and direction, wall time", "B/s"), "direction": _WAY},
    ),
    "net_fragment": FaultKind(
        "Everything arrives in small pieces",
        {
            "bytes": FaultSetting("Largest piece; each is drawn from 1 to this", "bytes", 1.0),
            "gap_s": FaultSetting("Pause after each piece, wall time", "s", 0.001),
            "direction": _WAY,
        },
    ),
    "net_duplicate": FaultKind(
        "Modbus: a reply is delivered a second time",
        {
            "share": FaultSetting(_SHARE, "", 1.0),
            "order": FaultSetting("The copy comes at_once, or after_next reply", "", "at_once"),
        },
    ),
    "net_late": FaultKind(
        "Modbus: a reply is held back until the next one, as a gateway does that has lost count",
        {
            "share": FaultSetting(_SHARE, "", 0.2),
            "order": FaultSetting("Delivered before or after the next reply", "", "after"),
            "hold_s": FaultSetting("Longest that it is held for want of a next one, wall time", "s", 5.0),
            "connection": FaultSetting("When its connection ends: lost, or delivered on the next", "", "lost"),
        },
    ),
}  # fmt: skip

NEEDS_MODBUS = frozenset({"net_duplicate", "net_late"})

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": ("both", *(way.value for way in Direction)),
    "after": ("deliver", "reset"),
    "keeps": ("client", "target"),
    "net_duplicate.order": ("at_once", "after_next"),
    "net_late.order": ("before", "after"),
    "connection": ("lost", "next"),
}
_LIMITS: Mapping[str, tuple[float, float]] = {
    "after_bytes": (0, 1e12),
    "delay_s": (0, 3600),
    "jitter_s": (0, 3600),
    "bytes_per_s": (1, 1e10),
    "bytes": (1, 65_536),
    "gap_s": (0, 60),
    "share": (0, 1),
    "hold_s": (0, 3600),
}


def check(name: str, settings: Settings, modbus: bool) -> None:
    """Raises ValueError for a kind that does not exist here, or settings that it cannot take."""
    if name not in NETWORK_FAULTS:
        raise ValueError(f"nothing called '{name}' can break in a network; there are {', '.join(NETWORK_FAULTS)}")
    if name in NEEDS_MODBUS and not modbus:
        raise ValueError(f"fault '{name}' needs Modbus TCP, which does not pass here")
    for key, value in settings.items():
        choices = _CHOICES.get(f"{name}.{key}") or _CHOICES.get(key)
        if choices is not None and value not in choices:
            raise ValueError(f"fault '{name}': '{key}' is {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
        if choices is None:
            low, high = _LIMITS[key]
            if isinstance(value, str) or not low <= value <= high:
                raise ValueError(f"fault '{name}': '{key}' is a number from {low:g} to {high:g}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Begun:
    """A fault that is on."""

    kind: str
    count: int  # of all beginnings in this proxy; part of the seed
    settings: Settings

    def number(self, key: str) -> float:
        """A setting that is a number."""
        return float(self.settings[key])

    def goes(self, way: Direction) -> bool:
        """Whether it concerns that direction."""
        return self.settings.get("direction", "both") in ("both", way.value)


@dataclass(slots=True)
class Broken:
    """All that is broken now; the connections look here whenever they move bytes."""

    modbus: bool
    seed: int = 0
    _on: dict[str, list[Begun]] = field(default_factory=dict)
    _begun: int = 0

    def switch(self, name: str, on: bool, settings: Settings) -> Begun | None:
        """Begin or end a fault; the one that it was, None where there was none to end. Raises ValueError."""
        check(name, settings, self.modbus)
        entries = self._on.setdefault(name, [])
        if on:
            self._begun += 1
            entries.append(Begun(name, self._begun, dict(settings)))
            return entries[-1]
        for k, begun in enumerate(entries):
            if begun.settings == settings:
                return entries.pop(k)
        return None

    def get(self, name: str, way: Direction | None = None) -> Begun | None:
        """The fault of that kind that began last and is on, in that direction."""
        entries = self._on.get(name, ())
        return next((begun for begun in reversed(entries) if way is None or begun.goes(way)), None)


class Draws:
    """Random numbers of each fault on one connection in one direction, from the proxy's seed."""

    def __init__(self, seed: int, connection: int, way: Direction) -> None:
        self._key = f"{seed}/{connection}/{way.value}"
        self._of: dict[str, tuple[int, random.Random]] = {}

    def of(self, begun: Begun) -> random.Random:
        """They begin anew when the fault does."""
        count, draw = self._of.get(begun.kind, (0, None))
        if draw is None or count != begun.count:
            draw = random.Random(f"{self._key}/{begun.kind}/{begun.count}")  # noqa: S311 - repeatable on purpose
            self._of[begun.kind] = begun.count, draw
        return draw
