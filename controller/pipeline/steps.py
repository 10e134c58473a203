"""Cuts a rack's stream into finished steps, channel by channel, for whatever needs a whole step at once.

All channels at once in arrays; Python looks at single channels only when a step ends. Memory is bounded: of a load the
beginning is kept and the last rows, in full; of a rest also what lies between, thinned evenly once it is long. Pure: no
twin, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import Float64Array, Frame, Int64Array, Quality
from twin.checkpoint import pack, unpack

KEPT = ("voltage_v", "current_a", "temperature_c", "step_time_s")

TAIL = 64
"""Rows of the step before that are kept in front of a step: as much rest as a pulse's noise is taken from."""
BRIEF = 128
"""A load of so few rows (a pulse) is kept whole in front of the rest after it, with LEAD rows of the rest before."""
LEAD = 8
HEAD_S, HEAD_LEAST, HEAD = 60.0, 8, 128
"""The beginning of a step, kept in full: a minute, at least 8 rows, at most 128 (10 Hz for 10 s, then 1 Hz)."""
MIDDLE = 512
"""Rows of a rest between its beginning and its last TAIL rows; more are thinned to every second, fourth, ... one."""
ROWS = LEAD + BRIEF + HEAD + MIDDLE + TAIL
CLOCK_NS = 1_000_000_000
"""How far the equipment's stamps and its own count of the step's time may disagree: both may be whole seconds."""

STATE, STEP, CYCLE, COUNT, BEFORE, BEGIN, HEADED, SEEN, EVERY, FORMER, BEGUN, FORMER_BEGUN, WHOLE = range(13)
"""Columns of the book of one channel; times are ns, 0: not known."""


@dataclass(frozen=True, slots=True, eq=False)
class FinishedStep:
    """One step of one channel with the end of the step before it in front; after a short load also that one's rest."""

    channel: int  # 1-based
    state: int  # the equipment's number for what the channel did; -1 stands for none
    step: int
    cycle: int
    before_state: int
    next_state: int
    time_ns: Int64Array  # (rows,)
    columns: Mapping[str, Float64Array]  # KEPT, each (rows,)
    before: int  # row where the step before begins, or what is kept of it
    begin: int  # row where the step itself begins
    begun_ns: int  # when it began by the equipment's own count (step_time_s); 0: not offered
    before_begun_ns: int
    last_ns: int  # its last sample; of a long load only the beginning is in the rows
    whole: bool  # its beginning was seen: the row before it is of the step before; without, there is none
    notes: Float64Array  # the caller's, as they stood when it began


