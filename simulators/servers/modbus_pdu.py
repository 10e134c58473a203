"""Answers Modbus requests from a register image: bytes in, bytes out. No socket, no time.

MODBUS Application Protocol V1.1b3, section 6: functions 1 to 6, 15, 16, 22, 23 and 43/14, each where the unit has its
table; everything else is exception 1 (illegal function). Diagnostics, file records and FIFO queues are not offered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from configs.schema import Equipment, ModbusOptions
from simulators.servers import WriteTag
from simulators.servers.modbus_image import IllegalAddressError, IllegalValueError, RegisterImage, Registers

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_ONE = 1, 2, 3, 4, 5, 6
WRITE_COILS, WRITE_MANY, MASK_WRITE, READ_WRITE, IDENTIFY = 15, 16, 22, 23, 43
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY, GATEWAY_PATH, GATEWAY_TARGET = 1, 2, 3, 6, 10, 11
MAX_READ, MAX_WRITE, MAX_WRITE_AFTER_READ = 125, 123, 121
MAX_READ_BITS, MAX_WRITE_BITS = 2000, 1968
_MEI_IDENTIFICATION = 14
_MAX_OBJECTS_BYTES = 253 - 7

WRITES = frozenset({WRITE_COIL, WRITE_ONE, WRITE_COILS, WRITE_MANY, MASK_WRITE})
"""What may be broadcast on a serial line."""

TABLE_OF = {READ_COILS: "coil", READ_DISCRETE: "discrete", READ_HOLDING: "holding", READ_INPUT: "input"}
_NEEDS = TABLE_OF | {
    WRITE_COIL: "coil", WRITE_COILS: "coil",
    WRITE_ONE: "holding", WRITE_MANY: "holding", MASK_WRITE: "holding", READ_WRITE: "holding",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """What answers under one unit number."""

    image: RegisterImage
    write: WriteTag
    functions: frozenset[int]
    objects: Mapping[int, str]  # of the device identification

    @classmethod
    def of(cls, equipment: Equipment, number: int | None, write: WriteTag) -> Unit:
        """The groups of `equipment` that lie under `number` (None: those that name none)."""
        options = equipment.modbus or ModbusOptions()
        image = RegisterImage([g for g in equipment.group if g.unit == number], options)
        able = {code for code, table in _NEEDS.items() if table in image.tables} | {IDENTIFY}
        offered = able if options.server.functions is None else able.intersection(options.server.functions)
        part = "" if number is None else f" unit {number}"
        objects = {
            0: "celltwin", 1: equipment.name, 2: _ascii(options.server.revision or options.revision or "1.0"),
            4: _ascii(equipment.title), 5: equipment.name + part,
        }  # fmt: skip
        return cls(image, write, frozenset(offered), objects)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:100]


def exception(function: int, code: int) -> bytes:
    """The exception answer to a function."""
    return bytes((function | 0x80, code))


def answer(pdu: bytes, unit: Unit) -> bytes:
    """The answer to one request (function code and data, at least one byte)."""
    function = pdu[0]
    if function not in unit.functions:
        return exception(function, ILLEGAL_FUNCTION)
    try:
        return _ANSWERS[function](pdu, unit)
    except IllegalAddressError:
        return exception(function, ILLEGAL_ADDRESS)
    except IllegalValueError:
        return exception(function, ILLEGAL_VALUE)


def _fields(form: str, pdu: bytes) -> tuple[int, ...]:
    """All of a request of fixed length."""
    if len(pdu) != struct.calcsize(form):
        raise IllegalValueError
    return struct.unpack(form, pdu)


def _check(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise IllegalValueError


def _read(pdu: bytes, unit: Unit) -> bytes:
    function, address, count = _fields(">BHH", pdu)
    _check(count, min(MAX_READ, unit.image.max_block))
    data = unit.image.read(TABLE_OF[function], address, count).tobytes()
    return bytes((function, len(data))) + data


def _read_bits(pdu: bytes, unit: Unit) -> bytes:
    function, address, count = _fields(">BHH", pdu)
    _check(count, MAX_READ_BITS)
    bits = unit.image.read(TABLE_OF[function], address, count) != 0
    data = np.packbits(bits, bitorder="little").tobytes()
    return bytes((function, len(data))) + data


def _words(data: bytes) -> Registers:
    return np.frombuffer(data, dtype=">u2")


def _write_one(pdu: bytes, unit: Unit) -> bytes:
    _, address, _ = _fields(">BHH", pdu)
    unit.image.write("holding", address, _words(pdu[3:]), unit.write)
    return pdu


def _write_coil(pdu: bytes, unit: Unit) -> bytes:
    _, address, value = _fields(">BHH", pdu)
    if value not in {0x0000, 0xFF00}:
        raise IllegalValueError
    unit.image.write("coil", address, np.array([value != 0], dtype=">u2"), unit.write)
    return pdu


def _write_many(pdu: bytes, unit: Unit) -> bytes:
    if len(pdu) < 6:
        raise IllegalValueError
    address, count, length = struct.unpack(">HHB", pdu[1:6])
    _check(count, min(MAX_WRITE, unit.image.max_block))
    if length != 2 * count or len(pdu) != 6 + length:
        raise IllegalValueError
    unit.image.write("holding", address, _words(pdu[6:]), unit.write)
    return pdu[:5]


def _write_coils(pdu: bytes, unit: Unit) -> bytes:
    if len(pdu) < 6:
        raise IllegalValueError
    address, count, length = struct.unpack(">HHB", pdu[1:6])
    _check(count, MAX_WRITE_BITS)
    if length != (count + 7) // 8 or len(pdu) != 6 + length:
        raise IllegalValueError
    bits = np.unpackbits(np.frombuffer(pdu[6:], dtype=np.uint8), bitorder="little")[:count]
    unit.image.write("coil", address, bits.astype(">u2"), unit.write)
    return pdu[:5]


def _mask_write(pdu: bytes, unit: Unit) -> bytes:
    """Result = (present AND and-mask) OR (or-mask AND NOT and-mask); V1.1b3, 6.16."""
    _, address, both, either = _fields(">BHHH", pdu)
    present = int(unit.image.read("holding", address, 1)[0])
    word = (present & both) | (either & ~both & 0xFFFF)
    unit.image.write("holding", address, np.array([word], dtype=">u2"), unit.write)
    return pdu


def _read_write(pdu: bytes, unit: Unit) -> bytes:
    """Writes first, then reads; V1.1b3, 6.17. A read that cannot be is refused before anything is written."""
    if len(pdu) < 10:
        raise IllegalValueError
    read_at, read_count, write_at, write_count, length = struct.unpack(">HHHHB", pdu[1:10])
    _check(read_count, min(MAX_READ, unit.image.max_block))
    _check(write_count, min(MAX_WRITE_AFTER_READ, unit.image.max_block))
    if length != 2 * write_count or len(pdu) != 10 + length:
        raise IllegalValueError
    unit.image.read("holding", read_at, read_count)
    unit.image.write("holding", write_at, _words(pdu[10:]), unit.write)
    data = unit.image.read("holding", read_at, read_count).tobytes()
    return bytes((READ_WRITE, len(data))) + data


def _identify(pdu: bytes, unit: Unit) -> bytes:
    """Device identification, V1.1b3, 6.21: streams 1 (basic) and 2 (regular), and one object (4). None is extended."""
    function, mei, kind, first = _fields(">BBBB", pdu)
    if mei != _MEI_IDENTIFICATION or not 1 <= kind <= 4:
        raise IllegalValueError
    if kind == 4:
        if first not in unit.objects:
            raise IllegalAddressError
        wanted = [first]
    else:
        mine = [number for number in unit.objects if kind > 1 or number <= 2]
        wanted = [number for number in mine if number >= first] if first in mine else mine
    data, more, following, sent = b"", 0, 0, 0
    for number in wanted:
        # New firmware that has moved the map says that it is new.
        text = (unit.objects[number] + ("+shifted" if number == 2 and unit.image.shift else "")).encode()
        if len(data) + 2 + len(text) > _MAX_OBJECTS_BYTES:
            more, following = 0xFF, number
            break
        data += bytes((number, len(text))) + text
        sent += 1
    return bytes((function, mei, kind, 0x82, more, following, sent)) + data


_ANSWERS: Mapping[int, Callable[[bytes, Unit], bytes]] = {
    READ_COILS: _read_bits, READ_DISCRETE: _read_bits, READ_HOLDING: _read, READ_INPUT: _read,
    WRITE_COIL: _write_coil, WRITE_ONE: _write_one, WRITE_COILS: _write_coils, WRITE_MANY: _write_many,
    MASK_WRITE: _mask_write, READ_WRITE: _read_write, IDENTIFY: _identify,
}  # fmt: skip
