"""The OPC UA driver and its supervisor behind the fault proxy: every value under its own stamp, none lost."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from configs.schema import Device, Equipment, Group, OpcUaOptions, Protocol, Tag, ValueType
from controller.clock import LineClock
from controller.drivers.opcua import OpcUaDriver
from controller.gateway.supervisor import BackOff, DeviceTask
from controller.types import ConnectionState, Frame
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.proxy.proxy import FaultProxy

_spec = importlib.util.spec_from_file_location("opcua_plc", Path(__file__).with_name("opcua_plc.py"))
assert _spec is not None and _spec.loader is not None
plc_module = sys.modules.setdefault("opcua_plc", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(plc_module)

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

T0 = 1_700_000_000_000_000_000
STEP_NS = 20_000_000
EQUIPMENT = Equipment(
    name="plc",
    title="Test PLC",
    protocol=Protocol.OPCUA,
    opcua=OpcUaOptions(namespace=plc_module.URI, publishing_interval_s=0.05, queue_outage_s=10.0, timeout_s=0.4),
    group=(Group(name="web", period_s=0.02, tag=(Tag(name="count", address="s=count", type=ValueType.FLOAT64),)),),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Any]:
    """One server for all tests: starting one takes a second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)
        async with plc_module.Plc(port) as plc:
            await plc.add("count", 0.0)
            yield plc


class Watch:
    """A driver under its supervisor, and the rows that came of it."""

    def __init__(self, port: int) -> None:
        device = Device(id="plc1", equipment="plc", endpoint=f"opc.tcp://127.0.0.1:{port}/plc")
        self.driver = OpcUaDriver(device, EQUIPMENT, LineClock())
        self.task = DeviceTask(self.driver, BackOff(0.02, 0.05), self.frames, self.state, random.Random(1))
        self.rows: list[tuple[int, float]] = []
        self.said = ""
        self.details: list[str] = []

    async def frames(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.stream == "web":
                self.rows += zip(frame.time_ns.tolist(), frame.columns["count"].tolist(), strict=True)
            else:
                self.said += "\n".join(frame.text["message"]) + "\n"

    def state(self, device: str, state: ConnectionState, detail: str) -> None:
        self.details += [detail] if detail else []

    async def came(self, time_ns: int) -> None:
        end = asyncio.get_running_loop().time() + 10
        while not self.rows or self.rows[-1][0] < time_ns:
            assert asyncio.get_running_loop().time() < end, (self.details, self.said, self.rows[-3:])
            await asyncio.sleep(0.01)


Faults = dict[str, dict[str, float | str]]


@pytest.mark.parametrize(
    ("faults", "breaks_off"),
    [
        ({"net_cut": {}}, True),
        ({"net_black_hole": {"after": "reset"}}, True),
        ({"net_half_open": {}}, True),
        ({"net_reset": {"after_bytes": 400.0}}, True),
        (
            {
                "net_delay": {"delay_s": 0.03, "jitter_s": 0.03},
                "net_bandwidth": {"bytes_per_s": 8000.0},
                "net_fragment": {"bytes": 50.0, "gap_s": 0.0002},
            },
            False,
        ),
    ],
)
async def test_every_value_comes_under_its_own_stamp_and_none_is_lost(
    plc: Any, faults: Faults, breaks_off: bool
) -> None:
    proxy = FaultProxy(("127.0.0.1", 0), ("127.0.0.1", plc.port), seed=2)
    await proxy.start()
    watch = Watch(proxy.port)
    running = asyncio.create_task(watch.task.run())
    sent = 0

    async def produce(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            sent += 1
            await plc.set("count", float(sent), T0 + sent * STEP_NS)
            await asyncio.sleep(0.02)

    try:
        await produce(5)
        await watch.came(T0 + STEP_NS)
        for kind, settings in faults.items():
            proxy.fault(kind, True, NETWORK_FAULTS[kind].complete(kind, settings))
        await produce(40)
        for kind, settings in faults.items():
            proxy.fault(kind, False, NETWORK_FAULTS[kind].complete(kind, settings))
        await produce(10)
        await watch.came(T0 + sent * STEP_NS)
        counters = watch.driver.counters
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await proxy.stop()
        await plc.set("count", 0.0, plc_module.LONG_AGO_NS)
    rows = [(stamp, value) for stamp, value in watch.rows if stamp >= T0]
    assert [value for _, value in rows] == [float(k) for k in range(sent - len(rows) + 1, sent + 1)]
    assert [stamp for stamp, _ in rows] == [T0 + int(value) * STEP_NS for _, value in rows]
    assert len(rows) >= 50, "all since the first notification"
    assert (counters["interruptions"] > 0, counters["lost_messages"]) == (breaks_off, 0)
    assert ("connection is back" in watch.said) == breaks_off
    assert not [line for line in watch.details if "fault in celltwin" in line]
