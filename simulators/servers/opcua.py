"""OPC UA server of a software PLC: binds the tags of any equipment type to nodes. Knows no machine.

A scan is published in one piece, stamped with plant time; only what changed is written, as a PLC reports. Clients'
writes go to the machine in their order. Loopback, security policy None. Where asyncua's server is more generous than a
PLC, this one is not: queue size 0 is 1, requests have a size limit, a refused write has a status of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from asyncua import Server as UaServer
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.standard_address_space.standard_address_space import fill_address_space

from configs.schema import Equipment
from simulators.machine import Values
from simulators.servers import WriteTag
from simulators.servers.opcua_nodes import TagNode, build_nodes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_VALUE = ua.Variant(None, ua.VariantType.Null)
_GOOD = ua.StatusCode(ua.StatusCodes.Good)
# Part 4, 7.39: with a Bad status the value is null. NaN from the machine says that an instrument has nothing to see.
_NOTHING_TO_SEE = ua.StatusCode(ua.StatusCodes.BadOutOfService)
_PARTLY = ua.StatusCode(ua.StatusCodes.UncertainSubNormal)
_WAITING = ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)
_LIMITS = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
)


class _Shown(ua.DataValue):  # type: ignore[misc]
    """A value on a node. asyncua copies it in depth for every subscriber, half the cost of a scan; it is frozen."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shown:
        return self


class OpcUaServer:
    """A Server as simulators.servers describes it."""

    def __init__(self, equipment: Equipment, endpoint: str, write: WriteTag) -> None:
        """Raises ValueError for an endpoint or a node identifier that OPC UA does not know."""
        parts = urlsplit(endpoint)
        if parts.scheme != "opc.tcp" or not parts.hostname or not parts.port:
            raise ValueError(f"'{endpoint}' is no endpoint such as opc.tcp://127.0.0.1:4840/path")
        if equipment.opcua is None:
            raise ValueError(f"equipment '{equipment.name}' has no table [opcua]")
        build_nodes(equipment, 0)
        self._equipment = equipment
        self._options = equipment.opcua
        self._endpoint = endpoint
        self._address = (parts.hostname, parts.port)
        self._write = write
        self._server: UaServer | None = None
        self._nodes: dict[ua.NodeId, TagNode] = {}
        self._last: tuple[Mapping[str, Values], int] | None = None
        if not _spare:
            _spare.append(_PlcInternalServer())

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError when the address cannot be had."""
        # Before the second that the address space takes, and without the traceback that asyncua logs.
        with socket.create_server(self._address):
            pass
        iserver = _prepared()
        iserver.plc, iserver.max_operations = self, self._options.max_items_per_call
        server = UaServer(iserver=iserver)
        server.set_endpoint(self._endpoint)
        server.set_server_name(self._equipment.title)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        await server.init()
        await server.set_application_uri(f"urn:celltwin:simulator:{self._equipment.name}")
        await self._populate(server)
        self._server = server
        if self._last is not None:
            await self.publish(*self._last)
        try:
            await server.start()
        except BaseException:
            self._server = None
            raise

    async def _populate(self, server: UaServer) -> None:
        index = await server.register_namespace(self._options.namespace)
        items, nodes = build_nodes(self._equipment, index)
        for result in await server.iserver.isession.add_nodes(items):
            result.StatusCode.check()
        self._nodes = {node.node_id: node for node in nodes}
        waiting = ua.DataValue(_NO_VALUE, _WAITING)
        for node in nodes:
            await server.iserver.write_attribute_value(node.node_id, waiting)
        limit = ua.DataValue(ua.Variant(self._options.max_items_per_call, ua.VariantType.UInt32))
        for each in _LIMITS:
            await server.iserver.write_attribute_value(ua.NodeId(each), limit)

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Show what changed since the last scan. Nothing yields to clients in between."""
        self._last = (outputs, plant_ns)
        if self._server is None:
            return
        write = self._server.iserver.aspace.write_attribute_value
        source, now = _stamp(plant_ns), _stamp(time.time_ns())
        for node in self._nodes.values():
            values = outputs[node.tag.name]
            shown = values.tobytes()
            if shown != node.shown:
                node.shown = shown
                await write(node.node_id, ua.AttributeIds.Value, _data_value(node, values, source, now))

    async def take(self, node: TagNode, item: ua.WriteValue) -> ua.StatusCode:
        """A client's write: to the machine, and then on the node at once, as in a PLC's memory."""
        if not node.writable:
            return ua.StatusCode(ua.StatusCodes.BadNotWritable)
        if item.IndexRange:
            return ua.StatusCode(ua.StatusCodes.BadWriteNotSupported)
        values = node.values(item.Value.Value)
        if values is None:
            return ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        try:
            self._write(node.tag.name, values)
        except ValueError:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        if self._server is not None:
            node.shown = values.tobytes()
            plant_ns = self._last[1] if self._last is not None else 0
            value = _data_value(node, values, _stamp(plant_ns), _stamp(time.time_ns()))
            await self._server.iserver.write_attribute_value(node.node_id, value)
        return ua.StatusCode()

    def node(self, node_id: ua.NodeId) -> TagNode | None:
        """The tag behind a node, None for all other nodes."""
        return self._nodes.get(node_id)

    async def stop(self) -> None:
        """Close socket, connections, sessions and subscriptions."""
        server, self._server = self._server, None
        if server is None:
            return
        iserver = server.iserver
        # A session outlives its connection by design (Part 4, 6.7); a PLC that is switched off takes it along.
        for session in list(iserver._external_sessions.values()):
            await session.close_session(True)
        # asyncua waits for its one-second clock to come round; a power switch does not.
        clock, iserver.time_task = iserver.time_task, None
        if clock is not None:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock
        await server.stop()
        gc.unfreeze()
        for node in self._nodes.values():
            node.shown = None


