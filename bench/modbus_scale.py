"""CPU of one simulated Modbus server with 5,000 channels polled at 1 Hz, against pymodbus's own server doing the same.

The channel block of the demo's rack (14 tags, 24 registers) is repeated 2,500 times behind each of two units, for
65,536 registers are all that a unit has. Every second every value changes; then every register is read, five channels
at a time, and each channel's own clock must have moved by exactly one scan since the last poll. The physics behind the
values is not in it. Servers are processes of their own, whose CPU time is taken. Alone: python bench/modbus_scale.py
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from configs.schema import Equipment
from simulators.servers.modbus import ModbusServer

if __package__:
    from bench._harness import Result, main
else:
    from _harness import Result, main

RACK = Path(__file__).parents[1] / "configs" / "equipment" / "formation_rack_64.toml"
UNITS, POINTS, FIRST, STRIDE, PER_READ = (1, 2), 2_500, 1000, 24, 5
CHANNELS = POINTS * len(UNITS)
SECONDS, ROUNDS = 5, 3
BAR = 1.0  # one core
START_S = 1_700_000_000
SPARE = 2  # registers at a block's end that no tag uses
CLOCK_AT = 18  # register of the channel's clock within its block


def equipment(port_unit: int = UNITS[0]) -> Equipment:
    """The rack's channel group, once behind each unit; tag names carry the unit, for they are unique."""
    rack = tomllib.loads(RACK.read_text())
    channel = next(group for group in rack["group"] if group["name"] == "channel")
    groups = []
    for unit in UNITS:
        tags = [tag | {"name": f"{tag['name']}_{unit}"} for tag in channel["tag"]]
        clock = {key: f"{name}_{unit}" for key, name in channel["clock"].items()}
        own = {} if unit == port_unit else {"unit": unit}
        groups.append(channel | {"name": f"channel_{unit}", "points": POINTS, "tag": tags, "clock": clock} | own)
    return Equipment.model_validate({"name": "hall", "title": "Hall", "protocol": "modbus", "group": groups})


def values(scan: int) -> dict[str, NDArray[np.float64]]:
    """Every tag at a scan: nothing stands still."""
    k = np.arange(POINTS, dtype=float)
    shown = {
        "voltage_v": 3.0 + 1e-4 * k + 1e-3 * scan, "current_a": np.full(POINTS, 2.5 + 1e-3 * scan),
        "temperature_c": 25.0 + 0.1 * (scan % 50) + 0 * k, "state": np.full(POINTS, scan % 7.0),
        "step": np.full(POINTS, scan % 33.0), "fault_bits": np.full(POINTS, scan % 16.0),
        "charge_ah": 1e-3 * scan + 1e-5 * k, "discharge_ah": 1e-3 * scan + 2e-5 * k,
        "charge_wh": 1e-3 * scan + 3e-4 * k, "discharge_wh": 1e-3 * scan + 4e-4 * k,
        "step_time_s": np.full(POINTS, float(scan)), "clock_s": np.full(POINTS, float(START_S + scan)),
        "clock_ms": np.full(POINTS, scan % 1000.0), "cycle": np.full(POINTS, scan % 9.0),
    }  # fmt: skip
    return {f"{name}_{unit}": column for unit in UNITS for name, column in shown.items()}


async def _scans(publish: object) -> None:
    """Publishes once a second until stdin closes; tells the first scan's time, then its CPU time per line asked."""
    loop = asyncio.get_running_loop()
    stop = loop.run_in_executor(None, _answer_cpu)
    first = loop.time() + 0.5
    print(json.dumps(first), flush=True)
    scan = 0
    while not stop.done():
        scan += 1
        await publish(scan)  # type: ignore[operator]
        await asyncio.wait([stop], timeout=max(0.0, first + scan - loop.time()))


def _answer_cpu() -> None:
    for _ in sys.stdin:
        print(json.dumps(time.process_time()), flush=True)


async def serve_ours(port: int) -> None:
    server = ModbusServer(equipment(), f"modbus.tcp://127.0.0.1:{port}/{UNITS[0]}", lambda *_: None)

    async def publish(scan: int) -> None:
        await server.publish(values(scan), (START_S + scan) * 10**9)

    await publish(0)
    await server.start()
    await _scans(publish)
    await server.stop()


