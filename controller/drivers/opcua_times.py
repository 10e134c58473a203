"""Source times of one group's notifications, as far as its device's clock can be believed. Pure; see device_time.py.

A publish response is judged by its newest time. First values of new items are left alone: theirs may be long past. So
are single values that come late; a clock went back only where all of a response is older than the last row.
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
        self._out_ns = 0  # newest time that left
        self._newest = 0  # newest time of the device's
        self._shown = np.zeros(len(group.tag), dtype=np.int64)  # by column, its newest time
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
        for part in self._parts(time_ns, sample):
            time_ns, ours = self._judge(column, time_ns, ours, part, now_ns)
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
        newest = int(time_ns[sample].max())
        stands = newest == self._newest and bool((self._shown[column[sample]] == time_ns[sample]).any())
        wrong, last = self._behind_ns != 0, self._out_ns
        rest = newest <= self._newest and not stands and newest >= self._newest - self._late_ns
        if not rest:
            oldest = int(time_ns[sample].min())
            if oldest < newest < self._newest:  # the oldest says where the row after the last one is
                self._time.judge(np.array([oldest]), now_ns - (newest - oldest))
            out, believed, dropped = self._time.judge(np.array([newest]), now_ns)
            self._newest = newest
            if believed[0]:
                self._behind_ns = 0
            elif not dropped[0]:
                self._behind_ns = int(out[0]) - newest
            self._out_ns = self._out_ns if dropped[0] else int(out[0])
        np.maximum.at(self._shown, column[sample], np.where(rest, 0, time_ns[sample]))
        self._shown = np.minimum(self._shown, self._newest)
        if self._behind_ns or wrong:
            shifted = time_ns + self._behind_ns
            early = sample & (shifted <= last)
            ours = ours | (sample if self._behind_ns else early)
            time_ns = np.where(sample, _between(shifted, early, sample, last), time_ns)
        return time_ns, ours


def _between(time_ns: Int64Array, early: BoolArray, sample: BoolArray, last_ns: int) -> Int64Array:
    """Times of samples that are not after the last row are put evenly between it and the first that is."""
    if not early.any() or early[sample].all():
        return time_ns
    low = np.unique(time_ns[early])
    step = max(1, (int(time_ns[sample & ~early].min()) - last_ns) // (low.size + 1))
    return np.where(early, last_ns + step * (np.searchsorted(low, time_ns) + 1), time_ns)
