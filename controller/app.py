"""Builds one line's controller from its configuration and runs it: the only place where concrete objects meet.

Order of life: run folder, kernels, spool, sinks, twins, drivers, web page, then the device tasks. The end is the same
way back: devices first, then what is still in flight, then the sinks get a bounded time to drain; what they do not take
stays in the spool and is delivered by the next start on the same folder.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from configs.loader import LoadedLine
from controller.clock import Clock, LineClock, TimeBase
from controller.control.commands import Commander
from controller.control.job import Job, JobContext
from controller.drivers.base import Driver
from controller.errors import CelltwinError, StorageError
from controller.gateway.supervisor import BackOff, DeviceTask
from controller.historian import Drainer
from controller.housekeeping import Housekeeping, RunRecord
from controller.parts import build_sinks, gap_detector, make_driver, open_spool
from controller.pipeline.late import Late
from controller.pipeline.pipeline import GAPS_STATE, Pipeline, Stage, StageKey
from controller.pipeline.stages import build_stages
from controller.records import event
from controller.runfolder import RunFolder
from controller.types import ConnectionState, SinkCounters
from controller.web.app import create_app
from controller.web.describe import describe
from controller.web.server import serve
from controller.web.view import LiveView

log = logging.getLogger(__name__)

DISK_LOST = "disk lost"
"""How a run ends whose folder takes no more data."""

DRAIN_S = 20.0
"""Wall seconds that the sinks get at the end to take what the spool still holds."""

DRAIN_AWAY_S = 3.0
"""The same for a sink that has been away already: time for another try or two, not for an operator to wait out."""

COMPILED_S = 1.5
"""Wall seconds beyond which a kernel was compiled rather than loaded from the cache, and is worth a line."""

LATE_S = 90.0
"""Wall seconds that a complete run waits for kernels that still compile: a cold start of a short run."""

CANCEL_AGAIN_S = 5.0
"""A library may swallow one cancellation; the end of a run must not hang on that."""

LIVE_KERNELS = ("ekf", "line_protocol", "loading")
"""What every sample needs. What only events need is prepared while the line runs (controller/pipeline/late.py)."""

Say = Callable[[str], None]


def warm_up(say: Say) -> None:
    """Compile what runs live, or load it from the cache, and load what is loaded at first use; says what takes long."""
    import numpy as np
    import pyarrow as pa

    from kernels.warm_up import warm_up as warm_up_kernels

    say("preparing kernels; a first start compiles them, which takes some ten seconds")
    warm_up_kernels(
        lambda name, s: say(f"compiled kernel {name} in {s:.1f} s") if s > COMPILED_S else None, LIVE_KERNELS
    )
    pa.array(np.zeros(1))  # imports pandas where that is installed, half a second that no poll should wait for
    # What start-up made lives as long as the process. Left to the collector, each full pass walks the compiler's
    # hundreds of thousands of objects and stops the loop for a quarter of a second.
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run differs from another of the same line."""

    folder: RunFolder
    time_base: TimeBase | None = None  # None: plant time is wall time
    duration_s: float | None = None  # plant seconds that the run is meant to last, for progress only
    seed: int | None = None


async def run_line(loaded: LoadedLine, options: RunOptions, stop: asyncio.Event, say: Say) -> None:
    """Run the line until `stop` is set. Raises CelltwinError; leaves a valid run folder however it ends."""
    options.folder.prepare()
    clock = LineClock(options.time_base)
    controller = _Controller(loaded, options, clock, say)
    async with AsyncExitStack() as stack:
        await controller.build(stack)
        await controller.run(stop)


