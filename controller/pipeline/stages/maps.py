"""The coater's loading map while the web runs: the gauge's samples in, a map each few metres out.

A map is what lies under the gauge: a row for the whole web (point 0) and one for every lane. Samples that come before
the map's kernels are kept and worked off later, so that the maps are the same as if they had been there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.late import Late
from controller.pipeline.stages.backlog import Backlog
from controller.pipeline.stages.common import result
from controller.types import Float64Array, Frame, Quality
from kernels import status
from twin.checkpoint import pack, unpack
from twin.loading_map_live import LiveLoadingMap, LoadingNow

TAGS = ("gauge_web_position_m", "gauge_cross_position_m", "gauge_mass_loading_kg_m2")
KERNELS = ("loading_map", "loading_map_tune")
HEAD: Mapping[str, str | int | float] = {"format": "celltwin-map-stage", "version": 1}

NEW_WEB_M = 5.0
"""The gauge's web position steps back by more: another web, or the counter was set back. Less is a web that creeps."""

WAITING_MOST = 20_000
"""Samples kept for kernels that still compile: two days at 10 s, a megabyte."""


class MapStage:
    """Loading map on the stream of a coater's gauge. A new lot, or a web position that falls back, begins a new web."""

    def __init__(self, twin: LiveLoadingMap, step_m: float, late: Late) -> None:
        self._twin = twin
        self._step_m = step_m
        self._late = late
        late.need(*KERNELS)
        self._waiting = Backlog(TAGS, WAITING_MOST, "loading map")
        self._lot = ""
        # Newest stamp taken; web position of the newest sample; the position at which the next map is due.
        self._newest_ns = 0
        self._at_m, self._due_m = np.nan, -np.inf

    def process(self, frame: Frame) -> list[Frame]:
        """Maps that became due with this Frame's samples. What waits is left to `catch_up`, durable in one piece."""
        behind = len(self._waiting) > 0
        self._waiting.add(frame)
        return self.catch_up() if self._late.ready and not behind else []

    def catch_up(self) -> list[Frame]:
        """Maps of everything that was kept."""
        return [found for frame in self._waiting.take() for found in self._work(frame)]

    def _work(self, frame: Frame) -> Iterator[Frame]:
        """One web at a time, and cut where a map is due."""
        order = np.argsort(frame.time_ns, kind="stable")
        rows = order[frame.time_ns[order] > self._newest_ns]
        if rows.size == 0:
            return
        self._newest_ns = int(frame.time_ns[rows[-1]])
        lot = frame.labels.get("lot", "")
        if lot != self._lot:
            self._lot = lot
            self._new_web()
        along = frame.columns[TAGS[0]][rows]
        start = 0
        for i in np.flatnonzero(np.isfinite(along)):
            place = float(along[i])
            if place < self._at_m - NEW_WEB_M:
                self._update(frame, rows[start:i])
                start = int(i)
                self._new_web()
            self._at_m = place
            if place >= self._due_m:
                now = self._update(frame, rows[start : i + 1])
                start = int(i) + 1
                self._due_m = place + self._step_m
                if now.status != status.WAITING:
                    yield self._map(frame, int(frame.time_ns[rows[i]]), now)
        self._update(frame, rows[start:])

    def _new_web(self) -> None:
        self._twin.reset()
        self._at_m, self._due_m = np.nan, -np.inf

    def _update(self, frame: Frame, rows: NDArray[np.int64]) -> LoadingNow:
        along, cross, mass = (frame.columns[name][rows] for name in TAGS)
        return self._twin.update(along, cross, mass, frame.quality[rows])

    def _map(self, frame: Frame, time_ns: int, now: LoadingNow) -> Frame:
        n = 1 + self._twin.lanes
        columns: dict[str, Float64Array] = {
            "loading_kg_m2": np.append(now.md_kg_m2, now.loading_kg_m2),
            "loading_sd_kg_m2": np.append(now.md_sd_kg_m2, now.loading_sd_kg_m2),
            "noise_sd_kg_m2": np.full(n, now.noise_sd_kg_m2),
            "web_position_m": np.full(n, now.web_position_m),
            "status": np.full(n, float(now.status)),
        }
        times, points = np.full(n, time_ns, dtype=np.int64), np.arange(n, dtype=np.int32)
        quality = np.full(n, Quality.GOOD, dtype=np.uint8)
        return result(frame, "web_map", times, points, columns, quality, point_name="lane")

    def checkpoint(self) -> bytes:
        """The map, and what waits for its kernels."""
        return pack(HEAD, self._arrays())

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        found = unpack(saved, HEAD, self._arrays(), ragged=(*self._waiting.ragged, "twin", "lot"))
        self._twin.restore(found["twin"].tobytes())
        self._waiting.restore(found)
        self._lot = found["lot"].tobytes().decode()
        self._newest_ns = int(found["newest_ns"][0])
        self._at_m, self._due_m = (float(v) for v in found["place"])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return self._waiting.arrays() | {
            "twin": np.frombuffer(self._twin.checkpoint(), dtype=np.uint8),
            "lot": np.frombuffer(self._lot.encode(), dtype=np.uint8),
            "newest_ns": np.array([self._newest_ns], dtype=np.int64),
            "place": np.array([self._at_m, self._due_m]),
        }
