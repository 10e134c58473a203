"""Control charts on any stream of numbers: observations in, `spc` rows out, and an event where control is lost.

A chart's *source* is a point of its stream (a lane, a channel), or all of them one after the other. Each has a centre,
a sigma and a memory of its own. An event says when a source gets out of control and when it has been back for some
observations (twin/control_charts.py), not every observation between.

`flags` of a row, to be added up: 1 beyond 3 sigma, 2 two of three beyond 2 sigma, 4 four of five beyond 1 sigma, 8
eight on one side, 16 moving range, 32 and 64 EWMA above and below, 128 and 256 CUSUM above and below, 512 T2 above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import Chart
from controller.pipeline.late import Late
from controller.pipeline.stages.backlog import Backlog
from controller.pipeline.stages.common import result, samples
from controller.pipeline.stages.tray import Tray
from controller.types import Frame, FrameKind, Quality
from kernels import spc as layout
from twin import control_charts as spc
from twin.checkpoint import pack, unpack
from twin.control_charts import ControlCharts, Judged
from twin.spc import WORDS

HEAD: Mapping[str, str | int | float] = {"format": "celltwin-chart-stage", "version": 1}
WAITING_MOST = 200_000
"""Rows kept for kernels that still compile: a minute of 1,000 channels each 0.3 s, 8 MB."""

AT_ONCE = 500
"""Rows of one call of `catch_up`, so that the worker is free again soon."""

EVENTS_APART_NS = 20_000
"""Nanoseconds between the events of two charts that belong to one time: more than a stream has points."""

SIGNALS = {
    **{bit: WORDS[bit] for bit in (*spc.RULES, layout.MOVING_RANGE)},
    spc.EWMA_ABOVE: "EWMA above its limit",
    spc.EWMA_BELOW: "EWMA below its limit",
    spc.CUSUM_ABOVE: "CUSUM: above for some time",
    spc.CUSUM_BELOW: "CUSUM: below for some time",
    spc.T2_ABOVE: "T2 above its limit",
}
"""What the flags mean."""


class ChartStage:
    """One [[twin.chart]] on its stream; `points` are the stream's points, `unit` is its column's, `number` counts
    the line's charts.
    """

    def __init__(self, chart: Chart, points: range, unit: str, late: Late, number: int = 1) -> None:
        self._chart, self._unit, self._late, self._number = chart, unit, late, number
        self._columns = chart.columns or (chart.column or "",)
        late.need(*(("spc", "spc_t2") if chart.columns else ("spc",)))
        self._points = np.array(sorted(chart.points or points), dtype=np.int64)
        self._twin = ControlCharts(chart, 1 if chart.across_points else self._points.size)
        read = tuple(dict.fromkeys((*self._columns, *chart.where)))
        self._waiting = Backlog(read, WAITING_MOST, f"chart {chart.name}")
        self._changes = 0
        self._tray = Tray(read, self._points.size, chart.gather_s, f"chart {chart.name}")

    def process(self, frame: Frame) -> list[Frame]:
        """Rows and events of this Frame's observations. What waits is left to `catch_up`, durable in one piece."""
        behind = len(self._waiting) > 0
        self._waiting.add(frame)
        return self._work_off(None) if self._late.ready and not behind else []

    def urgent(self) -> bool:
        """A tray is judged once, not again by a restart."""
        return self._chart.gather_s > 0.0

    def tick(self, time_ns: int) -> list[Frame]:
        """Rows and events of a tray whose time is over, though some of its units have not come."""
        if not (self._tray.over(time_ns) and self._late.ready):
            return []
        self._changes += 1
        return [found for unit in self._tray.take() for found in self._observe_unit(*unit)]

    def catch_up(self) -> list[Frame]:
        """Rows and events of the oldest rows that were kept."""
        return self._work_off(AT_ONCE) if self.waits() else []

    def waits(self) -> bool:
        """Whether rows wait that can be worked off."""
        return self._late.ready and len(self._waiting) > 0

    def _work_off(self, most: int | None) -> list[Frame]:
        self._changes += 1
        return [found for frame in self._waiting.take(most) for found in self._work(frame)]

    def _work(self, frame: Frame) -> Iterator[Frame]:
        wanted = (frame.quality < Quality.BAD) & np.isin(frame.point, self._points)
        for name, value in self._chart.where.items():
            wanted &= frame.columns[name] == value
        for rows in samples(frame) if wanted.any() else ():
            used = rows[wanted[rows]]
            if self._chart.gather_s > 0.0:
                units = [unit for row in used.tolist() for unit in self._tray.add(frame, row)]
                yield from (found for unit in units for found in self._observe_unit(*unit))
            elif self._chart.across_points:
                for row in used[np.argsort(frame.point[used], kind="stable")]:
                    yield from self._observe_unit(frame, int(row))
            elif used.size:
                yield from self._observe(frame, used, np.searchsorted(self._points, frame.point[used]))

    def _observe_unit(self, frame: Frame, row: int) -> Iterator[Frame]:
        """On the one chart of all points."""
        return self._observe(frame, np.array([row]), np.zeros(1, dtype=np.int64))

    def _observe(self, frame: Frame, rows: NDArray[np.int64], sources: NDArray[np.int64]) -> Iterator[Frame]:
        """Rows of the Frame, one of each of those sources."""
        values = np.column_stack([frame.columns[name][rows] for name in self._columns])
        given = np.full((self._twin.sources, len(self._columns)), np.nan)
        given[sources] = values
        judged = self._twin.observe(given)
        told = judged.judged[sources]
        if told.any():
            at, which = rows[told], sources[told]
            columns = {name: column[which] for name, column in judged.figures.items()}
            columns["flags"] = judged.flags[which].astype(np.float64)
            quality = np.full(at.size, Quality.GOOD, dtype=np.uint8)
            found = result(frame, "spc", frame.time_ns[at], frame.point[at], columns, quality, point_name="point")
            yield self._labelled(found)
        both = zip(rows.tolist(), sources.tolist(), strict=True)
        lines = [(row, *line) for row, i in both if (line := self._line(frame, row, i, judged)) is not None]
        if lines:
            yield self._event(frame, lines)

    def _line(self, frame: Frame, row: int, i: int, judged: Judged) -> tuple[str, str] | None:
        """Severity and words where something began or ended with this row."""
        title = self._chart.title or self._chart.name.replace("_", " ")
        source = self._source(frame, int(frame.point[row]))
        if judged.began[i]:
            words = ", ".join(text for bit, text in SIGNALS.items() if judged.flags[i] & bit)
            return "warning", f"spc: {title}{source}: {words} ({self._figure(i, judged)})"
        if judged.ended[i]:
            return "info", f"spc: {title}{source}: in control again after {judged.since[i]} observations"
        return None

    def _source(self, frame: Frame, point: int) -> str:
        if self._chart.across_points:
            return f", {frame.point_name} {point}"
        if frame.point_name == "" or (self._points.size == 1 and self._chart.title):
            return ""
        return f" of {frame.point_name} {point}" if point else " of the whole web"

    def _figure(self, i: int, judged: Judged) -> str:
        figures = {name: float(column[i]) for name, column in judged.figures.items()}
        if self._chart.columns:
            return f"T2 {figures['t2']:.3g}, limit {figures['t2_limit']:.3g}"
        value, centre, sigma = (figures[name] for name in ("value", "centre", "sigma"))
        # As many digits as tell a tenth of a sigma.
        digits = max(0, 1 - int(np.floor(np.log10(sigma)))) if sigma > 0.0 else 6
        return f"{value:.{digits}f} {self._unit}".rstrip() + f", centre {centre:.{digits}f}"

    def _event(self, frame: Frame, lines: list[tuple[int, str, str]]) -> Frame:
        """Without point and label, which no other event has: readers of the files want the same columns throughout.

        InfluxDB keeps one event of a device and time, so that each stands some nanoseconds after its observation.
        """
        at = np.array([row for row, _, _ in lines])
        text = {
            "severity": tuple(severity for _, severity, _ in lines),
            "source": ("spc",) * at.size,
            "message": tuple(message for _, _, message in lines),
        }
        after = self._number * EVENTS_APART_NS + np.arange(at.size)
        return Frame(
            frame.device, "event", FrameKind.RECORD, frame.time_ns[at] + after, np.zeros(at.size, dtype=np.int32), "",
            {}, np.full(at.size, Quality.GOOD, dtype=np.uint8), np.zeros(at.size, dtype=np.uint32), frame.time_source,
            text,
        )  # fmt: skip

    def _labelled(self, frame: Frame) -> Frame:
        """With the chart's name, which tells two charts' points of one time apart."""
        return replace(frame, labels={**frame.labels, "chart": self._chart.name})

    def checkpoint(self) -> bytes:
        """The charts, and what waits for their kernels."""
        return pack(HEAD, self._arrays())

    def restore(self, saved: bytes) -> None:
        """Continue from it, unless what was restored already is newer (TickStage). Raises ValueError."""
        found = unpack(saved, HEAD, self._arrays(), ragged=(*self._waiting.ragged, *self._tray.ragged, "twin"))
        if int(found["changes"][0]) < self._changes:
            return
        self._changes = int(found["changes"][0])
        self._twin.restore(found["twin"].tobytes())
        self._waiting.restore(found)
        self._tray.restore(found)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        twin = np.frombuffer(self._twin.checkpoint(), dtype=np.uint8)
        changes = np.array([self._changes], dtype=np.int64)
        return self._waiting.arrays() | self._tray.arrays() | {"twin": twin, "changes": changes}


class TickStage:
    """Lets plant time pass for a chart whose own stream may be silent for hours. All state is the chart's."""

    def __init__(self, chart: ChartStage) -> None:
        self._chart = chart
        self._judged = False

    def process(self, frame: Frame) -> list[Frame]:
        """What the chart has to say by the time of this Frame."""
        found = self._chart.tick(int(frame.time_ns.max())) if frame.rows else []
        self._judged = bool(found)
        return found

    def urgent(self) -> bool:
        """A tray is judged once, not again by a restart."""
        return self._judged

    def catch_up(self) -> list[Frame]:
        """Nothing waits here."""
        return []

    def checkpoint(self) -> bytes:
        """The chart's; of the two that are saved, the newer one counts."""
        return self._chart.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        self._chart.restore(saved)
