"""What goes wrong around a line while it is started or runs: one clear message, the right exit code, nothing left over.

Exit codes: 2 for what a person must correct before anything runs, 1 for a run that failed, 0 for every end that was
asked for; a signal in the first moments, before there is anything to end, may have its own (130, or the signal's).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import polars as pl
import pytest

from tests.system.line import Program, Programs, fetch, line_file, programs, until, web_port
from tests.system.test_demo import check_books, parquet_rows

pytestmark = pytest.mark.system

TOKEN = "secret-token-text"


@pytest.fixture
def line(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    return line_file(tmp_path, free_port)


def without_simulation(line: Path) -> Path:
    text = line.read_text()
    path = line.with_name("real.toml")
    path.write_text(text[: text.index("# 24 h of plant time")])
    return path


def with_influx(line: Path, url: str, token: str) -> Path:
    path = line.with_name("influx.toml")
    table = f'\n[sinks.influxdb]\nurl = "{url}"\norg = "o"\nbucket = "b"\n{token}\n'
    path.write_text(line.read_text().replace("\n[web]\n", f"{table}\n[web]\n"))
    return path


def port_of(line: Path, scheme: str) -> int:
    return int(line.read_text().split(f"{scheme}://127.0.0.1:")[1].split("/")[0])


def celltwin(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and everything that was printed; no traceback in it."""
    with programs(folder) as started:
        program = started.start(*arguments, environment=environment)
        code = program.process.wait(60)
        assert "Traceback" not in program.text(), program.text()
        return code, program.text()


def only_message(output: str) -> str:
    """The one error line of an output."""
    said = [row for row in output.splitlines() if "error: " in row]
    assert len(said) == 1, output
    return said[0]


def no_traceback(run: Path) -> None:
    for log in run.glob("log/*"):
        assert "Traceback" not in log.read_text(), log.read_text()


def alive(pid: int) -> bool:
    """False for a process that is gone or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def all_gone(pids: list[int], ports: list[int]) -> None:
    until("all processes are gone", lambda: not any(alive(p) for p in pids), 30.0)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


# ---- refused before anything runs ------------------------------------------------------------------------------


def test_a_line_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[line]\nname = \n")
    for command in ("run", "simulate", "demo"):
        code, said = celltwin(tmp_path, command, str(tmp_path / "none.toml"))
        assert (code, said.count("\n")) == (2, 1), said
        assert "none.toml: no such file" in said
    code, said = celltwin(tmp_path, "run", str(broken))
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"{broken}:2: ")


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_line_without_simulation_cannot_be_simulated(tmp_path: Path, line: Path, command: str) -> None:
    code, said = celltwin(tmp_path, command, str(without_simulation(line)), "--out", str(tmp_path / "run"))
    assert (code, said.count("\n")) == (2, 1), said
    assert "real.toml: the line has no [simulation] table" in said
    assert not (tmp_path / "run").exists()


def test_run_on_a_simulated_line_that_nobody_simulates(tmp_path: Path, line: Path) -> None:
    run = tmp_path / "run"
    code, said = celltwin(tmp_path, "run", str(line), "--out", str(run))
    assert (code, said.count("\n")) == (2, 1), said
    assert f"{run}: no simulated equipment was started with this folder (first: celltwin simulate {line}" in said
    (run / "simulation.json").write_text('{"speed": 3')
    code, said = celltwin(tmp_path, "run", str(line), "--out", str(run))
    assert (code, said.count("\n")) == (2, 1), said
    assert "simulation.json: damaged" in said
    assert "delete it and start celltwin simulate again" in said


@pytest.mark.parametrize("command", ["run", "demo"])
@pytest.mark.parametrize(
    ("out", "why"), [("file", "Not a directory"), ("file/below", "Not a directory"), ("log", "exists")]
)
def test_an_output_folder_that_cannot_be_one(tmp_path: Path, line: Path, command: str, out: str, why: str) -> None:
    """Root may write everywhere, so that permission bits prove nothing here; a file in the way stops root too."""
    (tmp_path / "file").touch()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log").touch()
    file = without_simulation(line) if command == "run" else line
    code, said = celltwin(tmp_path, command, str(file), "--out", str(tmp_path / out))
    assert code == 2, said
    message = only_message(said)
    assert f"{tmp_path / out}" in message
    assert "cannot write to the output folder" in message
    assert why in message
    assert "choose another folder with --out" in message


def test_damaged_files_in_the_run_folder(tmp_path: Path, line: Path) -> None:
    file, run = without_simulation(line), tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("half a fi")
    code, said = celltwin(tmp_path, "run", str(file), "--out", str(run))
    assert code == 2, said
    assert "run.json: damaged" in only_message(said)
    assert "move it away" in only_message(said)
    (run / "run.json").unlink()
    (run / "spool.sqlite3").write_bytes(b"no database, " * 1000)
    code, said = celltwin(tmp_path, "run", str(file), "--out", str(run))
    assert code == 2, said
    assert f"the spool {run}/spool.sqlite3 is damaged" in only_message(said)
    assert (run / "spool.sqlite3").read_bytes().startswith(b"no database"), "kept for salvage"


def test_parquet_files_that_are_not_from_this_spool(tmp_path: Path, line: Path) -> None:
    """Found by the sink's task, just while the devices connect: the run ends all the same."""
    stream = tmp_path / "run" / "parquet" / "channel"
    stream.mkdir(parents=True)
    (stream / "part-000000000001-000000000002.parquet").write_bytes(b"something else")
    code, said = celltwin(tmp_path, "run", str(without_simulation(line)), "--out", str(tmp_path / "run"))
    assert code == 1, said
    assert str(stream.parent) in only_message(said)


