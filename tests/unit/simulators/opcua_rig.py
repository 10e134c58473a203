"""A small machine behind the OPC UA server, for its tests: every type of tag, commands, conditions, users, a past."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import Client, Node, ua

from configs.schema import Equipment
from simulators.servers.opcua import OpcUaServer

S = 1_000_000_000
START_NS = 1_760_000_000 * S
NAMESPACE = "urn:test:press"

PRESS = """
name = "press"
title = "Press"
protocol = "opcua"

[opcua]
namespace = "urn:test:press"
max_items_per_call = 20
timeout_s = 1.0
queue_outage_s = 5.0

[opcua.server]
history = ["force_n", "zone_c"]
history_values = 50
alarm = [
  { name = "force", tag = "force_n", text = "Force", severity = 700, high_high = 900, high = 800, deadband = 5 },
  { name = "held", tag = "press_state", text = "Held", severity = 300, states = [11] },
  { name = "zone", tag = "zone_c", text = "Zone hot", high = 150 },
]

[control]
command = "press_command"
sequence = "press_seq"
sequence_ack = "press_seq_ack"
result = "press_result"
state = "press_state"
idle = [4]
running = [6]

[[group]]
name = "press"
period_s = 1.0
tag = [
  { name = "press_state", address = "s=Press.State", type = "uint16", text = "4 idle, 6 running, 11 held" },
  { name = "force_n", address = "s=Press.Force", type = "float64", unit = "N", min = 0, max = 1000 },
  { name = "stroke", address = "s=Press.Stroke", type = "float32" },
  { name = "closed", address = "s=Press.Closed", type = "bool" },
  { name = "counts", address = "s=Press.Counts", type = "int16" },
  { name = "parts", address = "s=Press.Parts", type = "uint32" },
  { name = "balance", address = "s=Press.Balance", type = "int32" },
  { name = "serial", address = "i=77", type = "int64" },
  { name = "energy_j", address = "s=Press.Energy", type = "uint64", unit = "J" },
]

[[group]]
name = "zones"
points = 3
point_name = "zone"
period_s = 1.0
tag = [
  { name = "zone_c", address = "s=Press.Zone.Temperature", type = "float64", unit = "Cel", min = 0, max = 250 },
  { name = "zone_on", address = "s=Press.Zone.On", type = "bool" },
]

[[group]]
name = "setpoint"
tag = [
  { name = "force_sp_n", address = "s=Press.ForceSetpoint", type = "float64", unit = "N", max = 900, access = "write" },
  { name = "press_command", address = "s=Press.Command", type = "uint16", access = "command" },
  { name = "press_seq", address = "s=Press.Sequence", type = "uint16", access = "write" },
  { name = "press_seq_ack", address = "s=Press.SequenceAck", type = "uint16" },
  { name = "press_result", address = "s=Press.Result", type = "uint16", text = "1 accepted, 2 refused" },
]
"""


def press(**server: Any) -> Equipment:
    """The equipment type, with other options of its server."""
    raw = tomllib.loads(PRESS)
    raw["opcua"]["server"] |= server
    return Equipment.model_validate(raw)


class Press:
    """The machine: takes a command at the scan after its sequence number has changed, as PLCs do."""

    def __init__(self, equipment: Equipment) -> None:
        self.held = {tag.name: np.zeros(group.points) for group in equipment.group for tag in group.tag}
        self.held["press_state"][:] = 4
        self.held["force_n"][:] = 100.0
        self.taken: list[int] = []

    def write(self, tag: str, values: np.ndarray) -> None:
        """Force set-points above 900 N are refused."""
        if tag == "force_sp_n" and values[0] > 900.0:
            raise ValueError("too strong")
        self.held[tag] = values.copy()

    def scan(self) -> None:
        """Start from idle makes it run, hold holds it, everything else is refused."""
        sequence = self.held["press_seq"][0]
        if sequence == self.held["press_seq_ack"][0]:
            return
        command, state = int(self.held["press_command"][0]), int(self.held["press_state"][0])
        self.taken.append(command)
        after = {(4, 1): 6, (6, 3): 11, (11, 4): 6, (6, 2): 4, (11, 2): 4}.get((state, command))
        result = 2 if after is None else 1
        changes = {"press_seq_ack": sequence, "press_result": result, "press_state": after or state, "press_command": 0}
        self.set(**changes)

    def set(self, **changes: Any) -> None:
        """What the sensors see now."""
        for name, value in changes.items():
            self.held[name] = np.atleast_1d(np.array(value, dtype=float))

    def outputs(self) -> Mapping[str, np.ndarray]:
        """All tags."""
        return dict(self.held)


def some_port() -> int:
    """A free one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """A server with its machine, on a port of its own, and clients for it."""

    def __init__(self, folder: Path | None = None, **server: Any) -> None:
        self.equipment = press(**server)
        self.machine = Press(self.equipment)
        self.port = some_port()
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}/press1"
        self.server = OpcUaServer(self.equipment, self.endpoint, self.machine.write)
        if folder is not None:
            self.server.keep_in(folder)
        self.plant_ns = START_NS

    async def __aenter__(self) -> Rig:
        await self.server.publish(self.machine.outputs(), self.plant_ns)
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    def client(self) -> Client:
        """Not connected yet."""
        client = Client(self.endpoint, timeout=5)
        client.session_timeout = 60_000
        return client

    async def scan(self, seconds: float = 1.0, **changes: Any) -> None:
        """The next scan of the PLC, that much later."""
        self.plant_ns += round(seconds * S)
        self.machine.set(**changes)
        self.machine.scan()
        await self.server.publish(self.machine.outputs(), self.plant_ns)

    def fault(self, name: str, on: bool = True, **settings: Any) -> None:
        """Switch a fault, with the defaults of its settings."""
        self.server.fault(name, on, self.server.faults[name].complete(name, settings))


async def node(client: Client, name: str) -> Node:
    """A node of the press by its identifier."""
    return client.get_node(ua.NodeId(name, await client.get_namespace_index(NAMESPACE)))
