"""What lies under deploy/: the files agree with each other and with the code, and the tools that know them accept them.

YAML is read as text here: no YAML reader is among our dependencies, and two look-ups do not justify one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from configs.loader import load_line
from controller.demo import CONTROLLER_STOP_S
from controller.errors import BadInputError
from controller.grafana import DATASOURCE_NAME, DATASOURCE_UID, FOLDER_TITLE, FOLDER_UID

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def service(name: str) -> str:
    """One service's part of the compose file."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", text("compose.yaml"), re.M)
    assert found, name
    return found[1]


def wanted() -> set[str]:
    """Variables that the compose file cannot do without."""
    return set(re.findall(r"\$\{(\w+):\?", text("compose.yaml")))


def test_the_line_file_fits_the_compose_file() -> None:
    line = load_line(DEPLOY / "line.toml").file
    assert "hostname: plant\n" in service("plant")
    for device in line.device:
        assert "://plant:" in device.endpoint
        assert line.simulation is not None
        assert device.id in line.simulation.machines
    influx = line.sinks.influxdb
    assert influx is not None
    assert f"DOCKER_INFLUXDB_INIT_BUCKET: {influx.bucket}\n" in service("influxdb")
    assert f"DOCKER_INFLUXDB_INIT_ORG: {influx.org}\n" in service("influxdb")
    assert influx.url == "http://influxdb:8086"
    assert f"{influx.token_env}: ${{" in service("controller")
    assert f"CELLTWIN_INFLUX_DATABASE: {influx.bucket}\n" in service("grafana")
    assert line.web.host == "0.0.0.0"
    assert f'"127.0.0.1:{line.web.port}:{line.web.port}"' in service("controller")


def test_ports_are_published_on_loopback_only() -> None:
    published = re.findall(r'ports: \["([^"]+)"\]', text("compose.yaml"))
    assert len(published) == 3
    assert all(p.startswith("127.0.0.1:") for p in published)


def test_secrets_come_from_the_environment_alone() -> None:
    offered = dict(re.findall(r"^(\w+)=(.*)$", text("env.example"), re.M))
    assert offered.keys() == wanted()
    assert not any(offered.values())
    assert ".env" in text(".gitignore").split()
    for name in ("compose.yaml", "grafana/provisioning/datasources/celltwin.yaml"):
        for value in re.findall(r"(?i)(?:password|token|secret)\w*: *(?:Token )?(\S.*)", text(name)):
            assert value.startswith("${"), f"{name}: {value}"
    assert not re.search(r"(?i)(ARG|ENV)\b.*(token|password|secret)", text("Dockerfile"))


def test_provisioning_fits_dashboards_push_and_compose() -> None:
    source = text("grafana/provisioning/datasources/celltwin.yaml")
    assert f"uid: {DATASOURCE_UID}\n" in source
    assert f"name: {DATASOURCE_NAME}\n" in source
    for variable in re.findall(r"\$\{(\w+)\}", source):
        assert re.search(rf"^      {variable}: ", service("grafana"), re.M), variable
    provider = text("grafana/provisioning/dashboards/celltwin.yaml")
    assert f"folderUid: {FOLDER_UID}\n" in provider
    assert f"folder: {FOLDER_TITLE}\n" in provider
    (path,) = re.findall(r"path: (\S+)", provider)
    assert f"./grafana/dashboards:{path}:ro" in service("grafana")


def test_the_image_has_all_packages_and_an_ordinary_user() -> None:
    dockerfile, ignore = text("Dockerfile"), text("Dockerfile.dockerignore")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [p.removesuffix("*") for p in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    files = re.findall(r"^COPY (pyproject.*) \./$", dockerfile, re.M)[0].split()
    for name in [*packages, *files]:
        assert (ROOT / name).exists()
        assert f"!{name}\n" in ignore
    for name in packages:
        assert f"COPY {name} {name}\n" in dockerfile
    last_stage = dockerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER celltwin$", last_stage, re.M)
    assert last_stage.index("USER celltwin") < last_stage.index("ENTRYPOINT")
    assert "NUMBA_CACHE_DIR=/var/cache/celltwin" in last_stage
    assert "/livez" in last_stage
    assert "--constraint constraints.txt" in dockerfile


def test_the_unit_agrees_with_the_program() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", text("systemd/celltwin.service"), re.M))
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) > 5
    assert settings["Restart"] == "on-failure"
    assert int(settings["RestartPreventExitStatus"]) == BadInputError.exit_code
    assert int(settings["TimeoutStopSec"]) > CONTROLLER_STOP_S
    assert settings["ExecStart"].endswith("run /etc/celltwin/line.toml --out /var/lib/celltwin")
    assert "MemoryDenyWriteExecute" not in settings, "Numba's pages are written and then run"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    unit = text("systemd/celltwin.service").replace("/opt/celltwin/bin/celltwin", sys.executable)
    unit = re.sub(r"^(User|Group)=.*\n", "", unit, flags=re.M)  # this machine need not have the user
    (tmp_path / "celltwin.service").write_text(unit)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "celltwin.service")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    about_us = [said for said in ended.stderr.splitlines() if "celltwin" in said]
    assert not about_us
    assert ended.returncode == 0, ended.stderr


def test_compose_accepts_its_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker is not on this machine")
    if subprocess.run([docker, "compose", "version"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("docker has no compose plugin on this machine")
    command = [docker, "compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    given = {k: v for k, v in os.environ.items() if k not in wanted()}
    filled = {**given, **dict.fromkeys(wanted(), "x")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=filled)
    assert ended.returncode == 0, ended.stderr
    empty = [*command[:2], "--env-file", os.devnull, *command[2:]]
    ended = subprocess.run(empty, capture_output=True, text=True, timeout=60, check=False, env=given)
    assert ended.returncode != 0
    assert "deploy/env.example" in ended.stderr
