"""Which registers to read, in which requests, and when: tags -> block reads. Pure; no socket, no clock, no values.

A row (one point of one group) is one instant of the device only if one reply holds all of it, so a point's registers
stay in one block wherever they fit. No register is read twice and no value lies in two blocks. See docs/decisions/0004.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import ByteOrder, Equipment, Group, ModbusOptions, Tag, WordOrder
from controller.clock import NS_PER_S
from controller.errors import BadInputError

TABLES = {"input": "input registers", "holding": "holding registers", "discrete": "discrete inputs", "coil": "coils"}
"""Tables in the order in which they are read, and what their numbers are called."""

Span = tuple[int, int]  # first register, one past the last


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: `count` registers of `table` (a key of TABLES) from zero-based `start`."""

    table: str
    start: int
    count: int
    unit: int | None = None  # None: the endpoint's

    def __str__(self) -> str:
        whose = f" of unit {self.unit}" if self.unit is not None else ""
        return f"{TABLES[self.table]} {self.start} to {self.start + self.count - 1}{whose}"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One tag and where its registers lie: `index` (points, registers per value), most significant word first."""

    group: Group
    tag: Tag
    index: NDArray[np.intp]  # positions in the concatenation of all blocks of the plan
    bytes_turned: bool = False  # low byte first in every word


@dataclass(frozen=True, slots=True, eq=False)
class ReadPlan:
    """Blocks in the order in which they are read and concatenated, and every wanted tag's place in them."""

    blocks: tuple[Block, ...]
    columns: tuple[Column, ...]

    @property
    def registers(self) -> int:
        """Length of the concatenation."""
        return sum(b.count for b in self.blocks)

    def tags_in(self, block: Block) -> list[str]:
        """Names of the tags of which at least one point lies in `block`; for error texts."""
        first = sum(b.count for b in self.blocks[: self.blocks.index(block)])
        inside = [(c.index >= first) & (c.index < first + block.count) for c in self.columns]
        return [c.tag.name for c, hit in zip(self.columns, inside, strict=True) if hit.any()]

    def groups_in(self, block: Block) -> set[str]:
        """Names of the groups that need `block`."""
        tags = set(self.tags_in(block))
        return {c.group.name for c in self.columns if c.tag.name in tags}


@dataclass(frozen=True, slots=True, eq=False)
class Poll:
    """Groups of one unit with the same period, read together."""

    period_s: float
    groups: tuple[Group, ...]
    plan: ReadPlan
    unit: int | None = None  # None: the endpoint's


@dataclass(frozen=True, slots=True)
class GroupReads:
    """What `celltwin check` prints of one group. A block that groups share is listed with each of them."""

    group: str
    period_s: float
    blocks: tuple[Block, ...]


def _first_register(tag: Tag) -> int:
    if not isinstance(tag.address, int):  # the schema refuses it; Equipment built by hand may still carry it
        raise BadInputError(f"tag '{tag.name}': '{tag.address}' is not a register number")
    return tag.address


