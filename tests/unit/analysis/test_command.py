"""`celltwin analyse` as people type it, with a small kind: table, JSON, files, exit codes, and no traceback ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from controller.analysis import kinds

from .conftest import Ended, MeanKind
from .test_read import GOOD, parquet

Celltwin = Callable[..., Ended]


def test_help_lists_the_kinds(celltwin: Celltwin) -> None:
    ended = celltwin("analyse", "--help")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    for name in kinds.MODULES:
        assert f"{name}: {kinds.TEXTS[name]}" in text
    assert list(kinds.MODULES) == list(kinds.TEXTS)


def test_table(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    ended = celltwin("analyse", "mean", parquet(tmp_path, GOOD))
    assert (ended.code, ended.err) == (0, "")
    assert "3.50 ± 0.41" in ended.out
    assert "mean: 1 row from 1 record" in ended.out


def test_json_alone_on_standard_output(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    path = parquet(tmp_path, GOOD)
    ended = celltwin("analyse", "mean", path, "--json", "--current-sign", "-1", "--out", tmp_path / "found")
    (row,) = json.loads(ended.out)
    assert row["charge_as"] == -0.5
    assert row["mean_v"] == 3.5
    assert row["nothing"] is None
    assert "rows.parquet" in ended.err


def test_groups_carry_their_keys_and_refusals_stand_in_their_row(
    celltwin: Celltwin, mean: MeanKind, tmp_path: Path
) -> None:
    data = {name: values * 2 for name, values in GOOD.items()} | {"cell": ["a", "a", "a", "b", "c", "c"]}
    ended = celltwin("analyse", "mean", parquet(tmp_path, data), "--by", "cell", "--json")
    rows = json.loads(ended.out)
    assert ended.code == 0
    assert [(row["cell"], row["refused"]) for row in rows] == [
        ("a", None),
        ("b", "one row has no mean"),
        ("c", "two rows have no mean either"),
    ]
    assert all(list(row) == list(rows[0]) for row in rows)
    assert next(iter(rows[0])) == "cell"


def test_out_writes_rows_and_a_page_per_figure(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    out = tmp_path / "found"
    ended = celltwin("analyse", "mean", parquet(tmp_path, GOOD), "--out", out)
    assert ended.code == 0
    assert sorted(p.name for p in out.iterdir()) == ["mean-001-test.html", "rows.json", "rows.parquet"]
    assert pq.read_table(out / "rows.parquet").to_pylist() == json.loads((out / "rows.json").read_text())


def test_many_figures_share_a_page(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    data = {name: values * 20 for name, values in GOOD.items()} | {"n": [i // 3 for i in range(60)]}
    ended = celltwin("analyse", "mean", parquet(tmp_path, data), "--by", "n", "--out", tmp_path / "found")
    assert ended.code == 0
    page = (tmp_path / "found" / "mean-figures.html").read_text()
    assert page.count('class="figure"') == 20


def test_several_files_are_told_apart_and_a_bad_one_does_not_stop_the_rest(
    celltwin: Celltwin, mean: MeanKind, tmp_path: Path
) -> None:
    paths = [parquet(tmp_path, GOOD, name) for name in ("a.parquet", "b.parquet")]
    ended = celltwin("analyse", "mean", paths[0], tmp_path / "none.csv", paths[1], "--json")
    assert [row["file"] for row in json.loads(ended.out)] == [str(p) for p in paths]
    assert ended.code == 1
    assert ended.err.startswith(f"error: {tmp_path / 'none.csv'}: no such file")


def test_settings_arrive(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    ended = celltwin(
        "analyse",
        "mean",
        parquet(tmp_path, GOOD),
        "--json",
        "--set",
        "scale=2",
        "--set",
        "label=1e3",
        "--set",
        "limit_v=3",
    )
    (row,) = json.loads(ended.out)
    assert (row["mean_v"], row["label"]) == (7.0, "1e3")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "scal=2"], "mean has no setting 'scal'; did you mean 'scale'?"),
        (["--set", "other=2"], "limit_v: lower limit of the voltage; default found from the data"),
        (["--set", "scale=two"], "--set: scale=two: must be a number (factor on the mean; default 1)"),
        (["--set", "scale"], "--set: 'scale' is not NAME=VALUE"),
        (["--current-sign", "up"], "--current-sign: 'up' is neither charge nor discharge"),
        (["--by", "nothing"], "--by: no column 'nothing'"),
        (["--columns", "voltage=U"], "no column 'U'"),
        (["--set", "limit_v=3.2"], "test.parquet: the voltage is below its limit"),
    ],
)
def test_wrong_options(celltwin: Celltwin, mean: MeanKind, tmp_path: Path, options: list[str], told: str) -> None:
    ended = celltwin("analyse", "mean", parquet(tmp_path, GOOD), *options)
    assert ended.code == 2
    assert told in ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_out_that_is_a_file(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    path = parquet(tmp_path, GOOD)
    ended = celltwin("analyse", "mean", path, "--out", path)
    assert ended.code == 2
    assert "test.parquet is a file" in ended.err


def test_unknown_kind(celltwin: Celltwin, tmp_path: Path) -> None:
    ended = celltwin("analyse", "puls", tmp_path / "x.csv")
    assert ended.code == 2
    assert "'puls'; did you mean 'pulses'? (known: pulses, capacity," in ended.err


def test_nothing_could_be_read(celltwin: Celltwin, mean: MeanKind, tmp_path: Path) -> None:
    ended = celltwin("analyse", "mean", tmp_path / "a.csv", tmp_path / "b.csv")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("no such file") == 2