def test_report_of_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        code, said = celltwin(tmp_path, "report", str(folder))
        assert (code, said.count("\n")) == (2, 1), said
        assert f"{folder}/run.json: no such file" in said


def test_a_missing_token(tmp_path: Path, line: Path) -> None:
    real = without_simulation(line)
    file = with_influx(real, "http://127.0.0.1:9", 'token_env = "CELLTWIN_NO_SUCH_TOKEN"')
    code, said = celltwin(tmp_path, "run", str(file), "--out", str(tmp_path / "run"))
    assert code == 2, said
    assert "environment variable CELLTWIN_NO_SUCH_TOKEN is not set" in only_message(said)
    file = with_influx(real, "http://127.0.0.1:9", 'token_file = "no.token"')
    code, said = celltwin(tmp_path, "run", str(file), "--out", str(tmp_path / "run"))
    assert code == 2, said
    assert f"{tmp_path}/no.token cannot be read" in only_message(said)


@pytest.mark.parametrize(
    ("command", "taken"), [("run", "http"), ("demo", "http"), ("simulate", "modbus.tcp"), ("demo", "opc.tcp")]
)
def test_a_port_in_use(tmp_path: Path, line: Path, command: str, taken: str) -> None:
    port = web_port(line) if taken == "http" else port_of(line, taken)
    file = without_simulation(line) if command == "run" else line
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        code, said = celltwin(tmp_path, command, str(file), "--out", str(tmp_path / "run"))
    assert code == 2, said
    message = only_message(said)
    assert "in use" in message
    assert str(port) in message
    assert "stop the other p" in message
    no_traceback(tmp_path / "run")
    all_gone([], [web_port(line), port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])


# ---- a run that goes on although something is missing ----------------------------------------------------------


