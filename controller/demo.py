"""`celltwin simulate` and `celltwin demo`: equipment and controller as processes of their own, watched over HTTP.

The demo is what a person would do by hand: start the simulated equipment, start `celltwin run` on it, watch, stop the
controller, stop the equipment, build the report. Plant time starts only when all processes are ready, so a cold start
that compiles kernels loses none of it. A controller that dies is started again on the same folder, as systemd would.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from configs.loader import LoadedLine, LoadedScenario
from controller.clock import TimeBase
from controller.errors import BadInputError, RunError
from controller.runfolder import RunFolder
from controller.signals import stop_event, unless_stopped
from controller.simulate import (
    Child,
    SimulatedEquipment,
    how_it_ended,
    make_time_base,
    send_line,
    start_child,
    stop_child,
    wall_ns,
)

ERROR = "error: "
"""How the controller's last message begins on its output, when it has one."""

WATCH_S = 0.5
MAX_RESTARTS = 3
CONTROLLER_READY_S = 180.0
CONTROLLER_STOP_S = 150.0
"""Wall seconds that the controller may take to finish and to drain its sinks before it is killed; it takes less."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How a demo stands, for the screen."""

    fraction: float  # of plant time
    plant_s: float
    rows: int  # durable in the spool
    wall_to_first_data_s: float | None


Show = Callable[[Progress], None]


async def stay_simulating(
    loaded: LoadedLine,
    folder: RunFolder,
    speed: float | None,
    say: Say,
    scenario: LoadedScenario | None = None,
    via_proxy: bool = False,
) -> None:
    """Run the simulated equipment until Ctrl-C or SIGTERM; `via_proxy`: each device behind a network fault proxy."""
    simulation = loaded.file.simulation
    if simulation is None:
        raise not_simulated(loaded)
    equipment = SimulatedEquipment(loaded, folder, simulation.seed, scenario, via_proxy)
    stop = stop_event()
    try:
        if not await unless_stopped(equipment.start(), stop):
            return
        speed = speed or simulation.speed
        base = make_time_base(loaded, speed, simulation.duration_s, wall_ns())
        await equipment.release(base)
        for device in loaded.file.device:
            if device.id in simulation.machines:
                say(f"{device.id}: {device.endpoint}")
        if scenario is not None:
            say(f"scenario: {scenario.file.title}")
        say(f"plant time runs {speed:g} times as fast as the clock; run folder {folder.path}; Ctrl-C ends it")
        ended = asyncio.create_task(equipment.wait())
        stopped = asyncio.create_task(stop.wait())
        done, pending = await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if ended in done:
            ended.result()
    finally:
        await equipment.stop()


