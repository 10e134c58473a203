"""A line whose coater lets in only known programs with a password: configured, checked and run as a user does it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.loader import packaged
from tests.system.line import fetch, programs, until

pytestmark = [pytest.mark.system, pytest.mark.long]

SECRET = "not-in-any-log"
LINE = """
[line]
name = "guarded"

[[device]]
id = "coater1"
equipment = "coater.toml"
endpoint = "opc.tcp://127.0.0.1:{port}/coater1"
retry_max_s = 1.0

[device.security]
policy = "Basic256Sha256-SignAndEncrypt"
certificate = "pki/celltwin.der"
key = "pki/celltwin.pem"
trusted = "trusted"
user = "line"
password_env = "COATER_PASSWORD"

[web]
port = {web}

[simulation]
speed = 20.0

[simulation.machines.coater1]
machine = "coater"
"""
SERVER = """
policies = ["Basic256Sha256-SignAndEncrypt"]
anonymous = "none"
trust_any = false
user = [{ name = "line", password = "not-in-any-log" }]
"""


def test_from_an_empty_folder_to_rows(tmp_path: Path, free_port: Callable[[], int]) -> None:
    line, run, web = tmp_path / "line.toml", tmp_path / "run", free_port()
    kind = packaged("equipment")["slot_die_coater"].read_text()
    assert "[opcua.server]" in kind
    (tmp_path / "coater.toml").write_text(kind.replace("[opcua.server]\n", "[opcua.server]\n" + SERVER))
    line.write_text(LINE.format(port=free_port(), web=web))
    (tmp_path / "trusted").mkdir()
    with programs(tmp_path) as running:
        check = running.start("check", str(line))
        assert check.process.wait(60) == 2
        assert "celltwin.der cannot be read" in check.text()
        assert running.start("opcua", "certificate", "--out", str(tmp_path / "pki")).process.wait(60) == 0
        check = running.start("check", str(line))
        assert check.process.wait(60) == 0
        assert "user line with password from environment COATER_PASSWORD" in check.text()
        plant = running.start("simulate", str(line), "--out", str(run))
        store = run / "pki/coater1"
        until(
            "the plant is up", lambda: (store / "own/certs/server.der").exists() and (run / "simulation.json").exists()
        )
        unset = running.start("run", str(line), "--out", str(run))
        assert unset.process.wait(60) == 2
        assert "environment variable COATER_PASSWORD is not set" in unset.text()

        live = running.start("run", str(line), "--out", str(run), environment={"COATER_PASSWORD": SECRET})
        told = live.wait_for(
            r"certificate \(thumbprint [0-9a-f]{40}, .* is not trusted \(.*then move \S+ to \S+trusted\)"
        )
        found = re.search(r"then move (\S+) to", told)
        assert found
        shutil.move(found[1], tmp_path / "trusted")
        until("the coater has rejected us", lambda: any((store / "rejected/certs").iterdir()))
        for stranger in (store / "rejected/certs").iterdir():
            shutil.move(stranger, store / "trusted/certs")
        until("rows come", lambda: max(c["accepted"] for c in fetch(web)["counters"]) > 50)
        assert live.stop() == 0
        assert plant.stop() == 0
        assert SECRET not in live.text()
    for file in [*run.rglob("*.json"), *run.rglob("*.sqlite3*")]:
        assert SECRET.encode() not in file.read_bytes(), file
