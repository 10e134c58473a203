"""Whether recipe, cell model and equipment type fit each other. Pure: models and documents in, problems out.

The equipment's own limits are the law (the PLC is the safety system); we say early, and with both places, what it would
refuse late.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from configs.checks import Loaded
from configs.document import Document
from configs.errors import Problem
from configs.schema import (
    Access,
    CellModel,
    CoatingRecipe,
    Equipment,
    FormationRecipe,
    LineFile,
    Protocol,
    Recipe,
    StepMode,
    UnitRecipe,
)
from configs.toml_lines import KeyPath

COATING_TAGS = {
    "web_speed_m_s": "web_speed_sp_m_s",
    "pump_rate_ml_s": "pump_rate_sp_ml_s",
    "zone_temperature_c": "zone_temperature_sp_c",
    "length_m": "length_sp_m",
}
"""Key of a coating recipe -> the tag that it is written to."""

STEP_TAGS = {
    "mode": "step_mode",
    "cycle": "step_cycle",
    "current_a": "step_current_a",
    "voltage_limit_v": "step_voltage_v",
    "end_current_a": "step_end_current_a",
    "duration_s": "step_duration_s",
}
"""Key of a formation step -> the tag that it is written to."""

MAX_VALUE_REGISTERS = 4
_NODE = re.compile(r"(ns=\d+;|nsu=[^;]+;)?(s=.+|i=\d+|g=[0-9a-fA-F-]{36}|b=[A-Za-z0-9+/=]+)", re.DOTALL)

PROGRAMME_TAGS = ("programme_id", "programme_steps")

Source = tuple[Document, Equipment]


def check_equipment(document: Document, kind: Equipment) -> list[Problem]:
    """Addresses that its protocol cannot read."""
    return _registers(document, kind) if kind.protocol is Protocol.MODBUS else _nodes(document, kind)


def _nodes(document: Document, kind: Equipment) -> list[Problem]:
    """Node identifiers in none of the forms of OPC 10000-6, 5.3.1.10."""
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for g, group in enumerate(kind.group):
        for t, tag in enumerate(group.tag):
            address, path = str(tag.address), ("group", g, "tag", t, "address")
            if not _NODE.fullmatch(address):
                hint = "write s=Text, i=Number, g=Guid or b=Base64"
                problems.append(document.problem(path, f"'{address}' is not a node identifier", hint))
            elif address in seen:
                problems.append(document.problem(path, f"tag '{seen[address]}' has the same node"))
            seen.setdefault(address, tag.name)
    return problems


def _registers(document: Document, kind: Equipment) -> list[Problem]:
    """Registers that two tags of one table claim, and values longer than one read may be."""
    longest = kind.modbus.max_block_registers if kind.modbus is not None else MAX_VALUE_REGISTERS
    problems: list[Problem] = []
    owner: dict[tuple[str, int], str] = {}
    for g, group in enumerate(kind.group):
        for t, tag in enumerate(group.tag):
            told = False
            if tag.type.registers > longest:
                what = f"a {tag.type.value} takes {tag.type.registers} registers, one read at most {longest}"
                problems.append(document.problem(("group", g, "tag", t), what, "raise modbus.max_block_registers"))
            for point in range(group.points):
                first = int(tag.address) + point * group.stride
                for register in range(first, first + tag.type.registers):
                    other = owner.setdefault((group.table, register), tag.name)
                    if other != tag.name and not told:
                        told = True
                        what = f"{group.table} register {register} of tag '{tag.name}' belongs to tag '{other}' too"
                        problems.append(document.problem(("group", g, "tag", t, "address"), what))
    return problems


def check_fits(loaded: Loaded, line: LineFile) -> list[Problem]:
    """Disagreements between each device's recipe, equipment type and cell model."""
    problems: list[Problem] = []
    for k, device in enumerate(line.device):
        if device.id not in loaded.recipes:
            continue
        source, recipe = loaded.recipes[device.id]
        if device.id in loaded.equipment:
            at: KeyPath = ("device", k, "recipe")
            equipment = loaded.equipment[device.id]
            misfit = _misfit(recipe, equipment[1])
            if misfit:
                problems.append(loaded.line.problem(at, *misfit))
            else:
                problems += _limits(source, recipe, equipment)
        if isinstance(recipe, FormationRecipe) and device.id in loaded.cells:
            problems += _voltages(loaded, source, recipe, loaded.cells[device.id])
    return problems


