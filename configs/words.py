"""JSON schema in words: what a key expects, for messages and for the generated reference. Reads no file."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from configs.toml_lines import KeyPath

Schema = dict[str, Any]

NAME = "a name of at most 48 lower-case letters, digits and underscores, a letter first"
_PATTERNS = {
    r"^[a-z][a-z0-9_]{0,47}$": NAME,
    r"^https?://\S+$": "an address such as http://host:8086",
}
_TYPES = {"string": "text", "boolean": "true or false", "object": "a table", "array": "a list", "null": "nothing"}
_MANY = {
    "a number": "numbers",
    "a whole number": "whole numbers",
    "a table": "tables",
    "text": "texts",
    "a name": "names",
}


def schema_at(root: Schema, path: KeyPath) -> Schema | None:
    """The part of a model's JSON schema that describes the key at `path`, references followed; None: no such key."""
    node: Schema | None = root
    for part in path:
        if node is None:
            return None
        node = _child(root, _object(root, node), part)
    return None if node is None else _merged(root, node)


def keys_at(root: Schema, path: KeyPath) -> tuple[str, ...]:
    """Keys that the table at `path` may have; none where it is open or no table."""
    node = schema_at(root, path)
    return () if node is None else tuple(_object(root, node).get("properties", ()))


def expected(root: Schema, node: Schema) -> str:
    """What a value must be: "a whole number from 1 to 65535"."""
    node = _merged(root, node)
    if "enum" in node or "const" in node:
        return _choice([repr(v) for v in node.get("enum", [node.get("const")])])
    if "anyOf" in node:
        kinds = [k for k in node["anyOf"] if k.get("type") != "null"]
        words = list(dict.fromkeys(expected(root, k) for k in kinds))
        return _choice([w for w in words if w != "a whole number" or "a number" not in words])
    kind = node.get("type", "object")
    if kind in {"number", "integer"}:
        return ("a number" if kind == "number" else "a whole number") + _range(node)
    if kind == "array":
        return "a list of " + _items(root, node)
    if kind == "string":
        return _text(node)
    return _TYPES.get(kind, str(kind))


def given(value: object) -> str:
    """A value from a TOML file as the person wrote it, short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    text = repr(value) if isinstance(value, int | float) else f"'{value}'"
    text = text.replace("\n", "\\n")
    return text if len(text) <= 60 else text[:57] + "..."


def _text(node: Schema) -> str:
    pattern = node.get("pattern")
    if node.get("format") == "date-time":
        return "a date and time with offset, such as 2026-01-31T06:00:00Z"
    if pattern in _PATTERNS:
        return _PATTERNS[pattern]
    if pattern is not None:
        words = re.fullmatch(r"\^\(?([a-z_|]+)\)?\$", pattern)
        if words:
            return _choice([f"'{w}'" for w in words.group(1).split("|")])
        return str(node.get("description", f"text like {pattern}")).rstrip(".")
    longest = node.get("maxLength")
    return "text" if longest is None else f"text of at most {longest} characters"


def _items(root: Schema, node: Schema) -> str:
    low, high = node.get("minItems"), node.get("maxItems")
    what = expected(root, node.get("items", {}))
    for one, many in _MANY.items():
        what = many + what[len(one) :] if what.startswith(one) else what
    if low is not None and high is not None:
        return f"{low} to {high} {what}"
    if low is not None:
        return f"{'one' if low == 1 else low} or more {what}"
    return what if high is None else f"at most {high} {what}"


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:.12g}"
    parts = [
        f"{word} {value:.12g}"
        for word, value in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if value is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _choice(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _merged(root: Schema, node: Schema) -> Schema:
    """A node with its reference followed; a description beside the reference wins over the model's own."""
    if "$ref" in node:
        target: Schema = root.get("$defs", {})[node["$ref"].removeprefix("#/$defs/")]
        return target | {k: v for k, v in node.items() if k != "$ref"}
    return node


def _object(root: Schema, node: Schema) -> Schema:
    """The table or list among a node's alternatives (an optional table is `table or nothing`)."""
    node = _merged(root, node)
    for kind in node.get("anyOf", ()):
        inner = _merged(root, kind)
        if inner.get("type") in {"object", "array"}:
            return inner
    return node


def _child(root: Schema, node: Schema, part: str | int) -> Schema | None:
    found: Any = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
    if found is None and isinstance(part, str):
        found = node.get("additionalProperties") or next(iter(node.get("patternProperties", {}).values()), None)
    return found if isinstance(found, dict) else None
