"""Publish responses: gaps are asked for again, doubles dropped, memory bounded. And what is desired of a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua import ua

from configs.schema import Device, Equipment, Group, OpcUaOptions, Protocol, Tag
from controller.drivers import opcua_desired as desired
from controller.drivers.opcua_addresses import Addresses
from controller.drivers.opcua_intake import Intake, Mailbox, Traffic
from controller.drivers.opcua_messages import Messages
from controller.errors import BadInputError, DeviceLostError


def message(sequence: int, *handles: int) -> Any:
    items = [ua.MonitoredItemNotification(ClientHandle=h, Value=ua.DataValue(1.0)) for h in handles]
    data = [ua.DataChangeNotification(MonitoredItems=items)] if items else []
    return ua.NotificationMessage(SequenceNumber=sequence, NotificationData=data)


def response(sequence: int, *handles: int, more: bool = False) -> Any:
    return ua.PublishResult(1, MoreNotifications=more, NotificationMessage=message(sequence, *handles))


class Server:
    """Keeps messages for Republish."""

    def __init__(self, *kept: Any) -> None:
        self.kept = {m.SequenceNumber: m for m in kept}
        self.asked: list[int] = []
        self.ended: list[str] = []

    async def republish(self, sequence: int) -> Any:
        self.asked.append(sequence)
        if sequence not in self.kept:
            raise DeviceLostError("BadMessageNotAvailable")
        return self.kept[sequence]

    def intake(self, max_queued: int = 100) -> tuple[Intake, Mailbox, Traffic]:
        box, traffic = Mailbox(), Traffic()
        return Intake(box, traffic, self.republish, self.ended.append, max_queued), box, traffic


def handles(intake: Intake) -> list[tuple[list[int], bool]]:
    return [([i.ClientHandle for i in r.notifications], r.more) for r in intake.drain()]


@pytest.mark.asyncio
async def test_a_gap_is_filled_in_order_and_before_the_newer_message() -> None:
    server = Server(message(2, 20), message(3, 30))
    intake, _, traffic = server.intake()
    for sequence in (1, 4):
        await intake.on_publish(response(sequence, sequence * 10))
    assert handles(intake) == [([10], False), ([20], True), ([30], True), ([40], False)]
    assert traffic == Traffic(notifications=4, republished_messages=2)


@pytest.mark.asyncio
async def test_a_keep_alive_shows_a_gap_too_and_otherwise_brings_an_empty_response() -> None:
    server = Server(message(2, 20))
    intake, _, traffic = server.intake()
    await intake.on_publish(response(1, 10))
    await intake.on_publish(response(2))  # keep-alive: 2 will be next
    await intake.on_publish(response(1))  # some servers repeat the last number instead
    assert (handles(intake), server.asked) == ([([10], False), ([], False), ([], False)], [])
    await intake.on_publish(response(3))
    assert handles(intake) == [([20], True), ([], False)]
    assert traffic.lost_messages == 0


@pytest.mark.asyncio
async def test_what_cannot_be_fetched_is_counted_and_said_and_doubles_are_dropped() -> None:
    server = Server()
    intake, box, traffic = server.intake()
    await intake.on_publish(response(3, 30))
    await intake.on_publish(response(3, 30))
    await intake.on_publish(response(5000, 1))
    assert handles(intake) == [([30], False), ([1], False)]
    assert traffic.lost_messages == 2 + 4996
    assert [severity for severity, _, _ in box.notes] == ["error"] * 3
    assert "notification message 1 is lost: BadMessageNotAvailable" in box.notes[0][2]


@pytest.mark.asyncio
async def test_sequence_numbers_wrap_from_the_largest_to_one() -> None:
    server = Server()
    intake, _, traffic = server.intake()
    intake._expected = 0xFFFF_FFFF
    for sequence in (0xFFFF_FFFF, 1, 2):
        await intake.on_publish(response(sequence, 7))
    assert len(handles(intake)) == 3 and not server.asked and traffic.lost_messages == 0


@pytest.mark.asyncio
async def test_a_reader_that_falls_behind_makes_the_server_queue() -> None:
    intake, _, traffic = Server().intake(max_queued=3)
    await intake.on_publish(response(1, 1, 2))
    publishing = asyncio.ensure_future(intake.on_publish(response(2, 3, 4)))
    await asyncio.sleep(0.01)
    assert intake.blocked and not publishing.done() and traffic.held_back == 1
    assert [len(items) for items, _ in handles(intake)] == [2, 2]
    await publishing
    publishing = asyncio.ensure_future(intake.on_publish(response(3, *range(9))))
    await asyncio.sleep(0.01)
    intake.close()
    await publishing


@pytest.mark.asyncio
async def test_a_subscription_that_the_server_ends_is_reported() -> None:
    server = Server()
    intake, _, _ = server.intake()
    ending = ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout))
    await intake.on_publish(
        ua.PublishResult(
            1,
            MoreNotifications=False,
            NotificationMessage=ua.NotificationMessage(SequenceNumber=1, NotificationData=[ending]),
        )
    )
    assert server.ended == ["the server ended the subscription: BadTimeout (0x800A0000)"]


def equipment(period_s: float, address: str = "s=x", options: OpcUaOptions | None = None) -> Equipment:
    return Equipment(
        name="plc",
        title="",
        protocol=Protocol.OPCUA,
        opcua=options or OpcUaOptions(namespace="urn:x", queue_outage_s=30.0),
        group=(
            Group(name="web", period_s=period_s, tag=(Tag(name="x", address=address), Tag(name="y", address="i=5"))),
            Group(name="setpoint", tag=(Tag(name="z", address="s=z", access="write"),)),
        ),
    )


@pytest.mark.parametrize(
    ("period_s", "speed", "sampling_ms", "queue"),
    [(10.0, 960.0, 10.4166667, 2880), (0.1, 1.0, 100.0, 300), (3600.0, 1.0, 3_600_000.0, 2)],
)
def test_sampling_and_queue_are_in_wall_time_and_never_zero(
    period_s: float, speed: float, sampling_ms: float, queue: int
) -> None:
    kind = equipment(period_s)
    assert kind.opcua is not None
    items = desired.desired_items(desired.subscribed(kind), kind.opcua, speed)
    assert [item.tag.name for item in items] == ["x", "y"]
    assert items[0].sampling_ms == pytest.approx(sampling_ms) and items[0].queue_size == queue


def test_limits_take_the_smaller_and_zero_means_none() -> None:
    options = OpcUaOptions(namespace="urn:x", max_items_per_call=50)
    assert desired.limits(options, 0, 10, 1000) == desired.Limits(read=50, write=10, monitor=50)


def test_node_ids_take_the_namespace_of_the_day() -> None:
    tags = (
        Tag(name="x", address="s=A.B"), Tag(name="y", address="ns=0;i=2258"),
        Tag(name="z", address="nsu=urn:b;s=C"), Tag(name="w", address="ns=2;i=5"),
    )  # fmt: skip
    kind = equipment(1.0).model_copy(update={"group": (Group(name="g", period_s=1.0, tag=tags),)})
    addresses = Addresses(kind, "urn:a")
    assert addresses.begin(["0", "1", "urn:b", "urn:a"]) == []
    assert [addresses.node(t).to_string() for t in tags] == ["ns=3;s=A.B", "i=2258", "ns=2;s=C", "ns=2;i=5"]
    moved = addresses.begin(["0", "1", "urn:new", "urn:a", "urn:b"])
    assert moved == ["namespace 'urn:b' has index 4 now (was 2)"]
    assert [addresses.node(t).to_string() for t in tags] == ["ns=3;s=A.B", "i=2258", "ns=4;s=C", "ns=4;i=5"]
    addresses.begin(["0", "1"])
    assert addresses.node(tags[0]).NamespaceIndex == 0xFFFF, "nobody has it, and nothing else is read in its place"


def test_bad_arguments_are_named_before_anything_is_opened() -> None:
    plc = Device(id="plc1", equipment="plc", endpoint="opc.tcp://127.0.0.1:1/x")
    with pytest.raises(BadInputError, match="tag 'x': 'q=5' is not a node identifier"):
        desired.check(plc, equipment(1.0, "q=5"))
    with pytest.raises(BadInputError, match="is not an OPC UA endpoint"):
        desired.check(plc.model_copy(update={"endpoint": "modbus.tcp://127.0.0.1:1/1"}), equipment(1.0))


def test_events_get_times_of_their_own() -> None:
    messages = Messages("plc1", "opc.tcp://h:1")
    messages.add("warning", "a")
    messages.add("info", "b")
    (first,) = messages.take(100)
    messages.add("info", "c")
    (second,) = messages.take(100)
    assert first.time_ns.tolist() + second.time_ns.tolist() == [100, 101, 102]
    assert first.text["message"] == ["plc1 at opc.tcp://h:1: a", "plc1 at opc.tcp://h:1: b"]
    assert messages.take(200) == []
