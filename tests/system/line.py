"""A simulated line on free ports, with its programs started as a user starts them. For the system tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.loader import packaged
from controller.clock import TimeBase

START_S = 60.0
"""Wall seconds for the slowest start: a cold machine compiles kernels for two processes at once."""


def line_file(folder: Path, free_port: Callable[[], int], **extra: str) -> Path:
    """A copy of the A-sample line on free ports; `extra` maps a table header to TOML text that is appended."""
    text = packaged("lines")["a_sample"].read_text()
    # In one pass: a port that was just put in may contain the digits of the next one.
    text = re.sub(r"\b(48477|50277|8377)\b", lambda _: str(free_port()), text)
    for table, body in extra.items():
        text += f"\n[{table}]\n{body}\n"
    path = folder / "line.toml"
    path.write_text(text)
    return path


def own_formation(line: Path, recipe: str) -> None:
    """The rack's recipe becomes this text, a file beside the line: steps end and the tray is graded within a test."""
    (line.parent / "short.toml").write_text(recipe)
    line.write_text(line.read_text().replace('"formation_a_sample"', '"short.toml"'))


def web_port(line: Path) -> int:
    found = re.search(r"\[web\]\nport = (\d+)", line.read_text())
    assert found
    return int(found[1])


@dataclass
class Program:
    """One `celltwin` command."""

    arguments: list[str]
    process: subprocess.Popen[str]
    output: Path

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, pattern: str, timeout_s: float = START_S) -> str:
        """Until the output matches; what matched."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found[0]
            assert self.process.poll() is None, f"{self.arguments} ended: {self.text()}"
            time.sleep(0.05)
        raise AssertionError(f"{self.arguments}: no '{pattern}' in {timeout_s:.0f} s:\n{self.text()}")

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


@dataclass
class Programs:
    """Starts commands and ends what is left of them."""

    folder: Path
    started: list[Program] = field(default_factory=list)

    def start(self, *arguments: str, environment: dict[str, str] | None = None) -> Program:
        output = self.folder / f"output-{len(self.started)}.txt"
        with output.open("w") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "controller", *arguments],
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                env={**os.environ, "COLUMNS": "200", **(environment or {})},
            )
        program = Program(list(arguments), process, output)
        self.started.append(program)
        return program

    def end_all(self) -> None:
        for program in reversed(self.started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.stop(timeout_s=30.0)
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait()


@contextlib.contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    running = Programs(folder)
    try:
        yield running
    finally:
        running.end_all()


def fetch(port: int, path: str = "/api/state") -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


def until(what: str, condition: Callable[[], object], timeout_s: float = START_S) -> None:
    """Poll until the condition holds; connection errors count as not yet."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if condition():
                return
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


@contextlib.contextmanager
def played(
    name: str, line: Path, scenario: str, plant_start_s: int, speed: float, from_s: float = 0.0
) -> Iterator[TimeBase]:
    """One device's program with a scenario, at `from_s` of it when it begins to listen; its run folder is `run`."""
    out = line.parent / "run"
    out.mkdir(exist_ok=True)
    arguments = ["simulators", name, "--line", str(line), "--out", str(out), "--scenario", scenario, "--time-base", "-"]
    program = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == f"warm {name}\n"
        base = TimeBase(plant_start_s * 10**9, time.time_ns() - round(from_s / speed * 1e9), speed)
        program.stdin.write(base.text() + "\n")
        program.stdin.flush()
        assert program.stdout.readline().startswith(f"ready {name}")
        yield base
        program.send_signal(signal.SIGTERM)
        assert program.wait(30.0) == 0
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
        for pipe in (program.stdin, program.stdout):
            if pipe is not None:
                pipe.close()