def test_devices_that_are_not_there_and_a_second_controller(tmp_path: Path, line: Path) -> None:
    """Said once per device, shown on the page, tried for ever; and the folder belongs to one controller."""
    file, run, port = without_simulation(line), tmp_path / "run", web_port(line)
    with programs(tmp_path) as started:
        first = started.start("run", str(file), "--out", str(run))
        until("both back off", lambda: _states(port) == {"coater1": "backing_off", "rack1": "backing_off"})
        details = {d["device"]: d["detail"] for d in fetch(port)["devices"]}
        assert str(port_of(line, "opc.tcp")) in details["coater1"]
        assert str(port_of(line, "modbus.tcp")) in details["rack1"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(port, "/readyz")
        assert refused.value.code == 503
        not_ready = " ".join(json.load(refused.value)["not_ready"])
        assert "coater1" in not_ready
        assert "rack1" in not_ready
        refused.value.close()
        before = (run / "line.toml").read_bytes()
        other = with_influx(file, "http://127.0.0.1:9", 'token_env = "T"')
        code, said = celltwin(tmp_path / "run" / "log", "run", str(other), "--out", str(run), T=TOKEN)
        assert code == 2, said
        assert f"another controller (process {first.process.pid}) has the spool in {run} open" in only_message(said)
        assert (run / "line.toml").read_bytes() == before, "refused before anything was touched"
        first.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert first.stop(signal.SIGINT) == 0, first.text()
    said = first.text()
    assert "Traceback" not in said
    for device in ("coater1", "rack1"):
        assert said.count(f"{device}: lost: ") == 1, said
    assert json.loads((run / "run.json").read_text())["status"] == "complete"
    all_gone([], [port])


def _states(port: int) -> dict[str, str]:
    return {d["device"]: d["connection"] for d in fetch(port)["devices"]}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """One simulated line for several controllers, one after the other: its line file and its time base."""

    def pick() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    folder = tmp_path_factory.mktemp("simulated")
    line = line_file(folder, pick)
    with programs(folder) as started:
        simulate = started.start("simulate", str(line), "--speed", "480", "--out", str(folder / "run"))
        simulate.wait_for("plant time runs")
        base = json.loads((folder / "run" / "simulation.json").read_text())
        yield line, f"{base['plant_start_ns']},{base['wall_start_ns']},{base['speed']}"
        simulate.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        assert simulate.stop(signal.SIGINT) == 0, simulate.text()
        assert "Traceback" not in simulate.text()
        no_traceback(folder / "run")
        all_gone(list(base["pids"].values()), [port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])


def _accepted(port: int) -> int:
    return int(max(c["accepted"] for c in fetch(port)["counters"]))


def test_an_influxdb_that_is_away(tmp_path: Path, simulated: tuple[Path, str]) -> None:
    """Said once; Parquet is complete; what InfluxDB has not got waits; the token is told to nobody."""
    line, base = simulated
    run, port = tmp_path / "run", web_port(line)
    file = with_influx(line, "http://127.0.0.1:9", 'token_env = "T"')
    with programs(tmp_path) as started:
        environment = {"T": TOKEN}
        controller = started.start("run", str(file), "--out", str(run), "--time-base", base, environment=environment)
        until("some data", lambda: _accepted(port) > 2000)
        assert TOKEN not in json.dumps(fetch(port))
        controller.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert controller.stop(signal.SIGINT) == 0, controller.text()
    said = controller.text()
    assert "Traceback" not in said
    assert said.count("sink influxdb takes no data") == 1, said
    content = json.loads((run / "run.json").read_text())
    counters = {c["sink"]: c for c in content["counters"]}
    assert counters["influxdb"]["spooled"] == counters["influxdb"]["accepted"] > 2000
    assert counters["parquet"]["delivered"] == counters["parquet"]["accepted"]
    assert parquet_rows(run) == {stream: rows for stream, rows in content["ledger"].items() if rows}
    assert TOKEN not in said + (run / "run.json").read_text() + (run / "line.toml").read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB; skips where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode != 0:
        pytest.skip(f"may not mount a small disk here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], timeout=20, check=True)


def test_a_full_disk(tmp_path: Path, simulated: tuple[Path, str], small_disk: Path) -> None:
    """The run ends with one message; what was acknowledged is there when there is room again, and the run goes on."""
    line, base = simulated
    run, port = small_disk / "run", web_port(line)
    filler = small_disk / "filler"
    arguments = ("run", str(line), "--out", str(run), "--time-base", base)
    with programs(tmp_path) as started:
        controller = started.start(*arguments)
        until("some data", lambda: _accepted(port) > 1000)
        acknowledged = _accepted(port)
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert controller.process.wait(60) == 1, controller.text()
        said = controller.text()
        assert "Traceback" not in said
        assert "fault in celltwin" not in said
        assert "no space left" in only_message(said) or "cannot be written: No space left" in only_message(said), said
        assert json.loads((run / "run.json").read_text())["line"] == "a_sample", "the last whole one"
        again, said = _again(tmp_path, arguments)
        assert again == 1, said
        assert "no space left" in only_message(said).lower()
        filler.unlink()
        acknowledged = max(acknowledged, ledger_rows(run))
        controller = started.start(*arguments)
        until("it goes on", lambda: _accepted(port) > acknowledged + 500)
        assert controller.stop() == 0, controller.text()
    assert sum(check_books(run).values()) > acknowledged
    assert json.loads((run / "run.json").read_text())["starts"] == 2
    gaps = pl.read_parquet(run / "parquet" / "gap" / "*.parquet")
    assert "controller was not running" in set(gaps["reason"])


def ledger_rows(run: Path) -> int:
    with closing(sqlite3.connect(run / "spool.sqlite3")) as spool:
        return int(spool.execute("SELECT SUM(rows) FROM ledger").fetchone()[0])


def _again(folder: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    other = folder / "again"
    other.mkdir()
    return celltwin(other, *arguments)


# ---- signals, and processes that die ---------------------------------------------------------------------------


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
    until("data", lambda: _accepted(web_port(line)) > 500)
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
