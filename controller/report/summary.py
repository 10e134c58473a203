"""One pass over a run folder: everything that the report and the end-of-run table say. No drawing, no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.report.cells import Cell, analyse
from controller.report.charts import ControlChart, control_charts
from controller.report.coating import CoatMap, WebFigures, figures, gauge_map, true_map, twin_map
from controller.report.data import Rows, RunData, load
from controller.report.formation import Estimates
from controller.report.formation import read as read_estimates
from controller.report.ranking import rank
from controller.types import SinkCounters

CHANNEL_COLUMNS = ("voltage_v", "current_a", "temperature_c", "state", "step", "cycle", "fault_bits", "quality")
COUNTER_COLUMNS = ("charge_ah", "discharge_ah")
STATE_COLUMNS = ("soc", "soc_sd", "r0_ohm", "r0_sd_ohm", "capacity_ah", "capacity_sd_ah", "status")
RACK_TRUTH = ("soc", "capacity_ah", "r0_ohm", "first_cycle_efficiency")
COATER_COLUMNS = ("web_position_m", "gauge_web_position_m", "gauge_mass_loading_kg_m2", "web_speed_m_s")
MAP_COLUMNS = ("loading_kg_m2", "web_position_m")
LOADING_COLUMNS = ("count", "mean_kg_m2", "sd_kg_m2", "cv")
FAULTS = {1: "over-voltage", 2: "under-voltage", 4: "over-temperature", 8: "no contact"}
RMS_LIMIT = 0.02


@dataclass(frozen=True, slots=True)
class Summary:
    """Key figures of a run. None: the run holds no such figure. Fractions are 0 to 1."""

    status: str
    rows: int  # durable, all streams
    parquet_rows: int
    channels: int
    cells_completed: int
    median_capacity_ah: float | None
    median_first_cycle_efficiency: float | None
    median_r0_ohm: float | None
    filter_rms_soc: float | None  # median over channels, after the first full charge
    filter_channels_within: int  # channels whose RMS error is within RMS_LIMIT
    filter_channels: int  # channels that could be compared with a truth
    filter_coverage_95: float | None  # over all samples of all channels
    coated_m: float | None
    loading_mean_kg_m2: float | None
    loading_cv: float | None
    gaps: int
    counters: tuple[SinkCounters, ...]

    @property
    def reconciles(self) -> bool:
        """True when every sink adds up and Parquet holds every row of the ledger that its sink says it delivered."""
        # On one line with the sink's own figures: an interrupted run may have rows that still wait in the spool.
        elsewhere = sum(c.spooled + c.rejected + c.dropped for c in self.counters if c.sink == "parquet")
        return all(c.reconciles for c in self.counters) and self.rows == self.parquet_rows + elsewhere


@dataclass(frozen=True, slots=True, eq=False)
class Rack:
    """One formation rack of the run. `cells` are in order of channel, `ranked` worst first."""

    device: str
    raw: Rows
    states: Rows
    truth: Rows
    estimates: Estimates
    cells: list[Cell]
    ranked: list[Cell]


@dataclass(frozen=True, slots=True, eq=False)
class Coater:
    """One coater of the run."""

    device: str
    lines: Rows
    zones: Rows
    measured: CoatMap
    estimated: CoatMap
    true: CoatMap
    web: WebFigures
    target_kg_m2: float | None
    tolerance_fraction: float | None
    zone_setpoint_c: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A run folder, analysed."""

    data: RunData
    racks: list[Rack]
    coaters: list[Coater]
    charts: list[ControlChart]
    parquet_rows: Mapping[str, int]
    commands: Sequence[Mapping[str, Any]]
    gaps: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    counters: tuple[SinkCounters, ...]


