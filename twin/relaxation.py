"""Relaxation and self-discharge of cells at rest: checks, units, reasons in words. No trays, grades or files.

K (self-discharge) is refused, not stretched, where the record cannot tell the leak from the tail of the relaxation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import relaxation_search as layout
from kernels.relaxation import relaxation_fit as relaxation_fit_kernel

Float64Array = NDArray[np.float64]

V_S_PER_MV_H = 1e-3 / 3600.0
K_SD_MAX_MV_H = 0.04
"""A K less certain than this is refused: its 95 % band would be wider than the 0.08 mV/h that vendors accept."""
REACH_MIN = 1.5
"""(t_end/tau)^beta: with less of the relaxation in the record, K's linearised band is no longer true (measured)."""

REASONS = {
    layout.WHY_NONE: "",
    layout.WHY_FEW: f"fewer than {layout.SAMPLES_MIN} good samples, or all of them close together",
    layout.WHY_TIME: "time runs backwards",
    layout.WHY_STUCK: "the voltage never changed: stuck, or its change is below one step of the converter",
    layout.WHY_NOT_OVER: "K not identifiable: the record ends while the cell still relaxes",
    layout.WHY_NOT_SEEN: "K not identifiable: no relaxation stands out, so its tail cannot be told from a leak"
    " (if the cell had long rested before, say that it is relaxed)",
    layout.WHY_BOUND: "K not identifiable: the voltage does not follow a stretched exponential and a leak",
    layout.WHY_SINGULAR: "K not identifiable: the record is too short to separate relaxation from leak",
    layout.WHY_WIDE: "K not identifiable: its standard deviation is above the limit",
    layout.WHY_DRIFTS: "K not identifiable: the first half of the record gives another K, so the cell relaxes in more"
    " than one stage and its tail passes for a leak",
}


@dataclass(frozen=True, slots=True, eq=False)
class Relaxations:
    """Fits of n records, arrays (n,); nan where the record does not give the value. `status`: kernels/status.py.

    V(t) = v_inf_v - amplitude_v exp(-(t/tau_s)^beta) - k_v_s t. Standard deviations hold for correlated noise too.
    """

    v_inf_v: Float64Array  # at the start of the rest, when the leak had taken nothing
    v_inf_sd_v: Float64Array
    amplitude_v: Float64Array  # positive: the voltage climbs
    amplitude_sd_v: Float64Array
    k_v_s: Float64Array  # positive: self-discharge
    k_sd_v_s: Float64Array
    tau_s: Float64Array
    tau_sd_s: Float64Array
    beta: Float64Array
    beta_sd: Float64Array
    noise_v: Float64Array  # SD of the residuals
    correlation_samples: Float64Array  # their integrated autocorrelation time
    reach: Float64Array  # (t_end/tau)^beta: powers of e by which the relaxation has fallen
    end_slope_v_s: Float64Array  # of the fitted curve at the end, relaxation and leak together; given for refused too
    samples: Float64Array
    duration_s: Float64Array
    status: NDArray[np.uint8]
    why: NDArray[np.uint8]

    @property
    def k_mv_h(self) -> Float64Array:
        """Self-discharge [mV/h]."""
        return self.k_v_s / V_S_PER_MV_H

    @property
    def k_sd_mv_h(self) -> Float64Array:
        """Its standard deviation [mV/h]."""
        return self.k_sd_v_s / V_S_PER_MV_H

    def reason(self, record: int) -> str:
        """Why this record has no K, in words; empty where it has one."""
        return REASONS[int(self.why[record])]

    def voltage_v(self, record: int, since_start_s: Float64Array) -> Float64Array:
        """The fitted curve at times since the rest began; nan where refused."""
        t = np.maximum(np.asarray(since_start_s, dtype=np.float64), 0.0)
        linear = self.v_inf_v[record] - self.k_v_s[record] * t
        if not math.isfinite(self.tau_s[record]):
            return np.asarray(linear)
        z = (t / self.tau_s[record]) ** self.beta[record]
        return np.asarray(linear - self.amplitude_v[record] * np.exp(-z))


