"""What a PLC's OPC UA server offers beyond values, on a real socket: methods, events, the past, limits, paging."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from tests.unit.simulators.opcua_rig import NAMESPACE, START_NS, Rig, S, node

in_module_loop = pytest.mark.asyncio(loop_scope="module")
ACKNOWLEDGE = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge)
REFRESH = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)


# The standard address space takes a second: one server for all tests that leave it as it was.
@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[tuple[Rig, Client]]:
    async with Rig(max_sessions=2) as rig, rig.client() as client:
        yield rig, client


async def scanning(rig: Rig) -> None:
    while True:
        await rig.scan()
        await asyncio.sleep(0.01)


async def command(rig: Rig, client: Client, name: str) -> list[int]:
    machine = await node(client, "Press")
    plc = asyncio.create_task(scanning(rig))
    try:
        result = await machine.call_method(f"{await client.get_namespace_index(NAMESPACE)}:{name}")
    finally:
        plc.cancel()
    return result if isinstance(result, list) else [result]


@in_module_loop
async def test_methods_do_what_the_command_word_does(served: tuple[Rig, Client]) -> None:
    rig, client = served
    rig.machine.set(press_state=4, press_seq=7, press_seq_ack=7)
    await rig.scan()
    rig.machine.taken.clear()
    assert await command(rig, client, "Start") == [8, 1]
    assert await command(rig, client, "Start") == [9, 2]  # refused in this state, as over the command word
    assert await command(rig, client, "Hold") == [10, 1]
    assert rig.machine.taken == [1, 1, 3]
    assert await (await node(client, "Press.State")).read_value() == 11
    assert await (await node(client, "Press.SequenceAck")).read_value() == 10
    assert await command(rig, client, "Stop") == [11, 1]


@in_module_loop
async def test_a_method_does_not_hold_up_its_client(served: tuple[Rig, Client]) -> None:
    rig, client = served
    machine, index = await node(client, "Press"), await client.get_namespace_index(NAMESPACE)
    waiting = asyncio.create_task(machine.call_method(f"{index}:Start"))
    await asyncio.sleep(0.05)
    assert await (await node(client, "Press.State")).read_value() == 4
    assert not waiting.done()
    await rig.scan()
    assert (await waiting)[1] == 1
    assert (await command(rig, client, "Stop"))[1] == 1


@in_module_loop
@pytest.mark.parametrize(
    ("target", "arguments", "code"),
    [
        ("Press", [ua.Variant(1, ua.VariantType.UInt16)], ua.StatusCodes.BadTooManyArguments),
        ("Press.Zone", [], ua.StatusCodes.BadMethodInvalid),
    ],
)
async def test_a_call_that_is_wrong(served: tuple[Rig, Client], target: str, arguments: list[Any], code: int) -> None:
    _, client = served
    method = await node(client, "Press.Start()")
    request = ua.CallMethodRequest((await node(client, target)).nodeid, method.nodeid, arguments)
    assert (await client.uaclient.call([request]))[0].StatusCode.value == code


class Heard:
    """Events as they come."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()

    def event_notification(self, event: Any) -> None:
        self.events.put_nowait(event)

    async def next(self) -> Any:
        return await asyncio.wait_for(self.events.get(), 10)


@in_module_loop
async def test_alarms_come_as_events_and_are_acknowledged(served: tuple[Rig, Client]) -> None:
    rig, client = served
    rig.machine.set(press_state=4)
    await rig.scan()
    await command(rig, client, "Acknowledge")  # what earlier tests have left
    heard = Heard()
    subscription = await client.create_subscription(20, heard)
    kinds = [client.get_node(ua.NodeId(ua.ObjectIds.ExclusiveLevelAlarmType))]
    await subscription.subscribe_alarms_and_conditions(evtypes=kinds[0])
    await rig.scan(force_n=850.0)
    event = await heard.next()
    assert event.SourceName == "Press.Force"
    assert event.Message.Text == "Force: High at 850"
    assert (event.Severity, getattr(event, "ActiveState/Id"), event.Retain) == (700, True, True)
    assert event.Time == datetime.fromtimestamp(rig.plant_ns / S, UTC)
    assert getattr(event, "AckedState/Id") is False
    await rig.scan(force_n=950.0)
    worse = await heard.next()
    assert getattr(worse, "LimitState/CurrentState").Text == "HighHigh"

    async def acknowledge(event_id: bytes) -> int:
        words = ua.Variant(ua.LocalizedText("on my way"), ua.VariantType.LocalizedText)
        arguments = [ua.Variant(event_id, ua.VariantType.ByteString), words]
        request = ua.CallMethodRequest(worse.NodeId, ACKNOWLEDGE, arguments)
        return int((await client.uaclient.call([request]))[0].StatusCode.value)

    assert await acknowledge(event.EventId) == ua.StatusCodes.BadEventIdUnknown
    assert await acknowledge(worse.EventId) == 0
    acked = await heard.next()
    assert (getattr(acked, "AckedState/Id"), acked.Comment.Text, acked.Retain) == (True, "on my way", True)
    state = await node(client, f"{worse.NodeId.Identifier}/AckedState/Id")
    assert await state.read_value() is True
    # A second client that comes late asks for what stands.
    late = Heard()
    other = await client.create_subscription(20, late)
    # A refresh goes to the one subscription only, between its marks.
    await other.subscribe_alarms_and_conditions(evtypes=client.get_node(ua.NodeId(ua.ObjectIds.BaseEventType)))
    number = ua.Variant(other.subscription_id, ua.VariantType.UInt32)
    request = ua.CallMethodRequest(ua.NodeId(ua.ObjectIds.ConditionType), REFRESH, [number])
    (await client.uaclient.call([request]))[0].StatusCode.check()
    told = [await late.next() for _ in range(3)]
    assert [e.EventType.Identifier for e in told] == [
        ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.ExclusiveLevelAlarmType, ua.ObjectIds.RefreshEndEventType
    ]  # fmt: skip
    assert heard.events.empty()
    await rig.scan(force_n=100.0)
    gone = await heard.next()
    assert (getattr(gone, "ActiveState/Id"), gone.Retain) == (False, False)
    await subscription.delete()
    await other.delete()


