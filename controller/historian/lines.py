"""Frame -> InfluxDB line protocol, around the kernel: names, tags, escaping, text fields. No I/O.

Measurement: the stream. Tags: line, device, the Frame's labels, and the point under its name (channel=17). Fields: the
columns as floats (NaN is no field), texts as strings, and `quality` with `code` (integers) where quality is not good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import Frame
from kernels.line_protocol import encode as encode_kernel

_MAX_PLANS = 256


def _escape(name: str, special: str) -> str:
    """A name or tag value: `special` characters with a backslash before them, line breaks as visible two characters.

    A backslash at the end cannot be written in line protocol (it would escape what follows) and is left out.
    """
    text = name.replace("\n", "\\n").replace("\r", "\\r").rstrip("\\")
    for character in special:
        text = text.replace(character, "\\" + character)
    return text


def measurement(name: str) -> str:
    """Escaped measurement name."""
    return _escape(name, ", ")


def key(name: str) -> str:
    """Escaped tag key, tag value or field key."""
    return _escape(name, ",= ")


def text_field(value: str) -> str:
    """Quoted string field value. Line breaks stay as they are: the protocol allows them between quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one Frame. Row i is data[ends[i - 1]:ends[i]]; a row that has nothing to say is empty."""

    data: bytes
    ends: NDArray[np.int64]

    def row(self, i: int) -> bytes:
        """Line of row i with its line break; empty where the row has no field."""
        return self.data[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for every Frame of a kind."""

    prefix: NDArray[np.uint8]
    heads: NDArray[np.uint8]
    head_at: NDArray[np.int64]


class LineEncoder:
    """Frames -> lines of one production line, whose name is a tag on every point."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._plans: dict[tuple[object, ...], _Plan] = {}

    def encode(self, frame: Frame) -> Lines:
        """All rows of the Frame."""
        plan = self._plan(frame)
        columns = tuple(frame.columns.values())
        values = np.array(columns, np.float64) if columns else np.empty((0, frame.rows))
        extra, extra_at = _text_fields(frame)
        data, ends = encode_kernel(
            plan.prefix,
            bool(frame.point_name),
            frame.point,
            plan.heads,
            plan.head_at,
            values,
            frame.quality,
            frame.code,
            extra,
            extra_at,
            frame.time_ns,
        )
        return Lines(data.tobytes(), ends)

    def _plan(self, frame: Frame) -> _Plan:
        names = (frame.device, frame.stream, frame.point_name, tuple(frame.columns), tuple(frame.labels.items()))
        plan = self._plans.get(names)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:  # lots come and go; months later the old ones are of no use
                self._plans.clear()
            plan = self._plans[names] = self._build(frame)
        return plan

    def _build(self, frame: Frame) -> _Plan:
        tags = {"device": frame.device, "line": self._line, **frame.labels}
        # Sorted by key, as InfluxDB stores them; an empty value is no tag.
        parts = [measurement(frame.stream)] + [f"{key(k)}={key(v)}" for k, v in sorted(tags.items()) if key(v)]
        prefix = ",".join(parts) + (f",{key(frame.point_name)}=" if frame.point_name else "")
        heads = [f",{key(name)}=".encode() for name in frame.columns]
        head_at = np.cumsum([0, *(len(h) for h in heads)], dtype=np.int64)
        return _Plan(_array(prefix), np.frombuffer(b"".join(heads), np.uint8), head_at)


def _text_fields(frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Ready-made fields of each row. Text comes with our own records only: few rows, so plain Python will do."""
    if not frame.text:
        return np.empty(0, np.uint8), np.zeros(frame.rows + 1, np.int64)
    heads = [f",{key(name)}=" for name in frame.text]
    rows = [
        "".join(head + text_field(value) for head, value in zip(heads, row, strict=True)).encode()
        for row in zip(*frame.text.values(), strict=True)
    ]
    at = np.cumsum([0, *(len(r) for r in rows)], dtype=np.int64)
    return np.frombuffer(b"".join(rows), np.uint8), at
