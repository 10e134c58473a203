"""Starts a line's simulated equipment: one operating-system process per machine, reached over the wire only.

The controller knows the simulators as programs (`python -m simulators`), never as modules.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from configs.loader import LoadedLine, LoadedScenario
from controller.clock import NS_PER_S, TimeBase
from controller.errors import BadInputError, RunError, StorageError
from controller.runfolder import RunFolder

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 120.0
"""Wall seconds for a machine to be built or to listen: a cold start compiles its kernels first."""

STOP_TIMEOUT_S = 10.0


_COMPLAINT = re.compile(r"\S+\.toml(:\d+)?: ")

LEAD_S = 0.5
"""Wall seconds between the time base being sent and plant time starting: a server needs that long to listen."""


def make_time_base(loaded: LoadedLine, speed: float, duration_s: float, wall_ns: int) -> TimeBase:
    """A time base that starts LEAD_S from now. Plant time ends about now too, unless the line file fixes its start."""
    wall_ns += int(LEAD_S * NS_PER_S)
    simulation = loaded.file.simulation
    if simulation is not None and simulation.start is not None:
        start = simulation.start if simulation.start.tzinfo else simulation.start.replace(tzinfo=UTC)
        return TimeBase(int(start.timestamp()) * NS_PER_S, wall_ns, speed)
    lead_s = duration_s - duration_s / speed if speed > 1 else 0.0
    return TimeBase((wall_ns // NS_PER_S - int(lead_s)) * NS_PER_S, wall_ns, speed)


@dataclass(slots=True)
class Child:
    """One process that we started, and what its last lines said."""

    name: str
    process: asyncio.subprocess.Process
    tail: list[str]
    log: Path
    log_start: int  # bytes of the log file that are not this process's
    reader: asyncio.Task[None] | None = None

    def last_words(self) -> str:
        """What it said at the end: the last line of its stderr, or else how it ended."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self.log_start)
            said = file.read().decode(errors="replace").strip().splitlines()
            if said:
                return said[-1].removeprefix(f"{self.name}: ")
        return how_it_ended(self.process.returncode)

    def complaints(self) -> list[str]:
        """Its lines about files, FILE:LINE: KEY: WHAT, in order; none twice."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self.log_start)
            lines = file.read().decode(errors="replace").splitlines()
            return list(dict.fromkeys(line for line in lines if _COMPLAINT.match(line)))
        return []


async def start_child(name: str, arguments: list[str], log_file: Path) -> Child:
    """Start `python -m ...` in a session of its own (Ctrl-C is ours to pass on); its stderr goes to `log_file`."""
    try:
        sink = log_file.open("ab")
    except OSError as error:
        raise StorageError(f"{log_file}: cannot be written: {error.strerror}", "choose another folder") from error
    with sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
        )
        return Child(name, process, [], log_file, sink.tell())


def how_it_ended(code: int | None) -> str:
    """In words, for a process that should have gone on."""
    if code is not None and code < 0:
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"ended by itself with exit code {code}"


async def stop_child(child: Child, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Ask it to end, wait, insist. Returns its exit code."""
    if child.process.returncode is None:
        child.process.send_signal(signal.SIGTERM)
        if child.process.stdin is not None:
            child.process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                await child.process.wait()
        except TimeoutError:
            log.warning("%s did not end within %.0f s and was killed", child.name, timeout_s)
            child.process.kill()
    if child.reader is not None:
        await asyncio.gather(child.reader, return_exceptions=True)
    return await child.process.wait()


