"""`celltwin run`: logging, signals and the time base around `app.run_line`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from configs.loader import LoadedLine
from controller.clock import TimeBase
from controller.errors import BadInputError
from controller.runfolder import RunFolder
from controller.signals import stop_event

Say = Callable[[str], None]

NOISY = ("asyncua", "pymodbus", "uvicorn", "aiohttp", "influxdb_client")
"""Libraries that log every reconnect attempt; we say loss and recovery ourselves, once each."""


async def start_run(
    loaded: LoadedLine,
    folder: RunFolder,
    time_base: str | None,
    duration_s: float | None,
    seed: int | None,
    say: Say,
) -> None:
    """Run the line until a signal. A `time_base` of "-" is awaited on standard input after everything is built."""
    from controller.app import RunOptions, run_line, warm_up

    configure_logging()
    stop = stop_event()
    await asyncio.to_thread(warm_up, say)
    base = await _time_base(loaded, folder, time_base, say)
    await run_line(loaded, RunOptions(folder, base, duration_s, seed), stop, say)


async def _time_base(loaded: LoadedLine, folder: RunFolder, given: str | None, say: Say) -> TimeBase | None:
    if given == "-":
        say("ready")
        given = await asyncio.to_thread(sys.stdin.readline)
        if not given:
            raise BadInputError("no time base came on standard input")
    elif given is not None:
        say("ready")
    if given is not None:
        return parse_time_base(given)
    if loaded.file.simulation is None:
        return None
    base = folder.read_time_base()
    if base is None:
        raise BadInputError(
            f"{folder.path}: no simulated equipment was started with this folder",
            f"first: celltwin simulate {loaded.path} --out {folder.path}; or remove [simulation] from the line file",
        )
    return base


def parse_time_base(text: str) -> TimeBase:
    """PLANT_START_NS,WALL_START_NS,SPEED. Raises BadInputError."""
    try:
        plant, wall, speed = text.strip().split(",")
        return TimeBase(int(plant), int(wall), float(speed))
    except ValueError as error:
        raise BadInputError(f"'{text.strip()}' is no time base", "PLANT_START_NS,WALL_START_NS,SPEED") from error


def configure_logging() -> None:
    """Our own messages from INFO, libraries from ERROR, to stderr: systemd's journal adds time and unit."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
