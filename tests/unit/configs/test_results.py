"""The streams that charts may name are those that the twins write, column by column."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from configs.chart_checks import unit_of
from configs.loader import load_line, packaged
from configs.results import CELL_RESULTS, WEB_RESULTS
from controller.pipeline.late import Late
from controller.pipeline.stages import build_stages
from controller.pipeline.stages.maps import MapStage
from controller.pipeline.stages.steps import NOTES, Newest, StepStage, StepStates
from tests.unit.pipeline import rack_frames
from tests.unit.pipeline.coater_frames import LANES, WIDTH_M, Ready, coater_frames
from twin.cycles import CycleResults
from twin.loading_map_live import LiveLoadingMap
from twin.types import CellStates, LoadingStates


def test_every_result_is_named_with_its_columns() -> None:
    assert CELL_RESULTS["cell_state"] == {f.name for f in fields(CellStates)}
    assert CELL_RESULTS["cell_cycle"] == {f.name for f in fields(CycleResults)} - {"channel"}
    assert WEB_RESULTS["web_loading"] == {f.name for f in fields(LoadingStates)} - {"used"}
    tags = {tag.name: tag for tag in rack_frames.channel_group(rack_frames.line()).tag}
    steps = StepStage("rack1", 1, StepStates.of(tags["state"].meanings), Newest(NOTES, 1), Ready())
    given = rack_frames.frames(5, rack_frames.SHORT_S + 60, 1)
    seen = {one.stream: set(one.columns) for frame in given for one in steps.process(frame)}
    assert {name: CELL_RESULTS[name] for name in seen} == seen
    assert seen.keys() == {"cell_pulse", "cell_ecm", "cell_rest"}
    stage = MapStage(LiveLoadingMap(LANES, WIDTH_M), Ready())
    (made, *_) = [one for given in coater_frames(1, 0.5) for one in stage.process(given)]
    assert WEB_RESULTS["web_map"] == set(made.columns)
    assert np.isfinite(made.columns["loading_kg_m2"]).all()


def test_the_sample_line_s_charts_become_stages_with_what_they_need() -> None:
    loaded, late = load_line(packaged("lines")["a_sample"]), Late()
    keys = build_stages(loaded, late)
    assert {k.name for k in keys if k.name.startswith("chart_")} == {f"chart_{c.name}" for c in loaded.file.twin.chart}
    assert any(k.name == "map" for k in keys)
    assert {"loading_map", "loading_map_tune", "spc"} <= set(late._names)


def test_units_are_the_tag_s_or_the_name_s() -> None:
    loaded = load_line(packaged("lines")["a_sample"])
    coater, rack = loaded.equipment["coater1"], loaded.equipment["rack1"]
    assert unit_of(coater, "web_speed_m_s") == "m/s"
    assert unit_of(coater, "loading_kg_m2") == "kg/m2"
    assert unit_of(rack, "discharge_ah") == "Ah"
    assert unit_of(rack, "r0_ohm") == "Ohm"
    assert unit_of(rack, "k_mv_h") == "mV/h"
    assert unit_of(rack, "first_cycle_efficiency") == ""
