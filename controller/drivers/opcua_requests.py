"""One OPC UA connection for requests: a fresh asyncua Client, deadlines, chunks, errors with a name. No subscription.

Everything that asyncua does to us on the request side stays behind this file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from asyncua import Client, ua
from cryptography import x509

from configs.schema import OpcUaOptions
from controller.drivers import opcua_security as security
from controller.drivers import opcua_status as status
from controller.drivers.opcua_certificates import APPLICATION_URI, Credentials
from controller.drivers.opcua_desired import Limits
from controller.drivers.opcua_desired import limits as limits_of
from controller.errors import BadInputError, DeviceLostError, DeviceRefusedError, ProtocolError

T = TypeVar("T")
R = TypeVar("R")

_SESSION_SPARE_S = 30.0  # the session outlives the queue, so that a reconnect within the outage finds it
_RECONNECT_MAX_DELAY_S = 2.0  # asyncua doubles from 1 s; longer waits only let the server's queue run over
_LIMIT_NODES = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
)
_CHATTY = (
    "asyncua.client.client",
    "asyncua.client.ua_client.UaClient",
    "asyncua.client.ua_client.UASocketProtocol",
    "asyncua.client.ua_session.UaSession",
)


def _only_when_asked(_record: logging.LogRecord) -> bool:
    """asyncua logs lost connections with tracebacks. We report each of them ourselves; INFO on 'asyncua' shows them."""
    return logging.getLogger("asyncua").isEnabledFor(logging.INFO)


def hush() -> None:
    """Keep asyncua's client quiet about what we handle. Idempotent; an explicit level on 'asyncua' wins."""
    root = logging.getLogger("asyncua")
    if root.level == logging.NOTSET:
        root.setLevel(logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_only_when_asked)


@asynccontextmanager
async def deadline(wall_s: float) -> AsyncIterator[None]:
    """asyncio.timeout around calls into asyncua.

    asyncua may answer a cancellation with a CancelledError of a class of its own (wait_for2, when the connection breaks
    at the same moment). asyncio.timeout turns only the plain one into TimeoutError; the other would pass for somebody
    cancelling the whole task, and end it.
    """
    async with asyncio.timeout(wall_s):
        try:
            yield
        except asyncio.CancelledError as cancelled:
            if type(cancelled) is asyncio.CancelledError:
                raise
            raise asyncio.CancelledError from cancelled


async def endpoints(endpoint: str, timeout_s: float, where: str) -> list[Any]:
    """What a server offers, by a connection of its own without security, as discovery is meant (Part 4, 5.4.4)."""
    hush()
    client = Client(endpoint, timeout=timeout_s)
    try:
        async with deadline(2 * timeout_s):
            offered: list[Any] = await client.connect_and_get_server_endpoints()
    except Exception as problem:
        raise status.translate(problem, f"{where}: asking for its endpoints") from problem
    finally:
        client.disconnect_socket()
    return offered


