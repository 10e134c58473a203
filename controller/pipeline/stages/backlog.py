"""Frames that wait for kernels which come late: bounded, cut down to what their stage reads, part of its checkpoint."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.types import Frame, FrameKind, TimeSource

log = logging.getLogger(__name__)

PARTS = ("heads", "rows", "time_ns", "point", "quality", "values")


class Backlog:
    """Frames in the order they came. Beyond `most` rows the oldest are given up, and that is logged.

    `name` tells the arrays of two backlogs in one checkpoint apart; `ragged` are theirs (twin/checkpoint.py).
    """

    def __init__(self, columns: Sequence[str], most: int, who: str, name: str = "wait") -> None:
        self._columns, self._most, self._who, self._name = tuple(columns), most, who, name
        self.ragged = tuple(f"{name}_{part}" for part in PARTS)
        self._frames: deque[Frame] = deque()
        self._rows = 0
        self._said = False

    def add(self, frame: Frame) -> None:
        """Keep a Frame; a column that it lacks is NaN from here on."""
        self._keep(frame, {name: frame.columns.get(name, np.full(frame.rows, np.nan)) for name in self._columns})
        while self._rows > self._most and len(self._frames) > 1:
            self._rows -= self._frames.popleft().rows
            if not self._said:
                log.warning("%s: kernels are not there yet; what waits for them is given up, oldest first", self._who)
            self._said = True

    def __len__(self) -> int:
        return self._rows

    def take(self, most: int | None = None) -> list[Frame]:
        """What waits, oldest first; it waits no longer. About `most` rows: rows of one time are not parted."""
        frames: list[Frame] = []
        rows = 0
        while self._frames and (most is None or rows < most):
            frame = self._frames.popleft()
            end = frame.rows if most is None else _end_of_part(frame, most - rows)
            if end < frame.rows:
                self._frames.appendleft(_cut(frame, slice(end, None)))
                frame = _cut(frame, slice(end))
            frames.append(frame)
            rows += frame.rows
        self._rows -= rows
        return frames

    def _keep(self, frame: Frame, columns: Mapping[str, NDArray[np.float64]]) -> None:
        kept = Frame(
            frame.device, frame.stream, frame.kind, frame.time_ns, frame.point, frame.point_name, columns,
            frame.quality, np.zeros(frame.rows, dtype=np.uint32), frame.time_source, {}, frame.labels,
        )  # fmt: skip
        self._frames.append(kept)
        self._rows += frame.rows

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What waits, for a checkpoint: rows, and a line of JSON for the head that Frames in a row have in common."""
        frames = self._frames
        heads = [
            json.dumps([f.device, f.stream, f.kind.value, f.point_name, f.time_source.value, dict(f.labels)])
            for f in frames
        ]
        pairs = zip(heads, (f.rows for f in frames), strict=True)
        runs = [(head, sum(n for _, n in run)) for head, run in groupby(pairs, itemgetter(0))]
        values = [np.column_stack([f.columns[name] for name in self._columns]) for f in frames]
        parts = (
            np.frombuffer("\n".join(head for head, _ in runs).encode(), dtype=np.uint8),
            np.array([n for _, n in runs], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.int64), *(f.time_ns for f in frames)]),
            np.concatenate([np.zeros(0, dtype=np.int32), *(f.point for f in frames)]),
            np.concatenate([np.zeros(0, dtype=np.uint8), *(f.quality for f in frames)]),
            np.concatenate([np.zeros((0, len(self._columns))), *values]),
        )
        return dict(zip(self.ragged, parts, strict=True))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over those `arrays` and forget everything else; Frames in a row become one. Raises ValueError."""
        heads, rows, times, points, quality, values = (arrays[name] for name in self.ragged)
        lines = heads.tobytes().decode().splitlines()
        sizes = {a.shape[0] for a in (times, points, quality, values)}
        if len(lines) != rows.size or (rows < 0).any() or sizes != {int(rows.sum())}:
            raise ValueError("checkpoint holds a backlog that does not add up")
        self.take()
        start = 0
        for line, n in zip(lines, rows.tolist(), strict=True):
            device, stream, kind, point_name, source, labels = json.loads(line)
            cut = slice(start, start + n)
            frame = Frame(
                device, stream, FrameKind(kind), times[cut], points[cut], point_name, {}, quality[cut],
                np.zeros(n, dtype=np.uint32), TimeSource(source), {}, labels,
            )  # fmt: skip
            self._keep(frame, {name: values[cut, j].copy() for j, name in enumerate(self._columns)})
            start += n


def _end_of_part(frame: Frame, most: int) -> int:
    """The first row, `most` or later, before which every time is earlier than all that follow; else all rows."""
    if most >= frame.rows:
        return frame.rows
    before = np.maximum.accumulate(frame.time_ns)
    after = np.minimum.accumulate(frame.time_ns[::-1])[::-1]
    ends = np.flatnonzero(before[most - 1 : -1] < after[most:])
    return most + int(ends[0]) if ends.size else frame.rows


def _cut(frame: Frame, rows: slice) -> Frame:
    columns = {name: column[rows] for name, column in frame.columns.items()}
    return Frame(
        frame.device, frame.stream, frame.kind, frame.time_ns[rows], frame.point[rows], frame.point_name, columns,
        frame.quality[rows], frame.code[rows], frame.time_source, {}, frame.labels,
    )  # fmt: skip
