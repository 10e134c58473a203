"""From a Document to a model, or to problems in words of the field. No file is read here; no pydantic jargon leaves.

To tell everything at once, a key that is wrong is reported, taken out, and the rest validated again: what pydantic
checks only on a complete table, and what is checked between files, is then told in the same breath.
"""

from __future__ import annotations

import copy
import json
import re
from difflib import get_close_matches
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from configs.document import Document, key_text
from configs.errors import Problem
from configs.toml_lines import KeyPath
from configs.words import Schema, expected, given, keys_at, schema_at

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 4  # wrong keys, then tables, then the whole file, and one to see that nothing is left


class Checked(NamedTuple, Generic[M]):
    """A model, or None where what is missing cannot be guessed; and everything that is wrong with the file."""

    model: M | None
    problems: list[Problem]
    wrong: frozenset[KeyPath]  # keys that were taken out; nothing further should be said about them


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The model's JSON schema."""
    return model.model_json_schema()


def validate(document: Document, model: type[M]) -> Checked[M]:
    """Check one file against its model. A model that comes with problems has defaults in place of what was wrong."""
    data = copy.deepcopy(document.data)
    problems: list[Problem] = []
    wrong: set[KeyPath] = set()
    for _ in range(_ROUNDS):
        try:
            # Through JSON, because strict checks of Python values would refuse lists for tuples and text for enums,
            # and lax ones would take port = "8377" and speed = true.
            return Checked(
                model.model_validate_json(json.dumps(data, default=_json), strict=True), problems, frozenset(wrong)
            )
        except ValidationError as error:
            faults = _by_path(data, error.errors(include_url=False))
        faults = {path: fault for path, fault in faults.items() if path not in wrong}
        for path, fault in faults.items():
            problems += _describe(document, schema_of(model), path, fault)
        wrong |= set(faults)
        gone = [_take_out(data, path) for path in faults]
        if not gone or not all(gone):
            break
    return Checked(None, problems, frozenset(wrong))


def _json(value: Any) -> str:
    return str(value.isoformat())


def _by_path(data: dict[str, Any], errors: list[ErrorDetails]) -> dict[KeyPath, list[ErrorDetails]]:
    """Errors by the key that they are about; alternatives of one value (a number or text) come together."""
    found: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        path: list[str | int] = []
        here: Any = data
        for part in error["loc"]:
            inside = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
            if inside:
                here = here[part]
            else:
                # Beyond the data only a missing key is a key; "[key]", "int" and "float" are pydantic's own.
                if error["type"] == "missing" and isinstance(here, dict):
                    path.append(part)
                break
            path.append(part)
        if error["type"] == "too_short" and len(here) >= error["ctx"]["min_length"]:
            continue  # only because elements are wrong, which is told anyway
        found.setdefault(tuple(path), []).append(error)
    return found


def _describe(document: Document, root: Schema, path: KeyPath, errors: list[ErrorDetails]) -> list[Problem]:
    kinds = {e["type"] for e in errors}
    node = schema_at(root, path) or {}
    want = expected(root, node) if node else ""
    about = str(node.get("description", "")).split("\n")[0].rstrip(".")
    if "enum" in node or about in want:
        about = ""  # nothing that the expectation does not say already
    if "missing" in kinds:
        if header := _header(path, want):
            return [document.problem(path, "required table is missing", f"write {header}")]
        hint = f"expected {want}" + (f"; {about}" if about else "")
        return [document.problem(path, "required key is missing", hint)]
    if "extra_forbidden" in kinds:
        return [document.problem(path, "unknown key", _suggest(root, path))]
    if "value_error" in kinds:
        lines = str(errors[0]["ctx"]["error"]).splitlines() if "ctx" in errors[0] else [errors[0]["msg"]]
        return [document.problem(_pinpoint(document.data, path, text), text) for text in lines]
    if any(e["loc"][-1:] == ("[key]",) for e in errors):
        name = expected(root, {"type": "string", "pattern": errors[0].get("ctx", {}).get("pattern")})
        return [document.problem(path, f"the key is not {name}")]
    value = value_at(document.data, path)
    hint = about
    if isinstance(value, str) and "number" in want and re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", value):
        hint = "write it without quotes"
    if isinstance(value, dict) and (header := _header(path, want)):
        hint = f"write {header}, in double brackets"
    return [document.problem(path, f"expected {want or 'something else'}, got {given(value)}", hint)]


def _header(path: KeyPath, want: str) -> str:
    """How the table or the list of tables at `path` begins; empty for other keys and inside of lists."""
    if any(isinstance(part, int) for part in path):
        return ""
    many = want.startswith("a list of") and want.endswith("tables")
    return f"[[{key_text(path)}]]" if many else f"[{key_text(path)}]" if want == "a table" else ""


def value_at(data: Any, path: KeyPath) -> Any:
    """The value at a path, or None."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _suggest(root: Schema, path: KeyPath) -> str:
    known = keys_at(root, path[:-1])
    close = get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    for table in keys_at(root, ()):  # a key written below the wrong [table] header is the usual slip
        if path[-1] in keys_at(root, (table,)):
            return f"it belongs in [{table}]"
    return "known here: " + ", ".join(known) if known else ""


def _pinpoint(data: Any, path: KeyPath, text: str) -> KeyPath:
    """The key below `path` that a model's own check speaks of: the last of those whose names and value fit best."""
    words = set(re.findall(r"[a-z][a-z0-9_]*", text))
    quoted = set(re.findall(r"'([^']+)'", text))
    best: tuple[int, KeyPath] = (0, path)
    stack: list[tuple[KeyPath, Any]] = [(path, value_at(data, path))]
    while stack:
        here, value = stack.pop(0)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack += [((*here, part), inner) for part, inner in items]
        below = here[len(path) :]
        exact = bool(below) and (below[-1] in quoted or (isinstance(value, str) and value in quoted))
        score = 2 * exact + sum(part in words for part in below)
        if below and (exact or below[-1] in words) and score >= best[0]:
            best = (score, here)
    place = best[1]
    table = value_at(data, place[:-1]) if len(place) > len(path) else None
    if isinstance(table, dict) and place[-1] not in words:  # found by its name: the key that is meant is beside it
        place = next(((*place[:-1], key) for key in table if key in words), place)
    return place


def _take_out(data: Any, path: KeyPath) -> bool:
    """Remove a wrong key so that its default stands in; False where there is no key (it is missing) or no table."""
    table = value_at(data, path[:-1]) if path else None
    if not isinstance(table, dict) or path[-1] not in table:
        return False
    del table[str(path[-1])]
    return True
