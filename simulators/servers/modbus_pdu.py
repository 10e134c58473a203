"""Answers Modbus requests from a register image: bytes in, bytes out. No socket.

MODBUS Application Protocol V1.1b3: functions 3, 4, 6 and 16; everything else is exception 1 (illegal function).
"""

from __future__ import annotations

import struct

from simulators.servers import WriteTag
from simulators.servers.modbus_image import IllegalAddressError, IllegalValueError, RegisterImage

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, GATEWAY_TARGET = 1, 2, 3, 11
MAX_READ, MAX_WRITE = 125, 123


def exception(function: int, code: int) -> bytes:
    """The exception answer to a function."""
    return bytes((function | 0x80, code))


def answer(pdu: bytes, image: RegisterImage, write_tag: WriteTag) -> bytes:
    """The answer to one request (function code and data, at least one byte)."""
    function = pdu[0]
    try:
        if function in {READ_HOLDING, READ_INPUT}:
            return _read(pdu, image)
        if function == WRITE_ONE:
            return _write_one(pdu, image, write_tag)
        if function == WRITE_MANY:
            return _write_many(pdu, image, write_tag)
    except IllegalAddressError:
        return exception(function, ILLEGAL_ADDRESS)
    except IllegalValueError:
        return exception(function, ILLEGAL_VALUE)
    return exception(function, ILLEGAL_FUNCTION)


def _read(pdu: bytes, image: RegisterImage) -> bytes:
    if len(pdu) != 5:
        raise IllegalValueError
    function, address, count = struct.unpack(">BHH", pdu)
    if not 1 <= count <= MAX_READ:
        raise IllegalValueError
    data = image.read("holding" if function == READ_HOLDING else "input", address, count)
    return bytes((function, len(data))) + data


def _write_one(pdu: bytes, image: RegisterImage, write_tag: WriteTag) -> bytes:
    if len(pdu) != 5:
        raise IllegalValueError
    (address,) = struct.unpack(">H", pdu[1:3])
    image.write(address, pdu[3:], write_tag)
    return pdu


def _write_many(pdu: bytes, image: RegisterImage, write_tag: WriteTag) -> bytes:
    if len(pdu) < 6:
        raise IllegalValueError
    address, count, length = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= MAX_WRITE or length != 2 * count or len(pdu) != 6 + length:
        raise IllegalValueError
    image.write(address, pdu[6:], write_tag)
    return pdu[:5]
