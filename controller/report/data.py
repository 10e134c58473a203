"""Reads a run folder as far as it is there: run.json, Parquet streams, truth, the spool's ledger. Nothing is computed.

Everything may be missing or cut short; what is missing says why, in words that the report can print.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from controller.errors import BadInputError
from controller.types import Float64Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one stream and device in order of point, then time. `why` says what is wrong when there are none."""

    time_ns: Int64Array
    point: NDArray[np.int32]
    columns: Mapping[str, Float64Array]
    why: str = ""

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.time_ns.shape[0])

    def column(self, name: str) -> Float64Array:
        """A column, NaN throughout when the stream never had it."""
        found = self.columns.get(name)
        return np.full(self.count, np.nan) if found is None else found

    def points(self) -> Iterator[tuple[int, Rows]]:
        """Each point with its rows in order of time."""
        numbers, starts = np.unique(self.point, return_index=True)
        for number, first, end in zip(numbers, starts, [*starts[1:], self.count], strict=True):
            yield int(number), self.cut(slice(int(first), int(end)))

    def of_point(self, number: int) -> Rows:
        """The rows of one point in order of time; empty when it has none."""
        first, end = np.searchsorted(self.point, [number, number + 1])
        return self.cut(slice(int(first), int(end)))

    def after(self, time_ns: int) -> Rows:
        """Rows not before a time."""
        return self.cut(self.time_ns >= time_ns)

    def in_time(self) -> Rows:
        """The rows in order of time, whatever their point."""
        return self._ordered(np.argsort(self.time_ns, kind="stable"))

    def by(self, name: str) -> Rows:
        """The rows in order of a column."""
        return self._ordered(np.argsort(self.column(name), kind="stable"))

    def _ordered(self, order: NDArray[np.intp]) -> Rows:
        columns = {name: values[order] for name, values in self.columns.items()}
        return Rows(self.time_ns[order], self.point[order], columns, self.why)

    def cut(self, where: slice | NDArray[np.bool_]) -> Rows:
        """The rows of a slice or a mask."""
        columns = {name: values[where] for name, values in self.columns.items()}
        return Rows(self.time_ns[where], self.point[where], columns, self.why)


def no_rows(why: str) -> Rows:
    """Nothing, and the reason."""
    return Rows(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), {}, why)