def analyse_run(folder: Path) -> Analysis:
    """Read and analyse a run folder. Raises BadInputError where there is none; every part of it may be missing."""
    data = load(folder)
    racks = [_rack(data, device) for device in data.devices_with("channel")]
    streams = ("coater", "coater_profile", "coater_zone")
    coaters = [_coater(data, device) for device in sorted({d for s in streams for d in data.devices_with(s)})]
    return Analysis(
        data=data,
        racks=racks,
        coaters=coaters,
        charts=control_charts(data),
        parquet_rows=data.parquet_rows(),
        commands=data.records("command"),
        gaps=data.records("gap"),
        events=data.records("event"),
        counters=_counters(data.run),
    )


def summary(run_dir: Path) -> Summary:
    """Key figures of a run folder, for a table on the screen. Raises BadInputError where there is no folder."""
    return summarise(analyse_run(run_dir))


def summarise(analysis: Analysis) -> Summary:
    """Key figures of an analysed run."""
    cells = [cell for rack in analysis.racks for cell in rack.cells]
    compared = [cell.quality for cell in cells if cell.quality is not None]
    samples = sum(q.samples for q in compared)
    web = analysis.coaters[0].web if analysis.coaters else WebFigures()
    return Summary(
        status=str(analysis.data.run.get("status", "unknown")),
        rows=sum(analysis.data.ledger.values()),
        parquet_rows=sum(analysis.parquet_rows.values()),
        channels=len(cells),
        cells_completed=sum(cell.completed for cell in cells),
        median_capacity_ah=median([c.capacity_ah for c in cells]),
        median_first_cycle_efficiency=median([c.first_cycle_efficiency for c in cells]),
        median_r0_ohm=median([c.r0_ohm for c in cells]),
        filter_rms_soc=median([q.rms_soc for q in compared]),
        filter_channels_within=sum(q.rms_soc <= RMS_LIMIT for q in compared),
        filter_channels=len(compared),
        filter_coverage_95=sum(q.coverage_95 * q.samples for q in compared) / samples if samples else None,
        coated_m=web.coated_m,
        loading_mean_kg_m2=web.mean_kg_m2,
        loading_cv=web.cv,
        gaps=len(analysis.gaps),
        counters=analysis.counters,
    )


def median(values: Sequence[float | None]) -> float | None:
    """Median of what is known; None when nothing is."""
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.median(known)) if known else None


def _rack(data: RunData, device: str) -> Rack:
    raw = data.stream("channel", device, (*CHANNEL_COLUMNS, *COUNTER_COLUMNS))
    states = data.stream("cell_state", device, STATE_COLUMNS)
    truth = data.truth(device, RACK_TRUTH)
    cells = analyse(device, raw, states, truth, _recipe(data, device).get("step") or [])
    return Rack(device, raw, states, truth, read_estimates(data, device), cells, rank(cells, FAULTS))


def _coater(data: RunData, device: str) -> Coater:
    lines = data.stream("coater", device, COATER_COLUMNS)
    profile = data.stream("coater_profile", device, ("lane_mass_loading_kg_m2",))
    recipe = _recipe(data, device)
    return Coater(
        device=device,
        lines=lines,
        zones=data.stream("coater_zone", device, ("zone_temperature_c",)),
        measured=gauge_map(profile, lines),
        estimated=twin_map(data.stream("web_map", device, MAP_COLUMNS)),
        true=true_map(data.truth(device, ("mass_loading_kg_m2", "web_position_m"))),
        web=figures(lines, data.stream("web_loading", device, LOADING_COLUMNS)),
        target_kg_m2=recipe.get("target_mass_loading_kg_m2"),
        tolerance_fraction=recipe.get("tolerance_fraction"),
        zone_setpoint_c=tuple(recipe.get("zone_temperature_c") or ()),
    )


def _recipe(data: RunData, device: str) -> dict[str, Any]:
    found = (data.run.get("recipes") or {}).get(device)
    return found if isinstance(found, dict) else {}


def _counters(run: Mapping[str, Any]) -> tuple[SinkCounters, ...]:
    names = ("accepted", "delivered", "spooled", "rejected", "dropped")
    rows = [row for row in run.get("counters") or [] if isinstance(row, dict)]
    return tuple(SinkCounters(str(r.get("sink", "?")), *(int(r.get(n, 0)) for n in names)) for r in rows)