@in_module_loop
async def test_the_panels_button_acknowledges_everything(served: tuple[Rig, Client]) -> None:
    rig, client = served
    await rig.scan(zone_c=[100.0, 160.0, 170.0])
    machine, index = await node(client, "Press"), await client.get_namespace_index(NAMESPACE)
    waiting = sum(not alarm.acknowledged for alarm in rig.server._conditions.alarms)
    assert waiting >= 2
    assert await machine.call_method(f"{index}:Acknowledge") == waiting
    await rig.scan(zone_c=[100.0, 100.0, 100.0])
    assert not any(alarm.retain for alarm in rig.server._conditions.alarms)


@in_module_loop
async def test_the_past_in_pages(served: tuple[Rig, Client]) -> None:
    rig, client = served
    begin = rig.plant_ns
    for k in range(30):
        await rig.scan(force_n=200.0 + k)
    force = await node(client, "Press.Force")
    assert ua.AccessLevel.HistoryRead in await force.get_access_level()
    start = datetime.fromtimestamp(begin / S, UTC) + timedelta(milliseconds=500)
    found = await force.read_raw_history(start, start + timedelta(hours=1), 1000)
    # asyncua's client asks for the bounding values too.
    assert [v.Value.Value for v in found[1:-1]] == [200.0 + k for k in range(30)]
    assert found[-1].StatusCode.value == ua.StatusCodes.BadBoundNotFound
    assert found[4].SourceTimestamp == datetime.fromtimestamp(begin / S, UTC) + timedelta(seconds=4)
    params = ua.HistoryReadParameters()
    params.HistoryReadDetails = ua.ReadRawModifiedDetails(StartTime=start, EndTime=start + timedelta(hours=1))
    params.HistoryReadDetails.IsReadModified = params.HistoryReadDetails.ReturnBounds = False
    params.HistoryReadDetails.NumValuesPerNode = 12
    params.ReleaseContinuationPoints = False
    params.TimestampsToReturn = ua.TimestampsToReturn.Source
    item = ua.HistoryReadValueId(NodeId=force.nodeid)
    pages = []
    while True:
        params.NodesToRead = [item]
        result = (await client.uaclient.history_read(params))[0]
        result.StatusCode.check()
        pages.append([v.Value.Value for v in result.HistoryData.DataValues])
        assert all(v.ServerTimestamp is None for v in result.HistoryData.DataValues)
        if not result.ContinuationPoint:
            break
        item = ua.HistoryReadValueId(NodeId=force.nodeid, ContinuationPoint=result.ContinuationPoint)
    assert [len(page) for page in pages] == [12, 12, 6]
    assert [value for page in pages for value in page] == [200.0 + k for k in range(30)]
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await (await node(client, "Press.Stroke")).read_raw_history(start, start + timedelta(hours=1), 10)
    assert refused.value.code == ua.StatusCodes.BadHistoryOperationUnsupported


@in_module_loop
async def test_limits_are_announced_and_kept(served: tuple[Rig, Client]) -> None:
    rig, client = served
    prefix = "Server_ServerCapabilities_OperationLimits_MaxNodesPer"
    for name in ("Read", "Write", "Browse", "MethodCall", "TranslateBrowsePathsToNodeIds", "HistoryReadData"):
        told = client.get_node(ua.NodeId(getattr(ua.ObjectIds, prefix + name)))
        assert await told.read_value() == 20, name
    force = (await node(client, "Press.Force")).nodeid
    too_many = {
        "read": lambda: client.uaclient.read(ua.ReadParameters(NodesToRead=[ua.ReadValueId(force, 13)] * 21)),
        "write": lambda: client.uaclient.write(ua.WriteParameters([ua.WriteValue(force, 13)] * 21)),
        "browse": lambda: client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[ua.BrowseDescription(force)] * 21)),
        "call": lambda: client.uaclient.call([ua.CallMethodRequest(force, force)] * 21),
        "history": lambda: client.uaclient.history_read(
            ua.HistoryReadParameters(ua.ReadRawModifiedDetails(), NodesToRead=[ua.HistoryReadValueId(force)] * 21)
        ),
    }
    for name, request in too_many.items():
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await request()
        assert refused.value.code == ua.StatusCodes.BadTooManyOperations, name
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await client.uaclient.read(ua.ReadParameters())
    assert refused.value.code == ua.StatusCodes.BadNothingToDo
    async with rig.client():
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await rig.client().connect()
        assert refused.value.code == ua.StatusCodes.BadTooManySessions
    await asyncio.sleep(0)


