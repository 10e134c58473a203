"""Commanded values -> write requests (function 16). Pure: checks, encodes and merges; sends nothing.

Order is kept. Only registers that were commanded are written, so requests merge where registers touch, never over a
gap. Consecutive set-points of a table with points (a step programme) go point by point: that is still the commanded
order within each point, and its registers then touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from configs.schema import Access, Equipment, Group, ModbusOptions, Tag
from controller.drivers.modbus_codec import encode
from controller.drivers.modbus_plan import Block
from controller.errors import CommandError
from controller.types import Write

MOST_REGISTERS = 123  # Modbus Application Protocol V1.1b3, 6.12


@dataclass(frozen=True, slots=True)
class WriteBlock:
    """One write request: consecutive holding registers (or coils, 0 or 1) from zero-based `start`, and their tags."""

    start: int
    registers: tuple[int, ...]
    tags: tuple[str, ...]
    table: str = "holding"
    unit: int | None = None  # None: the endpoint's

    def __str__(self) -> str:
        return str(Block(self.table, self.start, len(self.registers), self.unit))


@dataclass(frozen=True, slots=True)
class _Piece:
    """One point's value of one tag."""

    tag: str
    address: int
    registers: tuple[int, ...]
    table: str
    unit: int | None


def find_writable(equipment: Equipment, write: Write) -> tuple[Group, Tag]:
    """Group and tag of a write; CommandError where the equipment type does not allow it."""
    found = equipment.find(write.tag)
    if found is None:
        raise CommandError(
            f"tag '{write.tag}' does not exist in equipment type '{equipment.name}'", "nothing was written"
        )
    group, tag = found
    if tag.access is Access.READ or group.table not in {"holding", "coil"}:
        why = {"input": "is an input register", "discrete": "is a discrete input"}.get(group.table, "has access 'read'")
        raise CommandError(
            f"tag '{tag.name}' of equipment type '{equipment.name}' {why} and cannot be written",
            "if the device does take it, give the tag access 'write' or 'command' in a group with table 'holding'",
        )
    if not 1 <= len(write.values) <= group.points:
        many = f"1 to {group.points} values" if group.points > 1 else "1 value"
        raise CommandError(
            f"tag '{tag.name}' takes {many}, not {len(write.values)}",
            "nothing was written",
        )
    return group, tag


def _batches(equipment: Equipment, writes: Sequence[Write]) -> list[list[_Piece]]:
    """Pieces by run of writes that may go point by point together: set-points of one group, each tag once."""
    options = equipment.modbus or ModbusOptions()
    runs: list[tuple[str, list[list[_Piece]]]] = []  # (key of the run, one list of pieces per tag)
    for write in writes:
        group, tag = find_writable(equipment, write)
        rows = encode(tag, write.values, options.word_order, options.byte_order)
        first = int(tag.address)
        pieces = [
            _Piece(tag.name, first + k * group.stride, tuple(int(word) for word in row), group.table, group.unit)
            for k, row in enumerate(rows)
        ]
        by_point = group.points > 1 and tag.access is Access.WRITE
        key = group.name if by_point else ""
        used = {tag_pieces[0].tag for tag_pieces in runs[-1][1]} if runs else set()
        if runs and key and runs[-1][0] == key and tag.name not in used:
            runs[-1][1].append(pieces)
        else:
            runs.append((key, [pieces]))
    batches = []
    for _, tags in runs:
        longest = max(len(pieces) for pieces in tags)
        batches.append([pieces[k] for k in range(longest) for pieces in tags if k < len(pieces)])
    return batches


def plan_writes(equipment: Equipment, writes: Sequence[Write]) -> tuple[WriteBlock, ...]:
    """Write requests for `writes`, all checked before the first is made. Raises CommandError; then nothing is sent."""
    most = min(MOST_REGISTERS, (equipment.modbus or ModbusOptions()).max_block_registers)
    blocks: list[WriteBlock] = []
    for piece in (piece for batch in _batches(equipment, writes) for piece in batch):
        if len(piece.registers) > most:
            raise CommandError(
                f"tag '{piece.tag}' has {len(piece.registers)} registers and max_block_registers is {most}",
                "raise max_block_registers",
            )
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and (last.table, last.unit) == (piece.table, piece.unit)
            and last.start + len(last.registers) == piece.address
            and len(last.registers) + len(piece.registers) <= most
        ):
            tags = last.tags if piece.tag in last.tags else (*last.tags, piece.tag)
            blocks[-1] = replace(last, registers=last.registers + piece.registers, tags=tags)
        else:
            blocks.append(WriteBlock(piece.address, piece.registers, (piece.tag,), piece.table, piece.unit))
    return tuple(blocks)
