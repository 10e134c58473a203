"""A small OPC UA server and a TCP wire that can be cut, for the driver's system tests. Not the project's simulator."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Server, ua
from asyncua.common.callback import CallbackType

URI = "urn:test:plc"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_AGO_NS = 1_500_000_000_000_000_000  # source time of values that nobody has set yet


def stamp(time_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_ns // 1000)


class Plc:
    """Variables by name in namespace URI; every write carries the source time that the test gives."""

    def __init__(self, port: int, *namespaces: str, limit: int = 0) -> None:
        self.endpoint = f"opc.tcp://127.0.0.1:{port}/plc"
        self.port = port
        self._namespaces = namespaces or (URI,)
        self._limit = limit
        self.nodes: dict[str, Any] = {}
        self.calls: list[tuple[str, int]] = []  # (request, operations)

    async def __aenter__(self) -> Plc:
        self.server = Server()
        await self.server.init()
        self.server.set_endpoint(self.endpoint)
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for uri in self._namespaces:
            await self.server.register_namespace(uri)
        self.index = await self.server.get_namespace_index(URI)
        if self._limit:
            await self._announce()
        self._record()
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(Exception):
            await self.server.stop()

    async def _announce(self) -> None:
        """OperationLimits that the server announces; requests are recorded so that the test can see who keeps them."""
        for name in ("MaxNodesPerRead", "MaxNodesPerWrite", "MaxMonitoredItemsPerCall"):
            node_id = getattr(ua.ObjectIds, f"Server_ServerCapabilities_OperationLimits_{name}")
            node = self.server.get_node(ua.NodeId(node_id))
            await node.write_value(ua.Variant(self._limit, ua.VariantType.UInt32))

    def _record(self) -> None:
        def seen(kind: str, field: str) -> Any:
            def note(event: Any, _dispatcher: Any) -> None:
                if event.is_external:
                    self.calls.append((kind, len(getattr(event.request_params, field))))

            return note

        for event, kind, field in (
            (CallbackType.PreRead, "read", "NodesToRead"),
            (CallbackType.PreWrite, "write", "NodesToWrite"),
            (CallbackType.ItemSubscriptionCreated, "monitor", "ItemsToCreate"),
        ):
            self.server.subscribe_server_callback(event, seen(kind, field))

    async def add(
        self, name: str, value: Any, kind: ua.VariantType = ua.VariantType.Double, writable: bool = False
    ) -> Any:
        node = await self.server.nodes.objects.add_variable(
            ua.NodeId(name, self.index), ua.QualifiedName(name, self.index), value, varianttype=kind
        )
        if writable:
            await node.set_writable()
        self.nodes[name] = node
        await self.set(name, value, LONG_AGO_NS, kind=kind)
        return node

    async def clear(self) -> None:
        for node in self.nodes.values():
            await node.delete()
        self.nodes.clear()
        self.calls.clear()

    async def set(
        self, name: str, value: Any, time_ns: int | None, code: int = 0, kind: Any = ua.VariantType.Double
    ) -> None:
        variant = ua.Variant(value, kind) if value is not None else ua.Variant()
        data = ua.DataValue(
            variant,
            StatusCode=ua.StatusCode(code),
            SourceTimestamp=None if time_ns is None else stamp(time_ns),
        )
        await self.server.write_attribute_value(self.nodes[name].nodeid, data)


class Wire:
    """A TCP proxy in front of a server: cut() breaks all connections and refuses new ones, mend() lets them in."""

    def __init__(self, port: int, target: int) -> None:
        self.endpoint = f"opc.tcp://127.0.0.1:{port}/plc"
        self._port, self._target = port, target
        self._open = True
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._pipes.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    def cut(self) -> None:
        self._open = False
        for writer in self._writers:
            if writer.transport is not None:
                writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        self._open = True