def fit_relaxations(
    time_s: Float64Array,
    voltage_v: Float64Array,
    offsets: NDArray[np.int64],
    start_s: Float64Array | None = None,
    *,
    relaxed: bool = False,
    k_sd_max_mv_h: float = K_SD_MAX_MV_H,
    reach_min: float = REACH_MIN,
    temperature_c: Float64Array | None = None,
    entropic_v_k: float = 0.0,
) -> Relaxations:
    """Fits n records at rest; record i is offsets[i] to offsets[i + 1] of the flat arrays, any length.

    `start_s` (n,): when the current stopped, on the clock of `time_s`; by default the record's first sample. `relaxed`:
    the cells had rested long before, fit a straight line. `entropic_v_k` (dOCV/dT) takes the change of `temperature_c`
    since the record's mean out of the voltage. Any floats are answered by a status; samples that are not finite do not
    count. ValueError: shapes, offsets or limits make no sense.
    """
    time, voltage = _flat("time_s", time_s), _flat("voltage_v", voltage_v)
    ends = np.ascontiguousarray(offsets, dtype=np.int64)
    if time.shape != voltage.shape:
        raise ValueError(f"time_s has {time.size} samples, voltage_v {voltage.size}")
    if ends.ndim != 1 or ends.size < 1 or ends[0] != 0 or ends[-1] != time.size or (np.diff(ends) < 0).any():
        raise ValueError(f"offsets must climb from 0 to {time.size}")
    if not (k_sd_max_mv_h > 0.0 and reach_min >= 0.0 and math.isfinite(entropic_v_k)):
        raise ValueError("k_sd_max_mv_h must be positive, reach_min not negative, entropic_v_k finite")
    n = ends.size - 1
    if temperature_c is not None and entropic_v_k != 0.0:
        voltage = _at_one_temperature(voltage, _flat("temperature_c", temperature_c), ends, entropic_v_k)
    starts = _first_times(time, ends) if start_s is None else _flat("start_s", start_s)
    if starts.shape != (n,):
        raise ValueError(f"start_s has {starts.size} values for {n} records")
    out = np.empty((n, layout.COLUMNS))
    code, why = np.empty(n, dtype=np.uint8), np.empty(n, dtype=np.uint8)
    limit = k_sd_max_mv_h * V_S_PER_MV_H
    relaxation_fit_kernel(time, voltage, ends, starts, relaxed, limit, reach_min, out, code, why)
    return _result(out, code, why)


def fit_relaxation(
    time_s: Float64Array, voltage_v: Float64Array, start_s: float | None = None, **options: Any
) -> Relaxations:
    """`fit_relaxations` of one record: arrays of one element."""
    ends = np.array([0, np.size(time_s)], dtype=np.int64)
    return fit_relaxations(time_s, voltage_v, ends, None if start_s is None else np.array([start_s]), **options)


def _flat(name: str, values: Float64Array) -> Float64Array:
    # Writable: a read-only array (Polars, Arrow) is another type to Numba, and a quarter minute more to compile.
    column = np.require(values, np.float64, ["C", "W"])
    if column.ndim != 1:
        raise ValueError(f"{name} has shape {column.shape}; it must be flat")
    return column


def _first_times(time: Float64Array, ends: NDArray[np.int64]) -> Float64Array:
    """First finite time of every record, 0 where there is none."""
    first = np.zeros(ends.size - 1)
    for i, (low, high) in enumerate(pairwise(ends)):
        good = np.flatnonzero(np.isfinite(time[low:high]))
        if good.size:
            first[i] = time[low + good[0]]
    return first


def _at_one_temperature(
    voltage: Float64Array, temperature_c: Float64Array, ends: NDArray[np.int64], entropic_v_k: float
) -> Float64Array:
    """Voltage with its change by temperature since the record's mean taken out."""
    if temperature_c.shape != voltage.shape:
        raise ValueError(f"temperature_c has {temperature_c.size} samples, voltage_v {voltage.size}")
    level = np.where(np.abs(temperature_c) < 200.0, temperature_c, np.nan)
    even = voltage.copy()
    for low, high in pairwise(ends):
        part = level[low:high]
        if np.isfinite(part).any():
            even[low:high] -= entropic_v_k * (part - np.nanmean(part))
    return even


def _result(out: Float64Array, code: NDArray[np.uint8], why: NDArray[np.uint8]) -> Relaxations:
    return Relaxations(
        v_inf_v=out[:, layout.V_INF],
        v_inf_sd_v=out[:, layout.V_INF_SD],
        amplitude_v=out[:, layout.AMPLITUDE],
        amplitude_sd_v=out[:, layout.AMPLITUDE_SD],
        k_v_s=out[:, layout.K],
        k_sd_v_s=out[:, layout.K_SD],
        tau_s=out[:, layout.TAU],
        tau_sd_s=out[:, layout.TAU_SD],
        beta=out[:, layout.BETA],
        beta_sd=out[:, layout.BETA_SD],
        noise_v=out[:, layout.NOISE],
        correlation_samples=out[:, layout.CORRELATION],
        reach=out[:, layout.END],
        end_slope_v_s=out[:, layout.END_SLOPE],
        samples=out[:, layout.USED],
        duration_s=out[:, layout.DURATION],
        status=code,
        why=why,
    )
