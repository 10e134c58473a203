"""Every end that was asked for is orderly; processes that die take nothing along and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.line import Program, Programs, programs, until, web_port
from tests.system.test_demo import check_books
from tests.system.trouble import (
    accepted,
    alive,
    all_gone,
    children,
    no_traceback,
    only_message,
    port_of,
    without_simulation,
)

pytestmark = pytest.mark.system


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait_s", [0.3, 0.9, 1.6])
def test_a_signal_while_everything_starts(tmp_path: Path, line: Path, wait_s: float, number: int) -> None:
    """At whatever point of its start it meets a command: no traceback, no process, no port, no half run folder."""
    real = without_simulation(line)
    commands = {"run": real, "simulate": line, "demo": line}
    with programs(tmp_path) as started:
        running = {c: started.start(c, str(f), "--out", str(tmp_path / c)) for c, f in commands.items()}
        time.sleep(wait_s)
        pids = [pid for p in running.values() for pid in children(p.process.pid)]
        for program in running.values():
            program.process.send_signal(number)
        time.sleep(0.1)
        for command, program in running.items():
            code = program.stop(number)
            assert code in {0, 130, -signal.SIGTERM}, f"{command} {code}: {program.text()}"
            assert "Traceback" not in program.text(), program.text()
            assert "error" not in program.text(), program.text()
            no_traceback(tmp_path / command)
            record = tmp_path / command / "run.json"
            assert not record.exists() or json.loads(record.read_text())["status"] != "running"
    all_gone(pids, [web_port(line), port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])


def _simulators(run: Path) -> dict[str, int]:
    pids: dict[str, int] = json.loads((run / "simulation.json").read_text())["pids"]
    return pids


def test_simulate_ends_when_one_machine_dies(tmp_path: Path, line: Path) -> None:
    run = tmp_path / "run"
    ports = [port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")]
    with programs(tmp_path) as started:
        simulate = started.start("simulate", str(line), "--out", str(run))
        simulate.wait_for("plant time runs")
        pids = _simulators(run)
        os.kill(pids["rack1"], signal.SIGKILL)
        assert simulate.process.wait(30) == 1, simulate.text()
        assert "simulated rack1 was killed by signal 9" in only_message(simulate.text())
        all_gone(list(pids.values()), ports)
        no_traceback(run)


def _running_demo(started: Programs, line: Path, run: Path) -> tuple[Program, list[int]]:
    demo = started.start("demo", str(line), "--out", str(run))
    until("data", lambda: accepted(web_port(line)) > 500)
    pids = children(demo.process.pid)
    assert len(pids) == 3
    return demo, pids


def test_a_machine_that_dies_ends_the_demo(tmp_path: Path, line: Path) -> None:
    run = tmp_path / "run"
    with programs(tmp_path) as started:
        demo, pids = _running_demo(started, line, run)
        os.kill(_simulators(run)["coater1"], signal.SIGKILL)
        assert demo.process.wait(60) == 1, demo.text()
        assert "simulated coater1 was killed by signal 9" in only_message(demo.text())
        assert "Traceback" not in demo.text()
    all_gone(pids, [web_port(line), port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])
    no_traceback(run)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    check_books(run)


def test_a_killed_demo_takes_its_processes_with_it(tmp_path: Path, line: Path) -> None:
    run = tmp_path / "run"
    with programs(tmp_path) as started:
        demo, pids = _running_demo(started, line, run)
        try:
            demo.process.kill()
            demo.process.wait()
            all_gone(pids, [web_port(line), port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])
        finally:
            for pid in pids:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
    no_traceback(run)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    check_books(run)


def test_a_reader_that_goes_away(tmp_path: Path, line: Path) -> None:
    """celltwin check FILE | head: not a word of complaint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "controller", "check", str(line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as complaints:
        assert complaints.read() == ""
    assert process.wait(30) in {0, 1}
