"""Registers of one equipment type as two big-endian tables: tags to registers and back. No socket, no protocol frames.

Written apart from the controller's codec on purpose: two equal mistakes would cancel. Layout rules: MODBUS Application
Protocol V1.1b3 (a register is two bytes, high byte first) and, for the order of registers within a value, the equipment
type. Addresses inside a group's extent that no tag uses read as 0 and take any write without effect; addresses outside
every extent do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import Access, Equipment, Group, Tag, ValueType, WordOrder
from simulators.machine import Values

Registers = NDArray[np.uint16]  # big-endian in memory, so that a slice's bytes go on the wire as they are

# Raw types, big-endian: byte order of the whole value; the order of registers is turned afterwards where asked for.
_RAW = {
    ValueType.BOOL: ">u2",
    ValueType.INT16: ">i2",
    ValueType.UINT16: ">u2",
    ValueType.INT32: ">i4",
    ValueType.UINT32: ">u4",
    ValueType.FLOAT32: ">f4",
    ValueType.FLOAT64: ">f8",
}
_ADDRESSES = 65_536


class IllegalAddressError(Exception):
    """The request touches a register that does not exist or cannot be written."""


class IllegalValueError(Exception):
    """The equipment does not take this value."""


def _outside(tag: Tag, values: Values) -> bool:
    low = -np.inf if tag.min is None else tag.min
    high = np.inf if tag.max is None else tag.max
    return not bool(np.isfinite(values).all() and (values >= low).all() and (values <= high).all())


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One tag in its table."""

    tag: Tag
    points: int
    address: int
    stride: int
    turned: bool  # low word first
    cells: Registers  # (points, registers per value), a view of the table

    def encode(self, values: Values) -> None:
        """Put values (points,) into the table; integers are rounded and saturate, NaN then reads as 0."""
        raw = np.dtype(_RAW[self.tag.type])
        counts = (values - self.tag.offset) / self.tag.scale
        if raw.kind != "f":
            info = np.iinfo(raw)
            counts = np.clip(np.rint(np.nan_to_num(counts)), info.min, info.max)
        words = counts.astype(raw).view(">u2").reshape(self.points, -1)
        self.cells[:] = words[:, ::-1] if self.turned else words

    def decode(self, table: Registers, points: int) -> Values:
        """Values of the first `points` points, from any table of the same layout."""
        width = self.cells.shape[1]
        words = _cells(table, self.address, self.stride, points, width)
        straight = np.ascontiguousarray(words[:, ::-1] if self.turned else words)
        counts = straight.view(_RAW[self.tag.type])[:, 0].astype(np.float64)
        values: Values = counts * self.tag.scale + self.tag.offset
        return values


def _cells(table: Registers, address: int, stride: int, points: int, width: int) -> Registers:
    """View (points, width) of the registers of one tag."""
    cells: Registers = np.lib.stride_tricks.as_strided(
        table[address:], shape=(points, width), strides=(stride * table.itemsize, table.itemsize)
    )
    return cells


class RegisterImage:
    """What the equipment shows now, and what its clients have written."""

    def __init__(self, equipment: Equipment) -> None:
        word_order = WordOrder.BIG if equipment.modbus is None else equipment.modbus.word_order
        self._table = {name: np.zeros(_ADDRESSES, dtype=">u2") for name in ("input", "holding")}
        self._exists = {name: np.zeros(_ADDRESSES, dtype=np.bool_) for name in ("input", "holding")}
        self._columns: list[_Column] = []
        # Per holding register: index of the column that it belongs to, or -1; point and word within it.
        self._owner = np.full((_ADDRESSES, 3), -1, dtype=np.int32)
        for group in equipment.group:
            self._add_group(group, word_order is WordOrder.LITTLE)

    def _add_group(self, group: Group, turned: bool) -> None:
        first, last = _ADDRESSES, 0
        for tag in group.tag:
            if not isinstance(tag.address, int):
                raise ValueError(f"tag '{tag.name}' has no register number")
            width, stride = tag.type.registers, group.stride or tag.type.registers
            cells = _cells(self._table[group.table], tag.address, stride, group.points, width)
            if group.table == "holding":
                for point in range(group.points):
                    for word in range(width):
                        self._owner[tag.address + point * stride + word] = (len(self._columns), point, word)
            self._columns.append(_Column(tag, group.points, tag.address, stride, turned, cells))
            first = min(first, tag.address)
            last = max(last, tag.address + (group.points - 1) * stride + width)
        self._exists[group.table][first:last] = True

    def publish(self, outputs: Mapping[str, Values]) -> None:
        """Show one scan, whole: nothing else runs while this does. Raises KeyError for a tag that the machine lacks."""
        for column in self._columns:
            column.encode(outputs[column.tag.name])

    def read(self, table: str, address: int, count: int) -> bytes:
        """The bytes of `count` registers. Raises IllegalAddressError."""
        end = address + count
        if end > _ADDRESSES or not self._exists[table][address:end].all():
            raise IllegalAddressError
        return self._table[table][address:end].tobytes()

    def write(self, address: int, data: bytes, write_tag: Callable[[str, Values], None]) -> None:
        """Write holding registers: each touched tag goes to `write_tag`, from its first point to the last touched one.

        Raises IllegalAddressError for registers that do not exist, are read-only, or are only a part of a value, and
        IllegalValueError outside a tag's limits; nothing is written then. Where `write_tag` itself refuses
        (ValueError), tags with lower addresses have been taken, and this also raises IllegalValueError.
        """
        end = address + len(data) // 2
        if end > _ADDRESSES or not self._exists["holding"][address:end].all():
            raise IllegalAddressError
        new = self._table["holding"].copy()
        new[address:end] = np.frombuffer(data, dtype=">u2")
        changes = []
        for column, last in self._touched(address, end):
            values = column.decode(new, last + 1)
            if _outside(column.tag, values[self._first_touched(column, address) :]):
                raise IllegalValueError
            changes.append((column.tag.name, values))
        for name, values in changes:
            try:
                write_tag(name, values)
            except ValueError as refusal:
                raise IllegalValueError from refusal
        self._table["holding"][address:end] = new[address:end]

    def _touched(self, address: int, end: int) -> list[tuple[_Column, int]]:
        """Columns in the range by address, each with the last point that is touched. Raises IllegalAddressError."""
        owner = self._owner[address:end]
        found = []
        for index in np.unique(owner[owner[:, 0] >= 0, 0]):
            column = self._columns[int(index)]
            mine = owner[owner[:, 0] == index]
            # A value is written whole or not at all: half a float is a number that nobody meant.
            if column.tag.access is Access.READ or len(mine) % column.cells.shape[1]:
                raise IllegalAddressError
            found.append((column, int(mine[:, 1].max())))
        return sorted(found, key=lambda pair: pair[0].address)

    @staticmethod
    def _first_touched(column: _Column, address: int) -> int:
        return max(0, -(-(address - column.address) // column.stride))
