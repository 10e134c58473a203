"""Frame <-> bytes, lossless: one Arrow IPC stream with one record batch. No I/O.

Each payload carries its own schema (about 1 kB), so that a row of the spool can be read on its own with any Arrow
library, years later and without ours. Everything that is constant over the Frame travels as schema metadata.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from controller.errors import StorageError
from controller.types import Frame, FrameKind, TimeSource

_FIXED = (("time_ns", pa.int64()), ("point", pa.int32()), ("quality", pa.uint8()), ("code", pa.uint32()))
_FIXED_DTYPES = (np.int64, np.int32, np.uint8, np.uint32)
_LABEL = b"label."
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # end of an Arrow stream
_MAX_TEMPLATES = 512


@dataclass(frozen=True, slots=True)
class _Template:
    """What every payload of one kind and number of rows has in common: everything but the values."""

    schema: pa.Schema
    head: bytes | None  # bytes before the values; None where only Arrow itself can write this kind


class FrameEncoder:
    """Frame -> bytes. A line has few kinds of Frame and sends them for ever, so their common bytes are kept.

    Arrow needs 100 us for 15 columns of 64 rows, nearly all of it per column and not per value. For Frames without text
    the payload is a constant head, the columns one after the other padded to 8 bytes, and an end mark. The first
    Frame of a kind is written by Arrow and compared; if the bytes agree, later ones are put together from the head.
    """

    def __init__(self) -> None:
        self._templates: OrderedDict[tuple[object, ...], _Template] = OrderedDict()

    def encode(self, frame: Frame) -> bytes:
        """The Frame's bytes. StorageError where its arrays do not have one length: such a Frame is our own mistake."""
        n = frame.rows
        fixed = (frame.time_ns, frame.point, frame.quality, frame.code)
        everything: list[Sized] = [*fixed, *frame.columns.values(), *frame.text.values()]
        if any(len(a) != n for a in everything):
            raise StorageError(f"a Frame of {frame.device}/{frame.stream} has columns of different lengths")
        arrays = [np.asarray(a, dtype) for a, dtype in zip(fixed, _FIXED_DTYPES, strict=True)]
        arrays += [np.asarray(a, np.float64) for a in frame.columns.values()]
        key = _key(frame)
        template = self._templates.get(key)
        if template is not None and template.head is not None:
            return template.head + _body(arrays) + _END
        schema = _build_schema(frame) if template is None else template.schema
        payload = _write(frame, arrays, schema)
        if template is None:
            end = _body(arrays) + _END
            head = payload[: -len(end)] if not frame.text and payload.endswith(end) else None
            self._templates[key] = _Template(schema, head)
            if len(self._templates) > _MAX_TEMPLATES:  # labels change with every lot: bounded over months
                self._templates.popitem(last=False)
        return payload


def warm_up() -> None:
    """Loads what Arrow loads at its first array (pandas, where installed: 0.3 s) before a Frame has to wait for it."""
    none = np.empty(0)
    FrameEncoder().encode(Frame("", "", FrameKind.RAW, none, none, "", {}, none, none, text={"": ()}))  # type: ignore[arg-type]


def _key(frame: Frame) -> tuple[object, ...]:
    names = (frame.device, frame.stream, frame.kind, frame.point_name, frame.time_source)
    return (*names, frame.rows, tuple(frame.columns), tuple(frame.text), tuple(frame.labels.items()))


def _body(arrays: list[NDArray[np.generic]]) -> bytes:
    """The arrays' bytes, each padded to a multiple of 8."""
    parts = []
    for array in arrays:
        parts.append(array.tobytes())
        if array.nbytes % 8:
            parts.append(bytes(-array.nbytes % 8))
    return b"".join(parts)


def _write(frame: Frame, arrays: list[NDArray[np.generic]], schema: pa.Schema) -> bytes:
    """The payload as Arrow writes it."""
    columns = [pa.array(a) for a in arrays] + [pa.array(list(a), pa.string()) for a in frame.text.values()]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


class FrameDecoder:
    """Bytes -> Frame. The counterpart of FrameEncoder's short way: payloads with a known head need no Arrow."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[bytes, Frame] = OrderedDict()

    def decode(self, payload: bytes) -> Frame:
        """The Frame that was encoded; its arrays are read-only views of `payload`. StorageError for other bytes."""
        length = _head_length(payload)
        head = payload[:length]
        kind = self._kinds.get(head)
        if kind is not None and len(payload) == length + _body_length(kind) + len(_END):
            return _cut(payload, length, kind)
        frame = _read(payload)
        if kind is None and not frame.text and len(payload) == length + _body_length(frame) + len(_END):
            self._kinds[head] = frame
            if len(self._kinds) > _MAX_TEMPLATES:
                self._kinds.popitem(last=False)
        return frame


def _head_length(payload: bytes) -> int:
    """Bytes before the values: two messages, each a mark, the length of its metadata, and these."""
    at = 0
    for _ in range(2):
        at += 8 + int.from_bytes(payload[at + 4 : at + 8], "little")
    return at


def _body_length(frame: Frame) -> int:
    n = frame.rows
    return sum(-(-n * np.dtype(d).itemsize // 8) * 8 for d in _FIXED_DTYPES) + 8 * n * len(frame.columns)


def _cut(payload: bytes, at: int, kind: Frame) -> Frame:
    """A Frame of the same kind and number of rows as `kind`, its values cut out of `payload` from `at` on."""
    n = kind.rows
    fixed: list[NDArray[Any]] = []
    for dtype in _FIXED_DTYPES:
        fixed.append(np.frombuffer(payload, dtype, n, at))
        at += -(-fixed[-1].nbytes // 8) * 8
    columns = {}
    for name in kind.columns:
        columns[name] = np.frombuffer(payload, np.float64, n, at)
        at += 8 * n
    return replace(kind, time_ns=fixed[0], point=fixed[1], quality=fixed[2], code=fixed[3], columns=columns)


def _read(payload: bytes) -> Frame:
    """The payload as Arrow reads it. StorageError where it cannot."""
    try:
        batch = pa.ipc.open_stream(payload).read_next_batch()
        batch.validate(full=True)  # damaged offsets would lead Arrow out of its buffers
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
