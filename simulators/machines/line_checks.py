"""What a station refuses: parameters of the line file that it does not have, and writes that a PLC would not take."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from configs.schema import Equipment
from simulators.machine import Values
from simulators.machines.plc_writes import check_number, writable

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


def written_value(equipment: Equipment, name: str, values: Values) -> float:
    """The one value that is written. ValueError: unknown, read-only, not one value, not finite, out of limits."""
    tag = writable(equipment, name)[1]
    numbers = np.atleast_1d(values)
    if len(numbers) != 1:
        raise ValueError(f"{name} takes one value, not {len(numbers)}")
    number = float(numbers[0])
    check_number(tag, number)
    return number
