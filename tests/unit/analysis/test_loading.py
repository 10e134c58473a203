"""The kind `loading`: names, settings and refusals of its rows, its figure, and the command on a file."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from controller.analysis.base import Options, Record
from controller.analysis.kinds.loading import KIND
from controller.errors import BadInputError

NAMES = ("lane", "mean_kg_m2", "sd_kg_m2", "cv", "cv_without_gauge_noise")


def columns(metres: int = 600) -> dict[str, np.ndarray]:
    """1 % along over 150 m, 1 % across from side to side, 0.5 % noise on 0.17 kg/m2."""
    along = np.arange(0.0, metres)
    phase = along / 9.6 % 2
    cross = 0.3 * np.where(phase < 1, phase, 2 - phase)
    truth = 0.17 * (1 + 0.01 * np.sin(2 * np.pi * along / 150) * np.sqrt(2) + 0.01 * (cross / 0.3 - 0.5) * np.sqrt(12))
    noise = 0.005 * 0.17 * np.random.default_rng(3).standard_normal(along.size)
    return {"web_position_m": along, "cross_position_m": cross, "mass_loading_kg_m2": truth + noise}


def record(**more: np.ndarray) -> Record:
    return Record("web.parquet", {}, columns() | more)


def test_a_row_a_lane_and_the_whole_web_first() -> None:
    rows = KIND.analyse(record(), Options({"width_m": 0.3, "lanes": 6.0}))
    assert [row["lane"] for row in rows] == list(range(7))
    assert all(set(NAMES) <= set(row) for row in rows)
    assert json.dumps(rows, allow_nan=False)
    whole = rows[0]
    assert whole["mean_kg_m2"] == pytest.approx(0.17, rel=2e-3)
    assert whole["cv"] == pytest.approx(np.sqrt(1 + 1 + 0.25) / 100, rel=0.05)
    assert whole["cv_without_gauge_noise"] == pytest.approx(np.sqrt(2) / 100, rel=0.05)
    assert whole["gauge_noise_kg_m2"] == pytest.approx(0.005 * 0.17, rel=0.1)
    assert rows[1]["cv_without_gauge_noise"] == pytest.approx(0.01, rel=0.15)
    means = np.array([row["mean_kg_m2"] for row in rows[1:]])
    np.testing.assert_allclose(means, 0.17 * (1 + 0.01 * (np.arange(6) / 6 - 5 / 12) * np.sqrt(12)), rtol=2e-3)


def test_foil_metres_and_figure() -> None:
    plain = record()
    gross = record(mass_loading_kg_m2=plain.columns["mass_loading_kg_m2"] + 0.04)
    options = {"width_m": 0.3, "lanes": 6.0}
    by_setting = KIND.analyse(gross, Options({**options, "foil_kg_m2": 0.04}))[0]["mean_kg_m2"]
    assert by_setting == pytest.approx(0.17, rel=2e-3)
    rows = KIND.analyse(plain, Options({**options, "rows": "metres", "step_m": 2.0}))
    assert len(rows) == 300
    assert rows[0]["web_position_m"] == 1.0
    assert 0 < rows[5]["lane_6_kg_m2_sd"] < 0.002
    figure = KIND.figure(plain, rows)
    assert figure is not None
    assert np.shape(figure["data"][0]["z"]) == (6, 300)
    assert KIND.figure(gross, rows) is None


def test_refusals() -> None:
    short = Record("web.csv", {}, {name: column[:10] for name, column in columns().items()})
    (row,) = KIND.analyse(short, Options())
    assert row["mean_kg_m2"] is None
    assert "usable samples" in str(row["refused"])
    (row,) = KIND.analyse(short, Options({"rows": "metres"}))
    assert "usable samples" in str(row["refused"])
    assert KIND.figure(short, [row]) is None
    for values in ({"lanes": 2.5}, {"lanes": "many"}, {"rows": "all"}, {"solids_fraction": 3.0}, {"step_m": 0.0}):
        with pytest.raises(BadInputError):
            KIND.analyse(record(), Options(values))


def test_the_command_on_a_run_of_the_coater(celltwin, tmp_path) -> None:
    path = tmp_path / "coater.parquet"
    pq.write_table(pa.table({f"gauge_{name}": column for name, column in columns().items()}), path)
    names = ",".join(f"{name}=gauge_{name}" for name in columns())
    ended = celltwin("analyse", "loading", path, "--columns", names, "--set", "width_m=0.3", "--json")
    assert (ended.code, ended.err) == (0, "")
    rows = json.loads(ended.out)
    assert len(rows) == 25
    assert rows[0]["mean_kg_m2"] == pytest.approx(0.17, rel=2e-3)
