"""A client's connection and the one to the target: moves bytes between two sockets. What happens to them is the lane's.

Per direction one task takes and one gives, with a bounded pipe between them: a receiver that does not read fills the
pipe, then the sender is not read any more, and TCP tells it. What a sender does last (an orderly end, a reset) travels
behind its bytes, through delay and black hole like they do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from simulators.proxy.kinds import Broken, Direction
from simulators.proxy.lane import Lane, Piece

CHUNK_BYTES = 32_768
PIPE_BYTES = 131_072
PIECE_BYTES = 200  # of memory beside the data: many small ones fill the pipe too
CONNECT_S = 10.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class End(Enum):
    """How a connection ends."""

    CLOSE = "close"
    RESET = "reset"


class _Reset(Exception):  # noqa: N818 - an end, not an error of ours
    """One of the two ends is gone abruptly, or is to be."""


class _Pipe:
    """Pieces on their way, bounded in bytes of memory."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def put(self, pieces: list[Piece]) -> None:
        """Waits while the pipe is full."""
        while self._bytes >= PIPE_BYTES:
            self._changed.clear()
            await self._changed.wait()
        self._pieces.extend(pieces)
        self._bytes += sum(len(piece.data) + PIECE_BYTES for piece in pieces)
        self._changed.set()

    async def get(self) -> Piece:
        """The next piece, in order."""
        while not self._pieces:
            self._changed.clear()
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._bytes -= len(piece.data) + PIECE_BYTES
        self._changed.set()
        return piece


@dataclass(slots=True)
class Shared:
    """What the connections of one proxy share."""

    broken: Broken
    connect: Callable[[], Awaitable[Streams]]  # to the target
    delivered: Callable[[Direction, int], None]
    gates: Mapping[Direction, asyncio.Event]  # closed in a black hole
    strays: deque[bytes] | None = None  # where Modbus passes
    refused: Callable[[], None] = field(default=lambda: None)  # told of a target that does not answer


class Connection:
    """Runs until both sides have ended, or `end` is called."""

    def __init__(self, number: int, sock: socket.socket, shared: Shared) -> None:
        """`sock`: the client's, non-blocking; closed by `run`."""
        self._sock = sock
        self._client: Streams | None = None
        self._target: Streams | None = None
        self._shared = shared
        self.lanes = {
            Direction.TO_TARGET: Lane(shared.broken, number, Direction.TO_TARGET),
            Direction.TO_CLIENT: Lane(shared.broken, number, Direction.TO_CLIENT, shared.strays),
        }
        self._work: asyncio.Task[None] | None = None
        self._how: End | None = None
        self._ended = asyncio.Event()
        self._half = False

    async def run(self) -> None:
        """Returns when both sockets are closed."""
        if self._how is not None:
            hang_up(self._sock, self._how)
            return
        self._work = asyncio.create_task(self._both_ways(), name="proxy: both ways")
        try:
            await asyncio.wait([self._work])
            if self._half:
                await self._ended.wait()
        finally:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            failed = not self._work.cancelled() and self._work.exception() is not None
            for lane in self.lanes.values():
                lane.gone()
            how = self._how or (End.RESET if failed else End.CLOSE)
            if self._client is None:
                hang_up(self._sock, how)
            await _close([pair[1] for pair in (self._client, self._target) if pair is not None], how)

    def end(self, how: End) -> None:
        """Ends it from outside."""
        self._how = self._how or how
        self._ended.set()
        if self._work is not None:
            self._work.cancel()

    def halve(self, keeps_client: bool) -> bool:
        """One end is gone, the other is not told until `end`. False where there are not two ends."""
        if self._half or self._work is None or self._client is None or self._target is None:
            return False
        self._half = True
        self._work.cancel()
        _abort((self._target if keeps_client else self._client)[1], End.RESET)
        return True

    async def _both_ways(self) -> None:
        """Raises _Reset or OSError when one side ends abruptly."""
        self._client = await asyncio.open_connection(sock=self._sock)
        await self._through(Direction.TO_TARGET)
        try:
            async with asyncio.timeout(CONNECT_S):
                self._target = await self._shared.connect()
        except (OSError, TimeoutError):
            self._shared.refused()
            raise _Reset from None
        ways = ((Direction.TO_TARGET, self._client, self._target), (Direction.TO_CLIENT, self._target, self._client))
        tasks: list[asyncio.Task[None]] = []
        for way, (reader, _), (_, writer) in ways:
            writer.transport.set_write_buffer_limits(0)  # drained is handed to the kernel: an end loses nothing
            pipe = _Pipe()
            tasks.append(asyncio.create_task(self._take(way, reader, pipe), name=f"proxy: take {way.value}"))
            tasks.append(asyncio.create_task(self._give(way, pipe, writer), name=f"proxy: give {way.value}"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, way: Direction, reader: asyncio.StreamReader, pipe: _Pipe) -> None:
        lane, clock = self.lanes[way], asyncio.get_running_loop().time
        reset = False
        while True:
            try:
                async with asyncio.timeout_at(lane.due_s):
                    data = await reader.read(CHUNK_BYTES)
            except TimeoutError:
                await pipe.put(lane.release(clock()))
                continue
            except OSError:
                data, reset = b"", True
            if not data:
                break
            await pipe.put(lane.take(data, clock()))
        await pipe.put(lane.end(reset, clock()))

    async def _give(self, way: Direction, pipe: _Pipe, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            piece = await pipe.get()
            if (wait_s := piece.due_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            await self._through(way)
            if piece.data:
                await self._deliver(way, piece.data, writer)
            elif piece.reset:
                raise _Reset
            else:
                if writer.can_write_eof():
                    writer.write_eof()
                return

    async def _through(self, way: Direction) -> None:
        """Waits out a black hole. Raises _Reset for a connection that is ended as the hole closes."""
        await self._shared.gates[way].wait()
        if self._how is not None:
            raise _Reset

    async def _deliver(self, way: Direction, data: bytes, writer: asyncio.StreamWriter) -> None:
        """All of `data`, in as many steps as what is broken makes of it."""
        lane, at = self.lanes[way], 0
        while at < len(data):
            await self._through(way)
            count, pause_s = lane.step(len(data) - at)
            if not count:
                lane.applied["net_reset"] += 1
                raise _Reset
            if writer.is_closing():
                raise _Reset
            writer.write(data[at : at + count])
            await writer.drain()
            self._shared.delivered(way, count)
            at += count
            if pause_s:
                await asyncio.sleep(pause_s)


def hang_up(sock: socket.socket, how: End) -> None:
    """Closes a socket that no stream has taken over."""
    if how is End.RESET:
        _no_linger(sock)
    sock.close()


def _no_linger(sock: Any) -> None:
    """Its close will be a reset: the kernel need not linger over bytes under way (socket(7), SO_LINGER with 0 s)."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _abort(writer: asyncio.StreamWriter, how: End) -> None:
    sock = writer.get_extra_info("socket")
    if how is End.RESET and sock is not None:
        _no_linger(sock)
    writer.transport.abort()


async def _close(writers: list[asyncio.StreamWriter], how: End) -> None:
    for writer in writers:
        _abort(writer, how)
    for writer in writers:
        with suppress(OSError):
            await writer.wait_closed()
