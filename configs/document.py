"""One TOML file as read from disk: its tables, and the line of every key. Knows nothing of our schema."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, Problem
from configs.toml_lines import KeyPath, key_lines

_MAX_BYTES = 4_000_000  # a line file has some kilobytes; the bound keeps a device file or a log from filling memory
_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is valid TOML. `label` is how messages call it."""

    path: Path
    label: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """Line of a key, or of the nearest table around it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]] if end or not path else None
        return None

    def problem(self, path: KeyPath, what: str, hint: str = "") -> Problem:
        """A problem with the key at `path`."""
        return Problem(self.label, self.line(path), key_text(path), what, hint)

    def place(self, path: KeyPath) -> str:
        """FILE:LINE of a key, for a message about another one."""
        line = self.line(path)
        return self.label if line is None else f"{self.label}:{line}"


def key_text(path: KeyPath) -> str:
    """A path as people write it: device[0].endpoint."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path, label: str | None = None) -> Document:
    """The file at `path`; `label` is its name in messages. Raises ConfigError with one problem."""
    label = str(path) if label is None else label
    text = _decode(_bytes(path, label), label)
    if not text.strip():
        raise _fault(label, "the file is empty", "docs/configuration.md shows what it needs")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise _fault(label, "lists or tables are nested too deep to be a configuration") from None
    except ValueError as error:  # TOMLDecodeError, and int's own limit on digits
        raise ConfigError([_syntax(label, text, str(error))]) from None
    return Document(path, label, data, key_lines(text))


def _bytes(path: Path, label: str) -> bytes:
    try:
        if path.is_dir():
            inside = sorted(p.name for p in path.glob("*.toml"))
            raise _fault(label, "is a folder, not a file", f"it has {_some(inside)}" if inside else "")
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise _fault(label, "no such file", _beside(path)) from None
    except OSError as error:
        raise _fault(label, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in the path
        raise _fault(ascii(label), "not a possible file name") from None
    if len(raw) > _MAX_BYTES:
        raise _fault(
            label, f"more than {_MAX_BYTES // 1_000_000} MB, which no configuration needs", "is this the right file?"
        )
    return raw


def _beside(path: Path) -> str:
    """What the folder has instead of a missing file."""
    try:
        inside = sorted(p.name for p in path.parent.glob("*.toml"))
        folder = path.parent.is_dir()
    except (OSError, ValueError):
        return ""
    if not folder:
        return f"the folder {path.parent} does not exist either"
    place = "this folder" if path.parent == Path() else str(path.parent)
    return f"{place} has {_some(inside)}" if inside else f"{place} has no .toml file"


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _decode(raw: bytes, label: str) -> str:
    try:
        return raw.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        utf16 = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
        what = "the file is UTF-16" if utf16 else f"byte 0x{raw[error.start]:02x} is not UTF-8 text"
        raise ConfigError([Problem(label, line, "", what, "save the file as UTF-8")]) from None


_SYNTAX_HINTS = {
    "Illegal character": "a closing quote may be missing",
    "Unterminated string": "a closing quote is missing",
    "Unescaped": "a backslash in double quotes is written twice",
    "Cannot overwrite": "the key is there twice",
    "Cannot declare": "the table is there twice; machines and tags of a list are written in double brackets",
    "Invalid value": "text needs quotes; true and false are in lower case",
    "Expected newline": "one key on each line",
}
"""What usually stands behind tomllib's messages."""


def _syntax(label: str, text: str, message: str) -> Problem:
    """tomllib's message with the position taken out of its text."""
    hit = _AT.search(message)
    what = _AT.sub("", message)
    hint = next((hint for start, hint in _SYNTAX_HINTS.items() if start in what), "")
    if hit is None:
        return Problem(label, None, "", f"not valid TOML: {what}", hint)
    if hit.group(1) is None:
        last = text.count("\n") + (not text.endswith("\n"))
        return Problem(label, last, "", f"not valid TOML: {what}", hint or "the file ends too early")
    line, column = int(hit.group(1)), int(hit.group(2))
    return Problem(label, line, "", f"column {column}: not valid TOML: {what}", hint)


def _fault(label: str, what: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(label, None, "", what, hint)])