class Requests:
    """A client that is connected once and never again: asyncua hangs when one Client object is connected twice
    under packet loss (opcua-asyncio #1660). Its own supervisor may reconnect transport and session underneath.
    """

    def __init__(
        self, where: str, endpoint: str, options: OpcUaOptions, credentials: Credentials | None = None
    ) -> None:
        hush()
        self._endpoint, self._credentials = endpoint, credentials
        self.where = f"{where} at {endpoint}"
        self._options = options
        self.limits: Limits = limits_of(options, 0, 0, 0)
        self.client = security.SafeClient(
            endpoint,
            timeout=options.timeout_s,
            watchdog_intervall=options.timeout_s,
            auto_reconnect=True,
            reconnect_max_delay=_RECONNECT_MAX_DELAY_S,
            reconnect_request_timeout=options.timeout_s,
        )
        self.client.name = self.client.description = "celltwin"
        self.client.application_uri = APPLICATION_URI
        self.client.session_timeout = int((options.queue_outage_s + _SESSION_SPARE_S) * 1000)

    @property
    def session(self) -> Any:
        """asyncua's UaSession: the OPC UA services one to one."""
        return self.client.uaclient.session

    async def ask(self, what: str, call: Awaitable[R]) -> R:
        """Await one request under our own deadline; every failure comes out as a PeerError that says what and where."""
        try:
            async with deadline(self._options.timeout_s):
                return await call
        except Exception as problem:
            raise status.translate(problem, f"{self.where}: {what}") from problem

    async def connect(self) -> None:
        """Socket, secure channel, session. One deadline over all of it, since each step has only its own."""
        if self._credentials is not None:
            await self._secure(self._credentials)
        try:
            async with deadline(3 * self._options.timeout_s):
                await self.client.connect()
        except DeviceRefusedError as problem:  # our own: SafeClient
            raise DeviceRefusedError(f"{self.where}: {problem.what}", problem.hint) from None
        except Exception as problem:
            if str(problem).startswith("No matching endpoints"):  # asyncua's word for it; this says what there is
                offered = await endpoints(self._endpoint, self._options.timeout_s, self.where)
                security.choose(offered, self._credentials or security.ANONYMOUS, self.where)
            lost = status.translate(problem, f"{self.where}: connecting")
            raise security.explain(lost, self._credentials, self.where) from problem

    async def _secure(self, credentials: Credentials) -> None:
        """Look at what the server offers, and whom it shows itself to be, before anything is said to it."""
        server: x509.Certificate | None = None
        if not security.insecure(credentials.policy):
            chosen = security.choose(
                await endpoints(self._endpoint, self._options.timeout_s, self.where), credentials, self.where
            )
            try:
                server = security.trust(chosen, credentials, self.where)
            except BadInputError as bad:
                raise security.unreadable(bad, self.where) from bad
        security.prepare(self.client, credentials, server)

    async def namespaces(self) -> list[str]:
        """URIs by index; where our namespace is may change with every restart of the server."""
        uri = self._options.namespace
        known: list[str] = await self.ask("reading the namespace array", self.client.get_namespace_array())
        if uri not in known:
            raise DeviceRefusedError(
                f"{self.where}: no namespace '{uri}'; the server offers {', '.join(map(repr, known))}",
                "correct namespace in the equipment file's [opcua], or load the project into the device",
            )
        return known

    async def read_limits(self) -> None:
        """Take over the server's OperationLimits where it offers any; a server without them is no error."""
        nodes = [ua.NodeId(node) for node in _LIMIT_NODES]
        try:
            answers = await self.read(nodes, "reading the operation limits")
        except (DeviceRefusedError, ProtocolError):
            return
        found = [a.Value.Value if a.StatusCode.is_good() and a.Value is not None else None for a in answers]
        self.limits = limits_of(self._options, *(x if isinstance(x, int) else 0 for x in found))

    async def read(self, nodes: Sequence[ua.NodeId], what: str) -> list[Any]:
        """DataValues of the nodes, in order."""
        return await self.in_chunks(
            what, nodes, self.limits.read, lambda part: self.session.read_attributes(part, ua.AttributeIds.Value)
        )

    async def write(self, nodes: Sequence[ua.NodeId], values: Sequence[Any], names: Sequence[str]) -> None:
        """Write the nodes' values. DeviceRefusedError names the first that was refused, by its name."""

        async def send(part: Sequence[int]) -> list[Any]:
            answers: list[Any] = await self.session.write_attributes(
                [nodes[k] for k in part], [values[k] for k in part], ua.AttributeIds.Value
            )
            return answers

        answers = await self.in_chunks("writing", range(len(nodes)), self.limits.write, send)
        for name, answer in zip(names, answers, strict=True):
            if int(answer.value) >> 31:
                raise status.refused(f"{self.where}: writing {name}", int(answer.value))

    async def in_chunks(
        self, what: str, things: Sequence[T], most: int, call: Callable[[Sequence[T]], Awaitable[list[R]]]
    ) -> list[R]:
        """One request per `most` things; halved where the server says too many (not every server announces limits)."""
        results: list[R] = []
        while len(results) < len(things):
            part = things[len(results) : len(results) + most]
            try:
                answer = await self.ask(what, call(part))
            except DeviceRefusedError as problem:
                if problem.code not in status.TOO_MANY or len(part) == 1:
                    raise
                most = len(part) // 2
                continue
            if len(answer) != len(part):
                raise ProtocolError(
                    f"{self.where}: {what}: {len(answer)} results for {len(part)} operations",
                    "the server breaks the protocol; try a smaller max_items_per_call",
                )
            results.extend(answer)
        return results

    async def close(self) -> None:
        """Close session, channel, socket and asyncua's tasks, whatever state they are in. Never raises."""
        client = self.client
        publishing = client.uaclient.session._publish_task  # asyncua leaves it running when the transport is gone
        try:
            async with deadline(self._options.timeout_s):
                await client.disconnect()
        except Exception as problem:
            logging.getLogger(__name__).debug("%s: closing: %r", self.where, problem)
        finally:
            client.disconnect_socket()
            if publishing is not None:
                publishing.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await publishing
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next round

    def lost(self, what: str, hint: str) -> DeviceLostError:
        """A DeviceLostError that names device and endpoint."""
        return DeviceLostError(f"{self.where}: {what}", hint)
