"""Incremental capacity and differential voltage of many slow branches, and their peaks under lasting names. No I/O.

A branch is one charge or discharge at constant current (twin/ocv.py finds them in a record); branches lie one behind
the other with `offsets`. Both slopes are positive in charge and in discharge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels import dqdv as layout
from kernels import dqdv_peaks as peak_layout
from kernels import status as codes
from kernels.dqdv import slope_batch as slope_batch_kernel
from kernels.dqdv import voltage_noise as voltage_noise_kernel
from kernels.dqdv_peaks import follow as follow_kernel
from kernels.dqdv_peaks import peaks_batch as peaks_batch_kernel
from twin.arrays import floats, integers

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
C_PER_AH = 3600.0
BANDWIDTH_V = 0.005  # standard deviation of the smoothing; peaks of intercalation cells are 20 to 100 mV wide
BANDWIDTH_FRACTION = 0.01  # of the charge that a branch moves, for dV/dQ
MOST_POINTS = 100_000
MOST_PEAKS = 32
REASONS = {
    codes.OK: "",
    codes.DEGRADED: "rows that are not finite were left out",
    codes.NOT_IDENTIFIABLE: "fewer than ten usable rows, or less than six bandwidths long",
    codes.BAD_INPUT: "no usable row, or voltages between which no grid of this bandwidth fits",
}


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Slopes of n branches on g grid points each; NaN where a branch does not reach and where `status` is not OK."""

    start: Float64Array  # (n,) of the grid; volt for dQ/dV, Ah since the branch's lowest charge for dV/dQ
    bandwidth: Float64Array  # (n,) standard deviation of the smoothing, in the grid's unit
    value: Float64Array  # (n, g) Ah/V or V/Ah
    value_sd: Float64Array  # from the noise of the voltage readings; smoothing is no error but part of what it is
    rising: NDArray[np.bool_]  # (n,) charge, else discharge
    status: NDArray[np.uint8]

    def grid(self, branch: int) -> Float64Array:
        """Places (g,) of one branch's values."""
        step = self.bandwidth[branch] / layout.GRID_PER_H
        places: Float64Array = self.start[branch] + step * np.arange(self.value.shape[1])
        return places

    def reason(self, branch: int) -> str:
        """Why a branch has no slopes, or what is wrong with them; empty if nothing."""
        return REASONS[int(self.status[branch])]


@dataclass(frozen=True, slots=True)
class Peak:
    """One peak of dQ/dV, as it is at the curve's bandwidth."""

    name: str
    voltage_v: float
    voltage_v_sd: float
    height_ah_v: float
    height_ah_v_sd: float
    width_v: float  # between the places at half of what stands out of the higher valley
    width_v_sd: float
    area_ah: float  # charge between the valleys beside it
    area_ah_sd: float
    excess_ah: float  # charge above the level of the higher valley: there also where a flat valley leaves no area
    excess_ah_sd: float

    @property
    def reason(self) -> str:
        """Why a figure is absent; empty where none is."""
        return "area_ah: a flat valley leaves open where the peak ends" if math.isnan(self.area_ah) else ""


def incremental_capacity(
    charge_c: Float64Array, voltage_v: Float64Array, offsets: Int64Array, bandwidth_v: float = BANDWIDTH_V
) -> Slopes:
    """dQ/dV of all branches on one grid of voltage. ValueError: bandwidth or offsets make no sense."""
    charge, voltage, ends = _checked(charge_c, voltage_v, offsets)
    if not 1e-6 <= bandwidth_v <= 1.0:
        raise ValueError(f"bandwidth_v {bandwidth_v:g} is not between 1e-6 and 1 V")
    n = len(ends) - 1
    good = voltage[np.abs(voltage) < 1e3]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 0.0)
    step = bandwidth_v / layout.GRID_PER_H
    start = np.floor(low / step) * step
    points = min(int((high - start) / step) + 2, MOST_POINTS)
    noise = np.empty(n)
    voltage_noise_kernel(voltage, charge, ends, noise)
    starts, widths = np.full(n, start), np.full(n, bandwidth_v)
    value, sd, code = np.empty((n, points)), np.empty((n, points)), np.empty(n, dtype=np.uint8)
    slope_batch_kernel(voltage, charge, ends, starts, widths, noise, True, value, sd, code)
    rising = _rising(charge, ends)
    return Slopes(starts, widths, value / C_PER_AH, sd / C_PER_AH, rising, code)


