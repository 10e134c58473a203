"""What loading_map.py rests on: samples checked and put in order, and the web's model found from them. No results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from kernels import loading_map as k
from kernels import status
from kernels.loading_map import loading_map_filter as filter_kernel
from kernels.loading_map import loading_map_start as start_kernel
from kernels.loading_map_tune import loading_map_spectrum as spectrum_kernel
from kernels.loading_map_tune import loading_map_tune as tune_kernel

Float64Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

LEAST_KG_M2, MOST_KG_M2 = 0.005, 10.0  # less is bare foil, more is no reading
POSITION_MAX_M = 1e6
LANES_MAX = 500
TUNE_SAMPLES = 3000  # enough for every parameter of the model; the map itself uses all samples
TUNE_RUNS = 90  # of the filter
TUNE_AGAIN_RUNS = (10, 35)  # before and after the ripple, from parameters found before: the line waits for it
RIPPLE_CANDIDATES = 8
ALONE_SD = 8.0  # robust standard deviations
FALSE_RIPPLE = 1e-3  # chance that pure noise is taken for a ripple (Scargle 1982, equation 18)


T = TypeVar("T", bound=np.generic)


def _picked(a: NDArray[T], which: NDArray[np.bool_] | Ints | slice) -> NDArray[T]:
    return np.ascontiguousarray(a[which])


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Checked samples. A row with two gauges is two events; `row` leads back."""

    where_m: Float64Array
    lane: Ints
    gauge: Ints
    value: Float64Array
    row: Ints
    code: Codes  # (n,) BAD_INPUT or BAD_TIME (the same spot again) where a row gave no event, OK else

    def taken(self, which: NDArray[np.bool_] | Ints | slice) -> Samples:
        """Those events, in that order."""
        return Samples(
            _picked(self.where_m, which), _picked(self.lane, which), _picked(self.gauge, which),
            _picked(self.value, which), _picked(self.row, which), self.code,
        )  # fmt: skip

    def ordered(self) -> Samples:
        """The events in order of web position."""
        return self.taken(np.argsort(self.where_m, kind="stable"))

    def joined(self, later: Samples) -> Samples:
        """The latest TUNE_SAMPLES events of both; rows and codes mean nothing any more."""
        return Samples(
            np.concatenate([self.where_m, later.where_m]), np.concatenate([self.lane, later.lane]),
            np.concatenate([self.gauge, later.gauge]), np.concatenate([self.value, later.value]),
            np.concatenate([self.row, later.row]), later.code,
        ).taken(slice(-TUNE_SAMPLES, None))  # fmt: skip

    def alone(self) -> NDArray[np.bool_]:
        """Where an ordered sample stands out from its neighbours as no filter should ever see: a splice, a fly, the
        first and last centimetres of a coating. Distance from the median of nine and from its lane's usual distance.
        """
        if self.value.size < 9:
            return np.zeros(self.value.size, dtype=bool)
        local = np.median(sliding_window_view(np.pad(self.value, 4, mode="reflect"), 9), axis=1)
        away = self.value - local
        for lane in range(int(self.lane.max()) + 1):
            mine = self.lane == lane
            if mine.sum() > 2:
                away[mine] -= np.median(away[mine])
        found: NDArray[np.bool_] = np.abs(away) > ALONE_SD * max(1.4826 * float(np.median(np.abs(away))), 1e-12)
        return found


