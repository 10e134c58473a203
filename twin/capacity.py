"""Charge, energy and efficiencies per cycle by coulomb counting. No I/O, no grading.

    result = count_one(time_s, current_a, voltage_v)
    result.first_cycle_efficiency, result.first_cycle_refused

Current is positive in charge. An efficiency is given only for a cycle whose discharge reached its voltage limit;
otherwise `refused` names what is missing. Where the equipment counts charge, its counter bridges gaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import capacity as half
from kernels import capacity_cycles as cyc
from kernels import status as codes
from kernels.capacity import capacity_halves as capacity_halves_kernel
from kernels.capacity_cycles import capacity_cycles as capacity_cycles_kernel
from twin.arrays import floats, integers

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
C_PER_AH, J_PER_WH = 3600.0, 3600.0

REFUSED_NAMES = (
    "", "no_charge", "no_discharge", "discharge_not_ended", "limit_unknown", "limit_not_reached", "gap",
    "not_from_empty", "more_out_than_in",
)  # fmt: skip
LIMIT_SOURCES = (
    "not found",
    "given",
    "lowest voltage that several discharges ended at, falling steeply",
    "one discharge ended there, falling steeply, at a round voltage",
)
STATUS_WORDS = {
    codes.OK: "all rows count",
    codes.AFTER_GAP: "the current is unknown over one or more gaps; the charge that moved then is missing",
    codes.WAITING: "no charge has moved",
    codes.BAD_INPUT: "no row has a finite time, current and voltage in a physical range",
}


@dataclass(frozen=True, slots=True)
class CountSettings:
    """How to count. None: the record gives the value."""

    limit_v: float | None = None  # at which discharges end
    tolerance_v: float = 0.01  # within which the limit counts as reached
    gap_limit_s: float = 300.0  # longer steps between rows are not integrated
    rest_current_a: float | None = None  # less counts as none; 0.2 % of the largest current
    least_ah: float | None = None  # a half-cycle moves at least this; 2 % of the charge that the record spans
    polled: bool = False  # rows at the device's poll, not at step ends: the current may have switched between any two
    current_gain_sd: float | None = None  # relative, of charge and discharge alike
    current_offset_sd_a: float | None = None
    voltage_offset_sd_v: float | None = None

    def __post_init__(self) -> None:
        positive = {"tolerance_v", "gap_limit_s", "rest_current_a", "least_ah"}
        for name in self.__slots__:
            value = getattr(self, name)
            if value is None or isinstance(value, bool):
                continue
            if not math.isfinite(value) or value < 0.0 or (name in positive and value == 0.0 and "rest" not in name):
                raise ValueError(f"{name} {value:g} is not possible")


@dataclass(frozen=True, slots=True, eq=False)
class CycleCounts:
    """Cycles of n records, one behind the other: arrays (m,), or (n,) where said. NaN where there is no figure.

    Standard deviations are NaN unless the settings state the instrument's; `status` (n,) as in kernels/status.py.
    """

    record: Int64Array  # which record a cycle is of
    cycle: Int64Array  # from 1; 0 is a discharge before the first charge
    charge_ah: Float64Array
    charge_sd_ah: Float64Array
    discharge_ah: Float64Array
    discharge_sd_ah: Float64Array
    charge_wh: Float64Array
    charge_sd_wh: Float64Array
    discharge_wh: Float64Array
    discharge_sd_wh: Float64Array
    charge_mean_v: Float64Array  # energy / charge
    discharge_mean_v: Float64Array
    coulombic_efficiency: Float64Array
    coulombic_efficiency_sd: Float64Array
    energy_efficiency: Float64Array
    lowest_v: Float64Array  # at which the discharge ended: the lowest under current, misreadings apart
    begin_s: Float64Array
    end_s: Float64Array
    gaps: Int64Array
    lost_s: Float64Array
    bridged: Int64Array  # gaps over which the equipment's counter was taken
    refused_code: NDArray[np.uint8]  # index into REFUSED_NAMES
    refused: tuple[str | None, ...]  # "name: words" where there is no efficiency
    status: NDArray[np.uint8]  # (n,)
    reason: tuple[str, ...]  # (n,)
    limit_v: Float64Array  # (n,), NaN where none was found
    limit_source: tuple[str, ...]  # (n,)
    bad_rows: Int64Array  # (n,) not finite, not physical, or out of order; skipped
    duplicates: Int64Array  # (n,) rows with the time of the row before; the later current holds from there

    def _first(self, record: int) -> int | None:
        at = np.flatnonzero((self.record == record) & (self.cycle == 1))
        return int(at[0]) if at.size else None

    def first_cycle_efficiency(self, record: int = 0) -> float | None:
        """Of the first charge and the discharge after it; None where `first_cycle_refused` says why."""
        at = self._first(record)
        return None if at is None or self.refused_code[at] else float(self.coulombic_efficiency[at])

    def first_cycle_refused(self, record: int = 0) -> str | None:
        """Why there is no first-cycle efficiency; None where there is one."""
        at = self._first(record)
        return "no_charge: the record has no charge" if at is None else self.refused[at]


def count_one(
    time_s: ArrayLike,
    current_a: ArrayLike,
    voltage_v: ArrayLike,
    net_charge_ah: ArrayLike | None = None,
    settings: CountSettings | None = None,
) -> CycleCounts:
    """`count` of one record, arrays (rows,)."""
    rows = np.asarray(time_s).shape[0] if np.ndim(time_s) == 1 else 0
    return count(time_s, current_a, voltage_v, [0, rows], net_charge_ah=net_charge_ah, settings=settings)


def count(
    time_s: ArrayLike,
    current_a: ArrayLike,
    voltage_v: ArrayLike,
    offsets: ArrayLike,
    net_charge_ah: ArrayLike | None = None,
    quality: ArrayLike | None = None,
    settings: CountSettings | None = None,
) -> CycleCounts:
    """Cycles of n records: rows offsets[r] to offsets[r + 1] of the flat arrays; offsets (n + 1,) from 0 to all rows.

    `net_charge_ah` is the equipment's counter of charge minus discharge, taken over gaps and, when `polled`, over
    edges of the current. Rows whose `quality` is not 0 are skipped. Any floats are accepted and answered by a status.
    ValueError: lengths differ, offsets do not fit.
    """
    chosen = settings or CountSettings()
    t, i, v = (floats(a) for a in (time_s, current_a, voltage_v))
    counter = np.empty(0)
    if net_charge_ah is not None:
        counter = np.asarray(net_charge_ah, dtype=np.float64) * C_PER_AH
    bounds = integers(offsets)
    rows = t.size
    shapes = {t.shape, i.shape, v.shape} | ({counter.shape} if net_charge_ah is not None else set())
    if shapes != {(rows,)}:
        raise ValueError(f"columns differ in length: {sorted(shapes)}")
    if bounds.ndim != 1 or bounds.size < 1 or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 0).any():
        raise ValueError("offsets must rise from 0 to the number of rows")
    if quality is not None:
        grade = np.asarray(quality)
        if grade.shape != (rows,):
            raise ValueError("columns differ in length: quality")
        i = np.where(grade == 0, i, np.nan)
    vector = np.array([
        math.nan if chosen.rest_current_a is None else chosen.rest_current_a,
        math.nan if chosen.least_ah is None else chosen.least_ah * C_PER_AH,
        chosen.gap_limit_s, float(chosen.polled),
        math.nan if chosen.limit_v is None else chosen.limit_v, chosen.tolerance_v,
    ])  # fmt: skip
    records, code = np.zeros((bounds.size - 1, half.RECORD_COLUMNS)), np.zeros(bounds.size - 1, dtype=np.uint8)
    half_offsets, cycle_offsets = np.zeros_like(bounds), np.zeros_like(bounds)
    space = 64 + 8 * (bounds.size - 1) + rows // 500
    while True:
        halves = np.empty((space, half.HALF_COLUMNS))
        found = capacity_halves_kernel(t, i, v, counter, bounds, vector, halves, half_offsets, records, code)
        if found <= space:
            break
        space = found
    cycles = np.empty((found + 1, cyc.CYCLE_COLUMNS))
    number = capacity_cycles_kernel(t, i, v, vector, halves[:found], half_offsets, records, cycles, cycle_offsets)
    return _result(cycles[:number], halves[:found], cycle_offsets, records, code, chosen)


def _sides(cycles: Float64Array, halves: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The cycles' charges and discharges, columns of NaN where one is missing."""
    padded = np.vstack([halves, np.full((1, half.HALF_COLUMNS), np.nan)])
    return padded[cycles[:, cyc.CHARGE].astype(np.int64)], padded[cycles[:, cyc.DISCHARGE].astype(np.int64)]


