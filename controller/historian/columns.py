"""Frames of one stream -> one Arrow table with the stream's columns in the stream's order. No I/O.

A stream's columns only ever grow: a column that a Frame lacks is null, a column never seen before goes to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from controller.types import Frame

TIME = pa.timestamp("ns", tz="UTC")
_HEAD = (("time", TIME), ("device", pa.string()))
_TAIL = (("quality", pa.uint8()), ("code", pa.uint32()), ("time_source", pa.string()))
_OURS = {name for name, _ in (*_HEAD, *_TAIL)}


def _free_name(name: str, kind: pa.DataType, types: Mapping[str, pa.DataType]) -> str:
    """`name`, or with underscores behind it where the table uses that name for something else."""
    while name in _OURS or types.get(name, kind) != kind:
        name += "_"
    return name


def _parts(frame: Frame, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """The Frame's own columns, by their names in the table."""
    n = frame.rows
    parts: dict[str, pa.Array] = {
        "time": pa.array(frame.time_ns, pa.int64()).cast(TIME),
        "device": pa.repeat(pa.scalar(frame.device), n),
    }
    if frame.point_name:
        parts[_free_name(frame.point_name, pa.int32(), types)] = pa.array(frame.point, pa.int32())
    for name, values in frame.columns.items():
        parts[_free_name(name, pa.float64(), types)] = pa.array(values, pa.float64(), from_pandas=True)  # NaN -> null
    parts["quality"] = pa.array(frame.quality, pa.uint8())
    parts["code"] = pa.array(frame.code, pa.uint32())
    parts["time_source"] = pa.repeat(pa.scalar(frame.time_source.value), n)
    for name, texts in frame.text.items():
        parts[_free_name(name, pa.string(), types)] = pa.array(list(texts), pa.string())
    for name, label in frame.labels.items():
        parts.setdefault(_free_name(name, pa.string(), types), pa.repeat(pa.scalar(label), n))
    return parts


def to_table(frames: Sequence[Frame], known: pa.Schema | None, metadata: Mapping[bytes, bytes]) -> pa.Table:
    """All rows in order. `known` is the schema of the stream's earlier tables, None for the first."""
    types: dict[str, pa.DataType] = {f.name: f.type for f in known} if known is not None else {}
    parts = []
    for frame in frames:
        mine = _parts(frame, types)
        types |= {name: array.type for name, array in mine.items() if name not in types}
        parts.append(mine)
    counts = np.array([frame.rows for frame in frames])
    columns = []
    for name, kind in types.items():
        chunks = [p.get(name, None) for p in parts]
        full = [pa.nulls(int(n), kind) if c is None else c for c, n in zip(chunks, counts, strict=True)]
        columns.append(pa.chunked_array(full, kind).combine_chunks())
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()], metadata=dict(metadata))
    return pa.Table.from_arrays(columns, schema=schema)
