"""What is wrong with configuration files, as data and as text. The CLI turns ConfigError into exit code 2.

Nothing here reads a file. One line of text per problem, in the form that editors and terminals make clickable:
`FILE:LINE: KEY: WHAT (HINT)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person must correct."""

    file: str  # as the person wrote it; files that come with celltwin start with configs/
    line: int | None  # from 1; None where the file as a whole is meant
    key: str  # device[0].endpoint; empty where no key is meant
    what: str  # what is wrong, and what was expected
    hint: str = ""  # what to do about it

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {key}{self.what}{hint}"


class ConfigError(Exception):
    """All problems of a line file and of the files that it names; str() is one line for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))
