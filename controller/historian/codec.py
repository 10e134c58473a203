"""Frame <-> bytes, lossless: one Arrow IPC stream with one record batch. No I/O.

Each payload carries its own schema (about 1 kB), so that a row of the spool can be read on its own with any Arrow
library, years later and without ours. Everything that is constant over the Frame travels as schema metadata.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sized

import numpy as np
import pyarrow as pa

from controller.errors import StorageError
from controller.types import Frame, FrameKind, TimeSource

_FIXED = (("time_ns", pa.int64()), ("point", pa.int32()), ("quality", pa.uint8()), ("code", pa.uint32()))
_FIXED_DTYPES = (np.int64, np.int32, np.uint8, np.uint32)
_LABEL = b"label."
_MAX_SCHEMAS = 256


class FrameEncoder:
    """Frame -> bytes. Keeps the Arrow schemas it has built: a line has few kinds of Frame and sends them for ever."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[tuple[object, ...], pa.Schema] = OrderedDict()

    def encode(self, frame: Frame) -> bytes:
        """The Frame's bytes. StorageError where its arrays do not have one length: such a Frame is our own mistake."""
        n = frame.rows
        fixed = (frame.time_ns, frame.point, frame.quality, frame.code)
        everything: list[Sized] = [*fixed, *frame.columns.values(), *frame.text.values()]
        if any(len(a) != n for a in everything):
            raise StorageError(f"a Frame of {frame.device}/{frame.stream} has columns of different lengths")
        arrays = [pa.array(np.asarray(a, dtype)) for a, dtype in zip(fixed, _FIXED_DTYPES, strict=True)]
        arrays += [pa.array(np.asarray(a, np.float64)) for a in frame.columns.values()]
        arrays += [pa.array(list(a), pa.string()) for a in frame.text.values()]
        schema = self._schema(frame)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        payload: bytes = sink.getvalue().to_pybytes()
        return payload

    def _schema(self, frame: Frame) -> pa.Schema:
        key = (
            frame.device,
            frame.stream,
            frame.kind,
            frame.point_name,
            frame.time_source,
            tuple(frame.columns),
            tuple(frame.text),
            tuple(frame.labels.items()),
        )
        schema = self._schemas.get(key)
        if schema is None:
            schema = self._schemas[key] = _build_schema(frame)
            if len(self._schemas) > _MAX_SCHEMAS:  # labels change with every lot; keep the memory bounded over months
                self._schemas.popitem(last=False)
        return schema


def decode(payload: bytes) -> Frame:
    """The Frame that was encoded; its arrays are read-only views of `payload`. StorageError for other bytes."""
    try:
        batch = pa.ipc.open_stream(payload).read_next_batch()
        schema = batch.schema
        meta: dict[bytes, bytes] = schema.metadata
        count = len(_FIXED)
        values = [batch.column(i).to_numpy() for i in range(count)]
        columns, text = {}, {}
        for i in range(count, batch.num_columns):
            field = schema.field(i)
            if field.type == pa.float64():
                columns[field.name] = batch.column(i).to_numpy()
            else:
                text[field.name] = tuple(batch.column(i).to_pylist())
        labels = {k[len(_LABEL) :].decode(): v.decode() for k, v in meta.items() if k.startswith(_LABEL)}
        return Frame(
            device=meta[b"device"].decode(),
            stream=meta[b"stream"].decode(),
            kind=FrameKind(meta[b"kind"].decode()),
            time_ns=values[0],
            point=values[1],
            point_name=meta[b"point_name"].decode(),
            columns=columns,
            quality=values[2],
            code=values[3],
            time_source=TimeSource(meta[b"time_source"].decode()),
            text=text,
            labels=labels,
        )
    except (
        pa.ArrowException,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        StopIteration,
        OSError,
    ) as bad:
        raise StorageError(f"a batch in the spool cannot be decoded: {bad}", "the spool file is damaged") from bad


def _build_schema(frame: Frame) -> pa.Schema:
    fields = [pa.field(name, kind) for name, kind in _FIXED]
    fields += [pa.field(name, pa.float64()) for name in frame.columns]
    fields += [pa.field(name, pa.string()) for name in frame.text]
    meta = {
        b"device": frame.device,
        b"stream": frame.stream,
        b"kind": frame.kind.value,
        b"point_name": frame.point_name,
        b"time_source": frame.time_source.value,
    }
    meta |= {_LABEL + k.encode(): v for k, v in frame.labels.items()}
    return pa.schema(fields, metadata=meta)
