"""Conditions of a simulated machine: level and off-normal alarms after OPC 10000-9, from the tags' values. No session.

Theory of operation. Each watched point is one condition. It is active while its value is beyond a limit (with a
deadband on the way back) or off normal; it becomes unacknowledged with every new active state, and is retained while
it is active or unacknowledged. Every change is one event in plant time. A value that nobody sees (NaN) changes no
state, only the condition's quality. Not modelled: confirmation, shelving, suppression, branches, enabling.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from asyncua import ua

from configs.schema import OpcUaAlarm
from simulators.machine import Values

NORMAL, OFF_NORMAL = "Normal", "OffNormal"
LEVELS = ("LowLow", "Low", "High", "HighHigh")
_LEVEL_ID = {name: ua.NodeId(getattr(ua.ObjectIds, f"ExclusiveLimitStateMachineType_{name}")) for name in LEVELS}
_PROCESS = ua.NodeId(ua.ObjectIds.ProcessConditionClassType)
_TYPES = {
    str: ua.VariantType.String,
    bool: ua.VariantType.Boolean,
    bytes: ua.VariantType.ByteString,
    datetime: ua.VariantType.DateTime,
    ua.NodeId: ua.VariantType.NodeId,
    ua.LocalizedText: ua.VariantType.LocalizedText,
    ua.StatusCode: ua.VariantType.StatusCode,
    float: ua.VariantType.Double,
}
_COUNTS = {"Severity": ua.VariantType.UInt16, "LastSeverity": ua.VariantType.UInt16}


class Event:
    """What happened, as fields by browse path ('ActiveState/Id'); asyncua's subscriptions ask it for what they want."""

    def __init__(self, fields: Mapping[str, Any], emitter: ua.NodeId) -> None:
        self._fields = fields
        self.emitting_node = emitter

    def field(self, path: str) -> Any:
        """The value, None for what this event does not have. The empty path is the condition's own identifier."""
        return self._fields.get(path)

    def to_event_fields(self, clauses: Sequence[ua.SimpleAttributeOperand]) -> list[ua.Variant]:
        """One Variant for each selected field, null for those that this event does not have (Part 4, 7.22.3)."""
        return [_variant(path := _path(clause), self._fields.get(path)) for clause in clauses]


def _path(clause: ua.SimpleAttributeOperand) -> str:
    names = [name.Name for name in clause.BrowsePath or []]
    own = not names and clause.AttributeId == ua.AttributeIds.NodeId
    return "" if own else "/".join(names) or "?"


def _variant(path: str, value: Any) -> ua.Variant:
    if value is None:
        return ua.Variant(None, ua.VariantType.Null)
    return ua.Variant(value, _COUNTS.get(path) or _TYPES[type(value)])


