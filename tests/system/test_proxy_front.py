"""The proxy in front of the simulators' own servers, and as a program of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from configs.loader import load_line, packaged
from configs.schema import Device, Protocol
from controller.clock import LineClock
from controller.drivers.modbus import ModbusDriver
from controller.errors import DeviceLostError
from simulators.machine import Values
from simulators.proxy.front import ProxiedServer, server_builder
from simulators.servers import ShowsQuality

pytestmark = pytest.mark.system


def outputs(equipment: object) -> dict[str, Values]:
    return {tag.name: np.ones(group.points) for group in equipment.group for tag in group.tag}  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_proxied_server_is_a_server_in_which_both_can_break(free_port: Callable[[], int]) -> None:
    line = load_line(packaged("lines")["a_sample"])
    rack = next(d for d in line.file.device if line.equipment[d.id].protocol is Protocol.MODBUS)
    equipment, endpoint = line.equipment[rack.id], f"modbus.tcp://127.0.0.1:{free_port()}/1"
    server = server_builder(rack.id, True, None, 1)(equipment, endpoint, lambda tag, values: None)
    assert isinstance(server, ProxiedServer)
    assert not isinstance(server, ShowsQuality)
    driver = ModbusDriver(Device(id=rack.id, equipment=equipment.name, endpoint=endpoint), equipment, LineClock())
    await server.publish(outputs(equipment), 10**18)
    for name in ("net_cut", "black_hole"):
        settings = server.faults[name].complete(name, {})
        server.fault(name, True, settings)
        server.fault(name, False, settings)
    tag = next(tag.name for group in equipment.group for tag in group.tag if tag.type.value == "float32")
    try:
        for _ in range(2):  # a power fail stops it and starts it again
            await server.start()
            await driver.start()
            assert (await driver.read_back([tag]))[tag][0] == 1.0
            server.fault("net_cut", True, {})
            with pytest.raises(DeviceLostError):
                await driver.read_back([tag])
            with pytest.raises(DeviceLostError):
                await driver.start()
            server.fault("net_cut", False, {})
            await driver.start()
            assert (await driver.read_back([tag]))[tag][0] == 1.0
            await server.stop()
    finally:
        await driver.stop()
        await server.stop()
    assert server.counters.connections >= 4


def test_only_who_asks_for_a_proxy_gets_one(tmp_path: Path) -> None:
    from configs.loader import load_scenario

    line = load_line(packaged("lines")["a_sample"])
    (tmp_path / "storm.toml").write_text(SCENARIO)
    scenario = load_scenario(tmp_path / "storm.toml", line)
    for device in line.file.device:
        equipment = line.equipment[device.id]
        for via_proxy, played, expected in (
            (False, None, False),
            (True, None, True),
            (False, scenario, device.id == "rack1"),
        ):
            build = server_builder(device.id, via_proxy, played, 1)
            server = build(equipment, device.endpoint, lambda tag, values: None)
            assert isinstance(server, ProxiedServer) == expected
            assert isinstance(server, ShowsQuality) == (equipment.protocol is Protocol.OPCUA)


SCENARIO = """name = "storm"
title = "Two cuts"

[[fault]]
at_s = 0
duration_s = 0.4
repeat_every_s = 1000
device = "rack1"
kind = "net_cut"

[[fault]]
at_s = 0.5
device = "rack1"
kind = "net_delay"
delay_s = 0.001

[[fault]]
at_s = 0.5
device = "coater1"
kind = "black_hole"
"""


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "simulators.proxy", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    text = ""
    while not re.search(pattern, text):
        line = process.stdout.readline()
        assert line, (text, process.stderr.read() if process.stderr else "")
        text += line
    return text


@contextmanager
def echo() -> Iterator[int]:
    """A server for one connection that sends back the first bytes it gets."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100))
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_plays_and_ends_well(number: int, tmp_path: Path) -> None:
    (tmp_path / "storm.toml").write_text(SCENARIO)
    with echo() as port, program("0", f"http://127.0.0.1:{port}", "--scenario", str(tmp_path / "storm.toml")) as run:
        text = lines_until(run, r"0.5 s begins net_delay")
        ready = re.match(r"ready 127\.0\.0\.1:(\d+)\n0 s begins net_cut\n0.4 s ends net_cut\n", text)
        assert ready, text
        with socket.create_connection(("127.0.0.1", int(ready[1])), 5) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        run.send_signal(number)
        out, err = run.communicate(timeout=10)
        assert re.fullmatch(r"connections=1 refused=0 to_target=5B to_client=5B net_cut=0 net_delay=2\n", out), out
        assert (run.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("0", "nowhere"), "'nowhere' is no address with a port"),
        (("0", "127.0.0.1:1", "--fault", "net_delay"), "fault 'net_delay' needs 'delay_s'"),
        (("0", "127.0.0.1:1", "--fault", "net_delay:delay=1"), "has no setting 'delay'"),
        (("0", "127.0.0.1:1", "--fault", "net_late"), "needs Modbus TCP"),
        (("0", "127.0.0.1:1", "--fault", "cut"), "nothing called 'cut' can break in a network"),
        (("0", "127.0.0.1:1", "--scenario", "absent.toml"), "absent.toml"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from simulators.proxy.__main__ import main

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(list(arguments)) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = capsys.readouterr()
    assert text in said.err
    assert said.err.count("\n") == 1


def test_a_taken_port_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, program(str(taken.getsockname()[1]), "127.0.0.1:1") as run:
        _, err = run.communicate(timeout=20)
        assert run.returncode == 2
        assert "in use" in err
