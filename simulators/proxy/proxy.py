"""The proxy: listens, pairs every client with a connection to the target, and breaks what it is told to break.

Sockets are its own down to accept: a cut closes the listening socket at once and a mend opens it at once, both within
one call. Meanwhile a second socket that is bound and does not listen keeps the port, so that nobody else gets it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter, deque
from dataclasses import dataclass, field

from simulators.faults import Settings
from simulators.proxy.connection import Connection, End, Shared, Streams, hang_up
from simulators.proxy.frames import MAX_STRAYS
from simulators.proxy.kinds import NETWORK_FAULTS, Broken, Direction, check

Address = tuple[str, int]

MAX_CONNECTIONS = 256
"""At once; more wait in the system's queue. Bounds memory: each holds at most some hundred kilobytes."""
_BACKLOG = 128
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_FULL_PAUSE_S = 0.5


@dataclass(slots=True)
class Counters:
    """Since the proxy was made."""

    connections: int = 0
    refused: int = 0  # connections whose target did not answer
    bytes: Counter[Direction] = field(default_factory=Counter)  # delivered
    applied: Counter[str] = field(default_factory=Counter)  # pieces, replies or connections, by kind of fault

    def line(self) -> str:
        """In one line, for people."""
        parts = [f"connections={self.connections}", f"refused={self.refused}"]
        parts += [f"{way.value}={self.bytes[way]}B" for way in Direction]
        return " ".join(parts + [f"{kind}={count}" for kind, count in sorted(self.applied.items())])


class FaultProxy:
    """TCP between clients of `listen` and `target`. Faultable: see NETWORK_FAULTS."""

    faults = NETWORK_FAULTS

    def __init__(self, listen: Address, target: Address, modbus: bool = False, seed: int = 0) -> None:
        """`modbus`: Modbus TCP passes, so that replies can be told apart. Opens nothing."""
        self._listen, self._target = listen, target
        self._broken = Broken(modbus, seed)
        self._counters = Counters()
        self._gates = {way: asyncio.Event() for way in Direction}
        self._strays: deque[bytes] | None = deque(maxlen=MAX_STRAYS) if modbus else None
        self._shared = Shared(
            self._broken, self._connect, self._delivered, self._gates, self._strays, self._target_refused
        )
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._halves: list[Connection] = []
        self._where: tuple[socket.AddressFamily, tuple[object, ...]] | None = None
        self._keeper: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._set_gates()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._keeper.getsockname()[1]) if self._keeper is not None else self._listen[1]

    @property
    def open_connections(self) -> int:
        """Clients that are connected now."""
        return len(self._open)

    @property
    def counters(self) -> Counters:
        """What has passed and what was done to it."""
        counters = self._counters
        applied = sum((lane.applied for each in self._open for lane in each.lanes.values()), counters.applied.copy())
        return Counters(counters.connections, counters.refused, counters.bytes.copy(), applied)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        host, port = self._listen
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Where a name has addresses of both kinds, the one that every client tries.
        family, _, _, _, address = min(found, key=lambda each: each[0] is not socket.AF_INET)
        self._keeper = _bound(family, address)
        self._where = family, (address[0], self.port, *address[2:])
        try:
            if self._broken.get("net_cut") is None:
                self._begin_to_listen()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every socket. Safe at any time."""
        self._stop_listening()
        for connection in self._open:
            connection.end(End.CLOSE)
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def check(self, name: str, settings: Settings) -> None:
        """Raises ValueError for settings that `fault` would not take."""
        check(name, settings, self._broken.modbus)

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end a fault; see Faultable. Raises ValueError for settings that it cannot take."""
        begun = self._broken.switch(name, on, settings)
        if begun is None:
            return
        self._set_gates()
        match name:
            case "net_cut" if on:
                self._stop_listening()
                self._end_all(name, End.CLOSE)
            case "net_cut" if self._keeper is not None and self._broken.get(name) is None:
                self._begin_to_listen()
            case "net_reset" if on and not begun.number("after_bytes"):
                self._end_all(name, End.RESET)
            case "net_black_hole" if not on and settings["after"] == "reset":
                self._end_all(name, End.RESET)
            case "net_half_open" if on:
                self._halve_all(settings["keeps"] == "client")
            case "net_half_open":
                for connection in self._halves:
                    connection.end(End.RESET)
                self._halves.clear()
            case "net_late" if not on and self._strays is not None:
                self._strays.clear()

    def _set_gates(self) -> None:
        for way, gate in self._gates.items():
            (gate.set if self._broken.get("net_black_hole", way) is None else gate.clear)()

    def _end_all(self, kind: str, how: End) -> None:
        self._counters.applied[kind] += len(self._open)
        for connection in self._open:
            connection.end(how)

    def _halve_all(self, keep_client: bool) -> None:
        for connection in self._open:
            if connection.halve(keep_client):
                self._counters.applied["net_half_open"] += 1
                self._halves.append(connection)

    def _begin_to_listen(self) -> None:
        if self._where is None or self._listener is not None:
            return
        family, address = self._where
        listener = _bound(family, address)
        listener.listen(_BACKLOG)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def _stop_listening(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _pause(self, seconds: float) -> None:
        """Accept nobody for a while."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._retry = loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        if len(self._open) >= MAX_CONNECTIONS:
            self._pause(_FULL_PAUSE_S)
            return
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # the client has gone again, or we have no more file descriptors
            if error.errno in _FULL:
                self._pause(_FULL_PAUSE_S)
            return
        sock.setblocking(False)
        self._counters.connections += 1
        reset = self._broken.get("net_reset")
        if reset is not None and not reset.number("after_bytes"):
            self._counters.applied["net_reset"] += 1
            hang_up(sock, End.RESET)
            return
        connection = Connection(self._counters.connections, sock, self._shared)
        self._open[connection] = asyncio.create_task(self._serve(connection), name="proxy: connection")

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            del self._open[connection]
            if connection in self._halves:
                self._halves.remove(connection)
            for lane in connection.lanes.values():
                self._counters.applied.update(lane.applied)

    async def _connect(self) -> Streams:
        return await asyncio.open_connection(*self._target)

    def _delivered(self, way: Direction, count: int) -> None:
        self._counters.bytes[way] += count

    def _target_refused(self) -> None:
        self._counters.refused += 1


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    """A socket of that address. Reuse lets keeper and listener share it, and nobody waits for old connections."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
