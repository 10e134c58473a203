"""The OPC UA server on a real socket, with a machine of three tags and with the coater's equipment type."""

from __future__ import annotations

import asyncio
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from asyncua import Client, Node, ua

import configs
from configs.schema import Equipment
from simulators.servers.opcua import OpcUaServer
from simulators.servers.opcua_methods import commands
from simulators.servers.opcua_nodes import build_nodes
from simulators.servers.opcua_units import UNECE, engineering_units, unit_id

S = 1_000_000_000
START_NS = 1_760_000_000 * S
NAMESPACE = "urn:celltwin:slot-die-coater"
EQUIPMENT = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"


def equipment() -> Equipment:
    return Equipment.model_validate(tomllib.loads(EQUIPMENT.read_text()))


class Plc:
    """A soft machine: holds what is written, refuses speeds above 1, records the order of writes."""

    def __init__(self) -> None:
        self.held = {t.name: np.zeros(g.points) for g in equipment().group for t in g.tag}
        self.writes: list[tuple[str, list[float]]] = []

    def write(self, tag: str, values: np.ndarray) -> None:
        if tag == "web_speed_sp_m_s" and values[0] > 1.0:
            raise ValueError("too fast")
        self.writes.append((tag, values.tolist()))
        self.held[tag] = values.copy()

    def outputs(self, **changes: Any) -> dict[str, np.ndarray]:
        for name, value in changes.items():
            self.held[name] = np.atleast_1d(np.array(value, dtype=float))
        return dict(self.held)


class Rig:
    """A server with its machine, and a client that is connected to it."""

    def __init__(self, port: int) -> None:
        self.plc = Plc()
        self.port = port
        self.endpoint = f"opc.tcp://127.0.0.1:{port}/coater1"
        self.server = OpcUaServer(equipment(), self.endpoint, self.plc.write)
        self.client = Client(self.endpoint, timeout=10)
        self.client.session_timeout = 60_000
        self.index = 0
        self.plant_ns = START_NS

    def node(self, name: str) -> Node:
        return self.client.get_node(ua.NodeId(name, self.index))

    async def scan(self, **changes: Any) -> None:
        self.plant_ns += 10 * S
        await self.server.publish(self.plc.outputs(**changes), self.plant_ns)


# The standard address space takes a second: one server for all tests that leave it as it was.
@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[Rig]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = Rig(probe.getsockname()[1])
    await found.server.publish(found.plc.outputs(web_speed_m_s=0.1), found.plant_ns)
    await found.server.start()
    async with found.client:
        found.index = await found.client.get_namespace_index(NAMESPACE)
        yield found
    await found.server.stop()


in_module_loop = pytest.mark.asyncio(loop_scope="module")


@in_module_loop
async def test_every_tag_is_a_node_with_its_type(rig: Rig) -> None:
    for group in equipment().group:
        for tag in group.tag:
            node = rig.node(str(tag.address).removeprefix("s="))
            expected = {"float64": ua.VariantType.Double, "uint16": ua.VariantType.UInt16}.get(tag.type.value)
            if expected is not None:
                assert await node.read_data_type_as_variant_type() is expected, tag.name
            rank, dims = await node.read_value_rank(), await node.read_array_dimensions()
            wanted = (ua.ValueRank.OneDimension, [group.points]) if group.points > 1 else (ua.ValueRank.Scalar, [])
            assert (rank, list(dims or [])) == wanted, tag.name
            writable = ua.AccessLevel.CurrentWrite in await node.get_access_level()
            assert writable == (tag.access.value != "read"), tag.name


@in_module_loop
async def test_ranges_and_units_are_properties_of_an_analog_item(rig: Rig) -> None:
    speed = rig.node("Coater.Web.Speed")
    assert await speed.read_type_definition() == ua.NodeId(ua.ObjectIds.AnalogItemType)
    limits = await (await speed.get_child("0:EURange")).read_value()
    assert (limits.Low, limits.High) == (0.0, 2.0)
    unit = await (await speed.get_child("0:EngineeringUnits")).read_value()
    assert (unit.NamespaceUri, unit.UnitId, unit.DisplayName.Text) == (UNECE, unit_id("MTS"), "m/s")
    profile = rig.node("Coater.Gauge.Profile")
    assert await profile.read_type_definition() == ua.NodeId(ua.ObjectIds.AnalogItemType)
    timeout = rig.node("Coater.HeartbeatTimeout")
    assert await timeout.read_type_definition() == ua.NodeId(ua.ObjectIds.AnalogUnitType)
    assert (await speed.read_description()).Text == "Measured web speed"


