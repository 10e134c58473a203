"""One `celltwin analyse`: understand the options, read the files, ask the kind, show what it found.

Everything that a person can get wrong ends as BadInputError. A file that cannot be read does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from controller.analysis import kinds
from controller.analysis.base import Kind, Options, Record, Row
from controller.analysis.columns import closest, read_mapping, short_name, split_list
from controller.analysis.output import figure_name, print_table, to_json, uniform, write_page, write_rows
from controller.analysis.read import Plan, read_records
from controller.errors import BadInputError

PAGES = 8
"""Up to so many figures get a page each, which carries 4.8 MB of plotly; more of them share one page."""
FIGURES = 400
"""The most figures of one command: beyond it a page is no longer a thing to look at."""
_SIGNS = {"charge": 1.0, "discharge": -1.0, "+1": 1.0, "1": 1.0, "-1": -1.0}


@dataclass(frozen=True, slots=True)
class Request:
    """The command line as typed."""

    kind: str
    files: Sequence[Path]
    columns: Sequence[str] = ()
    columns_file: Path | None = None
    current_sign: str = "charge"
    by: Sequence[str] = ()
    json: bool = False
    out_dir: Path | None = None
    settings: Sequence[str] = ()


@dataclass(slots=True)
class _Findings:
    """What came out of the records so far."""

    rows: list[Row] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    figures: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)  # heading, file name, figure
    problems: list[str] = field(default_factory=list)  # files that could not be read
    wrong: list[str] = field(default_factory=list)  # records that a person must correct, in the kind's words
    records: int = 0


def analyse(request: Request, screen: Console, messages: Console) -> int:
    """Carry the request out and return the exit code: 0, 1 where only some of the files could be read, 2 for none.

    Results go to `screen`; progress, notes and problems go to `messages`, so that --json alone stands on the screen.
    Raises BadInputError for options that cannot be, StorageError where --out cannot be written.
    """
    kind = _kind(request.kind)
    options = Options(_settings(kind, request.settings))
    if request.current_sign not in _SIGNS:
        raise BadInputError(
            f"--current-sign: {request.current_sign!r} is neither charge nor discharge",
            "which of them does the file count positive? +1 and -1 will do too",
        )
    if request.out_dir is not None and request.out_dir.exists() and not request.out_dir.is_dir():
        raise BadInputError(f"--out: {request.out_dir} is a file", "name a folder; it is made when missing")
    mapping = read_mapping(kind, request.columns, request.columns_file)
    plan = Plan(kind, mapping, split_list(request.by), _SIGNS[request.current_sign])
    found = _Findings()
    with _progress(messages) as bar:
        for path in bar.track(request.files, description=f"{kind.name}: reading"):
            try:
                records = read_records(path, plan)
            except BadInputError as error:
                found.problems.append(str(error))
                continue
            compiles = "" if found.records else " (the first use compiles the kernels)"
            for record in bar.track(records, description=f"{kind.name}: {path.name}{compiles}"):
                _one(found, kind, record, options, request)
    nothing = len(found.wrong) == found.records  # none of them, or none could be read at all
    if nothing:
        found.problems += list(dict.fromkeys(found.wrong))
    _show(found, request, kind, screen, messages)
    return 2 if nothing else 1 if found.problems else 0


def _one(found: _Findings, kind: Kind, record: Record, options: Options, request: Request) -> None:
    """Rows and figure of one record. What the kind or its twin refuses becomes a row with the reason."""
    keys: Row = {"file": record.source} if len(request.files) > 1 else {}
    keys |= record.keys
    found.keys = list(keys)
    found.records += 1
    try:
        rows: Sequence[Row] = kind.analyse(record, options)
    except (BadInputError, ValueError) as error:  # the twin says ValueError to shapes, units and ranges
        rows = [{"refused": str(error)}]
        if isinstance(error, BadInputError):
            found.wrong.append(str(error) if str(error).startswith(record.source) else f"{record.source}: {error}")
    else:
        if request.out_dir is not None and len(found.figures) < FIGURES:
            figure = kind.figure(record, rows)
            if figure is not None:
                heading = ", ".join([Path(record.source).name, *(f"{n} {v}" for n, v in record.keys.items())])
                name = figure_name(kind.name, len(found.figures) + 1, record.keys, record.source)
                found.figures.append((heading, name, figure))
    found.rows += [{**keys, **{name: value for name, value in row.items() if name not in keys}} for row in rows]


def _show(found: _Findings, request: Request, kind: Kind, screen: Console, messages: Console) -> None:
    rows = uniform(found.rows)
    for problem in found.problems:
        messages.print(f"error: {problem}", style="bold red", markup=False)
    if len(found.wrong) == found.records:
        return
    if request.json:
        screen.file.write(to_json(rows))
    else:
        print_table(rows, found.keys, screen)
        many = f"{found.records:,} record{'s' if found.records > 1 else ''}"
        screen.print(f"{kind.name}: {len(rows):,} row{'s' if len(rows) != 1 else ''} from {many}", markup=False)
    if request.out_dir is not None:
        for path in [*write_rows(request.out_dir, rows), *_pages(found, request.out_dir, kind)]:
            messages.print(f"written: {path}", markup=False)
        if len(found.figures) == FIGURES:
            messages.print(f"figures of the first {FIGURES} records only; --by or single files give the others")


def _pages(found: _Findings, directory: Path, kind: Kind) -> list[Path]:
    if not found.figures:
        return []
    if len(found.figures) > PAGES:
        path = directory / f"{kind.name}-figures.html"
        write_page(path, f"{kind.name}: {kind.text}", [(heading, figure) for heading, _, figure in found.figures])
        return [path]
    for heading, name, figure in found.figures:
        write_page(directory / name, f"{kind.name}: {kind.text}", [(heading, figure)])
    return [directory / name for _, name, _ in found.figures]


def _kind(name: str) -> Kind:
    if name in kinds.MODULES:
        return kinds.kind(name)
    near = closest(name, kinds.MODULES)
    raise BadInputError(
        f"no kind of analysis is called {name!r}{f'; did you mean {near!r}?' if near else ''}",
        f"known: {', '.join(kinds.MODULES)}",
    )


def _settings(kind: Kind, texts: Sequence[str]) -> dict[str, float | str]:
    """NAME=VALUE of --set: number or text as the kind's default is; either where it has none."""
    known = {setting.name: setting for setting in kind.settings}
    found: dict[str, float | str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise BadInputError(f"--set: {text!r} is not NAME=VALUE")
        if name not in known:
            near = closest(name, known)
            raise BadInputError(
                f"--set: {kind.name} has no setting {name!r}{f'; did you mean {near!r}?' if near else ''}\n"
                + describe_settings(kind)
            )
        default = known[name].default
        if isinstance(default, str):
            found[name] = value
            continue
        try:
            found[name] = float(value)
        except ValueError:
            if default is not None:
                raise BadInputError(
                    f"--set: {name}={value}: must be a number", f"{known[name].text}; default {default:g}"
                ) from None
            found[name] = value
    return found


def describe_settings(kind: Kind) -> str:
    """The kind's settings and columns for people, a line each."""
    lines = [
        f"  {s.name}: {s.text}; default {'found from the data' if s.default is None else s.default}"
        for s in kind.settings
    ] or [f"  {kind.name} has no settings"]
    columns = ", ".join(short_name(name) for name in kind.needs)
    takes = f"; uses when there: {', '.join(short_name(name) for name in kind.takes)}" if kind.takes else ""
    return "\n".join([*lines, f"  columns: {columns}{takes}"])


def _progress(messages: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal)
