"""What a station refuses: parameters of the line file that it does not have, and writes that a PLC would not take."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from configs.schema import Access, Equipment, ValueType
from simulators.machine import Values

Parameters = Mapping[str, int | float | str | bool]

_WORD_MAX = {ValueType.UINT16: 65_535, ValueType.UINT32: 4_294_967_295}


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
    found = equipment.find(name)
    if found is None:
        raise ValueError(f"there is no tag '{name}'")
    tag = found[1]
    if tag.access is Access.READ:
        raise ValueError(f"{name} is read-only")
    numbers = np.atleast_1d(values)
    if len(numbers) != 1:
        raise ValueError(f"{name} takes one value, not {len(numbers)}")
    number = float(numbers[0])
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number")
    low, high = tag.min, tag.max
    if tag.type in _WORD_MAX:
        if number != math.floor(number):
            raise ValueError(f"{name} must be a whole number, not {number:g}")
        low, high = max(low or 0, 0), _WORD_MAX[tag.type] if high is None else high
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} = {number:g} is outside {low:g} to {high:g} {tag.unit}".rstrip())
    return number
