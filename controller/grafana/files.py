"""The dashboards as JSON files: what lies under deploy/grafana/dashboards and what `push` sends are the same texts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from controller.errors import BadInputError, RunError
from controller.grafana import require

SCHEMA_VERSION = 38
"""Of the dashboard model in Grafana 10.1, which the SDK's builders follow; later versions migrate it when they load."""


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by name, as plain JSON values. Raises BadInputError where the SDK is not installed."""
    return {name.removesuffix(".json"): json.loads(text) for name, text in texts().items()}


def texts() -> dict[str, str]:
    """File name -> content, the same for the same versions whoever builds it. Raises BadInputError as above."""
    require("grafana_foundation_sdk")
    return dict(_build())


@cache
def _build() -> tuple[tuple[str, str], ...]:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    from controller.grafana import coater, frame, line, rack

    built = []
    for name, module in (("line", line), ("coater", coater), ("rack", rack)):
        plain: dict[str, Any] = json.loads(json.dumps(module.build().build(), cls=JSONEncoder))
        plain["schemaVersion"] = SCHEMA_VERSION
        plain["annotations"] = {"list": [frame.gap_marks()]}
        # Without numbers of their own panels get new ones at every load, and links to a panel break.
        for number, panel in enumerate(plain["panels"], 1):
            panel["id"] = number
        text = json.dumps(plain, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        built.append((f"{name}.json", text))
    return tuple(built)


def write(folder: Path) -> list[Path]:
    """Writes what differs; returns those paths. Raises BadInputError."""
    changed = []
    for name, text in texts().items():
        path = folder / name
        if _read(path) == text:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadInputError(f"{path}: cannot be written: {error.strerror}", "choose another --dir") from error
        changed.append(path)
    return changed


def check(folder: Path) -> None:
    """Raises RunError naming every file that is not what the code would write."""
    stale = [str(folder / name) for name, text in texts().items() if _read(folder / name) != text]
    if stale:
        raise RunError(f"not current: {', '.join(stale)}", "run celltwin grafana generate")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
