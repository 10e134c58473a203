"""A client's session and the server behind it, where asyncua's server is more generous or less exact than a PLC.

Writes ask the machine first; roles, limits and queues are a PLC's. Tags, methods, conditions and history are served by
the `Plc` behind it; this file knows none of them.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import Any, Protocol

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.standard_address_space.standard_address_space import fill_address_space

from simulators.servers.opcua_filter import EventWhere, filter_fault, in_range
from simulators.servers.opcua_limits import CONTINUATION_POINTS, Limits, clamp_queue
from simulators.servers.opcua_queue import enqueue
from simulators.servers.opcua_security import Security

_VALUE, _EVENTS = ua.AttributeIds.Value, ua.AttributeIds.EventNotifier
_WRITE_BIT = 1 << ua.AccessLevel.CurrentWrite


class Plc(Protocol):
    """What stands behind the sessions."""

    async def take(self, item: ua.WriteValue) -> ua.StatusCode | None:
        """A client's write of a value; None: the node is no tag."""
        ...

    async def call(self, session: PlcSession, request: ua.CallMethodRequest) -> ua.CallMethodResult | None:
        """A client's method call; None: not one of ours."""
        ...

    def past(self, session: PlcSession, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """A client's HistoryRead."""
        ...


class PlcInternalServer(InternalServer):  # type: ignore[misc]
    """Gives every connection a session that behaves as a PLC's does."""

    plc: Plc
    limits: Limits
    security: Security
    signing_in: type | None = None  # kind of identity token, while ActivateSession runs (it never yields)
    creating_secured = False  # whether the channel of the CreateSession under way signs

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

    def govern(self, plc: Plc, limits: Limits, security: Security) -> None:
        """Say whose server this is."""
        self.plc, self.limits, self.security = plc, limits, security
        self.max_subscriptions = limits.subscriptions
        self.max_monitored_item_queue_size = limits.queue
        self.certificate, self.private_key = security.certificate, security.key
        self.user_manager = security
        self.certificate_validator = self._validate

    async def _validate(self, certificate: Any, description: Any) -> None:
        if self.creating_secured:
            await self.security.validate(certificate, description)

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        """Has been loaded."""

    def create_session(self, name: str, user: Any = None, external: bool = False) -> InternalSession:
        """Called by asyncua for each client."""
        if len(self._external_sessions) >= self.limits.sessions:
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        known = {} if user is None else {"user": user}
        return PlcSession(self, self.aspace, self.subscription_service, name, external=external, **known)


class PlcSession(InternalSession):  # type: ignore[misc]
    """A client's session."""

    def __init__(self, iserver: PlcInternalServer, *args: Any, **settings: Any) -> None:
        super().__init__(iserver, *args, **settings)
        self.limits = iserver.limits
        self.continuations: dict[bytes, Any] = {}  # of Browse and HistoryRead: what is still to come
        self._tickets = 0

    @property
    def may_write(self) -> bool:
        """Whether the user may change anything."""
        return bool(getattr(self.user, "may_write", False))

    def later(self, rest: Any) -> bytes:
        """A continuation point for `rest`. Raises ServiceError when the client holds too many."""
        if len(self.continuations) >= CONTINUATION_POINTS:
            raise ServiceError(ua.StatusCodes.BadNoContinuationPoints)
        self._tickets += 1
        ticket = self._tickets.to_bytes(8, "big")
        self.continuations[ticket] = rest
        return ticket

    def activate_session(self, params: Any, peer_certificate: bytes | None) -> Any:
        """As asyncua, which does not tell its user manager what kind of token it looks at."""
        token = params.UserIdentityToken
        known = (ua.UserNameIdentityToken, ua.X509IdentityToken)
        self.iserver.signing_in = type(token) if isinstance(token, known) else None
        return super().activate_session(params, peer_certificate)

    # --- attributes ----------------------------------------------------------------------------------------------

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        """Within the limit, with index ranges, only the wanted time stamps, and what this user may do."""
        self.limits.check(params.NodesToRead)
        if params.MaxAge < 0:
            raise ServiceError(ua.StatusCodes.BadMaxAgeInvalid)
        values = list(await super().read(params))
        for k, item in enumerate(params.NodesToRead):
            if item.IndexRange and item.AttributeId == _VALUE:
                values[k] = in_range(values[k], item.IndexRange)
            if item.AttributeId == ua.AttributeIds.UserAccessLevel and not self.may_write and values[k].Value:
                level = int(values[k].Value.Value) & ~_WRITE_BIT
                values[k] = replace(values[k], Value=ua.Variant(level, ua.VariantType.Byte))
        return [timed(value, params.TimestampsToReturn) for value in values]

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """One status per item, in order: tags are the machine's, everything else stays as it is."""
        self.limits.check(params.NodesToWrite)
        results: list[ua.StatusCode] = []
        for item in params.NodesToWrite:
            if not self.may_write:
                results.append(ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
                continue
            taken = await self.iserver.plc.take(item) if item.AttributeId == _VALUE else None
            results.append(self._untouchable(item) if taken is None else taken)
        return results

    def _untouchable(self, item: ua.WriteValue) -> ua.StatusCode:
        """Why nobody can write this; asyncua takes everything that is not its for a lack of rights."""
        node = self.aspace.get(item.NodeId)
        if node is None:
            return ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
        known = item.AttributeId in node.attributes
        return ua.StatusCode(ua.StatusCodes.BadNotWritable if known else ua.StatusCodes.BadAttributeIdInvalid)

    async def history_read(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """From what the server keeps."""
        self.limits.check(params.NodesToRead)
        return list(self.iserver.plc.past(self, params))

    async def history_update(self, params: Any) -> Any:
        """Nobody rewrites the past here."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """The machine's commands and the conditions' methods; the rest is asyncua's."""
        self.limits.check(params)
        results: list[ua.CallMethodResult] = []
        for request in params:
            ours = await self.iserver.plc.call(self, request)
            results += await super().call([request]) if ours is None else [ours]
        return results

    # --- browsing ------------------------------------------------------------------------------------------------

    async def browse(self, params: ua.BrowseParameters) -> list[ua.BrowseResult]:
        """At most as many references as the client asked for; BrowseNext gives the rest."""
        self.limits.check(params.NodesToBrowse)
        results = list(await super().browse(params))
        return [self._page(result, params.RequestedMaxReferencesPerNode) for result in results]

    def _page(self, result: ua.BrowseResult, most: int) -> ua.BrowseResult:
        if not most or len(result.References) <= most:
            return result
        rest = result.References[most:]
        try:
            return ua.BrowseResult(ContinuationPoint=self.later((rest, most)), References=result.References[:most])
        except ServiceError as full:
            return ua.BrowseResult(StatusCode=ua.StatusCode(full.code))

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        """The rest of earlier answers, or their release."""
        self.limits.check(parameters.ContinuationPoints)
        results: list[ua.BrowseResult] = []
        for ticket in parameters.ContinuationPoints:
            kept = self.continuations.pop(bytes(ticket or b""), None)
            if kept is None:
                results.append(ua.BrowseResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadContinuationPointInvalid)))
            elif parameters.ReleaseContinuationPoints:
                results.append(ua.BrowseResult())
            else:
                results.append(self._page(ua.BrowseResult(References=kept[0]), kept[1]))
        return results

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        """Within the limit."""
        self.limits.check(params)
        return list(await super().translate_browsepaths_to_nodeids(params))

    # --- subscriptions -------------------------------------------------------------------------------------------

    async def create_subscription(self, params: Any, callback: Any, request_callback: Any = None) -> Any:
        """Not faster than the PLC publishes; its queues say when they have run over."""
        shortest = self.limits.publishing_interval_ms
        params.RequestedPublishingInterval = max(shortest, params.RequestedPublishingInterval)
        made = await super().create_subscription(params, callback, request_callback)
        subscription = self.subscription_service.subscriptions[made.SubscriptionId]
        subscription.enqueue_datachange_event = MethodType(enqueue, subscription)
        return made

    async def create_monitored_items(self, params: Any) -> list[ua.MonitoredItemCreateResult]:
        """Queue size 0 is 1; event filters with what they can be filtered by; no more items than there is room for."""
        self.limits.check(params.ItemsToCreate)
        subscription = self.subscription_service.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        service = subscription.monitored_item_srv
        results: list[ua.MonitoredItemCreateResult] = []
        for item in params.ItemsToCreate:
            clamp_queue(item.RequestedParameters, item.ItemToMonitor.AttributeId)
            fault = filter_fault(item)
            if len(service._monitored_items) >= self.limits.items:
                fault = ua.StatusCodes.BadTooManyMonitoredItems
            if fault is not None:
                results.append(ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(fault)))
                continue
            one = replace(params, ItemsToCreate=[item])
            result = (await super().create_monitored_items(one))[0]
            if item.ItemToMonitor.AttributeId == _EVENTS and result.StatusCode.is_good():
                where = EventWhere(self.logger, self.aspace, item.RequestedParameters.Filter.WhereClause)
                service._monitored_items[result.MonitoredItemId].where_clause_evaluator = where
            results.append(result)
        return results

    async def modify_monitored_items(self, params: Any) -> list[ua.MonitoredItemModifyResult]:
        """As for creation."""
        self.limits.check(params.ItemsToModify)
        for item in params.ItemsToModify:
            clamp_queue(item.RequestedParameters, _VALUE)
        return list(await super().modify_monitored_items(params))

    async def transfer_subscriptions(self, params: Any, callback: Any) -> Any:
        """As asyncua, which forgets where the moved subscription finds its publish requests."""
        results = await super().transfer_subscriptions(params, callback)
        for number in params.SubscriptionIds:
            moved = self.subscription_service.subscriptions.get(int(number))
            if moved is not None:
                moved.pub_request_callback = callback.__self__.get_publish_request
        return results

    def republish(self, params: Any) -> Any:
        """A message stays until it is acknowledged; one that is gone is BadMessageNotAvailable (Part 4, 5.14.6)."""
        subscription = self.subscription_service.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        kept = subscription._not_acknowledged_results.get(params.RetransmitSequenceNumber)
        if kept is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return kept.NotificationMessage


def timed(value: ua.DataValue, wanted: Any) -> ua.DataValue:
    """With only the time stamps that were asked for (Part 4, 7.40)."""
    if wanted == ua.TimestampsToReturn.Both:
        return value
    source = value.SourceTimestamp if wanted == ua.TimestampsToReturn.Source else None
    server = value.ServerTimestamp if wanted == ua.TimestampsToReturn.Server else None
    if source is value.SourceTimestamp and server is value.ServerTimestamp:
        return value
    return ua.DataValue(value.Value, value.StatusCode, source, server)


# The standard address space takes a second, which at speed 960 is a quarter of an hour of plant time. It is made when a
# server is built and not when it starts: plant time may begin to count in between.
_spare: list[PlcInternalServer] = []


def prepare() -> None:
    """Make one address space ahead, unless there is one."""
    if not _spare:
        _spare.append(PlcInternalServer())


def prepared() -> PlcInternalServer:
    """The one that was made ahead, or a new one."""
    return _spare.pop() if _spare else PlcInternalServer()
