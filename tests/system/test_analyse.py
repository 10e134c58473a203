"""`celltwin analyse` on measured cells, as a person types it: every kind, its acceptance figures, and the example."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from controller import cli
from controller.analysis import kinds

pytestmark = [pytest.mark.system, pytest.mark.data]

Rows = list[dict[str, Any]]
Analyse = Callable[..., Rows]


@pytest.fixture
def analyse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Analyse:
    """Rows of `celltwin analyse ... --json`, in this process, so that all kinds share what is compiled."""

    def run(*arguments: str | Path, code: int = 0) -> Rows:
        monkeypatch.setattr(sys, "argv", ["celltwin", "analyse", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert end.value.code == code, captured.err
        rows: Rows = json.loads(captured.out)
        assert all(math.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
        return rows

    return run


def test_pulses(analyse: Analyse, measured_data: Path, tmp_path: Path) -> None:
    rows = analyse(
        "pulses", measured_data / "lgm50_pulses.parquet", "--columns", "time=prog_time_s",
        "--by", "temperature_c,soc_level,cell", "--out", tmp_path,
    )  # fmt: skip
    assert len(rows) == 108
    assert list(rows[0])[:3] == ["temperature_c", "soc_level", "cell"]
    names = {"time_s", "current_a", "soc", *(f"r_{t}s_ohm{sd}" for t in (1, 3, 10, 30) for sd in ("", "_sd"))}
    assert names <= set(rows[0])
    known = [row for row in rows if row["r_10s_ohm"] is not None]
    assert all(row["refused"] for row in rows if row["r_10s_ohm"] is None)
    # At 10 degrees the emptiest cells reach their lower voltage limit within a second of the pulse's start.
    assert {(r["temperature_c"], r["soc_level"]) for r in rows if r["r_10s_ohm"] is None} <= {(10.0, 1)}
    assert all(0.02 < row["r_10s_ohm"] < 0.12 for row in known)
    assert any(row["stale_rows"] for row in rows)
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 108
    assert (tmp_path / "pulses-figures.html").stat().st_size < 8_000_000


def test_dqdv(analyse: Analyse, measured_data: Path) -> None:
    rows = analyse("dqdv", measured_data / "lgm50_c10.parquet")
    slow = [row for row in rows if row["direction"] == "discharge"]
    assert len(slow) >= 3
    assert all(2.5 < row["voltage_v"] < 4.2 for row in slow)


def test_ocv(analyse: Analyse, measured_data: Path) -> None:
    rows = analyse("ocv", measured_data / "lgm50_c10.parquet")
    volts = [row["ocv_v"] for row in rows]
    assert volts == sorted(volts)
    assert 4.7 < rows[0]["discharge_ah"] < 4.9


def test_ocv_of_joined_scripts(analyse: Analyse, measured_data: Path) -> None:
    rows = analyse("ocv", measured_data / "a123_ocv_25c.parquet")
    volts = [row["ocv_v"] for row in rows]
    assert volts == sorted(volts)
    assert rows[0]["discharge_ah"] / rows[0]["charge_ah"] == pytest.approx(1.0, abs=0.005)


def test_ocv_of_one_script_is_refused_with_a_reason(analyse: Analyse, measured_data: Path) -> None:
    rows = analyse("ocv", measured_data / "a123_ocv_25c.parquet", "--by", "script")
    assert [row["script"] for row in rows] == [1, 2, 3, 4]
    assert all(row["refused"] for row in rows)


def test_capacity(analyse: Analyse, measured_data: Path, tmp_path: Path) -> None:
    rows = analyse("capacity", measured_data / "coin_formation.parquet")
    assert {"cycle", "charge_ah", "discharge_ah", "first_cycle_efficiency", "refused"} <= set(rows[0])
    assert [row["cycle"] for row in rows] == [1, 2]
    assert rows[0]["first_cycle_efficiency"] == pytest.approx(0.870, abs=0.01)
    assert rows[1]["first_cycle_efficiency"] is None


def test_capacity_of_a_file_cut_before_the_discharge_ended(
    analyse: Analyse, measured_data: Path, tmp_path: Path
) -> None:
    table = pq.read_table(measured_data / "coin_formation.parquet")
    cut = tmp_path / "cut.parquet"
    pq.write_table(table.slice(0, 5_350), cut)  # within the first discharge, far from its limit
    first = analyse("capacity", cut)[0]
    assert first["first_cycle_efficiency"] is None
    assert first["refused"]


def test_relaxation_does_not_take_a_coin_cells_relaxation_for_a_leak(analyse: Analyse, measured_data: Path) -> None:
    rows = analyse("relaxation", measured_data / "coin_formation.parquet")
    assert rows[0]["duration_s"] == pytest.approx(21_595, abs=10)
    assert "K not identifiable" in rows[0]["refused"]


def test_esoh(analyse: Analyse, measured_data: Path) -> None:
    (row,) = analyse("esoh", measured_data / "lgm50_c10.parquet")
    assert row["rmse_v"] <= 0.008
    assert row["n_to_p"] > 1.0
    for name in ("x_0", "x_100", "y_0", "y_100", "n_to_p"):
        assert 0.0 < row[f"{name}_sd"] < 0.2


def test_loading_of_a_gauge_that_crosses_a_moving_web(analyse: Analyse, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    t = np.arange(0.0, 3600.0, 0.5)
    phase = np.abs((t / 30.0) % 2.0 - 1.0)  # a pass of 30 s each way
    cross_m, along_m = 0.3 * phase, t * 0.5
    mass = 0.2 * (1.0 + 0.02 * (phase - 0.5)) + rng.normal(0.0, 0.001, t.size)
    data = {"pos": along_m, "x": cross_m, "kg": mass}
    pq.write_table(pa.table(data), tmp_path / "gauge.parquet")
    names = "web_position=pos,cross_position=x,mass_loading=kg"
    rows = analyse("loading", tmp_path / "gauge.parquet", "--columns", names, "--set", "lanes=6")
    assert [row["lane"] for row in rows] == list(range(7))
    assert rows[0]["mean_kg_m2"] == pytest.approx(0.2, rel=0.002)
    assert rows[6]["mean_kg_m2"] / rows[1]["mean_kg_m2"] == pytest.approx(1.02 ** (5 / 6), abs=0.004)


def test_the_texts_of_help_are_those_of_the_kinds() -> None:
    assert {name: kinds.kind(name).text for name in kinds.MODULES} == kinds.TEXTS


def test_links_of_the_index_lead_to_files() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    links = re.findall(r"\]\((?!http)([^)#]+)", (docs / "kernels.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (docs / link).exists()] == []


def test_the_pictures_can_be_drawn(measured_data: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-W", "error", root / "docs" / "pictures.py", measured_data, tmp_path],
        capture_output=True, text=True, timeout=120, cwd=root, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (root / "docs" / "images" / "kernels").iterdir()}


def test_the_example(measured_data: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-W", "error", root / "docs" / "examples" / "lgm50.py", measured_data, tmp_path],
        capture_output=True, text=True, timeout=120, cwd=root, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "108 pulses" in ended.stdout
    assert {p.name for p in tmp_path.iterdir()} >= {"r10.png", "ocv.png", "esoh.png"}
