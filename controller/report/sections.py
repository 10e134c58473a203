"""An analysed run as the words and figures of the report, section by section. No file is read or written here.

A section that has nothing to show gets `why` instead of a figure; the template prints "No data" with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.report import figures, formation, slow
from controller.report.cells import Cell
from controller.report.chart_figures import control_chart
from controller.report.charts import ControlChart
from controller.report.figures import Figure
from controller.report.summary import Analysis, Coater, Rack, Summary, median
from controller.report.words import moment, number, span

Context = dict[str, Any]
WORST_SHOWN = 10
RECORDS_SHOWN = 60


class Sections:
    """Builds the template's context. `drawn` collects the figures by the id of the element that shows them."""

    def __init__(self, analysis: Analysis, key: Summary) -> None:
        self._analysis = analysis
        self._key = key
        self.drawn: dict[str, Figure] = {}

    def context(self) -> Context:
        """Everything the template needs but its files."""
        run = self._analysis.data.run
        return {
            "title": run.get("title") or run.get("line") or self._analysis.data.folder.name,
            "status": self._key.status,
            "what": self._what_ran(run),
            "tiles": self._tiles(),
            "coaters": [self._coater(i, coater) for i, coater in enumerate(self._analysis.coaters)],
            "racks": [self._rack(i, rack) for i, rack in enumerate(self._analysis.racks)],
            "charts": [self._chart(i, chart) for i, chart in enumerate(self._analysis.charts)],
            "counters": self._analysis.counters,
            "streams": self._streams(),
            "reconciles": self._key.reconciles,
            "commands": [self._record(c) for c in self._analysis.commands[:RECORDS_SHOWN]],
            "commands_total": len(self._analysis.commands),
            "gaps": [self._record(g) for g in self._analysis.gaps[:RECORDS_SHOWN]],
            "gaps_total": len(self._analysis.gaps),
            "events": [self._record(e) for e in self._analysis.events if e.get("severity") != "info"][:RECORDS_SHOWN],
            "notes": self._analysis.data.notes,
        }

    def _what_ran(self, run: Mapping[str, Any]) -> list[tuple[str, str]]:
        recipes = run.get("recipes") or {}
        versions = run.get("versions") or {}
        devices = [d if isinstance(d, dict) else {"id": d} for d in run.get("devices") or []]
        rows = [
            ("Line", f"{run.get('title') or ''} ({run.get('line', 'unknown')})"),
            *([("Scenario", str(run["scenario"]))] if run.get("scenario") else []),
            ("Status", self._key.status),
            ("Plant time", f"{_short(run.get('plant_start'))} to {_short(run.get('plant_end'))} UTC"),
            ("Plant span", span(run.get("plant_start"), run.get("plant_end"))),
            ("Wall time", f"{_short(run.get('started_wall'))} to {_short(run.get('ended_wall'))} UTC"),
            ("Wall span", span(run.get("started_wall"), run.get("ended_wall"))),
            ("Speed", f"{run['speed']:g} × real time" if isinstance(run.get("speed"), int | float) else "–"),
            ("Seed", str(run.get("seed", "–"))),
        ]
        rows += [(f"Device {d.get('id', '?')}", _joined(d, ("equipment", "endpoint", "lot"))) for d in devices]
        rows += [(f"Recipe on {name}", _joined(r, ("title", "name"))) for name, r in recipes.items()]
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "–"))
        return rows

    def _tiles(self) -> list[tuple[str, str, str]]:
        key = self._key
        within = f"{key.filter_channels_within} of {key.filter_channels} within 2 % SOC RMS"
        agree = "reconciled" if key.reconciles and key.counters else "NOT RECONCILED" if key.rows else ""
        return [
            ("Rows kept", f"{key.rows:,}", agree),
            ("Cells finished", f"{key.cells_completed} of {key.channels}", f"gaps recorded: {key.gaps}"),
            ("Capacity, median", number(key.median_capacity_ah, 3, 1, " Ah"), ""),
            ("First-cycle efficiency, median", number(key.median_first_cycle_efficiency, 1, 100, " %"), ""),
            ("R0, median", number(key.median_r0_ohm, 1, 1000, " mΩ"), "at 25 °C, by the filter"),
            ("Filter error, median RMS", number(key.filter_rms_soc, 2, 100, " % SOC"), within),
            ("Truth in 95 % band", number(key.filter_coverage_95, 1, 100, " %"), "after the first full charge"),
            ("Coated", number(key.coated_m, 0, 1, " m"), ""),
            ("Loading, mean", number(key.loading_mean_kg_m2, 1, 1000, " g/m²"), ""),
            ("Loading, CV", number(key.loading_cv, 2, 100, " %"), ""),
        ]

    def _coater(self, index: int, coater: Coater) -> Context:
        name = f"coater{index}"
        ends = [
            m
            for c in (coater.measured, coater.estimated, coater.true)
            if c.position_m.size
            for m in c.position_m[[0, -1]]
        ]
        reach = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)

        def draw_map(measured: bool) -> Figure:
            coat = coater.measured if measured else coater.true
            return figures.coat_map(coat, coater.target_kg_m2, coater.tolerance_fraction, reach)

        have_lanes = coater.measured.lane.size or coater.true.lane.size
        return {
            "device": coater.device,
            "target": number(coater.target_kg_m2, 1, 1000, " g/m²"),
            "tolerance": number(coater.tolerance_fraction, 1, 100, " %"),
            "map": self._figure(f"{name}-map", coater.measured.why, lambda: draw_map(True)),
            "twin_map": self._figure(
                f"{name}-twin",
                coater.estimated.why,
                lambda: figures.coat_map(coater.estimated, coater.target_kg_m2, coater.tolerance_fraction, reach),
            ),
            "true_map": self._figure(f"{name}-truth", coater.true.why, lambda: draw_map(False)),
            "lanes": self._figure(
                f"{name}-lanes", "" if have_lanes else coater.measured.why, lambda: figures.lane_means(coater)
            ),
            "zones": self._figure(f"{name}-zones", coater.zones.why, lambda: figures.zone_temperatures(coater)),
        }

    def _rack(self, index: int, rack: Rack) -> Context:
        name = f"rack{index}"
        ranked = rack.ranked
        chosen: dict[int, tuple[str, Cell]] = {}  # with few channels one may be two of them; it is shown once
        if ranked:
            picks = (("Best", ranked[-1]), ("Median", ranked[len(ranked) // 2]), ("Worst", ranked[0]))
            chosen = {cell.channel: (label, cell) for label, cell in picks}
        refused: dict[str, list[int]] = {}
        for cell in rack.cells:
            if cell.efficiency_refused:
                refused.setdefault(cell.efficiency_refused, []).append(cell.channel)
        return {
            "device": rack.device,
            "channels": [
                {
                    "label": f"{label}: channel {cell.channel}",
                    "reason": cell.why,
                    "figure": self._figure(f"{name}-channel{cell.channel}", "", _drawer(rack, cell)),
                }
                for label, cell in chosen.values()
            ],
            "quality": self._quality(rack),
            "distributions": self._distributions(name, rack),
            "resistances": formation.resistances(rack.estimates.pulses),
            "circuits": formation.circuits(rack.estimates.circuits),
            "rests": formation.rests(rack.estimates.rests),
            "grades": formation.grades(rack.estimates.grades),
            "windows": slow.windows(rack.estimates.windows),
            "peaks": slow.peaks(rack.estimates.peaks),
            "refused": [(reason, _numbers(channels), len(channels)) for reason, channels in refused.items()],
            "worst": [self._cell(cell) for cell in ranked[:WORST_SHOWN]],
            "why": rack.raw.why,
        }

    def _chart(self, index: int, chart: ControlChart) -> Context:
        cpk = "–" if chart.cpk is None else "{1:.2f} ({0:.2f} to {2:.2f})".format(*chart.cpk)
        return {
            "device": chart.device,
            "name": chart.name.replace("_", " "),
            "source": chart.source,
            "observations": f"{chart.observations:,}",
            "signals": chart.signals,
            "cpk": cpk,
            "figure": self._figure(f"chart{index}", "", lambda: control_chart(chart)),
        }

    def _quality(self, rack: Rack) -> Context:
        compared = [(c.channel, c.quality) for c in rack.cells if c.quality is not None]
        if not compared:
            full = sum(c.full_at_ns is not None for c in rack.cells)
            why = rack.states.why or rack.truth.why or ""
            return {"why": why or f"{full} of {len(rack.cells)} channels had finished their first full charge"}
        ordered = sorted(compared, key=lambda item: item[1].rms_soc)
        picks = {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
        return {
            "why": "",
            "within": self._key.filter_channels_within,
            "channels": len(rack.cells),
            "compared": len(compared),
            "coverage": number(self._key.filter_coverage_95, 1, 100, " %"),
            "rows": [
                (
                    f"{label}: channel {channel}",
                    number(q.rms_soc, 2, 100, " %"),
                    number(q.bias_soc, 2, 100, " %"),
                    number(q.coverage_95, 1, 100, " %"),
                    f"{q.samples:,}",
                )
                for label, (channel, q) in picks.items()
            ],
        }

    def _distributions(self, name: str, rack: Rack) -> list[Context]:
        kinds: tuple[tuple[str, str, float, Callable[[Cell], float | None], Callable[[Cell], float | None]], ...] = (
            ("Capacity", "Ah", 1.0, lambda c: c.capacity_ah, lambda c: c.true_capacity_ah),
            (
                "First-cycle efficiency",
                "%",
                100.0,
                lambda c: c.first_cycle_efficiency,
                lambda c: c.true_efficiency if c.first_cycle_efficiency is not None else None,
            ),
            ("Resistance R0", "mΩ", 1000.0, lambda c: c.r0_ohm, lambda c: c.true_r0_ohm),
        )
        colors = (figures.BLUE, figures.GREEN, figures.ORANGE)
        found = []
        for (title, unit, scale, measured, true), color in zip(kinds, colors, strict=True):
            values = [v * scale for c in rack.cells if (v := measured(c)) is not None]
            truth = [v * scale for c in rack.cells if (v := true(c)) is not None]

            def draw(v: list[float] = values, t: list[float] = truth, u: str = unit, c: str = color) -> Figure:
                return figures.histogram(v, u, c, t)

            figure = self._figure(f"{name}-{title.split()[0].lower()}", "" if values else "no channel has one", draw)
            head = f"{title}, {len(values)} of {len(rack.cells)} channels"
            found.append(
                {
                    "title": head,
                    "median": number(median(values), 3 if unit == "Ah" else 1, 1, f" {unit}"),
                    "figure": figure,
                }
            )
        return found

    def _cell(self, cell: Cell) -> Context:
        return {
            "channel": cell.channel,
            "score": number(cell.score, 1),
            "reason": cell.why,
            "capacity": number(cell.capacity_ah, 3),
            "efficiency": number(cell.first_cycle_efficiency, 1, 100),
            "r0": number(cell.r0_ohm, 1, 1000),
            "rms": number(cell.quality.rms_soc if cell.quality else None, 2, 100),
        }

    def _streams(self) -> list[tuple[str, str, str, bool]]:
        ledger, parquet = self._analysis.data.ledger, self._analysis.parquet_rows
        names = sorted({*ledger, *parquet})
        return [(n, f"{ledger.get(n, 0):,}", f"{parquet.get(n, 0):,}", ledger.get(n) == parquet.get(n)) for n in names]

    def _figure(self, name: str, why: str, draw: Callable[[], Figure]) -> Context:
        if why:
            return {"why": why}
        drawn = draw()
        if not drawn["data"]:
            return {"why": "no rows"}
        self.drawn[name] = drawn
        return {"id": name, "height": drawn["layout"]["height"], "why": ""}

    def _record(self, record: Mapping[str, Any]) -> Context:
        return {**record, "time": moment(record["time_ns"]), "duration": number(record.get("duration_s"), 0, 1, " s")}


def _drawer(rack: Rack, cell: Cell) -> Callable[[], Figure]:
    return lambda: figures.channel(rack, cell)


def _short(value: object) -> str:
    return str(value)[:19].replace("T", " ") if value else "–"


def _joined(row: object, names: Sequence[str]) -> str:
    if not isinstance(row, dict):
        return str(row)
    return ", ".join(str(row[name]) for name in names if row.get(name)) or "–"


def _numbers(channels: Sequence[int]) -> str:
    shown = ", ".join(map(str, channels[:16]))
    return shown + (f" and {len(channels) - 16} more" if len(channels) > 16 else "")
