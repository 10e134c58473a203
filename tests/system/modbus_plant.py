"""A soft machine behind the simulated Modbus server, and the controller's driver on it. No tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import Device, Equipment
from controller.drivers.modbus import ModbusDriver
from controller.types import Frame
from simulators.machine import Values
from simulators.servers.modbus import ModbusServer

NS_PER_S = 10**9
START_S = 1_700_000_000
CHANNELS = 3

TAGS = [
    {"name": "voltage_v", "address": 100, "type": "float32", "min": 0, "max": 5},
    {"name": "count", "address": 102, "type": "uint32", "word_order": "little"},
    {"name": "clock_s", "address": 104, "type": "uint32"},
    {"name": "serial", "address": 106, "type": "uint64", "byte_order": "little"},
]
WRITTEN = [
    {"name": "current_sp_a", "address": 10, "type": "float32", "max": 20, "access": "write", "word_order": "little",
     "byte_order": "little"},
    {"name": "mode", "address": 12, "type": "uint16", "access": "write"},
]  # fmt: skip


def equipment(**modbus: Any) -> Equipment:
    """Three channels, one of whose tags each lie in an order of its own, bits, and set-points."""
    return Equipment.model_validate(
        {
            "name": "small_rack",
            "title": "Small rack",
            "protocol": "modbus",
            "modbus": {"timeout_s": 0.5, **modbus},
            "group": [
                {"name": "channel", "table": "input", "points": CHANNELS, "point_name": "channel", "stride": 12,
                 "period_s": 1, "clock": {"seconds": "clock_s"}, "tag": TAGS},
                {"name": "door", "table": "discrete", "points": 10, "point_name": "door", "stride": 1, "period_s": 1,
                 "tag": [{"name": "open", "address": 5, "type": "bool"}]},
                {"name": "board", "table": "input", "unit": 7, "period_s": 1,
                 "tag": [{"name": "board_c", "address": 100, "type": "int16", "scale": 0.1}]},
                {"name": "relay", "table": "coil", "points": 3, "point_name": "relay", "stride": 1,
                 "tag": [{"name": "closed", "address": 20, "type": "bool", "access": "write"}]},
                {"name": "setpoint", "table": "holding", "tag": WRITTEN},
            ],
        }
    )  # fmt: skip


class Rack:
    """Shows a sample per scan, keeps what is written."""

    def __init__(self) -> None:
        self.scan = 0
        self.written: dict[str, list[float]] = {}

    def write(self, tag: str, values: Values) -> None:
        self.written[tag] = values.tolist()

    def outputs(self) -> dict[str, Values]:
        k = np.arange(CHANNELS, dtype=float)
        shown = {
            "voltage_v": 3.5 + k / 8,
            "count": 70_000.0 * self.scan + k,
            "clock_s": np.full(CHANNELS, float(START_S + self.scan)),
            "serial": 2.0**40 + k,
            "open": np.array([1, 0, 0, 1, 0, 0, 0, 0, 1, 1], dtype=float),
            "board_c": np.array([-12.5]),
            "closed": np.zeros(3),
            "current_sp_a": np.zeros(1),
            "mode": np.zeros(1),
        }
        for tag, values in self.written.items():
            shown[tag] = np.array(values + [0.0] * (len(shown[tag]) - len(values)))
        return shown


class StepClock:
    """Plant time that moves with the rack's scans, and when somebody waits for it."""

    speed = 1.0

    def __init__(self) -> None:
        self.ns = START_S * NS_PER_S

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, plant_s: float) -> None:
        self.ns += round(max(0.0, plant_s) * NS_PER_S)
        await asyncio.sleep(0)


class Plant:
    """Machine, server and driver."""

    def __init__(self, kind: Equipment, endpoint: str, folder: Path, seen_as: Equipment | None = None) -> None:
        """`seen_as`: what the driver believes of the equipment, where that is not so."""
        self.rack, self.clock = Rack(), StepClock()
        self.server = ModbusServer(kind, endpoint, self.rack.write)
        self.server.keep_in(folder)
        self.kind, self.endpoint, self.folder = seen_as or kind, endpoint, folder
        self.driver = self.new_driver()

    def new_driver(self, **more: Any) -> ModbusDriver:
        tls = {}
        if self.endpoint.startswith("modbus.tls"):
            tls = {"tls": {"ca": "ca.pem", "certificate": "client.pem", "key": "client_key.pem"}}
        device = Device.model_validate(
            {"id": "rack1", "equipment": "small_rack", "endpoint": self.endpoint} | tls | more
        )
        return ModbusDriver(device, self.kind, self.clock, folder=self.folder)

    async def scan(self, seconds: int = 1) -> None:
        """So many plant seconds go by."""
        self.rack.scan += seconds
        self.clock.ns += seconds * NS_PER_S
        await self.server.publish(self.rack.outputs(), (START_S + self.rack.scan) * NS_PER_S)

    async def read(self) -> dict[str, Frame]:
        """The next poll, one scan later."""
        await self.scan()
        return {frame.stream: frame for frame in await self.driver.read()}


@asynccontextmanager
async def running(plant: Plant) -> AsyncIterator[Plant]:
    """The server listens and the driver is connected."""
    await plant.server.publish(plant.rack.outputs(), START_S * NS_PER_S)
    await plant.server.start()
    try:
        await plant.driver.start()
        yield plant
    finally:
        await plant.driver.stop()
        await plant.server.stop()
