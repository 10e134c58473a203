"""Writes what no instrument shows to truth/<device>/part-NNNNN.parquet: for tests and the report, never for the twin.

What was broken, and when, goes to truth/<device>/faults.parquet/part-NNNNN.parquet: a folder that reads as one table.

A part is complete before its name ends in .parquet (written aside, then renamed), so a reader may open every file it
sees while the line runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulators.faults.timetable import Switch
from simulators.machine import Values

# Bound on what is kept when the disk is full: a day of minutes.
MAX_RECORDS = 1440
_PART = re.compile(r"part-(\d{5,})\.parquet")


def next_part(folder: Path) -> int:
    """Number after the highest part in the folder, from 1: a restart continues where the last run ended."""
    found = (_PART.fullmatch(p.name) for p in folder.iterdir())
    return max((int(m.group(1)) for m in found if m), default=0) + 1


class TruthWriter:
    """Collects truth records of one device and writes them a part at a time."""

    def __init__(self, out: Path, device: str) -> None:
        """Makes the folder. Raises OSError when it cannot be made or read."""
        self._folder = out / "truth" / device
        self._folder.mkdir(parents=True, exist_ok=True)
        self._device = device
        self._part = next_part(self._folder)
        self._times: list[int] = []
        self._records: list[dict[str, Values]] = []
        self.dropped = 0

    def add(self, plant_ns: int, record: Mapping[str, Values]) -> None:
        """One record: columns of equal length. The columns are copied."""
        if len(self._records) >= MAX_RECORDS:
            del self._records[0], self._times[0]
            self.dropped += 1
        self._times.append(plant_ns)
        self._records.append({name: np.array(column, dtype=np.float64) for name, column in record.items()})

    def flush(self) -> None:
        """Write what there is as one part. Raises OSError; the records are kept for the next try."""
        if not self._records:
            return
        _write_part(self._table(), self._folder / f"part-{self._part:05d}.parquet")
        self._part += 1
        self._times, self._records = [], []

    def _table(self) -> pa.Table:
        points = [len(record["point"]) for record in self._records]
        time_ns: NDArray[np.int64] = np.repeat(np.array(self._times, dtype=np.int64), points)
        columns = {
            "time": _arrow(pa.timestamp("ns", tz="UTC"), time_ns),
            "device": pa.repeat(pa.scalar(self._device), len(time_ns)),
        }
        for name in self._records[0]:
            joined = np.concatenate([record[name] for record in self._records])
            is_point = name == "point"
            columns[name] = _arrow(pa.int32(), joined.astype(np.int32)) if is_point else _arrow(pa.float64(), joined)
        return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _arrow(kind: pa.DataType, values: NDArray[Any]) -> pa.Array:
    """The array as a column. pa.array would import pandas to ask whether it is a Series: half a second, in mid-scan."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _texts(words: Sequence[str]) -> pa.Array:
    """Words as a column, for the same reason."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


_FAULT_COLUMNS = pa.schema(
    [
        ("time", pa.timestamp("ns", tz="UTC")),
        ("device", pa.string()),
        ("scenario", pa.string()),
        ("entry", pa.int32()),  # place in the scenario file, from 1
        ("place", pa.string()),  # machine, instrument, server, power
        ("kind", pa.string()),
        ("event", pa.string()),  # begin, end
        ("settings", pa.string()),  # JSON
        ("text", pa.string()),
        ("refused", pa.string()),  # why it had no effect; empty: it had
    ]
)


class FaultLog:
    """What began and what ended, one row each. The folder is made with the first row: a good day leaves none."""

    def __init__(self, out: Path, device: str, scenario: str) -> None:
        """Touches nothing."""
        self._folder = out / "truth" / device / "faults.parquet"
        self._device, self._scenario = device, scenario
        self._rows: list[dict[str, Any]] = []

    def add(self, switch: Switch, refused: str = "") -> None:
        """One row. Only the last ones are kept where none can be written."""
        entry = switch.entry
        self._rows.append(
            {
                "time": switch.plant_ns,
                "device": self._device,
                "scenario": self._scenario,
                "entry": entry.number,
                "place": entry.place.value,
                "kind": entry.kind,
                "event": "begin" if switch.on else "end",
                "settings": json.dumps(dict(entry.settings)),
                "text": entry.text,
                "refused": refused,
            }
        )
        del self._rows[:-MAX_RECORDS]

    def flush(self) -> None:
        """Write what there is as one part. Raises OSError; the rows are kept for the next try."""
        if not self._rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        columns = []
        for name, kind in zip(_FAULT_COLUMNS.names, _FAULT_COLUMNS.types, strict=True):
            values = [row[name] for row in self._rows]
            number = np.int64 if name == "time" else np.int32
            columns.append(_texts(values) if kind == pa.string() else _arrow(kind, np.array(values, dtype=number)))
        path = self._folder / f"part-{next_part(self._folder):05d}.parquet"
        _write_part(pa.Table.from_arrays(columns, schema=_FAULT_COLUMNS), path)
        self._rows = []


def _write_part(table: pa.Table, path: Path) -> None:
    """A whole file or none. Raises OSError."""
    aside = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(table, aside, compression="zstd")
        aside.replace(path)
    except (OSError, pa.ArrowException) as error:
        aside.unlink(missing_ok=True)
        raise OSError(f"{path}: {error}") from error
