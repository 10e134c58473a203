"""What the gateway asks of every driver. A driver knows one device and one protocol, and nothing of retries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from controller.types import Float64Array, Frame, Write


class Driver(Protocol):
    """One device. Life cycle: start, then read and write in any order, then stop; start may follow stop.

    Construction checks its arguments and opens nothing. All deadlines are wall time, owned by the driver. Every method
    may raise PeerError (DeviceLostError, DeviceRefusedError, ProtocolError), write and read_back also CommandError for
    tags that the equipment does not have or that cannot hold the value; nothing else but cancellation. After
    DeviceLostError or ProtocolError the supervisor calls stop and later start.
    """

    @property
    def device(self) -> str:
        """The device's id in the line file."""
        ...

    async def start(self) -> None:
        """Connect and make the desired reads true (sessions, subscriptions, resolved nodes)."""
        ...

    async def read(self) -> Sequence[Frame]:
        """Wait for the next poll to be due or the next notification batch, and return it as Frames (never empty).

        At most one task calls this; write and read_back may run beside it.
        """
        ...

    async def write(self, writes: Sequence[Write]) -> None:
        """Write tags in the given order. Values are in the tags' units; the driver scales and encodes."""
        ...

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """Read tags now, readable or writable ones alike; one array per tag, length = the tag's points (1 without)."""
        ...

    async def stop(self) -> None:
        """Close what is open. Safe at any time, also after a failed start; never raises."""
        ...