class Demo:
    """One demo run, from nothing to a finished run folder (without the report)."""

    def __init__(
        self,
        loaded: LoadedLine,
        folder: RunFolder,
        speed: float,
        duration_s: float,
        say: Say,
        scenario: LoadedScenario | None = None,
    ) -> None:
        if loaded.file.simulation is None:
            raise not_simulated(loaded)
        self._loaded = loaded
        self._folder = folder
        self._speed = speed
        self._duration_s = duration_s
        self._seed = loaded.file.simulation.seed
        self._say = say
        self._equipment = SimulatedEquipment(loaded, folder, self._seed, scenario)
        self._controller: Child | None = None
        self._base: TimeBase | None = None

    async def run(self, show: Show) -> bool:
        """Returns True when plant time reached its end, False when it was interrupted. Raises CelltwinError."""
        stop = stop_event()
        started_ns = wall_ns()
        try:
            going = await unless_stopped(self._start(), stop)
            complete = going and await self._watch(stop, started_ns, show)
        except BaseException:
            await self._stop()
            raise
        if await self._stop() > 0 and going:
            raise self._failed()
        return complete

    async def _start(self) -> None:
        """Build everything at once, then let plant time begin. Leaves no task behind; processes are for `_stop`."""
        starts = [asyncio.ensure_future(self._equipment.start()), asyncio.ensure_future(self._start_controller("-"))]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        base = make_time_base(self._loaded, self._speed, self._duration_s, wall_ns())
        await self._equipment.release(base)
        assert self._controller is not None
        await send_line(self._controller, base.text())
        self._base = base

    async def _watch(self, stop: asyncio.Event, started_ns: int, show: Show) -> bool:
        assert self._base is not None
        machines = asyncio.create_task(self._equipment.wait())
        restarts, rows, first_s = 0, 0, None
        try:
            while not stop.is_set():
                if machines.done():
                    machines.result()
                if self._controller is None or self._controller.process.returncode is not None:
                    restarts += 1
                    await self._restart(restarts)
                now = wall_ns()
                plant_s = (self._base.plant_ns(now) - self._base.plant_start_ns) / 1e9
                state = await asyncio.to_thread(self._fetch)
                rows = _accepted(state) if state else rows
                if rows and first_s is None:
                    first_s = (now - started_ns) / 1e9
                show(Progress(min(1.0, plant_s / self._duration_s), plant_s, rows, first_s))
                if plant_s >= self._duration_s:
                    return True
                left_s = (self._duration_s - plant_s) / self._speed
                try:
                    async with asyncio.timeout(min(WATCH_S, max(0.01, left_s))):
                        await stop.wait()
                except TimeoutError:
                    continue
            return False
        finally:
            machines.cancel()
            await asyncio.gather(machines, return_exceptions=True)

    async def _start_controller(self, time_base: str) -> None:
        """Start `celltwin run` and wait until it is built; it says so on its output, which we pass on."""
        arguments = ["controller", "run", str(self._loaded.path), "--out", str(self._folder.path)]
        arguments += ["--time-base", time_base, "--duration", repr(self._duration_s), "--seed", str(self._seed)]
        arguments += ["--parent-pid", str(os.getpid())]
        self._folder.prepare()
        child = await start_child("controller", arguments, self._folder.log / "controller.log")
        self._controller = child
        ready = asyncio.Event()
        child.reader = asyncio.create_task(self._relay(child, ready), name="output of controller")
        try:
            async with asyncio.timeout(CONTROLLER_READY_S):
                await ready.wait()
        except TimeoutError:
            raise RunError("the controller was not ready in time", f"see {self._folder.log}/controller.log") from None
        if "ready" not in child.tail:
            await child.process.wait()
            raise self._failed()

    async def _relay(self, child: Child, ready: asyncio.Event) -> None:
        """Show what the controller says; the word "ready" and its last message are for us."""
        assert child.process.stdout is not None
        while raw := await child.process.stdout.readline():
            line = raw.decode(errors="replace").rstrip()
            child.tail.append(line)
            del child.tail[:-50]
            if line == "ready":
                ready.set()
            elif not line.startswith(ERROR):
                self._say(line)
        ready.set()

    async def _restart(self, restarts: int) -> None:
        """The controller died: start it again on the same folder and time base, a bounded number of times."""
        assert self._controller is not None and self._base is not None
        code = self._controller.process.returncode
        if restarts > MAX_RESTARTS or (code is not None and code > 0):
            raise self._failed()
        self._say(f"the controller {how_it_ended(code)}; starting it again on the same folder")
        await self._start_controller(self._base.text())

    async def _stop(self) -> int:
        """Controller first, so that it stops reading before its equipment goes away. Returns its exit code."""
        code = 0
        if self._controller is not None:
            code = await stop_child(self._controller, CONTROLLER_STOP_S)
        await self._equipment.stop()
        return code

    def _failed(self) -> Exception:
        """The controller's own message, with its own exit code."""
        child = self._controller
        assert child is not None
        kind = BadInputError if child.process.returncode == BadInputError.exit_code else RunError
        for line in reversed(child.tail):
            if line.startswith(ERROR):
                return kind(line.removeprefix(ERROR))
        return kind(f"the controller {how_it_ended(child.process.returncode)}", f"see {child.log}")

    def _fetch(self) -> dict[str, Any] | None:
        """The live page's state, or None while it does not answer."""
        web = self._loaded.file.web
        if not web.enabled:
            return None
        try:
            with urllib.request.urlopen(f"http://{web.host}:{web.port}/api/state", timeout=1.0) as answer:
                state: dict[str, Any] = json.load(answer)
                return state
        except (OSError, ValueError):
            return None


def _accepted(state: dict[str, Any]) -> int:
    return max((int(c["accepted"]) for c in state.get("counters", [])), default=0)


def not_simulated(loaded: LoadedLine) -> BadInputError:
    """For the commands that need [simulation]."""
    return BadInputError(
        f"{loaded.path}: the line has no [simulation] table, so there is nothing to simulate",
        "add [simulation] with a machine for each device, or use celltwin run against real equipment",
    )
