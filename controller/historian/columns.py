"""Frames of one stream -> one Arrow table with the stream's columns in the stream's order. No I/O.

A stream's columns only ever grow: a column that a Frame lacks is null, a column never seen before goes to the end.
Columns are put together in NumPy first: a delivery holds hundreds of Frames, and Arrow costs several us per array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from controller.types import Frame

TIME = pa.timestamp("ns", tz="UTC")
_HEAD = (("time", TIME), ("device", pa.string()))
_TAIL = (("quality", pa.uint8()), ("code", pa.uint32()), ("time_source", pa.string()))
_OURS = {name for name, _ in (*_HEAD, *_TAIL)}

_Source = tuple[str, str]
"""Which attribute of a Frame a column comes from, and its key there: ("columns", "voltage_v")."""


def to_table(frames: Sequence[Frame], known: pa.Schema | None, metadata: Mapping[bytes, bytes]) -> pa.Table:
    """All rows in order. `known` is the schema of the stream's earlier tables, None for the first."""
    types: dict[str, pa.DataType] = {f.name: f.type for f in known} if known is not None else {}
    plans: dict[object, dict[str, _Source]] = {}
    mine = []
    for frame in frames:
        key = (frame.point_name, tuple(frame.columns), tuple(frame.text), tuple(frame.labels))
        if key not in plans:
            plans[key] = _plan(frame, types)
        mine.append(plans[key])
    columns = [_column(frames, [plan.get(name) for plan in mine], kind) for name, kind in types.items()]
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()], metadata=dict(metadata))
    return pa.Table.from_arrays(columns, schema=schema)


def _plan(frame: Frame, types: dict[str, pa.DataType]) -> dict[str, _Source]:
    """Where each column of a Frame of this kind comes from; new columns are added to `types`."""
    plan: dict[str, _Source] = {}

    def add(name: str, kind: pa.DataType, source: _Source) -> None:
        """With underscores behind the name where the table uses it for something else."""
        while name in plan or types.get(name, kind) != kind or (name in _OURS and source[1]):
            name += "_"
        types.setdefault(name, kind)
        plan[name] = source

    add("time", TIME, ("time_ns", ""))
    add("device", pa.string(), ("device", ""))
    if frame.point_name:
        add(frame.point_name, pa.int32(), ("point", frame.point_name))
    for name in frame.columns:
        add(name, pa.float64(), ("columns", name))
    for name, kind in _TAIL:
        add(name, kind, (name, ""))
    for name in frame.text:
        add(name, pa.string(), ("text", name))
    for name in frame.labels:
        add(name, pa.string(), ("labels", name))
    return plan


def _column(frames: Sequence[Frame], sources: Sequence[_Source | None], kind: pa.DataType) -> pa.Array:
    """One column over all Frames."""
    if kind == pa.float64():  # NaN -> null
        parts = [f.columns[s[1]] if s else np.full(f.rows, np.nan) for f, s in zip(frames, sources, strict=True)]
        return pa.array(np.concatenate(parts), kind, from_pandas=True)
    if any(s and s[0] == "text" for s in sources):
        texts = [f.text[s[1]] if s else [None] * f.rows for f, s in zip(frames, sources, strict=True)]
        return pa.array(list(chain.from_iterable(texts)), kind)
    if kind == pa.string():
        return _constants(frames, sources)
    missing = [np.full(f.rows, s is None) for f, s in zip(frames, sources, strict=True)]
    arrays = [np.zeros(f.rows) if s is None else getattr(f, s[0]) for f, s in zip(frames, sources, strict=True)]
    number = np.dtype("int64") if kind == TIME else kind.to_pandas_dtype()
    values = np.concatenate([np.asarray(a, number) for a in arrays])
    mask = np.concatenate(missing) if any(s is None for s in sources) else None
    return pa.array(values, mask=mask).cast(kind)


def _constants(frames: Sequence[Frame], sources: Sequence[_Source | None]) -> pa.Array:
    """A column that is the same in all rows of a Frame: device, labels, whose clock."""
    get: Mapping[str, Callable[[Frame, str], str]] = {
        "device": lambda f, _: f.device,
        "time_source": lambda f, _: f.time_source.value,
        "labels": lambda f, name: f.labels[name],
    }
    words: dict[str | None, int] = {}
    values = [get[s[0]](f, s[1]) if s else None for f, s in zip(frames, sources, strict=True)]
    indices = np.repeat([words.setdefault(v, len(words)) for v in values], [f.rows for f in frames])
    return pa.array(list(words), pa.string()).take(pa.array(indices, pa.int32()))