@in_module_loop
async def test_browsing_in_pages(served: tuple[Rig, Client]) -> None:
    _, client = served
    press = (await node(client, "Press")).nodeid
    want = ua.BrowseDescription(press, ua.BrowseDirection.Forward, ua.NodeId(ua.ObjectIds.HierarchicalReferences))
    want.IncludeSubtypes, want.ResultMask = True, ua.BrowseResultMask.All
    whole = (await client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[want])))[0].References
    params = ua.BrowseParameters(RequestedMaxReferencesPerNode=5, NodesToBrowse=[want])
    page = (await client.uaclient.browse(params))[0]
    names = [r.BrowseName.Name for r in page.References]
    while page.ContinuationPoint:
        assert len(page.References) == 5
        more = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[page.ContinuationPoint])
        page = (await client.uaclient.browse_next(more))[0]
        names += [r.BrowseName.Name for r in page.References]
    assert names == [r.BrowseName.Name for r in whole]
    stale = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[b"12345678"])
    assert (await client.uaclient.browse_next(stale))[0].StatusCode.value == ua.StatusCodes.BadContinuationPointInvalid


@in_module_loop
@pytest.mark.parametrize(
    ("text", "found", "code"),
    [
        ("1", [2.0], 0),
        ("0:1", [1.0, 2.0], 0),
        ("2:9", [3.0], 0),
        ("5", None, ua.StatusCodes.BadIndexRangeNoData),
        ("2:1", None, ua.StatusCodes.BadIndexRangeInvalid),
        ("x", None, ua.StatusCodes.BadIndexRangeInvalid),
    ],
)
async def test_a_part_of_an_array(served: tuple[Rig, Client], text: str, found: list[float] | None, code: int) -> None:
    rig, client = served
    await rig.scan(zone_c=[1.0, 2.0, 3.0])
    zone = (await node(client, "Press.Zone.Temperature")).nodeid
    item = ua.ReadValueId(NodeId=zone, AttributeId=ua.AttributeIds.Value, IndexRange=text)
    result = (await client.uaclient.read(ua.ReadParameters(NodesToRead=[item])))[0]
    assert (result.StatusCode.value, None if result.Value is None else result.Value.Value) == (code, found)


@in_module_loop
async def test_a_queue_that_runs_over_says_so(served: tuple[Rig, Client]) -> None:
    rig, client = served
    rows: list[tuple[float, int]] = []

    class Taker:
        def datachange_notification(self, _node: Any, value: Any, data: Any) -> None:
            rows.append((value, data.monitored_item.Value.StatusCode.value & 0xFFFF))

    subscription = await client.create_subscription(200, Taker())
    await subscription.subscribe_data_change(await node(client, "Press.Stroke"), queuesize=3)
    await asyncio.sleep(0.3)
    rows.clear()
    for k in range(8):
        await rig.scan(stroke=float(k))
    for _ in range(200):
        if len(rows) == 3:
            break
        await asyncio.sleep(0.02)
    await subscription.delete()
    assert rows == [(5.0, 0x0480), (6.0, 0), (7.0, 0)]


@pytest.mark.asyncio
async def test_a_stopped_server_starts_again_without_its_past() -> None:
    rig = Rig()
    async with rig:
        await rig.scan(force_n=300.0)
    async with rig, rig.client() as client:
        force = await node(client, "Press.Force")
        assert await force.read_value() == 300.0
        start = datetime.fromtimestamp(START_NS / S, UTC)
        found = await force.read_raw_history(start, start + timedelta(hours=1), 1000)
        assert [v.Value.Value for v in found] == [None, 300.0, None]  # and the bounds that there are not


@in_module_loop
@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"HELF" + (8).to_bytes(4, "little"),
        b"HELF" + (2**31).to_bytes(4, "little") + bytes(100),
        b"MSGF" + (32).to_bytes(4, "little") + bytes(24),
        b"OPNF" + (60).to_bytes(4, "little") + b"\xff" * 52,
    ],
)
async def test_noise_harms_nobody_else(served: tuple[Rig, Client], noise: bytes) -> None:
    rig, client = served
    _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(noise)
    await writer.drain()
    assert await (await node(client, "Press.State")).read_value() >= 0
    writer.close()
    await writer.wait_closed()
