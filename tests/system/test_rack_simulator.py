"""The simulated rack as a process, spoken to in bytes written by hand."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

LINE = Path(__file__).parents[2] / "configs" / "lines" / "a_sample.toml"
PLANT_START_S = 1_700_000_000
pytestmark = pytest.mark.system


@pytest.fixture
def line_file(tmp_path: Path, free_port: Callable[[], int]) -> tuple[Path, int]:
    """The demo's line on a port of its own."""
    port = free_port()
    path = tmp_path / "line.toml"
    path.write_text(LINE.read_text().replace(":50277/", f":{port}/"))
    return path, port


def _command(line: Path, out: Path, *more: str, speed: int = 960) -> list[str]:
    base = f"{PLANT_START_S * 10**9},{time.time_ns()},{speed}"
    arguments = ["rack1", "--line", str(line), "--out", str(out), "--time-base", base, *more]
    return [sys.executable, "-m", "simulators", *arguments]


@contextmanager
def _running(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process once it listens, and its first line; killed at the end if it still runs."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Client:
    """Modbus TCP in plain bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, pdu: bytes) -> bytes:
        self._socket.sendall(struct.pack(">HHHB", 0x1234, 0, len(pdu) + 1, 1) + pdu)
        head = self._exactly(7)
        transaction, protocol, length, unit = struct.unpack(">HHHB", head)
        assert (transaction, protocol, unit) == (0x1234, 0, 1)
        return self._exactly(length - 1)

    def registers(self, function: int, address: int, count: int) -> bytes:
        reply = self.ask(struct.pack(">BHH", function, address, count))
        assert reply[:2] == bytes((function, 2 * count))
        return reply[2:]

    def write(self, address: int, data: bytes) -> bytes:
        return self.ask(struct.pack(">BHHB", 16, address, len(data) // 2, len(data)) + data)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            assert more, "the server hung up"
            data += more
        return data

    def close(self) -> None:
        self._socket.close()


def _until(wanted: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_programme_is_written_started_and_seen_on_the_wire(line_file: tuple[Path, int], tmp_path: Path) -> None:
    line, port = line_file
    with _running(_command(line, tmp_path / "run", "--parent-pid", str(os.getpid()))) as (process, first_line):
        assert first_line == f"ready rack1 modbus.tcp://127.0.0.1:{port}/1\n"
        client = Client(port)
        # Rest for 60 s, then 1 A to 4.2 V for at most 100,000 s: 12 registers a step, the last two unused.
        steps = struct.pack(">HHffff4x", 3, 1, 0, 0, 0, 60) + struct.pack(">HHffff4x", 1, 1, 1, 4.2, 0, 100_000)
        assert client.write(100, steps) == bytes.fromhex("10 00 64 00 18")
        assert client.registers(3, 100, 24) == steps
        assert client.write(4, struct.pack(">HH", 42, 2)) == bytes.fromhex("10 00 04 00 02")
        assert client.ask(bytes.fromhex("06 00 00 00 01")) == bytes.fromhex("06 00 00 00 01")  # command: start
        assert client.ask(bytes.fromhex("06 00 01 00 01")) == bytes.fromhex("06 00 01 00 01")  # sequence
        # state 1, no fault; then sequence 1 taken, accepted, programme 42, 2 steps
        _until(lambda: client.registers(4, 3, 2) == bytes.fromhex("00 01 00 00"))
        assert client.registers(4, 6, 4) == bytes.fromhex("00 01 00 01 00 2A 00 02")
        _until(lambda: client.registers(4, 1005, 2) == bytes.fromhex("00 01 00 02"))
        last = 1000 + 63 * 24
        volts, amps, temperature = struct.unpack(">ffh", client.registers(4, last, 5))
        assert 2.5 < volts < 4.2
        assert amps == pytest.approx(1.0, abs=5e-3)
        assert 150 < temperature < 400
        seconds, milliseconds = struct.unpack(">IH", client.registers(4, last + 18, 3))
        assert seconds > PLANT_START_S
        assert seconds % 10 == milliseconds == 0
        assert client.registers(4, 1022, 2) == bytes(4)  # unused registers between two blocks
        assert client.ask(bytes.fromhex("04 00 13 00 01")) == bytes.fromhex("84 02")
        assert client.ask(bytes.fromhex("04 03 E8 00 7E")) == bytes.fromhex("84 03")
        assert client.ask(bytes.fromhex("06 00 05 00 21")) == bytes.fromhex("86 03")  # 33 steps
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=20)
        client.close()
        assert (process.returncode, complaints) == (0, "")
    truth = pq.read_table(tmp_path / "run" / "truth" / "rack1")
    assert set(truth["point"].to_pylist()) == set(range(1, 65))
    assert {"soc", "capacity_ah", "r0_ohm", "temperature_c", "first_cycle_efficiency"} < set(truth.column_names)


def test_a_port_in_use_is_one_clear_line_and_exit_code_2(line_file: tuple[Path, int], tmp_path: Path) -> None:
    line, port = line_file
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        done = subprocess.run(_command(line, tmp_path / "run"), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "address already in use" in done.stderr
    assert str(port) in done.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("[simulation.machines.rack1]", "[simulation.machines.coater9]"), "coater9"),
        (('machine = "formation_rack"', 'machine = "toaster"'), "toaster"),
        (('machine = "formation_rack"', 'machine = "formation_rack"\nambiance = 3'), "ambiance"),
    ],
)
def test_a_bad_line_file_is_a_message_and_exit_code_2(
    line_file: tuple[Path, int], tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    line, _ = line_file
    line.write_text(line.read_text().replace(*change))
    done = subprocess.run(_command(line, tmp_path / "run"), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_with_its_parent(line_file: tuple[Path, int], tmp_path: Path) -> None:
    """The parent is a shell-less middleman that starts the rack, tells its process number and dies."""
    line, port = line_file
    command = _command(line, tmp_path / "run")
    middleman = (
        "import os, subprocess, sys\n"
        "more = ['--parent-pid', str(os.getpid())]\n"
        "child = subprocess.Popen(sys.argv[1:] + more, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", middleman, *command], capture_output=True, text=True, timeout=60, check=False
    )
    pid = int(done.stdout)

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    try:
        _until(gone)
    finally:
        if not gone():
            os.kill(pid, signal.SIGKILL)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
