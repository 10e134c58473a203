"""Simulated machines behind one Modbus gateway: their own servers, their own faults, one endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from configs.schema import Device, Equipment
from simulators.machine import Values
from simulators.servers import Server, build_server
from simulators.servers.modbus_gateway import UnitServer, behind_gateway

pytestmark = pytest.mark.system


def kind() -> Equipment:
    tags = [{"name": "shown", "address": 5, "type": "uint16"}]
    written = [{"name": "wanted", "address": 5, "type": "uint16", "access": "write"}]
    groups = [{"name": "a", "tag": tags}, {"name": "b", "table": "holding", "tag": written}]
    return Equipment.model_validate({"name": "k", "title": "K", "protocol": "modbus", "group": groups})


class Hall:
    """Two machines as units 1 and 2 of one port, and one that has a port of its own."""

    def __init__(self, out: Path, port: int, other: int) -> None:
        ends = {"m1": f"{port}/1", "m2": f"{port}/2", "alone": f"{other}/1"}
        self.devices = [
            Device(id=name, equipment="k", endpoint=f"modbus.tcp://127.0.0.1:{end}") for name, end in ends.items()
        ]
        self.port = port
        self.written: dict[str, list[float]] = {}
        self.servers: dict[str, Server] = {}
        for device in self.devices:

            def write(tag: str, values: Values, name: str = device.id) -> None:
                self.written[name] = values.tolist()

            build = behind_gateway(build_server, self.devices, device.id, out)
            self.servers[device.id] = build(kind(), device.endpoint, write)

    async def publish(self, plant_s: int) -> None:
        for number, server in enumerate(self.servers.values(), 1):
            await server.publish(
                {"shown": np.array([100.0 * number]), "wanted": np.array([0.0])}, plant_s * 1_000_000_000
            )


@asynccontextmanager
async def hall(out: Path, free_port: Callable[[], int]) -> AsyncIterator[Hall]:
    made = Hall(out, free_port(), free_port())
    await made.publish(0)
    try:
        for server in made.servers.values():
            await server.start()
        yield made
    finally:
        for server in made.servers.values():
            await server.stop()


async def told(client: AsyncModbusTcpClient, unit: int) -> int:
    """What a unit shows, or minus its exception."""
    reply = await client.read_input_registers(5, count=1, device_id=unit)
    return -reply.exception_code if reply.isError() else int(reply.registers[0])


@pytest.mark.asyncio
async def test_each_unit_is_a_machine_of_its_own(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with hall(tmp_path, free_port) as plant:
        assert not isinstance(plant.servers["alone"], UnitServer)
        clients = [AsyncModbusTcpClient("127.0.0.1", port=plant.port, reconnect_delay=0) for _ in range(2)]
        try:
            for client in clients:
                assert await client.connect()
            assert [await told(clients[0], unit) for unit in (1, 2, 3, 255)] == [100, 200, -10, -10]
            answers = await asyncio.gather(*(told(client, unit) for client in clients for unit in (1, 2, 2, 1)))
            assert answers == [100, 200, 200, 100] * 2
            assert not (await clients[1].write_register(5, 7, device_id=2)).isError()
            assert plant.written == {"m2": [7.0]}
        finally:
            for client in clients:
                client.close()
    assert not list((tmp_path / "gateway").iterdir())


@pytest.mark.asyncio
async def test_a_machine_that_goes_leaves_the_others_and_comes_back(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with hall(tmp_path, free_port) as plant:
        client = AsyncModbusTcpClient("127.0.0.1", port=plant.port, reconnect_delay=0)
        assert await client.connect()
        try:
            for breaks in ("restart", "black_hole", "cut"):
                server = plant.servers["m2"]
                assert isinstance(server, UnitServer)
                settings = server.faults[breaks].complete(breaks, {})
                server.fault(breaks, True, settings)
                assert [await told(client, unit) for unit in (1, 2)] == [100, -11], breaks
                server.fault(breaks, False, settings)
                await plant.publish(1)
                assert [await told(client, unit) for unit in (1, 2)] == [100, 200], breaks
            await plant.servers["m2"].stop()
            assert [await told(client, unit) for unit in (2, 1)] == [-11, 100]
            await plant.servers["m2"].start()
            assert [await told(client, unit) for unit in (2, 1)] == [200, 100]
        finally:
            client.close()
