"""Reads a line file and every file that it names, checks them together, and tells everything that is wrong at once.

Opens no socket and needs no secret: tokens and reachability are the business of a run. Defaults are in the schema only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from configs.checks import Loaded, check_line
from configs.document import Document, read_document
from configs.errors import ConfigError, Problem
from configs.explain import schema_of, validate, value_at
from configs.fits import check_equipment, check_fits
from configs.half_cells import resolved
from configs.scenario_checks import check_scenario
from configs.schema import CellModel, CoatingRecipe, Equipment, FormationRecipe, LineFile, Recipe, UnitRecipe
from configs.schema.scenario import Scenario
from configs.toml_lines import KeyPath

M = TypeVar("M", bound=BaseModel)
_RECIPES: dict[str, type[Recipe]] = {"coating": CoatingRecipe, "formation": FormationRecipe, "unit": UnitRecipe}


@dataclass(frozen=True, slots=True)
class LoadedLine:
    """A line whose files are valid and fit each other."""

    path: Path
    file: LineFile
    equipment: Mapping[str, Equipment]  # by device id
    recipes: Mapping[str, Recipe]  # by device id; devices without a recipe are only watched
    cells: Mapping[str, CellModel]  # by device id, for the devices of twin.cells
    sources: tuple[Path, ...]  # every file read, the line file first
    warnings: tuple[Problem, ...] = ()  # allowed, but worth a look


def load_line(path: Path) -> LoadedLine:
    """The line at `path`. Raises ConfigError with all problems of all files."""
    return _Loading(path).line()


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario whose devices and tags the line has. Kinds and their settings are the simulators' to judge."""

    source: str  # as the person named it
    file: Scenario
    document: Document  # for messages about its entries: document.problem(("fault", k, key), ...)


def load_scenario(name: str | Path, line: LoadedLine) -> LoadedScenario:
    """The scenario of that name under configs/scenarios, or in that file. Raises ConfigError with all problems."""
    path, label = Path(name), str(name)
    if path.suffix != ".toml" and len(path.parts) == 1:
        known = packaged("scenarios")
        if str(name) not in known:
            raise ConfigError([Problem(f"scenario '{name}'", None, "", *_unknown(str(name), "scenarios", known))])
        path, label = known[str(name)], f"configs/scenarios/{name}.toml"
    document = read_document(path, label)
    checked = validate(document, Scenario)
    problems = list(checked.problems)
    if checked.model is not None:
        problems += check_scenario(document, checked.model, line.file, line.equipment)
    if checked.model is None or problems:
        raise ConfigError(_in_order(problems))
    return LoadedScenario(str(name), checked.model, document)


def packaged(folder: str) -> dict[str, Path]:
    """Names and files that come with celltwin under configs/<folder>: lines, equipment, recipes, cells or scenarios."""
    root = Path(str(resources.files("configs"))) / folder
    return {file.stem: file for file in sorted(root.glob("*.toml"))}


