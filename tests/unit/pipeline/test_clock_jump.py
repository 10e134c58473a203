"""What a device's wrong clock does to gap records and to the cell filter behind the driver: hardly anything."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from configs.schema import DeviceClock, Group, ModbusOptions, Tag, ValueType
from controller.drivers.modbus_codec import join_registers
from controller.drivers.modbus_frames import GroupFrames
from controller.drivers.modbus_plan import plan_reads
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.pipeline.stages.cells import CellStage
from controller.types import Frame, TimeSource
from tests.unit.pipeline import rack_frames
from twin.ekf import CellFilter

S = 1_000_000_000
START_S = 1_700_000_000
PERIOD_S = 20
GROUP = Group(
    name="channel", points=2, point_name="channel", stride=8, period_s=PERIOD_S,
    clock=DeviceClock(seconds="clock_s"),
    tag=(
        Tag(name="clock_s", address=0, type=ValueType.UINT32), Tag(name="voltage_v", address=2),
        Tag(name="current_a", address=4), Tag(name="temperature_c", address=6),
    ),
)  # fmt: skip
PLAN = plan_reads(ModbusOptions(), [(GROUP, tag) for tag in GROUP.tag])
RULE = {("rack1", "channel"): StreamRule(PERIOD_S, polled=True)}

Clock = Callable[[int], int]


def polled(clock: Clock, polls: int = 400) -> list[list[Frame]]:
    """A charge with 2 A, as the driver gives it; `clock`: the device's seconds at true seconds after the start."""
    maker = GroupFrames("rack1", {}, GROUP, PLAN)
    found = []
    for k in range(1, polls + 1):
        true_s = k * PERIOD_S
        volts = 3.5 + 0.4 * k / polls
        row = struct.pack(">Ifff", START_S + clock(true_s), volts, 2.0, 25.0)
        frames, _ = maker.frames(join_registers([row * 2], PLAN.registers), (START_S + true_s) * S)
        found.append(frames)
    return found


def between(begin_s: int, end_s: int, wrong: Clock) -> Clock:
    return lambda true_s: wrong(true_s) if begin_s <= true_s < end_s else true_s


CLOCKS = {
    "back": between(3000, 5000, lambda s: s - 1800),
    "back and never right": between(3000, 10**6, lambda s: s - 1800),
    "forward": between(3000, 5000, lambda s: s + 3600),
    "standing": between(3000, 5000, lambda _: 3000),
    "in steps": between(3000, 5000, lambda s: s // 60 * 60),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_no_row_is_lost_no_gap_is_found_and_the_filter_hardly_notices(name: str) -> None:
    gaps = GapDetector(RULE)
    right, wrong = polled(lambda s: s), polled(CLOCKS[name])
    rows = [frame for frames in wrong for frame in frames if frame.stream == "channel"]
    assert [gap for frame in rows if (gap := gaps.observe(frame)) is not None] == []
    times = np.array([t for frame in rows for t in frame.time_ns[frame.point == 1].tolist()])
    assert times.size == 400
    assert (np.diff(times) > 0).all()
    assert np.abs(np.diff(times) / S - PERIOD_S).max() <= 1.0
    assert any(frame.time_source is TimeSource.CONTROLLER for frame in rows)
    assert rows[-1].time_source is (TimeSource.CONTROLLER if "never" in name else TimeSource.DEVICE)
    model = rack_frames.line().cells["rack1"]
    states = []
    for made in (right, wrong):
        stage = CellStage(CellFilter(model, 2), 0.0)
        results = [r for frames in made for f in frames if f.stream == "channel" for r in stage.process(f)]
        states.append(results[-1].columns)
        assert len(results) == 400
    # Not equal to the last digit: a voltage of uncertain quality weighs less.
    apart = np.abs(states[1]["soc"] - states[0]["soc"])
    assert (apart < 0.01).all()
    assert (apart < states[1]["soc_sd"]).all()
