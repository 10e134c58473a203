"""What the page must know of a line before any data come: devices, recipes' targets, names of states. Data only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from configs.schema import CoatingRecipe, Equipment, LineFile, Recipe

_CODE = re.compile(r"(\d+)\s+([^,;]+)")


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device as the page names it. Targets are None where the recipe has none."""

    device: str
    title: str = ""
    lot: str = ""
    recipe: str = ""
    stale_after_s: float = 10.0  # wall seconds
    target_mass_loading_kg_m2: float | None = None
    tolerance_fraction: float | None = None
    zone_setpoint_c: tuple[float, ...] = ()
    length_m: float | None = None
    codes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # tag -> number -> what it means


@dataclass(frozen=True, slots=True)
class LineInfo:
    """The line as the page names it."""

    name: str
    title: str = ""
    devices: tuple[DeviceInfo, ...] = ()
    plant_start_ns: int | None = None
    duration_s: float | None = None  # plant seconds of the run; None: runs until it is stopped


def codes_of(text: str) -> dict[int, str]:
    """Numbers and their meaning from a tag's text: "0 idle, 1 running" gives {0: "idle", 1: "running"}."""
    return {int(number): words.strip() for number, words in _CODE.findall(text)}


def describe(
    line: LineFile,
    equipment: Mapping[str, Equipment],
    recipes: Mapping[str, Recipe],
    plant_start_ns: int | None = None,
    duration_s: float | None = None,
) -> LineInfo:
    """LineInfo from a checked line file; `equipment` and `recipes` by device id (a device may be absent in either)."""
    devices = []
    for device in line.device:
        kind, recipe = equipment.get(device.id), recipes.get(device.id)
        coating = recipe if isinstance(recipe, CoatingRecipe) else None
        devices.append(
            DeviceInfo(
                device=device.id,
                title=kind.title if kind else device.equipment,
                lot=device.lot,
                recipe=recipe.title if recipe else "",
                stale_after_s=device.stale_after_s,
                target_mass_loading_kg_m2=coating.target_mass_loading_kg_m2 if coating else None,
                tolerance_fraction=coating.tolerance_fraction if coating else None,
                zone_setpoint_c=coating.zone_temperature_c if coating else (),
                length_m=coating.length_m if coating else None,
                codes=_codes(kind) if kind else {},
            )
        )
    return LineInfo(line.line.name, line.line.title, tuple(devices), plant_start_ns, duration_s)


def _codes(equipment: Equipment) -> dict[str, dict[int, str]]:
    tags = (tag for group in equipment.group for tag in group.tag)
    return {t.name: codes for t in tags if not t.unit and len(codes := codes_of(t.text)) > 1}
