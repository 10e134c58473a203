"""Servers by protocol: what every server offers the scan loop, and which class speaks which protocol.

Only the server that is asked for is imported: the rack's process does not pay for OPC UA's libraries. A server class is
built as `Class(equipment, endpoint, write)`; construction checks its arguments (ValueError) and opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from configs.schema import Equipment
from configs.schema import Protocol as Wire
from simulators.machine import Values

WriteTag = Callable[[str, Values], None]
"""machine.write: tag, one value per point from the first. Raises ValueError where the equipment refuses."""


class Server(Protocol):
    """One machine on the wire. The scan loop publishes; clients' writes go to the machine through `write`."""

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had. Called after the first publish."""
        ...

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Show a complete scan, consistent in itself and stamped `plant_ns`. Also called before start."""
        ...

    async def stop(self) -> None:
        """Close the socket and every connection. Safe at any time, also after a failed start."""
        ...


class Quality(IntEnum):
    """How far a shown value may be believed. What is not mentioned is good."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


@runtime_checkable
class ShowsQuality(Protocol):
    """A server whose protocol says how far a value may be believed. Modbus has no such thing, so its server is none."""

    def qualify(self, quality: Mapping[str, Quality]) -> None:
        """Quality by tag from the next publish on; a tag that is not named is good again.

        A change of quality alone is a change: subscribers are told. The values of a tag that is BAD are NaN.
        """
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A server that keeps files of its own, such as certificates; without a folder it does without them."""

    def keep_in(self, folder: Path) -> None:
        """Say where, before start. Makes at once what takes long to make; raises OSError or ValueError."""
        ...


SERVERS: Mapping[Wire, str] = {
    Wire.MODBUS: "simulators.servers.modbus:ModbusServer",
    Wire.OPCUA: "simulators.servers.opcua:OpcUaServer",
}


def build_server(equipment: Equipment, endpoint: str, write: WriteTag) -> Server:
    """The server that speaks the equipment's protocol. Raises ValueError for an endpoint it cannot use."""
    module, _, cls = SERVERS[equipment.protocol].partition(":")
    server: Server = getattr(import_module(module), cls)(equipment, endpoint, write)
    return server


def keep_files(server: Server, run_folder: Path, device: str) -> Server:
    """`server`, which keeps its certificates under the run folder where it has any."""
    if isinstance(server, KeepsFiles):
        server.keep_in(run_folder / "pki" / device)
    return server
