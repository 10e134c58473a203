"""Modbus TCP server for any machine whose equipment type speaks Modbus. Frames and sockets only.

A server of our own instead of pymodbus's, for three reasons. Cost: pymodbus 3.16.1 walks every register of every
request in Python (SimRuntime checks flags one by one, PDUs hold lists of int) and took 185 us of CPU for a read of 120
registers where this takes 25 us, because a slice of a big-endian NumPy table is the answer's bytes already (same
client, same machine). Order: it keeps one pending request per connection and answered one of five pipelined ones.
Independence: the controller's client is pymodbus, so a server that is not makes their meeting a test of both.

Framing: MODBUS Messaging on TCP/IP V1.0b (transaction, protocol 0, length, unit). A frame that breaks it closes the
connection, because nothing after it can be trusted.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Mapping

from configs.schema import Equipment
from simulators.machine import Values
from simulators.servers import WriteTag
from simulators.servers.modbus_image import RegisterImage
from simulators.servers.modbus_pdu import GATEWAY_TARGET, answer, exception

_ENDPOINT = re.compile(r"modbus\.tcp://(?P<host>[^/\s:]+):(?P<port>\d+)(?:/(?P<unit>\d+)?)?")
_HEADER = struct.Struct(">HHHB")
MAX_LENGTH = 254  # unit and PDU
# The devices behind a TCP server are addressed as 0 or 255 by clients that do not care.
ANY_UNIT = frozenset({0, 255})


class ModbusServer:
    """Serves one machine. Writes go to `write` in tag units; what it refuses (ValueError) answers exception 3."""

    def __init__(self, equipment: Equipment, endpoint: str, write: WriteTag) -> None:
        found = _ENDPOINT.fullmatch(endpoint)
        if found is None:
            raise ValueError(f"endpoint '{endpoint}' is not modbus.tcp://host:port/unit")
        self._host, self._port = found["host"], int(found["port"])
        self._units = ANY_UNIT | {int(found["unit"] or 1)}
        self._image = RegisterImage(equipment)
        self._write = write
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port)

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Show a scan. No request is answered in between; device time is in the machine's own clock tags."""
        self._image.publish(outputs)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.close()
        if server is not None:
            await server.wait_closed()
        await self._empty.wait()

    def answer(self, unit: int, pdu: bytes) -> bytes:
        """The answer to one request."""
        if unit not in self._units:
            return exception(pdu[0], GATEWAY_TARGET)
        return answer(pdu, self._image, self._write)

    def opened(self, connection: _Connection) -> None:
        """A client has come."""
        self._connections.add(connection)
        self._empty.clear()

    def closed(self, connection: _Connection) -> None:
        """A client has gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class _Connection(asyncio.Protocol):
    """One client: cuts the stream into frames and answers them in order."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)

    def pause_writing(self) -> None:
        # A client that asks and does not read is not asked again until it has read.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Hang up; what has been answered is dropped with the socket."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= MAX_LENGTH:
                self.close()
                return
            end = 6 + length
            if len(self._buffer) < end:
                break
            pdu = self._server.answer(unit, bytes(self._buffer[_HEADER.size : end]))
            del self._buffer[:end]
            answers.append(_HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu)
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))
