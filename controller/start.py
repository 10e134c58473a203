"""`celltwin run`: logging, signals, the parent's life and the time base around `app.run_line`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from configs.loader import LoadedLine
from controller.clock import TimeBase
from controller.errors import BadInputError, CelltwinError
from controller.runfolder import RunFolder
from controller.signals import stop_event, unless_stopped

log = logging.getLogger(__name__)

Say = Callable[[str], None]

NOISY = ("asyncua", "pymodbus", "uvicorn", "aiohttp", "influxdb_client")
"""Libraries that log every reconnect attempt; we say loss and recovery ourselves, once each."""

PARENT_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Start:
    """What the demo tells the controller that it starts; a person gives none of it."""

    time_base: str | None = None  # "-": awaited on standard input after everything is loaded
    duration_s: float | None = None
    seed: int | None = None
    parent_pid: int | None = None  # end in good order when this process is gone


async def start_run(loaded: LoadedLine, folder: RunFolder, start: Start, say: Say) -> None:
    """Run the line until a signal, or until the parent is gone. Raises CelltwinError."""
    configure_logging()
    stop = stop_event()
    watch = asyncio.create_task(_watch_parent(start.parent_pid, stop), name="parent")
    try:
        await _run(loaded, folder, start, stop, say)
    except CelltwinError as error:
        if start.parent_pid is not None:
            say(f"error: {error}")  # the demo shows it; our stderr is only its log file
        raise
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def _run(loaded: LoadedLine, folder: RunFolder, start: Start, stop: asyncio.Event, say: Say) -> None:
    from controller.app import RunOptions, run_line, warm_up
    from controller.check import check_files
    from controller.parts import build_sinks

    # What a person must correct is said before anything slow begins.
    folder.prepare()
    base = parse_time_base(start.time_base) if start.time_base not in {None, "-"} else None
    if start.time_base is None and loaded.file.simulation is not None:
        base = _simulated_time_base(loaded, folder)
    check_files(loaded, secrets=True)
    build_sinks(loaded, folder)  # for its complaints only; the ones that work are built with the run
    if not await unless_stopped(asyncio.to_thread(warm_up, say), stop):
        _leave(start, say)
    if start.time_base is not None:
        say("ready")
    if start.time_base == "-":
        lines: list[str] = []
        if not await unless_stopped(asyncio.to_thread(lambda: lines.append(sys.stdin.readline())), stop):
            _leave(start, say)
        if not lines[0]:
            raise BadInputError("no time base came on standard input")
        base = parse_time_base(lines[0])
    await run_line(loaded, RunOptions(folder, base, start.duration_s, start.seed), stop, say)


def _leave(start: Start, say: Say) -> None:
    """End at once, well: nothing is open yet, and a thread that compiles or reads would keep us for half a minute."""
    if start.parent_pid is None:
        say("ended before the line was started; nothing was read from it")
    os._exit(0)


async def _watch_parent(parent_pid: int | None, stop: asyncio.Event) -> None:
    """Ask for the orderly end when the parent died without asking for it. As its child we are re-parented then."""
    if parent_pid is None:
        return
    while os.getppid() == parent_pid:  # noqa: ASYNC110 - the kernel tells only the parent of its child
        await asyncio.sleep(PARENT_LOOK_S)
    log.warning("the process that started this controller is gone; ending")
    stop.set()


def _simulated_time_base(loaded: LoadedLine, folder: RunFolder) -> TimeBase:
    base = folder.read_time_base()
    if base is None:
        raise BadInputError(
            f"{folder.path}: no simulated equipment was started with this folder",
            f"first: celltwin simulate {loaded.path} --out {folder.path}; or remove [simulation] from the line file",
        )
    return base


def parse_time_base(text: str | None) -> TimeBase:
    """PLANT_START_NS,WALL_START_NS,SPEED. Raises BadInputError."""
    given = (text or "").strip()
    try:
        plant, wall, speed = given.split(",")
        return TimeBase(int(plant), int(wall), float(speed))
    except ValueError as error:
        raise BadInputError(f"'{given}' is no time base", "PLANT_START_NS,WALL_START_NS,SPEED") from error


def configure_logging() -> None:
    """Our own messages from INFO, libraries from ERROR, to stderr: systemd's journal adds time and unit."""
    logging.raiseExceptions = False  # a log on a full disk must not fill the rest of it with complaints
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
