"""A gateway: several simulated machines, each with a process of its own, under one Modbus TCP endpoint by unit number.

Devices of a line whose endpoints differ in the unit alone stand behind one gateway. Each serves a private port, which
it writes into the run folder; the process of the first one in the line file is also the gateway box, and takes the
others along when it goes. The gateway asks each machine one thing at a time, as a serial line would. Exceptions
(Application Protocol V1.1b3, 7): 10 for a unit that it has no route to, 11 for one that does not answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from configs.endpoint import MODBUS_SCHEME, parse_endpoint
from configs.schema import Device, Equipment
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.servers import Server, WriteTag
from simulators.servers.modbus_frames import FramingError, Request, TcpFramer
from simulators.servers.modbus_pdu import GATEWAY_PATH, GATEWAY_TARGET, exception

ANSWER_S = 0.4
"""Wall seconds that a unit has for its answer: less than the second that a client usually waits for the gateway."""

_READ_BYTES = 4096

BuildServer = Callable[[Equipment, str, WriteTag], Server]


def behind_gateway(build: BuildServer, devices: Sequence[Device], device: str, out: Path) -> BuildServer:
    """`build`, with a gateway where other devices of the line have the same host and port."""
    mine = parse_endpoint(next(d.endpoint for d in devices if d.id == device))
    shared = [d for d in devices if parse_endpoint(d.endpoint).listens_on == mine.listens_on]
    if mine.scheme != MODBUS_SCHEME or len(shared) == 1:
        return build

    def build_shared(equipment: Equipment, endpoint: str, write: WriteTag) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        inner = build(equipment, f"{MODBUS_SCHEME}://127.0.0.1:{port}/{mine.unit}", write)
        routes = {parse_endpoint(d.endpoint).unit: _port_file(out, d.id) for d in shared}
        front = Gateway(mine.host, mine.port, routes) if shared[0].id == device else None
        return UnitServer(inner, port, _port_file(out, device), front)

    return build_shared


def _port_file(out: Path, device: str) -> Path:
    return out / "gateway" / f"{device}.port"


class UnitServer:
    """One machine behind a gateway, and in the first machine's process the gateway too. A Server, and Faultable."""

    def __init__(self, inner: Server, port: int, port_file: Path, front: Gateway | None) -> None:
        self._inner, self._port, self._port_file, self._front = inner, port, port_file, front
        self.faults: Mapping[str, FaultKind] = getattr(inner, "faults", {})

    async def start(self) -> None:
        """Raises OSError when an address or the run folder cannot be had."""
        await self._inner.start()
        self._port_file.parent.mkdir(parents=True, exist_ok=True)
        self._port_file.write_text(f"{self._port}\n", encoding="ascii")
        if self._front is not None:
            await self._front.start()

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """As the machine's server."""
        await self._inner.publish(outputs, plant_ns)

    async def stop(self) -> None:
        """The machine's server, and the gateway where it is ours."""
        if self._front is not None:
            await self._front.stop()
        self._port_file.unlink(missing_ok=True)
        await self._inner.stop()

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """As the machine's server: the gateway itself stays well."""
        self._inner.fault(name, on, settings)  # type: ignore[attr-defined]


class Gateway:
    """Takes clients on one endpoint and hands each request to the unit that it names."""

    def __init__(self, host: str, port: int, routes: Mapping[int, Path]) -> None:
        """`routes`: unit -> file that holds the port it serves now."""
        self._host, self._port = host, port
        self._units = {unit: _Unit(file) for unit, file in routes.items()}
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._server = await asyncio.start_server(self._welcome, self._host, self._port)

    async def stop(self) -> None:
        """Close every connection, to clients and to units."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for unit in self._units.values():
            unit.close()

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = TcpFramer()
        try:
            while data := await reader.read(_READ_BYTES):
                for request in framer.feed(data):
                    writer.write(framer.wrap(request, await self._answer(request)))
                    await writer.drain()
        except (FramingError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, request: Request) -> bytes:
        unit = self._units.get(request.unit)
        if unit is None:
            return exception(request.pdu[0], GATEWAY_PATH)
        try:
            return await unit.ask(request)
        except (OSError, EOFError, ValueError):  # TimeoutError is an OSError
            return exception(request.pdu[0], GATEWAY_TARGET)


class _Unit:
    """The gateway's line to one machine."""

    def __init__(self, port_file: Path) -> None:
        self._port_file = port_file
        self._lock = asyncio.Lock()
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> bytes:
        """The PDU of its answer. Raises OSError, EOFError or ValueError where there is none."""
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._exchange(request)
            except BaseException:
                self.close()  # an answer that comes later has nowhere to go
                raise

    async def _exchange(self, request: Request) -> bytes:
        if self._line is None:
            port = int(self._port_file.read_text(encoding="ascii"))
            self._line = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = self._line
        writer.write(TcpFramer().wrap(request, request.pdu))
        header = await reader.readexactly(7)
        pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
        if header[:2] != request.transaction.to_bytes(2, "big") or header[6] != request.unit:
            raise ValueError("an answer to something else")
        return pdu

    def close(self) -> None:
        """Hang up."""
        line, self._line = self._line, None
        if line is not None:
            line[1].transport.abort()
