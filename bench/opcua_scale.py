"""CPU of a simulated OPC UA server with 5,000 subscribed items that all change once a second, against a bare asyncua
server that writes the same to as many nodes.

Ours also has quality, plant time, limits on queues and requests, and looks at each tag for what has changed. Each
server is a process of its own with one client in this process; both alternate in one run, and the figure is the
smallest of the rounds: what else the machine does can only add. Every notification is counted; a lost one is a missed
bar, and so is a server that takes more than a core. Alone: python bench/opcua_scale.py
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import Client, Server, ua

from configs.schema import Equipment, Group, OpcUaOptions, Protocol, Tag, ValueType
from simulators.servers.opcua import OpcUaServer

if __package__:
    from bench._harness import Result, main
else:
    from _harness import Result, main

ITEMS, SCANS, ROUNDS = 5000, 4, 3
SCAN_S = 1.0
BAR = 1.0  # ours / bare asyncua
URI = "urn:celltwin:bench"
START = datetime(2026, 1, 1, tzinfo=UTC)
START_NS = 1_767_225_600_000_000_000


def equipment() -> Equipment:
    """ITEMS scalar tags."""
    tags = tuple(Tag(name=f"v{k}", address=f"s=V{k}", type=ValueType.FLOAT64, unit="V") for k in range(ITEMS))
    return Equipment(
        name="bench", title="", protocol=Protocol.OPCUA, opcua=OpcUaOptions(namespace=URI, max_items_per_call=1000),
        group=(Group(name="bench", tag=tags),),
    )  # fmt: skip


class Ours:
    """The simulated PLC."""

    def __init__(self, port: int) -> None:
        """Opens nothing."""
        self._server = OpcUaServer(equipment(), f"opc.tcp://127.0.0.1:{port}/bench", lambda *_: None)
        self._names = [f"v{k}" for k in range(ITEMS)]

    async def start(self) -> None:
        await self.scan(0)
        await self._server.start()

    async def scan(self, count: int) -> None:
        values = np.arange(ITEMS, dtype=np.float64) + count
        outputs = {name: values[k : k + 1] for k, name in enumerate(self._names)}
        await self._server.publish(outputs, START_NS + count * 1_000_000_000)

    async def stop(self) -> None:
        await self._server.stop()


class Bare:
    """asyncua's server and nothing else."""

    def __init__(self, port: int) -> None:
        self._server = Server()
        self._port = port
        self._nodes: list[ua.NodeId] = []

    async def start(self) -> None:
        server = self._server
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self._port}/bench")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(URI)
        for k in range(ITEMS):
            node = await server.nodes.objects.add_variable(ua.NodeId(f"V{k}", index), f"V{k}", 0.0)
            self._nodes.append(node.nodeid)
        await self.scan(0)
        await server.start()

    async def scan(self, count: int) -> None:
        stamp = START + timedelta(seconds=count)
        for k, node in enumerate(self._nodes):
            value = ua.DataValue(ua.Variant(float(count + k), ua.VariantType.Double), SourceTimestamp=stamp)
            await self._server.write_attribute_value(node, value)

    async def stop(self) -> None:
        await self._server.stop()


async def serve(kind: Callable[[int], Any], port: int) -> None:
    """Serves; a line on stdin makes SCANS scans at 1 Hz, answered by the CPU seconds that they took."""
    server = kind(port)
    await server.start()
    print("ready", flush=True)
    count = 0
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        before, due = time.process_time(), loop.time()
        for _ in range(SCANS):
            count += 1
            await server.scan(count)
            due += SCAN_S
            await asyncio.sleep(max(0.0, due - loop.time()))
        print(time.process_time() - before, flush=True)
    await server.stop()


class Taker:
    """Counts what comes."""

    def __init__(self) -> None:
        self.count = 0

    def datachange_notification(self, _node: Any, _value: Any, _data: Any) -> None:
        self.count += 1


class Peer:
    """One server process and the client that listens to it."""

    def __init__(self, kind: str, port: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", kind, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._client = Client(f"opc.tcp://127.0.0.1:{port}/bench", timeout=20)
        self._client.session_timeout = 60_000
        self._taker = Taker()
        self.expected = 0

    async def start(self) -> None:
        await self._line()
        await self._client.connect()
        index = await self._client.get_namespace_index(URI)
        subscription = await self._client.create_subscription(200, self._taker, queue_maxsize=10 * ITEMS)
        nodes = [self._client.get_node(ua.NodeId(f"V{k}", index)) for k in range(ITEMS)]
        for k in range(0, ITEMS, 1000):
            await subscription.subscribe_data_change(nodes[k : k + 1000], queuesize=100, sampling_interval=100)
        self.expected = ITEMS
        await self.settle()

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)

    async def settle(self) -> int:
        """Wait for what is still under way; how many notifications are missing."""
        for _ in range(50):
            if self._taker.count >= self.expected:
                break
            await asyncio.sleep(0.1)
        return self.expected - self._taker.count

    async def burst(self) -> float:
        """Cores that the server took."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.expected += SCANS * ITEMS
        return float(await self._line()) / (SCANS * SCAN_S)

    async def stop(self) -> None:
        await self._client.disconnect()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)


def free_port() -> int:
    """A port of the system's choice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def measure(ours: Peer, bare: Peer) -> tuple[float, float, int]:
    """Cores of ours, cores of the bare server, notifications that ours lost."""
    spent: dict[Peer, list[float]] = {ours: [], bare: []}
    for peer in (ours, bare):
        await peer.start()
    for _ in range(ROUNDS):
        for peer, found in spent.items():
            found.append(await peer.burst())
            await peer.settle()
    lost = await ours.settle()
    for peer in (ours, bare):
        await peer.stop()
    return min(spent[ours]), min(spent[bare]), lost


def run() -> list[Result]:
    """One result: cores at 5,000 changes a second."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # its client complains when it is put away
    peers = Peer("ours", free_port()), Peer("bare", free_port())
    try:
        mine, theirs, lost = asyncio.run(measure(*peers))
    finally:
        for peer in peers:
            peer.close()
    ratio = mine / theirs
    unit = f"cores at {ITEMS:,} changes/s" + (f", {lost} LOST" if lost else ", none lost")
    return [
        Result(
            name="opcua_scale", ours=mine, peer=theirs, peer_name="bare asyncua server", ratio=ratio, bar=BAR,
            unit=unit, ok=ratio <= BAR and mine < 1.0 and lost == 0,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    if "--serve" in sys.argv:
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        asyncio.run(serve({"ours": Ours, "bare": Bare}[sys.argv[2]], int(sys.argv[3])))
    else:
        main(run)
