"""From a scenario file to the timetable of one device: which place each kind belongs to, and its complete settings.

Everything that can be wrong is found here, before anything listens. Nothing is switched but a spare machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import blake2b

from configs.errors import ConfigError, Problem
from configs.loader import LoadedScenario
from configs.schema.scenario import Fault
from simulators.faults import POWER_FAIL, FaultKind, FaultSetting, kinds_of
from simulators.faults.instruments import Instruments
from simulators.faults.timetable import Entry, Place

POWER_FAULTS: Mapping[str, FaultKind] = {
    POWER_FAIL: FaultKind(
        "The device loses its power and boots again; only what its PLC retains is still there",
        {"down_s": FaultSetting("Plant seconds without power", "s", 60.0)},
    )
}


def fault_seed(device_seed: int, scenario: str) -> int:
    """Seed of a device's instrument faults; the entry's number is mixed in where one begins."""
    digest = blake2b(f"{device_seed}/{scenario}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def plan_device(
    scenario: LoadedScenario, device: str, machine: object, server: object, instruments: Instruments
) -> tuple[Entry, ...]:
    """The entries of `device`. Machine and server are spare ones: their faults are tried.

    Raises ConfigError with all problems.
    """
    spare = {Place.MACHINE: machine, Place.SERVER: server}
    places: dict[Place, Mapping[str, FaultKind]] = {
        Place.POWER: POWER_FAULTS,  # first: it is the power of server and machine, whatever the machine makes of it
        Place.MACHINE: kinds_of(machine),
        Place.INSTRUMENT: instruments.faults,
        Place.SERVER: kinds_of(server),
    }
    entries: list[Entry] = []
    problems: list[Problem] = []
    for k, fault in enumerate(scenario.file.fault):
        if fault.device != device:
            continue
        try:
            entry = _entry(k + 1, fault, places)
            if entry.place is Place.INSTRUMENT:
                instruments.check(entry.kind, entry.settings)
            elif entry.place in spare:
                _try(spare[entry.place], entry)
        except ValueError as error:
            problems.append(_problem(scenario, k, fault, str(error)))
        else:
            entries.append(entry)
    if problems:
        raise ConfigError(problems)
    return tuple(entries)


def _entry(number: int, fault: Fault, places: Mapping[Place, Mapping[str, FaultKind]]) -> Entry:
    place = next((place for place, kinds in places.items() if fault.kind in kinds), None)
    if place is None:
        known = [name for kinds in places.values() for name in kinds]
        close = get_close_matches(fault.kind, known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
        raise ValueError(f"nothing called '{fault.kind}' can break in it; {hint}")
    kind = places[place][fault.kind]
    given = {key: _as_text(kind, key, value) for key, value in fault.settings.items()}
    settings = kind.complete(fault.kind, given)
    lasts_s = fault.duration_s
    if place is Place.POWER:
        if lasts_s is not None:
            raise ValueError(f"'duration_s' is not for {fault.kind}: say down_s")
        lasts_s = float(settings["down_s"])
        if lasts_s <= 0:
            raise ValueError("'down_s' is not above 0")
    return Entry(number, place, fault.kind, settings, fault.at_s, lasts_s, fault.repeat_every_s, fault.text)


def _as_text(kind: FaultKind, key: str, value: float | str) -> float | str:
    """One point may be written as a number."""
    wants_text = key in kind.settings and isinstance(kind.settings[key].default, str)
    return f"{value:g}" if wants_text and not isinstance(value, str) else value


def _try(thing: object, entry: Entry) -> None:
    for on in (True, False):
        thing.fault(entry.kind, on, entry.settings)  # type: ignore[attr-defined]


def _problem(scenario: LoadedScenario, k: int, fault: Fault, text: str) -> Problem:
    """At the key that the message names, where the entry has it."""
    keys = {"kind", "duration_s", *fault.settings}
    quoted: list[str] = re.findall(r"'([^']+)'", text)
    named = next((word for word in quoted if word in keys), None)
    if named is None:
        named = "kind" if quoted and quoted[0] == fault.kind else None
    what, _, hint = text.partition("; ")
    return scenario.document.problem(("fault", k, *([named] if named else [])), what, hint)
