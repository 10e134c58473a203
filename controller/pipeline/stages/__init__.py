"""Twins at work in the pipeline: a Frame's columns in, the twin's arrays out as a Frame. No arithmetic here.

`build_stages` is the one list of what runs live, and the only thing that others need of this package.
"""

from __future__ import annotations

from configs.loader import LoadedLine
from configs.schema.line import CellTwin, WebTwin
from controller.pipeline.late import Late
from controller.pipeline.pipeline import Stage, StageKey
from controller.pipeline.stages.cells import CellStage, CycleStage
from controller.pipeline.stages.web import WebStage
from twin.cycles import CycleBook
from twin.ekf import CellFilter
from twin.loading import WebLoading

CYCLE_TAGS = {"step", "cycle", "voltage_v", "current_a", "charge_ah", "discharge_ah"}
"""What a rack must offer for its cycles to be followed."""

Stages = dict[StageKey, Stage]


def build_stages(loaded: LoadedLine, late: Late) -> Stages:
    """The twins that the line file asks for, by what feeds them. `late` says when the kernels of events are there."""
    stages: Stages = {}
    for cells in loaded.file.twin.cells:
        stages |= _of_rack(loaded, cells, late)
    for web in loaded.file.twin.web:
        stages |= _of_web(loaded, web, late)
    return stages


def _of_rack(loaded: LoadedLine, cells: CellTwin, late: Late) -> Stages:
    found = loaded.equipment[cells.device].find("voltage_v")
    assert found is not None, "checked with the line file"
    group, model = found[0], loaded.cells[cells.device]
    twin = CellFilter(model, group.points)
    stages: Stages = {StageKey(cells.device, group.name, "ekf"): CellStage(twin, cells.publish_period_s)}
    if {tag.name for tag in group.tag} >= CYCLE_TAGS:
        stages[StageKey(cells.device, group.name, "cycles")] = CycleStage(CycleBook(model, group.points))
    return stages


def _of_web(loaded: LoadedLine, web: WebTwin, late: Late) -> Stages:
    equipment = loaded.equipment[web.device]
    gauge = equipment.find("gauge_mass_loading_kg_m2")
    profile = equipment.find("lane_mass_loading_kg_m2")
    assert gauge is not None, "checked with the line file"
    lanes = profile[0].points if profile else 1
    twin = WebLoading(lanes, web.width_m)
    return {StageKey(web.device, gauge[0].name, "loading"): WebStage(twin, web.publish_period_s)}
