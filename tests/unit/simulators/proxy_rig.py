"""A fault proxy between a plain server and plain socket clients. No tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.proxy.proxy import FaultProxy

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"
QUIET_S = 0.15


class Echo:
    """Sends back what it gets; knows its open connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.resets = 0
        self.took = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while data := await reader.read(65_536):
                self.took += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            self.resets += 1
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def proxied(serve: Serve, **more: bool | int) -> AsyncIterator[FaultProxy]:
    tasks: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await serve(reader, writer)

    server = await asyncio.start_server(kept, HOST, 0)
    proxy = FaultProxy((HOST, 0), (HOST, server.sockets[0].getsockname()[1]), **more)  # type: ignore[arg-type]
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
        assert proxy.open_connections == 0
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 5)

    async def hears_nothing(self) -> bool:
        try:
            await asyncio.wait_for(self.reader.read(1), QUIET_S)
        except TimeoutError:
            return True
        return False

    async def how_it_ends(self) -> str:
        try:
            data = await asyncio.wait_for(self.reader.read(), 5)
        except ConnectionResetError:
            return "reset"
        return f"closed after {len(data)}"


@asynccontextmanager
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def begin(proxy: FaultProxy, kind: str, **settings: float | str) -> Callable[[], None]:
    """Begins a fault; returns what ends it."""
    full = NETWORK_FAULTS[kind].complete(kind, settings)
    proxy.fault(kind, True, full)
    return lambda: proxy.fault(kind, False, full)


async def until(true: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + 5
    while not true():
        assert asyncio.get_running_loop().time() < end, "never came true"
        await asyncio.sleep(0.005)