def schema_json() -> str:
    """JSON schema of the line file, for editors that complete and check TOML by it."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "celltwin line file"}
    return json.dumps(schema_of(LineFile) | head, indent=2) + "\n"


class _Loading:
    """The files read so far and what was wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.problems: list[Problem] = []
        self.documents: dict[Path, Document | None] = {}
        self.models: dict[tuple[Path, type[BaseModel]], BaseModel | None] = {}

    def line(self) -> LoadedLine:
        document = read_document(self.path)
        self.documents[self.path] = document
        checked = validate(document, LineFile)
        self.problems += checked.problems
        loaded = Loaded(document, checked.wrong)
        # From the raw tables, so that a mistake in the line file does not hide one in a file that it names.
        for k, device in enumerate(_tables(document.data.get("device"))):
            self._device(loaded, ("device", k), device)
        for k, cell in enumerate(_tables(value_at(document.data, ("twin", "cells")))):
            found = self._named(loaded, ("twin", "cells", k, "cell"), "cells", CellModel)
            if found is not None and isinstance(cell.get("device"), str):
                loaded.cells[cell["device"]] = found
        if checked.model is not None:
            self.problems += check_line(loaded, checked.model)
            self.problems += check_fits(loaded, checked.model)
        if checked.model is None or self.problems:
            raise ConfigError(_in_order(self.problems))
        return LoadedLine(
            path=self.path,
            file=checked.model,
            equipment={k: v for k, (_, v) in loaded.equipment.items()},
            recipes={k: v for k, (_, v) in loaded.recipes.items()},
            cells={k: v for k, (_, v) in loaded.cells.items()},
            sources=tuple(self.documents),
            warnings=tuple(loaded.warnings),
        )

    def _device(self, loaded: Loaded, at: KeyPath, device: dict[str, Any]) -> None:
        equipment = self._named(loaded, (*at, "equipment"), "equipment", Equipment)
        recipe = self._named(loaded, (*at, "recipe"), "recipes", None)
        name = device.get("id")
        if not isinstance(name, str):
            return
        if equipment is not None:
            loaded.equipment[name] = equipment
        if recipe is not None:
            loaded.recipes[name] = recipe

    def _named(self, loaded: Loaded, at: KeyPath, folder: str, model: type[Any] | None) -> tuple[Document, Any] | None:
        """The file that the key `at` of the line file names, and its model; None where either is wrong or absent."""
        line = loaded.line
        name = value_at(line.data, at)
        if not isinstance(name, str) or at in loaded.wrong:
            return None
        if name.endswith(".toml"):
            path = self.path.parent / name
            label = str(path)
        else:
            known = packaged(folder)
            if name not in known:
                self.problems.append(line.problem(at, *_unknown(name, folder, known)))
                return None
            path, label = known[name], f"configs/{folder}/{name}.toml"
        document = self._read(path, label, line, at)
        if document is None:
            return None
        kind = model or self._recipe_model(document)
        if kind is None:
            return None
        if (path, kind) not in self.models:
            checked = validate(document, kind)
            if isinstance(checked.model, Equipment):
                checked.problems.extend(check_equipment(document, checked.model))
            found_model: BaseModel | None = checked.model
            if isinstance(checked.model, CellModel):
                found_model, wrong = resolved(document, checked.model)
                checked.problems.extend(wrong)
            self.problems += checked.problems
            self.models[path, kind] = None if checked.problems else found_model
        found = self.models[path, kind]
        return None if found is None else (document, found)

    def _read(self, path: Path, label: str, line: Document, at: KeyPath) -> Document | None:
        if path not in self.documents:
            try:
                self.documents[path] = read_document(path, label)
            except ConfigError as error:
                self.documents[path] = None
                for problem in error.problems:
                    if problem.line is None:  # the file as a whole: the line file's reference is what to correct
                        what = f"{problem.file}: {problem.what}"
                        self.problems.append(line.problem(at, what, problem.hint))
                    else:
                        self.problems.append(problem)
        return self.documents[path]

    def _recipe_model(self, document: Document) -> type[Recipe] | None:
        kind = document.data.get("kind")
        if isinstance(kind, str) and kind in _RECIPES:
            return _RECIPES[kind]
        what = "required key is missing" if kind is None else f"'{kind}' is no kind of recipe"
        problem = document.problem(("kind",), what, "expected 'coating' or 'formation'")
        if problem not in self.problems:
            self.problems.append(problem)
        return None


def _tables(value: object) -> list[dict[str, Any]]:
    return [v if isinstance(v, dict) else {} for v in value] if isinstance(value, list) else []


def _unknown(name: str, folder: str, known: Mapping[str, Path]) -> tuple[str, str]:
    what = {"equipment": "equipment type", "recipes": "recipe", "cells": "cell model", "scenarios": "scenario"}[folder]
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    mean = f"did you mean '{close[0]}'? " if close else ""
    have = f"celltwin has {', '.join(known)}" if known else f"celltwin has no file under configs/{folder}"
    return f"no {what} is called '{name}'", f"{mean}{have}; a file of your own ends in .toml"


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By file in the order of first mention, then by line; none twice."""
    files = list(dict.fromkeys(p.file for p in problems))
    return sorted(dict.fromkeys(problems), key=lambda p: (files.index(p.file), p.line or 0))
