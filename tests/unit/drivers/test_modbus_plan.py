"""Block planning: no register twice, no value over two blocks, rows whole where they fit."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Equipment, Group, ModbusOptions, Tag, ValueType, WordOrder
from controller.drivers.modbus_plan import Block, ReadPlan, Schedule, describe, plan_polls, plan_reads
from controller.errors import BadInputError

RACK = Path(__file__).parents[3] / "configs" / "equipment" / "formation_rack_64.toml"


def group(name: str = "g", points: int = 1, stride: int = 0, table: str = "input", **tags: tuple[int, str]) -> Group:
    return Group(
        name=name,
        table=table,
        points=points,
        stride=stride,
        point_name="channel" if points > 1 else None,
        tag=tuple(Tag(name=n, address=a, type=ValueType(t)) for n, (a, t) in tags.items()),
    )


def plan(*groups: Group, **options: object) -> ReadPlan:
    return plan_reads(ModbusOptions.model_validate(options), [(g, t) for g in groups for t in g.tag])


def addresses(read: ReadPlan) -> list[int]:
    """Address of every position of the concatenated buffer (input registers only)."""
    return [a for b in read.blocks for a in range(b.start, b.start + b.count)]


def test_formation_rack_needs_thirteen_blocks_and_keeps_channels_whole() -> None:
    equipment = Equipment.model_validate(tomllib.loads(RACK.read_text()))
    channels, rack = plan_polls(equipment)
    assert [channels.period_s, rack.period_s] == [20.0, 60.0]
    assert len(channels.plan.blocks) == 13, "64 channels of 22 registers in 24: 1,534 registers in 13 reads of 125"
    assert channels.plan.blocks[0] == Block("input", 1000, 118)
    assert rack.plan.blocks == (Block("input", 0, 19),)
    ends = np.cumsum([b.count for b in channels.plan.blocks])
    holder = [np.searchsorted(ends, c.index, side="right") for c in channels.plan.columns]
    assert all((h == holder[0][:, :1]).all() for h in holder), "all tags of a channel come from one reply"


def test_describe_names_blocks_of_polled_groups_only() -> None:
    equipment = Equipment.model_validate(tomllib.loads(RACK.read_text()))
    found = {d.group: (d.period_s, len(d.blocks)) for d in describe(equipment)}
    assert found == {"rack": (60.0, 1), "channel": (20.0, 13), "rack_command": (0.0, 0), "programme": (0.0, 0)}


def test_gap_is_read_through_up_to_the_limit() -> None:
    tags = group(a=(0, "uint16"), b=(5, "uint16"))
    assert plan(tags, max_gap_registers=4).blocks == (Block("input", 0, 6),)
    assert plan(tags, max_gap_registers=3).blocks == (Block("input", 0, 1), Block("input", 5, 1))


def test_groups_of_one_period_share_a_block_and_tables_do_not() -> None:
    a, b = group("a", x=(0, "uint16")), group("b", y=(1, "float32"))
    c = group("c", table="holding", z=(3, "uint16"))
    read = plan(a, b, c)
    assert read.blocks == (Block("input", 0, 3), Block("holding", 3, 1))
    assert [c.index.tolist() for c in read.columns] == [[[0]], [[1, 2]], [[3]]]
    assert read.groups_in(read.blocks[0]) == {"a", "b"}
    assert read.tags_in(read.blocks[1]) == ["z"]


def test_little_word_order_gathers_the_last_register_first() -> None:
    read = plan(group(x=(7, "float64")), word_order=WordOrder.LITTLE)
    assert read.columns[0].index.tolist() == [[3, 2, 1, 0]]


def test_long_rows_break_between_values_only() -> None:
    read = plan(group(a=(0, "float32"), b=(2, "float32"), c=(4, "float64")), max_block_registers=5)
    assert read.blocks == (Block("input", 0, 4), Block("input", 4, 4))


def test_interleaved_columns_are_read_once_each() -> None:
    # Point k has registers k and k + 100: every row spans more than is left of a block.
    tags = group(points=100, stride=1, a=(0, "uint16"), b=(100, "uint16"))
    read = plan(tags, max_gap_registers=124)
    assert addresses(read) == list(range(200))
    assert len(read.blocks) == 2


def test_value_longer_than_a_block_is_refused_by_name() -> None:
    with pytest.raises(BadInputError, match=r"registers 3 to 6 \(x\) .* max_block_registers is 2"):
        plan(group(x=(3, "float64")), max_block_registers=2)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Group], dict[str, object]]:
    groups = []
    for g in range(draw(st.integers(1, 3))):
        points = draw(st.integers(1, 20))
        tags = {
            f"t{g}_{k}": (draw(st.integers(0, 300)), draw(st.sampled_from([t.value for t in ValueType])))
            for k in range(draw(st.integers(1, 5)))
        }
        groups.append(group(f"g{g}", points, draw(st.integers(4, 40)), **tags))
    options = {
        "max_block_registers": draw(st.integers(20, 125)),
        "max_gap_registers": draw(st.integers(0, 40)),
        "word_order": draw(st.sampled_from(["big", "little"])),
    }
    return groups, options


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_any_layout_is_covered_once_and_in_order(layout: tuple[list[Group], dict[str, object]]) -> None:
    groups, options = layout
    try:
        read = plan(*groups, **options)
    except BadInputError as error:  # overlapping values that chain over more than one block
        assert "must be read at once" in str(error)
        return
    where = addresses(read)
    assert len(where) == len(set(where)) == read.registers, "no register is read twice"
    assert all(1 <= b.count <= int(str(options["max_block_registers"])) for b in read.blocks)
    bounds = np.cumsum([b.count for b in read.blocks])
    for column in read.columns:
        words = np.arange(column.tag.type.registers)
        if options["word_order"] == "little":
            words = words[::-1]
        rows = int(column.tag.address) + np.arange(column.group.points) * column.group.stride
        assert (np.array(where)[column.index] == rows[:, None] + words).all()
        holder = np.searchsorted(bounds, column.index, side="right")
        assert (holder == holder[:, :1]).all(), "no value lies in two blocks"


def test_schedule_keeps_its_grid_skips_what_was_missed_and_survives_a_clock_set_back() -> None:
    schedule = Schedule(10.0)
    second = 10**9
    schedule.start(3 * second)
    assert schedule.wait_ns(3 * second) == 0
    assert schedule.take(3 * second) == 0
    assert schedule.wait_ns(4 * second) == 9 * second
    assert schedule.take(16 * second) == 0, "late, but within its period"
    assert schedule.due_ns == 23 * second
    assert schedule.take(58 * second) == 3, "23, 33 and 43 went by; 53 is the late one that is done now"
    assert schedule.due_ns == 63 * second
    assert schedule.wait_ns(-3600 * second) == 0, "nobody waits an hour because a clock was set"
