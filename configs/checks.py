"""What must hold between the files of a line. Pure: models and documents in, problems out; no file is read here."""

from __future__ import annotations

from dataclasses import dataclass, field

from configs.document import Document
from configs.errors import Problem
from configs.schema import CellModel, CoatingRecipe, Equipment, FormationRecipe, LineFile
from configs.toml_lines import KeyPath

MACHINES = ("coater", "formation_rack")
"""Machines that the simulators can play; a test holds this list against theirs."""


@dataclass(slots=True)
class Loaded:
    """A line file with the documents and models that its devices name; what is wrong has been told and is left out."""

    line: Document
    wrong: frozenset[KeyPath]
    equipment: dict[str, tuple[Document, Equipment]] = field(default_factory=dict)
    recipes: dict[str, tuple[Document, CoatingRecipe | FormationRecipe]] = field(default_factory=dict)
    cells: dict[str, tuple[Document, CellModel]] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)


def check_line(loaded: Loaded, line: LineFile) -> list[Problem]:
    """Every disagreement between the files of a line."""
    return []
