"""What can break, as data: names, words and settings of faults, and the one call that switches them. No timetable here.

Machines, instruments and servers are Faultable: each lists what can break in it and switches it on and off by name.
The timetable (simulators/faults/timetable.py) knows only this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Settings = Mapping[str, float | str]
"""A fault's own settings as its TOML entry gives them, completed with the defaults."""


@dataclass(frozen=True, slots=True)
class FaultSetting:
    """One setting of a kind of fault. A default of None must be given."""

    text: str  # one line for people
    unit: str = ""
    default: float | str | None = None


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One thing that can break."""

    text: str  # one line for people: what it does to the equipment, not how it is made
    settings: Mapping[str, FaultSetting] = field(default_factory=dict)

    def complete(self, name: str, given: Settings) -> dict[str, float | str]:
        """`given` with the defaults. Raises ValueError for a setting that is unknown, missing, or of the wrong type."""
        unknown = sorted(set(given) - set(self.settings))
        if unknown:
            known = ", ".join(sorted(self.settings)) or "none"
            raise ValueError(f"fault '{name}' has no setting '{unknown[0]}'; it has: {known}")
        full: dict[str, float | str] = {}
        for key, setting in self.settings.items():
            value = given.get(key, setting.default)
            if value is None:
                raise ValueError(f"fault '{name}' needs '{key}': {setting.text}")
            if setting.default is not None and isinstance(value, str) != isinstance(setting.default, str):
                kind = "a text" if isinstance(setting.default, str) else "a number"
                raise ValueError(f"fault '{name}': '{key}' is {kind}, not {value!r}")
            full[key] = value
        return full


class Faultable(Protocol):
    """Something in which named things can break."""

    faults: Mapping[str, FaultKind]
    """All that can break in it, by name."""

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin (`on`) or end the fault `name` at the present plant time, with its complete settings.

        Acts from the next advance or publish on. Raises ValueError for settings that this very machine cannot take.
        """
        ...


POWER_FAIL = "power_fail"
"""Every device can lose its power. A machine that offers it as a fault of its own says so what it does meanwhile."""


def kinds_of(thing: object) -> Mapping[str, FaultKind]:
    """What can break in a machine or server; nothing in one that says nothing about it."""
    faults = getattr(thing, "faults", None)
    return faults if isinstance(faults, Mapping) else {}
