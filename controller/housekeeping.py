"""What a controller does about itself while it runs: counters to the page, run.json kept current, systemd's watchdog.

The watchdog is fed from the event loop, so a loop that hangs is noticed and the unit restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from configs.loader import LoadedLine
from controller import __version__
from controller.clock import NS_PER_S, Clock, LineClock, TimeBase
from controller.errors import BadInputError
from controller.runfolder import RunFolder
from controller.types import SinkCounters
from controller.web.view import LiveView

COUNTERS_S = 0.5
RUN_JSON_S = 5.0

LIBRARIES = ("numpy", "numba", "asyncua", "pymodbus", "influxdb-client", "pyarrow")


def _earlier(folder: RunFolder) -> dict[str, Any]:
    """What run.json says of the runs before this one in the folder. Raises BadInputError."""
    if not folder.has_run():
        return {}
    try:
        content = folder.read_run()
        return {**content, "starts": int(content.get("starts", 0))}
    except (BadInputError, TypeError, ValueError) as error:
        what = error.what if isinstance(error, BadInputError) else f"{folder.path}/run.json: damaged: {error}"
        hint = "move it away and start again; the data are in the spool and in the Parquet files"
        raise BadInputError(what, hint) from error


class RunRecord:
    """run.json of this run; a second start on the same folder keeps the first one's beginning."""

    def __init__(
        self, loaded: LoadedLine, folder: RunFolder, clock: Clock, base: TimeBase | None, seed: int | None
    ) -> None:
        self._folder = folder
        self._clock = clock
        wall = LineClock()
        self._wall = wall
        earlier = _earlier(folder)
        self._content: dict[str, Any] = {
            "line": loaded.file.line.name,
            "title": loaded.file.line.title,
            "scenario": folder.read_scenario() if base is not None else "",
            "started_wall": earlier.get("started_wall", _iso(wall.now_ns())),
            "ended_wall": None,
            "plant_start": earlier.get("plant_start", _iso(base.plant_start_ns if base else clock.now_ns())),
            "plant_end": None,
            "starts": earlier.get("starts", 0) + 1,
            "speed": clock.speed,
            "seed": seed,
            "versions": versions(),
            "devices": [d.model_dump(mode="json", exclude_none=True) for d in loaded.file.device],
            "recipes": {name: recipe.model_dump(mode="json") for name, recipe in loaded.recipes.items()},
            "cells": {name: cell.name for name, cell in loaded.cells.items()},
            "counters": [],
            "ledger": {},
            "status": "running",
        }
        self.update([], {})

    def update(self, counters: Sequence[SinkCounters], ledger: Mapping[str, int]) -> None:
        """Write the current figures. Raises StorageError."""
        self._content["counters"] = [asdict(c) for c in counters]
        self._content["ledger"] = dict(ledger)
        self._content["ended_wall"] = _iso(self._wall.now_ns())
        self._content["plant_end"] = _iso(self._clock.now_ns())
        self._folder.write_run(self._content)

    def finish(self, status: str, counters: Sequence[SinkCounters], ledger: Mapping[str, int]) -> None:
        """The last word: complete, interrupted or failed."""
        self._content["status"] = status
        self.update(counters, ledger)


class Housekeeping:
    """One slow loop."""

    def __init__(
        self,
        counters: Callable[[], Sequence[SinkCounters]],
        ledger: Callable[[], Mapping[str, int]],
        view: LiveView,
        run: RunRecord,
    ) -> None:
        self._counters = counters
        self._ledger = ledger
        self._view = view
        self._run = run

    async def run(self) -> None:
        """Until cancelled. Raises StorageError when the run folder can no longer be written."""
        loop = asyncio.get_running_loop()
        notify("READY=1")
        written = 0.0
        while True:
            counters = self._counters()
            self._view.set_counters(counters)
            notify("WATCHDOG=1")
            if loop.time() - written >= RUN_JSON_S:
                written = loop.time()
                self._run.update(counters, self._ledger())
            await asyncio.sleep(COUNTERS_S)


def notify(state: str) -> None:
    """Tell systemd, when it started us (sd_notify(3)); nothing otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A watchdog that cannot be reached will restart us, which is its answer.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def versions() -> dict[str, str]:
    """Versions of celltwin, Python and the libraries that shape the data."""
    found = {"celltwin": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns / NS_PER_S, UTC).isoformat(timespec="seconds")
