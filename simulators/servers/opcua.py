"""OPC UA server of a software PLC: binds the tags of any equipment type to nodes. Knows no machine.

A scan is published in one piece, stamped with plant time; only what changed is written, as a PLC reports. Clients'
writes and method calls go to the machine in their order. What a session may do is in opcua_session, sockets are in
opcua_wire, nodes in opcua_space; conditions, history, methods, users and faults have files of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from asyncua import ua

from configs.schema import Equipment
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.servers import Quality, WriteTag
from simulators.servers.opcua_alarms import Alarm
from simulators.servers.opcua_conditions import Conditions
from simulators.servers.opcua_faults import FAULTS, Broken, check
from simulators.servers.opcua_history import Ring, history_read
from simulators.servers.opcua_limits import Limits
from simulators.servers.opcua_methods import ACKNOWLEDGE, Methods, commands
from simulators.servers.opcua_nodes import TagNode, build_nodes
from simulators.servers.opcua_security import Security
from simulators.servers.opcua_session import PlcSession, prepare, prepared, timed
from simulators.servers.opcua_space import Space
from simulators.servers.opcua_values import data_value, stamp
from simulators.servers.opcua_wire import Line, PlcUaServer

_NS_PER_S = 1_000_000_000
_STANDARD = "http://opcfoundation.org/UA/"
_QUALITY = {
    Quality.BAD: ua.StatusCode(ua.StatusCodes.BadSensorFailure),
    Quality.UNCERTAIN: ua.StatusCode(ua.StatusCodes.UncertainSensorNotAccurate),
}


class OpcUaServer:
    """A Server as simulators.servers describes it, and Faultable."""

    faults: Mapping[str, FaultKind] = FAULTS

    def __init__(self, equipment: Equipment, endpoint: str, write: WriteTag) -> None:
        """Raises ValueError for an endpoint or a node identifier that OPC UA does not know."""
        parts = urlsplit(endpoint)
        if parts.scheme != "opc.tcp" or not parts.hostname or not parts.port:
            raise ValueError(f"'{endpoint}' is no endpoint such as opc.tcp://127.0.0.1:4840/path")
        if equipment.opcua is None:
            raise ValueError(f"equipment '{equipment.name}' has no table [opcua]")
        build_nodes(equipment, 0)
        self._equipment = equipment
        self._options = equipment.opcua.server
        self._endpoint = endpoint
        self._address = (parts.hostname, parts.port)
        self._write = write
        self._uri = f"urn:celltwin:simulator:{equipment.name}"
        self._limits = Limits.of(equipment.opcua)
        self._security: Security | None = None
        self._line = Line()
        self._broken = Broken()
        self._quality: dict[str, ua.StatusCode] = {}  # by tag, what is not good
        self._down_ns: int | None = None  # plant nanoseconds until it listens again; None: it listens
        self._server: PlcUaServer | None = None
        self._conditions = Conditions()
        self._space = Space(equipment, self._conditions)
        codes = commands(equipment)
        self._methods = Methods(equipment.control, codes, self._store) if codes and equipment.control else None
        self._last: tuple[Mapping[str, Values], int] | None = None
        self._parked: PlcUaServer | None = None  # after a stop: making an address space anew takes a second
        prepare()

    def keep_in(self, folder: Path) -> None:
        """Keep certificates in `folder`, made now where there are none; without it they live in memory."""
        self._security = Security(self._options, self._uri, self._address[0], folder)

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError when the address cannot be had."""
        # Before the second that the address space takes, and without the traceback that asyncua logs.
        with socket.create_server(self._address):
            pass
        server = self._parked or await self._make()
        self._parked = None
        gc.freeze()
        self._server = server
        self._down_ns = self._broken.down_s = None
        try:
            await self._build(server)
            await server.start()
        except BaseException:
            self._server = None
            raise

    async def _make(self) -> PlcUaServer:
        security = self._security or Security(self._options, self._uri, self._address[0])
        iserver = prepared()
        iserver.govern(self, self._limits, security)
        server = PlcUaServer(iserver, self._line)
        server.set_endpoint(self._endpoint)
        server.set_server_name(self._equipment.title)
        server.set_security_policy(security.policies)
        server.set_identity_tokens(security.tokens)
        await server.init()
        await server.set_application_uri(self._uri)
        await self._space.announce(iserver, self._limits)
        return server

    async def _build(self, server: PlcUaServer) -> None:
        broken = self._broken
        await self._space.build(server.iserver, [_STANDARD, self._uri], broken.rename, broken.shifted)
        if self._last is not None:
            await self._show_scan(server, *self._last)

    async def stop(self) -> None:
        """Close socket, connections, sessions and subscriptions, and forget the past; may be started again."""
        server, self._server = self._server, None
        if server is None:
            return
        await server.deafen()
        iserver = server.iserver
        # asyncua waits for its one-second clock to come round; a power switch does not.
        clock, iserver.time_task = iserver.time_task, None
        if clock is not None:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock
        self._parked = server
        gc.unfreeze()
        for node in self._space.nodes.values():
            node.shown = node.ring = None

    async def _restart(self, server: PlcUaServer, down_s: float) -> None:
        """Go down for a while; the nodes may have other identifiers then."""
        await server.deafen()
        self._down_ns = round(down_s * _NS_PER_S)
        await self._build(server)

    # --- scans ---------------------------------------------------------------------------------------------------

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Show what changed since the last scan. Nothing yields to clients in between."""
        # The device's own clock may have been set back.
        passed_ns = max(0, plant_ns - self._last[1]) if self._last is not None else 0
        self._last = (outputs, plant_ns)
        server = self._server
        if server is None:
            return
        if self._broken.down_s is not None:
            down_s, self._broken.down_s = self._broken.down_s, None
            await self._restart(server, down_s)
        else:
            await self._show_scan(server, outputs, plant_ns)
            self._down_ns = None if self._down_ns is None else max(0, self._down_ns - passed_ns)
        if self._down_ns == 0:
            self._down_ns = None
            await server.listen()

    async def _show_scan(self, server: PlcUaServer, outputs: Mapping[str, Values], plant_ns: int) -> None:
        source, now = stamp(plant_ns), self._now()
        changed: list[Alarm] = []
        for node in self._space.nodes.values():
            values = outputs[node.tag.name]
            shown = values.tobytes()
            if shown != node.shown:
                changed += await self._show(server, node, values, shown, source, now)
        for alarm in changed:
            await self._conditions.tell(server.iserver, alarm, now)
        if self._methods is not None:
            self._methods.scanned(outputs)

    async def _show(
        self, server: PlcUaServer, node: TagNode, values: Values, shown: bytes, source: datetime, now: datetime
    ) -> list[Alarm]:
        """Put values on their node and into its past; the conditions that they change."""
        node.shown = shown
        tag = node.tag.name
        forced = self._broken.status.get(tag) or self._quality.get(tag)
        value = data_value(node, values, source, now, forced)
        await server.iserver.aspace.write_attribute_value(node.node_id, ua.AttributeIds.Value, value)
        if node.ring is not None:
            node.ring.add(value)
        return self._conditions.alarms.look(tag, values, source) if node.watched else []

    def qualify(self, quality: Mapping[str, Quality]) -> None:
        """How far tags may be believed from the next publish on (servers.ShowsQuality)."""
        now = {tag: _QUALITY[how] for tag, how in quality.items() if how is not Quality.GOOD}
        for tag in now.keys() | self._quality.keys():
            if now.get(tag) is not self._quality.get(tag) and tag in self._space.by_tag:
                self._space.by_tag[tag].shown = None
        self._quality = now

    def _now(self) -> datetime:
        return stamp(time.time_ns() + self._broken.skew_ns)

    # --- what clients want (opcua_session.Plc) -------------------------------------------------------------------

    async def take(self, item: ua.WriteValue) -> ua.StatusCode | None:
        """A client's write: to the machine, and then on the node at once, as in a PLC's memory."""
        node = self._space.nodes.get(item.NodeId)
        if node is None:
            return None
        if not node.writable:
            return ua.StatusCode(ua.StatusCodes.BadNotWritable)
        if item.IndexRange:
            return ua.StatusCode(ua.StatusCodes.BadWriteNotSupported)
        values = node.values(item.Value.Value)
        if values is None:
            return ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        try:
            await self._store(node.tag.name, values)
        except ValueError:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        return ua.StatusCode()

    async def _store(self, tag: str, values: Values) -> None:
        self._write(tag, values)
        server, node = self._server, self._space.by_tag[tag]
        if server is not None:
            source, now = self._plant(), self._now()
            for alarm in await self._show(server, node, values, values.tobytes(), source, now):
                await self._conditions.tell(server.iserver, alarm, now)

    def _plant(self) -> datetime:
        return stamp(self._last[1] if self._last is not None else 0)

    async def call(self, session: PlcSession, request: ua.CallMethodRequest) -> ua.CallMethodResult | None:
        """A method of the machine or of a condition; None for any other."""
        name = self._space.methods.get(request.MethodId)
        if name is None:
            return await self._conditions.call(session, request, self._plant(), self._now())
        code = None
        if request.ObjectId != self._space.machine:
            code = ua.StatusCodes.BadMethodInvalid
        elif not session.may_write:
            code = ua.StatusCodes.BadUserAccessDenied
        elif request.InputArguments:
            code = ua.StatusCodes.BadTooManyArguments
        if code is not None:
            return ua.CallMethodResult(StatusCode=ua.StatusCode(code))
        if name == ACKNOWLEDGE:
            return await self._conditions.acknowledge_all(session, self._plant(), self._now())
        assert self._methods is not None
        return await self._methods.run(name)

    def past(self, session: PlcSession, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """HistoryRead."""
        return history_read(session, params, self._ring, self._limits.history_values, timed)

    def _ring(self, node_id: ua.NodeId) -> Ring | int:
        node = self._space.nodes.get(node_id)
        if node is None:
            known = self._server is not None and node_id in self._server.iserver.aspace
            return int(ua.StatusCodes.BadHistoryOperationUnsupported if known else ua.StatusCodes.BadNodeIdUnknown)
        return int(ua.StatusCodes.BadHistoryOperationUnsupported) if node.ring is None else node.ring

    # --- faults --------------------------------------------------------------------------------------------------

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end a fault (Faultable). What concerns the PLC acts at the next publish, the wire at once."""
        check(self._equipment, name, settings)
        if name == "cut":
            self._line.refusing = on
            if on and self._server is not None and self._server.bserver is not None:
                self._server.bserver.cut()
        elif name == "black_hole":
            self._line.set_dead(on)
        elif name == "slow":
            self._line.delay_s = float(settings["delay_s"]) if on else 0.0
        else:
            self._broken.ask(name, on, settings)
            if name == "restart" and not on:  # before its time, or before it has begun
                self._down_ns = None if self._down_ns is None else 0
                self._broken.down_s = None if self._broken.down_s is None else 0.0
        if name == "bad_status":
            node = self._space.by_tag.get(str(settings["tag"]))
            if node is not None:
                node.shown = None  # shown anew with the next scan, whether it changed or not
