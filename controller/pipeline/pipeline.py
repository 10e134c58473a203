"""The one way of a Frame: gap check, twin, then everything of one batch into the spool in one durable append.

Raw data, the results computed from them and the stamps that find gaps go to disk together, so that a controller killed
at any moment has either all of a batch or nothing of it. A twin that fails loses its results, never the raw Frame.
The twin runs on one worker thread: its kernels release the interpreter lock, so the event loop stays free.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from controller.clock import Clock
from controller.pipeline.gaps import GapDetector
from controller.records import CLOCK_SET, CONNECTION, event
from controller.types import Frame

log = logging.getLogger(__name__)

Append = Callable[[Sequence[Frame], Mapping[str, bytes]], Awaitable[None]]
Watcher = Callable[[Sequence[Frame]], None]

CHECKPOINT_S = 2.0
"""Wall seconds between checkpoints of a twin: what a restart may have to bridge by the equipment's own counters."""

URGENT_S = 0.25
"""Wall seconds between checkpoints of a stage that keeps finished steps for later: at real speed, with every Frame."""

GAPS_STATE = "pipeline/gaps"


class StageKey(NamedTuple):
    """A twin's place: which stream of which device feeds it, and what it is called."""

    device: str
    stream: str
    name: str

    @property
    def state(self) -> str:
        """Name under which its checkpoint lies in the spool's state table."""
        return f"twin/{self.device}/{self.stream}/{self.name}"


class Stage(Protocol):
    """A twin fed from one device's stream."""

    def process(self, frame: Frame) -> Sequence[Frame]:
        """Results that follow from this Frame, often none. Runs on the worker thread."""
        ...

    def catch_up(self) -> Sequence[Frame]:
        """Results of what had to wait for kernels that come late (late.py), or of a part of it. Worker thread."""
        ...

    def checkpoint(self) -> bytes:
        """The stage's whole state."""
        ...

    def restore(self, saved: bytes) -> None:
        """Continue from a checkpoint. Raises ValueError when it is not one of this stage."""
        ...


@runtime_checkable
class OnEvents(Protocol):
    """A stage whose results happen once (a step's end): its state is saved with them, not at the next checkpoint."""

    def urgent(self) -> bool:
        """Whether what `process` did last must not be lost, nor done again by a restart."""
        ...


@runtime_checkable
class InParts(Protocol):
    """A stage whose `catch_up` works off a bounded part at a time, so that polls need not wait for all of it."""

    def waits(self) -> bool:
        """Whether another call has something to do."""
        ...


class Pipeline:
    """Takes Frames from every device task; one batch is done when it is durable and its watchers have seen it."""

    def __init__(
        self,
        clock: Clock,
        append: Append,
        gaps: GapDetector,
        stages: Mapping[StageKey, Stage],
        watchers: Sequence[Watcher],
    ) -> None:
        self._clock = clock
        self._append = append
        self._gaps = gaps
        self._stages = stages
        self._watchers = watchers
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="twin")
        self._fed_by: dict[tuple[str, str], list[StageKey]] = {}
        for key in stages:
            self._fed_by.setdefault((key.device, key.stream), []).append(key)
        self._failed: set[StageKey] = set()
        self._saved_at: dict[StageKey, float] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by device: one batch after the other

    async def accept(self, frames: Sequence[Frame]) -> None:
        """Make Frames of one device and what follows from them durable, then show them."""
        if not frames:
            return
        batch: list[Frame] = []
        state: dict[str, bytes] = {}
        async with self._turns[frames[0].device]:
            for frame in frames:
                if frame.stream == "event" and CONNECTION in frame.text["source"]:
                    self._gaps.broken(frame.device, "connection interrupted", int(frame.time_ns[0]))
                if frame.stream == "event" and CLOCK_SET in frame.text["source"]:
                    self._gaps.broken(frame.device, "the device's clock was set forward", int(frame.time_ns[0]))
                gap = self._gaps.observe(frame)
                if gap is not None:
                    log.warning("%s: gap of %.0f s in %s", frame.device, gap.columns["duration_s"][0], frame.stream)
                    batch.append(gap)
                batch += await self._follow(frame, state)
            state[GAPS_STATE] = self._gaps.checkpoint()
            await self._append(batch, state)
        for watch in self._watchers:
            watch(batch)

    async def catch_up(self) -> None:
        """Let every stage work off what had to wait for its kernels, part by part, and make each part durable."""
        for key, stage in self._stages.items():
            while await self._catch_up(key, stage):
                pass  # Frames of the device have had their turn in between: a lock serves in the order of asking

    async def _catch_up(self, key: StageKey, stage: Stage) -> bool:
        """One part; whether there is another."""
        async with self._turns[key.device]:
            batch: list[Frame] = []
            state: dict[str, bytes] = {}
            waited, sound = await self._guarded(key, stage.catch_up)
            for frame in waited:
                batch += await self._follow(frame, state)
            if batch:
                if sound:
                    state[key.state] = stage.checkpoint()
                await self._append(batch, state)
            more = sound and isinstance(stage, InParts) and stage.waits()
        for watch in self._watchers if batch else ():
            watch(batch)
        return more

    async def record(self, frame: Frame, state: Mapping[str, bytes] | None = None) -> None:
        """Make one record (command, event), and state that belongs to it, durable and show it; no twin sees records."""
        await self._append([frame], state or {})
        for watch in self._watchers:
            watch([frame])

    def checkpoint(self) -> dict[str, bytes]:
        """Every stage's state, by the name under which it is stored. Only between Frames."""
        return {key.state: stage.checkpoint() for key, stage in self._stages.items()}

    def close(self) -> None:
        """End the worker thread. Nothing may be accepted afterwards."""
        self._worker.shutdown(wait=True)

    async def _follow(self, frame: Frame, state: dict[str, bytes]) -> list[Frame]:
        """The Frame and everything that follows from it: a result may feed a stage like data of the equipment."""
        batch = [frame]
        for key in self._fed_by.get((frame.device, frame.stream), ()):
            for result in await self._run_stage(key, frame, state):
                batch += await self._follow(result, state)
        return batch

    async def _run_stage(self, key: StageKey, frame: Frame, state: dict[str, bytes]) -> Sequence[Frame]:
        stage = self._stages[key]
        result, sound = await self._guarded(key, partial(stage.process, frame))
        now = asyncio.get_running_loop().time()
        since = now - self._saved_at.get(key, -CHECKPOINT_S)
        # Results of an event are durable together with the state that knows of them, else a restart gives them again.
        urgent = isinstance(stage, OnEvents) and stage.urgent() and (bool(result) or since >= URGENT_S)
        if sound and (urgent or since >= CHECKPOINT_S):
            self._saved_at[key] = now
            state[key.state] = stage.checkpoint()
        return result

    async def _guarded(self, key: StageKey, work: Callable[[], Sequence[Frame]]) -> tuple[Sequence[Frame], bool]:
        """A stage's work on the worker thread, and whether it did it. A fault of ours in one twin is recorded, once."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work), True
        except Exception as error:
            if key in self._failed:
                return [], False
            self._failed.add(key)
            log.exception("twin %s of %s/%s failed", key.name, key.device, key.stream)
            text = f"twin {key.name} of {key.stream} failed: {type(error).__name__}: {error}"
            return [event(key.device, self._clock.now_ns(), "error", text)], False