def differential_voltage(
    charge_c: Float64Array, voltage_v: Float64Array, offsets: Int64Array, bandwidth_ah: float | None = None
) -> Slopes:
    """dV/dQ of all branches, each from its own lowest charge; by default at a bandwidth of 1 % of what it moves."""
    charge, voltage, ends = _checked(charge_c, voltage_v, offsets)
    n = len(ends) - 1
    if bandwidth_ah is not None and not 1e-12 < bandwidth_ah < 1e9:
        raise ValueError(f"bandwidth_ah {bandwidth_ah:g} is not a charge")
    low, span = np.zeros(n), np.zeros(n)
    for r in range(n):
        part = charge[ends[r] : ends[r + 1]]
        part = part[np.abs(part) < 1e12]
        if part.size:
            low[r] = part.min()
            span[r] = part.max() - low[r]
    widths = span * BANDWIDTH_FRACTION if bandwidth_ah is None else np.full(n, bandwidth_ah * C_PER_AH)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(widths > 0.0, span / widths * layout.GRID_PER_H, 0.0)
    points = min(int(steps.max(initial=0.0)) + 2, MOST_POINTS)
    noise = np.empty(n)
    voltage_noise_kernel(voltage, charge, ends, noise)
    value, sd, code = np.empty((n, points)), np.empty((n, points)), np.empty(n, dtype=np.uint8)
    slope_batch_kernel(charge, voltage, ends, low, widths, noise, False, value, sd, code)
    rising = _rising(charge, ends)
    return Slopes(np.zeros(n), widths / C_PER_AH, value * C_PER_AH, sd * C_PER_AH, rising, code)


def peaks(curves: Slopes, least_prominence: float = 0.03, sigmas: float = 5.0) -> list[tuple[Peak, ...]]:
    """Peaks of every dQ/dV curve in rising voltage, named P1, P2, ... curve by curve; see `followed`.

    One counts when it stands out by `least_prominence` of the highest value and by `sigmas` standard deviations.
    """
    n = len(curves.status)
    found, code = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint8)
    table = np.empty((n, MOST_PEAKS, peak_layout.PEAK_COLUMNS))
    peaks_batch_kernel(
        curves.value, curves.value_sd, curves.start, curves.bandwidth, least_prominence, sigmas, table, found, code
    )
    return [tuple(_peak(f"P{p + 1}", table[r, p]) for p in range(found[r])) for r in range(n)]


def followed(
    found: Sequence[Sequence[Peak]], reach_v: float = 0.05, names: Sequence[str] | None = None
) -> list[tuple[Peak, ...]]:
    """The same peaks under names that last: each curve's take theirs from where a name was last seen.

    The first curve gives P1, P2, ... or `names`; a peak further than `reach_v` from every free name of its order gets a
    new one. A name that a curve lacks is absent there and can come back. Give curves of one direction only.
    """
    known: list[Peak] = []
    out: list[tuple[Peak, ...]] = []
    count = 0
    for r, curve in enumerate(found):
        before = np.array([[p.voltage_v, p.area_ah] for p in known]).reshape(-1, 2).T.copy()
        now = np.array([[p.voltage_v, p.area_ah] for p in curve]).reshape(-1, 2).T.copy()
        match = np.empty(len(curve), dtype=np.int64)
        follow_kernel(now[0], now[1], before[0], before[1], reach_v, match)
        named = []
        for p, whose in zip(curve, match, strict=True):
            if whose >= 0:
                name = known[whose].name
            else:
                count += 1
                given = r == 0 and names is not None and count <= len(names)
                name = names[count - 1] if given and names is not None else f"P{count}"
            named.append(replace(p, name=name))
        seen = {p.name for p in named}
        known = sorted([*named, *(p for p in known if p.name not in seen)], key=lambda p: p.voltage_v)
        out.append(tuple(named))
    return out


def _peak(name: str, row: Float64Array) -> Peak:
    figures = np.stack([row[: peak_layout.SD], row[peak_layout.SD :]], axis=1)
    return Peak(name, *(float(v) for v in figures.ravel()))


def _rising(charge: Float64Array, ends: Int64Array) -> NDArray[np.bool_]:
    out = np.zeros(len(ends) - 1, dtype=np.bool_)
    for r in range(len(out)):
        part = charge[ends[r] : ends[r + 1]]
        part = part[np.isfinite(part)]
        out[r] = part.size > 0 and part[-1] > part[0]
    return out


def _checked(
    charge_c: Float64Array, voltage_v: Float64Array, offsets: Int64Array
) -> tuple[Float64Array, Float64Array, Int64Array]:
    charge = floats(charge_c)
    voltage = floats(voltage_v)
    ends = integers(offsets)
    if charge.ndim != 1 or charge.shape != voltage.shape:
        raise ValueError(f"columns differ in length: {charge.shape} and {voltage.shape}")
    whole = ends.ndim == 1 and len(ends) > 0 and ends[0] == 0 and ends[-1] == len(charge)
    if not whole or (np.diff(ends) < 0).any():
        raise ValueError("offsets rise from 0 to the number of rows")
    return charge, voltage, ends
