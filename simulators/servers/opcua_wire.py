"""Sockets of an OPC UA server of a PLC: what asyncua's lack, and where connections can be made to misbehave.

Beyond asyncua: BrowseNext, methods that do not hold up the other requests of a connection, untrusted certificates
refused before a session. The valve behind every connection delays or holds what is sent. No nodes and no machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

from asyncua import Server as UaServer
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, uatcp_to_binary

_CREATE_SESSION = ua.NodeId(ua.ObjectIds.CreateSessionRequest_Encoding_DefaultBinary)
_CALL = ua.NodeId(ua.ObjectIds.CallRequest_Encoding_DefaultBinary)
_BROWSE_NEXT = ua.NodeId(ua.ObjectIds.BrowseNextRequest_Encoding_DefaultBinary)
_REGISTER = ua.NodeId(ua.ObjectIds.RegisterNodesRequest_Encoding_DefaultBinary)
_NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"


def _worth_telling(record: logging.LogRecord) -> bool:
    """A request that a PLC refuses is no error of the simulation."""
    return not str(record.msg).startswith("sending service fault")


logging.getLogger("asyncua.server.uaprocessor").addFilter(_worth_telling)


class Line:
    """State of the wire that all connections of a server share."""

    def __init__(self) -> None:
        self.delay_s = 0.0  # wall seconds before every message to a client
        self.dead = False  # nothing is read and nothing is sent, and every connection stays open
        self.refusing = False  # new connections are reset
        self.valves: set[Valve] = set()

    def set_dead(self, dead: bool) -> None:
        """A frozen PLC: when it wakes it goes on where it stopped, with everything that has queued up."""
        self.dead = dead
        for valve in list(self.valves):
            valve.freeze(dead)


class Valve:
    """A connection's outlet: the transport as asyncua's processor sees it. Keeps the order of messages."""

    def __init__(self, transport: asyncio.Transport, line: Line) -> None:
        self._transport, self._line = transport, line
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        line.valves.add(self)

    def get_extra_info(self, name: str) -> Any:
        """The transport's."""
        return self._transport.get_extra_info(name)

    @property
    def gone(self) -> bool:
        """Whether nobody is at the other end any more."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send now, or later, after all that waits."""
        if not self._waiting and not self._line.dead and not self._line.delay_s:
            self._transport.write(data)
            return
        self._waiting.append((asyncio.get_running_loop().time() + self._line.delay_s, data))
        self._arm()

    def freeze(self, dead: bool) -> None:
        """Stop or resume reading; what waits goes out again from now on."""
        if self._transport.is_closing():
            return
        if dead:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            self._arm()

    def close(self) -> None:
        """Drop what waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._waiting.clear()
        self._line.valves.discard(self)

    def _arm(self) -> None:
        if self._timer is None and self._waiting and not self._line.dead:
            self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self._send)

    def _send(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._waiting and not self._line.dead and self._waiting[0][0] <= now:
            self._transport.write(self._waiting.popleft()[1])
        self._arm()


class PlcProcessor(UaProcessor):  # type: ignore[misc]
    """One connection's requests."""

    def __init__(self, internal_server: Any, valve: Valve, limits: Any) -> None:
        super().__init__(internal_server, valve, limits)
        self.valve = valve
        self._calls: set[asyncio.Task[Any]] = set()

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Any) -> None:
        """Refuses certificates that nobody trusts."""
        if algohdr.SecurityPolicyURI != _NONE_URI and algohdr.SenderCertificate:
            self.iserver.security.check_peer(bytes(algohdr.SenderCertificate))
        super().open_secure_channel(algohdr, seqhdr, body)

    def get_publish_request(self, subscription_id: int) -> Any:
        """None for a connection that has gone: its publish requests went with it, and what is to be told waits.

        asyncua would go on answering them into the void, for the client to ask for again message by message.
        """
        return None if self.valve.gone else super().get_publish_request(subscription_id)

    async def process(self, header: Any, body: Any) -> Any:
        """What goes wrong before there is a session ends the connection with an error message (Part 6, 7.1.5)."""
        try:
            return await super().process(header, body)
        except (ServiceError, ua.UaError) as problem:
            code = getattr(problem, "code", ua.StatusCodes.BadSecurityPolicyRejected)
            message = ua.ErrorMessage(ua.StatusCode(code), "")
            self._transport.write(uatcp_to_binary(ua.MessageType.Error, message))
            return False

    async def process_message(self, seqhdr: Any, body: Any) -> Any:
        """A method waits for the PLC's next scan; nothing else of this client shall wait with it."""
        if nodeid_from_binary(body.copy()) != _CALL:
            return await super().process_message(seqhdr, body)
        task = asyncio.create_task(super().process_message(seqhdr, body))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return True

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        if typeid == _CREATE_SESSION:
            self.iserver.creating_secured = self._connection.security_policy.Mode != ua.MessageSecurityMode.None_
        elif typeid in {_BROWSE_NEXT, _REGISTER}:
            if self.session is None or not self.session.is_activated():
                raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
            if typeid == _REGISTER:
                self.session.limits.check(struct_from_binary(ua.RegisterNodesParameters, body.copy()).NodesToRegister)
            else:
                self.session.touch()
                params = struct_from_binary(ua.BrowseNextParameters, body)
                response = ua.BrowseNextResponse()
                response.Parameters.Results = await self.session.browse_next(params)
                self.send_response(requesthdr.RequestHandle, seqhdr, response)
                return True
        return await super()._process_message(typeid, requesthdr, seqhdr, body)

    async def close(self) -> None:
        """Also ends methods that are still under way."""
        for task in list(self._calls):
            task.cancel()
        self.valve.close()
        await super().close()


