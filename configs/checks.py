"""What must hold between the devices of a line. Pure: models and documents in, problems out; no file is read here.

Each check gets what could be read; what is wrong by itself has been told already and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from configs.chart_checks import check_charts
from configs.document import Document
from configs.endpoint import (
    MODBUS_RTU_SCHEME,
    MODBUS_SCHEME,
    MODBUS_SCHEMES,
    MODBUS_TLS_SCHEME,
    OPCUA_SCHEME,
    Endpoint,
    is_loopback,
    parse_endpoint,
)
from configs.errors import Problem
from configs.schema import CellModel, Equipment, LineFile, Protocol, Recipe
from configs.toml_lines import KeyPath

MACHINES = ("coater", "formation_rack", "mixer", "calender_slitter", "stacking", "filling", "ageing")
"""Machines that the simulators can play; a test holds this list against theirs."""

CELL_TAGS = ("voltage_v", "current_a", "temperature_c")
"""What the filter reads of every channel."""

WEB_TAGS = ("gauge_mass_loading_kg_m2", "gauge_cross_position_m", "gauge_web_position_m")
"""What the loading statistics read of the scanning gauge."""

_SCHEMES = {Protocol.MODBUS: MODBUS_SCHEMES, Protocol.OPCUA: (OPCUA_SCHEME,)}


@dataclass(slots=True)
class Loaded:
    """A line file with the documents and models that its devices name."""

    line: Document
    wrong: frozenset[KeyPath]  # keys of the line file that a problem was told about
    equipment: dict[str, tuple[Document, Equipment]] = field(default_factory=dict)
    recipes: dict[str, tuple[Document, Recipe]] = field(default_factory=dict)
    cells: dict[str, tuple[Document, CellModel]] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)


Found = tuple[KeyPath, str, str]
"""Key of the line file, what is wrong with it, and a hint."""


def check_line(loaded: Loaded, line: LineFile) -> list[Problem]:
    """Every disagreement within the line file, and between it and the equipment types."""
    checks: tuple[Callable[[Loaded, LineFile], Iterator[Found]], ...] = (
        _endpoints, _tls, _security, _web_port, _retries, _cell_twins, _web_twins, _charts, _machines, _start,
    )  # fmt: skip
    found = [one for check in checks for one in check(loaded, line)]
    return [loaded.line.problem(path, what, hint) for path, what, hint in found if path not in loaded.wrong]


def _parsed(line: LineFile) -> Iterator[tuple[KeyPath, str, Endpoint | str]]:
    """Key, device and parts of every endpoint; the text of what is wrong in place of the parts."""
    for k, device in enumerate(line.device):
        at: KeyPath = ("device", k, "endpoint")
        try:
            parts = parse_endpoint(device.endpoint)
            if parts.scheme in MODBUS_SCHEMES:
                _ = parts.unit
            if parts.scheme == MODBUS_RTU_SCHEME:
                _ = parts.serial
        except ValueError as error:
            yield at, device.id, str(error)
        else:
            yield at, device.id, parts


def _endpoints(loaded: Loaded, line: LineFile) -> Iterator[Found]:
    seen: dict[tuple[object, ...], str] = {}
    schemes: dict[tuple[object, ...], str] = {}  # of who has the place
    for at, device, parts in _parsed(line):
        if isinstance(parts, str):
            yield at, parts, ""
            continue
        if device in loaded.equipment:
            kind = loaded.equipment[device][1]
            known = _SCHEMES[kind.protocol]
            if parts.scheme not in known:
                yield at, f"equipment '{kind.name}' speaks {kind.protocol.value}: expected {known[0]}://...", ""
        place = parts.listens_on
        where = (*place, "unit", parts.unit) if parts.scheme in MODBUS_SCHEMES else parts
        if where in seen:
            yield at, f"device '{seen[where]}' has the same endpoint", "two devices cannot answer on one address"
        elif parts.scheme == MODBUS_RTU_SCHEME and place in seen:
            hint = "one equipment type with a unit for each group reads them all"
            yield at, f"device '{seen[place]}' has the same serial line, which has one master", hint
        elif (
            line.simulation is not None and place in seen and not (parts.scheme == schemes.get(place) == MODBUS_SCHEME)
        ):
            hint = f"simulated machines share a port only as units of {MODBUS_SCHEME}"
            yield at, f"device '{seen[place]}' has the same port", hint
        seen.setdefault(where, device)
        seen.setdefault(place, device)
        schemes.setdefault(place, parts.scheme)


def _tls(_: Loaded, line: LineFile) -> Iterator[Found]:
    for k, device in enumerate(line.device):
        if device.tls is not None and not device.endpoint.startswith(MODBUS_TLS_SCHEME + "://"):
            yield ("device", k, "tls"), f"endpoint {device.endpoint} is not encrypted", f"use {MODBUS_TLS_SCHEME}://..."


def _security(_: Loaded, line: LineFile) -> Iterator[Found]:
    for k, device in enumerate(line.device):
        if device.security is not None and not device.endpoint.startswith(OPCUA_SCHEME + "://"):
            yield ("device", k, "security"), f"endpoint {device.endpoint} is not OPC UA's", "for Modbus there is tls"


def _web_port(_: Loaded, line: LineFile) -> Iterator[Found]:
    if not line.web.enabled or not is_loopback(line.web.host):
        return
    for _at, device, parts in _parsed(line):
        if not isinstance(parts, str) and parts.port == line.web.port and is_loopback(parts.host):
            yield (
                ("web", "port"),
                f"port {line.web.port} is taken by device '{device}' on this machine",
                "choose another port",
            )


def _retries(_: Loaded, line: LineFile) -> Iterator[Found]:
    for k, device in enumerate(line.device):
        low, high = device.retry_min_s, device.retry_max_s
        if low > high:
            key = "retry_max_s" if "retry_max_s" in device.model_fields_set else "retry_min_s"
            yield ("device", k, key), f"retry_min_s {low:g} is above retry_max_s {high:g}", ""


def _cell_twins(loaded: Loaded, line: LineFile) -> Iterator[Found]:
    seen: set[str] = set()
    for k, twin in enumerate(line.twin.cells):
        at: KeyPath = ("twin", "cells", k, "device")
        yield from _twice(seen, twin.device, at)
        if twin.device not in loaded.equipment:
            continue
        kind = loaded.equipment[twin.device][1]
        yield from _unfed(kind, CELL_TAGS, at, "a cell twin")
        channels = kind.find(CELL_TAGS[0])
        if channels is not None and channels[0].point_name is None:
            yield at, f"group '{channels[0].name}' of '{kind.name}' has no points", "a cell twin follows channels"


def _web_twins(loaded: Loaded, line: LineFile) -> Iterator[Found]:
    seen: set[str] = set()
    for k, twin in enumerate(line.twin.web):
        at: KeyPath = ("twin", "web", k, "device")
        yield from _twice(seen, twin.device, at)
        if twin.device in loaded.equipment:
            yield from _unfed(loaded.equipment[twin.device][1], WEB_TAGS, at, "a web twin")


def _charts(loaded: Loaded, line: LineFile) -> Iterator[Found]:
    yield from check_charts(line, {device: kind for device, (_, kind) in loaded.equipment.items()})


def _twice(seen: set[str], device: str, at: KeyPath) -> Iterator[Found]:
    if device in seen:
        yield at, f"device '{device}' has a twin of this kind already", ""
    seen.add(device)


def _unfed(kind: Equipment, tags: tuple[str, ...], at: KeyPath, who: str) -> Iterator[Found]:
    """Why the twin would get no data: its tags come together, in the Frames of one stream that is read by itself."""
    names = ", ".join(tags)
    missing = [tag for tag in tags if kind.find(tag) is None]
    if missing:
        yield at, f"{who} needs {names}; equipment '{kind.name}' has no {', '.join(missing)}", ""
    groups = {found[0].name: found[0] for tag in tags if (found := kind.find(tag))}
    if len(groups) > 1:
        yield at, f"{who} needs {names} in one group; equipment '{kind.name}' has them in {', '.join(groups)}", ""
    for group in groups.values():
        if group.period_s == 0:
            yield at, f"group '{group.name}' of '{kind.name}' is never read by itself", "give it a period_s"


def _machines(_: Loaded, line: LineFile) -> Iterator[Found]:
    if line.simulation is None:
        return
    for device in dict.fromkeys(d.id for d in line.device if d.id not in line.simulation.machines):
        hint = f'add [simulation.machines.{device}] with machine = "{MACHINES[0]}" or "{MACHINES[1]}"'
        yield ("simulation", "machines"), f"no machine plays device '{device}'", hint
    for device, keys in line.simulation.machines.items():
        at: KeyPath = ("simulation", "machines", device, "machine")
        name = keys.get("machine")
        if name is None:
            yield at, "required key is missing", f"expected {' or '.join(MACHINES)}: the machine that plays the device"
        elif name not in MACHINES:
            close = get_close_matches(str(name), MACHINES, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(MACHINES)}"
            yield at, f"no machine is called '{name}'", hint


def _start(_: Loaded, line: LineFile) -> Iterator[Found]:
    simulation = line.simulation
    if simulation is not None and simulation.start is not None and simulation.start.tzinfo is None:
        yield ("simulation", "start"), "the time has no UTC offset", f"write {simulation.start.isoformat()}Z for UTC"
