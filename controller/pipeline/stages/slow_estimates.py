"""What slow curves say: peaks of incremental capacity, electrode windows, open-circuit voltage. One call for many.

Columns out, one row a curve (a pair of curves for the open-circuit voltage). What the samples do not give is NaN, with
`why` and `status` (kernels/status.py) beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from controller.pipeline.curves import C_PER_AH, STEPS_OF_SHARE, Curve
from controller.types import Float64Array, Int64Array
from kernels import status as codes
from twin.dqdv import BANDWIDTH_V, Peak, incremental_capacity, peaks
from twin.esoh import Electrodes, SlowCurve, Windows, fit_curves, slow_curve
from twin.inventory import Ageing
from twin.ocv import END_S, OcvCurve, SlowTest, ocv_batch

Columns = dict[str, Float64Array]

PEAKS = 6
"""Peaks that a row has columns for; an LG M50 has four, LFP three to five."""
HOLE = 0.02
"""Of the charge of a curve: where more lies between two samples, its shape is not known there ..."""
MOST_HOLE = 0.1
"""... and where so much lies between two samples, nothing is read from the curve."""
AROUND_HOLE = 3.0
"""Bandwidths beside a hole within which the smoothing reaches into it."""
SOC_PERCENT = tuple(range(0, 101, 5))
HYSTERESIS_PERCENT = (10, 30, 50, 70, 90)
WINDOW_COLUMNS = (
    "x_0", "x_0_sd", "x_100", "x_100_sd", "y_0", "y_0_sd", "y_100", "y_100_sd", "resistance_ohm", "resistance_ohm_sd",
    "silicon_fraction", "silicon_fraction_sd", "rmse_v", "n_to_p", "n_to_p_sd", "negative_ah", "negative_ah_sd",
    "positive_ah", "positive_ah_sd", "lithium_ah", "lithium_ah_sd", "of_mean",
)  # fmt: skip
AGEING_COLUMNS = {
    "lli": "lithium_loss", "lli_sd": "lithium_loss_sd", "lam_negative": "negative_loss",
    "lam_negative_sd": "negative_loss_sd", "lam_positive": "positive_loss", "lam_positive_sd": "positive_loss_sd",
}  # fmt: skip


class Why(IntEnum):
    """Why a slow curve, or a pair of them, was not even tried. Stored in data: never changes meaning."""

    TRIED = 0
    FIRST_CHARGE = 1  # the film takes lithium while the cell takes charge
    PARTIAL = 2  # it does not cross the cell's window to its end
    HOLE = 3  # samples are missing
    BEGINNING = 4  # the beginning was not seen
    NO_TABLE = 5  # no half-cell table for this direction


STATUS_OF = {
    Why.FIRST_CHARGE: codes.NOT_IDENTIFIABLE,
    Why.PARTIAL: codes.NOT_IDENTIFIABLE,
    Why.HOLE: codes.NOT_SAMPLED,
    Why.BEGINNING: codes.NOT_SAMPLED,
    Why.NO_TABLE: codes.NOT_FOUND,
}


def heads(curves: Sequence[Curve]) -> Columns:
    """Which step it was, and what it was like."""
    return {
        "step": _numbers([c.step for c in curves]),
        "cycle": _numbers([c.cycle for c in curves]),
        "state": _numbers([c.state for c in curves]),
        "current_a": _numbers([c.current_a for c in curves]),
        "temperature_c": _numbers([c.temperature_c for c in curves]),
        "charge_ah": _numbers([c.moved_c / C_PER_AH for c in curves]),
        "begin_v": _numbers([c.voltage_v[0] for c in curves]),
        "end_v": _numbers([c.voltage_v[-1] for c in curves]),
        "duration_s": _numbers([(c.end_ns - c.begun_ns) / 1e9 for c in curves]),
        "samples": _numbers([c.samples for c in curves]),
        "widest_ah": _numbers([c.widest_c / C_PER_AH for c in curves]),
    }


def unseen(curve: Curve) -> Why:
    """Whether all of a curve was seen."""
    if not curve.whole:
        return Why.BEGINNING
    return Why.HOLE if curve.widest_c > MOST_HOLE * curve.moved_c else Why.TRIED


def found_peaks(curves: Sequence[Curve]) -> tuple[list[tuple[Peak, ...]], Int64Array]:
    """Peaks of dQ/dV in rising voltage, and the status, of each curve."""
    if not curves:
        return [], np.zeros(0, dtype=np.int64)
    offsets = np.cumsum([0, *(len(c.rows) for c in curves)], dtype=np.int64)
    charge = np.concatenate([np.copysign(c.charge_c, c.current_a) for c in curves])
    slopes = incremental_capacity(charge, np.concatenate([c.voltage_v for c in curves]), offsets, BANDWIDTH_V)
    found = [_seen(curve, mine) for curve, mine in zip(curves, peaks(slopes), strict=True)]
    return found, slopes.status.astype(np.int64)


def _seen(curve: Curve, found: Sequence[Peak]) -> tuple[Peak, ...]:
    """The peaks that do not lie in or beside a hole: what is one there is made by the smoothing."""
    charge_c, voltage_v = curve.charge_c, curve.voltage_v
    holes = np.flatnonzero(np.diff(charge_c) > HOLE * curve.moved_c)
    low, high = (pick(voltage_v[holes], voltage_v[holes + 1]) for pick in (np.minimum, np.maximum))
    reach_v = AROUND_HOLE * BANDWIDTH_V
    return tuple(p for p in found if not ((p.voltage_v > low - reach_v) & (p.voltage_v < high + reach_v)).any())


def peak_columns(named: Sequence[Sequence[Peak]]) -> Columns:
    """Place and height of P1 to P6 by name."""
    columns: Columns = {"peaks": _numbers([len(found) for found in named])}
    for p in range(1, PEAKS + 1):
        mine = [next((peak for peak in found if peak.name == f"P{p}"), None) for found in named]
        for column, field in (
            (f"p{p}_v", "voltage_v"), (f"p{p}_v_sd", "voltage_v_sd"),
            (f"p{p}_ah_v", "height_ah_v"), (f"p{p}_ah_v_sd", "height_ah_v_sd"),
        ):  # fmt: skip
            columns[column] = _numbers([np.nan if peak is None else getattr(peak, field) for peak in mine])
    return columns


def windows(curves: Sequence[Curve], charging: Electrodes | None, discharging: Electrodes | None) -> list[Windows]:
    """Half-cell fits of curves that have electrodes in their direction, in their order."""
    fits: dict[int, Windows] = {}
    for sign, electrodes in ((1.0, charging), (-1.0, discharging)):
        mine = [n for n, curve in enumerate(curves) if curve.current_a * sign > 0.0]
        if electrodes is not None and mine:
            fits |= dict(zip(mine, fit_curves([_sweep(curves[n]) for n in mine], electrodes), strict=True))
    return [fits[n] for n in sorted(fits)]


def window_columns(fits: Sequence[Windows | None]) -> Columns:
    """Figures of the fits; NaN where there is none."""
    return {name: _numbers([np.nan if fit is None else getattr(fit, name) for fit in fits]) for name in WINDOW_COLUMNS}


def ageing_columns(losses: Sequence[Ageing | None]) -> Columns:
    """Losses since the first fit; NaN where there is nothing to compare."""
    return {
        name: _numbers([np.nan if loss is None else getattr(loss, field) for loss in losses])
        for name, field in AGEING_COLUMNS.items()
    }


def ocv_columns(pairs: Sequence[tuple[Curve, Curve]], tried: Sequence[bool]) -> Columns:
    """OCV and half-width of the hysteresis at fixed states of charge, of pairs of curves one after the other."""
    found = iter(ocv_batch([_test(*pair) for pair, good in zip(pairs, tried, strict=True) if good], len(SOC_PERCENT)))
    curves = [next(found) if good else None for good in tried]
    columns: Columns = {}
    for g, percent in enumerate(SOC_PERCENT):
        columns[f"ocv_{percent:03d}_v"] = _at(curves, "ocv_v", g)
    for percent in HYSTERESIS_PERCENT:
        g = SOC_PERCENT.index(percent)
        columns[f"ocv_{percent:03d}_v_sd"] = _at(curves, "ocv_v_sd", g)
        columns[f"hysteresis_{percent:03d}_v"] = _at(curves, "hysteresis_v", g)
        columns[f"hysteresis_{percent:03d}_v_sd"] = _at(curves, "hysteresis_v_sd", g)
    for name in ("charge_ah", "discharge_ah", "ohmic_ohm", "ohmic_ohm_sd"):
        columns[name] = _numbers([np.nan if curve is None else getattr(curve, name) for curve in curves])
    columns["status"] = _numbers([codes.NOT_IDENTIFIABLE if curve is None else curve.status for curve in curves])
    return columns


def _at(curves: Sequence[OcvCurve | None], name: str, g: int) -> Float64Array:
    return _numbers([np.nan if curve is None else getattr(curve, name)[g] for curve in curves])


def _sweep(curve: Curve) -> SlowCurve:
    """Its points evenly in charge, by the same kernel as those of a file."""
    time_s, current = _seconds(curve), np.full(len(curve.rows), curve.current_a)
    return slow_curve(time_s, current, curve.voltage_v, "charge" if curve.current_a > 0.0 else "discharge")


def _seconds(curve: Curve) -> Float64Array:
    """Times of the rows since the first sample: at constant current charge tells them."""
    charge_c = curve.charge_c
    seconds: Float64Array = (charge_c - charge_c[0]) / abs(curve.current_a)
    return seconds


def _test(first: Curve, second: Curve) -> SlowTest:
    """Two curves as one record, each with the rows beside it, as a file of the same steps would have them."""
    columns = []
    for curve in (first, second):
        seconds = (curve.begun_ns - first.begun_ns) / 1e9 + _seconds(curve)
        beside = [[seconds[0] - curve.before_s, curve.before_a, curve.before_v, 0.0]] if curve.before_s > 0.0 else []
        own = np.stack([seconds, np.full(seconds.size, curve.current_a), curve.voltage_v, curve.charge_c], axis=1)
        after = [[seconds[-1] + curve.after_s, curve.after_a, curve.after_v, curve.after_c]]
        # What comes long after the first curve may be the second one's beginning already.
        after = after if curve.after_s <= END_S or curve is second else []
        rows = np.concatenate([np.array(beside).reshape(-1, 4), own, np.array(after).reshape(-1, 4)])
        rows[:, 3] = curve.net_c + np.copysign(rows[:, 3], curve.current_a)
        columns.append(rows)
    time_s, current_a, voltage_v, net_c = np.concatenate(columns).T.copy()
    step_ah = max(curve.share_c for curve in (first, second)) / STEPS_OF_SHARE / C_PER_AH
    return SlowTest(time_s, current_a, voltage_v, net_ah=net_c / C_PER_AH, net_step_ah=step_ah)


def _numbers(values: Sequence[float]) -> Float64Array:
    return np.array(values, dtype=np.float64)
