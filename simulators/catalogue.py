"""What there is to simulate, for people: machines, defects, faults, scenarios, and the tags of an equipment type.

Reads classes and files; builds nothing that costs time and opens no socket. What a machine or a server offers it says
itself (`faults`, `defects` on its class), so that a new one is listed without further work here.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path

from configs.document import read_document
from configs.errors import ConfigError
from configs.explain import validate
from configs.fits import check_equipment
from configs.loader import packaged
from configs.schema import Equipment, Group, Protocol, Tag
from simulators.faults import FaultKind, kinds_of
from simulators.faults.instruments import INSTRUMENT_FAULTS
from simulators.faults.plan import POWER_FAULTS
from simulators.machines import MACHINES
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.servers import SERVERS

COLUMNS = (
    "group", "tag", "address", "table", "points", "stride", "type", "unit", "scale", "offset", "min", "max",
    "access", "period_s", "text",
)  # fmt: skip


def overview() -> Iterator[str]:
    """Lines of `--list`: a machine's text is the beginning of its module's."""
    classes = {name: _load(where) for name, where in MACHINES.items()}
    yield "Machines"
    for name, cls in classes.items():
        plays = ", ".join(_equipment_of(name)) or "no equipment type that comes with celltwin"
        yield _row(name, f"{_first_line(inspect.getmodule(cls))} Equipment: {plays}.")
    for name, cls in classes.items():
        defects = getattr(cls, "defects", {})
        if defects:
            yield from ("", f"Defects of {name} (manufacture; present from the start)")
            yield from (_row(key, _text(value)) for key, value in defects.items())
    for title, kinds in _faults(classes):
        yield from ("", f"Faults of {title}")
        yield from (_row(name, _text(kind)) for name, kind in kinds.items()) if kinds else (_row("none", ""),)
    yield from ("", "Scenarios (configs/scenarios)")
    for name, path in packaged("scenarios").items():
        yield _row(name, str(read_document(path).data.get("title", "")))


def _faults(classes: Mapping[str, type]) -> Iterator[tuple[str, Mapping[str, FaultKind]]]:
    for name, cls in classes.items():
        if kinds_of(cls):
            yield f"machine {name}", kinds_of(cls)
    yield "every instrument", INSTRUMENT_FAULTS
    yield "every device's power", POWER_FAULTS
    for protocol, where in SERVERS.items():
        if kinds := kinds_of(_load(where)):
            yield f"the {_PROTOCOLS[protocol]} server", kinds
    yield "the network", NETWORK_FAULTS


_PROTOCOLS = {Protocol.MODBUS: "Modbus", Protocol.OPCUA: "OPC UA"}


def _text(kind: object) -> str:
    if not isinstance(kind, FaultKind):
        return str(kind)
    settings = []
    for name, setting in kind.settings.items():
        unit = f" {setting.unit}" if setting.unit not in ("", "1", "the tag's") else ""
        shown = f"{setting.default:g}{unit}" if isinstance(setting.default, float | int) else setting.default
        settings.append(name if setting.default is None else f"{name} = {shown if shown != '' else 'all'}")
    return kind.text + (f" [{', '.join(settings)}]" if settings else "")


def _row(name: str, text: str) -> str:
    return f"  {name:<23} {text}".rstrip()


def _load(where: str) -> type:
    module, _, name = where.partition(":")
    found: type = getattr(import_module(module), name)
    return found


def _first_line(module: object) -> str:
    line = (getattr(module, "__doc__", None) or "").strip().split("\n")[0]
    return re.split(r"[.:] ", line)[0].rstrip(".") + "."


@cache
def _plays() -> Mapping[str, tuple[str, ...]]:
    """Machine -> the equipment types that it plays on the lines that come with celltwin."""
    found: dict[str, dict[str, None]] = {}
    for path in packaged("lines").values():
        data = read_document(path).data
        kinds = {device.get("id"): device.get("equipment") for device in data.get("device", ())}
        for device, keys in data.get("simulation", {}).get("machines", {}).items():
            found.setdefault(str(keys.get("machine")), {})[str(kinds.get(device))] = None
    return {name: tuple(equipment) for name, equipment in found.items()}


def _equipment_of(machine: str) -> tuple[str, ...]:
    return _plays().get(machine, ())


def find_equipment(what: str) -> Equipment:
    """The equipment type of that name or file, or the one that the machine of that name plays.

    Raises ConfigError for a file that is wrong, ValueError for an unknown name.
    """
    known = packaged("equipment")
    kinds = _equipment_of(what) if what in MACHINES and what not in known else (what,)
    if len(kinds) > 1:
        raise ValueError(f"{what} plays several equipment types: name one of {', '.join(kinds)}")
    name = kinds[0] if kinds else what
    if name not in known and not name.endswith(".toml"):
        close = get_close_matches(what, [*MACHINES, *known], n=1, cutoff=0.5)
        mean = f"did you mean '{close[0]}'? " if close else ""
        have = f"machines {', '.join(sorted(MACHINES))}; equipment {', '.join(known)}; or a file that ends in .toml"
        raise ValueError(f"no machine or equipment type is called '{what}' ({mean}there are {have})")
    label = f"configs/equipment/{name}.toml" if name in known else name
    document = read_document(known.get(name, Path(name)), label)
    checked = validate(document, Equipment)
    if checked.model is None or checked.problems:
        raise ConfigError(checked.problems)
    if problems := check_equipment(document, checked.model):
        raise ConfigError(problems)
    return checked.model


def describe(equipment: Equipment) -> Iterator[str]:
    """Lines of `--describe`: every tag with unit, address, range, access and text."""
    yield f"{equipment.name}: {equipment.title}, {_PROTOCOLS[equipment.protocol]}"
    if equipment.opcua is not None:
        yield f"namespace {equipment.opcua.namespace}"
    head = ("tag", "address", "type", "unit", "range", "access", "text")
    for group in equipment.group:
        points = f", {group.points} {group.point_name}s" if group.points > 1 else ""
        every = f"every {group.period_s:g} s" if group.period_s else "on demand"
        modbus = f", {group.table} registers" if equipment.protocol is Protocol.MODBUS else ""
        stride = f", {group.stride} registers apart" if modbus and group.points > 1 else ""
        yield from ("", f"[{group.name}] {group.text}{points}{modbus}{stride}; read {every}")
        rows = [head, *(_shown(group, tag) for tag in group.tag)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head) - 1)]
        for row in rows:
            yield (
                "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + f"  {row[-1]}"
            )


def _shown(group: Group, tag: Tag) -> tuple[str, ...]:
    counts = f"{tag.type.value}" + (f" x {tag.scale:g}" if tag.scale != 1 else "")
    counts += f" {tag.offset:+g}" if tag.offset else ""
    counts += f"[{group.points}]" if group.points > 1 else ""
    low, high = ("" if limit is None else f"{limit:g}" for limit in (tag.min, tag.max))
    limits = f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}" if high else ""
    return (tag.name, str(tag.address), counts, tag.unit, limits, tag.access.value, tag.text)


def write_csv(equipment: Equipment, path: Path) -> None:
    """The tag list as CSV (RFC 4180), one row per tag, a header first. Raises OSError."""
    modbus = equipment.protocol is Protocol.MODBUS
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for group in equipment.group:
            for tag in group.tag:
                writer.writerow(
                    [
                        group.name, tag.name, tag.address, group.table if modbus else "", group.points,
                        group.stride if modbus else "", tag.type.value, tag.unit, tag.scale, tag.offset,
                        "" if tag.min is None else tag.min, "" if tag.max is None else tag.max,
                        tag.access.value, group.period_s, tag.text,
                    ]
                )  # fmt: skip
