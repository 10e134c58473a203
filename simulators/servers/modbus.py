"""Modbus server for any machine whose equipment type speaks Modbus: units, their faults, and who is served.

A server of our own instead of pymodbus's, for three reasons. Cost: pymodbus 3.16.1 walks every register of every
request in Python (SimRuntime checks flags one by one, PDUs hold lists of int) and took 185 us of CPU for a read of 120
registers where this takes 25 us, because a slice of a big-endian NumPy table is the answer's bytes already (same
client, same machine). Order: it keeps one pending request per connection and answered one of five pipelined ones.
Independence: the controller's client is pymodbus, so a server that is not makes their meeting a test of both.

How the bytes come is a port's matter (TCP, TLS, RTU over TCP here, RTU on a serial line in modbus_rtu), how requests
are cut and answers timed that of frames and connections. What the equipment's own server is like, its limits and its
moods, is [modbus.server] of the equipment type.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from configs.endpoint import (
    MODBUS_RTU_SCHEME,
    MODBUS_RTU_TCP_SCHEME,
    MODBUS_SCHEMES,
    MODBUS_TLS_SCHEME,
    Endpoint,
    parse_endpoint,
)
from configs.schema import AbsentUnit, Equipment, Further, ModbusOptions
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.servers import WriteTag
from simulators.servers.modbus_connection import Connection
from simulators.servers.modbus_faults import FAULTS, Trouble
from simulators.servers.modbus_frames import Request, RtuFramer, TcpFramer
from simulators.servers.modbus_pdu import BUSY, GATEWAY_PATH, GATEWAY_TARGET, WRITES, Unit, answer, exception
from simulators.servers.modbus_rtu import SerialPort
from simulators.servers.modbus_tls import server_context

# The device behind a TCP server is addressed as 0 or 255 by clients that do not care (messaging guide, 4.4.2.1).
_ANY_UNIT = (0, 255)


class Port(Protocol):
    """Where clients come in."""

    lasting: bool
    """Whether it is there also while the device is down."""

    async def open(self) -> None:
        """Raises OSError when the address cannot be had."""
        ...

    def close(self) -> None:
        """Take nobody any more; connections are not the port's."""
        ...


