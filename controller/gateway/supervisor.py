"""One supervised task per device: start, read, hand over; when the device fails, stop, back off, start again, for ever.

Theory of operation: the task is the only caller of start, read and stop. A PeerError ends one connection (a refused
read not even that) and never the task; anything else is a fault of ours, is reported once with its traceback and then
treated the same, because an edge box has nobody to restart it. Loss and recovery are said once each, not at every
attempt. Waiting here is wall time: networks and PLCs recover in real seconds even when plant time runs faster.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from controller.drivers.base import Driver
from controller.errors import DeviceRefusedError, PeerError, StorageError
from controller.types import ConnectionState, Frame

log = logging.getLogger(__name__)

FrameHandler = Callable[[Sequence[Frame]], Awaitable[None]]
StateHandler = Callable[[str, ConnectionState, str], None]


REFUSED_PAUSE_S = 0.05
"""Wall seconds after a refused read: a driver that refuses at once must not spin."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Wall seconds between attempts: doubled each time up to a bound, jittered so that devices do not march in step."""

    min_s: float
    max_s: float

    def delay_s(self, attempt: int, draw: float) -> float:
        """Delay before attempt number `attempt` (from 1); `draw` is uniform in [0, 1) and spreads it by half."""
        bound = min(self.max_s, self.min_s * 2.0 ** min(attempt - 1, 30))
        return bound * (0.5 + 0.5 * draw)


class DeviceTask:
    """Runs one driver until it is cancelled."""

    def __init__(
        self,
        driver: Driver,
        back_off: BackOff,
        on_frames: FrameHandler,
        on_state: StateHandler,
        rng: random.Random | None = None,
    ) -> None:
        self._driver = driver
        self._back_off = back_off
        self._on_frames = on_frames
        self._on_state = on_state
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._attempt = 0
        self._lost_said = False
        self._refusals: set[str] = set()

    async def run(self) -> None:
        """Keep the device connected and its Frames flowing. Returns only by cancellation; raises only StorageError."""
        device = self._driver.device
        try:
            while True:
                self._on_state(device, ConnectionState.CONNECTING, "")
                detail = await self._one_connection()
                _heed_cancellation()
                self._attempt += 1
                delay_s = self._back_off.delay_s(self._attempt, self._rng.random())
                self._on_state(device, ConnectionState.BACKING_OFF, detail)
                await asyncio.sleep(delay_s)
        finally:
            await self._driver.stop()
            self._on_state(device, ConnectionState.STOPPED, "")

    async def _one_connection(self) -> str:
        """Start, read until it fails, stop. Returns the reason in words."""
        device = self._driver.device
        try:
            await self._driver.start()
            _heed_cancellation()
            self._on_state(device, ConnectionState.CONNECTED, "")
            while True:
                frames = await self._read()
                self._recovered()
                await self._on_frames(frames)
        except PeerError as error:
            detail = str(error)
            if not self._lost_said:
                log.warning("%s: lost: %s", device, detail)
        except StorageError:
            raise  # nothing can be made durable any more: that ends the run, another connection would not help
        except Exception as error:
            detail = f"fault in celltwin: {type(error).__name__}: {error}"
            if not self._lost_said:
                log.exception("%s: %s", device, detail)
        finally:
            await self._driver.stop()
        self._lost_said = True
        return detail

    async def _read(self) -> Sequence[Frame]:
        """The next Frames. A refused read is said once and does not cost the connection: the other groups go on."""
        while True:
            try:
                return await self._driver.read()
            except DeviceRefusedError as error:
                if str(error) not in self._refusals:
                    self._refusals.add(str(error))
                    log.warning("%s: refused: %s", self._driver.device, error)
                    self._on_state(self._driver.device, ConnectionState.CONNECTED, str(error))
                await asyncio.sleep(REFUSED_PAUSE_S)

    def _recovered(self) -> None:
        """Data flow again; only now does the back-off start anew: a device that accepts and fails is not hammered."""
        if self._lost_said:
            log.warning("%s: back after %d attempt(s)", self._driver.device, self._attempt)
            self._lost_said = False
        self._attempt = 0


def _heed_cancellation() -> None:
    """A library may take a cancellation that comes while it connects for its own time-out; we must end all the same."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
