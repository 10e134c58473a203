"""Conditions on the wire: their nodes, their events to subscriptions, Acknowledge, AddComment and ConditionRefresh.

What a condition *is* stands in opcua_alarms. Methods are called on the condition's node with the method of its type
(Part 9, 5.7.3 and 5.5.6); a refresh goes to the caller's own subscription.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncua import ua

from configs.schema import Equipment
from simulators.servers.opcua_alarms import LEVELS, Alarm, Alarms, Event
from simulators.servers.opcua_nodes import TagNode

_ACKNOWLEDGE = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge)
_COMMENT = ua.NodeId(ua.ObjectIds.ConditionType_AddComment)
_REFRESH = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
_REFRESH_ITEM = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh2)
_SERVER = ua.NodeId(ua.ObjectIds.Server)
_READ = 1 << ua.AccessLevel.CurrentRead

# Variables of a condition's node: browse path, type. Two-state variables have their Id below them.
_SHOWN = (
    ("EventId", ua.VariantType.ByteString),
    ("EventType", ua.VariantType.NodeId),
    ("SourceNode", ua.VariantType.NodeId),
    ("SourceName", ua.VariantType.String),
    ("Time", ua.VariantType.DateTime),
    ("Message", ua.VariantType.LocalizedText),
    ("Severity", ua.VariantType.UInt16),
    ("ConditionName", ua.VariantType.String),
    ("Retain", ua.VariantType.Boolean),
    ("Quality", ua.VariantType.StatusCode),
    ("Comment", ua.VariantType.LocalizedText),
    ("EnabledState", ua.VariantType.LocalizedText),
    ("EnabledState/Id", ua.VariantType.Boolean),
    ("AckedState", ua.VariantType.LocalizedText),
    ("AckedState/Id", ua.VariantType.Boolean),
    ("ActiveState", ua.VariantType.LocalizedText),
    ("ActiveState/Id", ua.VariantType.Boolean),
)
_LIMITS = tuple((f"{name}Limit", ua.VariantType.Double) for name in LEVELS)


class Conditions:
    """All conditions of one server."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self._machine = _SERVER
        self._refreshes = 0

    def build(self, equipment: Equipment, nodes: Sequence[TagNode], machine: ua.NodeId) -> list[ua.AddNodesItem]:
        """Make the conditions of an equipment type and their nodes; the states that stood before stand on."""
        before = {alarm.name: alarm for alarm in self.alarms}
        self.alarms, self._machine = Alarms(), machine
        items: list[ua.AddNodesItem] = []
        by_tag = {node.tag.name: node for node in nodes}
        for options in equipment.opcua.server.alarm if equipment.opcua else ():
            node = by_tag[options.tag]
            node.watched = True
            for point in range(node.points):
                name = options.name if node.points == 1 else f"{options.name}_{point + 1}"
                identifier = ua.NodeId(f"{machine.Identifier}.{name}", machine.NamespaceIndex)
                alarm = Alarm(options, name, point, identifier, node.node_id, str(node.tag.address).partition("=")[2])
                if (old := before.get(name)) is not None:
                    alarm.state, alarm.acknowledged = old.state, old.acknowledged
                    alarm.time, alarm.event_id, alarm.value = old.time, old.event_id, old.value
                self.alarms.add(options.tag, alarm)
                items += _condition_nodes(alarm, machine)
        return items

    def references(self, machine: ua.NodeId) -> list[ua.AddReferencesItem]:
        """Who notifies whom: the server of the machine, the machine of its tags, a tag of its conditions."""
        found = [_reference(_SERVER, ua.ObjectIds.HasNotifier, machine, ua.NodeClass.Object)]
        for alarm in self.alarms:
            found.append(_reference(machine, ua.ObjectIds.HasEventSource, alarm.source, ua.NodeClass.Variable))
            found.append(_reference(alarm.source, ua.ObjectIds.HasCondition, alarm.condition, ua.NodeClass.Object))
            for method in (_ACKNOWLEDGE, _COMMENT):
                found.append(_reference(alarm.condition, ua.ObjectIds.HasComponent, method, ua.NodeClass.Method))
        return found

    # --- events --------------------------------------------------------------------------------------------------

    async def tell(self, iserver: Any, alarm: Alarm, received: datetime) -> None:
        """Show a condition's state on its node and send its event to everybody who listens."""
        fields = alarm.fields() | {"ReceiveTime": received}
        for path, kind in _SHOWN:
            value = ua.DataValue(ua.Variant(fields[path], kind), SourceTimestamp=alarm.time, ServerTimestamp=received)
            await iserver.write_attribute_value(_child(alarm.condition, path), value)
        for subscription in list(iserver.subscription_service.subscriptions.values()):
            await self._send(subscription, fields, None)

    async def _send(self, subscription: Any, fields: dict[str, Any], only: int | None) -> None:
        """One event to one subscription, at most once for each of its items."""
        service = subscription.monitored_item_srv
        for emitter in {_SERVER, self._machine}:
            event = Event(fields, emitter)
            for item in service._monitored_events.get(emitter, []):
                if only is None or item == only:
                    await service._trigger_event(event, item)

    async def refresh(self, iserver: Any, number: int, item: int | None, now: datetime) -> int:
        """Send what is retained to one subscription, or one item of it, between a start and an end (Part 9, 4.5)."""
        subscription = iserver.subscription_service.subscriptions.get(number)
        if subscription is None:
            return int(ua.StatusCodes.BadSubscriptionIdInvalid)
        if item is not None and item not in subscription.monitored_item_srv._monitored_items:
            return int(ua.StatusCodes.BadMonitoredItemIdInvalid)
        kinds = (ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType)
        await self._send(subscription, self._mark(kinds[0], now), item)
        for alarm in self.alarms:
            if alarm.retain and alarm.time is not None:
                await self._send(subscription, alarm.fields() | {"ReceiveTime": now}, item)
        await self._send(subscription, self._mark(kinds[1], now), item)
        return 0

    def _mark(self, kind: int, now: datetime) -> dict[str, Any]:
        self._refreshes += 1
        return {
            "EventId": struct.pack(">QQ", 0, self._refreshes),
            "EventType": ua.NodeId(kind),
            "SourceNode": _SERVER,
            "SourceName": "Server",
            "Time": now,
            "ReceiveTime": now,
            "Message": ua.LocalizedText("ConditionRefresh"),
            "Severity": 1,
        }

    # --- methods -------------------------------------------------------------------------------------------------

    async def call(
        self, session: Any, request: ua.CallMethodRequest, plant: datetime, now: datetime
    ) -> ua.CallMethodResult | None:
        """A call of a condition's method; None for any other."""
        if request.MethodId in {_REFRESH, _REFRESH_ITEM}:
            wanted = [ua.VariantType.UInt32] * (1 if request.MethodId == _REFRESH else 2)
            return _arguments(request, wanted) or await self._refresh_for(session, request, now)
        if request.MethodId not in {_ACKNOWLEDGE, _COMMENT}:
            return None
        wanted = [ua.VariantType.ByteString, ua.VariantType.LocalizedText]
        return _arguments(request, wanted) or await self._answer(session, request, plant, now)

    async def _refresh_for(self, session: Any, request: ua.CallMethodRequest, now: datetime) -> ua.CallMethodResult:
        number, *item = [argument.Value for argument in request.InputArguments]
        subscription = session.iserver.subscription_service.subscriptions.get(number)
        if subscription is not None and subscription.session_id != session.session_id:
            return _result(int(ua.StatusCodes.BadUserAccessDenied))
        return _result(await self.refresh(session.iserver, number, item[0] if item else None, now))

    async def _answer(
        self, session: Any, request: ua.CallMethodRequest, plant: datetime, now: datetime
    ) -> ua.CallMethodResult:
        """Acknowledge or AddComment."""
        alarm = self.alarms.find(request.ObjectId)
        if alarm is None:
            return _result(int(ua.StatusCodes.BadNodeIdUnknown))
        if not session.may_write:
            return _result(int(ua.StatusCodes.BadUserAccessDenied))
        event_id, words = (argument.Value for argument in request.InputArguments)
        comment = None if words is None else words.Text
        user = str(session.user.name)
        if request.MethodId == _ACKNOWLEDGE:
            code = self.alarms.acknowledge(alarm, event_id or b"", comment, user, plant)
        else:
            code = 0 if event_id == alarm.event_id else int(ua.StatusCodes.BadEventIdUnknown)
            if not code:
                self.alarms.comment(alarm, comment, user, plant)
        if not code:
            await self.tell(session.iserver, alarm, now)
        return _result(code)

    async def acknowledge_all(self, session: Any, plant: datetime, now: datetime) -> ua.CallMethodResult:
        """The panel's acknowledge button."""
        waiting = [alarm for alarm in self.alarms if not alarm.acknowledged]
        for alarm in waiting:
            self.alarms.acknowledge(alarm, alarm.event_id, None, str(session.user.name), plant)
            await self.tell(session.iserver, alarm, now)
        return ua.CallMethodResult(OutputArguments=[ua.Variant(len(waiting), ua.VariantType.UInt16)])


