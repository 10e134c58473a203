"""Rows as people and programs get them: digits, no NaN, Parquet that reads back, pages that ask no host."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from controller.analysis.output import figure_name, print_table, to_json, uniform, write_page, write_rows
from controller.errors import StorageError
from tests.browser import chromium, open_browser

ROWS = uniform(
    [
        {"cell": "A", "r_10s_ohm": 0.0341234, "r_10s_ohm_sd": 0.000152, "good": True, "cycle": 1},
        {"cell": "B", "r_10s_ohm": None, "refused": "too short", "cycle": np.int64(2), "x": np.float64("nan")},
    ]
)


def shown(rows: list[dict[str, object]], width: int = 0, keys: tuple[str, ...] = ()) -> str:
    screen = Console(file=io.StringIO(), width=width or 80, force_terminal=bool(width), no_color=True)
    print_table(uniform(rows), keys, screen)
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.file.getvalue())  # type: ignore[attr-defined]


def test_rows_get_the_same_names_and_never_nan() -> None:
    assert list(ROWS[0]) == list(ROWS[1]) == ["cell", "r_10s_ohm", "r_10s_ohm_sd", "good", "cycle", "refused", "x"]
    assert ROWS[1]["x"] is None
    assert ROWS[1]["cycle"] == 2
    assert uniform([{"x": float("inf")}]) == [{"x": None}]


def test_json_is_strict_and_whole() -> None:
    assert json.loads(to_json(ROWS)) == ROWS
    assert json.loads(to_json([])) == []


def test_value_and_its_standard_deviation_share_a_column() -> None:
    text = shown(ROWS)
    assert "0.03412 ± 0.00015" in text
    assert "r_10s_ohm_sd" not in text
    assert "too short" in text


def test_sensible_digits() -> None:
    rows = [{"a": 0.0341234567, "b": 123456.789, "c": 1e-9, "d": 0.87}, {"a": 0.051, "b": 9.9, "c": 2e-9, "d": 0.0}]
    text = shown(rows)
    for part in ("0.034123", "0.051000", "1.2346e+05", "9.9", "1e-09", "0.87"):
        assert part in text


def test_long_results_are_shortened_with_a_note() -> None:
    text = shown([{"i": i} for i in range(1000)])
    assert len(text.splitlines()) < 50
    assert "960 more rows" in text


def test_a_narrow_terminal_gets_several_tables_and_loses_no_number() -> None:
    rows = [{"cell": 7, **{f"quantity_{i}_v": 3.14159 for i in range(9)}}] * 2
    text = shown(rows, width=60, keys=("cell",))
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("3.1416") == 18
    assert text.count("cell") >= 3


def test_a_single_row_of_many_figures_is_read_downwards() -> None:
    lines = shown([{f"q_{i}_v": 1.0 + i for i in range(12)}]).split("\n")
    assert sum("q_" in line for line in lines) == 12
    assert "q_11_v" in lines[-4] + lines[-3] + lines[-2]


def test_parquet_reads_back(tmp_path: Path) -> None:
    parquet, plain = write_rows(tmp_path / "new" / "folder", ROWS)
    assert pq.read_table(parquet).to_pylist() == ROWS
    assert json.loads(plain.read_text()) == ROWS
    assert sorted(p.name for p in parquet.parent.iterdir()) == ["rows.json", "rows.parquet"]


def test_parquet_of_mixed_columns(tmp_path: Path) -> None:
    rows = uniform([{"a": 1, "b": 1, "c": None}, {"a": 2.5, "b": "x", "c": None}])
    table = pq.read_table(write_rows(tmp_path, rows)[0])
    assert table.to_pylist() == [{"a": 1.0, "b": "1", "c": None}, {"a": 2.5, "b": "x", "c": None}]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_rows(tmp_path / "file" / "below", ROWS)


def test_page_is_self_contained_and_its_texts_stay_text(tmp_path: Path) -> None:
    path = tmp_path / figure_name("mean", 1, {"cell": "a/../b", "t": 25.0}, "/data/x y.csv")
    assert path.name == "mean-001-x_y_cell-a_.._b_t-25.0.html"
    write_page(path, "<b>", [("a & b", {"data": [{"y": np.array([1.0, np.nan])}], "layout": {"title": "</script>"}})])
    text = path.read_text()
    assert "<h1>&lt;b&gt;</h1>" in text
    assert '[{"data":[{"y":[1.0,null]}],"layout":{"title":"\\u003c/script>"}}]' in text
    assert "default-src 'none'" in text
    assert text.count("</script>") == 3
    assert "<script src" not in text


@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
def test_page_draws_from_disk_without_a_network(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    figure = {"data": [{"x": [0, 1], "y": [1.0, None]}], "layout": {"xaxis": {"title": {"text": "s"}}}}
    write_page(path, "two", [("one", figure), ("another", figure)])
    with open_browser(tmp_path) as page:
        page.open(path.as_uri())
        page.wait_for("document.querySelectorAll('.plot-container').length === 2")
        assert page.errors == []
        assert [u for u in page.requests if not u.startswith(("data:", "blob:"))] == [path.as_uri()]
