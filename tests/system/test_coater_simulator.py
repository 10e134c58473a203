"""The simulated coater as a process of its own: a job from set-points to coated metres, over OPC UA, in fast time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, Node, ua

pytestmark = pytest.mark.system

S = 1_000_000_000
SPEED = 960.0
PLANT_START_NS = 1_760_000_000 * S
NAMESPACE = "urn:celltwin:slot-die-coater"
LINE = """
[line]
name = "one_coater"

[[device]]
id = "coater1"
equipment = "slot_die_coater"
endpoint = "opc.tcp://127.0.0.1:{port}/coater1"

[simulation]
speed = 960.0

[simulation.machines.coater1]
machine = "coater"
"""


def launch(folder: Path, port: int) -> subprocess.Popen[str]:
    line = folder / "line.toml"
    line.write_text(LINE.format(port=port))
    base = f"{PLANT_START_NS},{time.time_ns()},{SPEED}"
    command = [sys.executable, "-m", "simulators", "coater1", "--line", str(line), "--out", str(folder)]
    return subprocess.Popen(
        [*command, "--time-base", base, "--seed", "3", "--parent-pid", str(os.getpid())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def coater(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    process = launch(tmp_path, free_port())
    try:
        ready = process.stdout.readline().split()  # type: ignore[union-attr]
        assert ready[:2] == ["ready", "coater1"], process.communicate(timeout=10)
        yield ready[2]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()


class Seen:
    """Notifications: values and source times by node."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[datetime, Any]]] = {}
        self.complete = asyncio.Event()

    def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
        stamp = data.monitored_item.Value.SourceTimestamp
        self.values.setdefault(str(node.nodeid.Identifier), []).append((stamp, value))
        if str(node.nodeid.Identifier) == "Coater.State" and value == 17:
            self.complete.set()


@pytest.mark.asyncio
async def test_a_job_over_the_wire(coater: str) -> None:
    async with Client(coater, timeout=10) as client:
        index = await client.get_namespace_index(NAMESPACE)

        def node(name: str) -> Node:
            return client.get_node(ua.NodeId(f"Coater.{name}", index))

        seen = Seen()
        subscription = await client.create_subscription(100, seen)
        watched = ("State", "Web.Position", "Gauge.MassLoading", "Gauge.Profile", "Dryer.ResidualSolvent")
        await subscription.subscribe_data_change([node(n) for n in watched], queuesize=5000)
        words = {"Command": 1, "CommandSequence": 1}
        await node("Web.SpeedSetpoint").write_value(0.1)
        await node("Pump.RateSetpoint").write_value(3.25)
        await node("Web.LengthSetpoint").write_value(100.0)
        await node("Dryer.ZoneTemperatureSetpoint").write_value([80.0, 105.0, 120.0, 95.0])
        for name, value in words.items():
            await node(name).write_value(value, ua.VariantType.UInt16)
        async with asyncio.timeout(30):
            await seen.complete.wait()
        await asyncio.sleep(0.3)
        await subscription.delete()
        assert await node("CommandResult").read_value() == 1

    states = [value for _, value in seen.values["Coater.State"]]
    assert states == [4, 3, 6, 17]
    positions = seen.values["Coater.Web.Position"][1:]
    stamps = [stamp for stamp, _ in positions]
    # Plant time on a grid of scans, none missing while the web moves (a process that lags strides over more than one).
    steps = [(b - a).total_seconds() for a, b in pairwise(stamps)]
    assert set(steps) <= {10.0 * k for k in range(1, 7)}
    assert all(stamp > datetime.fromtimestamp(PLANT_START_NS / S, UTC) for stamp in stamps)
    loading = [value for _, value in seen.values["Coater.Gauge.MassLoading"] if value is not None]
    assert sorted(loading)[len(loading) // 2] == pytest.approx(0.169, rel=0.03)
    residual = [value for _, value in seen.values["Coater.Dryer.ResidualSolvent"] if value is not None]
    assert 0.0 < sorted(residual)[len(residual) // 2] < 0.01


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = launch(tmp_path, port)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert str(port) in errors
    assert "in use" in errors
    assert len(errors.strip().splitlines()) == 1
