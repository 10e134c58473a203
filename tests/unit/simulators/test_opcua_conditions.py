"""Conditions and the past without a socket: when an alarm changes, what its events say, which values a read finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua

from configs.schema import OpcUaAlarm
from simulators.servers.opcua_alarms import NORMAL, OFF_NORMAL, Alarm, Alarms, Event
from simulators.servers.opcua_history import Ring, Row

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def alarm(**options: object) -> Alarm:
    wanted = OpcUaAlarm.model_validate({"name": "a", "tag": "t", "text": "Something"} | options)
    return Alarm(wanted, "a", 0, ua.NodeId("a", 2), ua.NodeId("t", 2), "t")


def test_a_level_alarm_takes_the_outermost_limit_and_leaves_it_by_the_deadband() -> None:
    level = alarm(high_high=90, high=80, low=20, low_low=10, deadband=2)
    seen = []
    for value in (50, 80, 79, 78.5, 91, 89, 87.9, 77.9, 19, 21, 22.1, 9, 11, 12.1, 23):
        level.look(value)
        seen.append(level.state)
    assert seen == [
        NORMAL, "High", "High", "High", "HighHigh", "HighHigh", "High", NORMAL, "Low", "Low", NORMAL, "LowLow",
        "LowLow", "Low", NORMAL,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "off", "fine"), [({"states": (9, 11)}, (9, 11), (4, 6, 0)), ({"bits": 0b110}, (2, 4, 7), (0, 1, 8))]
)
def test_an_off_normal_alarm(options: dict[str, object], off: tuple[int, ...], fine: tuple[int, ...]) -> None:
    watched = alarm(**options)
    for value in off:
        watched.look(value)
        assert watched.state == OFF_NORMAL
    for value in fine:
        watched.look(value)
        assert watched.state == NORMAL


def test_an_alarm_stays_until_it_has_gone_and_somebody_has_seen_it() -> None:
    alarms, one = Alarms(), alarm(high=80)
    alarms.add("t", one)
    import numpy as np

    assert alarms.look("t", np.array([50.0]), T0) == []
    assert alarms.look("t", np.array([85.0]), T0) == [one]
    assert (one.active, one.acknowledged, one.retain) == (True, False, True)
    first = one.event_id
    assert alarms.look("t", np.array([86.0]), T0) == []  # no news
    alarms.look("t", np.array([50.0]), T0 + timedelta(seconds=1))
    assert (one.active, one.acknowledged, one.retain) == (False, False, True)
    assert one.event_id != first
    assert alarms.acknowledge(one, first, "seen", "anna", T0) == ua.StatusCodes.BadEventIdUnknown
    assert alarms.acknowledge(one, one.event_id, "seen", "anna", T0) == 0
    assert (one.retain, one.comment, one.user) == (False, "seen", "anna")
    again = alarms.acknowledge(one, one.event_id, "", "anna", T0)
    assert again == ua.StatusCodes.BadConditionBranchAlreadyAcked


def test_nobody_sees_the_value() -> None:
    one = alarm(high=80)
    one.look(85.0)
    assert one.look(float("nan"))
    assert not one.look(float("nan"))
    assert one.active
    assert one.fields()["Quality"].is_bad()
    assert one.look(85.0)
    assert one.fields()["Quality"].is_good()


def test_an_event_gives_the_fields_that_are_asked_for() -> None:
    one = alarm(high=80)
    one.look(85.0)

    def clause(*path: str) -> ua.SimpleAttributeOperand:
        names = [ua.QualifiedName(name, 0) for name in path]
        return ua.SimpleAttributeOperand(BrowsePath=names, AttributeId=ua.AttributeIds.Value)

    own = ua.SimpleAttributeOperand(AttributeId=ua.AttributeIds.NodeId)
    event = Event(one.fields(), ua.NodeId(ua.ObjectIds.Server))
    got = event.to_event_fields([clause("ActiveState", "Id"), clause("Severity"), clause("NoSuchField"), own])
    assert [v.Value for v in got] == [True, 500, None, ua.NodeId("a", 2)]
    assert [v.VariantType for v in got] == [
        ua.VariantType.Boolean, ua.VariantType.UInt16, ua.VariantType.Null, ua.VariantType.NodeId
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "one of the three"),
        ({"high": 1, "states": (3,)}, "one of the three"),
        ({"high": 10, "low": 20}, "limits must rise"),
    ],
)
def test_options_that_make_no_alarm(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        alarm(**options)


def filled(values: int, most: int = 100) -> Ring:
    ring = Ring(most)
    for k in range(values):
        ring.add(ua.DataValue(ua.Variant(float(k)), ua.StatusCode(), SourceTimestamp=T0 + timedelta(seconds=10 * k)))
    return ring


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def numbers(rows: list[Row]) -> list[float | None]:
    return [row[3] for row in rows]


@pytest.mark.parametrize(
    ("start", "end", "bounds", "found"),
    [
        (at(10), at(30), False, [1, 2]),  # the end is not part of it
        (at(30), at(10), False, [3, 2]),  # backwards
        (at(15), at(25), False, [2]),
        (at(15), at(25), True, [1, 2, 3]),
        (at(25), at(15), True, [3, 2, 1]),
        (at(20), at(20), False, [2]),
        (at(21), at(21), False, []),
        (at(-5), at(5), True, [None, 0, 1]),  # nothing before the first
        (at(35), at(99), True, [3, 4, None]),
        (at(500), at(600), False, []),
    ],
)
def test_raw_values_between_two_times(start: datetime, end: datetime, bounds: bool, found: list[float | None]) -> None:
    assert numbers(filled(5).raw(start, end, 0, bounds)) == found


def test_raw_values_from_one_time_on() -> None:
    ring = filled(5)
    assert numbers(ring.raw(at(20), None, 10, False)) == [2, 3, 4]
    assert numbers(ring.raw(None, at(20), 10, False)) == [2, 1, 0]
    for start, end, most in ((None, None, 10), (at(0), None, 0), (None, at(0), 0)):
        with pytest.raises(ValueError, match="two of"):
            ring.raw(start, end, most, False)


def test_the_oldest_value_goes_and_a_second_one_of_the_same_time_replaces() -> None:
    ring = filled(9, most=4)
    assert numbers(ring.raw(at(0), at(1000), 0, False)) == [5, 6, 7, 8]
    ring.add(ua.DataValue(ua.Variant(99.0), ua.StatusCode(), SourceTimestamp=at(80)))
    assert len(ring) == 4
    assert numbers(ring.raw(at(80), at(81), 0, False)) == [99.0]


def test_a_kept_value_comes_back_as_it_was_shown() -> None:
    ring = Ring(10)
    shown = [
        ua.DataValue(ua.Variant([1.0, 2.0], ua.VariantType.Double, is_array=True), ua.StatusCode(0), at(0), at(1)),
        ua.DataValue(
            ua.Variant(None, ua.VariantType.Null), ua.StatusCode(ua.StatusCodes.BadSensorFailure), at(2), at(3)
        ),
    ]
    for value in shown:
        ring.add(value)
    assert [ring.value(row) for row in ring.raw(at(0), at(9), 0, False)] == shown
