"""Plays a timetable of network faults on a proxy that stands alone. Times count from its start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from configs.document import read_document
from configs.errors import ConfigError
from configs.explain import validate
from configs.schema import Scenario
from simulators.faults import Settings
from simulators.faults.timetable import Entry, Place, next_switches
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.proxy.proxy import FaultProxy
from simulators.timebase import NS_PER_S


def parse_fault(text: str, number: int) -> Entry:
    """KIND or KIND:KEY=VALUE,KEY=VALUE: on from the start to the end. Raises ValueError."""
    name, _, rest = text.partition(":")
    given: dict[str, float | str] = {}
    for part in filter(None, rest.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            raise ValueError(f"fault '{text}': '{part}' is not KEY=VALUE")
        given[key.strip()] = _number_or_text(value.strip())
    return Entry(number, Place.SERVER, name, _complete(name, given), 0.0)


def entries_of(file: Path, device: str | None) -> list[Entry]:
    """The network faults of a scenario file, of one device or of all. Raises ConfigError or ValueError."""
    checked = validate(read_document(file), Scenario)
    if checked.model is None or checked.problems:
        raise ConfigError(checked.problems)
    found = [
        Entry(
            k + 1, Place.SERVER, f.kind, _complete(f.kind, f.settings), f.at_s, f.duration_s, f.repeat_every_s, f.text
        )
        for k, f in enumerate(checked.model.fault)
        if f.kind in NETWORK_FAULTS and device in (None, f.device)
    ]
    if not found:
        whose = "" if device is None else f" of device '{device}'"
        raise ValueError(f"{file}: nothing breaks in the network{whose}; there are {', '.join(NETWORK_FAULTS)}")
    return found


async def play(proxy: FaultProxy, entries: Sequence[Entry], speed: float) -> None:
    """Switches what begins and ends, each with a line on standard output; returns when nothing happens any more."""
    clock = asyncio.get_running_loop().time
    began_s, at_ns = clock(), -1
    while found := next_switches(entries, 0, at_ns):
        at_ns = found[0].plant_ns
        await asyncio.sleep(max(0.0, began_s + at_ns / NS_PER_S / speed - clock()))
        for switch in found:
            proxy.fault(switch.entry.kind, switch.on, switch.entry.settings)
            print(f"{at_ns / NS_PER_S:g} s {'begins' if switch.on else 'ends'} {_words(switch.entry)}", flush=True)


def _words(entry: Entry) -> str:
    return " ".join([entry.kind, *(f"{key}={value}" for key, value in entry.settings.items())])


def _complete(name: str, given: Settings) -> dict[str, float | str]:
    if name not in NETWORK_FAULTS:
        raise ValueError(f"nothing called '{name}' can break in a network; there are {', '.join(NETWORK_FAULTS)}")
    return NETWORK_FAULTS[name].complete(name, given)


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