@in_module_loop
async def test_the_tree_follows_the_dots(rig: Rig) -> None:
    found = await rig.client.nodes.objects.get_child(
        [f"{rig.index}:Coater", f"{rig.index}:Dryer", f"{rig.index}:ZoneTemperature"]
    )
    assert found == rig.node("Coater.Dryer.ZoneTemperature")
    names = [(await child.read_browse_name()).Name for child in await rig.node("Coater").get_children()]
    assert {"State", "Web", "Pump", "Gauge", "Dryer", "Command"} <= set(names)


@in_module_loop
async def test_values_carry_plant_time_and_the_servers_own(rig: Rig) -> None:
    await rig.scan(web_speed_m_s=0.11, zone_temperature_c=[80.0, 81.0, 82.0, 83.0])
    wanted = ua.ReadValueId(NodeId=rig.node("Coater.Web.Speed").nodeid, AttributeId=ua.AttributeIds.Value)
    both = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=[wanted])
    speed = (await rig.client.uaclient.read(both))[0]
    assert speed.Value == ua.Variant(0.11, ua.VariantType.Double)
    assert speed.StatusCode.is_good()
    plant = datetime.fromtimestamp(rig.plant_ns / S, UTC)
    assert speed.SourceTimestamp == plant
    assert abs(speed.ServerTimestamp - datetime.fromtimestamp(time.time_ns() / S, UTC)) < timedelta(minutes=1)
    zones = await rig.node("Coater.Dryer.ZoneTemperature").read_data_value()
    assert zones.Value.Value == [80.0, 81.0, 82.0, 83.0]
    assert zones.SourceTimestamp == plant
    # What did not change keeps the time of its last change.
    await rig.scan()
    assert (await rig.node("Coater.Web.Speed").read_data_value()).SourceTimestamp == plant


@in_module_loop
async def test_nothing_to_see_is_a_bad_status_and_no_value(rig: Rig) -> None:
    lanes = np.full(24, 0.169)
    lanes[3] = np.nan
    await rig.scan(gauge_mass_loading_kg_m2=np.nan, lane_mass_loading_kg_m2=lanes)
    reading = await rig.node("Coater.Gauge.MassLoading").read_data_value(raise_on_bad_status=False)
    assert reading.StatusCode.value == ua.StatusCodes.BadOutOfService
    assert reading.Value.Value is None
    profile = await rig.node("Coater.Gauge.Profile").read_data_value(raise_on_bad_status=False)
    assert profile.StatusCode.value == ua.StatusCodes.UncertainSubNormal
    assert np.isnan(profile.Value.Value[3])
    await rig.scan(gauge_mass_loading_kg_m2=0.17, lane_mass_loading_kg_m2=np.full(24, 0.17))
    assert await rig.node("Coater.Gauge.MassLoading").read_value() == 0.17
    assert await rig.node("Coater.Gauge.Profile").read_value() == [0.17] * 24


@in_module_loop
async def test_writes_reach_the_machine_in_order_and_show_at_once(rig: Rig) -> None:
    rig.plc.writes.clear()
    nodes = [rig.node(n) for n in ("Coater.Dryer.ZoneTemperatureSetpoint", "Coater.Command", "Coater.CommandSequence")]
    values = [
        ua.Variant([80.0, 105.0, 120.0, 95.0], ua.VariantType.Double),
        ua.Variant(1, ua.VariantType.UInt16),
        ua.Variant(7, ua.VariantType.UInt16),
    ]
    await rig.client.write_values(nodes, [ua.DataValue(v) for v in values])
    assert rig.plc.writes == [
        ("zone_temperature_sp_c", [80.0, 105.0, 120.0, 95.0]),
        ("coater_command", [1.0]),
        ("coater_command_seq", [7.0]),
    ]
    shown = await nodes[0].read_data_value()
    assert shown.Value.Value == [80.0, 105.0, 120.0, 95.0]
    assert shown.SourceTimestamp == datetime.fromtimestamp(rig.plant_ns / S, UTC)
    # The PLC took the command word and cleared it: the next scan shows what it holds.
    await rig.scan(coater_command=0.0)
    assert await nodes[1].read_value() == 0
    assert await nodes[2].read_value() == 7


