"""Cuts a rack's stream into finished steps, channel by channel, for whatever needs a whole step at once.

All channels at once in arrays; Python looks at single channels only when a step ends. Memory is bounded: a step that
outgrows its buffer keeps every second sample, from then on at twice the distance. Pure: no twin, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import Float64Array, Frame, Quality

SAMPLES = 4096
"""Samples kept of one step. At 1 Hz that is 68 minutes in full; six hours at 10 s fit twice over."""

TAIL = 16
"""Samples of the step before that are kept for a pulse: the rest that its voltage step is measured against."""

KEPT = ("voltage_v", "current_a", "temperature_c", "charge_ah", "discharge_ah", "charge_wh", "discharge_wh")


@dataclass(frozen=True, slots=True, eq=False)
class FinishedStep:
    """One step of one channel, from its first sample to its last, with the tail of the step before it in front."""

    channel: int  # 1-based
    state: int  # the equipment's number for what the channel did
    step: int
    cycle: int
    time_ns: NDArray[np.int64]  # (tail + samples,)
    columns: Mapping[str, Float64Array]  # KEPT, each (tail + samples,)
    tail: int  # rows of the step before
    whole: bool  # False: we did not see its beginning


class StepCutter:
    """Follows the channels of one rack."""

    def __init__(self, channels: int, samples: int = SAMPLES) -> None:
        self._samples = samples
        self._time = np.zeros((channels, samples), dtype=np.int64)
        self._data = np.full((len(KEPT), channels, samples), np.nan)
        self._count = np.zeros(channels, dtype=np.int64)
        self._tail = np.zeros(channels, dtype=np.int64)
        self._every = np.ones(channels, dtype=np.int64)
        self._skip = np.zeros(channels, dtype=np.int64)
        self._now = np.full((channels, 3), -1, dtype=np.int64)  # state, step, cycle
        self._whole = np.zeros(channels, dtype=np.bool_)

    def feed(self, frame: Frame) -> list[FinishedStep]:
        """Take one sample of each of the Frame's channels (at most one each); the steps that ended with it."""
        usable = (
            (frame.quality < Quality.BAD) & np.isfinite(frame.columns["step"]) & np.isfinite(frame.columns["state"])
        )
        rows = np.flatnonzero(usable)
        at = frame.point[rows].astype(np.int64) - 1
        names = ("state", "step", "cycle")
        seen = np.stack([np.nan_to_num(frame.columns[n][rows]).astype(np.int64) for n in names], axis=1)
        changed = (seen[:, :2] != self._now[at, :2]).any(axis=1)
        finished = [self._finish(int(k)) for k in at[changed] if self._count[k] > self._tail[k]]
        for k in at[changed]:
            self._begin(int(k))
        self._now[at] = seen
        self._append(frame, rows, at)
        return finished

    def _append(self, frame: Frame, rows: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        self._skip[at] += 1
        due = self._skip[at] >= self._every[at]
        rows, at = rows[due], at[due]
        self._skip[at] = 0
        for k in at[self._count[at] >= self._samples]:
            self._thin(int(k))
        slot = self._count[at]
        self._time[at, slot] = frame.time_ns[rows]
        for i, name in enumerate(KEPT):
            if name in frame.columns:
                self._data[i, at, slot] = frame.columns[name][rows]
        self._count[at] += 1

    def _thin(self, k: int) -> None:
        """Keep every second sample of the step (all of the tail) and go on at twice the distance."""
        tail, count = int(self._tail[k]), int(self._count[k])
        keep = np.concatenate([np.arange(tail), np.arange(tail, count, 2)])
        self._time[k, : keep.size] = self._time[k, keep]
        self._data[:, k, : keep.size] = self._data[:, k, keep]
        self._count[k] = keep.size
        self._every[k] *= 2

    def _finish(self, k: int) -> FinishedStep:
        n = int(self._count[k])
        state, step, cycle = (int(v) for v in self._now[k])
        columns = {name: self._data[i, k, :n].copy() for i, name in enumerate(KEPT)}
        time_ns = self._time[k, :n].copy()
        return FinishedStep(k + 1, state, step, cycle, time_ns, columns, int(self._tail[k]), bool(self._whole[k]))

    def _begin(self, k: int) -> None:
        """Start a new step; the last samples of the one before become its tail."""
        count, before = int(self._count[k]), int(self._tail[k])
        keep = min(TAIL, count - before)
        self._time[k, :keep] = self._time[k, count - keep : count]
        self._data[:, k, :keep] = self._data[:, k, count - keep : count]
        self._whole[k] = self._now[k, 0] >= 0
        self._count[k] = self._tail[k] = keep
        self._every[k], self._skip[k] = 1, 0
