"""Half-cell tables that a cell file names: beside it or among those that come with celltwin. Reads files, nothing else.

What a table must hold in detail is twin/halfcell.py's to judge; here only what a person most likely got wrong.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from configs.document import Document
from configs.errors import Problem
from configs.schema.cell import CellModel

HEADER = "stoichiometry,potential_v"
KEYS = ("positive", "negative", "silicon", "silicon_charge")  # those that name a table


def shipped() -> dict[str, Path]:
    """Names and files under configs/halfcells."""
    root = Path(str(resources.files("configs"))) / "halfcells"
    return {file.stem: file for file in sorted(root.glob("*.csv"))}


def resolved(document: Document, model: CellModel) -> tuple[CellModel, list[Problem]]:
    """The model with paths of tables that can be read from anywhere, and what is wrong with them."""
    if model.half_cells is None:
        return model, []
    problems: list[Problem] = []
    known = shipped()
    paths: dict[str, str] = {}
    for key in KEYS:
        name = getattr(model.half_cells, key)
        if name is None or name in known:
            continue
        at = ("half_cells", key)
        if not name.endswith(".csv"):
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'? " if close else ""
            hint += f"celltwin has {', '.join(known)}; a file of your own ends in .csv"
            problems.append(document.problem(at, f"no half-cell table is called '{name}'", hint))
            continue
        path = document.path.parent / name
        what = _wrong(path)
        if what:
            problems.append(document.problem(at, what))
        paths[key] = str(path.resolve())
    return model.model_copy(update={"half_cells": model.half_cells.model_copy(update=paths)}), problems


def _wrong(path: Path) -> str:
    """Why the file is no half-cell table; empty where it looks like one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
    body = [line.replace(" ", "") for line in lines if line.strip() and not line.startswith("#")]
    return "" if body and body[0] == HEADER else f"{path} has no line '{HEADER}' above its numbers"
