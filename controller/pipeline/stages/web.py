"""Twins of a coater's web, sample by sample of its gauge."""

from __future__ import annotations

import numpy as np

from controller.pipeline.stages.common import Due, result
from controller.types import Frame
from twin.loading import WebLoading


class WebStage:
    """Loading statistics on the stream of a coater's gauge."""

    def __init__(self, twin: WebLoading, publish_period_s: float) -> None:
        self._twin = twin
        self._due = Due(publish_period_s)

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
        return [result(frame, "web_loading", times, points, states.columns(), quality, point_name="lane")]

    def catch_up(self) -> list[Frame]:
        """Nothing waits here."""
        return []

    def checkpoint(self) -> bytes:
        """The statistics so far."""
        return self._twin.checkpoint()

    def restore(self, saved: bytes) -> None:
        """Continue from them. Raises ValueError."""
        self._twin.restore(saved)
