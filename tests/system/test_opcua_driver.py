"""OPC UA driver against a small real server: values, times, status codes, cuts, restarts, missing nodes, commands."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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

pytestmark = pytest.mark.system

T0 = 1_700_000_000_000_000_000
MS = 1_000_000


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
        left = {t for t in asyncio.all_tasks() - before if "opcua" in repr(t) and "server" not in repr(t)}
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


@pytest.mark.asyncio
async def test_values_stamps_and_status_codes_are_kept(free_port: Any) -> None:
    kind = equipment(scalar(tag("speed", min=0, max=2), tag("state", type="uint16")))
    async with Plc(free_port()) as plc:
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


@pytest.mark.asyncio
async def test_a_cut_of_three_seconds_at_20_hz_loses_nothing(free_port: Any) -> None:
    port = free_port()
    kind = equipment(scalar(tag("speed"), tag("count")))
    async with Plc(port) as plc, Wire(free_port(), port) as wire:
        await plc.add("speed", 0.0)
        await plc.add("count", 0.0)
        sent: list[int] = []

        async def produce() -> None:
            for k in range(110):
                for name in ("speed", "count"):
                    await plc.set(name, float(k + 1), T0 + k * 50 * MS)
                sent.append(T0 + k * 50 * MS)
                await asyncio.sleep(0.05)

        async with running(wire.endpoint, kind) as driver:
            await collect(driver, lambda f: bool(stamps(f, "web")))
            producer = asyncio.create_task(produce())
            reader = asyncio.create_task(collect(driver, lambda f: T0 + 109 * 50 * MS in stamps(f, "web"), 15.0))
            await asyncio.sleep(0.6)
            wire.cut()
            await asyncio.sleep(3.0)
            with pytest.raises(DeviceLostError, match="plc1 at opc.tcp"):
                await driver.read_back(["speed"])
            wire.mend()
            frames = await reader
            await producer
            counters = driver.counters
    got = [t for t in stamps(frames, "web") if t >= T0]
    assert got == sent
    np.testing.assert_array_equal(column(frames, "web", "speed")[-110:], np.arange(1.0, 111.0))
    np.testing.assert_array_equal(column(frames, "web", "count")[-110:], np.arange(1.0, 111.0))
    assert counters["interruptions"] == 1 and counters["lost_messages"] == 0
    assert "connection interrupted" in messages(frames) and "connection is back" in messages(frames)
