"""The report of whole, partial and empty run folders: always a page, always self-contained, honest about holes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controller.errors import BadInputError, StorageError
from controller.report import build, build_report, formation, slow, summary
from controller.report.chart_figures import control_chart
from controller.report.data import no_rows
from controller.report.figures import thin
from controller.report.summary import analyse_run

from . import conftest as synthetic

Made = Callable[..., tuple[Path, synthetic.Rack]]
RESOURCE = re.compile(
    r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import""", re.IGNORECASE
)


def page_without_plotly(path: Path) -> str:
    """The page without the script of plotly, whose maps name hosts that our figures never ask."""
    return re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", path.read_text(), flags=re.DOTALL)


def test_summary_has_the_key_figures(whole: tuple[Path, synthetic.Rack]) -> None:
    key, rack = summary(whole[0]), whole[1]
    assert key.status == "complete"
    assert key.channels == key.cells_completed == 12
    assert key.median_capacity_ah == pytest.approx(float(np.median(rack.capacity_ah)), rel=0.01)
    assert key.median_first_cycle_efficiency == pytest.approx(float(np.median(rack.efficiency)), abs=0.006)
    assert key.median_r0_ohm == pytest.approx(float(np.median(rack.r0_ohm)))
    assert (key.filter_channels_within, key.filter_channels) == (12, 12)
    assert key.filter_coverage_95 == pytest.approx(0.95, abs=0.01)
    assert key.coated_m == pytest.approx(798.0)
    assert (key.loading_mean_kg_m2, key.loading_cv) == (0.1691, 0.0091)
    assert key.rows == key.parquet_rows > 0
    assert key.reconciles


def test_the_map_shows_what_the_die_laid_down(whole: tuple[Path, synthetic.Rack]) -> None:
    (coater,) = analyse_run(whole[0]).coaters
    seen, true = coater.measured, coater.true
    assert seen.lane.tolist() == list(range(1, 25))
    at = np.array([np.interp(seen.position_m, true.position_m, row) for row in true.mass_loading_kg_m2])
    np.testing.assert_allclose(seen.mass_loading_kg_m2, at, rtol=0.006)


def test_the_twin_s_map_is_drawn_beside_the_gauge_s(whole: tuple[Path, synthetic.Rack]) -> None:
    coater = analyse_run(whole[0]).coaters[0]
    map_of = dict(zip(coater.estimated.position_m, coater.estimated.mass_loading_kg_m2.T, strict=True))
    place = min(map_of, key=lambda m: abs(m - 400.0))
    true = 0.169 * (1 + 0.01 * np.sin(place / 60) + 0.008 * np.cos(np.arange(24) / 4))
    np.testing.assert_allclose(map_of[place], true, rtol=1e-3)


def test_control_charts_are_counted_and_drawn(whole: tuple[Path, synthetic.Rack]) -> None:
    charts = {chart.name: chart for chart in analyse_run(whole[0]).charts}
    assert charts.keys() == {"capacity", "coating_weight", "lanes"}
    weight, cells, lanes = charts["coating_weight"], charts["capacity"], charts["lanes"]
    assert (weight.observations, weight.signals, weight.source) == (50, 3, "")
    assert weight.cpk == (0.9, 1.1, 1.3)
    assert cells.by_unit
    assert cells.number.tolist() == list(range(1, 13))
    np.testing.assert_allclose(cells.value, 5.0 + 0.01 * np.arange(12))
    assert (lanes.observations, lanes.signals, lanes.source) == (40, 10, "point 3 of 4")
    assert set(lanes.value) == {20.0}
    assert set(lanes.limit) == {12.0}
    drawn = control_chart(weight)["data"][0]
    assert drawn["marker"]["size"].count(8) == 3
    page = build_report(whole[0]).read_text()
    assert "coating weight" in page
    assert "1.10 (0.90 to 1.30)" in page


def test_one_file_that_asks_nobody(whole: tuple[Path, synthetic.Rack]) -> None:
    path = build_report(whole[0])
    page = page_without_plotly(path)
    assert path == whole[0] / "report.html"
    assert 4e6 < path.stat().st_size < 12e6
    assert len(page) < 2e6
    assert not RESOURCE.search(page)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    for heading in ("What ran", "Coat-weight map", "Dryer zones", "Worst channels", "Commands sent", "Records"):
        assert heading in page
    assert "No data" not in page


