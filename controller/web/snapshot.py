"""LiveView to plain JSON values. Pure: the caller gives plant time and wall time. NaN becomes null, times ISO strings.

Ages are wall seconds since the data came. `lag_s` is how far their own stamps lie behind plant time, in wall seconds: a
device whose clock is wrong, or a replay after an outage, shows there and not in the age.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from controller.clock import NS_PER_S
from controller.types import ConnectionState
from controller.web.latest import StreamLatest
from controller.web.view import DeviceView, LiveView, Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(time_ns: int | None) -> str | None:
    """UTC to the millisecond, as browsers parse it."""
    if time_ns is None:
        return None
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def numbers(values: ArrayLike, digits: int = 6) -> list[float | None]:
    """Floats with `digits` significant digits; null for what is not finite."""
    return [float(f"{v:.{digits}g}") if math.isfinite(v) else None for v in np.asarray(values, dtype=float).tolist()]


def state(view: LiveView, now_ns: int, speed: float) -> dict[str, Any]:
    """Everything that the page shows at once; about 20 kB for a rack of 64 and a coater."""
    now_s = view.now_s()
    return {
        "revision": view.revision,
        "line": {"name": view.line.name, "title": view.line.title or view.line.name},
        "plant_time": iso(now_ns),
        "plant_start": iso(view.line.plant_start_ns),
        "speed": speed,
        "status": _status(view),
        "progress": _progress(view, now_ns),
        "devices": [_device(name, device, now_ns, now_s, speed) for name, device in view.devices.items()],
        "spool": {"accepts": view.spool_accepts, "detail": view.spool_detail},
        "counters": [
            {
                "sink": c.sink,
                "accepted": c.accepted,
                "delivered": c.delivered,
                "spooled": c.spooled,
                "rejected": c.rejected,
                "dropped": c.dropped,
                "reconciles": c.reconciles,
            }
            for c in view.counters
        ],
        "commands": [_record(r) for r in reversed(view.commands)][:12],
        "gaps": [_record(r) for r in reversed(view.gaps)][:12],
        "gap_count": view.gap_count,
        "events": [_record(r) for r in reversed(view.events)][:12],
    }


def channel(view: LiveView, name: str, point: int) -> dict[str, Any] | None:
    """History of one channel and the filter's estimate, each on its own time axis; None without such a channel."""
    device = view.devices.get(name)
    if device is None:
        return None
    raw, cell = device.streams.get("channel"), device.streams.get("cell_state")
    if raw is None or not 0 <= point < raw.seen.shape[0] or not raw.seen[point]:
        return None
    return {
        "device": name,
        "channel": point,
        "raw": _history(raw, point),
        "filter": _history(cell, point) if cell is not None else None,
    }


def coater(view: LiveView, name: str) -> dict[str, Any] | None:
    """Trends of one coater and the history of its cross-web profile; None when the device has no such streams."""
    device = view.devices.get(name)
    if device is None or not {"coater", "coater_zone", "coater_profile"} & device.streams.keys():
        return None
    streams = device.streams
    zones, profile = streams.get("coater_zone"), streams.get("coater_profile")
    return {
        "device": name,
        "trend": _history(streams["coater"], 0) if "coater" in streams else None,
        "web": _history(streams["web_loading"], 0) if "web_loading" in streams else None,
        "zones": _matrix(zones, "zone_temperature_c") if zones is not None else None,
        "profile": _matrix(profile, "lane_mass_loading_kg_m2", last=60) if profile is not None else None,
    }


def first_device(view: LiveView, stream: str) -> str | None:
    """The first device that has the stream."""
    return next((name for name, device in view.devices.items() if stream in device.streams), None)


def _status(view: LiveView) -> str:
    """Nobody says "running": the first data do."""
    started = any(device.streams for device in view.devices.values())
    return "running" if view.status == "starting" and started else view.status


def _progress(view: LiveView, now_ns: int) -> float | None:
    """What the application set; else the share of the run's plant time that is over, when it has an end."""
    line = view.line
    if view.progress is not None or line.plant_start_ns is None or not line.duration_s:
        return view.progress
    return min(1.0, max(0.0, (now_ns - line.plant_start_ns) / NS_PER_S / line.duration_s))


def _device(name: str, device: DeviceView, now_ns: int, now_s: float, speed: float) -> dict[str, Any]:
    info, received_s, newest_ns = device.info, device.received_s(), device.newest_ns()
    age_s = None if received_s is None else round(now_s - received_s, 2)
    stale = age_s is None or age_s > info.stale_after_s or device.connection is not ConnectionState.CONNECTED
    return {
        "device": name,
        "title": info.title,
        "lot": info.lot,
        "recipe": info.recipe,
        "connection": device.connection.value,
        "detail": device.detail,
        "losses": device.losses,
        "age_s": age_s,
        "lag_s": None if newest_ns is None else round((now_ns - newest_ns) / NS_PER_S / speed, 2),
        "stale_after_s": info.stale_after_s,
        "stale": stale,
        "target": {
            "mass_loading_kg_m2": info.target_mass_loading_kg_m2,
            "tolerance_fraction": info.tolerance_fraction,
            "zone_c": list(info.zone_setpoint_c),
            "length_m": info.length_m,
        },
        "codes": {tag: {str(k): v for k, v in codes.items()} for tag, codes in info.codes.items()},
        "streams": {stream: _latest(latest, now_s) for stream, latest in device.streams.items()},
    }


def _latest(stream: StreamLatest, now_s: float) -> dict[str, Any]:
    points = np.flatnonzero(stream.seen)
    return {
        "age_s": round(now_s - stream.received_s, 2),
        "time": iso(stream.newest_ns or None),
        "rows": stream.rows,
        "bad_rows": stream.bad_rows,
        "point": points.tolist(),
        "quality": stream.quality[points].tolist(),
        "columns": {name: numbers(values[points]) for name, values in stream.values.items()},
    }


def _times(time_ns: ArrayLike) -> list[str | None]:
    return [iso(int(t)) for t in np.asarray(time_ns).tolist()]


def _history(stream: StreamLatest, point: int) -> dict[str, Any]:
    history = stream.history
    if history is None:
        return {"time": [], "columns": {}}
    columns = {name: numbers(history.series(name, point), 5) for name in history.columns}
    return {"time": _times(history.times_ns()), "columns": {k: v for k, v in columns.items() if v}}


def _matrix(stream: StreamLatest, column: str, last: int = 600) -> dict[str, Any]:
    if stream.history is None:
        return {"time": [], "point": [], "values": []}
    points = np.flatnonzero(stream.seen)
    rows = stream.history.matrix(column)[-last:]
    if not rows.shape[0]:
        return {"time": [], "point": [], "values": []}
    points = points[points < rows.shape[1]]
    return {
        "time": _times(stream.history.times_ns()[-last:]),
        "point": points.tolist(),
        "values": [numbers(rows[:, p], 5) for p in points],
    }


def _record(record: Record) -> dict[str, Any]:
    values = {name: value for name, value in record.values.items() if np.isfinite(value)}
    return {"time": iso(record.time_ns), "device": record.device, **record.text, **values}
