"""One poll's registers -> Frames: whose time to believe, and which rows are new. Pure; time comes as an argument.

A device that stamps its blocks is believed as device_time.py says. A stamp equal to the last one with the same values
is the same sample again: the row is dropped, for (stream, device, point, time) would be the same row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from configs.schema import Group
from controller.drivers.device_time import DeviceTime, Rows, clock_events
from controller.drivers.modbus_codec import CODE_CLOCK, Decoded, Decoder, Registers, device_time_ns
from controller.drivers.modbus_plan import ReadPlan
from controller.types import Float64Array, Frame, FrameKind, Int64Array, Quality, TimeSource


class GroupFrames:
    """Makes Frames of one group. Holds the group's device time, which outlives reconnections."""

    def __init__(
        self,
        device: str,
        labels: Mapping[str, str],
        group: Group,
        plan: ReadPlan,
        speed: float = 1.0,
        floor_ns: int = 0,
        order: int = 0,
    ) -> None:
        """`speed` and `floor_ns` as for DeviceTime; `order` in its poll: keeps events' times apart."""
        self._order = order
        mine = [c for c in plan.columns if c.group.name == group.name]
        clock_tags = {group.clock.seconds, group.clock.milliseconds} if group.clock is not None else set()
        values = [c for c in mine if c.tag.name not in clock_tags]
        stamps = [c for c in mine if c.tag.name in clock_tags]
        self._device, self._labels, self._group = device, dict(labels), group
        self._values = Decoder(values) if values else None
        self._stamps = Decoder(stamps) if stamps else None
        coarse = group.clock is not None and group.clock.milliseconds is None
        self._time = DeviceTime(group.points, group.period_s, speed, floor_ns, 1.0 if coarse else 0.001)
        self._before: Mapping[str, Float64Array] = {}
        several = group.point_name is not None
        self._point = np.arange(1, group.points + 1, dtype=np.int32) if several else np.zeros(1, dtype=np.int32)
        self._none = Decoded({}, np.zeros(group.points, dtype=np.uint8), np.zeros(group.points, dtype=np.uint32))

    def frames(self, registers: Registers, now_ns: int, heard_ns: int | None = None) -> tuple[list[Frame], int]:
        """Frames of what is new, and how many repeated rows were dropped. Our time before and after they were read.

        One Frame as a rule, none when every row repeats, two (first DEVICE, then CONTROLLER) when only some of the
        points keep a time that can be believed; before them events of the clock.
        """
        decoded = self._values.decode(registers) if self._values is not None else self._none
        if self._stamps is None or self._group.clock is None:
            now = np.full(self._group.points, now_ns, dtype=np.int64)
            return [self._frame(decoded, now, TimeSource.CONTROLLER, None)], 0
        read = self._stamps.decode(registers).columns
        ms = self._group.clock.milliseconds
        stamp_ns = device_time_ns(read[self._group.clock.seconds], read[ms] if ms is not None else None)
        changed = self._changed(decoded) if self._time.repeats(stamp_ns) else None
        time_ns, believed, repeated = self._time.judge(stamp_ns, now_ns, changed, heard_ns)
        self._before = decoded.columns
        frames = clock_events(self._device, self._group.name, self._time.notes(), now_ns + 16 * self._order)
        if believed.all():
            return [*frames, self._frame(decoded, time_ns, TimeSource.DEVICE, None)], 0
        if believed.any():
            frames.append(self._frame(decoded, time_ns, TimeSource.DEVICE, believed))
        ours = ~believed & ~repeated
        if ours.any():
            rows = ours & (decoded.quality < Quality.UNCERTAIN)
            decoded.quality[rows], decoded.code[rows] = Quality.UNCERTAIN, CODE_CLOCK
            frames.append(self._frame(decoded, time_ns, TimeSource.CONTROLLER, ours))
        return frames, int(repeated.sum())

    def _changed(self, decoded: Decoded) -> Rows:
        """Whether any value of a point differs from the reading before."""
        changed = np.zeros(self._group.points, dtype=np.bool_)
        for name, column in decoded.columns.items():
            if name in self._before:
                before = self._before[name]
                changed |= (column != before) & ~(np.isnan(column) & np.isnan(before))
        return changed

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
