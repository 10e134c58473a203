"""Twins at work in the pipeline: a Frame's columns in, the twin's arrays out as a Frame. No arithmetic here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from configs.loader import LoadedLine
from controller.pipeline.pipeline import Stage, StageKey
from controller.types import Float64Array, Frame, FrameKind, Int64Array, Quality
from twin.cycles import CycleBook
from twin.ekf import CellFilter
from twin.loading import WebLoading

COULOMB_PER_AH = 3600.0
NS_PER_S = 1_000_000_000

CYCLE_TAGS = {"step", "cycle", "voltage_v", "current_a", "charge_ah", "discharge_ah"}
"""What a rack must offer for its cycles to be followed."""


def build_stages(loaded: LoadedLine) -> dict[StageKey, Stage]:
    """The twins that the line file asks for, by what feeds them."""
    stages: dict[StageKey, Stage] = {}
    for cells in loaded.file.twin.cells:
        found = loaded.equipment[cells.device].find("voltage_v")
        assert found is not None, "checked with the line file"
        group = found[0]
        twin = CellFilter(loaded.cells[cells.device], group.points)
        stages[StageKey(cells.device, group.name, "ekf")] = CellStage(twin, cells.publish_period_s)
        if {tag.name for tag in group.tag} >= CYCLE_TAGS:
            book = CycleBook(loaded.cells[cells.device], group.points)
            stages[StageKey(cells.device, group.name, "cycles")] = CycleStage(book)
    for web in loaded.file.twin.web:
        equipment = loaded.equipment[web.device]
        gauge = equipment.find("gauge_mass_loading_kg_m2")
        profile = equipment.find("lane_mass_loading_kg_m2")
        assert gauge is not None, "checked with the line file"
        lanes = profile[0].points if profile else 1
        stages[StageKey(web.device, gauge[0].name, "loading")] = WebStage(
            WebLoading(lanes, web.width_m), web.publish_period_s
        )
    return stages


class CellStage:
    """The cell filter on the stream of a rack's channels."""

    def __init__(self, twin: CellFilter, publish_period_s: float) -> None:
        self._twin = twin
        self._due = _Due(publish_period_s)

    def process(self, frame: Frame) -> list[Frame]:
        """One update for each sample of each channel; the result has a row for every row of the Frame."""
        results = [self._update(frame, rows) for rows in _samples(frame)]
        if not results or not self._due.is_due(frame.time_ns):
            return []
        columns = {name: np.concatenate([r[name] for r in results]) for name in results[0]}
        rows = np.concatenate(list(_samples(frame)))
        return [_result(frame, "cell_state", frame.time_ns[rows], frame.point[rows], columns, frame.quality[rows])]

    def _update(self, frame: Frame, rows: NDArray[np.int64]) -> dict[str, Float64Array]:
        """Spread the rows over all channels of the filter; a channel without a row has no good sample."""
        n = self._twin.channels
        at = frame.point[rows] - 1
        times = np.full(n, int(frame.time_ns[rows].max()), dtype=np.int64)
        times[at] = frame.time_ns[rows]
        quality = np.full(n, Quality.BAD, dtype=np.uint8)
        quality[at] = frame.quality[rows]

        def column(name: str) -> Float64Array:
            values = np.full(n, np.nan)
            if name in frame.columns:
                values[at] = frame.columns[name][rows]
            return values

        net_charge_c = (column("charge_ah") - column("discharge_ah")) * COULOMB_PER_AH
        states = self._twin.update(
            times,
            column("voltage_v"),
            column("current_a"),
            column("temperature_c"),
            quality,
            net_charge_c=net_charge_c,
        )
        return {name: values[at] for name, values in states.columns().items()}

    def checkpoint(self) -> bytes:
        """The filter's whole state."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        self._twin.restore(saved)


class CycleStage:
    """Capacity and first-cycle efficiency, on the discharge's end that makes them known."""

    def __init__(self, twin: CycleBook) -> None:
        self._twin = twin

    def process(self, frame: Frame) -> list[Frame]:
        """A row for every discharge that has just ended; bad rows of the Frame are left out."""
        found = []
        for rows in _samples(frame):
            good = rows[frame.quality[rows] < Quality.BAD]
            columns = (frame.columns[name][good] for name in ("step", "cycle", "voltage_v", "current_a"))
            counters = (frame.columns[name][good] for name in ("charge_ah", "discharge_ah"))
            results = self._twin.update(frame.point[good].astype(np.int64), *columns, *counters)
            if results.channel.size:
                point = results.channel.astype(np.int32)
                times = np.full(point.size, int(frame.time_ns[good].max()), dtype=np.int64)
                quality = np.zeros(point.size, dtype=np.uint8)
                found.append(_result(frame, "cell_cycle", times, point, results.columns(), quality))
        return found

    def checkpoint(self) -> bytes:
        """The book so far."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        self._twin.restore(saved)


class WebStage:
    """Loading statistics on the stream of a coater's gauge."""

    def __init__(self, twin: WebLoading, publish_period_s: float) -> None:
        self._twin = twin
        self._due = _Due(publish_period_s)

    def process(self, frame: Frame) -> list[Frame]:
        """Statistics of each lane and of the whole web (point 0) after this Frame's samples."""
        columns = frame.columns
        states = self._twin.update(
            frame.time_ns,
            columns["gauge_mass_loading_kg_m2"],
            columns["gauge_cross_position_m"],
            columns["gauge_web_position_m"],
            frame.quality,
        )
        if not states.used or not self._due.is_due(frame.time_ns):
            return []
        points = np.arange(states.points, dtype=np.int32)
        times = np.full(points.size, int(frame.time_ns.max()), dtype=np.int64)
        quality = np.zeros(points.size, dtype=np.uint8)
        return [_result(frame, "web_loading", times, points, states.columns(), quality, point_name="lane")]

    def checkpoint(self) -> bytes:
        """The statistics so far."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from them. Raises ValueError."""
        self._twin.restore(saved)


class _Due:
    """Thins results to one per period of plant time; a period of 0 publishes always."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = int(period_s * NS_PER_S)
        self._next_ns: int | None = None

    def is_due(self, time_ns: Int64Array) -> bool:
        newest = int(time_ns.max())
        if self._next_ns is not None and newest < self._next_ns:
            return False
        self._next_ns = newest + self._period_ns
        return True


def _samples(frame: Frame) -> Iterator[NDArray[np.int64]]:
    """Row indices of the Frame such that each part has every point at most once, oldest first."""
    if np.unique(frame.point).size == frame.rows:
        yield np.arange(frame.rows)
        return
    for time_ns in np.unique(frame.time_ns):
        yield np.flatnonzero(frame.time_ns == time_ns)


def _result(
    frame: Frame,
    stream: str,
    time_ns: Int64Array,
    point: NDArray[np.int32],
    columns: Mapping[str, Float64Array],
    quality: NDArray[np.uint8],
    point_name: str | None = None,
) -> Frame:
    return Frame(
        device=frame.device,
        stream=stream,
        kind=FrameKind.RESULT,
        time_ns=time_ns,
        point=point,
        point_name=frame.point_name if point_name is None else point_name,
        columns=columns,
        quality=quality,
        code=np.zeros(time_ns.size, dtype=np.uint32),
        time_source=frame.time_source,
        labels=frame.labels,
    )
