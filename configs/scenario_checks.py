"""What must hold between a scenario and its line: devices, tags and points. Kinds are known to the simulators only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from configs.document import Document
from configs.errors import Problem
from configs.schema import Equipment, LineFile
from configs.schema.scenario import Fault, Scenario
from configs.toml_lines import KeyPath

Found = tuple[KeyPath, str, str]

_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


def tag_names(text: str) -> tuple[str, ...]:
    """Tags of the setting `tags`: names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def point_numbers(text: str) -> tuple[int, ...]:
    """Points of the setting `points`: "1-4, 7" is 1, 2, 3, 4 and 7. Raises ValueError."""
    found: list[int] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        hit = _RANGE.fullmatch(part)
        if hit is None:
            raise ValueError(f"'{part}' is neither a point nor a range of points such as 1-4")
        first, last = int(hit[1]), int(hit[2] or hit[1])
        if not 1 <= first <= last <= 10_000:
            raise ValueError(f"'{part}' is no range of points; the first point is 1")
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def check_scenario(
    document: Document, scenario: Scenario, line: LineFile, equipment: Mapping[str, Equipment]
) -> list[Problem]:
    """Every entry that speaks of something that the line does not have."""
    found: list[Found] = []
    if line.simulation is None:
        found.append(((), "the line has no [simulation] table, so nothing in it breaks on a timetable", ""))
    for k, fault in enumerate(scenario.fault):
        found += [((("fault", k, *path)), what, hint) for path, what, hint in _entry(fault, line, equipment)]
    return [document.problem(path, what, hint) for path, what, hint in found]


def _entry(fault: Fault, line: LineFile, equipment: Mapping[str, Equipment]) -> Iterator[Found]:
    ids = [device.id for device in line.device]
    if fault.device not in ids:
        yield ("device",), f"the line has no device '{fault.device}'", _close(fault.device, ids)
        return
    kind = equipment[fault.device]
    settings = fault.settings
    names = tag_names(str(settings.get("tags", "")))
    for name in names:
        if kind.find(name) is None:
            known = [tag.name for group in kind.group for tag in group.tag]
            yield ("tags",), f"equipment '{kind.name}' has no tag '{name}'", _close(name, known)
    if "points" not in settings:
        return
    try:
        points = point_numbers(_whole(settings["points"]))
    except ValueError as error:
        yield ("points",), str(error), ""
        return
    for name in names:
        found = kind.find(name)
        if found is not None and points and max(points) > found[0].points:
            yield ("points",), f"tag '{name}' has {found[0].points} points, not {max(points)}", ""


def _whole(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _close(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return (
        f"did you mean '{close[0]}'?"
        if close
        else "it has " + ", ".join(known[:8]) + ("" if len(known) < 9 else " ...")
    )