@dataclass(slots=True, eq=False)
class Alarm:
    """One condition of one point."""

    options: OpcUaAlarm
    name: str
    point: int  # 0-based
    condition: ua.NodeId
    source: ua.NodeId
    source_name: str
    state: str = NORMAL  # or OFF_NORMAL, or one of LEVELS
    acknowledged: bool = True
    bad: bool = False
    comment: str = ""
    user: str = ""
    time: datetime | None = None
    event_id: bytes = b""
    value: float = 0.0

    @property
    def active(self) -> bool:
        """True while it is off normal or beyond a limit."""
        return self.state != NORMAL

    @property
    def retain(self) -> bool:
        """True while a person should see it."""
        return self.active or not self.acknowledged

    @property
    def is_level(self) -> bool:
        """Whether it has limits."""
        return not (self.options.states or self.options.bits)

    @property
    def event_type(self) -> ua.NodeId:
        """ExclusiveLevelAlarmType or OffNormalAlarmType."""
        kind = ua.ObjectIds.ExclusiveLevelAlarmType if self.is_level else ua.ObjectIds.OffNormalAlarmType
        return ua.NodeId(kind)

    def look(self, value: float) -> bool:
        """Take a value; True when state or quality changed, which is an event."""
        if np.isnan(value):
            changed, self.bad = not self.bad, True
            return changed
        state = self._level(value) if self.is_level else self._normality(value)
        changed = state != self.state or self.bad
        self.bad = False
        if state not in {self.state, NORMAL}:
            self.acknowledged = False
        self.state = state
        if changed:
            self.value = value
        return changed

    def _normality(self, value: float) -> str:
        number = round(value)
        off = number in self.options.states or bool(number & self.options.bits)
        return OFF_NORMAL if off else NORMAL

    def _level(self, value: float) -> str:
        """The outermost limit that is passed, or that was passed and is not yet left by the deadband."""
        low_low, low, high, high_high = self.options.limits
        band = self.options.deadband
        above = {"HighHigh": high_high, "High": high}
        below = {"LowLow": low_low, "Low": low}
        inside_high = (self.state == "HighHigh", self.state in {"High", "HighHigh"})
        inside_low = (self.state == "LowLow", self.state in {"Low", "LowLow"})
        for (name, limit), was in zip(above.items(), inside_high, strict=True):
            if limit is not None and value >= limit - (band if was else 0.0):
                return name
        for (name, limit), was in zip(below.items(), inside_low, strict=True):
            if limit is not None and value <= limit + (band if was else 0.0):
                return name
        return NORMAL

    def fields(self) -> dict[str, Any]:
        """All fields of the condition as it stands (Part 9, 5.5 to 5.8), by browse path."""
        yes = ua.LocalizedText("Active" if self.active else "Inactive")
        acked = ua.LocalizedText("Acknowledged" if self.acknowledged else "Unacknowledged")
        quality = ua.StatusCodes.BadOutOfService if self.bad else ua.StatusCodes.Good
        told: dict[str, Any] = {
            "": self.condition,
            "EventId": self.event_id,
            "EventType": self.event_type,
            "SourceNode": self.source,
            "SourceName": self.source_name,
            "Time": self.time,
            "Message": ua.LocalizedText(self.message()),
            "Severity": self.options.severity,
            "LastSeverity": self.options.severity,
            "ConditionClassId": _PROCESS,
            "ConditionClassName": ua.LocalizedText("ProcessConditionClassType"),
            "ConditionName": self.name,
            "Retain": self.retain,
            "EnabledState": ua.LocalizedText("Enabled"),
            "EnabledState/Id": True,
            "AckedState": acked,
            "AckedState/Id": self.acknowledged,
            "ActiveState": yes,
            "ActiveState/Id": self.active,
            "Quality": ua.StatusCode(quality),
            "Comment": ua.LocalizedText(self.comment),
            "ClientUserId": self.user,
            "InputNode": self.source,
            "SuppressedOrShelved": False,
        }
        if self.is_level:
            for name, limit in zip(LEVELS, self.options.limits, strict=True):
                told[f"{name}Limit"] = limit
            if self.active:
                told["LimitState/CurrentState"] = ua.LocalizedText(self.state)
                told["LimitState/CurrentState/Id"] = _LEVEL_ID[self.state]
        return told

    def message(self) -> str:
        """The words of the event."""
        if self.bad:
            return f"{self.options.text}: no value"
        if not self.active:
            return f"{self.options.text}: back to normal"
        return f"{self.options.text}: {self.state} at {self.value:g}" if self.is_level else self.options.text


class Alarms:
    """All conditions of a server, by tag and by identifier."""

    def __init__(self) -> None:
        self._by_tag: dict[str, list[Alarm]] = {}
        self._by_id: dict[ua.NodeId, Alarm] = {}
        self._count = 0

    def __iter__(self) -> Iterator[Alarm]:
        return iter(self._by_id.values())

    def add(self, tag: str, alarm: Alarm) -> None:
        """Watch one more point of a tag."""
        self._by_tag.setdefault(tag, []).append(alarm)
        self._by_id[alarm.condition] = alarm

    def find(self, condition: ua.NodeId) -> Alarm | None:
        """The condition of that identifier."""
        return self._by_id.get(condition)

    def watched(self, tag: str) -> bool:
        """Whether any condition looks at the tag."""
        return tag in self._by_tag

    def look(self, tag: str, values: Values, time: datetime) -> list[Alarm]:
        """Take a tag's values at plant time; the conditions that changed."""
        changed = [alarm for alarm in self._by_tag[tag] if alarm.look(float(values[alarm.point]))]
        for alarm in changed:
            self.mark(alarm, time)
        return changed

    def mark(self, alarm: Alarm, time: datetime) -> None:
        """Give the condition's present state an event of its own."""
        self._count += 1
        alarm.time = time
        alarm.event_id = struct.pack(">QQ", round(time.timestamp() * 1e6), self._count)

    def acknowledge(self, alarm: Alarm, event_id: bytes, comment: str | None, user: str, time: datetime) -> int:
        """A person has seen the event. The status code of Part 9, 5.7.3."""
        if event_id != alarm.event_id:
            return int(ua.StatusCodes.BadEventIdUnknown)
        if alarm.acknowledged:
            return int(ua.StatusCodes.BadConditionBranchAlreadyAcked)
        alarm.acknowledged = True
        self.comment(alarm, comment, user, time)
        return 0

    def comment(self, alarm: Alarm, comment: str | None, user: str, time: datetime) -> None:
        """Add a person's words; an empty comment leaves the one that stands."""
        alarm.comment, alarm.user = comment or alarm.comment, user
        self.mark(alarm, time)
