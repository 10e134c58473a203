"""OPC UA driver against a small real server: values, times, status codes, cuts, restarts, missing nodes, commands."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from asyncua import ua

from configs.schema import Device, Equipment, Group, OpcUaOptions, Protocol, Tag
from controller.clock import LineClock
from controller.drivers.opcua import OpcUaDriver
from controller.errors import CommandError, DeviceLostError, DeviceRefusedError
from controller.types import Frame, Quality, TimeSource, Write

_spec = importlib.util.spec_from_file_location("opcua_plc", Path(__file__).with_name("opcua_plc.py"))
assert _spec is not None and _spec.loader is not None
plc_module = sys.modules.setdefault("opcua_plc", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(plc_module)
Plc, Wire, URI = plc_module.Plc, plc_module.Wire, plc_module.URI

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

T0 = 1_700_000_000_000_000_000
MS = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Any]:
    """One server for all tests that need not restart it: starting one takes a second. It allows 4 operations a call."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with Plc(port, limit=4) as plc:
        yield plc


@pytest_asyncio.fixture(loop_scope="module")
async def plc(server: Any) -> AsyncIterator[Any]:
    """The server without any variables; keep-alives come quickly, so that standing values leave quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)
        yield server
    await server.clear()


def tag(name: str, **more: Any) -> Tag:
    return Tag(name=name, address=f"s={name}", type=more.pop("type", "float64"), **more)


def equipment(*groups: Group, **options: Any) -> Equipment:
    chosen: dict[str, Any] = {"namespace": URI, "publishing_interval_s": 0.05, "queue_outage_s": 10.0, "timeout_s": 2.0}
    return Equipment(
        name="plc", title="Test PLC", protocol=Protocol.OPCUA, opcua=OpcUaOptions(**(chosen | options)), group=groups
    )


def scalar(*tags: Tag, period_s: float = 0.05) -> Group:
    return Group(name="web", period_s=period_s, tag=tags)


@asynccontextmanager
async def running(endpoint: str, kind: Equipment, **more: Any) -> AsyncIterator[OpcUaDriver]:
    before = asyncio.all_tasks()
    driver = OpcUaDriver(Device(id="plc1", equipment="plc", endpoint=endpoint), kind, LineClock(), **more)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.stop()
        await asyncio.sleep(0.05)
        left = {t for t in asyncio.all_tasks() - before if "asyncua/client" in repr(t) or "opcua" in t.get_name()}
        assert not left


async def collect(driver: OpcUaDriver, enough: Callable[[list[Frame]], bool], within_s: float = 8.0) -> list[Frame]:
    frames: list[Frame] = []
    try:
        async with asyncio.timeout(within_s):
            while not enough(frames):
                frames += await driver.read()
    except TimeoutError:
        pytest.fail(f"not within {within_s} s; got {[(f.stream, f.time_ns.tolist()) for f in frames]}")
    return frames


def column(frames: list[Frame], stream: str, name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([f.columns[name] for f in frames if f.stream == stream] or [np.empty(0)])


def stamps(frames: list[Frame], stream: str) -> list[int]:
    return [t for f in frames if f.stream == stream for t in f.time_ns.tolist()]


def messages(frames: list[Frame]) -> str:
    return "\n".join(line for f in frames if f.stream == "event" for line in f.text["message"])


async def test_values_stamps_and_status_codes_are_kept(plc: Any) -> None:
    kind = equipment(scalar(tag("speed", min=0, max=2), tag("state", type="uint16")))
    await plc.add("speed", 0.0)
    await plc.add("state", 0, ua.VariantType.UInt16)
    await plc.set("speed", 0.1, T0)
    await plc.set("state", 2, T0, kind=ua.VariantType.UInt16)
    async with running(plc.endpoint, kind) as driver:
        first = await collect(driver, lambda f: bool(stamps(f, "web")))
        await plc.set("speed", 0.2, T0 + 10 * MS)
        await plc.set("state", 6, T0 + 10 * MS, kind=ua.VariantType.UInt16)
        await plc.set("speed", 0.3, T0 + 20 * MS)
        await plc.set("speed", None, T0 + 30 * MS, ua.StatusCodes.BadSensorFailure)
        await plc.set("speed", 0.5, T0 + 40 * MS, ua.StatusCodes.UncertainLastUsableValue)
        await plc.set("speed", 9.0, T0 + 50 * MS)
        rest = await collect(driver, lambda f: T0 + 50 * MS in stamps(f, "web"))
    frames = first + rest
    assert stamps(frames, "web") == [T0 + k * 10 * MS for k in range(6)]
    np.testing.assert_array_equal(column(frames, "web", "speed"), [0.1, 0.2, 0.3, np.nan, 0.5, 9.0])
    np.testing.assert_array_equal(column(frames, "web", "state"), [2, 6, 6, 6, 6, 6])
    quality = np.concatenate([f.quality for f in frames if f.stream == "web"])
    assert quality.tolist() == [0, 0, 0, Quality.BAD, Quality.UNCERTAIN, Quality.UNCERTAIN]
    code = np.concatenate([f.code for f in frames if f.stream == "web"]).tolist()
    assert code[3:] == [
        ua.StatusCodes.BadSensorFailure,
        ua.StatusCodes.UncertainLastUsableValue,
        ua.StatusCodes.UncertainEngineeringUnitsExceeded,
    ]
    assert all(f.time_source is TimeSource.DEVICE for f in frames if f.stream == "web")


async def test_a_cut_of_three_seconds_at_20_hz_loses_nothing(plc: Any, free_port: Any) -> None:
    kind = equipment(scalar(tag("speed"), tag("count")))
    async with Wire(free_port(), plc.port) as wire:
        await plc.add("speed", 0.0)
        await plc.add("count", 0.0)
        sent: list[int] = []

        async def produce() -> None:
            for k in range(90):
                for name in ("speed", "count"):
                    await plc.set(name, float(k + 1), T0 + k * 50 * MS)
                sent.append(T0 + k * 50 * MS)
                await asyncio.sleep(0.05)

        async with running(wire.endpoint, kind) as driver:
            await collect(driver, lambda f: bool(stamps(f, "web")))
            producer = asyncio.create_task(produce())
            reader = asyncio.create_task(collect(driver, lambda f: T0 + 89 * 50 * MS in stamps(f, "web"), 15.0))
            await asyncio.sleep(0.6)
            wire.cut()
            await asyncio.sleep(3.0)
            with pytest.raises(DeviceLostError, match=r"plc1 at opc\.tcp"):
                await driver.read_back(["speed"])
            wire.mend()
            frames = await reader
            await producer
            counters = driver.counters
    got = [t for t in stamps(frames, "web") if t >= T0]
    assert got == sent
    np.testing.assert_array_equal(column(frames, "web", "speed")[-90:], np.arange(1.0, 91.0))
    np.testing.assert_array_equal(column(frames, "web", "count")[-90:], np.arange(1.0, 91.0))
    assert counters["interruptions"] == 1 and counters["lost_messages"] == 0
    assert "connection interrupted" in messages(frames) and "connection is back" in messages(frames)


async def test_a_node_that_is_missing_shows_bad_and_is_picked_up_when_it_appears(plc: Any) -> None:
    kind = equipment(scalar(tag("speed"), tag("later")))
    await plc.add("speed", 0.0)
    await plc.set("speed", 1.0, T0)
    async with running(plc.endpoint, kind, item_retry_s=0.2) as driver:
        frames = await collect(driver, lambda f: bool(stamps(f, "web")))
        assert driver.counters["items_missing"] == 1
        assert "tag 'later' (s=later) cannot be read: BadNodeIdUnknown" in messages(frames)
        row = next(f for f in frames if f.stream == "web")
        assert (row.quality.tolist(), row.code.tolist()) == ([Quality.BAD], [ua.StatusCodes.BadNodeIdUnknown])
        assert np.isnan(row.columns["later"][0]) and row.columns["speed"][0] == 1.0
        await asyncio.sleep(0.5)
        await plc.add("later", 7.0)
        frames = await collect(driver, lambda f: "'later' (s=later) is there now" in messages(f))
        assert messages(frames).count("tag 'later'") == 1  # changes only, no repetition
        await plc.set("speed", 2.0, T0 + MS)
        frames = await collect(driver, lambda f: T0 + MS in stamps(f, "web"))
        assert driver.counters["items_missing"] == 0
    assert column(frames, "web", "later").tolist() == [7.0]
    assert frames[-1].quality.tolist() == [Quality.GOOD]


async def test_arrays_become_points_and_a_wrong_length_is_bad_and_said_once(plc: Any) -> None:
    zone = Group(name="zone", points=3, point_name="zone", period_s=0.05, tag=(tag("temperature"),))
    await plc.add("temperature", [1.0, 2.0, 3.0])
    async with running(plc.endpoint, equipment(zone)) as driver:
        await collect(driver, lambda f: bool(stamps(f, "zone")))
        await plc.set("temperature", [4.0, 5.0], T0)
        await plc.set("temperature", [4.0, 5.0, 6.0, 7.0], T0 + MS)
        await plc.set("temperature", [8.0, 9.0, 10.0], T0 + 2 * MS)
        frames = await collect(driver, lambda f: T0 + 2 * MS in stamps(f, "zone"))
        assert driver.counters["unreadable_values"] == 2
    assert stamps(frames, "zone") == [T0] * 3 + [T0 + MS] * 3 + [T0 + 2 * MS] * 3
    points = np.concatenate([f.point for f in frames if f.stream == "zone"])
    assert points.tolist() == [1, 2, 3] * 3
    np.testing.assert_array_equal(column(frames, "zone", "temperature"), [np.nan] * 6 + [8.0, 9.0, 10.0])
    quality = np.concatenate([f.quality for f in frames if f.stream == "zone"])
    assert quality.tolist() == [Quality.BAD] * 6 + [Quality.GOOD] * 3
    assert messages(frames).count("does not send 3 value(s)") == 1
    assert "sends 3 number(s) again" in messages(frames)


async def test_write_and_read_back(plc: Any) -> None:
    kind = equipment(
        scalar(tag("speed")),
        Group(
            name="set",
            tag=(
                tag("speed_sp", access="write", scale=0.5),
                tag("command", type="uint16", access="command"),
                tag("sequence", type="uint16", access="write"),
                tag("locked", access="write"),
            ),
        ),
        Group(name="zones", points=4, point_name="zone", tag=(tag("zone_sp", access="write"),)),
    )
    await plc.add("speed", 0.0)
    await plc.add("speed_sp", 0.0, writable=True)
    await plc.add("command", 0, ua.VariantType.UInt16, writable=True)
    await plc.add("sequence", 0, ua.VariantType.UInt16, writable=True)
    await plc.add("locked", 0.0)
    await plc.add("zone_sp", [1.0, 2.0, 3.0, 4.0], writable=True)
    async with running(plc.endpoint, kind) as driver:
        await driver.write(
            [
                Write("speed_sp", (3.0,)),
                Write("zone_sp", (80.0, 90.0)),
                Write("command", (1.0,)),
                Write("sequence", (7.0,)),
            ]
        )
        assert await plc.nodes["speed_sp"].read_value() == 6.0
        assert (await plc.nodes["command"].read_data_value()).Value.VariantType is ua.VariantType.UInt16
        back = await driver.read_back(["speed_sp", "zone_sp", "command", "sequence"])
        assert {name: values.tolist() for name, values in back.items()} == {
            "speed_sp": [3.0], "zone_sp": [80.0, 90.0, 3.0, 4.0], "command": [1.0], "sequence": [7.0],
        }  # fmt: skip
        with pytest.raises(CommandError, match=r"'speed' .* is measured and cannot be written"):
            await driver.write([Write("speed", (1.0,))])
        with pytest.raises(CommandError, match="70000 does not fit uint16"):
            await driver.write([Write("speed_sp", (9.0,)), Write("command", (70_000.0,))])
        assert await plc.nodes["speed_sp"].read_value() == 6.0  # nothing was sent
        with pytest.raises(CommandError, match="no tag 'nonsense'"):
            await driver.read_back(["nonsense"])
        with pytest.raises(DeviceRefusedError, match=r"plc1 at opc.*'locked' \(s=locked\).*Bad") as refusal:
            await driver.write([Write("locked", (1.0,))])
        assert refusal.value.code in {ua.StatusCodes.BadNotWritable, ua.StatusCodes.BadUserAccessDenied}


async def test_limits_that_the_server_announces_are_kept(plc: Any) -> None:
    tags = tuple(tag(f"v{k}", access="write") for k in range(10))
    for k in range(10):
        await plc.add(f"v{k}", float(k), writable=True)
    async with running(plc.endpoint, equipment(scalar(*tags))) as driver:
        frames = await collect(driver, lambda f: bool(stamps(f, "web")))
        assert [frames[-1].columns[f"v{k}"][-1] for k in range(10)] == list(range(10))
        await driver.write([Write(f"v{k}", (float(k + 1),)) for k in range(10)])
        back = await driver.read_back([f"v{k}" for k in range(10)])
        assert [back[f"v{k}"][0] for k in range(10)] == [k + 1.0 for k in range(10)]
    sizes = [size for kind, size in plc.calls if kind == "monitor"]
    assert sizes == [4, 4, 2]
    assert max(size for kind, size in plc.calls if kind == "read") <= 4
    assert [size for kind, size in plc.calls if kind == "write"] == [4, 4, 2]


async def test_a_restarted_server_with_another_namespace_order_is_read_after_stop_and_start(free_port: Any) -> None:
    port = free_port()
    # Longer than a server needs to start beside other tests: it is to be found again, not given up.
    kind = equipment(scalar(tag("speed")), queue_outage_s=120.0)
    async with Plc(port) as plc:
        await plc.add("speed", 0.0)
        await plc.set("speed", 1.0, T0)
        first_index = plc.index
        driver = OpcUaDriver(Device(id="plc1", equipment="plc", endpoint=plc.endpoint), kind, LineClock())
        await driver.start()
        await collect(driver, lambda f: T0 in stamps(f, "web"))
    try:
        with pytest.raises(DeviceLostError, match=r"plc1 at opc\.tcp"):
            await driver.read_back(["speed"])
        async with Plc(port, "urn:test:other", URI) as plc:
            assert plc.index != first_index
            await plc.add("speed", 0.0)
            await plc.set("speed", 2.0, T0 + MS)
            with pytest.raises(DeviceLostError, match=r"plc1 at opc.*forgotten the subscription"):
                await collect(driver, lambda _: False, 60.0)
            await driver.stop()
            await driver.start()
            frames = await collect(driver, lambda f: T0 + MS in stamps(f, "web"), 30.0)
            assert column(frames, "web", "speed").tolist() == [2.0]
            assert (await driver.read_back(["speed"]))["speed"].tolist() == [2.0]
            await driver.stop()
    finally:
        await driver.stop()


async def test_errors_at_start_say_what_where_and_what_to_do(plc: Any, free_port: Any) -> None:
    port = free_port()
    kind = equipment(scalar(tag("speed")), namespace="urn:test:elsewhere")
    driver = OpcUaDriver(
        Device(id="plc1", equipment="plc", endpoint=f"opc.tcp://127.0.0.1:{port}/plc"), kind, LineClock()
    )
    with pytest.raises(DeviceLostError, match=rf"plc1 at opc.tcp://127.0.0.1:{port}/plc: connecting.*is the server"):
        await driver.start()
    with pytest.raises(DeviceLostError, match="not connected"):
        await driver.read()
    driver = OpcUaDriver(Device(id="plc1", equipment="plc", endpoint=plc.endpoint), kind, LineClock())
    with pytest.raises(
        DeviceRefusedError, match=r"no namespace 'urn:test:elsewhere'; the server offers .*urn:test:plc"
    ):
        await driver.start()
    with pytest.raises(DeviceLostError, match="not connected"):
        await driver.write([])
    await driver.stop()
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("opcua")]


async def test_a_server_that_goes_silent_is_lost_and_a_reader_can_be_cancelled(
    plc: Any,
) -> None:
    kind = equipment(scalar(tag("speed")), timeout_s=0.5)
    await plc.add("speed", 0.0)
    async with running(plc.endpoint, kind) as driver:
        await collect(driver, lambda f: bool(stamps(f, "web")))
        reader = asyncio.create_task(asyncio.wait_for(driver.read(), 30))
        await asyncio.sleep(0.1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        subscriptions = plc.server.iserver.subscription_service.subscriptions
        for subscription in subscriptions.values():
            subscription.pub_request_callback = lambda _id: None  # alive, but never publishes again
        with pytest.raises(DeviceLostError, match="no notification or keep-alive"):
            await collect(driver, lambda _: False)