@in_module_loop
@pytest.mark.parametrize(
    ("name", "variant", "code"),
    [
        ("Coater.Web.SpeedSetpoint", ua.Variant(1.5, ua.VariantType.Double), ua.StatusCodes.BadOutOfRange),
        ("Coater.Web.SpeedSetpoint", ua.Variant(0.1, ua.VariantType.Float), ua.StatusCodes.BadTypeMismatch),
        ("Coater.Web.SpeedSetpoint", ua.Variant([0.1], ua.VariantType.Double), ua.StatusCodes.BadTypeMismatch),
        (
            "Coater.Dryer.ZoneTemperatureSetpoint",
            ua.Variant([80.0], ua.VariantType.Double),
            ua.StatusCodes.BadTypeMismatch,
        ),
        ("Coater.Web.Speed", ua.Variant(0.1, ua.VariantType.Double), ua.StatusCodes.BadNotWritable),
        ("Coater.NoSuchTag", ua.Variant(0.1, ua.VariantType.Double), ua.StatusCodes.BadNodeIdUnknown),
    ],
)
async def test_a_refused_write_says_why_and_changes_nothing(
    rig: Rig, name: str, variant: ua.Variant, code: int
) -> None:
    rig.plc.writes.clear()
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await rig.node(name).write_value(ua.DataValue(variant))
    if code != ua.StatusCodes.BadNodeIdUnknown:
        assert refused.value.code == code
    assert rig.plc.writes == []


@in_module_loop
async def test_one_refusal_in_a_request_leaves_the_others(rig: Rig) -> None:
    rig.plc.writes.clear()
    params = ua.WriteParameters()
    for name, value in (("Coater.Web.SpeedSetpoint", 1.5), ("Coater.Pump.RateSetpoint", 3.25)):
        item = ua.WriteValue(NodeId=rig.node(name).nodeid, AttributeId=ua.AttributeIds.Value)
        item.Value = ua.DataValue(ua.Variant(value, ua.VariantType.Double))
        params.NodesToWrite.append(item)
    results = await rig.client.uaclient.write(params)
    assert [r.value for r in results] == [ua.StatusCodes.BadOutOfRange, ua.StatusCodes.Good]
    assert rig.plc.writes == [("pump_rate_sp_ml_s", [3.25])]


@in_module_loop
async def test_only_values_can_be_written(rig: Rig) -> None:
    item = ua.WriteValue(NodeId=rig.node("Coater.Web.SpeedSetpoint").nodeid, AttributeId=ua.AttributeIds.DisplayName)
    item.Value = ua.DataValue(ua.Variant(ua.LocalizedText("mine"), ua.VariantType.LocalizedText))
    results = await rig.client.uaclient.write(ua.WriteParameters([item]))
    assert results[0].is_bad()


