"""The demo from command to report: it ends by itself, its books balance, and its files open in the usual tools."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import urllib.request
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.system.line import fetch, line_file, programs, until, web_port

pytestmark = pytest.mark.system


def parquet_rows(run: Path) -> dict[str, int]:
    folders = [f for f in (run / "parquet").glob("[a-z]*") if any(f.glob("*.parquet"))]
    return {f.name: pl.scan_parquet(f / "*.parquet").select(pl.len()).collect().item() for f in folders}


def check_books(run: Path) -> dict[str, int]:
    """Counters reconcile with nothing dropped, Parquet holds the ledger's rows and none twice; rows by stream."""
    content = json.loads((run / "run.json").read_text())
    for counters in content["counters"]:
        parts = sum(counters[k] for k in ("delivered", "spooled", "rejected", "dropped"))
        assert counters["accepted"] == parts
        assert counters["dropped"] == 0
        assert counters["rejected"] == 0
    ledger = {stream: rows for stream, rows in content["ledger"].items() if rows}
    assert parquet_rows(run) == ledger
    for stream in ledger:
        rows = pl.read_parquet(run / "parquet" / stream / "*.parquet")
        points = ("device", "channel", "lane", "zone", "point", "of_stream", "chart", "time")
        key = [c for c in points if c in rows.columns]
        if stream not in {"command", "event"}:
            assert rows.select(pl.struct(key).n_unique()).item() == rows.height, f"{stream} has doubled rows"
    return ledger


def test_a_short_demo_ends_by_itself_with_balanced_books(tmp_path: Path, free_port: Callable[[], int]) -> None:
    line, run = line_file(tmp_path, free_port), tmp_path / "run"
    with programs(tmp_path) as started:
        demo = started.start("demo", str(line), "--seconds", "12", "--out", str(run))
        port = web_port(line)
        until("both devices deliver", lambda: len(fetch(port)["devices"]) == 2 and fetch(port, "/readyz")["ready"])
        until("a Parquet file of each kind", (run / "parquet/cell_state").exists)
        until("one is complete", lambda: any((run / "parquet/channel").glob("*.parquet")))
        glob = str(run / "parquet" / "channel" / "*.parquet")
        assert len(pd.read_parquet(run / "parquet" / "channel")) > 0, "pandas, while the line runs"
        assert pl.read_parquet(glob).height > 0, "Polars, while the line runs"
        assert duckdb.sql(f"select count(*) from '{glob}'").fetchall()[0][0] > 0, "DuckDB, while the line runs"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        assert re.search(r'celltwin_poll_duration_seconds_count{device="rack1"} [1-9]', metrics)
        assert 'celltwin_device_connection{device="coater1",state="connected"} 1.0' in metrics
        assert demo.process.wait(120) == 0, demo.text()
        said = demo.text()
    assert "live page: http://127.0.0.1:" in said
    assert "report:" in said
    assert (run / "report.html").stat().st_size > 1_000_000
    assert json.loads((run / "run.json").read_text())["status"] == "complete"
    rows = check_books(run)
    assert {"channel", "cell_state", "rack", "coater", "coater_profile", "command"} <= rows.keys()
    outcomes = pl.read_parquet(run / "parquet" / "command" / "*.parquet")
    assert set(outcomes["outcome"]) == {"confirmed"}
    assert set(outcomes.filter(pl.col("name") == "start")["device"]) == {"coater1", "rack1"}
    with sqlite3.connect(run / "spool.sqlite3") as spool:
        assert spool.execute("pragma integrity_check").fetchone() == ("ok",)
    spool.close()


@pytest.mark.parametrize("moment", ["while starting", "while running"])
def test_ctrl_c_leaves_a_valid_run_folder(tmp_path: Path, free_port: Callable[[], int], moment: str) -> None:
    line, run = line_file(tmp_path, free_port), tmp_path / "run"
    with programs(tmp_path) as started:
        demo = started.start("demo", str(line), "--out", str(run))
        if moment == "while running":
            demo.wait_for("first data after")
        else:
            until("the controller is started", (run / "log").exists)
        assert demo.stop(signal.SIGINT) == 0, demo.text()
        assert "Traceback" not in demo.text()
    if moment == "while running":
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
        check_books(run)
        assert (run / "report.html").exists()
