"""Whether what a control chart watches exists on its line. Pure: models in, problems out; no file is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from configs.results import CELL_RESULTS, WEB_RESULTS
from configs.schema import Chart, Equipment, LineFile
from configs.toml_lines import KeyPath

Found = tuple[KeyPath, str, str]
"""Key of the line file, what is wrong with it, and a hint."""

Watched = tuple[frozenset[str], range]
"""Columns and points of a stream."""


def check_charts(line: LineFile, equipment: Mapping[str, Equipment]) -> Iterator[Found]:
    """What is wrong with the line's charts; `equipment` by device id, as far as it could be read."""
    devices = [device.id for device in line.device]
    names: set[str] = set()
    for k, chart in enumerate(line.twin.chart):
        at: KeyPath = ("twin", "chart", k)
        if chart.name in names:
            yield (*at, "name"), f"there is another chart '{chart.name}'", "the name tells their points apart"
        names.add(chart.name)
        if chart.device not in devices:
            yield (*at, "device"), f"the line has no device '{chart.device}'", _guess(chart.device, devices)
        elif chart.device in equipment:
            kind = equipment[chart.device]
            if any(group.name == chart.stream and group.period_s == 0 for group in kind.group):
                what = f"group '{chart.stream}' of '{kind.name}' is never read by itself"
                yield (*at, "stream"), what, "give it a period_s"
            else:
                yield from _chart(chart, at, streams_of(line, chart.device, kind))


def streams_of(line: LineFile, device: str, kind: Equipment) -> dict[str, Watched]:
    """Every stream of numbers that a device of the line has: what it reports by itself, and what twins make of it."""
    found: dict[str, Watched] = {}
    for group in kind.group:
        if group.period_s > 0:
            points = range(1, group.points + 1) if group.point_name else range(1)
            found[group.name] = (frozenset(tag.name for tag in group.tag), points)
    channels, lanes = kind.find("voltage_v"), kind.find("lane_mass_loading_kg_m2")
    if channels is not None and device in {twin.device for twin in line.twin.cells}:
        found |= {name: (columns, range(1, channels[0].points + 1)) for name, columns in CELL_RESULTS.items()}
    for web in line.twin.web:
        if web.device != device:
            continue
        points = range(1 + (lanes[0].points if lanes else 1))
        has_map = web.loading_map and len(points) > 2
        found |= {name: (c, points) for name, c in WEB_RESULTS.items() if has_map or name != "web_map"}
    return found


UNITS = {
    "kg_m2": "kg/m2", "ah": "Ah", "v": "V", "a": "A", "ohm": "Ohm", "c": "°C", "m": "m", "s": "s", "m_s": "m/s",
    "mv_h": "mV/h",
}  # fmt: skip
"""Endings of result columns."""


FOR_PEOPLE = {"A.h": "Ah", "Cel": "°C"}
"""UCUM units that people write otherwise."""


def unit_of(kind: Equipment, column: str) -> str:
    """Unit of a column, for people: the tag's own, or that which a result's name ends with; empty: none."""
    found = kind.find(column)
    if found is not None:
        return FOR_PEOPLE.get(found[1].unit, found[1].unit)
    parts = column.split("_")
    endings = ("_".join(parts[-n:]) for n in (3, 2, 1) if n < len(parts))
    return next((UNITS[ending] for ending in endings if ending in UNITS), "")


def _chart(chart: Chart, at: KeyPath, streams: Mapping[str, Watched]) -> Iterator[Found]:
    if chart.stream not in streams:
        what = f"device '{chart.device}' has no stream '{chart.stream}'"
        if chart.stream in {**CELL_RESULTS, **WEB_RESULTS}:
            yield (*at, "stream"), what, "it is a result of twin.cells or twin.web"
        else:
            yield (*at, "stream"), what, _guess(chart.stream, streams)
        return
    columns, points = streams[chart.stream]
    asked: list[tuple[KeyPath, str]] = [((*at, "columns", j), name) for j, name in enumerate(chart.columns)]
    if chart.column is not None:
        asked.append(((*at, "column"), chart.column))
    for path, name in [*asked, *(((*at, "where", name), name) for name in chart.where)]:
        if name not in columns:
            yield path, f"stream '{chart.stream}' has no column '{name}'", _guess(name, columns)
    wrong = [str(point) for point in chart.points if point not in points]
    if wrong:
        has = f"points {points[0]} to {points[-1]}" if len(points) > 1 else "only point 0"
        yield (*at, "points"), f"stream '{chart.stream}' has no point {', '.join(wrong)}", f"it has {has}"


def _guess(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
