"""What a kind of analysis is: columns of one record in, rows out. No file, no terminal, no arithmetic in here.

A kind is a module of `controller.analysis.kinds` with a constant KIND. It hands the record to the twin of the same
subject and turns the twin's result into rows whose names carry units; a standard deviation is the same name with `_sd`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from controller.types import Float64Array

Cell = float | int | str | bool | None
Row = dict[str, Cell]
"""One finding. None where the data do not give the figure; a reason in words stands in another column (`refused`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One measured record: a whole file, or one group of it (`--by`). Current is positive in charge."""

    source: str  # file name, for messages
    keys: Mapping[str, Cell]  # what the group has in common: temperature_c = 25.0, cell = 3
    columns: Mapping[str, Float64Array]  # equal lengths, file order; always time_s, current_a, voltage_v where needed


@dataclass(frozen=True, slots=True)
class Options:
    """What the person chose. `values` are the kind's own settings, given as --set NAME=VALUE and already checked."""

    values: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """One --set NAME=VALUE of a kind. A default of None means that the kind finds a value by itself."""

    name: str
    default: float | str | None
    text: str


class Kind(Protocol):
    """One kind of analysis."""

    name: str
    text: str  # one line for --help
    needs: tuple[str, ...]  # columns that a record must have: time_s, current_a, voltage_v, ...
    takes: tuple[str, ...]  # columns used when present: temperature_c, soc, ...
    settings: tuple[Setting, ...]

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """Rows of one record, without its keys (the caller puts them in front). Raises BadInputError only."""
        ...

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """A Plotly figure as plain data ({"data": [...], "layout": {...}}), or None."""
        ...
