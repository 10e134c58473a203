"""Which column of a file is which quantity: `--columns`, a TOML map, names that need no mapping. No file is read here
but the map; every mistake is told with what the file has and what to type.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from controller.analysis.base import Kind
from controller.errors import BadInputError

# Known to --columns whatever the kind uses, so that one map serves every kind.
COMMON = (
    "time_s",
    "current_a",
    "voltage_v",
    "temperature_c",
    "soc",
    "capacity_ah",
    "charge_capacity_ah",
    "discharge_capacity_ah",
    "step",
    "cycle",
)
_UNIT = re.compile(r"_(s|a|v|c|ah|wh|w|m|ohm|kg_m2|m_s)$")
# What cyclers call them, for guesses only: Arbin, BioLogic, Maccor, Neware, PyBaMM.
_HINTS = {
    "time": ("time", "timestamp", "zeit", "t"),
    "current": ("current", "strom", "i", "amps"),
    "voltage": ("voltage", "ecell", "ewe", "potential", "spannung", "volts", "u", "v"),
    "temperature": ("temperature", "temp", "surface", "aux"),
}
_PARTIAL = ("step", "cycle")  # a time that begins anew with each step is a worse guess than one that does not


def short_name(name: str) -> str:
    """`time` of `time_s`: what a person types."""
    return _UNIT.sub("", name)


def split_list(texts: Iterable[str]) -> list[str]:
    """The parts of `a,b` given once or several times, without empty ones."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def read_mapping(kind: Kind, texts: Sequence[str], file: Path | None) -> dict[str, str]:
    """Standard name -> column of the files, from --columns-file and --columns (which wins). BadInputError."""
    found = _read_file(kind, file) if file is not None else {}
    for part in split_list(texts):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not column:
            raise BadInputError(f"--columns: {part!r} is not NAME=COLUMN", "such as time=Test_Time,voltage=Voltage")
        found[_standard(kind, name, "--columns")] = column
    return found


def _read_file(kind: Kind, file: Path) -> dict[str, str]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{file}: not UTF-8 text", "a map holds lines such as time = 'Test_Time'") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{file}: not TOML: {error}", "quote names: time = 'Test Time (s)'") from error
    table = data.get("columns", data)
    if not isinstance(table, dict):
        raise BadInputError(f"{file}: `columns` is not a table", "write time = 'Test_Time' below [columns]")
    for name, column in table.items():
        if not isinstance(column, str):
            raise BadInputError(f"{file}: {name}: the column's name must be text", f"{name} = 'Test_Time'")
    return {_standard(kind, name, str(file)): column for name, column in table.items()}


def _standard(kind: Kind, text: str, where: str) -> str:
    """The standard name that a person means. One that this kind does not use is fine: a map may serve many kinds."""
    known = dict.fromkeys((*kind.needs, *kind.takes, *COMMON))
    if text in known:
        return text
    for name in known:
        if short_name(name) == text:
            return name
    names = [short_name(name) for name in known]
    raise BadInputError(f"{where}: no quantity is called {text!r}{_or(text, names)}", f"known: {', '.join(names)}")


def choose(kind: Kind, mapping: Mapping[str, str], present: Mapping[str, bool], source: str) -> dict[str, str]:
    """Standard name -> column, for one file. `present`: its columns, and whether each holds dates or counts ns.

    BadInputError: a needed column is missing, or a mapped one; all of them in one message.
    """
    chosen: dict[str, str] = {}
    missing: list[str] = []
    absent: list[str] = []
    for name in dict.fromkeys((*kind.needs, *kind.takes)):
        if name in mapping:
            chosen[name] = mapping[name]
            if mapping[name] not in present:
                absent.append(f"{mapping[name]!r}{_or(mapping[name], present)}")
        elif name in present:
            chosen[name] = name
        elif name == "time_s" and (stamps := [c for c in ("time", "time_ns", "timestamp") if present.get(c)]):
            chosen[name] = stamps[0]
        elif name in kind.needs:
            missing.append(name)
    if absent:
        raise BadInputError(f"{source}: no column {', '.join(absent)}", f"it has {', '.join(present)}")
    if missing:
        raise BadInputError(
            f"{source}: no column for {', '.join(missing)}, which {kind.name} needs; it has {', '.join(present)}",
            f"type --columns {_suggest(missing, set(present) - set(chosen.values()), present)}",
        )
    return chosen


def choose_by(
    by: Sequence[str], mapping: Mapping[str, str], present: Mapping[str, bool], source: str
) -> dict[str, str]:
    """Name in the result -> column, for --by. BadInputError: not in the file."""
    found = {}
    for name in by:
        column = name if name in present else mapping.get(name, name)
        if column not in present:
            raise BadInputError(
                f"{source}: --by: no column {name!r}{_or(name, present)}", f"it has {', '.join(present)}"
            )
        found[name] = column
    return found


def _suggest(missing: Sequence[str], free: set[str], present: Iterable[str]) -> str:
    parts = []
    for name in missing:
        guess = _guess(name, [c for c in present if c in free])
        free.discard(guess)
        parts.append(f"{short_name(name)}={guess or 'COLUMN'}")
    return ",".join(parts)


def _guess(name: str, columns: Sequence[str]) -> str:
    """The column that most probably is this quantity; "" when none looks like it."""
    short = short_name(name)
    hints = _HINTS.get(short, (short,))
    best, best_score = "", 0.55
    for column in columns:
        plain = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
        words = plain.split("_")
        score = difflib.SequenceMatcher(None, plain, name).ratio()
        score += next((1.0 - 0.05 * i for i, hint in enumerate(hints) if hint in words), 0.0)
        score += 0.5 if len(hints[0]) > 3 and any(len(h) > 3 and h in plain for h in hints) else 0.0
        score -= 0.3 if any(word in words for word in _PARTIAL) and not name.startswith(_PARTIAL) else 0.0
        if score > best_score:
            best, best_score = column, score
    return best


def _or(text: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something is near."""
    near = closest(text, names)
    return f"; did you mean {near!r}?" if near else ""


def closest(text: str, names: Iterable[str]) -> str:
    """The nearest of the names, whatever its case; "" when none is near."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""