@dataclass(frozen=True, slots=True)
class RunData:
    """One run folder. Streams are read when asked for, not at construction."""

    folder: Path
    run: Mapping[str, Any]
    ledger: Mapping[str, int]  # rows that became durable, per stream
    notes: list[str] = field(default_factory=list)  # what could not be read

    def parquet_rows(self) -> dict[str, int]:
        """Rows per stream according to the files' own footers."""
        rows = {}
        for stream in sorted(p for p in _children(self.folder / "parquet") if not p.name.startswith(".")):
            rows[stream.name] = sum(self._footer_rows(path) for path in _parts(stream))
        return rows

    def stream(self, name: str, device: str, columns: Sequence[str]) -> Rows:
        """Rows of one device in a stream."""
        return self._rows(self.folder / "parquet" / name, device, columns)

    def truth(self, device: str, columns: Sequence[str]) -> Rows:
        """Rows of a simulated device's truth file."""
        return self._rows(self.folder / "truth" / device, device, columns)

    def labelled(self, name: str, label: str, columns: Sequence[str]) -> dict[tuple[str, str], Rows]:
        """Rows of a stream whose Frames carry a label (charts do), by device and the label's value."""
        read = (
            self._read(path, ["time", "device", label, *columns]) for path in _parts(self.folder / "parquet" / name)
        )
        tables = [table for table in read if table is not None and label in table.column_names]
        if not tables:
            return {}
        table = pa.concat_tables(tables, promote_options="default")
        keys = table.group_by(["device", label]).aggregate([]).to_pylist()
        found = {}
        for device, value in sorted((key["device"], key[label]) for key in keys if key[label] is not None):
            equal = pa.compute.and_(pa.compute.equal(table["device"], device), pa.compute.equal(table[label], value))
            found[device, value] = _sorted(table.filter(equal), columns)
        return found

    def devices_with(self, stream: str) -> list[str]:
        """Devices that have rows in a stream, in order of name."""
        found: set[str] = set()
        for path in _parts(self.folder / "parquet" / stream):
            table = self._read(path, ["device"])
            if table is not None:
                found.update(table.column("device").unique().to_pylist())
        return sorted(found)

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Rows of a record stream (command, gap, event), oldest first, with `time_ns`."""
        rows: list[dict[str, Any]] = []
        for path in _parts(self.folder / "parquet" / stream):
            table = self._read(path, None)
            if table is None:
                continue
            time_ns = table.column("time").cast(pa.int64()).to_pylist()
            rows += [{**row, "time_ns": t} for row, t in zip(table.drop(["time"]).to_pylist(), time_ns, strict=True)]
        return sorted(rows, key=lambda row: row["time_ns"])

    def _rows(self, folder: Path, device: str, columns: Sequence[str]) -> Rows:
        where = f"{folder.parent.name}/{folder.name}"
        if not (parts := _parts(folder)):
            return no_rows(f"no files in {where}")
        tables = [t for path in parts if (t := self._read(path, ["time", "device", *columns])) is not None]
        if not tables:
            return no_rows(f"no readable file in {where}")
        table = pa.concat_tables(tables, promote_options="default")
        table = table.filter(pa.compute.equal(table.column("device"), device))
        if not table.num_rows:
            return no_rows(f"no rows of {device} in {where}")
        return _sorted(table, columns)

    def _read(self, path: Path, columns: Sequence[str] | None) -> pa.Table | None:
        """A part with its point column and those wanted columns that it has; None when it cannot be read."""
        try:
            with pq.ParquetFile(path) as file:
                if columns is None:
                    return file.read()
                # Only points are 32-bit integers; what they are called differs from stream to stream.
                have = [f.name for f in file.schema_arrow if f.name in columns or f.type == pa.int32()]
                return file.read(columns=have)
        except (OSError, pa.ArrowException) as error:
            self._note(f"{path.name} in {path.parent.name} could not be read: {error}")
            return None

    def _footer_rows(self, path: Path) -> int:
        try:
            return int(pq.read_metadata(path).num_rows)
        except (OSError, pa.ArrowException) as error:
            self._note(f"{path.name} in {path.parent.name} could not be read: {error}")
            return 0

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def load(folder: Path) -> RunData:
    """Open a run folder. Raises BadInputError where there is no such folder; anything else may be missing."""
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder", "give the folder of a run, for instance runs/a_sample")
    run: dict[str, Any] = {}
    notes: list[str] = []
    try:
        loaded = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        run = loaded if isinstance(loaded, dict) else {}
    except (OSError, ValueError) as error:
        notes.append(f"run.json could not be read: {error}")
    ledger = _ledger(folder / "spool.sqlite3")
    if ledger is None:
        notes.append("the spool could not be read; its ledger is taken from run.json")
        ledger = {str(k): int(v) for k, v in (run.get("ledger") or {}).items()}
    return RunData(folder, run, ledger, notes)


def _ledger(path: Path) -> dict[str, int] | None:
    """The spool's own count of durable rows: newer than run.json's after a controller was killed."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)) as spool:
            return {str(stream): int(rows) for stream, rows in spool.execute("SELECT stream, rows FROM ledger")}
    except sqlite3.Error:
        return None


def _children(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []


def _parts(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("part-*.parquet") if p.is_file()) if folder.is_dir() else []


def _sorted(table: pa.Table, columns: Sequence[str]) -> Rows:
    time_ns = table.column("time").cast(pa.int64()).to_numpy()
    names = [f.name for f in table.schema if f.type == pa.int32()]
    point = np.zeros(table.num_rows, dtype=np.int32)
    for name in names:  # a stream has one; files of different ages may differ in its name
        values = table.column(name).fill_null(0).to_numpy()
        point = np.where(values != 0, values, point)
    order = np.lexsort((time_ns, point))
    data = {
        name: np.asarray(table.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)[order]
        for name in columns
        if name in table.column_names
    }
    return Rows(time_ns[order], point[order].astype(np.int32), data)