def _result(code: int) -> ua.CallMethodResult:
    return ua.CallMethodResult(StatusCode=ua.StatusCode(code))


def _arguments(request: ua.CallMethodRequest, wanted: list[ua.VariantType]) -> ua.CallMethodResult | None:
    """Why these arguments do not do, or None (Part 4, 5.12.2.4)."""
    given = [argument.VariantType for argument in request.InputArguments or []]
    if len(given) != len(wanted):
        few = len(given) < len(wanted)
        return _result(int(ua.StatusCodes.BadArgumentsMissing if few else ua.StatusCodes.BadTooManyArguments))
    results = [a is b or a is ua.VariantType.Null for a, b in zip(given, wanted, strict=True)]
    if all(results):
        return None
    codes = [ua.StatusCode(0 if good else ua.StatusCodes.BadTypeMismatch) for good in results]
    return ua.CallMethodResult(ua.StatusCode(ua.StatusCodes.BadInvalidArgument), codes)


def _child(condition: ua.NodeId, path: str) -> ua.NodeId:
    return ua.NodeId(f"{condition.Identifier}/{path}", condition.NamespaceIndex)


def _reference(source: ua.NodeId, kind: int, target: ua.NodeId, node_class: Any) -> ua.AddReferencesItem:
    return ua.AddReferencesItem(
        SourceNodeId=source,
        ReferenceTypeId=ua.NodeId(kind),
        IsForward=True,
        TargetNodeId=target,
        TargetNodeClass=node_class,
    )


