"""Notifications of one group become rows. Pure: no I/O, no clock, no asyncua; time comes in with the data.

Theory of operation. OPC UA reports changes, tag by tag, each with its source time. A row is one source time with every
tag of the group as of then: a tag without a notification at that time is unchanged and carries its last value.

- *Complete rows only.* The server may cut one scan into two publish responses. A row leaves when a newer time has been
  seen, or when a later publish response (data of other times, or a keep-alive) brought nothing more for it, and never
  while the server says that more notifications wait. So nothing waits for ever and no timer is involved.
- *First values.* What a new monitored item reports first is its present state with a time that may be long past. It
  sets the state; by itself it makes a row only when it is the newest thing known.
- *A row never changes.* (stream, point, time) leaves once. A value that arrives after its time has passed makes a row
  of its own with the other tags as of then; if that very time has left already, it only updates the state. Counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from configs.schema import Group
from controller.drivers import opcua_status as status
from controller.drivers.opcua_codec import BoolArray, UInt32Array
from controller.types import Float64Array, Frame, FrameKind, Int64Array, Quality, TimeSource

NS_PER_S = 1_000_000_000
_NEVER = np.iinfo(np.int64).min
_REMEMBERED_STAMPS = 4096  # times that left, for "never twice"; far more than a server reorders
_HISTORY_VALUES = 65_536  # values kept to fill late rows as of their time
_STEP_BACK_S = 60.0  # plant seconds: a whole response older than this is a clock set back, not a late value


@dataclass(frozen=True, slots=True)
class Part:
    """Notifications of one group out of one publish response; n entries in the server's order."""

    column: Int64Array  # tag of the group
    time_ns: Int64Array
    code: UInt32Array
    ours: BoolArray
    value: Float64Array  # (n, points) in the tags' units; NaN where bad
    first: BoolArray  # the first since the item was made


@dataclass(slots=True)
class Counts:
    """What happened to notifications that did not simply become a value in a row of their own time."""

    late_rows: int = 0  # arrived after newer rows had left; became a row of their own
    late_folded: int = 0  # the row of that very time had left; only the state knows the value
    coalesced: int = 0  # the same tag twice at the same time; the last one stands
    clock_steps: int = 0


