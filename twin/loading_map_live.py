"""The loading under the gauge while the web runs, lane by lane: loading_map.py for samples as they come. No I/O.

Memory is bounded: state and covariance of the model, and the latest TUNE_SAMPLES samples to find the model from anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import loading_map as k
from kernels import status
from kernels.loading_map import loading_map_filter as filter_kernel
from kernels.loading_map import loading_map_start as start_kernel
from kernels.loading_map import loading_map_state as state_kernel
from twin.checkpoint import pack, unpack
from twin.loading_map_model import TUNE_SAMPLES, Samples, coupling, prior, samples, tuned

Float64Array = NDArray[np.float64]
Codes = NDArray[np.uint8]

FIRST_TUNE = 4  # samples for each lane
PAST = ("where_m", "lane", "gauge", "value")  # of a checkpoint: as many as there are samples


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


class LiveLoadingMap:
    """The loading under the gauge as the samples come. The model is found anew as the web's record grows."""

    def __init__(
        self, lanes: int, width_m: float, foil_kg_m2: float = 0.0, solids_fraction: float | None = None
    ) -> None:
        """ValueError: lanes, width or solids. A wet gauge needs `solids_fraction`: medians are not known beforehand."""
        samples([], [], [], lanes, width_m, solids_fraction=solids_fraction)
        self.lanes, self.width_m = lanes, width_m
        self.foil_kg_m2, self.solids_fraction = foil_kg_m2, solids_fraction
        self._couple = coupling(lanes)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: a new web begins."""
        self._par: Float64Array | None = None
        self._x, self._p = np.zeros(k.LANE + self.lanes), np.zeros((k.LANE + self.lanes,) * 2)
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
        code = s.code.copy()
        if s.value.size:
            if self._par is None:
                self._par = prior(float(s.value[0]), self.solids_fraction is not None)
                start_kernel(self._par, self._x, self._p, self._memory)
            start = 0
            while start < s.value.size:  # cut where the model is due, so that batches make no difference
                part = s.taken(slice(start, start + self._next_tune - self._seen))
                start += part.value.size
                found = self._filter(part)
                np.maximum.at(code, part.row, found)
                keep = (found != status.BAD_TIME) & (found != status.BAD_INPUT)
                self._past = self._past.joined(part.taken(keep))
                self._seen += int(keep.sum())
                if self._seen >= self._next_tune:
                    self._tune()
        return self._now(code)

    def _filter(self, s: Samples) -> Codes:
        assert self._par is not None
        n = s.value.size
        code = np.empty(n, dtype=np.uint8)
        filter_kernel(
            self._par, self._couple, s.where_m, s.lane, s.gauge, s.value, 0, n, self._x, self._p, self._memory,
            np.empty(n), np.empty(n), code,
        )  # fmt: skip
        return code

    def _tune(self) -> None:
        """Finds the model from the latest samples and filters them again with it. Half as much again: once more."""
        before = self._par if self._next_tune > FIRST_TUNE * self.lanes else None
        self._par = tuned(self._past, self._couple, before)
        start_kernel(self._par, self._x, self._p, self._memory)
        self._filter(self._past)
        self._next_tune = min(3 * self._seen // 2, self._seen + TUNE_SAMPLES)

    def checkpoint(self) -> bytes:
        """Everything that a restart needs; at most some 60 kB, by the samples kept to find the model from."""
        return pack(self._head, self._arrays())

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same lanes, width, foil and solids. ValueError otherwise, and nothing changed."""
        found = unpack(data, self._head, self._arrays(), ragged=PAST)
        numbers = [found[name] for name in ("par", "x", "p", "value", "where_m")]
        sizes = {found[name].shape for name in PAST}
        if not all(np.isfinite(a).all() for a in numbers) or len(sizes) != 1 or found["value"].size > TUNE_SAMPLES:
            raise ValueError("checkpoint holds what no map writes")
        lane, gauge = found["lane"].astype(np.int64), found["gauge"].astype(np.int64)
        if ((lane < 0) | (lane >= self.lanes) | (gauge < 0) | (gauge > 1)).any():
            raise ValueError("checkpoint names lanes or gauges that the web does not have")
        started, self._next_tune, self._seen = (int(v) for v in found["counts"])
        self._par = found["par"] if started else None
        self._x, self._p, self._memory = found["x"], found["p"], found["memory"]
        nothing = np.zeros(lane.size, dtype=np.int64), np.zeros(lane.size, dtype=np.uint8)
        self._past = Samples(found["where_m"], lane, gauge, found["value"], *nothing)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        par = np.zeros(k.PARAMETERS) if self._par is None else self._par
        counts = np.array([self._par is not None, self._next_tune, self._seen], dtype=np.int64)
        past = self._past
        return {
            "par": par, "x": self._x, "p": self._p, "memory": self._memory, "counts": counts, "where_m": past.where_m,
            "lane": past.lane.astype(np.uint16), "gauge": past.gauge.astype(np.uint8), "value": past.value,
        }  # fmt: skip

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {
            "format": "celltwin-loading-map", "version": 1, "lanes": self.lanes, "width_m": self.width_m,
            "foil_kg_m2": self.foil_kg_m2, "solids_fraction": self.solids_fraction or 0.0,
        }  # fmt: skip

    def _now(self, code: Codes) -> LoadingNow:
        loading, sd, whole = np.full(self.lanes, math.nan), np.full(self.lanes, math.nan), np.full(2, math.nan)
        place, noise, said = math.nan, math.nan, status.WAITING
        if self._par is not None and self._memory[k.M_USED] > 0.0:
            state_kernel(self._x, self._p, loading, sd, whole)
            place, noise = float(self._memory[k.M_PLACE]), float(self._par[k.P_NOISE])
            good = np.isin(code, (status.OK, status.STARTED, status.AFTER_GAP)).any()
            said = status.OK if good else status.PREDICTED
        return LoadingNow(place, loading, sd, float(whole[0]), float(whole[1]), noise, code, said)
