"""What goes wrong while a line runs: devices that are not there, a sink that is away, a full disk.

Nothing acknowledged is lost.
"""

import json
import signal
import socket
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from tests.system.line import fetch, line_file, programs, until, web_port
from tests.system.test_demo import check_books, parquet_rows
from tests.system.trouble import (
    TOKEN,
    accepted,
    all_gone,
    celltwin,
    ledger_rows,
    no_traceback,
    only_message,
    port_of,
    with_influx,
    without_simulation,
)

pytestmark = pytest.mark.system


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
        simulate = started.start("simulate", str(line), "--speed", "120", "--out", str(folder / "run"))
        simulate.wait_for("plant time runs")
        base = json.loads((folder / "run" / "simulation.json").read_text())
        yield line, f"{base['plant_start_ns']},{base['wall_start_ns']},{base['speed']}"
        simulate.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        assert simulate.stop(signal.SIGINT) == 0, simulate.text()
        assert "Traceback" not in simulate.text()
        no_traceback(folder / "run")
        all_gone(list(base["pids"].values()), [port_of(line, "modbus.tcp"), port_of(line, "opc.tcp")])


def test_an_influxdb_that_is_away(tmp_path: Path, simulated: tuple[Path, str]) -> None:
    """Said once; Parquet is complete; what InfluxDB has not got waits; the token is told to nobody."""
    line, base = simulated
    run, port = tmp_path / "run", web_port(line)
    file = with_influx(line, "http://127.0.0.1:9", 'token_env = "T"')
    with programs(tmp_path) as started:
        environment = {"T": TOKEN}
        controller = started.start("run", str(file), "--out", str(run), "--time-base", base, environment=environment)
        until("some data", lambda: accepted(port) > 2000)
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
        until("some data", lambda: accepted(port) > 1000)
        acknowledged = accepted(port)
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
        until("it goes on", lambda: accepted(port) > acknowledged + 500)
        assert controller.stop() == 0, controller.text()
    assert sum(check_books(run).values()) > acknowledged
    assert json.loads((run / "run.json").read_text())["starts"] == 2
    gaps = pl.read_parquet(run / "parquet" / "gap" / "*.parquet")
    assert "controller was not running" in set(gaps["reason"])


def _again(folder: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    other = folder / "again"
    other.mkdir()
    return celltwin(other, *arguments)


# ---- signals, and processes that die ---------------------------------------------------------------------------
