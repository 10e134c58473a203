"""One simulated device: the scan loop that moves a machine, its server and its truth file along in plant time.

Here is the only place in the simulators that reads the wall clock. Theory of operation: a scan advances the machine to
a grid point of plant time and publishes its outputs in one piece; a client's write goes straight to machine.write and
acts at the next scan. A process that cannot keep up stays honest: it strides through all of the physics, late.
With a scenario the machine is a Plant, which breaks at its plant times by itself; what breaks in the server is switched
here, before the scan that follows it is shown.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from simulators.faults.plant import Plant
from simulators.faults.timetable import Place
from simulators.machine import KeepsMetres, Machine
from simulators.scheduler import Pace, Schedule
from simulators.servers import Server, ShowsQuality
from simulators.timebase import NS_PER_S, TimeBase
from simulators.truth import FaultLog, TruthWriter

# Longest sleep: how soon a stop or the parent's death is seen.
MAX_SLEEP_S = 0.1
TRUTH_FLUSH_WALL_S = 3.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything of one device, built and not yet started."""

    device: str
    endpoint: str
    machine: Machine
    server: Server
    truth: TruthWriter
    base: TimeBase
    start_ns: int  # plant time that the machine was built at
    plant: Plant | None = None  # the machine on a scenario's timetable; None: nothing breaks
    faults: FaultLog | None = None
    metres: TruthWriter | None = None  # the history of every metre, of a machine that KeepsMetres


def device_seed(seed: int, device: str) -> int:
    """Seed of one device: equal machines on one line are not copies of each other."""
    return (seed << 32) + crc32(device.encode())


def parent_watch(parent_pid: int | None) -> Callable[[], bool]:
    """A function that is True while the parent lives (always, without one)."""
    if parent_pid is None:
        return lambda: True
    if os.getppid() == parent_pid:
        # As its child we are re-parented when it dies; a zombie would still answer to a signal.
        return lambda: os.getppid() == parent_pid

    def exists() -> bool:
        try:
            os.kill(parent_pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    return exists


class ScanLoop:
    """Runs one Job until told to stop."""

    def __init__(self, job: Job, ready: Say, complain: Say, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._job = job
        self._ready = ready
        self._complain = complain
        self._wall_ns = wall_ns
        self._machine: Machine = job.machine if job.plant is None else job.plant
        self._schedule = Schedule(job.start_ns, job.machine.scan_s, job.base.speed)
        self._truth_ns = round(job.machine.truth_period_s * NS_PER_S)
        self._at_ns = job.start_ns
        self._truth_failed = False

    async def run(self, stop: asyncio.Event, parent_alive: Callable[[], bool]) -> None:
        """Serve until `stop` is set or the parent is gone. Raises OSError when the server cannot listen."""
        job = self._job
        try:
            if job.plant is not None:
                job.plant.advance(self._at_ns)  # what is broken from the start
            await self._publish()
            await job.server.start()
            self._ready(f"ready {job.device} {job.endpoint}")
            await self._switch_server()
            await self._scan_until(stop, parent_alive)
        finally:
            await job.server.stop()
            self._flush_truth()

    async def _scan_until(self, stop: asyncio.Event, parent_alive: Callable[[], bool]) -> None:
        job, flushed_ns = self._job, self._wall_ns()
        while not stop.is_set() and parent_alive():
            now_ns = job.base.plant_ns(self._wall_ns())
            target_ns = self._schedule.stride(now_ns)
            if target_ns is None:
                due_s = job.base.wall_s_until(self._schedule.due_ns, self._wall_ns())
                await asyncio.sleep(min(max(due_s, 0.0), MAX_SLEEP_S))
                continue
            self._advance(target_ns)
            await self._switch_server()
            await self._publish()
            self._tell(self._schedule.pace(job.base.plant_ns(self._wall_ns())))
            if self._wall_ns() - flushed_ns > TRUTH_FLUSH_WALL_S * NS_PER_S:
                flushed_ns = self._wall_ns()
                self._flush_truth()
            await asyncio.sleep(0)  # clients are answered also while we catch up

    async def _publish(self) -> None:
        """Show the machine as it is now, through its instruments."""
        plant, server = self._job.plant, self._job.server
        if plant is None:
            await server.publish(self._machine.outputs(), self._at_ns)
            return
        if not plant.powered:
            return
        shown = plant.shown()
        if isinstance(server, ShowsQuality):
            server.qualify(shown.quality)
        await server.publish(shown.outputs, shown.stamp_ns)

    async def _switch_server(self) -> None:
        """What has begun and ended in the server, in order. Raises OSError when it cannot listen after a power fail."""
        plant, server = self._job.plant, self._job.server
        if plant is None:
            return
        for switch in plant.server_switches():
            if switch.entry.place is Place.SERVER:
                refused = ""
                try:
                    server.fault(switch.entry.kind, switch.on, switch.entry.settings)  # type: ignore[attr-defined]
                except ValueError as error:
                    refused = str(error)
                plant.note(switch, refused)
            elif switch.on:
                await server.stop()
            else:
                await self._publish()
                await server.start()

    def _advance(self, target_ns: int) -> None:
        """Move the machine to `target_ns` and record truth at every period on the way."""
        machine = self._machine
        while (mark_ns := (self._at_ns // self._truth_ns + 1) * self._truth_ns) <= target_ns:
            machine.advance(mark_ns)
            self._job.truth.add(mark_ns, machine.truth())
            self._keep_metres(mark_ns)
            self._at_ns = mark_ns
        if self._at_ns < target_ns:
            machine.advance(target_ns)
            self._at_ns = target_ns

    def _keep_metres(self, mark_ns: int) -> None:
        job = self._job
        if job.metres is not None and isinstance(job.machine, KeepsMetres):
            metres = job.machine.finished_metres()
            if metres:
                job.metres.add(mark_ns, metres)

    def _tell(self, pace: Pace) -> None:
        if pace is Pace.FELL_BEHIND:
            self._complain(f"{self._job.device}: cannot keep up with speed {self._job.base.speed:g}; plant time lags")
        elif pace is Pace.CAUGHT_UP:
            self._complain(f"{self._job.device}: has caught up with speed {self._job.base.speed:g}")

    def _flush_truth(self) -> None:
        try:
            self._job.truth.flush()
            if self._job.metres is not None:
                self._job.metres.flush()
            if self._job.faults is not None:
                self._job.faults.flush()
        except OSError as error:
            if not self._truth_failed:
                self._complain(f"{self._job.device}: the truth file cannot be written, the plant runs on: {error}")
            self._truth_failed = True
        else:
            self._truth_failed = False
