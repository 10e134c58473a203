"""A proxy in front of a simulated device: its server listens on a port of the system's choice, the proxy on the line
file's endpoint. The pair is a Server like any other, in which what breaks in a server and in a network can break.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable, Mapping

from configs.endpoint import MODBUS_SCHEME, parse_endpoint
from configs.loader import LoadedScenario
from configs.schema import Equipment
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.proxy.proxy import Counters, FaultProxy
from simulators.servers import Server, WriteTag, build_server


class ProxiedServer:
    """A device's server behind a proxy."""

    def __init__(self, server: Server, proxy: FaultProxy, keeper: socket.socket) -> None:
        """`keeper` is bound to the server's port and keeps it from others for as long as this object lives."""
        self._server, self._proxy = server, proxy
        weakref.finalize(self, keeper.close)
        for name in dir(type(server)):  # what more the server offers (a protocol's own) is offered as its own
            if not name.startswith("_") and not hasattr(type(self), name) and callable(getattr(type(server), name)):
                setattr(self, name, getattr(server, name))
        own = getattr(server, "faults", {})
        self.faults: Mapping[str, FaultKind] = {**own, **proxy.faults}

    @property
    def counters(self) -> Counters:
        """What has passed, and what was done to it."""
        return self._proxy.counters

    async def start(self) -> None:
        """As the server; the proxy last."""
        await self._server.start()
        await self._proxy.start()

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """As the server."""
        await self._server.publish(outputs, plant_ns)

    async def stop(self) -> None:
        """Both; may be started again, as after a power fail."""
        await self._proxy.stop()
        await self._server.stop()

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """One of the network's or of the server's."""
        if name in NETWORK_FAULTS:
            self._proxy.fault(name, on, settings)
        else:
            self._server.fault(name, on, settings)  # type: ignore[attr-defined]


def build_proxied(equipment: Equipment, endpoint: str, write: WriteTag, seed: int) -> ProxiedServer:
    """As build_server, with a proxy on `endpoint`. Raises ValueError for an endpoint that no proxy can stand before."""
    parts = parse_endpoint(endpoint)
    if not parts.port:
        raise ValueError(f"endpoint '{endpoint}' is no TCP port: no proxy can stand before it")
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port = int(keeper.getsockname()[1])
    inner = f"{parts.scheme}://127.0.0.1:{port}" + (f"/{parts.path}" if parts.path else "")
    server = build_server(equipment, inner, write)
    proxy = FaultProxy((parts.host, parts.port), ("127.0.0.1", port), parts.scheme == MODBUS_SCHEME, seed)
    return ProxiedServer(server, proxy, keeper)


BuildServer = Callable[[Equipment, str, WriteTag], Server]


def server_builder(device: str, via_proxy: bool, scenario: LoadedScenario | None, seed: int) -> BuildServer:
    """build_server, with a proxy in front where that is asked for or the scenario breaks this device's network.

    A serial line has no network, so there is never one in front of it.
    """
    broken = any(f.device == device and f.kind in NETWORK_FAULTS for f in (scenario.file.fault if scenario else ()))

    def build(equipment: Equipment, endpoint: str, write: WriteTag) -> Server:
        if not parse_endpoint(endpoint).port or not (via_proxy or broken):
            return build_server(equipment, endpoint, write)
        return build_proxied(equipment, endpoint, write, seed)

    return build