class StepCutter:
    """Follows the channels of one rack. `rests`: states without current, whose whole course is wanted."""

    def __init__(self, channels: int, rests: frozenset[int], notes: int = 0) -> None:
        self._rests = np.array(sorted(rests), dtype=np.int64)
        self._time = np.zeros((channels, ROWS), dtype=np.int64)
        self._data = np.full((len(KEPT), channels, ROWS), np.nan)
        self._ordinal = np.zeros((channels, ROWS), dtype=np.int64)
        self._book = np.zeros((channels, WHOLE + 1), dtype=np.int64)
        self._book[:, [STATE, STEP, CYCLE, FORMER]] = -1
        self._notes = np.full((channels, notes), np.nan)

    def feed(
        self, frame: Frame, rows: NDArray[np.int64] | None = None, notes: Float64Array | None = None
    ) -> list[FinishedStep]:
        """Take one sample of each of the Frame's channels (or of its `rows`: each channel once); the steps that ended.

        `notes` (notes, channels) go with the steps that begin.
        """
        chosen = np.arange(frame.rows) if rows is None else rows
        seen = np.stack([frame.columns[name][chosen] for name in ("state", "step", "cycle")], axis=1)
        usable = (frame.quality[chosen] < Quality.BAD) & np.isfinite(seen).all(axis=1)
        chosen, now = chosen[usable], seen[usable].astype(np.int64)
        at = frame.point[chosen].astype(np.int64) - 1
        begun = np.zeros(chosen.size, dtype=np.int64)
        if "step_time_s" in frame.columns:
            since_s = frame.columns["step_time_s"][chosen]
            known = np.isfinite(since_s) & (since_s >= 0.0)
            begun[known] = frame.time_ns[chosen[known]] - (since_s[known] * 1e9).astype(np.int64)
        changed = np.flatnonzero((now[:, :2] != self._book[at][:, [STATE, STEP]]).any(axis=1))
        finished = [
            self._finish(int(at[j]), int(now[j, 0]))
            for j in changed
            if self._book[at[j], COUNT] > self._book[at[j], BEGIN]
        ]
        for j in changed:
            self._begin(int(at[j]), now[j], int(begun[j]), int(frame.time_ns[chosen[j]]))
            if notes is not None:
                self._notes[at[j]] = notes[:, at[j]]
        self._book[at, CYCLE] = now[:, 2]
        self._append(frame, chosen, at)
        return finished

    def checkpoint(self) -> bytes:
        """Everything that a restart needs: the rows that are in use, no more."""
        used = np.arange(ROWS) < self._book[:, COUNT, None]
        rows = {"time": self._time[used], "data": self._data[:, used].T, "ordinal": self._ordinal[used]}
        return pack(self._head, {"book": self._book, "notes": self._notes, **rows})

    def restore(self, saved: bytes) -> None:
        """Takes a `checkpoint` of a rack of as many channels. ValueError otherwise, and nothing changed."""
        like = {
            "book": self._book,
            "notes": self._notes,
            "time": np.zeros(0, dtype=np.int64),
            "data": np.zeros((0, len(KEPT))),
            "ordinal": np.zeros(0, dtype=np.int64),
        }
        arrays = unpack(saved, self._head, like, ragged=("time", "data", "ordinal"))
        book = arrays["book"]
        lengths = {arrays[name].shape[0] for name in ("time", "data", "ordinal")}
        ordered = (book[:, BEFORE] >= 0) & (book[:, BEFORE] <= book[:, BEGIN]) & (book[:, BEGIN] <= book[:, COUNT])
        fits = (book[:, COUNT] <= ROWS) & (book[:, [HEADED, SEEN, EVERY]] >= 0).all(axis=1) & (book[:, HEADED] <= HEAD)
        if not (ordered & fits).all() or lengths != {int(book[:, COUNT].sum())}:
            raise ValueError("checkpoint holds rows that no cutter keeps")
        used = np.arange(ROWS) < book[:, COUNT, None]
        self._book, self._notes = book, arrays["notes"]
        self._time[used], self._ordinal[used] = arrays["time"], arrays["ordinal"]
        self._data[:, used] = arrays["data"].T

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-step-cutter", "version": 2, "channels": self._book.shape[0]}

    def _append(self, frame: Frame, rows: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        book = self._book
        resting = np.isin(book[at, STATE], self._rests)
        limit = np.where(resting, ROWS, np.minimum(book[at, BEGIN] + book[at, HEADED] + 2 * TAIL, ROWS))
        for k, rest in zip(at[book[at, COUNT] >= limit], resting[book[at, COUNT] >= limit], strict=True):
            self._thin(int(k), bool(rest))
        slot, ordinal = book[at, COUNT], book[at, SEEN]
        self._time[at, slot], self._ordinal[at, slot] = frame.time_ns[rows], ordinal
        for i, name in enumerate(KEPT):
            if name in frame.columns:
                self._data[i, at, slot] = frame.columns[name][rows]
        since_s = (frame.time_ns[rows] - self._time[at, book[at, BEGIN]]) / 1e9
        heads = (ordinal == book[at, HEADED]) & ((ordinal < HEAD_LEAST) | ((since_s <= HEAD_S) & (ordinal < HEAD)))
        book[at, HEADED] += heads
        book[at, SEEN] += 1
        book[at, COUNT] += 1

    def _thin(self, k: int, rest: bool) -> None:
        """Make room between the beginning and the last rows."""
        keep = self._kept(k, rest)
        while keep.size > ROWS - TAIL:
            self._book[k, EVERY] *= 2
            keep = self._kept(k, rest)
        self._time[k, : keep.size] = self._time[k, keep]
        self._ordinal[k, : keep.size] = self._ordinal[k, keep]
        self._data[:, k, : keep.size] = self._data[:, k, keep]
        self._book[k, COUNT] = keep.size

    def _kept(self, k: int, rest: bool) -> NDArray[np.intp]:
        """Rows of channel k when its middle is thinned to one in EVERY, that of a load to none."""
        first, count = int(self._book[k, BEGIN] + self._book[k, HEADED]), int(self._book[k, COUNT])
        last = max(first, count - TAIL)
        middle = self._ordinal[k, first:last] % self._book[k, EVERY] == 0 if rest else np.zeros(0, dtype=np.bool_)
        return np.concatenate([np.arange(first), first + np.flatnonzero(middle), np.arange(last, count)])

    def _finish(self, k: int, next_state: int) -> FinishedStep:
        book = self._book[k]
        rest = bool(np.isin(book[STATE], self._rests))
        rows = np.arange(book[COUNT])
        if rest and book[EVERY] > 1:
            rows = self._kept(k, rest)
        elif not rest and book[SEEN] > BRIEF:
            rows = np.arange(book[BEGIN] + book[HEADED])
        return FinishedStep(
            channel=k + 1,
            state=int(book[STATE]),
            step=int(book[STEP]),
            cycle=int(book[CYCLE]),
            before_state=int(book[FORMER]),
            next_state=next_state,
            time_ns=self._time[k, rows],
            columns={name: self._data[i, k, rows] for i, name in enumerate(KEPT)},
            before=int(book[BEFORE]),
            begin=int(book[BEGIN]),
            begun_ns=int(book[BEGUN]),
            before_begun_ns=int(book[FORMER_BEGUN]),
            last_ns=int(self._time[k, book[COUNT] - 1]),
            whole=bool(book[WHOLE]),
            notes=self._notes[k].copy(),
        )

    def _begin(self, k: int, now: Int64Array, begun_ns: int, time_ns: int) -> None:
        """Start a new step; the last rows of the one before go in front of it."""
        book = self._book[k]
        count, begin, own = int(book[COUNT]), int(book[BEGIN]), int(book[COUNT] - book[BEGIN])
        brief = own <= BRIEF and own == book[SEEN] and book[STATE] >= 0 and not np.isin(book[STATE], self._rests)
        last_ns = int(self._time[k, count - 1]) if count else time_ns
        # A step number that was passed over, or a beginning before our last sample: what lies between was not seen.
        follows = now[1] in {book[STEP], book[STEP] + 1} and last_ns < time_ns
        follows = bool(follows and (begun_ns == 0 or begun_ns >= last_ns - CLOCK_NS))
        first = max(int(book[BEFORE]), begin - LEAD) if brief else max(begin, count - TAIL)
        first = first if follows else count
        keep = count - first
        self._time[k, :keep] = self._time[k, first:count]
        self._data[:, k, :keep] = self._data[:, k, first:count]
        book[WHOLE] = follows
        book[FORMER_BEGUN], book[BEGUN] = book[BEGUN] if follows else 0, begun_ns
        book[FORMER], book[STATE], book[STEP] = book[STATE] if follows else -1, now[0], now[1]
        book[BEGIN] = book[COUNT] = keep
        book[BEFORE] = begin - first if brief and follows else 0
        book[HEADED], book[SEEN], book[EVERY] = 0, 0, 1
