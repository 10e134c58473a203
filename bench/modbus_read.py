"""Client CPU of one poll of a 64-channel rack (13 blocks) with our driver, against bare pymodbus for the same blocks.

Ours includes planning's gather, decoding of 14 tags in 64 rows, range checks, device time and Frames; bare pymodbus
stops at lists of integers. The server is a process of its own, so that only the client's CPU counts. Both loops
alternate in one run; the figures are medians over the rounds. Alone: python bench/modbus_read.py
"""

from __future__ import annotations

import asyncio
import statistics
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from pymodbus.client import AsyncModbusTcpClient

from configs.schema import Device, Equipment
from controller.drivers.modbus import ModbusDriver
from controller.drivers.modbus_plan import plan_polls

if __package__:
    from bench._harness import Result, main
else:
    from _harness import Result, main

RACK = Path(__file__).parents[1] / "configs" / "equipment" / "formation_rack_64.toml"
BAR = 1.15  # design: CPU per 125-register read against a bare pymodbus loop
ROUNDS, POLLS = 25, 12
START_S = 1_700_000_000


class StepClock:
    """Plant time that moves only when the driver waits: polls follow each other without a pause."""

    speed = 1.0

    def __init__(self) -> None:
        self.ns = START_S * 10**9

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, plant_s: float) -> None:
        self.ns += round(plant_s * 1e9)
        await asyncio.sleep(0)


class FastRack(asyncio.Protocol):
    """Answers function 4 from a register image; every read of the first block is a new sample with a new time."""

    def __init__(self) -> None:
        self.image = bytearray(2 * 65_536)
        self.second = START_S
        for k in range(64):
            struct.pack_into(">ffhHHH", self.image, 2 * (1000 + 24 * k), 3.6 + 0.001 * k, 1.0, 250, 1, 2, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        start, count = struct.unpack_from(">HH", data, 8)
        if start == 1000:
            self.second += 20
            for k in range(64):
                struct.pack_into(">I", self.image, 2 * (1018 + 24 * k), self.second)
        body = self.image[2 * start : 2 * (start + count)]
        self.transport.write(data[:4] + struct.pack(">HBBB", 3 + 2 * count, data[6], data[7], 2 * count) + body)


async def serve() -> None:
    """Serves until stdin closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(FastRack, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def rack_equipment() -> Equipment:
    """The rack of the demo with its channel group alone."""
    raw = tomllib.loads(RACK.read_text())
    raw["modbus"]["revision"] = ""  # asked for once a connection, by a function that this device does not know
    whole = Equipment.model_validate(raw)
    return whole.model_copy(update={"group": tuple(g for g in whole.group if g.name == "channel")})


async def measure(port: int) -> tuple[float, float]:
    """(ours, bare) in microseconds of client CPU per block read."""
    equipment = rack_equipment()
    blocks = [(b.start, b.count) for b in plan_polls(equipment)[0].plan.blocks]
    device = Device(id="rack1", equipment=equipment.name, endpoint=f"modbus.tcp://127.0.0.1:{port}/1")
    driver = ModbusDriver(device, equipment, StepClock())
    bare = AsyncModbusTcpClient("127.0.0.1", port=port, reconnect_delay=0, retries=0)
    await driver.start()
    assert await bare.connect()

    async def ours() -> None:
        for _ in range(POLLS):
            (frame,) = await driver.read()
            assert frame.rows == 64

    async def theirs() -> None:
        for _ in range(POLLS):
            for start, count in blocks:
                reply = await bare.read_input_registers(start, count=count, device_id=1)
                assert len(reply.registers) == count

    spent: dict[str, list[float]] = {"ours": [], "theirs": []}
    try:
        await ours()
        await theirs()
        for _ in range(ROUNDS):
            for name, loop in (("ours", ours), ("theirs", theirs)):
                before = time.process_time()
                await loop()
                spent[name].append((time.process_time() - before) / (POLLS * len(blocks)) * 1e6)
    finally:
        bare.close()
        await driver.stop()
    return statistics.median(spent["ours"]), statistics.median(spent["theirs"])


def run() -> list[Result]:
    """One result: CPU per block read."""
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            ours, bare = asyncio.run(measure(int(server.stdout.readline())))
        finally:
            server.stdin.close()
            server.wait(timeout=10)
    ratio = ours / bare
    return [
        Result(
            name="modbus_read", ours=ours, peer=bare, peer_name="bare pymodbus loop", ratio=ratio, bar=BAR,
            unit="us client CPU per block read", ok=ratio <= BAR,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(serve())
    else:
        main(run)
