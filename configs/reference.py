"""Writes docs/configuration.md from the schema: `python -m configs.reference`.

Every key is described once, in the models. The frame around the tables is here; a test holds the page against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from configs.explain import schema_of
from configs.loader import packaged
from configs.schema import CellModel, CoatingRecipe, Equipment, FormationRecipe, LineFile, UnitRecipe
from configs.schema.scenario import Scenario
from configs.words import NAME, Schema, expected

TARGET = Path(__file__).parents[1] / "docs" / "configuration.md"

_HEAD = """\
# Configuration

*Generated from the schema by `python -m configs.reference`; do not edit by hand.*

A line is one TOML file. It names equipment types, recipes and cell models, which have files of their own, so that 64
channels are one template and not 64 blocks:

```
line file  -->  equipment type   what one kind of machine offers: tags, addresses, units, limits
           -->  recipe           what is asked of a machine
           -->  cell model       what the twin believes of a cell design
```

`equipment`, `recipe` and `cell` take a **name** (`formation_rack_64`: a file that comes with celltwin under
`configs/equipment`, `configs/recipes` or `configs/cells`) or a **path** that ends in `.toml`, relative to the line
file.

`celltwin check FILE` reads all of them, opens no socket and needs no secret. It prints what would be read how often, or
everything that is wrong at once, one line for each, as `FILE:LINE: KEY: WHAT (HINT)`, and exits with 2.

- Unknown keys are mistakes, with a guess at what was meant.
- A *name* has at most 48 lower-case letters, digits and underscores, a letter first.
- Numbers are not text: `port = "8377"` is a mistake.
- Units are in the names: `_s` seconds, `_v` volts, `_a` amperes, `_c` degrees Celsius, `_m` metres. *Plant* seconds
  pass `simulation.speed` times faster than *wall* seconds on a simulated line, and are the same on a real one.
- Tokens and passwords are never in a line file; `token_env` or `token_file`, `password_env` or `password_file` say
  where a run finds them.

## In an editor
`celltwin schema > line.schema.json` writes the JSON schema of the line file. Editors with
[Taplo](https://taplo.tamasfe.dev) (VS Code: *Even Better TOML*) complete and check a file that begins with

```toml
#:schema ./line.schema.json
```

or all files of a folder by a rule in `.taplo.toml`:

```toml
[[rule]]
include = ["lines/*.toml"]
schema = { path = "./line.schema.json" }
```

The schema knows keys, types and ranges; that recipe and equipment fit each other is known to `celltwin check` only.
"""

_FILES: tuple[tuple[str, str, str, type[BaseModel]], ...] = (
    ("Line file", "lines", "", LineFile),
    ("Equipment type", "equipment", "", Equipment),
    ("Formation recipe", "recipes", "formation", FormationRecipe),
    ("Coating recipe", "recipes", "coating", CoatingRecipe),
    ("Unit recipe", "recipes", "unit", UnitRecipe),
    ("Cell model", "cells", "", CellModel),
    ("Scenario", "scenarios", "", Scenario),
)


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, folder, kind, model in _FILES:
        files = packaged(folder).items()
        names = [name for name, path in files if not kind or f'kind = "{kind}"' in path.read_text(encoding="utf-8")]
        have = ", ".join(f"[`{name}`](../configs/{folder}/{name}.toml)" for name in names)
        parts.append(f"## {title}\n{_about(schema_of(model))} Comes with celltwin: {have}.\n")
        parts += _tables(schema_of(model))
    return "\n".join(parts)


def _tables(root: Schema) -> Iterator[str]:
    """One table of keys for the file itself and for every table in it that has keys of its own."""
    waiting: list[tuple[str, Schema]] = [("", root)]
    while waiting:
        header, node = waiting.pop(0)
        rows: list[str] = []
        inside: list[tuple[str, Schema]] = []
        for key, inner in node["properties"].items():
            model, many = _model(root, inner)
            if model is None:
                rows.append(_row(root, key, inner, key in node.get("required", ())))
            else:
                name = f"{header.strip('[]')}.{key}".lstrip(".")
                inside.append((f"[[{name}]]" if many else f"[{name}]", model))
        waiting = inside + waiting
        if rows:
            title = f"### `{header}`\n{_about(node)}\n\n" if header else ""
            yield title + "\n".join(["| key | expects | default | what it is |", "|---|---|---|---|", *rows]) + "\n"


def _model(root: Schema, node: Schema) -> tuple[Schema | None, bool]:
    """The table behind a key, if it is one, and whether there may be many."""
    many = node.get("type") == "array"
    for kind in [node["items"]] if many else node.get("anyOf", [node]):
        target = root.get("$defs", {}).get(str(kind.get("$ref", "")).removeprefix("#/$defs/"), {})
        if target.get("type") == "object":
            return target, many
    return None, False


def _row(root: Schema, key: str, node: Schema, required: bool) -> str:
    default = "**required**" if required else _default(node)
    about = "" if "$ref" in node and "description" not in node else _about(node)
    wants = expected(root, node).replace(NAME, "a name").replace(NAME.replace("a name", "names", 1), "names")
    cells = (f"`{key}`", wants, default, about if about != wants + "." else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(node: Schema) -> str:
    value: Any = node.get("default")
    return "" if value is None or value in ("", [], {}) else f"`{json.dumps(value)}`"


def _about(node: Schema) -> str:
    return " ".join(str(node.get("description", "")).split())


if __name__ == "__main__":
    TARGET.write_text(markdown(), encoding="utf-8")