def _condition_nodes(alarm: Alarm, machine: ua.NodeId) -> list[ua.AddNodesItem]:
    items = [
        ua.AddNodesItem(
            ParentNodeId=machine,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
            RequestedNewNodeId=alarm.condition,
            BrowseName=ua.QualifiedName(alarm.name, machine.NamespaceIndex),
            NodeClass=ua.NodeClass.Object,
            NodeAttributes=ua.ObjectAttributes(DisplayName=ua.LocalizedText(alarm.name), EventNotifier=0),
            TypeDefinition=alarm.event_type,
        )
    ]
    fields = alarm.fields()
    limits = [each for each in _LIMITS if fields.get(each[0]) is not None]
    for path, kind in [*_SHOWN, *limits]:
        above, _, name = path.rpartition("/")
        state = path.endswith("State")
        parent = _child(alarm.condition, above) if above else alarm.condition
        definition = ua.ObjectIds.PropertyType
        if state or path in {"Quality", "Comment"}:
            definition = ua.ObjectIds.TwoStateVariableType if state else ua.ObjectIds.ConditionVariableType
        component = definition != ua.ObjectIds.PropertyType
        items.append(
            ua.AddNodesItem(
                ParentNodeId=parent,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent if component else ua.ObjectIds.HasProperty),
                RequestedNewNodeId=_child(alarm.condition, path),
                BrowseName=ua.QualifiedName(name, 0),
                NodeClass=ua.NodeClass.Variable,
                NodeAttributes=ua.VariableAttributes(
                    DisplayName=ua.LocalizedText(name),
                    Value=ua.Variant(fields[path], kind if fields[path] is not None else ua.VariantType.Null),
                    DataType=ua.NodeId(kind.value),
                    ValueRank=ua.ValueRank.Scalar,
                    ArrayDimensions=[],
                    AccessLevel=_READ,
                    UserAccessLevel=_READ,
                ),
                TypeDefinition=ua.NodeId(definition),
            )
        )
    return items
