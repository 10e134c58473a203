"""The report's figures as plain plotly JSON. Data are thinned here, so that a day of them stays a few megabytes.

Plotly's Python package is not imported: its graph objects take over a second, and a figure is only a dictionary.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.clock import NS_PER_S
from controller.report.cells import BAND_95, Cell
from controller.report.coating import CoatMap
from controller.report.data import Rows
from controller.report.summary import Coater, Rack
from controller.types import Float64Array, Int64Array

Figure = dict[str, Any]

BLUE, ORANGE, GREEN, GREY, PINK = "#0072b2", "#c25a00", "#00705a", "#8b959c", "#aa4f88"
ZONES = (BLUE, "#d55e00", "#009e73", PINK, "#7a6a00", "#56b4e9", "#14212b", "#8c6bb1")
# Blue, white, brown: keeps its two ends apart for every common colour vision.
DEVIATION = [[0.0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#e0a56b"], [1.0, "#8c4a00"]]
BUCKETS = 700


def thin(values: Float64Array, buckets: int = BUCKETS) -> NDArray[np.intp]:
    """Indices that keep the lowest and highest value of each bucket, so that no spike and no step edge is lost."""
    n = values.shape[0]
    if n <= 2 * buckets:
        return np.arange(n)
    size = -(-n // buckets)
    padded = np.full(size * buckets, np.nan)
    padded[:n] = values
    grid = padded.reshape(buckets, size)
    start = np.arange(buckets) * size
    low = start + np.argmin(np.where(np.isfinite(grid), grid, np.inf), axis=1)
    high = start + np.argmax(np.where(np.isfinite(grid), grid, -np.inf), axis=1)
    found: NDArray[np.intp] = np.unique(np.concatenate([[0], low, high, [n - 1]]))
    inside: NDArray[np.intp] = found[found < n]
    return inside


def stamps(time_ns: Int64Array) -> list[str]:
    """Times as plotly reads them, UTC, whole seconds."""
    return [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S") for t in (time_ns // NS_PER_S).tolist()]


def numbers(values: ArrayLike, digits: int = 5) -> list[float | None]:
    """Floats with a few significant digits; null for what is not finite."""
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in np.asarray(values, dtype=float).tolist()]


def trace(time_ns: Int64Array, values: Float64Array, name: str, color: str, **extra: Any) -> Figure:
    """A line over plant time, thinned."""
    keep = thin(values)
    line = {"color": color, "width": extra.pop("width", 1.4), "dash": extra.pop("dash", "solid")}
    x, y = stamps(time_ns[keep]), numbers(values[keep])
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line, **extra}


def axis(title: str, **extra: Any) -> Figure:
    """An axis with its unit in the title."""
    return {"title": {"text": title}, "gridcolor": "#e3e8eb", "zeroline": False, "linecolor": "#9fb0bd", **extra}


def layout(height: int, **extra: Any) -> Figure:
    """What all figures share."""
    return {
        "height": height,
        "margin": {"l": 64, "r": 20, "t": 30, "b": 44},
        "font": {"family": '"Segoe UI", "DejaVu Sans", Arial, sans-serif', "size": 13, "color": "#14212b"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **extra,
    }


def coat_map(coat: CoatMap, target_kg_m2: float | None, tolerance: float | None, span_m: tuple[float, float]) -> Figure:
    """Metre by lane, as deviation from the target in percent (from the map's own mean when there is no target)."""
    center = target_kg_m2 or float(np.nanmean(coat.mass_loading_kg_m2))
    percent = (coat.mass_loading_kg_m2 / center - 1.0) * 100.0
    reach = 200.0 * (tolerance or 0.02)
    heat = {
        "type": "heatmap",
        "x": numbers(coat.position_m),
        "y": coat.lane.tolist(),
        "z": [numbers(row, 3) for row in percent],
        "zmin": -reach,
        "zmax": reach,
        "colorscale": DEVIATION,
        "colorbar": {"title": {"text": f"% off {center * 1000:.1f} g/m²", "side": "right"}, "thickness": 14},
        "hovertemplate": "%{x:.0f} m, lane %{y}: %{z:+.2f} %<extra></extra>",
    }
    x = axis("web position, m", range=list(span_m))
    lanes = axis("lane", dtick=4, tick0=4, showgrid=False)
    return {"data": [heat], "layout": layout(270, xaxis=x, yaxis=lanes, hovermode="closest")}


def lane_means(coater: Coater) -> Figure:
    """Mean and standard deviation of each lane along the web, measured and true."""
    data = []
    for coat, name, color in ((coater.measured, "gauge", BLUE), (coater.true, "truth", GREY)):
        if not coat.lane.size:
            continue
        known = coat.mass_loading_kg_m2 * 1000.0
        mean, sd = np.nanmean(known, axis=1), np.nanstd(known, axis=1)
        bars = {"type": "data", "array": numbers(sd, 3), "color": color, "thickness": 1.3, "width": 3}
        points = {"color": color, "size": 7, "symbol": "circle" if name == "gauge" else "x"}
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": coat.lane.tolist(),
                "y": numbers(mean),
                "error_y": bars,
                "name": f"{name}, mean ± SD along the web",
                "marker": points,
            }
        )
    shapes = _target_band(coater.target_kg_m2, coater.tolerance_fraction)
    x = axis("lane, from the operator side", dtick=2, tick0=2)
    return {"data": data, "layout": layout(300, xaxis=x, yaxis=axis("g/m²"), shapes=shapes)}


