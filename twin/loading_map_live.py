"""The web's loading while it runs, lane by lane: loading_map.py for samples as they come. No I/O.

Under the gauge a web is known from one side only. A place is known as well as it ever will be, nearly, when the gauge
has crossed the width once more: every `step_m` such a place is given, one scan late (`Behind`).
Memory is bounded: state and covariance of the model, the same for each place that waits for its scan (at most
OPEN_MAX; two or three at ten metres), and the latest TUNE_SAMPLES samples to find the model from anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import loading_map as k
from kernels import loading_map_lag as lag
from kernels import status
from kernels.loading_map import loading_map_start as start_kernel
from kernels.loading_map import loading_map_state as state_kernel
from kernels.loading_map_lag import loading_map_behind as behind_kernel
from kernels.loading_map_lag import loading_map_follow as follow_kernel
from kernels.loading_map_lag import loading_map_open as open_kernel
from twin.checkpoint import pack, unpack
from twin.loading_map_model import TUNE_SAMPLES, Samples, coupling, prior, samples, tuned

Float64Array = NDArray[np.float64]
Codes = NDArray[np.uint8]

FIRST_TUNE = 4  # samples for each lane
SCANS = 1.0  # that a place waits for
PAST = ("where_m", "lane", "gauge", "value")  # of a checkpoint: as many as there are samples
OPEN = ("nodes", "opened")  # as many as there are places that wait


@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """Loading at a place `lag_m` behind the gauge, from the samples before it and of the scan after it."""

    row: int  # of this call's samples: the one that completed it
    web_position_m: float
    lag_m: float
    loading_kg_m2: Float64Array  # (lanes,)
    loading_sd_kg_m2: Float64Array  # (lanes,)
    md_kg_m2: float
    md_sd_kg_m2: float
    noise_sd_kg_m2: float


@dataclass(frozen=True, slots=True, eq=False)
class LoadingNow:
    """Loading at the newest web position from the samples up to it. NaN and WAITING before the first good one."""

    web_position_m: float
    loading_kg_m2: Float64Array  # (lanes,)
    loading_sd_kg_m2: Float64Array  # (lanes,)
    md_kg_m2: float
    md_sd_kg_m2: float
    noise_sd_kg_m2: float
    sample_status: Codes  # (n,) of this call
    status: int
    behind: tuple[Behind, ...]  # places that this call completed, in their order


class LiveLoadingMap:
    """The loading under the gauge as the samples come. The model is found anew as the web's record grows."""

    def __init__(
        self, lanes: int, width_m: float, foil_kg_m2: float = 0.0, solids_fraction: float | None = None,
        step_m: float = 10.0,
    ) -> None:  # fmt: skip
        """`step_m`: between places given behind the gauge; 0: as many as may be, 16 a scan. ValueError: lanes, width,
        solids or step. A wet gauge needs `solids_fraction`: medians are not known beforehand.
        """
        if not 0.0 <= step_m <= k.DISTANCE_MAX_M:
            raise ValueError(f"step_m {step_m:g} is not a step along a web")
        samples([], [], [], lanes, width_m, solids_fraction=solids_fraction)
        self.lanes, self.width_m = lanes, width_m
        self.foil_kg_m2, self.solids_fraction, self.step_m = foil_kg_m2, solids_fraction, step_m
        self._couple = coupling(lanes)
        self.reset()

    def reset(self) -> None:
        """Forgets everything, places that wait for their scan too: a new web begins."""
        n = k.LANE + self.lanes
        self._par: Float64Array | None = None
        self._x, self._p = np.zeros(n), np.zeros((n, n))
        self._nodes, self._opened = np.zeros((lag.OPEN_MAX, 1 + self.lanes, 2 + n)), np.zeros((lag.OPEN_MAX, 3))
        self._book = np.zeros(lag.BOOK)
        self._book[lag.B_DUE] = -math.inf
        self._memory = np.zeros(k.M_LANE + self.lanes)
        self._past = samples([], [], [], self.lanes, self.width_m)
        self._next_tune, self._seen = FIRST_TUNE * self.lanes, 0

    def update(
        self, web_position_m: ArrayLike, cross_position_m: ArrayLike, mass_loading_kg_m2: ArrayLike,
        quality: ArrayLike | None = None, wet_kg_m2: ArrayLike | None = None,
    ) -> LoadingNow:  # fmt: skip
        """Adds samples (n,) in the order of the web, n may be 0. A position that steps back is not used. ValueError:
        lengths differ, or a wet gauge without solids.
        """
        if wet_kg_m2 is not None and self.solids_fraction is None:
            raise ValueError("a wet gauge needs solids_fraction")
        s = samples(
            web_position_m, cross_position_m, mass_loading_kg_m2, self.lanes, self.width_m, quality, self.foil_kg_m2,
            wet_kg_m2, self.solids_fraction,
        )  # fmt: skip
        code, behind = s.code.copy(), list[Behind]()
        if s.value.size:
            cross = np.asarray(cross_position_m, dtype=np.float64)[s.row]
            if self._par is None:
                self._par = prior(float(s.value[0]), self.solids_fraction is not None)
                start_kernel(self._par, self._x, self._p, self._memory)
            start = 0
            while start < s.value.size:  # cut where the model is due, so that batches make no difference
                here = slice(start, start + self._next_tune - self._seen)
                part = s.taken(here)
                start += part.value.size
                found = self._follow(part, cross[here], behind)
                np.maximum.at(code, part.row, found)
                keep = (found != status.BAD_TIME) & (found != status.BAD_INPUT)
                self._past = self._past.joined(part.taken(keep))
                self._seen += int(keep.sum())
                if self._seen >= self._next_tune:
                    self._tune()
        return self._now(code, tuple(behind))

    def _follow(self, s: Samples, cross_m: Float64Array, behind: list[Behind]) -> Codes:
        """Codes of the samples; places that they complete are added to `behind`."""
        assert self._par is not None
        code, book, at = np.empty(s.value.size, dtype=np.uint8), self._book, 0
        while True:
            at = behind_kernel(
                self._par, self._couple, s.where_m, s.lane, s.gauge, s.value, cross_m, self.step_m,
                SCANS * self.width_m, at, s.value.size, self._x, self._p, self._memory, self._nodes, self._opened,
                book, code,
            )  # fmt: skip
            if book[lag.B_DONE] == 0.0:
                return code
            behind.append(self._oldest(int(s.row[max(at - 1, 0)])))

    def _oldest(self, row: int) -> Behind:
        """Takes the place that has waited longest."""
        assert self._par is not None
        value, variance = self._nodes[0, :, lag.N_VALUE].copy(), self._nodes[0, :, lag.N_VARIANCE]
        sd, place = np.sqrt(np.maximum(variance, 0.0)), float(self._opened[0, lag.O_PLACE])
        waiting = int(self._book[lag.B_OPEN])
        for a in (self._nodes, self._opened):
            a[: waiting - 1] = a[1:waiting].copy()
        self._book[lag.B_OPEN] -= 1.0
        return Behind(
            row, place, float(self._memory[k.M_PLACE]) - place, value[:-1], sd[:-1], float(value[-1]), float(sd[-1]),
            float(self._par[k.P_NOISE]),
        )  # fmt: skip

    def _tune(self) -> None:
        """Finds the model from the latest samples and filters them again with it, the waiting places too. Half as much
        again: once more.
        """
        before = self._par if self._next_tune > FIRST_TUNE * self.lanes else None
        self._par = par = tuned(self._past, self._couple, before)
        start_kernel(par, self._x, self._p, self._memory)
        past, count, start = self._past, int(self._book[lag.B_OPEN]), 0
        code = np.empty(past.value.size, dtype=np.uint8)
        stops = np.searchsorted(past.where_m, self._opened[:count, lag.O_PLACE], side="right")
        for opened, stop in enumerate([*(int(v) for v in stops), past.value.size]):
            follow_kernel(
                par, self._couple, past.where_m, past.lane, past.gauge, past.value, start, stop, self._x, self._p,
                self._memory, self._nodes, opened, code,
            )  # fmt: skip
            start = stop
            if opened < count:
                open_kernel(self._x, self._p, self._nodes[opened])
        self._next_tune = min(3 * self._seen // 2, self._seen + TUNE_SAMPLES)

    def checkpoint(self) -> bytes:
        """Everything that a restart needs: at most some 60 kB for samples, 6 kB for each place that waits."""
        return pack(self._head, self._arrays())

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same lanes, width, foil and solids. ValueError otherwise, and nothing changed."""
        found = unpack(data, self._head, self._arrays(), ragged=(*PAST, *OPEN))
        numbers = [found[name] for name in ("par", "x", "p", "value", "where_m", *OPEN)]
        sizes, count = {found[name].shape for name in PAST}, len(found["nodes"])
        one = len(sizes) == 1 and len(found["opened"]) == count == found["book"][lag.B_OPEN]
        if not all(np.isfinite(a).all() for a in numbers) or not one or found["value"].size > TUNE_SAMPLES:
            raise ValueError("checkpoint holds what no map writes")
        if count > lag.OPEN_MAX:
            raise ValueError("checkpoint holds more places than may wait")
        lane, gauge = found["lane"].astype(np.int64), found["gauge"].astype(np.int64)
        if ((lane < 0) | (lane >= self.lanes) | (gauge < 0) | (gauge > 1)).any():
            raise ValueError("checkpoint names lanes or gauges that the web does not have")
        started, self._next_tune, self._seen = (int(v) for v in found["counts"])
        self._par = found["par"] if started else None
        self._x, self._p, self._memory = found["x"], found["p"], found["memory"]
        self._book, self._nodes[:count], self._opened[:count] = found["book"], found["nodes"], found["opened"]
        nothing = np.zeros(lane.size, dtype=np.int64), np.zeros(lane.size, dtype=np.uint8)
        self._past = Samples(found["where_m"], lane, gauge, found["value"], *nothing)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        par = np.zeros(k.PARAMETERS) if self._par is None else self._par
        counts = np.array([self._par is not None, self._next_tune, self._seen], dtype=np.int64)
        past, waiting = self._past, int(self._book[lag.B_OPEN])
        return {
            "par": par, "x": self._x, "p": self._p, "memory": self._memory, "counts": counts, "where_m": past.where_m,
            "lane": past.lane.astype(np.uint16), "gauge": past.gauge.astype(np.uint8), "value": past.value,
            "book": self._book, "nodes": self._nodes[:waiting], "opened": self._opened[:waiting],
        }  # fmt: skip

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {
            "format": "celltwin-loading-map", "version": 2, "lanes": self.lanes, "width_m": self.width_m,
            "foil_kg_m2": self.foil_kg_m2, "solids_fraction": self.solids_fraction or 0.0, "step_m": self.step_m,
        }  # fmt: skip

    def _now(self, code: Codes, behind: tuple[Behind, ...]) -> LoadingNow:
        loading, sd, whole = np.full(self.lanes, math.nan), np.full(self.lanes, math.nan), np.full(2, math.nan)
        place, noise, said = math.nan, math.nan, status.WAITING
        if self._par is not None and self._memory[k.M_USED] > 0.0:
            state_kernel(self._x, self._p, loading, sd, whole)
            place, noise = float(self._memory[k.M_PLACE]), float(self._par[k.P_NOISE])
            good = np.isin(code, (status.OK, status.STARTED, status.AFTER_GAP)).any()
            said = status.OK if good else status.PREDICTED
        return LoadingNow(place, loading, sd, float(whole[0]), float(whole[1]), noise, code, said, behind)
