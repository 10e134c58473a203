"""Latest values and a bounded history of one stream of one device, as arrays. No protocol, no clock, no JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from controller.types import Float64Array, Frame, Int64Array, Quality

MAX_POINTS = 10_001
"""Highest point that is shown, plus one: the bound of the equipment schema. Rows beyond it are counted, not kept."""


class History:
    """Ring of samples over plant time, at most one per `period_ns`; each sample is all points of a few columns."""

    def __init__(self, columns: tuple[str, ...], period_ns: int, capacity: int) -> None:
        self.columns = columns
        self._period_ns = period_ns
        self._capacity = capacity
        self._time_ns: Int64Array = np.zeros(capacity, dtype=np.int64)
        self._data: dict[str, NDArray[np.float32]] = {}
        self._count = 0
        self._next_ns = -(2**63)

    def offer(self, time_ns: int, values: Mapping[str, Float64Array]) -> None:
        """Keep a sample of `values` (each (points,)) when one is due."""
        if time_ns < self._next_ns:
            return
        self._next_ns = time_ns + self._period_ns
        slot = self._count % self._capacity
        self._time_ns[slot] = time_ns
        for name in self.columns:
            if (column := values.get(name)) is not None:
                self._store(name, slot, column)
            elif name in self._data:
                self._data[name][slot] = np.nan
        self._count += 1

    def _store(self, name: str, slot: int, column: Float64Array) -> None:
        ring = self._data.get(name)
        if ring is None or ring.shape[1] < column.shape[0]:
            wider = np.full((self._capacity, column.shape[0]), np.nan, dtype=np.float32)
            if ring is not None:
                wider[:, : ring.shape[1]] = ring
            ring = self._data[name] = wider
        ring[slot, : column.shape[0]] = column

    def _order(self) -> NDArray[np.intp]:
        if self._count <= self._capacity:
            return np.arange(self._count)
        return (np.arange(self._capacity) + self._count) % self._capacity

    def times_ns(self) -> Int64Array:
        """Plant times of the samples, oldest first."""
        return self._time_ns[self._order()]

    def series(self, name: str, point: int) -> Float64Array:
        """One point of one column over `times_ns`, NaN where unknown; empty when the column or point never came."""
        ring = self._data.get(name)
        if ring is None or not 0 <= point < ring.shape[1]:
            return np.zeros(0)
        series: Float64Array = ring[self._order(), point].astype(np.float64)
        return series

    def matrix(self, name: str) -> NDArray[np.float32]:
        """All points of one column, (samples, points), oldest first; (0, 0) when the column never came."""
        ring = self._data.get(name)
        return np.zeros((0, 0), dtype=np.float32) if ring is None else ring[self._order()]


class StreamLatest:
    """Newest value of every column and point of one stream.

    Arrays are indexed by the point number itself, so streams that count from 0 or from 1 need no offset. A value that
    is not finite replaces the old one only when its row's quality is bad: a notification about other tags of the row
    says nothing about this one.
    """

    def __init__(self, point_name: str, history: History | None) -> None:
        self.point_name = point_name
        self.history = history
        self.values: dict[str, Float64Array] = {}
        self.quality: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self.seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.newest_ns = 0
        self.received_s = 0.0
        self.rows = 0
        self.bad_rows = 0
        self.frames = 0

    def accept(self, frame: Frame, received_s: float) -> None:
        """Take over a Frame that arrived at wall time `received_s` (monotonic)."""
        n = frame.rows
        self.rows += n
        self.frames += 1
        self.received_s = received_s
        if n == 0:
            return
        first, last, high = int(frame.point[0]), int(frame.point[-1]), int(frame.point.max())
        if high >= MAX_POINTS or int(frame.point.min()) < 0:
            return
        self._grow(high + 1)
        # A full poll has its points in order; a slice is then several times cheaper than an index array.
        in_order = high == last and last - first == n - 1 and bool((np.diff(frame.point) == 1).all())
        index: slice | NDArray[np.int32] = slice(first, last + 1) if in_order else frame.point
        self.quality[index] = frame.quality
        self.seen[index] = True
        self.bad_rows += int(np.count_nonzero(frame.quality))
        for name, column in frame.columns.items():
            self._take(name, column, index, frame)
        self.newest_ns = max(self.newest_ns, int(frame.time_ns[-1]))
        if self.history is not None:
            self.history.offer(self.newest_ns, self.values)

    def _take(self, name: str, column: Float64Array, index: slice | NDArray[np.int32], frame: Frame) -> None:
        target = self.values.get(name)
        if target is None:
            target = self.values[name] = np.full(self.seen.shape[0], np.nan)
        if math.isfinite(float(np.add.reduce(column))):  # one pass that any NaN or infinity poisons
            target[index] = column
            return
        take = np.isfinite(column)
        take |= frame.quality == Quality.BAD
        target[frame.point[take]] = np.where(np.isfinite(column), column, np.nan)[take]

    def _grow(self, size: int) -> None:
        extra = size - self.seen.shape[0]
        if extra <= 0:
            return
        self.seen = np.concatenate([self.seen, np.zeros(extra, dtype=np.bool_)])
        self.quality = np.concatenate([self.quality, np.zeros(extra, dtype=np.uint8)])
        for name, column in self.values.items():
            self.values[name] = np.concatenate([column, np.full(extra, np.nan)])
