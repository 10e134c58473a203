"""Learnt browse paths as bytes, for the state of the run folder, and back. Pure: no storage, no server.

A path is kept with the address it was learnt for: one whose tag has another address now, or is gone, is not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Path = tuple[tuple[str, str], ...]
"""Namespace URI and browse name of each step, from the Objects folder on."""

VERSION = 1
LARGEST = 4_000_000
"""Bytes: ten thousand tags with paths of four hundred; a server that gives more is not remembered."""


def pack(paths: Mapping[str, Path], addresses: Mapping[str, str]) -> bytes | None:
    """Paths by tag, and every tag's address; None where it would be too large. Equal paths give equal bytes."""
    steps = sorted({step for path in paths.values() for step in path})
    number = {step: k for k, step in enumerate(steps)}
    tags = {name: [addresses[name], [number[step] for step in paths[name]]] for name in sorted(paths)}
    saved = json.dumps({"version": VERSION, "steps": steps, "tags": tags}, separators=(",", ":")).encode()
    return saved if len(saved) <= LARGEST else None


def unpack(saved: bytes, addresses: Mapping[str, str]) -> tuple[dict[str, Path], str]:
    """(paths by tag, what was left out in words; empty: nothing)."""
    if len(saved) > LARGEST:
        return {}, "it is too large"
    try:
        whole = json.loads(saved)
        if whole["version"] != VERSION:
            return {}, f"it is of version {whole['version']}, and we read version {VERSION}"
        steps = [_step(step) for step in whole["steps"]]
        tags = {
            str(name): (str(tag[0]), tuple(steps[_index(k)] for k in tag[1])) for name, tag in whole["tags"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        return {}, f"it cannot be read: {type(problem).__name__}"
    paths = {name: path for name, (address, path) in tags.items() if path and addresses.get(name) == address}
    left = sorted(set(tags) - set(paths))
    return paths, f"tags of other addresses, or gone: {', '.join(left[:3])}{', ...' * (len(left) > 3)}" if left else ""


def _step(step: Any) -> tuple[str, str]:
    uri, name = step
    if not isinstance(uri, str) or not isinstance(name, str):
        raise TypeError("a step is a namespace and a name")
    return uri, name


def _index(k: Any) -> int:
    if not isinstance(k, int) or k < 0:
        raise TypeError("a step's number")
    return k