def _union(spans: Iterable[Span]) -> list[Span]:
    """Spans that share a register become one; touching ones stay apart. Sorted by start."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _glue(spans: Sequence[Span], most: int, gap: int) -> list[Span]:
    """Greedy runs over sorted, disjoint spans: at most `most` registers long, reading through at most `gap` unused."""
    runs: list[Span] = []
    for start, end in spans:
        if runs and start - runs[-1][1] <= gap and end - runs[-1][0] <= most:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def _spans(options: ModbusOptions, wanted: Sequence[tuple[Group, Tag]]) -> list[Span]:
    """Block spans of one table."""
    most, gap = options.max_block_registers, options.readable_gap
    values: list[Span] = []
    rows: list[Span] = []
    for group in dict.fromkeys(group.name for group, _ in wanted):
        members = [(g, t) for g, t in wanted if g.name == group]
        own = members[0][0]
        for k in range(own.points):
            at = [(_first_register(t) + k * own.stride, t.type.registers) for _, t in members]
            row = _union((start, start + n) for start, n in at)
            values.extend(row)
            rows.extend(_glue(row, most, gap))
    atoms = _union(values)
    if too_long := [a for a in atoms if a[1] - a[0] > most]:
        first, last = too_long[0][0], too_long[0][1] - 1
        names = ", ".join(t.name for g, t in wanted if first <= _first_register(t) <= last) or "a tag's later points"
        raise BadInputError(
            f"registers {first} to {last} ({names}) must be read at once and max_block_registers is {most}",
            "raise max_block_registers, or do not let tags overlap",
        )
    units: list[Span] = []
    for start, end in _union(rows):
        if end - start <= most:
            units.append((start, end))
        else:  # rows that interleave over more than a block cannot stay whole without reading registers twice
            units.extend(a for a in atoms if start <= a[0] and a[1] <= end)
    return _glue(units, most, gap)


def plan_reads(options: ModbusOptions, wanted: Sequence[tuple[Group, Tag]]) -> ReadPlan:
    """Fewest blocks that keep rows whole, over any tags of any groups; unit by unit, input registers first.

    Raises BadInputError where a value is longer than max_block_registers.
    """
    blocks: list[Block] = []
    columns: dict[str, Column] = {}
    base = 0
    tables = list(TABLES)
    places = sorted({(g.unit or 0, tables.index(g.table)) for g, _ in wanted})
    for number, k in places:
        unit, table = number or None, tables[k]
        mine = [(g, t) for g, t in wanted if (g.unit, g.table) == (unit, table)]
        spans = _spans(options, mine)
        starts = np.array([s for s, _ in spans], dtype=np.intp)
        counts = np.array([e - s for s, e in spans], dtype=np.intp)
        offsets = base + np.concatenate(([0], np.cumsum(counts)[:-1]))
        base += int(counts.sum())
        blocks.extend(Block(table, s, e - s, unit) for s, e in spans)
        for group, tag in mine:
            words = np.arange(tag.type.registers, dtype=np.intp)
            if (tag.word_order or options.word_order) is WordOrder.LITTLE:
                words = words[::-1]
            rows = _first_register(tag) + np.arange(group.points, dtype=np.intp) * group.stride
            address = rows[:, None] + words
            holder = np.searchsorted(starts, address, side="right") - 1
            turned = (tag.byte_order or options.byte_order) is ByteOrder.LITTLE
            columns[tag.name] = Column(group, tag, offsets[holder] + address - starts[holder], turned)
    return ReadPlan(tuple(blocks), tuple(columns[t.name] for _, t in wanted))


def plan_polls(equipment: Equipment) -> tuple[Poll, ...]:
    """One Poll per period > 0 and unit, shortest first; groups without a period are never read by themselves.

    A unit apart is polled apart: when it is gone, the others are still there.
    """
    options = equipment.modbus or ModbusOptions()
    polls = []
    for period_s, number in sorted({(g.period_s, g.unit or 0) for g in equipment.group if g.period_s > 0}):
        unit = number or None
        groups = tuple(g for g in equipment.group if (g.period_s, g.unit) == (period_s, unit))
        polls.append(Poll(period_s, groups, plan_reads(options, [(g, t) for g in groups for t in g.tag]), unit))
    return tuple(polls)


def describe(equipment: Equipment) -> tuple[GroupReads, ...]:
    """Blocks per group, in the order of the equipment file; groups that are never polled have none."""
    found: dict[str, GroupReads] = {g.name: GroupReads(g.name, g.period_s, ()) for g in equipment.group}
    for poll in plan_polls(equipment):
        needs = [(block, poll.plan.groups_in(block)) for block in poll.plan.blocks]
        for group in poll.groups:
            mine = tuple(block for block, users in needs if group.name in users)
            found[group.name] = GroupReads(group.name, group.period_s, mine)
    return tuple(found.values())


class Schedule:
    """When one Poll is due: a grid of `period_s` plant seconds that begins at `start`."""

    def __init__(self, period_s: float) -> None:
        self.period_ns = max(1, round(period_s * NS_PER_S))
        self.due_ns = 0

    def start(self, now_ns: int) -> None:
        """First poll now: data come at once, and a reconnection makes the gap no longer than it was."""
        self.due_ns = now_ns

    def wait_ns(self, now_ns: int) -> int:
        """Plant nanoseconds until due, 0 when due. A clock that was set back restarts the grid."""
        wait = self.due_ns - now_ns
        if wait > self.period_ns:
            self.due_ns = now_ns
            return 0
        return max(0, wait)

    def take(self, now_ns: int) -> int:
        """Moves to the next grid point after `now_ns`. Returns how many whole periods went by without a poll."""
        missed = max(0, (now_ns - self.due_ns) // self.period_ns)
        self.due_ns += (missed + 1) * self.period_ns
        return missed
