"""OCV over SOC from a slow charge and discharge, several scripts joined. Finds the branches itself. No I/O.

Current is positive in charge. The slowest discharge and the slowest charge that each cross at least half of the
record's voltage are the branches. Full is where the discharge begins, empty where the charge begins, so that what a
cycler does in between to reach them (holds, tapers, dithering) counts on the branch that it completes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels import ocv as layout
from kernels import status as codes
from kernels.ocv import find_branches as find_branches_kernel
from kernels.ocv import joined_charge as joined_charge_kernel
from kernels.ocv import ocv_batch as ocv_batch_kernel
from twin.arrays import floats

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
C_PER_AH = 3600.0
POINTS = 201
MOST_BRANCHES = 1024
SAME_FULL = 0.01  # capacities that differ by more did not begin and end at the same full
OHMIC_S = 1.0  # a step is read this long after its edge, or at the first row later
# A row that comes later after a branch's end says nothing of the step there: at the end of a discharge the voltage has
# fallen on in between by more than the resistance makes.
END_S = 2.0
# Part of the charge that may have flowed by a branch's first row for its voltage to stand for that at the edge.
LATE_START = 0.01
NEAR_START = 0.1 / (POINTS - 1)  # nearer to its edge a branch's first row is as good as at it
REASONS = {
    codes.OK: "",
    codes.DEGRADED: "rows without a usable time or current were left out",
    codes.NOT_IDENTIFIABLE: "no slow charge and slow discharge that both cross most of the voltage range",
    codes.BAD_INPUT: "no finite current and voltage, or the record moves no charge between empty and full",
    codes.OUT_OF_SPACE: f"more than {MOST_BRANCHES} spans of constant current: not a slow test",
}


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One span of constant current: rows `first` to `last` of the record."""

    first: int
    last: int
    current_a: float


@dataclass(frozen=True, slots=True, eq=False)
class OcvCurve:
    """OCV on a SOC grid (g,), empty and full as the test reached them. NaN throughout where `reason` says why."""

    soc: Float64Array
    ocv_v: Float64Array
    ocv_v_sd: Float64Array
    hysteresis_v: Float64Array  # half the gap of the branches without the ohmic part; slow polarisation is still in it
    hysteresis_v_sd: Float64Array
    discharge_ah: float  # net, full to empty
    charge_ah: float  # net, empty to full
    ohmic_ohm: float  # NaN where no step of current was seen; the half-width then holds the ohmic part
    ohmic_ohm_sd: float
    status: int
    reason: str

    @property
    def capacity_difference(self) -> float:
        """Discharge over charge less one."""
        return self.discharge_ah / self.charge_ah - 1.0


@dataclass(frozen=True, slots=True, eq=False)
class SlowTest:
    """Columns of one cell's record, equal lengths. `script` or a time that falls separates joined scripts.

    The counters (or their difference in `net_ah`) are used where given: a cycler sees current between its rows.
    `net_step_ah`: what they count in, where that is coarse.
    """

    time_s: Float64Array
    current_a: Float64Array
    voltage_v: Float64Array
    charge_ah: Float64Array | None = None
    discharge_ah: Float64Array | None = None
    net_ah: Float64Array | None = None
    script: Float64Array | None = None
    net_step_ah: float = 0.0


def parts(test: SlowTest) -> Int64Array:
    """Number of the script that each row belongs to."""
    n = len(test.time_s)
    new = np.zeros(n, dtype=np.int64)
    if n > 1:
        with np.errstate(invalid="ignore", over="ignore"):
            new[1:] = np.diff(_column(test.time_s, n)) < 0.0
        if test.script is not None:
            script = _column(test.script, n)
            new[1:] |= script[1:] != script[:-1]
    return np.cumsum(new)


def net_charge(test: SlowTest) -> tuple[Float64Array, int]:
    """Joined net charge (n,) in coulomb and the rows that were no use. ValueError: columns differ in length."""
    n = len(test.time_s)
    counter = np.full(n, np.nan)
    if test.net_ah is not None:
        counter = _column(test.net_ah, n) * C_PER_AH
    elif test.charge_ah is not None and test.discharge_ah is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            counter = (_column(test.charge_ah, n) - _column(test.discharge_ah, n)) * C_PER_AH
    out = np.empty(n)
    bad = joined_charge_kernel(parts(test), _column(test.time_s, n), _column(test.current_a, n), counter, out)
    return out, int(bad)


