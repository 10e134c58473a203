"""The coater's loading map while the web runs: the gauge's samples in, a map each few metres out.

A map is of a place one scan behind the gauge, known from both sides: a row for the whole web (point 0) and one for
every lane. Its stamp is that of the sample which completed it; `web_position_m` says of which place it is, `lag_m` how
far the gauge was ahead by then. What a web's end leaves incomplete is not given: its last scan.
Samples that come before the map's kernels are kept and worked off later, so that the maps are the same as if they had
been there at once.
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
from twin.loading_map_live import Behind, LiveLoadingMap

TAGS = ("gauge_web_position_m", "gauge_cross_position_m", "gauge_mass_loading_kg_m2")
KERNELS = ("loading_map", "loading_map_lag", "loading_map_tune")
HEAD: Mapping[str, str | int | float] = {"format": "celltwin-map-stage", "version": 2}

NEW_WEB_M = 5.0
"""The gauge's web position steps back by more: another web, or the counter was set back. Less is a web that creeps."""

WAITING_MOST = 20_000
"""Samples kept for kernels that still compile: two days at 10 s, a megabyte."""


AT_ONCE = 500
"""Samples of one call of `catch_up`, so that the worker is free again soon."""


class MapStage:
    """Loading map on the stream of a coater's gauge. A new lot, or a web position that falls back, begins a new web."""

    def __init__(self, twin: LiveLoadingMap, late: Late) -> None:
        self._twin = twin
        self._late = late
        late.need(*KERNELS)
        self._waiting = Backlog(TAGS, WAITING_MOST, "loading map")
        self._lot = ""
        # Newest stamp taken, and web position of the newest sample.
        self._newest_ns, self._at_m = 0, np.nan

    def process(self, frame: Frame) -> list[Frame]:
        """Maps that this Frame's samples completed. What waits is left to `catch_up`, durable in one piece."""
        behind = len(self._waiting) > 0
        self._waiting.add(frame)
        return self._maps(None) if self._late.ready and not behind else []

    def catch_up(self) -> list[Frame]:
        """Maps of the oldest samples that were kept."""
        return self._maps(AT_ONCE) if self.waits() else []

    def waits(self) -> bool:
        """Whether samples wait that can be worked off."""
        return self._late.ready and len(self._waiting) > 0

    def _maps(self, most: int | None) -> list[Frame]:
        return [found for frame in self._waiting.take(most) for found in self._work(frame)]

    def _work(self, frame: Frame) -> Iterator[Frame]:
        """One web at a time."""
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
                yield from self._update(frame, rows[start:i])
                start = int(i)
                self._new_web()
            self._at_m = place
        yield from self._update(frame, rows[start:])

    def _new_web(self) -> None:
        self._twin.reset()
        self._at_m = np.nan

    def _update(self, frame: Frame, rows: NDArray[np.int64]) -> Iterator[Frame]:
        along, cross, mass = (frame.columns[name][rows] for name in TAGS)
        for found in self._twin.update(along, cross, mass, frame.quality[rows]).behind:
            yield self._map(frame, int(frame.time_ns[rows[found.row]]), found)

    def _map(self, frame: Frame, time_ns: int, found: Behind) -> Frame:
        n = 1 + self._twin.lanes
        columns: dict[str, Float64Array] = {
            "loading_kg_m2": np.append(found.md_kg_m2, found.loading_kg_m2),
            "loading_sd_kg_m2": np.append(found.md_sd_kg_m2, found.loading_sd_kg_m2),
            "noise_sd_kg_m2": np.full(n, found.noise_sd_kg_m2),
            "web_position_m": np.full(n, found.web_position_m),
            "lag_m": np.full(n, found.lag_m),
            "status": np.full(n, float(status.OK)),
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
        self._at_m = float(found["place"][0])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return self._waiting.arrays() | {
            "twin": np.frombuffer(self._twin.checkpoint(), dtype=np.uint8),
            "lot": np.frombuffer(self._lot.encode(), dtype=np.uint8),
            "newest_ns": np.array([self._newest_ns], dtype=np.int64),
            "place": np.array([self._at_m]),
        }