async def serve_pymodbus(port: int) -> None:
    """The same registers; encoded by NumPy a column at a time, handed over as pymodbus wants them: as lists."""
    fields = ">f4,>f4,>i2,>u2,>u2,>u2,>u4,>u4,>u4,>u4,>u4,>u4,>u2,>u2,>u2,>u2"
    scales = (1, 1, 0.1, 1, 1, 1, 1e-5, 1e-5, 1e-4, 1e-4, 0.1, 1, 1, 1)
    table = np.zeros(POINTS, dtype=fields)
    devices = [
        SimDevice(unit, [SimData(FIRST, count=POINTS * STRIDE, values=0, datatype=DataType.REGISTERS)])
        for unit in UNITS
    ]
    server = ModbusTcpServer(devices, address=("127.0.0.1", port))

    async def publish(scan: int) -> None:
        for unit in UNITS:
            columns = [column for name, column in values(scan).items() if name.endswith(f"_{unit}")]
            for field, column, scale in zip(table.dtype.names or (), columns, scales, strict=False):
                counts = column if scale == 1 else column / scale
                kind = table.dtype[field].kind
                table[field] = counts if kind == "f" else np.rint(counts)
            await server.async_setValues(unit, 4, FIRST, table.view(">u2").tolist())

    await server.serve_forever(background=True)
    await publish(0)
    await _scans(publish)
    await server.shutdown()


class Client:
    """Reads all channels of all units, one request after the other."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = PER_READ * STRIDE - SPARE
        self._requests = [
            struct.pack(">HHHBBHH", 7, 0, 6, unit, 4, FIRST + k * STRIDE, count)
            for unit in UNITS
            for k in range(0, POINTS, PER_READ)
        ]
        self._answer = 9 + 2 * count

    def poll(self) -> NDArray[np.uint32]:
        """The clocks of all channels."""
        found = []
        for request in self._requests:
            self._socket.sendall(request)
            data = b""
            while len(data) < self._answer:
                more = self._socket.recv(4096)
                if not more:
                    raise RuntimeError("the server hung up")
                data += more
                if data[7] != 4:
                    raise RuntimeError(f"refused: {data.hex(' ')}")
            found.append(data[9:] + bytes(2 * SPARE))
        blocks = np.frombuffer(b"".join(found), dtype=">u2").reshape(CHANNELS, STRIDE)
        clocks: NDArray[np.uint32] = np.ascontiguousarray(blocks[:, CLOCK_AT : CLOCK_AT + 2]).view(">u4")[:, 0]
        return clocks

    def close(self) -> None:
        self._socket.close()


def measure(who: str) -> tuple[float, int]:
    """CPU seconds of the server per second, and how many samples of channels were missed or seen twice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", who, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        stdin, stdout = server.stdin, server.stdout

        def cpu_s() -> float:
            stdin.write("\n")
            stdin.flush()
            return float(json.loads(stdout.readline()))

        try:
            first = float(json.loads(stdout.readline()))
            client = Client(port)
            missed, before, began, spent = 0, None, 0.0, 0.0
            for k in range(SECONDS + 1):
                time.sleep(max(0.0, first + k + 0.3 - time.monotonic()))  # the loop's clock: scans are at whole seconds
                clocks = client.poll().astype(np.int64)
                if before is None:
                    began, spent = time.monotonic(), cpu_s()
                else:
                    missed += int(np.abs(clocks - before - 1).sum())
                before = clocks
            share = (cpu_s() - spent) / (time.monotonic() - began)
            client.close()
        finally:
            stdin.close()
            server.wait(timeout=20)
    return share, missed


def run() -> list[Result]:
    """One result: cores that the server takes."""
    shares: dict[str, list[float]] = {"ours": [], "pymodbus": []}
    missed = dict.fromkeys(shares, 0)
    for _ in range(ROUNDS):
        for who, found in shares.items():
            share, lost = measure(who)
            found.append(share)
            missed[who] += lost
    ours, peer = (statistics.median(found) for found in shares.values())
    samples = CHANNELS * SECONDS * ROUNDS
    return [
        Result(
            name="modbus_scale", ours=ours, peer=peer,
            peer_name=f"pymodbus's server ({missed['pymodbus']:,} samples missed)", ratio=ours / peer, bar=BAR,
            unit=f"cores for 5,000 channels at 1 Hz, {missed['ours']:,} of {samples:,} samples missed",
            ok=ours <= BAR and missed["ours"] == 0,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve = {"ours": serve_ours, "pymodbus": serve_pymodbus}[sys.argv[2]]
        asyncio.run(serve(int(sys.argv[3])))
    else:
        main(run)