def _misfit(recipe: Recipe, kind: Equipment) -> tuple[str, str] | None:
    """Why the equipment cannot take this kind of recipe at all, and a hint."""
    wanted: tuple[str, ...] = tuple(COATING_TAGS.values())
    if isinstance(recipe, FormationRecipe):
        wanted = (*STEP_TAGS.values(), *PROGRAMME_TAGS)
    elif isinstance(recipe, UnitRecipe):
        wanted = tuple(recipe.setpoint)
    found = {name: kind.find(name) for name in wanted}
    missing = [name for name, tag in found.items() if tag is None]
    if missing:
        what = f"'{recipe.name}' is a {recipe.kind} recipe, and equipment '{kind.name}' cannot take one"
        return what, f"it has no tag {', '.join(missing)}"
    locked = [name for name, tag in found.items() if tag is not None and tag[1].access is Access.READ]
    if locked:
        return f"equipment '{kind.name}' cannot take a recipe", f"read-only there: {', '.join(locked)}"
    if kind.control is None:
        what = f"equipment '{kind.name}' has no table [control]: it can be watched, not started"
        return what, "leave the recipe out or say in [control] how the equipment is commanded"
    return None


def _limits(source: Document, recipe: Recipe, equipment: Source) -> Iterator[Problem]:
    document, kind = equipment
    for path, tag_name, values in _writes(recipe):
        found = kind.find(tag_name)
        assert found is not None, "a recipe whose tags are missing does not come here"
        group, tag = found
        at = document.place(_tag_path(kind, tag_name))
        many = isinstance(recipe, CoatingRecipe) and path == ("zone_temperature_c",)
        if many and len(values) != group.points:
            what = f"the recipe has {len(values)} zones, equipment '{kind.name}' has {group.points}"
            yield source.problem(path, what, f"tag '{tag_name}', {at}")
        hint = f"tag '{tag_name}', {at}"
        for n, value in enumerate(values):
            here = (*path, n) if many else path
            if tag.min is not None and value < tag.min:
                yield source.problem(here, f"{value:g} is below the equipment's limit {tag.min:g}", hint)
            if tag.max is not None and value > tag.max:
                yield source.problem(here, f"{value:g} is above the equipment's limit {tag.max:g}", hint)
    if isinstance(recipe, FormationRecipe):
        slots = kind.find("step_mode")
        if slots is not None and len(recipe.step) > slots[0].points:
            what = f"the recipe has {len(recipe.step)} steps, equipment '{kind.name}' holds {slots[0].points}"
            yield source.problem(("step",), what, document.place(_tag_path(kind, "step_mode")))


def _writes(recipe: Recipe) -> Iterator[tuple[KeyPath, str, tuple[float, ...]]]:
    """Key, tag and values of everything that a recipe has written."""
    if isinstance(recipe, CoatingRecipe):
        for key, tag in COATING_TAGS.items():
            value = getattr(recipe, key)
            yield (key,), tag, value if isinstance(value, tuple) else (value,)
        return
    if isinstance(recipe, UnitRecipe):
        for tag, value in recipe.setpoint.items():
            yield ("setpoint", tag), tag, (value,)
        return
    yield ("programme_id",), "programme_id", (recipe.programme_id,)
    yield ("step",), "programme_steps", (len(recipe.step),)
    for k, step in enumerate(recipe.step):
        for key, tag in STEP_TAGS.items():
            value = step.mode.code if key == "mode" else getattr(step, key)
            yield ("step", k, key), tag, (value,)


def _tag_path(kind: Equipment, name: str) -> KeyPath:
    for g, group in enumerate(kind.group):
        for t, tag in enumerate(group.tag):
            if tag.name == name:
                return ("group", g, "tag", t)
    return ()


def _voltages(
    loaded: Loaded, source: Document, recipe: FormationRecipe, cell: tuple[Document, CellModel]
) -> list[Problem]:
    """Charging above the cell's window is refused; discharging below it is a warning, for some protocols mean to."""
    document, model = cell
    problems = []
    for k, step in enumerate(recipe.step):
        limit, path = step.voltage_limit_v, ("step", k, "voltage_limit_v")
        if limit > model.voltage_max_v:
            what = f"{limit:g} V is above voltage_max_v {model.voltage_max_v:g} of cell '{model.name}'"
            problems.append(source.problem(path, what, document.place(("voltage_max_v",))))
        if step.mode is StepMode.CC_DISCHARGE and limit < model.voltage_min_v:
            what = f"{limit:g} V is below voltage_min_v {model.voltage_min_v:g} of cell '{model.name}'"
            loaded.warnings.append(source.problem(path, what, document.place(("voltage_min_v",))))
    return problems