class PlcProtocol(OPCUAProtocol):  # type: ignore[misc]
    """One connection."""

    line: Line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncua, with our processor behind our valve."""
        if self.line.refusing:
            transport.abort()  # type: ignore[attr-defined]
            return
        super().connection_made(transport)
        if self.transport is None:  # refused: too many
            return
        valve = Valve(self.transport, self.line)
        self.processor = PlcProcessor(self.iserver, valve, self.limits)
        self.processor.set_policies(self.policies)
        valve.freeze(self.line.dead)


class PlcBinaryServer(BinaryServer):  # type: ignore[misc]
    """A listening socket."""

    def __init__(self, line: Line, *args: Any) -> None:
        super().__init__(*args)
        self.line = line

    def _make_protocol(self) -> PlcProtocol:
        protocol = PlcProtocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)
        protocol.line = self.line
        return protocol

    def cut(self) -> None:
        """Drop every connection at once, without a goodbye."""
        for transport in list(self.iserver.asyncio_transports):
            transport.abort()


class PlcUaServer(UaServer):  # type: ignore[misc]
    """asyncua's server with our sockets, which can be closed and opened again while the address space lives on."""

    bserver: PlcBinaryServer | None

    def __init__(self, iserver: Any, line: Line) -> None:
        super().__init__(iserver=iserver)
        self.line = line

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        if not self._policies:
            await self._setup_server_nodes()
        await self.iserver.start()
        await self.listen()

    async def listen(self) -> None:
        """Open the socket (again)."""
        host, port = self._get_bind_socket_info()
        self.bserver = PlcBinaryServer(self.line, self.iserver, host, port, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()

    async def deafen(self) -> None:
        """Close the socket, every connection, every session and every subscription; nothing is left for a client."""
        for session in list(self.iserver._external_sessions.values()):
            # A session outlives its connection by design (Part 4, 6.7); a PLC that is switched off takes it along.
            await session.close_session(True)
        bserver: PlcBinaryServer | None = self.bserver
        self.bserver = None
        if bserver is not None:
            bserver.cut()
            await asyncio.sleep(0)
            with contextlib.suppress(OSError):
                await bserver.stop()
