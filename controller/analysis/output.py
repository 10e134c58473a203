"""Rows of findings for people and for programs: a table on the screen, JSON, Parquet, one HTML page per figure."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.analysis.base import Cell, Row
from controller.errors import StorageError
from controller.page import plotly_script, script_json, write_whole

SHOWN_ROWS = 40
"""Rows of a table on the screen; the files and --json have all."""
_SD = "_sd"
_DIGITS = 5
_TEXT_WIDTH = 48
_ACROSS = 6  # a single row with more figures than this is read more easily from top to bottom


def uniform(rows: Sequence[Mapping[str, object]]) -> list[Row]:
    """The same names in every row, in order of first appearance. What is not a finite number becomes None."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _cell(row.get(name)) for name in names} for row in rows]


def _cell(value: object) -> Cell:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def to_json(rows: Sequence[Row]) -> str:
    """A list of objects, one a line."""
    lines = ",\n".join(json.dumps(row, allow_nan=False, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"


def to_table(rows: Sequence[Row]) -> pa.Table:
    """One Arrow column per name: numbers as float64 or int64, text, truth; a column without any value is null."""
    names = list(rows[0]) if rows else []
    return pa.table({name: _array([row[name] for row in rows]) for name in names})


def _array(values: list[Cell]) -> pa.Array:
    there = [value for value in values if value is not None]
    for types, arrow in ((bool, pa.bool_()), (str, pa.string())):
        if any(isinstance(value, types) for value in there):
            if all(isinstance(value, types) for value in there):
                return pa.array(values, arrow)
            return pa.array([None if value is None else str(value) for value in values], pa.string())
    whole = all(isinstance(value, int) and abs(value) < 2**63 for value in there)
    kind = pa.int64() if there and whole else pa.float64()
    return pa.array(values if whole else [None if v is None else float(v) for v in values], kind)


def write_rows(directory: Path, rows: Sequence[Row]) -> list[Path]:
    """rows.parquet and rows.json. StorageError: cannot be written."""
    parquet, plain = directory / "rows.parquet", directory / "rows.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        pq.write_table(to_table(rows), parquet)
    except OSError as error:
        raise StorageError(f"{parquet}: cannot be written: {error.strerror or error}") from error
    write_whole(plain, to_json(rows))
    return [parquet, plain]


def print_table(rows: Sequence[Row], keys: Sequence[str], screen: Console) -> None:
    """Rows with sensible digits, for reading.

    A value and its standard deviation share a column. What is the same in all rows stands above the table, what no row
    has is left out, and a table wider than the terminal is cut into several.
    """
    shown = rows[:SHOWN_ROWS]
    names = list(rows[0]) if rows else []
    values = [name for name in names if not (name.endswith(_SD) and name.removesuffix(_SD) in names)]
    columns: dict[str, list[str]] = {}
    same: list[str] = []
    for name in values:
        pairs = {(row[name], row.get(name + _SD)) for row in rows}
        texts = _texts([row[name] for row in shown], [row.get(name + _SD) for row in shown])
        if name not in keys and all(value is None for value, _ in pairs):
            continue
        if name not in keys and len(rows) > 3 and len(pairs) == 1 and len(texts[0]) <= _TEXT_WIDTH:
            same.append(f"{name} {texts[0]}")
        else:
            columns[name] = texts
    if not screen.is_terminal:  # into a file or a pipe: as wide as it is, nothing cut
        screen = Console(file=screen.file, width=10_000, highlight=False)
    if len(rows) == 1 and len(columns) > _ACROSS:
        _print_down(columns, screen)
        return
    if same:
        screen.print(f"in all rows: {', '.join(same)}", markup=False, soft_wrap=True)
    numeric = {name: not any(isinstance(row[name], str) for row in shown) for name in columns}
    who = [n for n in columns if n in keys or (n != "refused" and not any(isinstance(r[n], float) for r in shown))]
    for part in _split(columns, who, screen.width):
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in part:
            table.add_column(name, justify="right" if numeric[name] else "left", no_wrap=numeric[name])
        for i in range(len(shown)):
            table.add_row(*(Text(columns[name][i]) for name in part))
        screen.print(table, soft_wrap=False, crop=False)
    if len(rows) > SHOWN_ROWS:
        screen.print(f"... and {len(rows) - SHOWN_ROWS:,} more rows; --json or --out DIR gives all", soft_wrap=True)


def _print_down(columns: Mapping[str, Sequence[str]], screen: Console) -> None:
    """A single row: a line for each of its figures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name, texts in columns.items():
        table.add_row(Text(name, style="bold"), Text(texts[0]))
    screen.print(table, soft_wrap=False, crop=False)


def _split(columns: Mapping[str, Sequence[str]], keys: Sequence[str], width: int) -> list[list[str]]:
    """Columns in as many tables as the screen needs; `keys`, which tell rows apart, in each. Only text is wrapped."""
    wide = {name: 2 + min(max(map(len, (name, *texts))), _TEXT_WIDTH) for name, texts in columns.items()}
    if sum(wide.values()) <= width:
        return [list(columns)]
    used = sum(wide[name] for name in keys)
    if used > width // 2:  # no room for them in every table
        keys, used = [], 0
    parts: list[list[str]] = [list(keys)]
    room = width - used
    for name in columns:
        if name in keys:
            continue
        if wide[name] > room and len(parts[-1]) > len(keys):
            parts.append(list(keys))
            room = width - used
        parts[-1].append(name)
        room -= wide[name]
    return parts


def _texts(values: Sequence[Cell], sds: Sequence[Cell]) -> list[str]:
    sizes = [abs(float(v)) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and v]
    decimals = _decimals(max(sizes), _DIGITS) if sizes else 0
    # One number of decimals for a column, unless that would hide its small values.
    alike = bool(sizes) and min(sizes) > max(sizes) * 1e-3 and max(sizes) < 1e7 and decimals <= 7
    while alike and decimals and all(f"{size:.{decimals}f}".endswith("0") for size in sizes):
        decimals -= 1
    return [_text(value, sd, decimals if alike else None) for value, sd in zip(values, sds, strict=True)]


def _text(value: Cell, sd: Cell, decimals: int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, str)):
        return str(value)
    if isinstance(sd, float) and sd > 0.0:
        places = _decimals(sd, 2)
        if places <= 7 and abs(value) < 1e7:
            return f"{value:.{max(places, 0)}f} ± {sd:.{max(places, 0)}f}"
        return f"{value:.4g} ± {sd:.2g}"
    return f"{value:.{_DIGITS}g}" if decimals is None else f"{value:.{decimals}f}"


def _decimals(size: float, digits: int) -> int:
    """Decimal places that show so many digits of a number of that size."""
    return max(0, digits - 1 - math.floor(math.log10(size)))


def figure_name(kind: str, number: int, keys: Mapping[str, Cell], source: str) -> str:
    """File name of a record's figure, from its file's name and what its group has in common."""
    parts = [Path(source).stem, *(f"{name}-{value}" for name, value in keys.items())]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", "_".join(parts)).strip("._")[:80]
    return f"{kind}-{number:03d}-{plain}.html"


def write_page(path: Path, title: str, figures: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """One self-contained page: (heading, Plotly figure) each, drawn when it comes near the screen."""
    data = [_plain(figure) for _, figure in figures]
    sections = "".join(
        f'<h2>{html.escape(heading)}</h2><div class="figure" id="f{i}"></div>' for i, (heading, _) in enumerate(figures)
    )
    write_whole(
        path,
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n{_POLICY}\n<title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>{sections}\n"
        f'<script type="application/json" id="data">{script_json(data)}</script>\n'
        f"<script>{plotly_script()}</script>\n<script>{_DRAW}</script></body></html>\n",
    )


def _plain(value: Any) -> Any:
    """Only what JSON has: arrays become lists, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _cell(value)


# The page asks no host for anything, as the report does not.
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:\">"
)
_STYLE = (
    'body{margin:16px 24px;font:15px/1.45 "Segoe UI","DejaVu Sans",Arial,sans-serif;color:#14212b}'
    "h1{font-size:20px}h2{font-size:15px;font-weight:600;margin:16px 0 0}.figure{min-height:420px}"
)
_DRAW = """
"use strict";
const figures = JSON.parse(document.getElementById("data").textContent);
const near = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach((e) => {
  near.unobserve(e.target);
  const figure = figures[Number(e.target.id.slice(1))];
  const layout = { margin: { t: 30, r: 20 }, ...figure.layout };
  Plotly.newPlot(e.target, figure.data, layout, { responsive: true, displaylogo: false });
}), { rootMargin: "600px" });
document.querySelectorAll(".figure").forEach((element) => near.observe(element));
"""