def _sd(side: Float64Array, s: CountSettings) -> tuple[Float64Array, Float64Array]:
    """Standard deviations of charge [C] and energy [J]; NaN when the settings state no uncertainty at all."""
    if s.current_gain_sd is None and s.current_offset_sd_a is None and s.voltage_offset_sd_v is None:
        return np.full(len(side), np.nan), np.full(len(side), np.nan)
    gain, offset, volts = s.current_gain_sd or 0.0, s.current_offset_sd_a or 0.0, s.voltage_offset_sd_v or 0.0
    charge, energy = side[:, half.CHARGE_C], side[:, half.ENERGY_J]
    variance = (gain * charge) ** 2 + (offset * side[:, half.FLOW_S]) ** 2 + side[:, half.EDGE_C2]
    return np.sqrt(variance), np.sqrt(variance * (energy / charge) ** 2 + (volts * charge) ** 2)


def _refusal(code: int, into: Float64Array, out: Float64Array, limit_v: float) -> str | None:
    """The refusal's name and its words."""
    words = (
        None,
        "the record has a discharge without a charge before it",
        "the record has no discharge after this charge",
        f"the record ends while the discharge goes on, at {out[half.END_V]:.3f} V",
        f"the discharge ended at {out[half.LOW_V]:.3f} V and nothing in the record shows that to be its voltage limit; "
        "give limit_v",
        f"the discharge ended at {out[half.LOW_V]:.3f} V, its limit is {limit_v:.3f} V",
        f"the current is unknown over {_both(into, out, half.LOST_S):.0f} s in {_both(into, out, half.GAPS):.0f} gaps",
        f"the charge began at {into[half.BEGIN_V]:.3f} V, not from an empty cell (limit {limit_v:.3f} V)",
        "more charge came out than went in",
    )
    return None if code == cyc.GIVEN else f"{REFUSED_NAMES[code]}: {words[code]}"


