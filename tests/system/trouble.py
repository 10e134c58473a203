"""For the tests of trouble: line files with faults, one command to its end, and what may not be left over.

Exit codes: 2 for what a person must correct before anything runs, 1 for a run that failed, 0 for every end that was
asked for; a signal in the first moments, before there is anything to end, may have its own (130, or the signal's).
"""

import logging
import signal
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from controller import cli
from tests.system.line import fetch, programs, until

TOKEN = "secret-token-text"


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


def celltwin_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """As `celltwin`, in this process: for what is refused before another one is started. Its imports are paid once."""
    monkeypatch.setattr(sys, "argv", ["celltwin", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        logger.handlers[:] = handlers
        logger.setLevel(level)
    printed = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, printed.out + printed.err


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


def ledger_rows(run: Path) -> int:
    with closing(sqlite3.connect(run / "spool.sqlite3")) as spool:
        return int(spool.execute("SELECT SUM(rows) FROM ledger").fetchone()[0])


def accepted(port: int) -> int:
    return int(max(c["accepted"] for c in fetch(port)["counters"]))
