"""What a coating run says about the web: the coat-weight map, metre by lane, and the whole web's statistics. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.report.cells import at_times
from controller.report.data import Rows
from controller.types import Float64Array

MAP_COLUMNS = 400
"""Metre bins of a map: about one per pixel of its width, and 24 lanes of them stay under 100 kB of JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class CoatMap:
    """Mass loading by lane and web position. `why` says what is wrong when it is empty."""

    position_m: Float64Array  # (columns,) middle of each bin
    lane: NDArray[np.int32]  # (lanes,)
    mass_loading_kg_m2: Float64Array  # (lanes, columns), NaN where nothing was measured
    why: str = ""


@dataclass(frozen=True, slots=True)
class WebFigures:
    """Key figures of one web; None where the run holds none."""

    coated_m: float | None = None
    mean_kg_m2: float | None = None
    cv: float | None = None
    samples: int | None = None


def gauge_map(profile: Rows, coater: Rows) -> CoatMap:
    """Map from the gauge's cross-web profiles, placed where the gauge stood on the web when each was complete."""
    if not profile.count:
        return _empty(profile.why)
    line = coater.of_point(0)
    position_m = at_times(line, "gauge_web_position_m", profile)
    if not np.isfinite(position_m).any():
        return _empty(coater.why or "the gauge's position on the web is not known")
    return _binned(position_m, profile, profile.column("lane_mass_loading_kg_m2"))


def twin_map(found: Rows) -> CoatMap:
    """Map from the twin's own: along and across told apart, each place known one scan after the gauge was there."""
    if not found.count:
        return _empty(found.why)
    # Maps lie a sample more or less than their step apart: with a bin for each, some would stay empty.
    return _binned(found.column("web_position_m"), found, found.column("loading_kg_m2"), bins=0.7)


def true_map(truth: Rows) -> CoatMap:
    """Map from the simulated coater's truth: what the die laid down, where it laid it."""
    if not truth.count:
        return _empty(truth.why)
    return _binned(truth.column("web_position_m"), truth, truth.column("mass_loading_kg_m2"))


def figures(coater: Rows, loading: Rows) -> WebFigures:
    """Metres coated from the coater's counter; mean and CV from the twin's newest statistics of the whole web."""
    web = loading.of_point(0)
    position_m = coater.column("web_position_m")
    finite = position_m[np.isfinite(position_m)]
    count = _newest(web, "count")
    return WebFigures(
        coated_m=float(finite.max()) if finite.size else None,
        mean_kg_m2=_newest(web, "mean_kg_m2"),
        cv=_newest(web, "cv"),
        samples=None if count is None else int(count),
    )


def _binned(position_m: Float64Array, rows: Rows, loading: Float64Array, bins: float = 1.0) -> CoatMap:
    """`bins`: how many for each profile."""
    use = np.isfinite(position_m) & np.isfinite(loading) & (loading > 0) & (rows.point > 0)
    if not use.any():
        return _empty("nothing was coated")
    position_m, loading, lane = position_m[use], loading[use], rows.point[use]
    lanes = np.unique(lane)
    low, high = float(position_m.min()), float(position_m.max())
    # Not more bins than there are profiles, or the map would be mostly holes.
    profiles = int(np.unique(rows.time_ns[use]).shape[0])
    columns = max(1, min(MAP_COLUMNS, int(bins * profiles)))
    width_m = max((high - low) / columns, 1e-9)
    column = np.minimum(((position_m - low) / width_m).astype(np.int64), columns - 1)
    cell = np.searchsorted(lanes, lane) * columns + column
    size = lanes.shape[0] * columns
    total = np.bincount(cell, weights=loading, minlength=size)
    count = np.bincount(cell, minlength=size)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(lanes.shape[0], columns)
    middle_m: Float64Array = low + (np.arange(columns, dtype=np.float64) + 0.5) * width_m
    return CoatMap(middle_m, lanes, mean)


def _newest(rows: Rows, name: str) -> float | None:
    values = rows.column(name)
    known = np.flatnonzero(np.isfinite(values))
    return float(values[known[-1]]) if known.size else None


def _empty(why: str) -> CoatMap:
    return CoatMap(np.zeros(0), np.zeros(0, dtype=np.int32), np.zeros((0, 0)), why or "no rows")
