"""What a PLC refuses of a client's write: tags that are not there or not writable, numbers that a tag does not take."""

from __future__ import annotations

import math

import numpy as np

from configs.schema import Access, Equipment, Group, Tag, ValueType
from simulators.machine import Values

_WORD_MAX = {ValueType.UINT16: 65_535, ValueType.UINT32: 4_294_967_295}


def writable(equipment: Equipment, name: str) -> tuple[Group, Tag]:
    """The tag of that name and its group. Raises ValueError for one that is unknown or read-only."""
    found = equipment.find(name)
    if found is None:
        raise ValueError(f"there is no tag '{name}'")
    if found[1].access is Access.READ:
        raise ValueError(f"{name} is read-only")
    return found


def check_number(tag: Tag, number: float) -> None:
    """Raises ValueError for a number that is not finite, not whole where it must be, or out of the tag's limits."""
    if not math.isfinite(number):
        raise ValueError(f"{tag.name} must be a finite number")
    low, high = tag.min, tag.max
    if tag.type in _WORD_MAX:
        if number != math.floor(number):
            raise ValueError(f"{tag.name} must be a whole number, not {number:g}")
        low, high = max(low or 0, 0), _WORD_MAX[tag.type] if high is None else high
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{tag.name} = {number:g} is outside {low:g} to {high:g} {tag.unit}".rstrip())


def checked(equipment: Equipment, name: str, values: Values) -> list[float]:
    """The written numbers. ValueError: unknown, read-only, too many values, not finite, not whole, out of limits."""
    group, tag = writable(equipment, name)
    numbers = [float(v) for v in np.atleast_1d(values)]
    if not 0 < len(numbers) <= group.points:
        wanted = "one value" if group.points == 1 else f"1 to {group.points} values"
        raise ValueError(f"{name} takes {wanted}, not {len(numbers)}")
    for number in numbers:
        check_number(tag, number)
    return numbers
