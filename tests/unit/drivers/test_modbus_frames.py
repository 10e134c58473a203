"""Registers -> Frames: repeated rows, impossible, standing and set-back clocks (judged as test_device_time says)."""

from __future__ import annotations

import struct

from configs.schema import DeviceClock, Group, ModbusOptions, Tag, ValueType
from controller.drivers.modbus_codec import CODE_CLOCK, CODE_NOT_A_NUMBER, Registers, join_registers
from controller.drivers.modbus_frames import GroupFrames
from controller.drivers.modbus_plan import plan_reads
from controller.types import Frame, Quality, TimeSource

NOW_NS = 1_800_000_000 * 10**9
GROUP = Group(
    name="channel", points=2, point_name="channel", stride=4,
    clock=DeviceClock(seconds="clock_s"),
    tag=(Tag(name="clock_s", address=0, type=ValueType.UINT32), Tag(name="v", address=2)),
)  # fmt: skip
PLAN = plan_reads(ModbusOptions(), [(GROUP, t) for t in GROUP.tag])


def registers(*rows: tuple[int, float]) -> Registers:
    return join_registers([b"".join(struct.pack(">If", *row) for row in rows)], PLAN.registers)


def rows_of(made: tuple[list[Frame], int]) -> tuple[list[Frame], int]:
    """Without what is told of the clock."""
    frames, dropped = made
    return [frame for frame in frames if frame.stream == "channel"], dropped


def test_stamps_that_grow_are_believed_and_clock_tags_are_no_columns() -> None:
    maker = GroupFrames("rack1", {"lot": "L"}, GROUP, PLAN)
    (frame,), dropped = rows_of(maker.frames(registers((100, 1.0), (101, 2.0)), NOW_NS))
    assert dropped == 0
    assert frame.time_ns.tolist() == [100 * 10**9, 101 * 10**9]
    assert list(frame.columns) == ["v"]
    assert (frame.device, frame.stream, frame.labels) == ("rack1", "channel", {"lot": "L"})
    assert frame.columns["v"].flags.c_contiguous


def test_repeated_rows_are_dropped_one_by_one() -> None:
    maker = GroupFrames("rack1", {}, GROUP, PLAN)
    maker.frames(registers((100, 1.0), (100, 2.0)), NOW_NS)
    (frame,), dropped = maker.frames(registers((100, 1.0), (120, 3.0)), NOW_NS)
    assert (dropped, frame.point.tolist(), frame.columns["v"].tolist()) == (1, [2], [3.0])
    assert maker.frames(registers((100, 1.0), (120, 3.0)), NOW_NS) == ([], 2)


def test_a_clock_that_was_never_set_gives_our_time_every_poll() -> None:
    maker = GroupFrames("rack1", {}, GROUP, PLAN)
    for k in range(3):
        (frame,), dropped = rows_of(maker.frames(registers((0, 1.0), (0, float("nan"))), NOW_NS + k))
        assert dropped == 0
        assert frame.time_source is TimeSource.CONTROLLER
        assert frame.time_ns.tolist() == [NOW_NS + k] * 2
        assert frame.quality.tolist() == [Quality.UNCERTAIN, Quality.BAD]
        assert frame.code.tolist() == [CODE_CLOCK, CODE_NOT_A_NUMBER]


def test_one_channel_with_a_broken_clock_leaves_the_other_its_own_time() -> None:
    maker = GroupFrames("rack1", {}, GROUP, PLAN)
    maker.frames(registers((100, 1.0), (100, 2.0)), NOW_NS)
    (theirs, ours), _ = rows_of(maker.frames(registers((120, 1.0), (90, 2.0)), NOW_NS))
    assert (theirs.time_source, theirs.point.tolist(), theirs.quality.tolist()) == (TimeSource.DEVICE, [1], [0])
    assert (ours.time_source, ours.point.tolist()) == (TimeSource.CONTROLLER, [2])
    assert ours.quality.tolist() == [Quality.UNCERTAIN]


def test_without_a_clock_our_time_is_good() -> None:
    group = Group(name="panel", tag=(Tag(name="x", address=0, type=ValueType.UINT16),))
    plan = plan_reads(ModbusOptions(), [(group, group.tag[0])])
    maker = GroupFrames("rack1", {}, group, plan)
    (frame,), _ = maker.frames(join_registers([b"\x00\x07"], 1), NOW_NS)
    assert (frame.time_source, frame.quality.tolist(), frame.time_ns.tolist()) == (TimeSource.CONTROLLER, [0], [NOW_NS])


def test_a_jump_is_told_before_its_rows_and_a_standing_clock_costs_none() -> None:
    maker = GroupFrames("rack1", {}, GROUP, PLAN)
    seconds = NOW_NS // 10**9
    maker.frames(registers((seconds, 1.0), (seconds, 2.0)), NOW_NS)
    back = registers((seconds - 1780, 1.1), (seconds - 1780, 2.1))
    (told, frame), dropped = maker.frames(back, NOW_NS + 20 * 10**9)
    assert told.stream == "event"
    assert "rack1: the device's clock went back by 1800 s (2 of 2 points)" in told.text["message"][0]
    assert dropped == 0
    assert (frame.time_source, frame.code.tolist()) == (TimeSource.CONTROLLER, [CODE_CLOCK] * 2)
    assert frame.time_ns.tolist() == [NOW_NS + 20 * 10**9] * 2
    stands = registers((seconds - 1780, 1.1), (seconds - 1780, 2.2))
    (told, frame), dropped = maker.frames(stands, NOW_NS + 40 * 10**9)
    assert "stands still" in told.text["message"][0]
    assert (frame.point.tolist(), frame.time_ns.tolist(), dropped) == ([2], [NOW_NS + 40 * 10**9], 1)
