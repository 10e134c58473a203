"""Twins at work in the pipeline: a Frame's columns in, the twin's arrays out as a Frame. No arithmetic here.

`build_stages` is the one list of what runs live, and the only thing that others need of this package.
"""

from __future__ import annotations

from collections.abc import Mapping

from configs.chart_checks import streams_of, unit_of
from configs.loader import LoadedLine
from configs.schema import Chart
from configs.schema.equipment import Group, Tag, ValueType
from configs.schema.line import CellTwin, WebTwin
from controller.pipeline.late import Late
from controller.pipeline.pipeline import Stage, StageKey
from controller.pipeline.stages.cells import CellStage, CycleStage
from controller.pipeline.stages.charts import ChartStage, TickStage
from controller.pipeline.stages.grades import TrayStage
from controller.pipeline.stages.maps import MapStage
from controller.pipeline.stages.slow import TAGS as SLOW_TAGS
from controller.pipeline.stages.slow import SlowStage, slow_cell
from controller.pipeline.stages.steps import NOTES, Newest, StepStage, StepStates
from controller.pipeline.stages.web import WebStage
from twin.cycles import CycleBook
from twin.ekf import CellFilter
from twin.loading import WebLoading
from twin.loading_map_live import LiveLoadingMap

CYCLE_TAGS = {"step", "cycle", "voltage_v", "current_a", "charge_ah", "discharge_ah"}
"""What a rack must offer for its cycles to be followed."""

STEP_TAGS = {"state", "step", "cycle", "voltage_v", "current_a", "temperature_c"}
"""What a rack must offer for estimates on its finished steps."""

Stages = dict[StageKey, Stage]


def build_stages(loaded: LoadedLine, late: Late) -> Stages:
    """The twins that the line file asks for, by what feeds them. `late` says when the kernels of events are there."""
    stages: Stages = {}
    for cells in loaded.file.twin.cells:
        stages |= _of_rack(loaded, cells, late)
    for web in loaded.file.twin.web:
        stages |= _of_web(loaded, web, late)
    for number, chart in enumerate(loaded.file.twin.chart, 1):
        stages |= _of_chart(loaded, chart, number, late)
    return stages


def _of_rack(loaded: LoadedLine, cells: CellTwin, late: Late) -> Stages:
    found = loaded.equipment[cells.device].find("voltage_v")
    assert found is not None, "checked with the line file"
    group, model = found[0], loaded.cells[cells.device]
    twin = CellFilter(model, group.points)
    stages: Stages = {StageKey(cells.device, group.name, "ekf"): CellStage(twin, cells.publish_period_s)}
    if {tag.name for tag in group.tag} >= CYCLE_TAGS:
        stages[StageKey(cells.device, group.name, "cycles")] = CycleStage(CycleBook(model, group.points))
    stages |= _of_steps(cells.device, group, late)
    if {tag.name for tag in group.tag} >= SLOW_TAGS:
        slow = SlowStage(cells.device, group.points, slow_cell(model, cells.slow_c_rate), late)
        stages[StageKey(cells.device, group.name, "slow")] = slow
    return stages


def _of_steps(device: str, group: Group, late: Late) -> Stages:
    """Estimates when steps end, where the rack says what each channel does and which of its numbers is a rest."""
    tags = {tag.name: tag for tag in group.tag}
    if not tags.keys() >= STEP_TAGS:
        return {}
    states = StepStates.of(tags["state"].meanings)
    if not states.rest:
        return {}
    newest = Newest(NOTES, group.points)
    # In this order: the filter's newest word is there before the step that it belongs to, and a rest before its tray.
    steps = StepStage(device, group.points, states, newest, late, _counted_in(tags))
    stages: Stages = {
        StageKey(device, "cell_state", "newest"): newest,
        StageKey(device, group.name, "steps"): steps,
    }
    if states.ended:
        tray = TrayStage(group.points, states, late, steps.is_behind)
        stages |= {StageKey(device, stream, "tray"): tray for stream in ("cell_rest", group.name)}
    return stages


def _counted_in(tags: Mapping[str, Tag]) -> float | None:
    """What a rack's registers count a step's time in; a float's digits say nothing."""
    tag = tags.get("step_time_s")
    return None if tag is None or tag.type in {ValueType.FLOAT32, ValueType.FLOAT64} else abs(tag.scale)


def _of_web(loaded: LoadedLine, web: WebTwin, late: Late) -> Stages:
    equipment = loaded.equipment[web.device]
    gauge = equipment.find("gauge_mass_loading_kg_m2")
    profile = equipment.find("lane_mass_loading_kg_m2")
    assert gauge is not None, "checked with the line file"
    lanes = profile[0].points if profile else 1
    twin = WebLoading(lanes, web.width_m)
    stages: Stages = {StageKey(web.device, gauge[0].name, "loading"): WebStage(twin, web.publish_period_s)}
    if web.loading_map and lanes > 1:
        live = LiveLoadingMap(lanes, web.width_m, web.foil_kg_m2, step_m=web.map_step_m)
        stages[StageKey(web.device, gauge[0].name, "map")] = MapStage(live, late)
    return stages


def _of_chart(loaded: LoadedLine, chart: Chart, number: int, late: Late) -> Stages:
    equipment = loaded.equipment[chart.device]
    _, points = streams_of(loaded.file, chart.device, equipment)[chart.stream]
    unit = unit_of(equipment, chart.column or "")
    stage = ChartStage(chart, points, unit, late, number)
    stages: Stages = {StageKey(chart.device, chart.stream, f"chart_{chart.name}"): stage}
    if chart.gather_s > 0:
        # Plant time passes with the smallest stream that the device reports by itself.
        clock = min((g for g in equipment.group if g.period_s > 0), key=lambda g: g.points * len(g.tag)).name
        if clock != chart.stream:
            stages[StageKey(chart.device, clock, f"tick_{chart.name}")] = TickStage(stage)
    return stages