class _Controller:
    """The objects of one run, in the order in which they are built and the reverse order in which they end."""

    def __init__(self, loaded: LoadedLine, options: RunOptions, clock: Clock, say: Say) -> None:
        self._loaded = loaded
        self._options = options
        self._clock = clock
        self._say = say
        plant_start_ns = options.time_base.plant_start_ns if options.time_base else clock.now_ns()
        info = describe(loaded.file, loaded.equipment, loaded.recipes, plant_start_ns, options.duration_s)
        scenario = options.folder.read_scenario() if options.time_base is not None else ""
        if scenario:
            info = replace(info, title=f"{info.title or info.name} · {scenario}")
        self._view = LiveView(info)
        self._drivers: dict[str, Driver] = {}
        self._tasks: list[tuple[str, Callable[[], object]]] = []

    async def build(self, stack: AsyncExitStack) -> None:
        """Open everything that belongs to us; nothing of the equipment yet."""
        loaded, folder = self._loaded, self._options.folder
        sinks = build_sinks(loaded, folder)
        self._spool = open_spool(loaded, folder, [sink.name for sink in sinks])
        stack.push_async_callback(self._spool.close)
        folder.keep_line_file(loaded.path)
        self._drainers = [Drainer(self._spool, sink) for sink in sinks]
        self._view.set_spool(True)
        self._gaps = gap_detector(loaded, self._clock.speed)
        self._late = Late()
        stages = self._build_stages()
        self._drivers = {
            d.id: make_driver(
                *(loaded, d.id, self._clock, partial(self._view.observe_poll, d.id), self._gaps.newest(d.id)),
                self._spool,
            )
            for d in loaded.file.device
        }
        self._pipeline = Pipeline(
            self._clock,
            self._spool.append,
            self._gaps,
            stages,
            [self._view.accept],
        )
        stack.callback(self._pipeline.close)
        if loaded.file.web.enabled:
            web = loaded.file.web
            address = await stack.enter_async_context(serve(create_app(self._view, self._clock), web.host, web.port))
            self._say(f"live page: {address}")
        self._run = RunRecord(loaded, folder, self._clock, self._options.time_base, self._options.seed)

    async def run(self, stop: asyncio.Event) -> None:
        """Run all tasks until `stop`; then end them in order and drain."""
        housekeeping = Housekeeping(self._counters, self._spool.ledger, self._view, self._run)
        drains = [asyncio.create_task(d.run(), name=f"sink {d.name}") for d in self._drainers]
        devices = [asyncio.create_task(task.run(), name=name) for name, task in self._device_tasks()]
        jobs = [asyncio.create_task(job.run(), name=f"job {device}") for device, job in self._jobs()]
        house = asyncio.create_task(housekeeping.run(), name="housekeeping")
        late = asyncio.create_task(self._late.prepare(self._pipeline.catch_up), name="late kernels")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        status = "failed"
        try:
            running = [*drains, *devices, *jobs, house, stopped]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # none of these ends by itself: this raises what ended it
            status = "complete" if self._plant_time_reached() else "interrupted"
        except StorageError:
            status = DISK_LOST
            raise
        finally:
            await _cancel([stopped, house, *jobs, *devices])
            await self._end_late(late, status)
            await self._end(status, drains)

    async def _end_late(self, late: asyncio.Task[None], status: str) -> None:
        """A run that reached its planned end works off what waits; others keep it in their checkpoints."""
        planned = status == "complete" and self._options.duration_s is not None
        if planned and not late.done():
            self._say("waiting for the kernels of finished steps, which still compile")
            await asyncio.wait([late], timeout=LATE_S)
        await _cancel([late])
        if planned:
            await self._pipeline.catch_up()

    async def _end(self, status: str, drains: Sequence[asyncio.Task[None]]) -> None:
        """The devices are let go; make the rest durable, deliver what can be delivered, and say so in run.json."""
        if status == DISK_LOST:
            # Nothing can be made durable or moved on. What was acknowledged is in the spool for the next start.
            await _cancel(drains)
            with suppress(StorageError):
                self._run.finish("failed", self._counters(), self._spool.ledger())
            return
        await self._last_append()
        await self._drain(drains)
        self._run.finish(status, self._counters(), self._spool.ledger())

    def _counters(self) -> list[SinkCounters]:
        return [self._spool.counters(drainer.name) for drainer in self._drainers]

    def _plant_time_reached(self) -> bool:
        """A run with a planned length is complete when plant time has passed it; one without never is incomplete."""
        duration_s, base = self._options.duration_s, self._options.time_base
        if duration_s is None or base is None:
            return True
        return self._clock.now_ns() - base.plant_start_ns >= 0.999 * duration_s * 1e9

    def _build_stages(self) -> dict[StageKey, Stage]:
        """Twins, continued from their checkpoints where this folder has some."""
        stages = build_stages(self._loaded, self._late)
        for key, stage in stages.items():
            saved = self._spool.load_state(key.state)
            if saved is not None:
                try:
                    stage.restore(saved)
                except ValueError as error:
                    log.warning("%s: checkpoint not usable, starting anew: %s", key.state, error)
        saved = self._spool.load_state(GAPS_STATE)
        if saved is not None:
            self._gaps.restore(saved, "controller was not running")
        return dict(stages)

    def _device_tasks(self) -> Sequence[tuple[str, DeviceTask]]:
        tasks = []
        for device in self._loaded.file.device:
            back_off = BackOff(device.retry_min_s, max(device.retry_min_s, device.retry_max_s))
            driver = self._drivers[device.id]
            tasks.append((device.id, DeviceTask(driver, back_off, self._pipeline.accept, self._on_state)))
        return tasks

    def _on_state(self, device: str, state: ConnectionState, detail: str) -> None:
        self._view.set_connection(device, state, detail)
        if state is ConnectionState.BACKING_OFF:
            self._gaps.broken(device, detail, self._clock.now_ns())

    def _jobs(self) -> Sequence[tuple[str, Job]]:
        commander = Commander(self._drivers, self._loaded.equipment, self._clock, self._pipeline.record)
        context = JobContext(commander, self._clock, self._pipeline.record, self._spool.load_state)
        return [
            (
                d.id,
                Job(
                    *(d.id, self._loaded.equipment[d.id], self._loaded.recipes[d.id]),
                    *(d.heartbeat_timeout_s, context, d.jobs),
                ),
            )
            for d in self._loaded.file.device
            if d.id in self._loaded.recipes
        ]

    async def _last_append(self) -> None:
        """Save the twins' last state, with a record that makes it durable."""
        ended = event("line", self._clock.now_ns(), "info", "controller stopped")
        try:
            await self._pipeline.record(ended, self._pipeline.checkpoint())
        except StorageError as error:
            log.error("the last state could not be saved: %s", error)

    async def _drain(self, drains: Sequence[asyncio.Task[None]]) -> None:
        """Give every sink its time; say what stays behind."""
        times = ((d, DRAIN_AWAY_S if d.trouble else DRAIN_S) for d in self._drainers)
        await asyncio.gather(*(drainer.drain(seconds) for drainer, seconds in times), return_exceptions=True)
        await _cancel(drains)
        for counters in self._counters():
            if counters.spooled:
                log.warning("%s: %d rows stay in the spool for the next start", counters.sink, counters.spooled)


async def _cancel(tasks: Sequence[asyncio.Task[object]] | Sequence[asyncio.Task[None]]) -> None:
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, CelltwinError):
            log.error("while ending: %r", result)
