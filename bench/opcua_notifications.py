"""Client CPU per notification of 1,000 items with our driver, against a bare asyncua handler that only appends.

Ours includes rows keyed by source time, last-value fill, status codes, range checks and Frames; the bare handler stops
at a list of values. The server is a process of its own, so that only the client's CPU counts. Both alternate in one
run, each on a fresh connection; the figures are medians over the rounds. Alone: python bench/opcua_notifications.py
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import Client, Server, ua

from configs.schema import Device, Equipment, Group, OpcUaOptions, Protocol, Tag, ValueType
from controller.clock import LineClock
from controller.drivers.opcua import OpcUaDriver

if __package__:
    from bench._harness import Result, main
else:
    from _harness import Result, main

ITEMS, CYCLES, ROUNDS = 1000, 6, 5
BAR = 1.15  # design: CPU per notification against a bare asyncua handler
URI = "urn:celltwin:bench"
INTERVAL_S = 0.1
START = datetime(2026, 1, 1, tzinfo=UTC)


async def serve() -> None:
    """Serves ITEMS variables; a line on stdin makes CYCLES scans in which every one changes, answered by a line."""
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/bench")
    index = await server.register_namespace(URI)
    nodes = [await server.nodes.objects.add_variable(ua.NodeId(f"V{k}", index), f"V{k}", 0.0) for k in range(ITEMS)]
    await server.start()
    print(server.bserver.port, flush=True)
    scan = 0
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        for _ in range(CYCLES):
            scan += 1
            stamp = START + timedelta(seconds=scan)
            for k, node in enumerate(nodes):
                value = ua.DataValue(ua.Variant(float(scan + k), ua.VariantType.Double), SourceTimestamp=stamp)
                await server.write_attribute_value(node.nodeid, value)
            await asyncio.sleep(INTERVAL_S)
        print("done", flush=True)
    await server.stop()


def equipment() -> Equipment:
    """ITEMS scalar tags in one group, each with a believable range."""
    tags = tuple(Tag(name=f"v{k}", address=f"s=V{k}", type=ValueType.FLOAT64, min=-1e9, max=1e9) for k in range(ITEMS))
    options = OpcUaOptions(namespace=URI, publishing_interval_s=INTERVAL_S, max_items_per_call=1000)
    return Equipment(
        name="bench", title="", protocol=Protocol.OPCUA, opcua=options,
        group=(Group(name="bench", period_s=INTERVAL_S, tag=tags),),
    )  # fmt: skip


async def ours(endpoint: str, burst: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds of our driver for one burst."""
    driver = OpcUaDriver(Device(id="bench1", equipment="bench", endpoint=endpoint), equipment(), LineClock())
    await driver.start()
    rows = len((await driver.read())[0].time_ns)
    try:
        before, seen = time.process_time(), driver.counters["notifications"]
        sending = asyncio.ensure_future(burst())
        rows = 0
        while rows < CYCLES:
            rows += sum(frame.rows for frame in await driver.read())
        spent = time.process_time() - before
        await sending
        assert driver.counters["notifications"] - seen == CYCLES * ITEMS
        assert driver.counters["late_folded"] == driver.counters["coalesced"] == 0
    finally:
        await driver.stop()
    return spent


class Appender:
    """The least that a handler can do."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def datachange_notification(self, _node: Any, value: Any, _data: Any) -> None:
        self.got.append(value)


async def bare(endpoint: str, burst: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds of a bare asyncua subscription for one burst."""
    async with Client(endpoint) as client:
        handler = Appender()
        index = await client.get_namespace_index(URI)
        subscription = await client.create_subscription(INTERVAL_S * 1000, handler)
        nodes = [client.get_node(ua.NodeId(f"V{k}", index)) for k in range(ITEMS)]
        await subscription.subscribe_data_change(nodes, queuesize=300, sampling_interval=INTERVAL_S * 1000)
        while len(handler.got) < ITEMS:  # noqa: ASYNC110 - an event would cost the peer CPU
            await asyncio.sleep(INTERVAL_S)
        before = time.process_time()
        sending = asyncio.ensure_future(burst())
        while len(handler.got) < (1 + CYCLES) * ITEMS:  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL_S)
        spent = time.process_time() - before
        await sending
    return spent


async def measure(server: subprocess.Popen[str]) -> tuple[float, float]:
    """(ours, bare) in microseconds of client CPU per notification."""
    assert server.stdin is not None and server.stdout is not None
    stdin, stdout = server.stdin, server.stdout
    endpoint = f"opc.tcp://127.0.0.1:{int(stdout.readline())}/bench"

    async def burst() -> None:
        stdin.write("go\n")
        stdin.flush()
        await asyncio.get_running_loop().run_in_executor(None, stdout.readline)

    spent: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(ROUNDS):
        for name, way in (("ours", ours), ("bare", bare)):
            spent[name].append(await way(endpoint, burst) / (CYCLES * ITEMS) * 1e6)
    return statistics.median(spent["ours"]), statistics.median(spent["bare"])


def run() -> list[Result]:
    """One result: CPU per notification."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        try:
            mine, theirs = asyncio.run(measure(server))
        finally:
            server.stdin.close()
            server.wait(timeout=20)
    ratio = mine / theirs
    return [
        Result(
            name="opcua_notifications", ours=mine, peer=theirs, peer_name="bare asyncua handler", ratio=ratio, bar=BAR,
            unit="us client CPU per notification", ok=ratio <= BAR,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    if "--serve" in sys.argv:
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        asyncio.run(serve())
    else:
        main(run)
