"""When something breaks and when it is well again. Pure: plant time in, what begins and ends out; nothing is switched.

An entry begins `at_s` after the start of plant time, lasts `duration_s` (to the end without one), and begins again
every `repeat_every_s`. Times are whole nanoseconds, so that however plant time is cut the same switches come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from simulators.timebase import NS_PER_S


class Place(Enum):
    """Where something breaks."""

    MACHINE = "machine"
    INSTRUMENT = "instrument"
    SERVER = "server"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timetable, with the complete settings of its kind."""

    number: int  # place in the scenario file, from 1; part of the seed
    place: Place
    kind: str
    settings: Mapping[str, float | str]
    at_s: float
    duration_s: float | None = None
    repeat_every_s: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Switch:
    """One entry begins (`on`) or ends."""

    plant_ns: int
    on: bool
    entry: Entry


def next_switches(entries: Sequence[Entry], start_ns: int, after_ns: int) -> list[Switch]:
    """What happens at the first moment after `after_ns`, all of that one moment; empty when nothing happens any more.

    What ends comes before what begins, and otherwise the order is that of the file.
    """
    found = [switch for entry in entries for switch in _next(entry, start_ns, after_ns)]
    first_ns = min((switch.plant_ns for switch in found), default=0)
    return sorted((s for s in found if s.plant_ns == first_ns), key=lambda s: (s.on, s.entry.number))


def switches(entries: Sequence[Entry], start_ns: int, after_ns: int, until_ns: int) -> Iterator[Switch]:
    """All that happens after `after_ns` and not later than `until_ns`, in order."""
    while (found := next_switches(entries, start_ns, after_ns)) and found[0].plant_ns <= until_ns:
        yield from found
        after_ns = found[0].plant_ns


def _next(entry: Entry, start_ns: int, after_ns: int) -> Iterator[Switch]:
    """The entry's next beginning and its next end after `after_ns`."""
    begin_ns = start_ns + _ns(entry.at_s)
    repeat_ns = None if entry.repeat_every_s is None else _ns(entry.repeat_every_s)
    begins = _first_after(begin_ns, repeat_ns, after_ns)
    if begins is not None:
        yield Switch(begins, True, entry)
    if entry.duration_s is not None:
        ends = _first_after(begin_ns + _ns(entry.duration_s), repeat_ns, after_ns)
        if ends is not None:
            yield Switch(ends, False, entry)


def _first_after(first_ns: int, repeat_ns: int | None, after_ns: int) -> int | None:
    if first_ns > after_ns:
        return first_ns
    if repeat_ns is None:
        return None
    return first_ns + ((after_ns - first_ns) // repeat_ns + 1) * repeat_ns


def _ns(seconds: float) -> int:
    return max(1, round(seconds * NS_PER_S)) if seconds > 0 else 0