def zone_temperatures(coater: Coater) -> Figure:
    """Air temperature of each dryer zone over plant time, set-points dotted."""
    data: list[Figure] = []
    shapes = []
    for index, (zone, rows) in enumerate(coater.zones.points()):
        color = ZONES[index % len(ZONES)]
        data.append(trace(rows.time_ns, rows.column("zone_temperature_c"), f"zone {zone}", color))
        if index < len(coater.zone_setpoint_c):
            level = coater.zone_setpoint_c[index]
            dots = {"color": color, "width": 1, "dash": "dot"}
            shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level, "line": dots})
    return {"data": data, "layout": layout(300, xaxis=axis("", type="date"), yaxis=axis("°C"), shapes=shapes)}


def channel(rack: Rack, cell: Cell) -> Figure:
    """Voltage, current, and the filter's SOC with its 95 % band and the truth, of one channel."""
    raw, states, truth = (rows.of_point(cell.channel) for rows in (rack.raw, rack.states, rack.truth))
    data = [
        trace(raw.time_ns, raw.column("voltage_v"), "voltage", BLUE, showlegend=False),
        trace(raw.time_ns, raw.column("current_a"), "current", ORANGE, yaxis="y2", showlegend=False),
        *_soc(states, truth),
    ]
    axes = {
        "xaxis": axis("", type="date", anchor="y3"),
        "yaxis": axis("V", domain=[0.72, 1.0]),
        "yaxis2": axis("A", domain=[0.44, 0.66]),
        "yaxis3": axis("SOC, %", domain=[0.0, 0.38]),
    }
    return {"data": data, "layout": layout(470, **axes)}


def histogram(values: list[float], title: str, color: str, truth: list[float] | None = None) -> Figure:
    """Distribution over channels, beside that of the truth when there is one."""
    both = values + (truth or [])
    low, high = min(both), max(both)
    width = max((high - low) / 16, abs(high) * 1e-6, 1e-9)
    bins = {"start": low, "end": high + width, "size": width}
    data: list[Figure] = []
    if truth:
        style = {"color": "rgba(0,0,0,0)", "line": {"color": GREY, "width": 1.5}}
        data.append({"type": "histogram", "x": numbers(truth), "name": "truth", "xbins": bins, "marker": style})
    data.append(
        {"type": "histogram", "x": numbers(values), "name": "measured", "xbins": bins, "marker": {"color": color}}
    )
    axes = {"xaxis": axis(title), "yaxis": axis("channels")}
    return {"data": data, "layout": layout(260, barmode="overlay", hovermode="closest", **axes)}


def _soc(states: Rows, truth: Rows) -> list[Figure]:
    soc, sd = states.column("soc") * 100.0, states.column("soc_sd") * 100.0
    keep = thin(soc)
    x = stamps(states.time_ns[keep])
    edge: Figure = {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "yaxis": "y3",
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    low, high = (numbers(np.clip(soc[keep] + sign * BAND_95 * sd[keep], -10, 110)) for sign in (-1, 1))
    fill = {"fill": "tonexty", "fillcolor": "rgba(0,112,90,.22)", "name": "95 % band"}
    found = [{**edge, "y": low, "showlegend": False}, {**edge, "y": high, **fill}] if states.count else []
    if states.count:
        found.append(trace(states.time_ns, soc, "filter", GREEN, yaxis="y3"))
    if truth.count:
        line = {"dash": "dot", "width": 2.0, "yaxis": "y3"}
        found.append(trace(truth.time_ns, truth.column("soc") * 100.0, "truth", "#14212b", **line))
    return found


def _target_band(target_kg_m2: float | None, tolerance: float | None) -> list[Figure]:
    if not target_kg_m2:
        return []
    low, high = (target_kg_m2 * 1000.0 * (1.0 + sign * (tolerance or 0.0)) for sign in (-1.0, 1.0))
    across = {"xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
    return [{"type": "rect", **across, "y0": low, "y1": high, "fillcolor": "rgba(0,112,90,.12)", "line": {"width": 0}}]
