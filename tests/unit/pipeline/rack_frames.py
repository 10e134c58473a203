"""A simulated rack's channels as Frames, without a wire: what the stages of finished steps are tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from configs.loader import LoadedLine, load_line
from configs.schema import Equipment
from configs.schema.equipment import Group
from controller.types import Frame, FrameKind
from simulators.machine import Machine, Values
from simulators.machines import build_machine
from simulators.machines.rack_states import RackCommand

NS = 1_000_000_000
START_S = 1_700_000_000
LINE = Path(__file__).parents[3] / "configs" / "lines" / "a_sample.toml"
REST, CC_CHARGE, CV_CHARGE, CC_DISCHARGE, PULSE = 3.0, 1.0, 2.0, 4.0, 5.0
TAGS = ("step_mode", "step_cycle", "step_current_a", "step_voltage_v", "step_end_current_a", "step_duration_s")

# mode, cycle, current, voltage, end current, duration
SHORT = (
    (CC_CHARGE, 1, 2.0, 4.2, 0, 900),
    (REST, 1, 0, 0, 0, 300),
    (PULSE, 1, 5.0, 0, 0, 30),
    (REST, 1, 0, 0, 0, 300),
    (CC_DISCHARGE, 1, 1.0, 2.5, 0, 120),
    (REST, 1, 0, 0, 0, 300),
)
SHORT_S = 1950


def line() -> LoadedLine:
    return load_line(LINE)


def channel_group(loaded: LoadedLine) -> Group:
    found = loaded.equipment["rack1"].find("voltage_v")
    assert found is not None
    return found[0]


def started(equipment: Equipment, programme: Sequence[Sequence[float]], seed: int) -> Machine:
    """A simulated rack that has just been told to run the programme."""
    rack = build_machine("formation_rack", equipment, START_S * NS, seed, {})
    for k, tag in enumerate(TAGS):
        rack.write(tag, np.array([float(step[k]) for step in programme]))
    rack.write("programme_steps", np.array([float(len(programme))]))
    rack.write("programme_id", np.array([7.0]))
    rack.write("command", np.array([float(RackCommand.START)]))
    rack.write("command_seq", np.array([1.0]))
    return rack


def polled(shown: Mapping[str, Values], names: Sequence[str], now_s: int, channels: int, lot: str) -> Frame:
    """The first channels of a rack's outputs, as the Modbus driver gives them."""
    return Frame(
        device="rack1",
        stream="channel",
        kind=FrameKind.RAW,
        time_ns=np.full(channels, now_s * NS, dtype=np.int64),
        point=np.arange(1, channels + 1, dtype=np.int32),
        point_name="channel",
        columns={name: np.array(shown[name][:channels], dtype=np.float64) for name in names},
        quality=np.zeros(channels, dtype=np.uint8),
        code=np.zeros(channels, dtype=np.uint32),
        labels={"lot": lot},
    )


def frames(
    period_s: int,
    seconds: int,
    channels: int = 6,
    programme: Sequence[Sequence[float]] = SHORT,
    lot: str = "L1",
    seed: int = 1,
) -> Iterator[Frame]:
    """One Frame a poll, from the start of the programme on; a channel as the Modbus driver gives it."""
    loaded = line()
    rack = started(loaded.equipment["rack1"], programme, seed)
    names = [tag.name for tag in channel_group(loaded).tag]
    for now_s in range(START_S + period_s, START_S + seconds + 1, period_s):
        rack.advance(now_s * NS)
        yield polled(rack.outputs(), names, now_s, channels, lot)
