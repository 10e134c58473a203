"""What a run's control charts say: counts for a table, and the observations of each chart for a figure. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.report.data import Rows, RunData
from controller.types import Float64Array, Int64Array

COLUMNS = ("observation", "value", "centre", "sigma", "t2", "t2_limit", "cpk", "cpk_low", "cpk_high", "flags")


@dataclass(frozen=True, slots=True, eq=False)
class ControlChart:
    """One chart. The figure's arrays are of one source: the only one, or that with most observations out of control."""

    device: str
    name: str
    observations: int
    signals: int
    cpk: tuple[float, float, float] | None  # newest, with its 95 % interval
    source: str  # which point is drawn, where there are several
    by_unit: bool  # one observation of each of many units: drawn by number, not over time
    number: Float64Array  # of the observation, from 1
    time_ns: Int64Array
    value: Float64Array  # or T2
    centre: Float64Array  # nan on a T2 chart
    limit: Float64Array  # distance of the limits from the centre: 3 sigma; on a T2 chart the limit itself
    out: Float64Array  # flags above 0


def control_charts(data: RunData) -> list[ControlChart]:
    """Every chart of the run, by device and name."""
    return [_chart(device, name, rows) for (device, name), rows in data.labelled("spc", "chart", COLUMNS).items()]


def _chart(device: str, name: str, rows: Rows) -> ControlChart:
    out = rows.column("flags") > 0
    limits = np.unique(np.nan_to_num(np.column_stack([rows.column("centre"), rows.column("sigma")])), axis=0)
    points = np.unique(rows.point)
    # Many points with one centre line and hardly more than one observation each are units that follow each other.
    by_unit = points.size > 1 and limits.shape[0] == 1 and rows.count <= 2 * points.size
    shown, source = rows, ""
    if points.size > 1 and not by_unit:
        counts = [int(out[rows.point == point].sum()) for point in points]
        worst = int(points[int(np.argmax(counts))])
        shown, source = rows.of_point(worst), f"point {worst} of {points.size}"
    shown = shown.by("observation") if by_unit else shown.in_time()
    t2 = np.isfinite(shown.column("t2")).any()
    known = np.flatnonzero(np.isfinite(shown.column("cpk")))
    newest = None
    if known.size:
        low, middle, high = (float(shown.column(c)[known[-1]]) for c in ("cpk_low", "cpk", "cpk_high"))
        newest = (low, middle, high)
    return ControlChart(
        device=device,
        name=name,
        observations=rows.count,
        signals=int(out.sum()),
        cpk=newest,
        source=source,
        by_unit=by_unit,
        number=shown.column("observation"),
        time_ns=shown.time_ns,
        value=shown.column("t2" if t2 else "value"),
        centre=shown.column("centre"),
        limit=shown.column("t2_limit") if t2 else 3.0 * shown.column("sigma"),
        out=(shown.column("flags") > 0).astype(np.float64),
    )
