"""A measured file as columns: Parquet (a file, or a folder of parts as a run writes them) or CSV.

Numbers come out as float64, dates as seconds since the file's first row, groups of rows as records. No estimates.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from controller.analysis.base import Cell, Kind, Record
from controller.analysis.columns import choose, choose_by
from controller.errors import BadInputError
from controller.types import Float64Array

_DELIMITERS = (",", ";", "\t", "|")
_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_LOOK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Plan:
    """How files are to be understood; the same for all of one command."""

    kind: Kind
    mapping: Mapping[str, str]
    by: Sequence[str] = ()
    current_sign: float = 1.0  # -1 where the file counts discharge positive


@dataclass(frozen=True, slots=True)
class _Source:
    """An opened file: what it has, and how to get some of it."""

    name: str
    types: Mapping[str, pa.DataType]
    read: Callable[[Sequence[str]], pa.Table]


def read_records(path: Path, plan: Plan) -> list[Record]:
    """The records of one file, groups in order of first appearance. BadInputError: what a person must mend."""
    source = _open(path)
    present = {name: _is_stamp(name, kind) for name, kind in source.types.items()}
    chosen = choose(plan.kind, plan.mapping, present, source.name)
    keys = choose_by(plan.by, plan.mapping, present, source.name)
    table = source.read(list(dict.fromkeys((*chosen.values(), *keys.values()))))
    if not table.num_rows:
        raise BadInputError(f"{source.name}: no rows", "only the columns' names are in it")
    columns = {}
    for name, column in chosen.items():
        must = name in plan.kind.needs or name in plan.mapping
        values = _floats(table.column(column), source.name, column, must)
        if values is not None:
            columns[name] = values
    if "current_a" in columns:
        columns["current_a"] = columns["current_a"] * plan.current_sign
    if not keys:
        return [Record(source.name, {}, columns)]
    return list(_groups(source.name, columns, {name: table.column(column) for name, column in keys.items()}))


def _open(path: Path) -> _Source:
    name = str(path)
    try:
        if path.is_dir():
            return _open_parquet(name, sorted(path.glob("*.parquet")))
        with path.open("rb") as file:
            head = file.read(_LOOK_BYTES)
    except FileNotFoundError:
        raise BadInputError(f"{name}: no such file", "is the path right, seen from here?") from None
    except OSError as error:
        raise BadInputError(f"{name}: cannot be read: {error.strerror}") from error
    if not head:
        raise BadInputError(f"{name}: empty file")
    try:
        return _open_parquet(name, [path]) if head.startswith(b"PAR1") else _open_csv(name, path, head)
    except (pa.ArrowException, OSError) as error:  # Arrow raises OSError for damaged files too
        raise BadInputError(f"{name}: cannot be read: {_first_line(error)}", "is it whole?") from error


def _open_parquet(name: str, parts: Sequence[Path]) -> _Source:
    if not parts:
        raise BadInputError(f"{name}: a folder without .parquet files")
    schema = pq.read_schema(parts[-1])  # the columns of a run's stream only ever grow
    _refuse_twins(name, schema.names)

    def read(columns: Sequence[str]) -> pa.Table:
        try:
            tables = [pq.ParquetFile(part).read(columns=list(columns)) for part in parts]
            return pa.concat_tables(tables, promote_options="permissive").select(list(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadInputError(f"{name}: cannot be read: {_first_line(error)}", "is it whole?") from error

    return _Source(name, {field.name: field.type for field in schema}, read)


def _open_csv(name: str, path: Path, head: bytes) -> _Source:
    if b"\0" in head:
        raise BadInputError(
            f"{name}: neither Parquet nor CSV", "spreadsheets and cyclers' own formats: export them as CSV"
        )
    encoding = _encoding(head)
    delimiter, decimal = _sniff(head.decode(encoding, errors="replace"))
    table = pv.read_csv(
        path,
        read_options=pv.ReadOptions(encoding=encoding),
        parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
        convert_options=pv.ConvertOptions(decimal_point=decimal),
    )
    names = [str(column).strip() for column in table.column_names]
    _refuse_twins(name, names)
    table = table.rename_columns(names)
    return _Source(name, {field.name: field.type for field in table.schema}, table.select)


def _encoding(head: bytes) -> str:
    """UTF-8, or the single bytes that older cycler software writes; Latin-1 takes any of them."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
        return "utf8"
    except UnicodeDecodeError:
        return "latin1"


