"""One poll's registers -> Frames: whose time to believe, and which rows are new. Pure; time comes as an argument.

Theory of the row clock. A device that stamps its blocks is believed as long as its stamps are possible and grow.
A stamp equal to the last one is the same sample again: the row is dropped, for (stream, device, point, time) would be
the same row. A stamp that is impossible or went back makes the row ours: our clock, quality UNCERTAIN. Where a clock
went back and then grows for RESYNC_POLLS polls, somebody has set it, and it is believed again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from configs.schema import Group
from controller.drivers.modbus_codec import CODE_CLOCK, Decoded, Decoder, Registers, device_time_ns
from controller.drivers.modbus_plan import ReadPlan
from controller.types import Frame, FrameKind, Int64Array, Quality, TimeSource

RESYNC_POLLS = 3

Rows = NDArray[np.bool_]


class RowClock:
    """Memory of the device's stamps, point by point."""

    def __init__(self, points: int) -> None:
        self._seen = np.zeros(points, dtype=np.int64)  # last possible stamp
        self._believed = np.zeros(points, dtype=np.int64)  # last stamp that left as DEVICE time
        self._streak = np.zeros(points, dtype=np.int64)  # polls that grew while behind what was believed
        self._none = np.zeros(points, dtype=np.bool_)

    def judge(self, stamp_ns: Int64Array) -> tuple[Rows, Rows]:
        """(repeated, believed) per row; a row in neither is new and needs our clock. `stamp_ns` 0: impossible."""
        ahead = stamp_ns > self._believed
        if ahead.all():  # all is well, as it is for months; nothing seen is later than what was believed
            self._seen = self._believed = stamp_ns
            self._streak[:] = 0
            return self._none, ahead
        possible = stamp_ns > 0
        repeated = possible & (stamp_ns == self._seen)
        behind = possible & ~ahead & (stamp_ns > self._seen)
        self._streak = np.where(behind, self._streak + 1, np.where(repeated, self._streak, 0))
        believed = (ahead | (self._streak >= RESYNC_POLLS)) & ~repeated
        self._streak[believed] = 0
        self._seen = np.where(possible, stamp_ns, self._seen)
        self._believed = np.where(believed, stamp_ns, self._believed)
        return repeated, believed


class GroupFrames:
    """Makes Frames of one group. Holds the group's row clock, which outlives reconnections."""

    def __init__(self, device: str, labels: Mapping[str, str], group: Group, plan: ReadPlan) -> None:
        mine = [c for c in plan.columns if c.group.name == group.name]
        clock_tags = {group.clock.seconds, group.clock.milliseconds} if group.clock is not None else set()
        values = [c for c in mine if c.tag.name not in clock_tags]
        stamps = [c for c in mine if c.tag.name in clock_tags]
        self._device, self._labels, self._group = device, dict(labels), group
        self._values = Decoder(values) if values else None
        self._stamps = Decoder(stamps) if stamps else None
        self._clock = RowClock(group.points)
        several = group.point_name is not None
        self._point = np.arange(1, group.points + 1, dtype=np.int32) if several else np.zeros(1, dtype=np.int32)
        self._none = Decoded({}, np.zeros(group.points, dtype=np.uint8), np.zeros(group.points, dtype=np.uint32))

    def frames(self, registers: Registers, now_ns: int) -> tuple[list[Frame], int]:
        """Frames of what is new, and how many repeated rows were dropped.

        One Frame as a rule, none when every row repeats, two (first DEVICE, then CONTROLLER) when only some of the
        points keep a time that can be believed.
        """
        decoded = self._values.decode(registers) if self._values is not None else self._none
        if self._stamps is None or self._group.clock is None:
            now = np.full(self._group.points, now_ns, dtype=np.int64)
            return [self._frame(decoded, now, TimeSource.CONTROLLER, None)], 0
        read = self._stamps.decode(registers).columns
        ms = self._group.clock.milliseconds
        stamp_ns = device_time_ns(read[self._group.clock.seconds], read[ms] if ms is not None else None)
        repeated, believed = self._clock.judge(stamp_ns)
        if believed.all():
            return [self._frame(decoded, stamp_ns, TimeSource.DEVICE, None)], 0
        frames = []
        if believed.any():
            frames.append(self._frame(decoded, stamp_ns, TimeSource.DEVICE, believed))
        ours = ~believed & ~repeated
        if ours.any():
            rows = ours & (decoded.quality < Quality.UNCERTAIN)
            decoded.quality[rows], decoded.code[rows] = Quality.UNCERTAIN, CODE_CLOCK
            frames.append(self._frame(decoded, np.full_like(stamp_ns, now_ns), TimeSource.CONTROLLER, ours))
        return frames, int(repeated.sum())

    def _frame(self, decoded: Decoded, time_ns: Int64Array, source: TimeSource, rows: Rows | None) -> Frame:
        pick = slice(None) if rows is None else rows
        return Frame(
            device=self._device,
            stream=self._group.name,
            kind=FrameKind.RAW,
            time_ns=time_ns[pick],
            point=self._point[pick],
            point_name=self._group.point_name or "",
            columns={name: column[pick] for name, column in decoded.columns.items()},
            quality=decoded.quality[pick],
            code=decoded.code[pick],
            time_source=source,
            labels=self._labels,
        )