def samples(
    web_position_m: ArrayLike, cross_position_m: ArrayLike, mass_loading_kg_m2: ArrayLike, lanes: int, width_m: float,
    quality: ArrayLike | None = None, foil_kg_m2: ArrayLike = 0.0,
    wet_kg_m2: ArrayLike | None = None, solids_fraction: float | None = None,
) -> Samples:  # fmt: skip
    """Rows (n,) as events in their order. Coating is mass minus foil. ValueError: shapes, lanes, width, solids.

    `wet_kg_m2`: a wet gauge's gross mass at the same spot; times solids it is dry mass. Without `solids_fraction` the
    ratio of the two gauges' medians stands in. Rows of bad quality, not finite, off the web or bare foil give nothing.
    """
    if not 1 < lanes <= LANES_MAX:
        raise ValueError(f"a map has 2 to {LANES_MAX} lanes, not {lanes}")
    if not 0.0 < width_m < 100.0:
        raise ValueError(f"width_m {width_m:g} is not the width of a web")
    if solids_fraction is not None and not 0.0 < solids_fraction <= 1.0:
        raise ValueError(f"solids_fraction {solids_fraction:g} is not between 0 and 1")
    along, cross, mass = (
        np.asarray(a, dtype=np.float64) for a in (web_position_m, cross_position_m, mass_loading_kg_m2)
    )
    if along.ndim != 1 or along.shape != cross.shape or along.shape != mass.shape:
        raise ValueError(f"columns differ in length: {along.shape}, {cross.shape}, {mass.shape}")
    n = along.shape[0]
    foil = np.broadcast_to(np.asarray(foil_kg_m2, dtype=np.float64), (n,))
    grade = np.zeros(n) if quality is None else np.broadcast_to(np.asarray(quality), (n,))
    wet = np.full(n, math.nan) if wet_kg_m2 is None else np.broadcast_to(np.asarray(wet_kg_m2, dtype=np.float64), (n,))
    with np.errstate(invalid="ignore", over="ignore"):
        dry, film = mass - foil, wet - foil
        on = (np.abs(along) <= POSITION_MAX_M) & (cross >= 0.0) & (cross <= width_m) & (grade == 0)
        use_dry = on & (dry >= LEAST_KG_M2) & (dry <= MOST_KG_M2)
        use_wet = on & (film >= LEAST_KG_M2) & (film <= MOST_KG_M2)
    # A gauge that is read twice without having moved measured once.
    repeat = np.zeros(n, dtype=bool)
    repeat[1:] = (along[1:] == along[:-1]) & (cross[1:] == cross[:-1]) & (use_dry | use_wet)[:-1]
    use_dry, use_wet = use_dry & ~repeat, use_wet & ~repeat
    ratio = solids_fraction
    if ratio is None:
        both = use_dry & use_wet
        ratio = float(np.median(dry[both]) / np.median(film[both])) if both.any() else math.nan
        use_wet = both if math.isnan(ratio) else use_wet
    row = np.concatenate([np.flatnonzero(use_dry), np.flatnonzero(use_wet)])
    gauge = np.repeat([0, 1], [use_dry.sum(), use_wet.sum()]).astype(np.int64)
    order = np.argsort(row, kind="stable")
    row, gauge = row[order], gauge[order]
    lane = (
        np.zeros(0, dtype=np.int64)
        if n == 0
        else np.minimum((cross[row] / width_m * lanes).astype(np.int64), lanes - 1)
    )
    code = np.where(use_dry | use_wet, status.OK, np.where(repeat & on, status.BAD_TIME, status.BAD_INPUT))
    return Samples(
        along[row], lane, gauge, np.where(gauge == 1, film[row] * ratio, dry[row]), row, code.astype(np.uint8)
    )


def coupling(lanes: int, reach: float = 0.5) -> Float64Array:
    """How the profile's steps in two lanes go together: exp(-distance / (reach * width)), sum over the width 0."""
    across = np.arange(lanes) / lanes
    centre = np.eye(lanes) - 1.0 / lanes
    found = centre @ np.exp(-np.abs(across[:, None] - across) / reach) @ centre
    return np.ascontiguousarray(found / np.mean(np.diag(found)))


def prior(level_kg_m2: float, wet: bool) -> Float64Array:
    """Parameters before any data: an electrode whose loading varies by a percent or so over some hundred metres."""
    par = np.zeros(k.PARAMETERS)
    par[k.P_MEAN], par[k.P_MEAN_SD], par[k.P_LANE_SD] = level_kg_m2, 0.2 * level_kg_m2, 0.03 * level_kg_m2
    par[k.P_NOISE], par[k.P_NOISE_WET] = 0.005 * level_kg_m2, 0.005 * level_kg_m2
    par[k.P_DRIFT_SD], par[k.P_DRIFT_M] = 0.01 * level_kg_m2, 300.0
    par[k.P_WALK] = 0.0003 * level_kg_m2
    par[k.P_WET_SD], par[k.P_WET_M] = (0.02 * level_kg_m2 if wet else 0.0), 1000.0
    par[k.P_RIPPLE_M], par[k.P_KEEP_M] = 1.0, 500.0
    return par


