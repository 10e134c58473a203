"""Write planning: order, merging, and refusals before anything is sent."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from configs.schema import Equipment
from controller.drivers.modbus_writes import plan_writes
from controller.errors import CommandError
from controller.types import Write

RACK = Equipment.model_validate(
    tomllib.loads((Path(__file__).parents[3] / "configs" / "equipment" / "formation_rack_64.toml").read_text())
)


def test_touching_tags_go_in_one_request_in_the_given_order() -> None:
    (block,) = plan_writes(RACK, [Write("command", (1,)), Write("command_seq", (7,)), Write("heartbeat", (9,))])
    assert (block.start, block.registers, block.tags) == (0, (1, 7, 9), ("command", "command_seq", "heartbeat"))


def test_order_is_not_changed_to_merge() -> None:
    blocks = plan_writes(RACK, [Write("command_seq", (7,)), Write("command", (1,))])
    assert [(b.start, b.registers) for b in blocks] == [(1, (7,)), (0, (1,))]


def test_a_programme_goes_step_by_step() -> None:
    blocks = plan_writes(
        RACK,
        [
            Write("step_mode", (1, 3)), Write("step_cycle", (1, 2)), Write("step_current_a", (1.0, 0.0)),
            Write("step_voltage_v", (4.0, 0.0)), Write("step_end_current_a", (0.0, 0.0)),
            Write("step_duration_s", (2.0, 0.5)), Write("programme_id", (5,)),
        ],
    )  # fmt: skip
    assert [(b.start, len(b.registers)) for b in blocks] == [(100, 10), (112, 10), (4, 1)]
    assert blocks[0].registers == (1, 1, 0x3F80, 0, 0x4080, 0, 0, 0, 0x4000, 0)
    assert blocks[1].registers == (3, 2, 0, 0, 0, 0, 0, 0, 0x3F00, 0)
    assert str(blocks[1]) == "holding registers 112 to 121"


def test_the_same_tag_twice_is_written_twice() -> None:
    blocks = plan_writes(RACK, [Write("step_mode", (1,)), Write("step_mode", (2,))])
    assert [b.registers for b in blocks] == [(1,), (2,)]


def test_requests_stay_within_the_limit() -> None:
    short = RACK.model_copy(update={"modbus": RACK.modbus.model_copy(update={"max_block_registers": 2})})  # type: ignore[union-attr]
    writes = [Write("command", (1,)), Write("command_seq", (2,)), Write("heartbeat", (3,))]
    assert [b.registers for b in plan_writes(short, writes)] == [(1, 2), (3,)]


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (Write("nonsense", (1.0,)), "tag 'nonsense' does not exist in equipment type 'formation_rack_64'"),
        (Write("voltage_v", (1.0,)), "tag 'voltage_v' .* is an input register and cannot be written"),
        (Write("programme_id", ()), "takes 1 value, not 0"),
        (Write("programme_id", (1, 2)), "takes 1 value, not 2"),
        (Write("step_mode", (1.0,) * 33), "takes 1 to 32 values, not 33"),
        (Write("command", (6.0,)), "6 is above the permitted 5"),
    ],
)
def test_refused_before_anything_is_planned(write: Write, text: str) -> None:
    with pytest.raises(CommandError, match=text):
        plan_writes(RACK, [Write("command", (1,)), write])
