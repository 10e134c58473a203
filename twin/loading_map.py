"""The web's loading metre by metre and lane by lane, with standard deviation, from a scanning gauge. No I/O.

loading.py next door keeps running statistics per lane, which mix along and across. Here the two directions are
separated by the model of kernels/loading_map.py, from a finished web's samples on both sides of every place;
loading_map_live.py does it while the line runs. Drift, profile walk, noise and ripple are found from the data.

One web per call: a web is milliseconds of work, and two webs share nothing that a batch could use.
A gauge at one place sees noise and web variation shorter than its sample distance as one; both are in `noise_sd_kg_m2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import loading_map as k
from kernels import status
from kernels.loading_map_smooth import loading_map_smooth as smooth_kernel
from twin.loading_map_model import coupling, samples, tuned

Float64Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

NODES_MAX = 200_000
SAMPLES_LEAST = 30  # a few scans: fewer do not tell along from across
REASONS = {
    status.OK: "",
    status.NOT_IDENTIFIABLE: f"fewer than {SAMPLES_LEAST} usable samples: along and across cannot be told apart",
    status.BAD_INPUT: f"the web positions span more than {NODES_MAX:,} steps of the map; choose a larger step",
    status.RESET: "the filter did not stay finite on these samples",
}


@dataclass(frozen=True, slots=True, eq=False)
class WebModel:
    """What was found about the web; standard deviations relative to the mean where the name says fraction."""

    mean_kg_m2: float
    noise_sd_kg_m2: float  # gauge noise and web variation shorter than the sample distance
    wet_noise_sd_kg_m2: float  # of the wet gauge, as dry mass; nan without one
    drift_sd_kg_m2: float
    drift_length_m: float
    profile_walk_kg_m2: float  # per lane and square root of a metre
    ripple_sd_kg_m2: float  # 0: none found
    ripple_wavelength_m: float  # nan: none found


@dataclass(frozen=True, slots=True, eq=False)
class LoadingMap:
    """Loading of m metres by `lanes` lanes. `code` other than OK: no rows, and `reason` says why."""

    web_position_m: Float64Array  # (m,) middles of the steps
    cross_position_m: Float64Array  # (lanes,) middles of the lanes
    loading_kg_m2: Float64Array  # (m, lanes)
    loading_sd_kg_m2: Float64Array  # (m, lanes)
    md_kg_m2: Float64Array  # (m,) mean over the width
    md_sd_kg_m2: Float64Array  # (m,)
    status: Codes  # (m,) OK; PREDICTED where no sample is near
    sample_status: Codes  # (n,) of the samples as given: OK, STARTED, OUTLIER, AFTER_GAP (a step), BAD_INPUT, BAD_TIME
    statistics: Float64Array  # (1 + lanes, 5): samples, mean, sd with noise, cv, cv without noise; row 0 the whole web
    model: WebModel | None
    code: int
    reason: str

    @property
    def profile_kg_m2(self) -> Float64Array:
        """CD: every lane's difference from the width's mean (m, lanes)."""
        return self.loading_kg_m2 - self.md_kg_m2[:, None]


def loading_map(
    web_position_m: ArrayLike, cross_position_m: ArrayLike, mass_loading_kg_m2: ArrayLike, lanes: int, width_m: float,
    step_m: float = 1.0, quality: ArrayLike | None = None, foil_kg_m2: ArrayLike = 0.0, foil_sd_kg_m2: float = 0.0,
    wet_kg_m2: ArrayLike | None = None, solids_fraction: float | None = None,
) -> LoadingMap:  # fmt: skip
    """The map of a finished web from samples (n,) in any order; every place uses the samples on both of its sides.

    Positions in m, masses in kg/m2, gross where a foil's basis weight is given (a number or (n,)); its uncertainty
    `foil_sd_kg_m2` is the same error everywhere and widens every loading's sd. Wet gauge: see `samples`. ValueError:
    shapes, lanes, width, step, solids. What data cannot support is a code and a reason, never an exception.
    """
    if not 1e-3 <= step_m <= 1e4:
        raise ValueError(f"step_m {step_m:g} is not a step along a web")
    if not (math.isfinite(foil_sd_kg_m2) and foil_sd_kg_m2 >= 0.0):
        raise ValueError(f"foil_sd_kg_m2 {foil_sd_kg_m2:g} is no standard deviation")
    given = samples(
        web_position_m, cross_position_m, mass_loading_kg_m2, lanes, width_m, quality, foil_kg_m2, wet_kg_m2,
        solids_fraction,
    )  # fmt: skip
    centres = (np.arange(lanes) + 0.5) * width_m / lanes
    if given.value.size < SAMPLES_LEAST:
        return _refused(status.NOT_IDENTIFIABLE, centres, given.code)
    s = given.ordered()
    apart = s.alone()
    sample_status = given.code.copy()
    sample_status[s.row[apart]] = status.OUTLIER
    s = s.taken(~apart)
    low, high = math.floor(s.where_m[0] / step_m), math.floor(s.where_m[-1] / step_m)
    if high - low >= NODES_MAX:
        return _refused(status.BAD_INPUT, centres, given.code)
    nodes = (np.arange(low, high + 1) + 0.5) * step_m
    couple = coupling(lanes)
    par = tuned(s, couple)
    n, m = s.value.size, nodes.size
    order = np.argsort(np.concatenate([s.where_m, nodes]), kind="stable")
    lane = np.concatenate([s.lane, np.full(m, -1, dtype=np.int64)])[order]
    gauge = np.concatenate([s.gauge, np.zeros(m, dtype=np.int64)])[order]
    value = np.concatenate([s.value, np.zeros(m)])[order]
    where = np.concatenate([s.where_m, nodes])[order]
    loading, sd, whole = np.empty((m, lanes)), np.empty((m, lanes)), np.empty((m, 2))
    code = np.empty(n + m, dtype=np.uint8)
    smooth_kernel(par, couple, where, lane, gauge, value, loading, sd, whole, np.empty(n + m), np.empty(n + m), code)
    if not (np.isfinite(loading).all() and np.isfinite(sd).all()):
        return _refused(status.RESET, centres, given.code)
    found = code[lane >= 0]
    np.maximum.at(sample_status, s.row, found)  # a row of two gauges takes the graver code
    used = (found != status.OUTLIER) & (s.gauge == 0)
    place = _place_status(nodes, s.where_m[found != status.OUTLIER], step_m)
    statistics = _statistics(loading, sd, place == status.OK, s.value[used], s.lane[used])
    return LoadingMap(
        web_position_m=nodes, cross_position_m=centres, loading_kg_m2=loading,
        loading_sd_kg_m2=np.hypot(sd, foil_sd_kg_m2), md_kg_m2=whole[:, 0],
        md_sd_kg_m2=np.hypot(whole[:, 1], foil_sd_kg_m2), status=place, sample_status=sample_status,
        statistics=statistics, model=_model(par), code=status.OK, reason="",
    )  # fmt: skip


def _refused(code: int, centres: Float64Array, sample_status: Codes) -> LoadingMap:
    none, lanes = np.empty(0), centres.size
    return LoadingMap(
        web_position_m=none, cross_position_m=centres, loading_kg_m2=np.empty((0, lanes)),
        loading_sd_kg_m2=np.empty((0, lanes)), md_kg_m2=none, md_sd_kg_m2=none, status=np.empty(0, dtype=np.uint8),
        sample_status=sample_status, statistics=np.full((1 + lanes, 5), math.nan), model=None, code=code,
        reason=REASONS[code],
    )  # fmt: skip


def _model(par: Float64Array) -> WebModel:
    ripple = bool(par[k.P_RIPPLE_SD] > 0.0)
    return WebModel(
        mean_kg_m2=float(par[k.P_MEAN]),
        noise_sd_kg_m2=float(par[k.P_NOISE]),
        wet_noise_sd_kg_m2=float(par[k.P_NOISE_WET]) if par[k.P_WET_SD] > 0.0 else math.nan,
        drift_sd_kg_m2=float(par[k.P_DRIFT_SD]),
        drift_length_m=float(par[k.P_DRIFT_M]),
        profile_walk_kg_m2=float(par[k.P_WALK]),
        ripple_sd_kg_m2=float(par[k.P_RIPPLE_SD]),
        ripple_wavelength_m=float(par[k.P_RIPPLE_M]) if ripple else math.nan,
    )


def _place_status(nodes: Float64Array, used_m: Float64Array, step_m: float) -> Codes:
    """OK where a used sample is as near as samples usually are, PREDICTED in gaps."""
    if used_m.size == 0:
        return np.full(nodes.size, status.PREDICTED, dtype=np.uint8)
    right = np.clip(np.searchsorted(used_m, nodes), 0, used_m.size - 1)
    left = np.maximum(right - 1, 0)
    away = np.minimum(np.abs(used_m[right] - nodes), np.abs(nodes - used_m[left]))
    usual = 2.0 * float(np.median(np.diff(used_m))) if used_m.size > 1 else 0.0
    return np.where(away <= max(step_m, usual), status.OK, status.PREDICTED).astype(np.uint8)


def _statistics(
    loading: Float64Array, sd: Float64Array, seen: NDArray[np.bool_], value: Float64Array, lane: Ints
) -> Float64Array:
    """Rows 0 (whole) and lanes. With noise: the dry gauge's own samples. Without: the map's spread over web that was
    seen plus its variance, because a smoothed map spreads less than the web by just that much.
    """
    lanes = loading.shape[1]
    out = np.full((1 + lanes, 5), math.nan)
    for row in range(1 + lanes):
        mine = value if row == 0 else value[lane == row - 1]
        there = loading[seen] if row == 0 else loading[seen, row - 1]
        error = sd[seen] if row == 0 else sd[seen, row - 1]
        out[row, 0] = mine.size
        if there.size == 0:
            continue
        mean = float(there.mean())
        out[row, 1] = mean
        if mine.size > 1:
            out[row, 2] = float(mine.std(ddof=1))
            out[row, 3] = out[row, 2] / mean if mean > 0.0 else math.nan
        if there.size > 1 and mean > 0.0:
            out[row, 4] = math.sqrt(float(there.var()) + float(np.mean(error**2))) / mean
    return out
