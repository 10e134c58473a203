"""Line numbers of the keys of a TOML text, which tomllib does not give. Knows nothing of our schema.

The scanner follows the structure only and decodes nothing but keys. It is meant for texts that tomllib accepted; on any
other text it stops where it loses track and keeps what it has: a missing line number is better than a second error.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress

KeyPath = tuple[str | int, ...]
"""Keys and indices from the root: ("device", 0, "endpoint")."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A closing """ may be preceded by one or two quotes of the text itself (TOML 1.0, String).
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]\}\n#]+")


class _LostError(Exception):
    """The text is not what the scanner expected here."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of every key, table and list element of `text`; the first mention where there are several."""
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError, ValueError):
        scanner.document()
    return scanner.found


class _Scanner:
    """Position in one text, and what has been found before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[KeyPath, int] = {(): 1}
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        self._tables: dict[KeyPath, int] = {}  # array of tables -> number of its elements so far

    def document(self) -> None:
        here: KeyPath = ()
        while self._skip(_BLANK) < len(self.text):
            if self._take("[["):
                here = self._header("]]", element=True)
            elif self._take("["):
                here = self._header("]", element=False)
            else:
                self._pair(here)

    def _header(self, close: str, *, element: bool) -> KeyPath:
        line, path = self._line(), self._key()
        self._need(close)
        full = self._place(path[:-1])
        self._mark(full, line)
        full += path[-1:]
        self._mark(full, line)
        if element:
            self._tables[full] = self._tables.get(full, 0) + 1
        if full in self._tables:
            full = (*full, self._tables[full] - 1)
            self._mark(full, line)
        return full

    def _place(self, path: KeyPath) -> KeyPath:
        """A header's path with the index of the latest element of each array of tables on the way."""
        full: KeyPath = ()
        for part in path:
            full = (*full, part)
            if full in self._tables:
                full = (*full, self._tables[full] - 1)
        return full

    def _pair(self, here: KeyPath) -> None:
        line, path = self._line(), self._key()
        self._skip(_SPACE)
        self._need("=")
        for k in range(len(path)):
            self._mark(here + path[: k + 1], line)
        self._value(here + path)

    def _value(self, path: KeyPath) -> None:
        self._skip(_SPACE)
        if self._take("["):
            self._list(path)
        elif self._take("{"):
            while not self._closes("}"):
                self._pair(path)
        elif not self._match(_STRING) and not self._match(_SCALAR):
            raise _LostError

    def _list(self, path: KeyPath) -> None:
        index = 0
        while not self._closes("]"):
            self._mark((*path, index), self._line())
            self._value((*path, index))
            index += 1

    def _closes(self, bracket: str) -> bool:
        """Whether the list or inline table ends here; else steps over the comma."""
        self._skip(_BLANK)
        if self._take(","):
            self._skip(_BLANK)
        if self.at >= len(self.text):
            raise _LostError
        return self._take(bracket)

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            if quoted := self._match(_STRING):
                parts.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            elif bare := self._match(_BARE_KEY):
                parts.append(bare)
            else:
                raise _LostError
            self._skip(_SPACE)
            if not self._take("."):
                return tuple(parts)

    def _line(self) -> int:
        return bisect_right(self._newlines, self.at - 1) + 1

    def _mark(self, path: KeyPath, line: int) -> None:
        self.found.setdefault(path, line)

    def _skip(self, what: re.Pattern[str]) -> int:
        self._match(what)
        return self.at

    def _match(self, what: re.Pattern[str]) -> str:
        hit = what.match(self.text, self.at)
        if hit is None:
            return ""
        self.at = hit.end()
        return hit.group()

    def _take(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def _need(self, literal: str) -> None:
        self._skip(_SPACE)
        if not self._take(literal):
            raise _LostError
