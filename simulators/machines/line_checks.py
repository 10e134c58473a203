"""What a station refuses of the line file: parameters that it does not have, or that it cannot take."""

from __future__ import annotations

import math
from collections.abc import Mapping

Parameters = Mapping[str, int | float | str | bool]


def options_of(machine: str, defaults: Mapping[str, float], given: Parameters) -> tuple[dict[str, float], bool]:
    """The defaults with what is given, and whether the station is in automatic. Raises ValueError."""
    options = dict(defaults)
    control = given.get("control", "automatic")
    if control not in {"automatic", "remote"}:
        raise ValueError(f"{machine}: parameter 'control' is automatic or remote, not {control!r}")
    for name, value in given.items():
        if name == "control":
            continue
        if name not in options:
            known = ", ".join(sorted((*options, "control")))
            raise ValueError(f"{machine} has no parameter '{name}'; it has: {known}")
        if isinstance(value, str | bool) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{machine}: parameter '{name}' is a number of at least 0, not {value!r}")
        options[name] = float(value)
    return options, control == "automatic"
