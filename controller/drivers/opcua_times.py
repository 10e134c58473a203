"""Source times of one group's notifications, as far as its device's clock can be believed. Pure; see device_time.py.

A publish response is judged by its newest time. First values of new items are left alone: theirs may be long past. So
are single values that come late. A clock went back where one item's own times do, for a server sends them in order
(OPC 10000-4, 5.13.1.5), or where all of a response is far older than the last row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.schema import Group
from controller.drivers.device_time import TOLERANCE_S, DeviceTime, clock_events
from controller.drivers.opcua_codec import BoolArray
from controller.types import Frame, Int64Array

_LATE_S = 5.0
"""Plant seconds that a value may come late; five periods where those are longer."""

_NS = 1_000_000_000


class SourceTimes:
    """Memory of one group's source times; outlives connections."""

    def __init__(self, device: str, group: Group, speed: float, floor_ns: int) -> None:
        self._device, self._stream = device, group.name
        self._time = DeviceTime(1, group.period_s, speed, floor_ns)
        self._late_ns = int(max(_LATE_S, 5 * group.period_s) * _NS)
        self._hole_ns = int(max(TOLERANCE_S, 3 * group.period_s) * _NS)
        self._period_ns = int(group.period_s * _NS)
        self._judged_ns = 0  # our time when the last response came
        self._out_ns = 0  # newest time that left
        self._newest = 0  # newest time of the device's
        self._shown = np.zeros(len(group.tag), dtype=np.int64)  # by column, the time of its last sample
        self._behind_ns = 0  # what our times are ahead of the device's

    @property
    def jumps(self) -> int:
        """How often the clock went back or into our future."""
        return self._time.jumps

    def events(self, now_ns: int) -> list[Frame]:
        """What is to be told of the clock."""
        return clock_events(self._device, self._stream, self._time.notes(), now_ns)

    def judge(
        self, column: Int64Array, time_ns: Int64Array, ours: BoolArray, first: BoolArray, now_ns: int
    ) -> tuple[Int64Array, BoolArray]:
        """Times for the rows, and which of them are ours. `ours`: the server gave none; `first`: of a new item."""
        sample = ~first & ~ours
        if not sample.any():
            return time_ns, ours
        turns = _turns(column, time_ns, sample)
        after_ns = [int(np.ptp(time_ns[turn])) + self._period_ns for turn in turns[1:]]
        for k, turn in enumerate(turns):
            then_ns = now_ns - sum(after_ns[k:])
            for part in self._parts(time_ns, turn):
                time_ns, ours = self._judge(column, time_ns, ours, part, then_ns)
        return time_ns, ours

    def _parts(self, time_ns: Int64Array, sample: BoolArray) -> Iterator[BoolArray]:
        """A jump within one response shows as a hole between its times: what came before it comes first."""
        times = np.unique(time_ns[sample])
        holes = np.diff(times)
        if not holes.size or int(holes.max()) <= self._hole_ns:
            yield sample
            return
        low = sample & (time_ns <= times[int(np.argmax(holes))])
        oldest = self._newest - self._late_ns
        back = bool(times[0] < oldest <= times[-1])
        yield from (sample & ~low, low) if back else (low, sample & ~low)

    def _judge(
        self, column: Int64Array, time_ns: Int64Array, ours: BoolArray, sample: BoolArray, now_ns: int
    ) -> tuple[Int64Array, BoolArray]:
        here, times = column[sample], time_ns[sample]
        newest = int(times.max())
        back = bool((times <= self._shown[here]).any())
        wrong, last = self._behind_ns != 0, self._out_ns
        rest = newest <= self._newest and not back and newest >= self._newest - self._late_ns
        if not rest:
            oldest = int(times.min())
            if oldest < newest < self._newest:  # the oldest says where the row after the last one is
                self._time.judge(np.array([oldest]), now_ns - (newest - oldest))
            if newest == self._newest:  # a change that was sent is a new sample, however soon it comes
                now_ns = max(now_ns, self._judged_ns + self._period_ns)
            out, believed, dropped = self._time.judge(np.array([newest]), now_ns)
            self._judged_ns = now_ns
            if newest <= self._newest:
                self._shown = np.minimum(self._shown, newest - 1)
            self._newest = newest
            if believed[0]:
                self._behind_ns = 0
            elif not dropped[0]:
                self._behind_ns = int(out[0]) - newest
            self._out_ns = self._out_ns if dropped[0] else int(out[0])
        if back:
            self._shown[here] = 0
        np.maximum.at(self._shown, here, times)
        if self._behind_ns or wrong or back:
            shifted = time_ns + self._behind_ns
            early = sample & (shifted <= last)
            ours = ours | (sample if self._behind_ns else early)
            time_ns = np.where(sample, _between(shifted, early, sample, last), time_ns)
        return time_ns, ours


def _turns(column: Int64Array, time_ns: Int64Array, sample: BoolArray) -> list[BoolArray]:
    """The samples of one response, cut where an item's own times do not grow: what came before first.

    Of an item that shows no turn nothing says when its values came: they go where all their times are, the latest.
    """
    if np.bincount(column[sample]).max() < 2:
        return [sample]
    order = np.flatnonzero(sample)
    order = order[np.argsort(column[order], kind="stable")]
    item, times = column[order], time_ns[order]
    same = item[1:] == item[:-1]
    down = same & (times[1:] <= times[:-1])
    if not down.any():
        return [sample]
    count = np.concatenate([[0], np.cumsum(down)])
    begins = np.concatenate([[True], ~same])
    turn = count - count[begins][np.cumsum(begins) - 1]
    turning = np.isin(item, item[1:][down])
    known = [times[turning & (turn == k)] for k in range(int(turn.max()) + 1)]
    for one in np.unique(item[~turning]).tolist():
        here = item == one
        turn[here] = max((k for k, stamps in enumerate(known) if np.isin(times[here], stamps).all()), default=0)
    numbers = np.full(column.shape[0], -1, dtype=np.int64)
    numbers[order] = turn
    return [numbers == k for k in range(len(known))]


def _between(time_ns: Int64Array, early: BoolArray, sample: BoolArray, last_ns: int) -> Int64Array:
    """Times of samples that are not after the last row are put evenly between it and the first that is."""
    if not early.any() or early[sample].all():
        return time_ns
    low = np.unique(time_ns[early])
    step = max(1, (int(time_ns[sample & ~early].min()) - last_ns) // (low.size + 1))
    return np.where(early, last_ns + step * (np.searchsorted(low, time_ns) + 1), time_ns)
