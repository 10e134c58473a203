"""Cuts a stream of bytes into Modbus requests and wraps answers, for TCP and for RTU. Pure; no socket, no time.

TCP: MODBUS Messaging on TCP/IP V1.0b (transaction, protocol 0, length, unit). A frame that breaks it ends the
connection, because nothing after it can be trusted. RTU: MODBUS over serial line V1.02, 2.5.1 (unit, PDU, CRC-16 with
the low byte first). A serial line ends frames by silence, which the port measures; over TCP there is none, so the
length follows from the function code.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

_HEADER = struct.Struct(">HHHB")
_MAX_LENGTH = 254  # unit and PDU
_MAX_RTU_FRAME = 256
_FIXED = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
_COUNTED = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}  # function -> place of the byte count


class FramingError(Exception):
    """Bytes that are no Modbus frame: nothing after them can be told apart either."""


class Request(NamedTuple):
    """One request: for whom, what, and what its answer has to carry to be known as such."""

    unit: int
    pdu: bytes
    transaction: int = 0


class Framer(Protocol):
    """One direction of one connection."""

    broadcasts: bool
    """Whether unit 0 is everybody, who then do not answer."""

    def feed(self, data: bytes) -> list[Request]:
        """Complete requests, with what came before. Raises FramingError."""
        ...

    def wrap(self, request: Request, pdu: bytes) -> bytes:
        """The answer's bytes."""
        ...


class TcpFramer:
    """Frames with a header that says how long they are."""

    broadcasts = False

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Complete requests. Raises FramingError; requests before the broken frame are lost with the connection."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                raise FramingError
            end = 6 + length
            if len(self._buffer) < end:
                break
            found.append(Request(unit, bytes(self._buffer[_HEADER.size : end]), transaction))
            del self._buffer[:end]
        return found

    def wrap(self, request: Request, pdu: bytes) -> bytes:
        """Header with the request's transaction, then the PDU."""
        return _HEADER.pack(request.transaction, 0, len(pdu) + 1, request.unit) + pdu


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes) -> bytes:
    """CRC of a frame as it goes on the line, low byte first (V1.02, 6.2.2: polynomial A001 hex, start FFFF hex)."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def request_length(data: bytes | bytearray) -> int | None:
    """Bytes of the RTU request that `data` begins with, as far as can be told; None for an unknown function."""
    if len(data) < 2:
        return 4
    function = data[1]
    if function in _FIXED:
        return _FIXED[function]
    if function not in _COUNTED:
        return None
    at = _COUNTED[function]
    return at + 3 + data[at] if len(data) > at else at + 3


class RtuFramer:
    """Frames with a checksum. Broken ones are dropped: on a serial line nobody can be told."""

    broadcasts = True

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.dropped = 0  # frames, or what may have been some

    def feed(self, data: bytes) -> list[Request]:
        """Complete requests. What cannot be one is dropped with all that has come: the next one starts afresh."""
        self._buffer += data
        found = []
        while self._buffer:
            length = request_length(self._buffer)
            if length is None or length > _MAX_RTU_FRAME:
                # An unknown function has no known length: it is one frame if what has come together checks.
                length = len(self._buffer) if len(self._buffer) >= 4 else _MAX_RTU_FRAME
            if len(self._buffer) < length:
                break
            frame = bytes(self._buffer[:length])
            if crc16(frame[:-2]) != frame[-2:]:
                self.drop()
                break
            del self._buffer[:length]
            found.append(Request(frame[0], frame[1:-2]))
        return found

    def drop(self) -> None:
        """Forget a frame that has not been completed."""
        if self._buffer:
            self.dropped += 1
            self._buffer.clear()

    def wrap(self, request: Request, pdu: bytes) -> bytes:
        """Unit, PDU and checksum."""
        frame = bytes((request.unit,)) + pdu
        return frame + crc16(frame)