class ModbusServer:
    """Serves one machine. Writes go to `write` in tag units; what it refuses (ValueError) answers exception 3."""

    faults: Mapping[str, FaultKind] = FAULTS

    def __init__(self, equipment: Equipment, endpoint: str, write: WriteTag) -> None:
        """Raises ValueError for an endpoint that is none."""
        parts = _parse(endpoint)
        options = equipment.modbus or ModbusOptions()
        self._options = options.server
        self.pipelined = options.server.pipelined
        numbers = dict.fromkeys(group.unit for group in equipment.group)
        self._units = {parts.unit if n is None else n: Unit.of(equipment, n, write) for n in numbers}
        if len(self._units) < len(numbers):
            raise ValueError(f"endpoint '{endpoint}' names unit {parts.unit}, which a group of its own has too")
        self._alone = next(iter(self._units.values())) if len(self._units) == 1 else None
        self._trouble = Trouble(options.server.busy_share)
        self._port = self._build_port(parts)
        self._serving: set[Connection] = set()
        self._queue: deque[Connection] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._up = self._stopped = False
        self._plant_ns: int | None = None

    def _build_port(self, parts: Endpoint) -> Port:
        if parts.scheme == MODBUS_RTU_SCHEME:
            line = parts.serial
            return SerialPort(Path(parts.path), line, lambda framer: Connection(self, framer, line.character_s))
        return _TcpPort(self, parts)

    def keep_in(self, folder: Path) -> None:
        """Certificates are kept there, and made there where they are missing; without it anew at each start.

        Nothing is kept where the endpoint is not encrypted. Raises OSError or ValueError for files of no use.
        """
        if isinstance(self._port, _TcpPort):
            self._port.keep_in(folder)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._up, self._stopped = True, False
        self._trouble.down_ns = None
        await self._port.open()

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Show a scan. No request is answered in between; device time is in the machine's own clock tags.

        After a restart the server listens again from here; raises OSError when the address cannot be had any more.
        """
        for unit in self._units.values():
            unit.image.publish(outputs)
        # A device whose clock is wrong says so in its stamps: only time that goes on is counted.
        gone_ns = 0 if self._plant_ns is None else max(0, plant_ns - self._plant_ns)
        self._plant_ns = plant_ns
        if self._trouble.pass_time(gone_ns) and self._up and not self._port.lasting:
            await self._port.open()

    async def stop(self) -> None:
        """Close the socket and every connection."""
        self._up, self._stopped = False, True
        self._port.close()
        self._drop_clients()
        await self._empty.wait()

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end one of `faults`; acts at once. Raises ValueError for a wrong name or setting."""
        shifted = self._trouble.shift
        self._trouble.switch(name, on, settings)
        if self._trouble.shift != shifted:
            for unit in self._units.values():
                unit.image.shift = self._trouble.shift
            self._drop_clients()  # new firmware has been booted
        if name == "restart" and on and not self._port.lasting:
            self._port.close()
            self._drop_clients()
        elif self._trouble.cut:
            self._drop_clients()

    def _drop_clients(self) -> None:
        for connection in (*self._queue, *self._serving):
            connection.close()

    @property
    def delay_s(self) -> float:
        """Wall seconds that the next answer takes."""
        return self._options.reply_delay_s + self._trouble.extra_delay_s

    def answer(self, request: Request, broadcasts: bool) -> bytes | None:
        """The answer to one request; None for silence. On a serial line nobody speaks for who is not there."""
        trouble = self._trouble
        if trouble.black_hole or trouble.cut or trouble.down_ns is not None:
            return None
        if broadcasts and request.unit == 0:
            if request.pdu[0] in WRITES:
                for unit in self._units.values():
                    answer(request.pdu, unit)
            return None
        found = self._units.get(request.unit)
        if found is None and not broadcasts and request.unit in _ANY_UNIT:
            found = self._alone
        if found is None:
            return None if broadcasts else self._absent(request)
        if trouble.silent is not None and trouble.silent in {0, request.unit}:
            return None if broadcasts else exception(request.pdu[0], GATEWAY_TARGET)
        if trouble.busy():
            return exception(request.pdu[0], BUSY)
        return answer(request.pdu, found)

    def _absent(self, request: Request) -> bytes | None:
        kind = self._options.absent_unit
        if kind is AbsentUnit.SILENCE:
            return None
        return exception(request.pdu[0], GATEWAY_PATH if kind is AbsentUnit.NO_PATH else GATEWAY_TARGET)

    def opened(self, connection: Connection) -> bool:
        """A client has come; False: it shall go."""
        most = self._options.connections
        self._empty.clear()
        if self._trouble.cut or self._stopped:
            self._serving.add(connection)
            return False
        if most and len(self._serving) >= most:
            if self._options.further is Further.REFUSED:
                self._queue.append(connection)  # until it is gone
                return False
            self._queue.append(connection)
            connection.hold(True)
            return True
        self._serving.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """A client has gone; the next of the queue is heard."""
        self._serving.discard(connection)
        if connection in self._queue:
            self._queue.remove(connection)
        elif self._queue and self._options.further is Further.QUEUED:
            following = self._queue.popleft()
            self._serving.add(following)
            following.hold(False)
        if not self._serving and not self._queue:
            self._empty.set()


class _TcpPort:
    """A listening socket: plain, with TLS, or with serial frames."""

    lasting = False

    def __init__(self, server: ModbusServer, parts: Endpoint) -> None:
        self._desk, self._parts = server, parts
        self._secure: ssl.SSLContext | None = None
        self._framer = RtuFramer if parts.scheme == MODBUS_RTU_TCP_SCHEME else TcpFramer
        self._server: asyncio.Server | None = None

    def keep_in(self, folder: Path | None) -> None:
        if self._parts.scheme == MODBUS_TLS_SCHEME:
            self._secure = server_context(folder, self._parts.host)

    async def open(self) -> None:
        if self._secure is None:
            self.keep_in(None)
        loop = asyncio.get_running_loop()
        make = lambda: Connection(self._desk, self._framer())  # noqa: E731
        self._server = await loop.create_server(make, self._parts.host, self._parts.port, ssl=self._secure)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()


def _parse(endpoint: str) -> Endpoint:
    """Parts of a Modbus endpoint. Raises ValueError."""
    scheme, found, _ = endpoint.partition("://")
    try:
        if not found or scheme not in MODBUS_SCHEMES:
            raise ValueError(f"it begins with {', '.join(s + '://' for s in MODBUS_SCHEMES)}")
        parts = parse_endpoint(endpoint)
        _ = parts.unit, parts.serial
    except ValueError as error:
        raise ValueError(f"endpoint '{endpoint}' is not modbus.tcp://host:port/unit or the like: {error}") from None
    return parts
