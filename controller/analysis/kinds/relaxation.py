"""Rests of a record: relaxation, self-discharge K and why K is refused. No arithmetic in here beyond finding rests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from controller.types import Float64Array
from twin.relaxation import K_SD_MAX_MV_H, REACH_MIN, V_S_PER_MV_H, Relaxations, fit_relaxations

REST_MIN_S = 1800.0
REST_CURRENT_FRACTION = 1e-3
PLOTTED = 2000  # points a curve


class Relaxation:
    """One row per rest; one row with the reason for a record without any."""

    name = "relaxation"
    text = "rests: stretched exponential relaxation and self-discharge K, refused where they cannot be told apart"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ("temperature_c",)
    settings = (
        Setting("rest_current_a", None, "largest current of a rest; by default a thousandth of the record's largest"),
        Setting("rest_min_s", REST_MIN_S, "shortest rest that is analysed"),
        Setting("k_sd_max_mv_h", K_SD_MAX_MV_H, "a K with a larger standard deviation is refused"),
        Setting("reach_min", REACH_MIN, "least (t_end/tau)^beta: how much of the relaxation the record must hold"),
        Setting("relaxed", 0.0, "1: the cell had rested long before, fit a straight line"),
        Setting("entropic_mv_k", 0.0, "dOCV/dT; takes changes of temperature_c out of the voltage"),
    )

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """Rows of all rests in file order."""
        rests, fits, _ = _fits(record, options)
        if fits is None:
            return [{"rest": None, "refused": f"no rest of {_number(options, 'rest_min_s', REST_MIN_S):g} s or more"}]
        return [_row(record, fits, number, first) for number, (first, _) in enumerate(rests)]

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """Voltage of every rest since its start, and the fitted curve where there is one."""
        data: list[dict[str, Any]] = []
        for row in rows:
            if row.get("rest") is None:
                continue
            data += _traces(record, row)
        if not data:
            return None
        axes = {"xaxis": {"title": {"text": "h since the current stopped"}}, "yaxis": {"title": {"text": "V"}}}
        return {"data": data, "layout": {"title": {"text": f"Relaxation, {record.source}"}, **axes}}


KIND = Relaxation()


def _number(options: Options, name: str, default: float) -> float:
    value = options.values.get(name, default)
    return default if value is None else float(value)


def _fits(record: Record, options: Options) -> tuple[list[tuple[int, int]], Relaxations | None, Float64Array]:
    """Rests as (first, last) rows, their fits in one batch, and when the current stopped."""
    time, voltage = record.columns["time_s"], record.columns["voltage_v"]
    try:
        rests = _rests(record, options)
        if not rests:
            return rests, None, np.empty(0)
        starts = np.array([time[first - 1] if first else time[first] for first, _ in rests])
        starts = np.where(np.isfinite(starts), starts, [time[first] for first, _ in rests])
        parts = [slice(first, last) for first, last in rests]
        temperature = record.columns.get("temperature_c")
        fits = fit_relaxations(
            np.concatenate([time[part] for part in parts]),
            np.concatenate([voltage[part] for part in parts]),
            np.concatenate([[0], np.cumsum([last - first for first, last in rests])]),
            starts,
            relaxed=_number(options, "relaxed", 0.0) != 0.0,
            k_sd_max_mv_h=_number(options, "k_sd_max_mv_h", K_SD_MAX_MV_H),
            reach_min=_number(options, "reach_min", REACH_MIN),
            temperature_c=None if temperature is None else np.concatenate([temperature[part] for part in parts]),
            entropic_v_k=1e-3 * _number(options, "entropic_mv_k", 0.0),
        )
    except ValueError as error:
        raise BadInputError(f"{record.source}: {error}") from error
    return rests, fits, starts


def _rests(record: Record, options: Options) -> list[tuple[int, int]]:
    """Runs of rows without current that last long enough."""
    time, current = record.columns["time_s"], np.abs(record.columns["current_a"])
    known = current[np.isfinite(current)]
    limit = _number(options, "rest_current_a", REST_CURRENT_FRACTION * float(known.max()) if known.size else 0.0)
    shortest = _number(options, "rest_min_s", REST_MIN_S)
    if not (limit >= 0.0 and shortest > 0.0):
        raise ValueError("rest_current_a must not be negative and rest_min_s must be positive")
    still = np.concatenate([[False], current <= limit, [False]])
    edges = np.flatnonzero(still[1:] != still[:-1])
    runs = [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return [(first, last) for first, last in runs if time[last - 1] - time[first] >= shortest]


def _row(record: Record, fits: Relaxations, i: int, first: int) -> Row:
    figures: dict[str, float] = {
        "rest": i + 1,
        "first_row": first,
        "rows": float(fits.samples[i]),
        "time_s": float(record.columns["time_s"][first]),
        "duration_s": fits.duration_s[i],
        "k_mv_h": fits.k_mv_h[i],
        "k_mv_h_sd": fits.k_sd_mv_h[i],
        "k_v_s": fits.k_v_s[i],
        "k_v_s_sd": fits.k_sd_v_s[i],
        "v_inf_v": fits.v_inf_v[i],
        "v_inf_v_sd": fits.v_inf_sd_v[i],
        "amplitude_v": fits.amplitude_v[i],
        "amplitude_v_sd": fits.amplitude_sd_v[i],
        "tau_s": fits.tau_s[i],
        "tau_s_sd": fits.tau_sd_s[i],
        "beta": fits.beta[i],
        "beta_sd": fits.beta_sd[i],
        "reach": fits.reach[i],
        "end_slope_mv_h": fits.end_slope_v_s[i] / V_S_PER_MV_H,
        "noise_v": fits.noise_v[i],
        "correlation_samples": fits.correlation_samples[i],
    }
    row: Row = {name: _cell(name, value) for name, value in figures.items()}
    return row | {"refused": fits.reason(i) or None}


def _cell(name: str, value: float) -> Cell:
    if not math.isfinite(value):
        return None
    return int(value) if name in {"rest", "first_row", "rows"} else float(value)


def _traces(record: Record, row: Row) -> list[dict[str, Any]]:
    first, rows, span = (float(row[name] or 0.0) for name in ("first_row", "rows", "duration_s"))
    part = slice(int(first), int(first + rows))
    time, voltage = record.columns["time_s"][part], record.columns["voltage_v"][part]
    every = max(1, time.size // PLOTTED)
    begin = float(time[-1]) - span if time.size else 0.0
    name = f"rest {row['rest']}"
    hours = ((time[::every] - begin) / 3600.0).tolist()
    measured = {"type": "scatter", "name": name, "mode": "markers", "x": hours, "y": voltage[::every].tolist()}
    k, v_inf = row.get("k_v_s"), row.get("v_inf_v")
    if k is None or v_inf is None:
        return [measured]
    t = np.linspace(0.0, span, 200)
    curve = float(v_inf) - float(k) * t
    amplitude, tau, beta = row.get("amplitude_v"), row.get("tau_s"), row.get("beta")
    if amplitude is not None and tau is not None and beta is not None:
        curve = curve - float(amplitude) * np.exp(-((t / float(tau)) ** float(beta)))
    fitted = {"type": "scatter", "name": f"{name}, fit", "mode": "lines", "x": (t / 3600.0).tolist()}
    return [measured, fitted | {"y": curve.tolist()}]
