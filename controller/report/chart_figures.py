"""Figure of a control chart: observations, centre line, limits, and what is out of control. No file, no statistics."""

from __future__ import annotations

import numpy as np

from controller.report.charts import ControlChart
from controller.report.figures import BLUE, GREY, ORANGE, Figure, axis, layout, numbers, stamps, thin


def control_chart(chart: ControlChart) -> Figure:
    """Observations by number (units) or over plant time; thinned, but nothing out of control is left out."""
    keep = sorted({*thin(chart.value).tolist(), *chart.out.nonzero()[0].tolist()})
    x = chart.number[keep].astype(int).tolist() if chart.by_unit else stamps(chart.time_ns[keep])
    value, centre, limit, out = (a[keep] for a in (chart.value, chart.centre, chart.limit, chart.out))
    t2 = bool(np.isnan(centre).all())

    def line(y: object, name: str, color: str, dash: str) -> Figure:
        style = {"color": color, "width": 1.2, "dash": dash}
        return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": style, "hoverinfo": "skip"}

    edges = [line(numbers(limit), "limit", ORANGE, "dash")]
    if not t2:
        edges = [
            line(numbers(centre), "centre", GREY, "solid"),
            line(numbers(centre + limit), "± 3 sigma", ORANGE, "dash"),
            line(numbers(centre - limit), "", ORANGE, "dash") | {"showlegend": False},
        ]
    colors = [ORANGE if flag else BLUE for flag in out.tolist()]
    points: Figure = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": numbers(value),
        "name": "T2" if t2 else "observation",
        "line": {"color": BLUE, "width": 0.8},
        "marker": {"color": colors, "size": [8 if flag else 4 for flag in out.tolist()]},
    }
    across = axis("unit") if chart.by_unit else axis("", type="date")
    return {"data": [points, *edges], "layout": layout(250, xaxis=across, yaxis=axis("T2" if t2 else "observation"))}