class Seen:
    """Every notification: node, value, source time."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any, datetime]] = []
        self.enough = asyncio.Event()
        self.wanted = 0

    def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
        self.rows.append((str(node.nodeid.Identifier), value, data.monitored_item.Value.SourceTimestamp))
        if len(self.rows) >= self.wanted:
            self.enough.set()


@in_module_loop
async def test_a_subscription_gets_every_scan(rig: Rig) -> None:
    seen, scans = Seen(), 200
    subscription = await rig.client.create_subscription(50, seen)
    nodes = [rig.node("Coater.Web.Position"), rig.node("Coater.Dryer.ZoneTemperature")]
    seen.wanted = 2 * (scans + 1)
    await subscription.subscribe_data_change(nodes, queuesize=2 * scans)
    begin = rig.plant_ns
    for k in range(scans):
        await rig.scan(web_position_m=k + 1.0, zone_temperature_c=[80.0 + k, 1.0, 2.0, 3.0])
    await asyncio.wait_for(seen.enough.wait(), 20)
    await subscription.delete()
    expected = [datetime.fromtimestamp((begin + (k + 1) * 10 * S) / S, UTC) for k in range(scans)]
    for node in nodes:
        name = str(node.nodeid.Identifier)
        assert [t for n, _, t in seen.rows if n == name][1:] == expected
    positions = [v for n, v, _ in seen.rows if n == "Coater.Web.Position"]
    assert positions[1:] == [k + 1.0 for k in range(scans)]


@in_module_loop
async def test_queue_size_zero_is_one(rig: Rig) -> None:
    seen = Seen()
    seen.wanted = 2
    subscription = await rig.client.create_subscription(300, seen)
    await subscription.subscribe_data_change(rig.node("Coater.Web.Position"), queuesize=0)
    await asyncio.sleep(0.4)  # the initial value has gone out
    for k in range(20):
        await rig.scan(web_position_m=1000.0 + k)
    await asyncio.wait_for(seen.enough.wait(), 20)
    await subscription.delete()
    assert seen.rows[-1][1] == 1019.0
    assert len(seen.rows) <= 3


@in_module_loop
async def test_too_many_operations_in_one_request_are_refused(rig: Rig) -> None:
    limit = ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
    assert await rig.client.get_node(ua.NodeId(limit)).read_value() == 50
    nodes = [rig.node("Coater.State")] * 51
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await rig.client.read_values(nodes)
    assert refused.value.code == ua.StatusCodes.BadTooManyOperations
    assert len(await rig.client.read_values(nodes[:50])) == 50


@in_module_loop
async def test_clients_come_and_go(rig: Rig) -> None:
    for _ in range(3):
        async with Client(rig.endpoint, timeout=10) as other:
            assert await other.get_node(ua.NodeId("Coater.State", rig.index)).read_value() >= 0
    assert await rig.node("Coater.State").read_value() >= 0


@pytest.mark.asyncio
async def test_stop_takes_clients_sessions_and_the_port_along(free_port: Callable[[], int]) -> None:
    rig = Rig(free_port())
    await rig.server.start()
    async with Client(rig.endpoint, timeout=10) as client:
        subscription = await client.create_subscription(100, Seen())
        index = await client.get_namespace_index(NAMESPACE)
        # Nothing has been published yet.
        node = client.get_node(ua.NodeId("Coater.State", index))
        value = await node.read_data_value(raise_on_bad_status=False)
        assert value.StatusCode.value == ua.StatusCodes.BadWaitingForInitialData
        await subscription.subscribe_data_change(node)
        await rig.server.stop()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", rig.port), 1).close()
        await client.disconnect()
    await rig.server.stop()  # again, and nothing happens
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:  # the client's own tasks are still being cancelled
        _, left = await asyncio.wait(others, timeout=3.0)
        assert left == set()


@pytest.mark.asyncio
async def test_a_port_in_use_is_an_os_error(free_port: Callable[[], int]) -> None:
    rig = Rig(free_port())
    with socket.create_server(("127.0.0.1", rig.port)), pytest.raises(OSError, match="in use"):
        await rig.server.start()
    await rig.server.stop()


@pytest.mark.parametrize("endpoint", ["modbus.tcp://127.0.0.1:502/1", "opc.tcp://127.0.0.1/x", "127.0.0.1:4840"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is no endpoint"):
        OpcUaServer(equipment(), endpoint, Plc().write)


def test_a_node_identifier_that_is_none() -> None:
    text = EQUIPMENT.read_text().replace('"s=Coater.State"', '"Coater.State"')
    with pytest.raises(ValueError, match="no node identifier"):
        build_nodes(Equipment.model_validate(tomllib.loads(text)), 2)


def test_units_have_the_numbers_of_the_specification() -> None:
    # Example of OPC 10000-8: degree Celsius, code CEL, UnitId 4408652.
    celsius = engineering_units("Cel")
    assert (celsius.UnitId, celsius.DisplayName.Text) == (4408652, "°C")
    unknown = engineering_units("furlong/d")
    assert (unknown.UnitId, unknown.DisplayName.Text) == (-1, "furlong/d")


def test_scaled_integers_go_both_ways() -> None:
    text = """
name = "meter"
title = "Meter"
protocol = "opcua"
opcua = { namespace = "urn:meter" }
[[group]]
name = "meter"
tag = [ { name = "room_c", address = "i=7", type = "int16", scale = 0.1, offset = -10.0, unit = "Cel" },
        { name = "on", address = "s=On", type = "bool" } ]
"""
    _, nodes = build_nodes(Equipment.model_validate(tomllib.loads(text)), 2)
    assert nodes[0].node_id == ua.NodeId(7, 2)
    variant = nodes[0].variant(np.array([21.5]))
    assert variant == ua.Variant(315, ua.VariantType.Int16)
    assert nodes[0].values(variant) == pytest.approx([21.5])
    assert nodes[1].variant(np.array([1.0])) == ua.Variant(True, ua.VariantType.Boolean)


def test_methods_are_the_meanings_of_the_command_word() -> None:
    found = commands(equipment())
    assert found == {"Start": 1, "Stop": 2, "Hold": 3, "Resume": 4, "Reset": 5}
    text = EQUIPMENT.read_text().replace("5 reset;", "5 reset, 6 say hello;")
    assert commands(Equipment.model_validate(tomllib.loads(text)))["SayHello"] == 6
    quiet = EQUIPMENT.read_text().replace("[opcua.server]", "[opcua.server]\nmethods = false")
    assert commands(Equipment.model_validate(tomllib.loads(quiet))) == {}


def test_every_equipment_type_that_comes_with_us_has_nodes() -> None:
    for file in sorted(EQUIPMENT.parent.glob("*.toml")):
        kind = Equipment.model_validate(tomllib.loads(file.read_text()))
        if kind.opcua is not None:
            items, nodes = build_nodes(kind, 2)
            assert len({item.RequestedNewNodeId for item in items}) == len(items), file.name
            assert len(nodes) == sum(len(group.tag) for group in kind.group), file.name