class GroupAssembler:
    """State and pending notifications of one group. `columns` of its Frames are all tags of the group."""

    def __init__(self, device: str, group: Group, labels: Mapping[str, str] | None = None) -> None:
        self._device, self._group, self._labels = device, group, dict(labels or {})
        self._tags, self._points = len(group.tag), group.points
        self._low = np.array([-np.inf if t.min is None else t.min for t in group.tag])
        self._high = np.array([np.inf if t.max is None else t.max for t in group.tag])
        self._step_back_ns = int(max(_STEP_BACK_S, 20 * group.period_s) * NS_PER_S)
        self._depth = max(4, min(512, _HISTORY_VALUES // (self._tags * self._points)))
        self._left = np.empty(0, dtype=np.int64)  # times of rows that have left
        self._ready: list[tuple[Int64Array, Float64Array, UInt32Array, BoolArray]] = []
        self._pending: list[Part] = []
        self._chain_newest = _NEVER  # newest time in the publish responses since the last one without "more"
        self.counts = Counts()
        self._reset_state()

    def _reset_state(self) -> None:
        self._last = _NEVER
        self._fresh = np.ones(self._tags, dtype=np.bool_)
        self._value = np.full((self._tags, self._points), np.nan)
        self._code = np.full(self._tags, status.BAD_WAITING, dtype=np.uint32)
        self._as_of = np.full(self._tags, _NEVER, dtype=np.int64)
        self._forget_history()

    def _forget_history(self) -> None:
        self._history_ns = np.empty(0, dtype=np.int64)
        self._history_value = np.empty((0, self._tags, self._points))
        self._history_code = np.empty((0, self._tags), dtype=np.uint32)

    def begin(self) -> None:
        """A new subscription: what was pending is complete now, and every tag's next notification is its first."""
        self._complete(everything=True)
        self._reset_state()

    def renew(self, column: int, code: int) -> None:
        """The tag has no item now (code says why); the next notification will be the first of a new one."""
        self._fresh[column] = True
        self._code[column] = code
        self._value[column] = np.nan

    def first(self, column: Int64Array) -> BoolArray:
        """Which of a response's notifications are the first since their item was made. Changes nothing."""
        first = np.zeros(column.shape[0], dtype=np.bool_)
        if self._fresh[column].any():
            seen, where = np.unique(column, return_index=True)
            first[where[self._fresh[seen]]] = True
        return first

    def feed(
        self,
        column: Int64Array,
        time_ns: Int64Array,
        code: UInt32Array,
        ours: BoolArray,
        value: Float64Array,
        more: bool,
    ) -> None:
        """One publish response's notifications, at least one; `value` (n, points) in the tags' units.

        `more`: the server says that another response follows at once.
        """
        first = self.first(column)
        self._fresh[column] = False
        value = np.where((code >> 31)[:, None] > 0, np.nan, value)
        newest = int(time_ns.max())
        if newest < self._last - self._step_back_ns and not first.any():
            self._complete(everything=True)
            self._last = _NEVER
            self._forget_history()
            self.counts.clock_steps += 1
        self._pending.append(Part(column, time_ns, code, ours, value, first))
        self._chain_newest = max(self._chain_newest, newest)
        if not more:
            self._complete()

    def heard_nothing(self) -> None:
        """A publish response came that holds nothing for this group, and no more follows."""
        if self._pending:
            self._complete()

    def _complete(self, everything: bool = False) -> None:
        """Turn the notifications of complete rows into rows; keep the rest."""
        chain_newest, self._chain_newest = self._chain_newest, _NEVER
        if not self._pending:
            return
        parts = self._pending
        part = parts[0] if len(parts) == 1 else _joined(parts)
        newest = int(part.time_ns.max())
        done = part.time_ns < newest
        settled = everything or chain_newest < newest
        if settled:
            done[:] = True
        self._pending = [] if settled else [_chosen(part, ~done)]
        late = done & (part.time_ns <= self._last)
        if late.any():
            self._take_late(_chosen(part, late))
            done &= ~late
        if done.any():
            self._take(_chosen(part, done), settled)

    def _take(self, part: Part, settled: bool) -> None:
        """Rows later than all that left: fill as of each time, remember the state, let them go."""
        stamps, row = np.unique(part.time_ns, return_inverse=True)
        rows, tags = stamps.shape[0], self._tags
        source = np.full((rows, tags), -1, dtype=np.int64)
        source[row, part.column] = np.arange(row.shape[0])  # of repeated indices NumPy keeps the last
        present = source >= 0
        self.counts.coalesced += row.shape[0] - int(np.count_nonzero(present))
        at = np.where(present, np.arange(rows)[:, None], -1)
        np.maximum.accumulate(at, axis=0, out=at)
        every = np.arange(tags)
        index = np.where(at >= 0, tags + source[np.maximum(at, 0), every], every)
        value = np.concatenate([self._value, part.value])[index]
        code = np.concatenate([self._code, part.code])[index]
        self._value, self._code, self._last = value[-1].copy(), code[-1].copy(), int(stamps[-1])
        np.maximum.at(self._as_of, part.column, part.time_ns)

        goes = np.zeros(rows, dtype=np.bool_)
        goes[row[~part.first]] = True
        goes[-1] |= settled
        if stamps[0] <= self._left.max(initial=_NEVER):  # sorting thousands of stamps is only for a clock set back
            goes &= ~np.isin(stamps, self._left)
        ours = np.zeros(rows, dtype=np.bool_)
        ours[row[part.ours]] = True
        if goes.any():
            self._let_go(stamps[goes], value[goes], code[goes], ours[goes])
            self._history_ns = np.concatenate([self._history_ns, stamps[goes]])[-self._depth :]
            self._history_value = np.concatenate([self._history_value, value[goes]])[-self._depth :]
            self._history_code = np.concatenate([self._history_code, code[goes]])[-self._depth :]

    def _take_late(self, part: Part) -> None:
        for stamp in np.unique(part.time_ns).tolist():
            here = np.flatnonzero(part.time_ns == stamp)
            samples = here[~part.first[here]]
            if samples.size and np.isin(stamp, self._left):
                self.counts.late_folded += int(samples.size)
            elif samples.size:
                before = int(np.searchsorted(self._history_ns, stamp, side="right")) - 1
                value = self._history_value[before].copy() if before >= 0 else np.full_like(self._value, np.nan)
                code = self._history_code[before].copy() if before >= 0 else self._unknown_codes()
                value[part.column[here]], code[part.column[here]] = part.value[here], part.code[here]
                self._let_go(
                    np.array([stamp], dtype=np.int64), value[None], code[None], np.array([part.ours[here].any()])
                )
                self.counts.late_rows += 1
            for k in here.tolist():
                tag = int(part.column[k])
                if stamp >= self._as_of[tag]:
                    self._as_of[tag] = stamp
                    self._value[tag], self._code[tag] = part.value[k], part.code[k]

    def _unknown_codes(self) -> UInt32Array:
        return np.full(self._tags, status.BAD_WAITING, dtype=np.uint32)

    def _let_go(self, stamps: Int64Array, value: Float64Array, code: UInt32Array, ours: BoolArray) -> None:
        self._left = np.concatenate([self._left, stamps])[-_REMEMBERED_STAMPS:]
        self._ready.append((stamps, value, code, ours))

    def take(self) -> list[Frame]:
        """Complete rows in their order; a Frame for each run that the device stamped, or that we had to stamp."""
        if not self._ready:
            return []
        ready, self._ready = self._ready, []
        stamps, value, code, ours = (np.concatenate(column) for column in zip(*ready, strict=True))
        turns = [0, *(np.flatnonzero(np.diff(ours)) + 1).tolist(), ours.size]
        return [
            self._frame(stamps[a:b], value[a:b], code[a:b], TimeSource.CONTROLLER if ours[a] else TimeSource.DEVICE)
            for a, b in pairwise(turns)
        ]

    def _frame(self, stamps: Int64Array, value: Float64Array, code: UInt32Array, source: TimeSource) -> Frame:
        rows, points = stamps.shape[0], self._points
        floor = status.UNCERTAIN if source is TimeSource.CONTROLLER else status.GOOD
        value, worst = _judged(value, code, self._low, self._high, floor)
        numbers = np.arange(1, points + 1, dtype=np.int32)
        if self._group.point_name is None:
            numbers[:] = 0
        return Frame(
            device=self._device,
            stream=self._group.name,
            kind=FrameKind.RAW,
            time_ns=np.repeat(stamps, points),
            point=np.tile(numbers, rows),
            point_name=self._group.point_name or "",
            columns={tag.name: value[:, t, :].reshape(-1) for t, tag in enumerate(self._group.tag)},
            quality=(worst >> np.uint64(32)).astype(np.uint8).reshape(-1),
            code=(worst & np.uint64(0xFFFFFFFF)).astype(np.uint32).reshape(-1),
            time_source=source,
            labels=self._labels,
        )


def _judged(
    value: Float64Array, code: UInt32Array, low: Float64Array, high: Float64Array, floor: int
) -> tuple[Float64Array, NDArray[np.uint64]]:
    """Values (rows, tags, points) with NaN where bad, and per row and point quality << 32 | code of the worst tag.

    Not finite under a status that is not bad: BadOutOfRange, our own judgement. Outside the tag's min and max:
    UncertainEngineeringUnitsExceeded, and the value stays.
    """
    marks = np.broadcast_to(_mark(code)[:, :, None], value.shape)
    strange = ~np.isfinite(value) & (marks < np.uint64(Quality.BAD << 32))
    if strange.any():
        value = np.where(strange, np.nan, value)
        marks = np.where(strange, _mark_of(status.BAD_OUT_OF_RANGE), marks)
    outside = (value < low[None, :, None]) | (value > high[None, :, None])
    if outside.any():
        marks = np.where(outside, np.maximum(marks, _mark_of(status.UNCERTAIN_RANGE)), marks)
    return value, np.maximum(marks.max(axis=1), _mark_of(floor))


def _mark(code: UInt32Array) -> NDArray[np.uint64]:
    wide = code.astype(np.uint64)
    quality: NDArray[np.uint64] = np.minimum(wide >> np.uint64(30), np.uint64(Quality.BAD))
    return (quality << np.uint64(32)) | wide


def _mark_of(code: int) -> np.uint64:
    return np.uint64((min(code >> 30, int(Quality.BAD)) << 32) | code)


def _chosen(part: Part, mask: BoolArray) -> Part:
    return Part(
        part.column[mask],
        part.time_ns[mask],
        part.code[mask],
        part.ours[mask],
        part.value[mask],
        part.first[mask],
    )


def _joined(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([p.column for p in parts]),
        np.concatenate([p.time_ns for p in parts]),
        np.concatenate([p.code for p in parts]),
        np.concatenate([p.ours for p in parts]),
        np.concatenate([p.value for p in parts]),
        np.concatenate([p.first for p in parts]),
    )