class SimulatedEquipment:
    """The processes that play a line's machines. `start` builds them, `release` gives them their time base."""

    def __init__(
        self,
        loaded: LoadedLine,
        folder: RunFolder,
        seed: int,
        scenario: LoadedScenario | None = None,
        via_proxy: bool = False,
    ) -> None:
        self._loaded = loaded
        self._folder = folder
        self._seed = seed
        self._scenario = scenario
        self._via_proxy = via_proxy
        self.children: list[Child] = []

    async def start(self) -> None:
        """Start every machine; plant time stands still until `release`.

        Raises RunError or BadInputError when one does not come up; then none is left running.
        """
        self._folder.prepare()
        try:
            for device in self._loaded.file.simulation.machines if self._loaded.file.simulation else ():
                self.children.append(await self._start_one(device))
            await asyncio.gather(*(self._said(child, "warm") for child in self.children))
        except BaseException:
            await self.stop()
            raise

    async def release(self, base: TimeBase) -> None:
        """Let plant time run on `base`; returns once all machines listen. Raises RunError or BadInputError."""
        for child in self.children:
            await send_line(child, base.text())
        await asyncio.gather(*(self._said(child, "ready") for child in self.children))
        for child in self.children:
            assert child.process.stdout is not None
            child.reader = asyncio.create_task(_drain(child.process.stdout), name=f"output of {child.name}")
        details: dict[str, object] = {"pids": {c.name: c.process.pid for c in self.children}}
        if self._scenario is not None:
            details["scenario"] = self._scenario.file.title
        self._folder.write_time_base(base, details)

    async def stop(self) -> None:
        """End what still runs."""
        await asyncio.gather(*(stop_child(child) for child in self.children))

    async def wait(self) -> None:
        """Until one machine ends by itself, which it should not. Raises RunError."""
        waits = {asyncio.ensure_future(c.process.wait()): c for c in self.children}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        child = waits[done.pop()]
        raise self._ended(child)

    async def _start_one(self, device: str) -> Child:
        arguments = ["simulators", device, "--line", str(self._loaded.path), "--out", str(self._folder.path)]
        arguments += ["--time-base", "-", "--seed", str(self._seed), "--parent-pid", str(os.getpid())]
        arguments += ["--via-proxy"] if self._via_proxy else []
        arguments += ["--scenario", self._scenario.source] if self._scenario is not None else []
        return await start_child(device, arguments, self._folder.log / f"{device}.log")

    async def _said(self, child: Child, word: str) -> None:
        """Wait for the line on its output that starts with `word`."""
        stdout = child.process.stdout
        assert stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while raw := await stdout.readline():
                    line = raw.decode(errors="replace").rstrip()
                    child.tail.append(line)
                    if line.split(" ", 1)[0] == word:
                        return
        except TimeoutError:
            what = f"{child.name}: not {word} after {READY_TIMEOUT_S:.0f} s"
            raise RunError(what, f"see {child.log}") from None
        await child.process.wait()
        raise self._ended(child)

    def _ended(self, child: Child) -> Exception:
        """The error for a machine that ended: its own last words, and its exit code decides whose fault it is."""
        code = child.process.returncode
        if code is not None and code < 0:
            return RunError(f"simulated {child.name} {how_it_ended(code)}", "start again on the same folder")
        if code == BadInputError.exit_code and (complaints := child.complaints()):
            return BadInputError("\n".join(complaints))
        if code == BadInputError.exit_code:
            return BadInputError(f"simulated {child.name}: {child.last_words()}")
        return RunError(f"simulated {child.name}: {child.last_words()}", f"see {child.log}")


def ask_simulators(*arguments: str) -> int:
    """Run `python -m simulators` to its end, its output being ours; its exit code. It opens no socket for that."""
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", "simulators", *arguments], check=False).returncode  # noqa: S603


def describe_equipment(what: str, csv: Path | None, nodeset: Path | None) -> int:
    """Have a machine's or equipment type's tag list printed, and written where a file is named; the exit code."""
    files = [word for name, path in (("--csv", csv), ("--nodeset", nodeset)) if path for word in (name, str(path))]
    return ask_simulators("--describe", what, *files)


async def send_line(child: Child, line: str) -> None:
    """One line to its standard input; a child that has ended meanwhile is found out by whoever waits for it."""
    assert child.process.stdin is not None
    try:
        child.process.stdin.write(f"{line}\n".encode())
        await child.process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        log.warning("%s ended before it got its time base", child.name)


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


def wall_ns() -> int:
    """Wall time now, for a new time base."""
    return time.time_ns()


def folder_name(line: str, at_wall_ns: int) -> str:
    """runs/<line>-<UTC date and time>: sorts by time, never collides with a run of another second."""
    stamp = datetime.fromtimestamp(at_wall_ns / NS_PER_S, UTC).strftime("%Y%m%d-%H%M%S")
    return f"runs/{line}-{stamp}"
