"""A Driver without a device: it returns the Frames that it is fed. For tests of everything above the drivers.

It does what the contract in controller.drivers.base says and no more; faults are fed as errors, in their place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from controller.errors import CommandError, DeviceLostError, PeerError
from controller.types import Float64Array, Frame, Write

Step = Frame | Sequence[Frame] | PeerError


class SoftDriver:
    """One scripted device. `script` is read first, then what `feed` adds; read waits while there is nothing.

    `tags` are the values that write changes and read_back returns, one sequence per tag, length = the tag's points.
    """

    def __init__(self, device: str, script: Iterable[Step] = (), tags: Mapping[str, Sequence[float]] | None = None):
        self._device = device
        self._steps: deque[Step] = deque(script)
        self._more = asyncio.Event()
        self._connected = False
        self.tags: dict[str, list[float]] = {name: list(values) for name, values in (tags or {}).items()}
        self.written: list[Write] = []
        self.start_errors: deque[PeerError] = deque()  # raised by the next starts, one each
        self.write_errors: deque[PeerError | CommandError | None] = deque()  # by the next writes; None lets one pass
        self.ignore_writes = False  # acknowledged, but the device keeps what it had: the read-back differs
        self.starts = 0
        self.stops = 0

    @property
    def device(self) -> str:
        """The device's id in the line file."""
        return self._device

    @property
    def connected(self) -> bool:
        """True between a start that went well and the next stop or loss."""
        return self._connected

    @property
    def waiting(self) -> int:
        """Steps that no read has taken yet."""
        return len(self._steps)

    def feed(self, *steps: Step) -> None:
        """Adds what the next reads return or raise."""
        self._steps.extend(steps)
        self._more.set()

    async def start(self) -> None:
        """Connects, or raises the next of `start_errors`."""
        self.starts += 1
        self._connected = False
        if self.start_errors:
            raise self.start_errors.popleft()
        self._connected = True

    async def read(self) -> Sequence[Frame]:
        """The next step. A DeviceLostError in the script also loses the connection."""
        while True:
            self._need_connection()
            if self._steps:
                step = self._steps.popleft()
                if isinstance(step, DeviceLostError):
                    self._connected = False
                if isinstance(step, PeerError):
                    raise step
                return [step] if isinstance(step, Frame) else step
            self._more.clear()
            await self._more.wait()

    async def write(self, writes: Sequence[Write]) -> None:
        """Records and applies, or raises the next of `write_errors`. CommandError for a tag it does not have."""
        self._need_connection()
        if self.write_errors and (error := self.write_errors.popleft()) is not None:
            raise error
        for write in writes:
            if len(write.values) > len(self._values(write.tag)):
                raise CommandError(f"{self._device}: tag '{write.tag}' does not take {len(write.values)} values")
        for write in writes:
            self.written.append(write)
            if not self.ignore_writes:
                self.tags[write.tag][: len(write.values)] = write.values

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """The tags' values now."""
        self._need_connection()
        return {name: np.array(self._values(name), dtype=np.float64) for name in tags}

    async def stop(self) -> None:
        """Disconnects; a read that waits ends with DeviceLostError."""
        self.stops += 1
        self._connected = False
        self._more.set()

    def _need_connection(self) -> None:
        if not self._connected:
            raise DeviceLostError(f"{self._device}: not connected", "start connects it")

    def _values(self, tag: str) -> list[float]:
        if tag not in self.tags:
            raise CommandError(
                f"{self._device}: tag '{tag}' does not exist", f"it has {', '.join(self.tags) or 'none'}"
            )
        return self.tags[tag]