def branches(test: SlowTest, least_span_v: float) -> list[Branch]:
    """Spans of constant current that cross `least_span_v`, in order. ValueError: more than MOST_BRANCHES, lengths."""
    n = len(test.time_s)
    span, mean = np.empty((MOST_BRANCHES, 2), dtype=np.int64), np.empty(MOST_BRANCHES)
    current, voltage = _column(test.current_a, n), _column(test.voltage_v, n)
    found = find_branches_kernel(parts(test), current, voltage, least_span_v, span, mean)
    if found < 0:
        raise ValueError(REASONS[codes.OUT_OF_SPACE])
    return [Branch(int(span[k, 0]), int(span[k, 1]), float(mean[k])) for k in range(found)]


def ocv(test: SlowTest, points: int = POINTS) -> OcvCurve:
    """OCV of one cell. See `ocv_batch`."""
    return ocv_batch([test], points)[0]


def ocv_batch(tests: Sequence[SlowTest], points: int = POINTS) -> list[OcvCurve]:
    """OCV of many cells. ValueError: fewer than 5 points, or a record's columns differ in length."""
    if not 5 <= points <= 100_001:
        raise ValueError(f"an OCV grid has 5 to 100,001 points, not {points}")
    prepared = [_prepare(test) for test in tests]
    nothing = np.empty(0)
    sides = [side for p in prepared for side in (p.sides or ((nothing, nothing), (nothing, nothing)))]
    soc = np.concatenate([nothing, *(s[0] for s in sides)])
    voltage = np.concatenate([nothing, *(s[1] for s in sides)])
    offsets = np.cumsum([0, *(len(s[0]) for s in sides)], dtype=np.int64)
    given = np.array([p.given for p in prepared]).reshape(-1, layout.INPUTS)
    # A branch is read over one and a half grid steps: a coarse grid is thinned out of a fine one, or it would be bent.
    every = -(-(POINTS - 1) // (points - 1))
    out = np.empty((len(tests), layout.OUTPUT_ROWS, (points - 1) * every + 1))
    code = np.empty(len(tests), dtype=np.uint8)
    ocv_batch_kernel(soc, voltage, offsets, given, out, code)
    return [_curve(p, out[r, :, ::every], int(code[r])) for r, p in enumerate(prepared)]


@dataclass(slots=True)
class _Prepared:
    """One record on its way to the kernel; `sides` None where `code` says that there is nothing to compute."""

    code: int
    given: tuple[float, ...] = (0.0,) * layout.INPUTS
    sides: tuple[tuple[Float64Array, Float64Array], tuple[Float64Array, Float64Array]] | None = None
    ah: tuple[float, float] = (np.nan, np.nan)
    ohmic: tuple[float, float] = (np.nan, np.nan)


def _prepare(test: SlowTest) -> _Prepared:
    voltage = _column(test.voltage_v, len(test.time_s))
    charge_c, bad = net_charge(test)
    good = voltage[np.abs(voltage) < 1e6]
    if not good.size or good.max() == good.min():
        return _Prepared(codes.BAD_INPUT)
    try:
        found = branches(test, 0.5 * float(good.max() - good.min()))
    except ValueError:
        return _Prepared(codes.OUT_OF_SPACE)
    slow = [_slowest([b for b in found if sign * b.current_a > 0.0]) for sign in (-1.0, 1.0)]
    dis, chg = slow
    if dis is None or chg is None:
        return _Prepared(codes.NOT_IDENTIFIABLE)
    # The row before a branch is the one at rest; the first of the branch has already moved charge.
    full, empty = max(dis.first - 1, 0), max(chg.first - 1, 0)
    out_c = float(charge_c[full] - charge_c[empty if empty > full else -1])
    in_c = float(charge_c[full if full > empty else -1] - charge_c[empty])
    if not (1e-3 < out_c < 1e12 and 1e-3 < in_c < 1e12):
        return _Prepared(codes.BAD_INPUT)
    difference = abs(out_c / in_c - 1.0)
    full_c = in_c if difference <= SAME_FULL else out_c  # else the charge did not end where the discharge began
    d, c = slice(dis.first, dis.last + 1), slice(chg.first, chg.last + 1)
    soc_d = 1.0 - (charge_c[full] - charge_c[d]) / out_c
    soc_c = (charge_c[c] - charge_c[empty]) / full_c
    ohmic = _ohmic(test, (dis, chg), charge_c)
    resistance = (0.0, 0.0) if np.isnan(ohmic[0]) else ohmic
    soc_sd = min(difference, SAME_FULL) / 12**0.5
    given = (abs(dis.current_a), abs(chg.current_a), *resistance, soc_sd)
    sides = (_from_edge(soc_d, voltage[d], 1.0), _from_edge(soc_c, voltage[c], 0.0))
    return _Prepared(codes.DEGRADED if bad else codes.OK, given, sides, (out_c / C_PER_AH, in_c / C_PER_AH), ohmic)


def _from_edge(soc: Float64Array, voltage: Float64Array, edge: float) -> tuple[Float64Array, Float64Array]:
    """A branch begins at its edge, where full and empty are, not at its first row, which a slow poll takes later."""
    if not NEAR_START < abs(soc[0] - edge) <= LATE_START:
        return soc, voltage
    return np.concatenate([[edge], soc]), np.concatenate([voltage[:1], voltage])


def _slowest(found: list[Branch]) -> Branch | None:
    """The branch of least current; of nearly equal ones (5 %) the first."""
    if not found:
        return None
    least = min(abs(b.current_a) for b in found)
    return next(b for b in found if abs(b.current_a) <= 1.05 * least)


def _ohmic(test: SlowTest, pair: tuple[Branch, Branch], charge_c: Float64Array) -> tuple[float, float]:
    """Smallest resistance of the steps at the branches' ends, and half its distance to the next: slower parts only add.

    Charge (n,) says how long before a branch's first row its edge was. A row at rest that already carries the stepped
    voltage (a known trap of cyclers) counts with the step.
    """
    n = len(test.time_s)
    time, current, voltage = (_column(c, n) for c in (test.time_s, test.current_a, test.voltage_v))
    part = parts(test)
    seen = []
    for branch in pair:
        for edge, way, near_s in ((branch.first, -1, 120.0), (branch.last, 1, END_S)):
            level = 0.01 * abs(branch.current_a)
            rest = _row_beside(time, part, edge, way, near_s, current, level)
            load = edge
            if way < 0 and rest is not None:
                since_c = abs(charge_c[edge] - charge_c[rest]) + 0.5 * C_PER_AH * test.net_step_ah  # at most
                since_s = min(since_c / abs(branch.current_a), time[edge] - time[rest])
                load = _at_least(time, edge, branch.last, OHMIC_S - since_s)
                before = rest - 1
                settled = before >= 0 and part[before] == part[rest] and abs(current[before]) <= level
                if settled and abs(voltage[before] - voltage[rest]) > 0.3 * abs(voltage[load] - voltage[before]):
                    rest = before
            if rest is not None:
                ohm = (voltage[load] - voltage[rest]) / branch.current_a
                if np.isfinite(ohm) and ohm > 0.0:
                    seen.append(float(ohm))
    seen.sort()
    if not seen:
        return np.nan, np.nan
    return seen[0], 0.5 * (seen[1] - seen[0]) if len(seen) > 1 else 0.5 * seen[0]


def _row_beside(
    time: Float64Array, part: Int64Array, edge: int, way: int, near_s: float, current: Float64Array, level: float
) -> int | None:
    """The row beside `edge` if it is a row at rest of the same script and at most so far away."""
    k = edge + way
    near = 0 <= k < len(time) and part[k] == part[edge] and abs(time[k] - time[edge]) <= near_s
    return k if near and abs(current[k]) <= level else None


def _at_least(time: Float64Array, first: int, last: int, wait_s: float) -> int:
    """First row of `first` to `last` that is `wait_s` after `first`."""
    for k in range(first, min(last, first + 1000) + 1):
        if time[k] - time[first] >= wait_s:
            return k
    return first


def _curve(prepared: _Prepared, out: Float64Array, code: int) -> OcvCurve:
    if prepared.code != codes.OK and (prepared.sides is None or code == codes.OK):
        code = prepared.code
    if prepared.sides is None:
        out = np.full_like(out, np.nan)
    return OcvCurve(
        soc=np.linspace(0.0, 1.0, out.shape[1]),
        ocv_v=out[layout.OUT_OCV], ocv_v_sd=out[layout.OUT_OCV_SD],
        hysteresis_v=out[layout.OUT_HALF], hysteresis_v_sd=out[layout.OUT_HALF_SD],
        discharge_ah=prepared.ah[0], charge_ah=prepared.ah[1],
        ohmic_ohm=prepared.ohmic[0], ohmic_ohm_sd=prepared.ohmic[1],
        status=code, reason=REASONS[code],
    )  # fmt: skip


def _column(values: Float64Array, n: int) -> Float64Array:
    """`values` as the kernel wants them. ValueError: not n of them."""
    column = floats(values)
    if column.shape != (n,):
        raise ValueError(f"columns differ in length: {column.shape} beside {n} rows of time_s")
    return column
