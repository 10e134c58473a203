"""Scenarios as clients meet them: `python -m simulators` and `celltwin simulate` as programs, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asyncua import Client, ua

from configs.loader import load_line
from tests.system.line import played, programs, until

pytestmark = [pytest.mark.long, pytest.mark.system]

NS = 1_000_000_000
START_S = 1_700_000_000
WEB_SPEED = "s=Coater.Web.Speed"


def _address(line: Path, device: str) -> tuple[str, int]:
    endpoint = next(d.endpoint for d in load_line(line).file.device if d.id == device)
    return "127.0.0.1", int(re.findall(r":(\d+)", endpoint)[0])


def _state_register(address: tuple[str, int]) -> int:
    """Register 3 of the rack; OSError where nobody answers. Frames by hand: MODBUS Messaging V1.0b."""
    with socket.create_connection(address, 2.0) as wire:
        wire.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 3, 1))
        answer = wire.recv(64)
        if len(answer) != 11:
            raise OSError("no whole answer")
        return int(struct.unpack(">H", answer[-2:])[0])


def _begun(out: Path, device: str) -> set[str]:
    rows = pq.read_table(out / "truth" / device / "faults.parquet").to_pylist()
    assert all(row["refused"] == "" for row in rows)
    return {row["kind"] for row in rows if row["event"] == "begin"}


def test_a_cut_network_refuses_its_clients_and_is_logged(line: Path) -> None:
    address = _address(line, "rack1")

    def cut() -> bool:
        try:
            _state_register(address)
        except OSError:
            return True
        return False

    with played("rack1", line, "network_storm", START_S, 40.0, 8900.0):
        assert _state_register(address) == 0
        until("the network is cut", cut, 20.0)
    assert {"net_delay", "net_cut"} <= _begun(line.parent / "run", "rack1")


@pytest.mark.asyncio
async def test_nodes_have_other_identifiers_after_an_upgrade(line: Path) -> None:
    host, port = _address(line, "coater1")

    async def status() -> int | None:
        """Status of the web speed's node by its identifier; None while nobody answers."""
        try:
            async with asyncio.timeout(3.0), Client(f"opc.tcp://{host}:{port}/coater1", timeout=2.0) as client:
                index = await client.get_namespace_index("urn:celltwin:slot-die-coater")
                node = client.get_node(ua.NodeId(WEB_SPEED.removeprefix("s="), index))
                return int((await node.read_data_value(raise_on_bad_status=False)).StatusCode.value)
        except (TimeoutError, OSError, ua.UaError):
            return None

    with played("coater1", line, "plc_upgrade", START_S, 100.0, 8700.0):
        assert await status() == ua.StatusCodes.Good
        async with asyncio.timeout(30.0):
            while await status() != ua.StatusCodes.BadNodeIdUnknown:  # noqa: ASYNC110  nobody tells us
                await asyncio.sleep(0.1)
    assert _begun(line.parent / "run", "coater1") == {"node_ids_changed"}


def test_simulate_plays_a_scenario_and_refuses_a_wrong_one(line: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "trial.toml"
    entry = '[[fault]]\nat_s = 1.0\ndevice = "rack1"\nkind = "stuck"\ntags = "voltage_v"\n'
    scenario.write_text(f'name = "trial"\ntitle = "A stuck voltmeter"\n{entry}')
    out = tmp_path / "run"
    with programs(tmp_path) as running:
        good = running.start("simulate", str(line), "--scenario", str(scenario), "--out", str(out))
        good.wait_for("scenario: A stuck voltmeter")
        assert json.loads((out / "simulation.json").read_text())["scenario"] == "A stuck voltmeter"
        until("the fault is logged", lambda: _begun(out, "rack1") == {"stuck"}, 20.0)
        assert good.stop() == 0
        scenario.write_text(f'name = "trial"\ntitle = "A stuck voltmeter"\n{entry}points = "1-99"\n{entry}size = 2\n')
        bad = running.start("simulate", str(line), "--scenario", str(scenario), "--out", str(out))
        assert bad.process.wait(60) == 2
        assert f"{scenario}:8: fault[0].points: tag 'voltage_v' has 64 points, not 99" in bad.text()
        scenario.write_text(f'name = "trial"\ntitle = "A stuck voltmeter"\n{entry}size = 2\n')
        worse = running.start("simulate", str(line), "--scenario", str(scenario), "--out", str(out))
        assert worse.process.wait(60) == 2
        what = "fault[0].size: fault 'stuck' has no setting 'size' (it has: points, tags)"
        assert worse.text().splitlines()[-1] == f"error: {scenario}:8: {what}"
        check = running.start("check", str(line), "--scenario", str(scenario))
        assert check.process.wait(60) == 2
        assert check.text() == f"{scenario}:8: {what}\n"