class _PlcInternalServer(InternalServer):  # type: ignore[misc]
    """Gives every connection a session that behaves as a PLC's does."""

    plc: OpcUaServer
    max_operations: int

    def __init__(self) -> None:
        super().__init__()
        self.allow_remote_admin = False
        # Half a million objects: collecting garbage in between doubles the time, and looking through them later stops
        # the plant for 0.2 s, three minutes at speed 960. They stay out of it until the server stops.
        collecting = gc.isenabled()
        gc.disable()
        try:
            fill_address_space(self.node_mgt_service)
            gc.freeze()
        finally:
            if collecting:
                gc.enable()

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        """Has been loaded."""

    def create_session(self, name: str, user: Any = None, external: bool = False) -> InternalSession:
        """Called by asyncua for each client."""
        known = {} if user is None else {"user": user}
        return _PlcSession(self, self.aspace, self.subscription_service, name, external=external, **known)


# The standard address space takes a second, which at speed 960 is a quarter of an hour of plant time. It is made when a
# server is built and not when it starts: plant time may begin to count in between.
_spare: list[_PlcInternalServer] = []


def _prepared() -> _PlcInternalServer:
    return _spare.pop() if _spare else _PlcInternalServer()


class _PlcSession(InternalSession):  # type: ignore[misc]
    """A client's session: writes ask the machine first, queues and requests have a PLC's limits."""

    def _limit(self, operations: list[Any]) -> None:
        if len(operations) > self.iserver.max_operations:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        """As asyncua, within the limit."""
        self._limit(params.NodesToRead)
        return list(await super().read(params))

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """One status per item, in order: tags are the machine's, the rest is asyncua's."""
        self._limit(params.NodesToWrite)
        results: list[ua.StatusCode] = []
        for item in params.NodesToWrite:
            node = self.iserver.plc.node(item.NodeId) if item.AttributeId == ua.AttributeIds.Value else None
            if node is not None:
                results.append(await self.iserver.plc.take(node, item))
            else:
                results += await super().write(ua.WriteParameters([item]))
        return results

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """Queue size 0 is 1 for data (Part 4, 5.13.1.5); asyncua would take it for unlimited and hide loss."""
        self._limit(params.ItemsToCreate)
        for item in params.ItemsToCreate:
            _clamp(item.RequestedParameters, item.ItemToMonitor.AttributeId)
        return list(await super().create_monitored_items(params))

    async def modify_monitored_items(
        self, params: ua.ModifyMonitoredItemsParameters
    ) -> list[ua.MonitoredItemModifyResult]:
        """As for creation."""
        self._limit(params.ItemsToModify)
        for item in params.ItemsToModify:
            _clamp(item.RequestedParameters, ua.AttributeIds.Value)
        return list(await super().modify_monitored_items(params))


def _clamp(requested: ua.MonitoringParameters, attribute: int) -> None:
    if attribute != ua.AttributeIds.EventNotifier:
        requested.QueueSize = max(1, requested.QueueSize)


def _stamp(time_ns: int) -> datetime:
    """To the microsecond; OPC UA's own resolution is 100 ns."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _data_value(node: TagNode, values: Values, source: datetime, server: datetime) -> ua.DataValue:
    missing = np.isnan(values)
    if missing.all():
        return _Shown(_NO_VALUE, _NOTHING_TO_SEE, source, server)
    status = _PARTLY if missing.any() else _GOOD
    return _Shown(node.variant(values), status, source, server)