def test_the_formation_section_counts_what_the_events_gave(whole: tuple[Path, synthetic.Rack]) -> None:
    """Medians over channels of what is known; a figure that was refused is a dash, its reason stands beside it."""
    (rack,) = analyse_run(whole[0]).racks
    found, n = rack.estimates, len(rack.cells)
    middle = float(np.median(whole[1].r0_ohm)) * 1000
    (pulse,) = formation.resistances(found.pulses)
    assert pulse[:4] == ["14", "−5.00", "50", "27.0"]
    assert pulse[4:6] == ["–", "–"]
    assert pulse[6].startswith(f"{middle + 6:.1f} ± ") and pulse[6].endswith(f"({n})")
    (circuit,) = formation.circuits(found.circuits)
    assert circuit[-1] == f"{n - 2} of {n}"
    (rest,) = formation.rests(found.rests)
    assert rest[1] == "360" and rest[2].startswith("0.030 ± 0.000")
    assert rest[-2:] == [f"{n - 1} of {n}", "the record ends while the cell still relaxes"]
    by_grade = {row[0]: row[1:] for row in formation.grades(found.grades)}
    assert by_grade["A"][1] == str(n - 2), "channel 3's last grade counts"
    assert by_grade["reject"] == ["K is above the limit", "1", "1"]
    assert by_grade["retest"][0].endswith("the record ends while the cell still relaxes")
    assert formation.grades(no_rows("nothing")) == []
    charged, discharged = slow.windows(found.windows)
    assert charged[-2:] == [f"0 of {n}", "first charge: the film takes lithium"]
    assert discharged[:3] == ["5", "1", "−1.00"] and discharged[3].endswith(f"({n - 1})")
    assert discharged[-2:] == [f"{n - 1} of {n}", "the curve does not settle the windows"]
    assert slow.peaks(found.peaks) == [["5", "1", "−1.00", "3.430 V, 6.2", *["–"] * 5]]
    page = page_without_plotly(build_report(whole[0]))
    assert "Electrode windows of slow steps" in page and "Peaks of dQ/dV" in page
    assert "Grades of the tray" in page and "K is above the limit" in page


def test_texts_of_the_run_cannot_become_markup(whole: tuple[Path, synthetic.Rack]) -> None:
    page = page_without_plotly(build_report(whole[0]))
    assert "<script>alert(1)" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_a_run_stopped_at_once_says_what_is_missing(made: Made) -> None:
    folder, _ = made(channels=4, span_s=1200.0, coater=False)
    path, key = build(folder)
    page = page_without_plotly(path)
    assert key.cells_completed == 0
    assert key.median_capacity_ah is None
    assert "no coater has written any rows" in page
    assert "0 of 4 channels had finished their first full charge" in page
    assert "first cycle has no discharge yet" in page


def test_an_empty_folder_still_gives_a_page(tmp_path: Path) -> None:
    path, key = build(tmp_path)
    page = path.read_text()
    assert key.status == "unknown"
    assert key.rows == 0
    assert "no rack has written any rows" in page
    assert "run.json could not be read" in page
    assert len(page) < 30_000  # nothing to draw, no plotly


def test_no_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder"):
        build_report(tmp_path / "nothing")


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / ".report.html.new").mkdir()
    with pytest.raises((StorageError, OSError)):
        build_report(tmp_path)


@pytest.mark.parametrize("missing", ["truth", "parquet/cell_state", "parquet/coater", "spool.sqlite3", "run.json"])
def test_every_piece_may_be_missing(whole: tuple[Path, synthetic.Rack], tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    gone = folder / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    path, key = build(folder)
    assert key.channels == 12
    if missing == "truth":
        assert key.filter_channels == 0
        assert "no files in truth/rack1" in path.read_text()
    if missing == "parquet/cell_state":
        assert not key.reconciles
        assert "no files in parquet/cell_state" in path.read_text()


def test_a_damaged_file_is_named_and_the_rest_is_used(whole: tuple[Path, synthetic.Rack], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    (folder / "parquet/channel/part-2.parquet").write_bytes(b"PAR1 half a file")
    (folder / "spool.sqlite3").write_bytes(b"no database")
    path, key = build(folder)
    assert key.channels == 12
    assert "part-2.parquet in channel could not be read" in path.read_text()
    assert "its ledger is taken from run.json" in path.read_text()


def test_thinning_keeps_every_spike() -> None:
    values = np.zeros(10_000)
    values[[17, 5_000, 9_999]] = [3.0, -2.0, 1.0]
    values[100:200] = np.nan
    keep = thin(values, 500)
    assert {0, 17, 5_000, 9_999} <= set(keep.tolist())
    assert keep.size <= 1_002
    assert (np.diff(keep) > 0).all()
    assert thin(values[:50], 500).tolist() == list(range(50))
