"""What can break at the OPC UA server, as a client sees it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from tests.unit.simulators.opcua_rig import NAMESPACE, Rig, S, node

pytestmark = pytest.mark.asyncio(loop_scope="module")


# The standard address space takes a second: every test mends what it broke.
@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[Rig]:
    async with Rig() as rig:
        yield rig


@pytest_asyncio.fixture(loop_scope="module")
async def rig(served: Rig) -> Rig:
    """As it was at first."""
    await served.scan(force_n=100.0, press_state=4)
    return served


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


async def gone(client: Client) -> None:
    """Put a client away whose connection has been broken."""
    try:
        await client.disconnect()
    except (OSError, ua.UaError, TimeoutError):
        client.disconnect_socket()


async def test_a_restart_forgets_every_session_and_keeps_what_the_plc_retains(rig: Rig) -> None:
    client = rig.client()
    await client.connect()
    await rig.scan(force_n=850.0)
    await client.create_subscription(100, None)
    rig.fault("restart", down_s=30.0)
    await rig.scan()
    assert not listens(rig.port)
    assert rig.server._server is not None
    iserver = rig.server._server.iserver
    assert not iserver._external_sessions
    assert not iserver.subscription_service.subscriptions
    await gone(client)
    await rig.scan(25.0, force_n=860.0)
    assert not listens(rig.port)
    await rig.scan(10.0)
    async with rig.client() as again:
        assert await (await node(again, "Press.Force")).read_value() == 860.0
        assert await (await node(again, "Press.force/ActiveState/Id")).read_value() is True


async def test_the_end_of_a_restart_comes_before_its_time(rig: Rig) -> None:
    rig.fault("restart", down_s=3600.0)
    await rig.scan()
    rig.fault("restart", on=False, down_s=3600.0)
    assert not listens(rig.port)
    await rig.scan()
    assert listens(rig.port)


async def test_other_identifiers_and_the_same_browse_paths(rig: Rig) -> None:
    rig.fault("node_ids_changed", down_s=0.0)
    await rig.scan(force_n=123.0)
    async with rig.client() as client:
        index = await client.get_namespace_index(NAMESPACE)
        force = await client.nodes.objects.get_child([f"{index}:Press", f"{index}:Force"])
        assert force.nodeid == ua.NodeId("PLC_2.Press.Force", index)
        assert await force.read_value() == 123.0
        with pytest.raises(ua.UaStatusCodeError):
            await (await node(client, "Press.Force")).read_value()
        objects = await client.nodes.objects.get_children()
        assert len([o for o in objects if o.nodeid.NamespaceIndex == index]) == 2  # the press, and the i=77
    rig.fault("node_ids_changed", on=False, down_s=0.0)
    await rig.scan(force_n=124.0)
    async with rig.client() as client:
        assert await (await node(client, "Press.Force")).read_value() == 124.0


async def test_another_index_and_the_same_namespace(rig: Rig) -> None:
    async with rig.client() as client:
        before = await client.get_namespace_index(NAMESPACE)
    rig.fault("namespace_index_changed", down_s=0.0)
    await rig.scan(force_n=123.0)
    async with rig.client() as client:
        assert await client.get_namespace_index(NAMESPACE) == before + 1
        assert await (await node(client, "Press.Force")).read_value() == 123.0
        with pytest.raises(ua.UaStatusCodeError):
            await client.get_node(ua.NodeId("Press.Force", before)).read_value()


async def test_a_cut_resets_connections_and_refuses_new_ones(rig: Rig) -> None:
    client = rig.client()
    await client.connect()
    rig.fault("cut")
    with pytest.raises((OSError, ua.UaError, TimeoutError)):
        await client.nodes.server_state.read_value()
    other = rig.client()
    with pytest.raises((OSError, ua.UaError, TimeoutError)):
        await other.connect()
    rig.fault("cut", on=False)
    await gone(client)
    async with rig.client() as again:
        assert await (await node(again, "Press.State")).read_value() == 4


async def test_a_black_hole_answers_nothing_until_it_ends(rig: Rig) -> None:
    async with rig.client() as client:
        state = await node(client, "Press.State")
        rig.fault("black_hole")
        asked = asyncio.create_task(state.read_value())
        await rig.scan(press_state=6)
        _, waiting = await asyncio.wait([asked], timeout=0.3)
        assert waiting
        late = socket.create_connection(("127.0.0.1", rig.port), 1)  # taken, and not answered
        late.sendall(b"HELF\x20\x00\x00\x00" + bytes(24))
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.recv(8)
        late.close()
        rig.fault("black_hole", on=False)
        assert await asyncio.wait_for(asked, 5) == 6
        await asyncio.sleep(0.1)  # the stranger's connection is given up


async def test_slow_keeps_the_order_of_messages(rig: Rig) -> None:
    async with rig.client() as client:
        state = await node(client, "Press.State")
        rig.fault("slow", delay_s=0.2)
        began = time.monotonic()
        assert await asyncio.gather(*(state.read_value() for _ in range(5))) == [4] * 5
        took = time.monotonic() - began
        assert took >= 0.2  # a lower bound: no load makes it faster
        last = asyncio.create_task(state.read_value())
        await asyncio.sleep(0.05)
        rig.fault("slow", on=False, delay_s=0.2)
        assert await state.read_value() == 4
        assert last.done()  # what was said first came first
        await last


async def test_a_tag_with_a_status_of_its_own(rig: Rig) -> None:
    async with rig.client() as client:
        force = await node(client, "Press.Force")
        rig.fault("bad_status", tag="force_n", status="BadSensorFailure")
        await rig.scan()  # no value has changed
        shown = await force.read_data_value(raise_on_bad_status=False)
        assert (shown.StatusCode.value, shown.Value.Value) == (ua.StatusCodes.BadSensorFailure, None)
        rig.fault("bad_status", tag="force_n", status="UncertainLastUsableValue")
        await rig.scan()
        shown = await force.read_data_value(raise_on_bad_status=False)
        assert (shown.StatusCode.value, shown.Value.Value) == (ua.StatusCodes.UncertainLastUsableValue, 100.0)
        rig.fault("bad_status", on=False, tag="force_n")
        await rig.scan()
        assert await force.read_value() == 100.0


async def test_the_servers_own_time_is_wrong(rig: Rig) -> None:
    async with rig.client() as client:
        rig.fault("server_clock_skew", skew_s=3600.0)
        await rig.scan(force_n=101.0)
        item = ua.ReadValueId(NodeId=(await node(client, "Press.Force")).nodeid, AttributeId=ua.AttributeIds.Value)
        both = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=[item])
        value = (await client.uaclient.read(both))[0]
        assert abs(
            value.ServerTimestamp - datetime.fromtimestamp(time.time_ns() / S, UTC) - timedelta(hours=1)
        ) < timedelta(minutes=5)
        assert value.SourceTimestamp.year == 2025


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("bad_status", {"tag": "nothing", "status": "BadSensorFailure"}, "has no tag 'nothing'"),
        ("bad_status", {"tag": "force_n", "status": "Terrible"}, "no status code is called"),
        ("restart", {"down_s": -1.0}, "negative"),
        ("flood", {}, "no fault is called 'flood'"),
    ],
)
async def test_faults_that_there_are_not(rig: Rig, name: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rig.server.fault(name, True, settings)


async def test_a_restart_that_begins_and_ends_between_two_scans(rig: Rig) -> None:
    client = rig.client()
    await client.connect()
    rig.fault("restart", down_s=3600.0)
    rig.fault("restart", on=False, down_s=3600.0)
    await rig.scan()
    assert listens(rig.port)
    await gone(client)
    assert rig.server._server is not None
    assert not rig.server._server.iserver._external_sessions
