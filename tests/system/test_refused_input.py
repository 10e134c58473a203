"""What a person must correct before anything runs: one clear message, exit code 2, nothing left over."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.line import web_port
from tests.system.trouble import (
    all_gone,
    celltwin,
    celltwin_here,
    no_traceback,
    only_message,
    port_of,
    with_influx,
    without_simulation,
)

pytestmark = pytest.mark.system

Here = Callable[..., tuple[int, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Exit code and words of a command that ends before it starts another process."""
    return lambda *arguments: celltwin_here(monkeypatch, capsys, *arguments)


def test_a_line_file_that_is_missing_or_broken(here: Here, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[line]\nname = \n")
    for command in ("run", "simulate", "demo"):
        code, said = celltwin(tmp_path, command, str(tmp_path / "none.toml"))
        assert (code, said.count("\n")) == (2, 1), said
        assert "none.toml: no such file" in said
    code, said = here("run", str(broken))
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"{broken}:2: ")


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_line_without_simulation_cannot_be_simulated(here: Here, tmp_path: Path, line: Path, command: str) -> None:
    code, said = here(command, str(without_simulation(line)), "--out", str(tmp_path / "run"))
    assert (code, said.count("\n")) == (2, 1), said
    assert "real.toml: the line has no [simulation] table" in said
    assert not (tmp_path / "run").exists()


def test_run_on_a_simulated_line_that_nobody_simulates(here: Here, tmp_path: Path, line: Path) -> None:
    run = tmp_path / "run"
    code, said = here("run", str(line), "--out", str(run))
    assert (code, said.count("\n")) == (2, 1), said
    assert f"{run}: no simulated equipment was started with this folder (first: celltwin simulate {line}" in said
    (run / "simulation.json").write_text('{"speed": 3')
    code, said = here("run", str(line), "--out", str(run))
    assert (code, said.count("\n")) == (2, 1), said
    assert "simulation.json: damaged" in said
    assert "delete it and start celltwin simulate again" in said


@pytest.mark.parametrize("command", ["run", "demo"])
@pytest.mark.parametrize(
    ("out", "why"), [("file", "Not a directory"), ("file/below", "Not a directory"), ("log", "exists")]
)
def test_an_output_folder_that_cannot_be_one(
    here: Here, tmp_path: Path, line: Path, command: str, out: str, why: str
) -> None:
    """Root may write everywhere, so that permission bits prove nothing here; a file in the way stops root too."""
    (tmp_path / "file").touch()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log").touch()
    file = without_simulation(line) if command == "run" else line
    code, said = here(command, str(file), "--out", str(tmp_path / out))
    assert code == 2, said
    message = only_message(said)
    assert f"{tmp_path / out}" in message
    assert "cannot write to the output folder" in message
    assert why in message
    assert "choose another folder with --out" in message


def test_damaged_files_in_the_run_folder(here: Here, tmp_path: Path, line: Path) -> None:
    file, run = without_simulation(line), tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("half a fi")
    code, said = here("run", str(file), "--out", str(run))
    assert code == 2, said
    assert "run.json: damaged" in only_message(said)
    assert "move it away" in only_message(said)
    (run / "run.json").unlink()
    (run / "spool.sqlite3").write_bytes(b"no database, " * 1000)
    code, said = here("run", str(file), "--out", str(run))
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


def test_report_of_a_folder_that_is_no_run(here: Here, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        code, said = here("report", str(folder))
        assert (code, said.count("\n")) == (2, 1), said
        assert f"{folder}/run.json: no such file" in said


def test_a_missing_token(here: Here, tmp_path: Path, line: Path) -> None:
    real = without_simulation(line)
    file = with_influx(real, "http://127.0.0.1:9", 'token_env = "CELLTWIN_NO_SUCH_TOKEN"')
    code, said = here("run", str(file), "--out", str(tmp_path / "run"))
    assert code == 2, said
    assert "environment variable CELLTWIN_NO_SUCH_TOKEN is not set" in only_message(said)
    file = with_influx(real, "http://127.0.0.1:9", 'token_file = "no.token"')
    code, said = here("run", str(file), "--out", str(tmp_path / "run"))
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
