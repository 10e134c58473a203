"""Registers and bits of one unit as big-endian tables: tags to registers and back. No socket, no protocol frames.

Written apart from the controller's codec on purpose: two equal mistakes would cancel. Layout rules: MODBUS Application
Protocol V1.1b3 (a register is two bytes, high byte first) and, for the order of registers within a value and of bytes
within a register, the equipment type. Addresses inside a group's extent that no tag uses read as 0 and take any write
without effect, or do not exist (modbus.unused_registers); addresses outside every extent do not exist. Bits take one
element of their table each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.schema import Access, ByteOrder, Group, ModbusOptions, Tag, UnusedRegisters, ValueType, WordOrder
from simulators.machine import Values

_Kind = TypeVar("_Kind", bound=np.generic)
Registers = NDArray[np.uint16]  # big-endian in memory, so that a slice's bytes go on the wire as they are

# Raw types, big-endian: byte order of the whole value; the order of registers is turned afterwards where asked for.
_RAW = {
    ValueType.BOOL: ">u2",
    ValueType.INT16: ">i2",
    ValueType.UINT16: ">u2",
    ValueType.INT32: ">i4",
    ValueType.UINT32: ">u4",
    ValueType.INT64: ">i8",
    ValueType.UINT64: ">u8",
    ValueType.FLOAT32: ">f4",
    ValueType.FLOAT64: ">f8",
}
_ADDRESSES = 65_536
_WRITABLE = ("holding", "coil")
TABLES = ("input", "holding", "discrete", "coil")


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
    swapped: bool  # low byte first
    cells: Registers  # (points, registers per value), a view of the table

    def encode(self, values: Values) -> None:
        """Put values (points,) into the table; integers are rounded and saturate, NaN then reads as 0."""
        raw = np.dtype(_RAW[self.tag.type])
        counts = (values - self.tag.offset) / self.tag.scale
        if raw.kind != "f":
            info = np.iinfo(raw)
            # The greatest double that the type holds: 2^63 - 1 would round up to 2^63.
            high = float(info.max) if raw.itemsize < 8 else float(np.nextafter(float(info.max), 0))
            counts = np.clip(np.rint(np.nan_to_num(counts)), info.min, high)
        words = counts.astype(raw).view(">u2").reshape(self.points, -1)
        words = words.byteswap() if self.swapped else words
        self.cells[:] = words[:, ::-1] if self.turned else words

    def decode(self, table: Registers, points: int) -> Values:
        """Values of the first `points` points, from any table of the same layout."""
        width = self.cells.shape[1]
        words = _cells(table, self.address, self.stride, points, width)
        straight = np.ascontiguousarray(words[:, ::-1] if self.turned else words)
        straight = straight.byteswap() if self.swapped else straight
        counts = straight.view(_RAW[self.tag.type])[:, 0].astype(np.float64)
        values: Values = counts * self.tag.scale + self.tag.offset
        return values


def _cells(table: NDArray[_Kind], address: int, stride: int, points: int, width: int) -> NDArray[_Kind]:
    """View (points, width) of the elements of one tag."""
    return np.lib.stride_tricks.as_strided(
        table[address:], shape=(points, width), strides=(stride * table.itemsize, table.itemsize)
    )


class RegisterImage:
    """What one unit shows now, and what its clients have written."""

    def __init__(self, groups: Sequence[Group], options: ModbusOptions) -> None:
        self.shift = 0  # registers that the whole map lies higher than it should
        self.max_block = options.max_block_registers
        tables = [name for name in TABLES if any(group.table == name for group in groups)]
        self._table = {name: np.zeros(_ADDRESSES, dtype=">u2") for name in tables}
        self._exists = {name: np.zeros(_ADDRESSES, dtype=np.bool_) for name in tables}
        # Per writable element: index of the column that it belongs to, or -1; point and word within it.
        self._owner = {n: np.full((_ADDRESSES, 3), -1, dtype=np.int32) for n in tables if n in _WRITABLE}
        self._columns: list[_Column] = []
        for group in groups:
            self._add_group(group, options)

    @property
    def tables(self) -> frozenset[str]:
        """Tables in which this unit has anything."""
        return frozenset(self._table)

    def _add_group(self, group: Group, options: ModbusOptions) -> None:
        first, last = _ADDRESSES, 0
        exists, owner = self._exists[group.table], self._owner.get(group.table)
        for tag in group.tag:
            if not isinstance(tag.address, int):
                raise ValueError(f"tag '{tag.name}' has no register number")
            width, stride = tag.type.registers, group.stride or tag.type.registers
            cells = _cells(self._table[group.table], tag.address, stride, group.points, width)
            _cells(exists, tag.address, stride, group.points, width)[:] = True
            if owner is not None:
                for point in range(group.points):
                    for word in range(width):
                        owner[tag.address + point * stride + word] = (len(self._columns), point, word)
            turned = (tag.word_order or options.word_order) is WordOrder.LITTLE
            swapped = (tag.byte_order or options.byte_order) is ByteOrder.LITTLE
            self._columns.append(_Column(tag, group.points, tag.address, stride, turned, swapped, cells))
            first = min(first, tag.address)
            last = max(last, tag.address + (group.points - 1) * stride + width)
        if options.unused_registers is UnusedRegisters.ZERO:
            exists[first:last] = True

    def publish(self, outputs: Mapping[str, Values]) -> None:
        """Show one scan, whole: nothing else runs while this does. Raises KeyError for a tag that the machine lacks."""
        for column in self._columns:
            column.encode(outputs[column.tag.name])

    def read(self, table: str, address: int, count: int) -> Registers:
        """`count` elements of a table, a view. Raises IllegalAddressError."""
        first = address - self.shift
        end = first + count
        if first < 0 or end > _ADDRESSES or not self._exists[table][first:end].all():
            raise IllegalAddressError
        return self._table[table][first:end]

    def write(self, table: str, address: int, words: Registers, write_tag: Callable[[str, Values], None]) -> None:
        """Write elements: each touched tag goes to `write_tag`, from its first point to the last touched one.

        Raises IllegalAddressError for elements that do not exist, are read-only, or are only a part of a value, and
        IllegalValueError outside a tag's limits; nothing is written then. Where `write_tag` itself refuses
        (ValueError), tags with lower addresses have been taken, and this also raises IllegalValueError.
        """
        first = address - self.shift
        end = first + len(words)
        if first < 0 or end > _ADDRESSES or not self._exists[table][first:end].all():
            raise IllegalAddressError
        new = self._table[table].copy()
        new[first:end] = words
        changes = []
        for column, last in self._touched(table, first, end):
            values = column.decode(new, last + 1)
            if _outside(column.tag, values[self._first_touched(column, first) :]):
                raise IllegalValueError
            changes.append((column.tag.name, values))
        for name, values in changes:
            try:
                write_tag(name, values)
            except ValueError as refusal:
                raise IllegalValueError from refusal
        self._table[table][first:end] = new[first:end]

    def _touched(self, table: str, first: int, end: int) -> list[tuple[_Column, int]]:
        """Columns in the range by address, each with the last point that is touched. Raises IllegalAddressError."""
        owner = self._owner[table][first:end]
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