def _sniff(text: str) -> tuple[str, str]:
    """Delimiter and decimal mark from the first lines: the delimiter that stands as often on each of them."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    lines = lines[:-1] or lines  # the last one may be cut

    def score(mark: str) -> tuple[bool, int]:
        counts = [line.count(mark) for line in lines]
        return min(counts) == max(counts) and counts[0] > 0, counts[0]

    delimiter = max(_DELIMITERS, key=score) if lines else ","
    # 3,70;1,2 : a comma inside a field that is a number, in a file delimited by something else.
    comma = delimiter != "," and any(
        re.fullmatch(r"\s*[-+]?\d+,\d+([eE][-+]?\d+)?\s*", cell) for line in lines[1:] for cell in line.split(delimiter)
    )
    return delimiter, "," if comma else "."


def _refuse_twins(name: str, columns: Sequence[str]) -> None:
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise BadInputError(f"{name}: column {twins[0]!r} stands in it more than once", "rename one of them")


def _is_stamp(name: str, kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or (name.endswith("_ns") and pa.types.is_integer(kind)))


def _floats(column: pa.ChunkedArray, source: str, name: str, must: bool) -> Float64Array | None:
    """A column as float64, missing values NaN; None for an optional one that holds no numbers."""
    column = _plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _since_first(column, _PER_S[kind.unit])
    if name.endswith("_ns") and pa.types.is_integer(kind):
        return _since_first(column, _PER_S["ns"])
    if pa.types.is_duration(kind):
        return _to_numpy(column.cast(pa.int64())) / _PER_S[kind.unit]
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    try:
        return _to_numpy(column.cast(pa.float64(), safe=False))
    except pa.ArrowException as error:
        if not must:
            return None
        row, value = _first_not_a_number(column)
        raise BadInputError(
            f"{source}: column {name!r} holds {'text' if _is_text(kind) else str(kind)}, not numbers: "
            f"row {row} is {value!r}"
        ) from error


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values instead of numbers of a dictionary, as pandas writes its categories."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _since_first(column: pa.ChunkedArray, per_s: int) -> Float64Array:
    """Seconds since the first value; the difference is exact, so that nothing of a nanosecond stamp is lost."""
    whole = column.cast(pa.int64())
    first = next((chunk[0].as_py() for chunk in whole.drop_null().chunks if len(chunk)), 0)
    return _to_numpy(pc.subtract(whole, first)) / per_s


def _to_numpy(column: pa.ChunkedArray) -> Float64Array:
    """Nulls become NaN."""
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _first_not_a_number(column: pa.ChunkedArray) -> tuple[int, object]:
    """Row (the first is 1) and value that no number can be made of."""
    for row, value in enumerate(column.to_pylist(), start=1):
        try:
            float(value if value is not None else 0.0)
        except (TypeError, ValueError):
            return row, value
    return 1, column[0].as_py()


def _groups(source: str, columns: Mapping[str, Float64Array], keys: Mapping[str, pa.ChunkedArray]) -> Iterator[Record]:
    """One record for each combination of the keys' values; rows keep their order."""
    n = len(next(iter(keys.values())))
    code = np.zeros(n, dtype=np.int64)
    values: dict[str, list[Cell]] = {}
    parts: dict[str, NDArray[np.int64]] = {}
    for name, column in keys.items():
        encoded = _plain(column).combine_chunks().dictionary_encode(null_encoding="encode")
        values[name] = [_cell(value) for value in encoded.dictionary.to_pylist()]
        parts[name] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        code = np.unique(code * len(values[name]) + parts[name], return_inverse=True)[1]
    first, inverse, counts = np.unique(code, return_index=True, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(first)  # of the groups, by first appearance
    ends = np.cumsum(counts)
    rows = np.argsort(inverse, kind="stable")
    for group in order:
        mine = rows[ends[group] - counts[group] : ends[group]]
        key = {name: values[name][parts[name][first[group]]] for name in keys}
        yield Record(source, key, {name: column[mine] for name, column in columns.items()})


def _cell(value: object) -> Cell:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
