"""Dashboards: current on disk, complete for people, and asking only for what the historian writes."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from configs.loader import packaged
from configs.results import CELL_RESULTS, WEB_RESULTS
from configs.schema import Equipment
from controller.errors import BadInputError, RunError
from controller.grafana import files
from controller.grafana.frame import equipment
from tests.unit.grafana.interpolation import panels_of
from twin.control_charts import FIGURES
from twin.types import CellStates, LoadingStates

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "grafana" / "dashboards"
DASHBOARDS = files.dashboards()
TAGS = {"line", "device", "lot", "recipe", "of_stream"}
RECORDS = {
    "command": {"duration_s", "name", "reason", "outcome", "detail"},
    "gap": {"duration_s", "reason"},
    "event": {"severity", "message"},
}


def known() -> dict[str, set[str]]:
    """Field names and the point's tag by stream, from the equipment files and the twin's own types."""
    names = {stream: set(columns) for stream, columns in RECORDS.items()}
    for name in packaged("equipment"):
        kind: Equipment = equipment(name)
        for group in kind.group:
            names[group.name] = {tag.name for tag in group.tag} | ({group.point_name} - {""})
    names |= {stream: set(columns) | {"channel"} for stream, columns in CELL_RESULTS.items()}
    names["cell_state"] = {f.name for f in fields(CellStates)} | {"channel"}
    names |= {stream: set(columns) | {"lane"} for stream, columns in WEB_RESULTS.items()}
    names["spc"] = {*FIGURES, "flags", "point", "chart"}
    names["web_loading"] = {f.name for f in fields(LoadingStates)} - {"used"} | {"lane"}
    return names


def queries() -> list[tuple[str, str]]:
    found = []
    for name, dashboard in DASHBOARDS.items():
        for panel in panels_of(dashboard):
            found += [(f"{name}: {panel['title']}", target["query"]) for target in panel["targets"]]
        found += [
            (f"{name}: ${v['name']}", v["query"]) for v in dashboard["templating"]["list"] if v["type"] == "query"
        ]
        found += [(f"{name}: {a['name']}", a["target"]["query"]) for a in dashboard["annotations"]["list"]]
    return found


def test_the_files_are_current() -> None:
    files.check(FOLDER)
    assert {p.name for p in FOLDER.iterdir()} == files.texts().keys()


def test_building_twice_gives_the_same_text() -> None:
    assert files.texts() == files.texts()


def test_generate_writes_what_differs_and_check_names_it(tmp_path: Path) -> None:
    assert len(files.write(tmp_path)) == 3
    assert files.write(tmp_path) == []
    files.check(tmp_path)
    (tmp_path / "rack.json").write_text("{}")
    with pytest.raises(RunError, match=r"rack\.json.*celltwin grafana generate"):
        files.check(tmp_path)
    assert files.write(tmp_path) == [tmp_path / "rack.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        files.write(tmp_path / "file" / "below")


def test_queries_name_only_what_the_historian_writes() -> None:
    columns, asked_for = known(), queries()
    assert len(asked_for) > 80
    for where, query in asked_for:
        bare = re.search(r"\$\{(?!\w+:(regex|raw)\})|\$(?!timeFilter|__interval\b|\{|/)", query)
        assert not bare, f"{where}: without a format it means different things in different versions of Grafana"
        streams = re.findall(r'FROM "(\w+)"', query)
        if not streams:
            assert query.startswith("SHOW TAG VALUES"), where
            continue
        (stream,) = streams
        assert stream in columns, where
        own_names = set(re.findall(r'AS "([^"]+)"', query))
        asked = set(re.findall(r'"([^"]+)"', query)) - {stream} - own_names
        assert asked <= columns[stream] | TAGS, f"{where}: {asked - columns[stream] - TAGS}"


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())
def test_what_people_and_links_rely_on(dashboard: dict[str, Any]) -> None:
    assert re.fullmatch("celltwin-(line|coater|rack)", dashboard["uid"])
    assert dashboard["tags"] == ["celltwin"]
    assert dashboard["timezone"] == "browser"
    assert dashboard["refresh"]
    assert dashboard["links"][0]["tags"] == ["celltwin"]
    names = [v["name"] for v in dashboard["templating"]["list"]]
    assert names[:2] == ["datasource", "line"]
    assert dashboard["templating"]["list"][0]["current"]["value"] == "celltwin-influxdb"
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels_of(dashboard):
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{(\w+)", target["query"]))
            assert used <= set(names), f"{panel['title']} uses {used - set(names)}"
        if panel["type"] in {"timeseries", "stat", "gauge", "barchart", "histogram"}:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())
def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not mine & cells, panel["title"]
        cells |= mine


def test_the_json_is_plain() -> None:
    for text in files.texts().values():
        assert json.loads(text)
        assert "\r" not in text