def tuned(s: Samples, couple: Float64Array, before: Float64Array | None = None) -> Float64Array:
    """Parameters from samples in order of web position: the middle TUNE_SAMPLES of them. `before`: those that an
    earlier part of the same web gave; its ripple is given up only for one that is better beyond chance.
    """
    known_m = 0.0 if before is None or before[k.P_RIPPLE_SD] <= 0.0 else float(before[k.P_RIPPLE_M])
    first = max(0, (s.value.size - TUNE_SAMPLES) // 2)
    s = s.taken(slice(first, first + TUNE_SAMPLES))
    where, lane, gauge, value = s.where_m, s.lane, s.gauge, s.value
    wet = bool((gauge == 1).any())
    par = prior(float(np.median(value)), wet)
    free = [k.P_NOISE, k.P_DRIFT_SD, k.P_DRIFT_M, k.P_WALK] + ([k.P_NOISE_WET] if wet else [])
    # Half a search is enough to see a ripple by; the second starts afresh around what the first found.
    first_runs, last_runs = TUNE_RUNS // 2, TUNE_RUNS
    if before is not None:
        par[free] = before[free]
        first_runs, last_runs = TUNE_AGAIN_RUNS
    tune_kernel(par, np.array(free, dtype=np.int64), couple, where, lane, gauge, value, first_runs)
    if _find_ripple(par, couple, s, known_m):
        free.append(k.P_RIPPLE_SD)
    tune_kernel(par, np.array(free, dtype=np.int64), couple, where, lane, gauge, value, last_runs)
    return par


def _filtered(par: Float64Array, couple: Float64Array, s: Samples) -> tuple[float, Float64Array, Float64Array, Codes]:
    """Twice the negative log likelihood, innovations, their variances, codes."""
    n, states = s.value.size, k.LANE + len(couple)
    x, p, memory = np.empty(states), np.empty((states, states)), np.empty(k.M_LANE + len(couple))
    nu, var, code = np.empty(n), np.empty(n), np.empty(n, dtype=np.uint8)
    start_kernel(par, x, p, memory)
    cost = filter_kernel(par, couple, s.where_m, s.lane, s.gauge, s.value, 0, n, x, p, memory, nu, var, code)
    return cost, nu, var, code


def _find_ripple(par: Float64Array, couple: Float64Array, s: Samples, known_m: float) -> bool:
    """Looks for one wavelength in what the filter could not foresee; sets it and a first amplitude in `par`.

    A filter distorts what it leaves, and a scan has side bands: of the highest peaks the likelihood takes one, or none.
    A profile that swings slowly looks, along the diagonal, like a ripple beside a harmonic of the scan, and a short
    record may like that better. So a wavelength found before (`known_m`, 0: none) stays, unless another one's
    likelihood beats it by more than the choice among so many wavelengths gives by chance.
    """
    cost, nu, var, code = _filtered(par, couple, s)
    used = np.flatnonzero((code == status.OK) & (s.gauge == 0))
    if used.size < 4 * len(couple):
        return False
    place = _picked(s.where_m, used)
    length = float(place[-1] - place[0])
    spacing = np.diff(place)
    apart = float(np.median(spacing[spacing > 0.0])) if (spacing > 0.0).any() else 0.0
    if apart <= 0.0 or length / apart < 64.0:
        return False
    step = 0.5 / length
    power = np.empty(min(int(length / apart), 2 * TUNE_SAMPLES))
    spectrum_kernel(place, nu[used] / np.sqrt(var[used]), step, power)
    power[:40] = 0.0  # longer than a twentieth of the record is drift
    peaks = 1 + np.flatnonzero((power[1:-1] > power[:-2]) & (power[1:-1] >= power[2:]))
    peaks = peaks[power[peaks] > math.log(power.size / FALSE_RIPPLE)]
    best = par.copy()
    peaks = peaks[np.argsort(-power[peaks])][:RIPPLE_CANDIDATES]
    as_before = np.abs((peaks + 1) * step * known_m - 1.0) <= 2.0 * step * known_m  # the record resolves no more
    bonus = 2.0 * math.log(power.size) * as_before if known_m > 0.0 else np.zeros(peaks.size)
    for peak, head_start in zip(peaks, bonus, strict=True):
        low, top, high = power[peak - 1], power[peak], power[peak + 1]
        bend = low - 2.0 * top + high
        trial = par.copy()
        trial[k.P_RIPPLE_M] = 1.0 / (step * (peak + 1 + (0.5 * (low - high) / bend if bend < 0.0 else 0.0)))
        trial[k.P_RIPPLE_SD] = par[k.P_NOISE] * math.sqrt(2.0 * top / used.size)
        found = _filtered(trial, couple, s)[0] - head_start
        if found < cost:
            cost, best = found, trial
    par[:] = best
    return bool(par[k.P_RIPPLE_SD] > 0.0)