def _both(into: Float64Array, out: Float64Array, column: int) -> float:
    return float(np.nansum([into[column], out[column]]))


def _result(
    cycles: Float64Array,
    halves: Float64Array,
    cycle_offsets: Int64Array,
    records: Float64Array,
    code: NDArray[np.uint8],
    chosen: CountSettings,
) -> CycleCounts:
    """The kernels' columns in the units of people."""
    into, out = _sides(cycles, halves)
    record = np.repeat(np.arange(len(records)), np.diff(cycle_offsets))
    refused_code = cycles[:, cyc.REFUSED].astype(np.uint8)
    limit = records[:, half.USED_LIMIT_V].copy()
    (q_in_sd, e_in_sd), (q_out_sd, e_out_sd) = _sd(into, chosen), _sd(out, chosen)
    efficiency = cycles[:, cyc.EFFICIENCY].copy()
    efficiency_sd = np.full(len(cycles), np.nan)
    if chosen.current_offset_sd_a is not None:
        per_a = into[:, half.FLOW_S] / into[:, half.CHARGE_C] + out[:, half.FLOW_S] / out[:, half.CHARGE_C]
        edges = into[:, half.EDGE_C2] / into[:, half.CHARGE_C] ** 2 + out[:, half.EDGE_C2] / out[:, half.CHARGE_C] ** 2
        efficiency_sd = efficiency * np.sqrt((chosen.current_offset_sd_a * per_a) ** 2 + edges)

    def total(column: int) -> Float64Array:
        both: Float64Array = np.nansum([into[:, column], out[:, column]], axis=0)
        return both

    return CycleCounts(
        record=record.astype(np.int64),
        cycle=cycles[:, cyc.NUMBER].astype(np.int64),
        charge_ah=into[:, half.CHARGE_C] / C_PER_AH,
        charge_sd_ah=q_in_sd / C_PER_AH,
        discharge_ah=out[:, half.CHARGE_C] / C_PER_AH,
        discharge_sd_ah=q_out_sd / C_PER_AH,
        charge_wh=into[:, half.ENERGY_J] / J_PER_WH,
        charge_sd_wh=e_in_sd / J_PER_WH,
        discharge_wh=out[:, half.ENERGY_J] / J_PER_WH,
        discharge_sd_wh=e_out_sd / J_PER_WH,
        charge_mean_v=into[:, half.ENERGY_J] / into[:, half.CHARGE_C],
        discharge_mean_v=out[:, half.ENERGY_J] / out[:, half.CHARGE_C],
        coulombic_efficiency=efficiency,
        coulombic_efficiency_sd=efficiency_sd,
        energy_efficiency=cycles[:, cyc.ENERGY_EFFICIENCY].copy(),
        lowest_v=out[:, half.LOW_V],
        begin_s=np.fmin(into[:, half.BEGIN_S], out[:, half.BEGIN_S]),
        end_s=np.fmax(into[:, half.END_S], out[:, half.END_S]),
        gaps=total(half.GAPS).astype(np.int64),
        lost_s=total(half.LOST_S),
        bridged=total(half.BRIDGED).astype(np.int64),
        refused_code=refused_code,
        refused=tuple(
            _refusal(int(refused_code[k]), into[k], out[k], float(limit[record[k]])) for k in range(len(cycles))
        ),
        status=code,
        reason=tuple(STATUS_WORDS.get(int(c), codes.name(int(c))) for c in code),
        limit_v=limit,
        limit_source=tuple(LIMIT_SOURCES[int(c)] for c in records[:, half.LIMIT_FROM]),
        bad_rows=(records[:, half.BAD_ROWS] + records[:, half.BAD_TIMES]).astype(np.int64),
        duplicates=records[:, half.DUPLICATES].astype(np.int64),
    )
