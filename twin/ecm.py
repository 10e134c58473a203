"""Equivalent circuits of cells from measured records: checks shapes, calls the kernel, says what can be split. No I/O.

Current is positive in charge. What the record cannot support is absent (NaN in a batch, None for one record), with the
reason in words; `total_ohm` is the one resistance that even a short record shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import ecm_report as layout
from kernels import status as codes
from kernels.ecm import ecm_fit as ecm_fit_kernel
from twin.arrays import floats, integers

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

NAMES = ("ocv_v", "drift_v_c", "r0_ohm", "r1_ohm", "tau1_s", "r2_ohm", "tau2_s")
"""Parameters in the order of the covariance's sides."""
FLOOR_V = 1e-5  # a tenth of the last digit of usual cyclers: no residual is believed to be smaller

CAUSES = {
    layout.NONE: "",
    layout.QUICK: "the rows are further apart than the time constant: log faster after the step",
    layout.SLOW: "the record is shorter than the time constant: log a longer pulse, or the rest after it too",
    layout.VAGUE: "noise hides the parts from each other: step the current by more, or log for longer",
    layout.UNSETTLED: "the fit did not settle: cut the record to one step and the rest after it",
    layout.FLAT: "it has too few rows or no step of the current: give four rows or more around a step",
}


@dataclass(frozen=True, slots=True, eq=False)
class EcmFits:
    """Fits of n records, arrays (n,); NaN where the record does not support the figure.

    `_sd` are standard deviations with the residuals' autocorrelation allowed for; `interval` gives 95 % bands.
    """

    ocv_v: Float64Array  # as given, or fitted: the voltage at rest
    ocv_sd_v: Float64Array
    drift_v_c: Float64Array  # of the open-circuit voltage, per coulomb
    drift_sd_v_c: Float64Array
    r0_ohm: Float64Array  # with everything quicker than the sampling
    r0_sd_ohm: Float64Array
    r1_ohm: Float64Array
    r1_sd_ohm: Float64Array
    tau1_s: Float64Array  # tau1 < tau2
    tau1_sd_s: Float64Array
    r2_ohm: Float64Array
    r2_sd_ohm: Float64Array
    tau2_s: Float64Array
    tau2_sd_s: Float64Array
    total_ohm: Float64Array  # R0 + R1 + R2, each as far as `hold_s` of constant current brings it
    total_sd_ohm: Float64Array
    hold_s: Float64Array  # longest stretch after a step
    rmse_v: Float64Array
    inflation: Float64Array  # of the variance, for autocorrelated residuals; far above 1: the model misses something
    rows_used: Int64Array
    pairs: Int64Array  # RC pairs identified; 0: only `total_ohm`, or nothing
    covariance: Float64Array  # (n, 7, 7), sides in the order of NAMES
    status: NDArray[np.uint8]
    cause: Int64Array
    asked: int  # RC pairs asked for

    def reason(self, n: int) -> str:
        """What was and was not found in record n, in words; empty when all that was asked for."""
        code, pairs = int(self.status[n]), int(self.pairs[n])
        if code == codes.OK:
            return ""
        if code == codes.BAD_INPUT:
            return (
                "more than half of the rows, or before_a or before_s, is not a number in range: check columns and units"
            )
        if code == codes.BAD_TIME:
            return "time goes back: sort the rows, or give each stretch as a record of its own"
        cause = CAUSES[int(self.cause[n])]
        if code == codes.REDUCED and pairs == 0:
            return f"only R0 + R1 is identifiable (total_ohm, {self.hold_s[n]:.3g} s into the step) because {cause}"
        if code == codes.REDUCED:
            return f"{pairs} RC pair instead of {self.asked} because {cause}"
        return f"the record shows no resistance because {cause}"

    def interval(self, name: str) -> tuple[Float64Array, Float64Array]:
        """95 % band of a parameter by its name, Student's t; symmetric in the logarithm for time constants."""
        value = getattr(self, name)
        head, unit = name.split("_", 1)
        sd = getattr(self, f"{head}_sd_{unit}")
        fitted = np.isfinite(self.covariance[:, range(7), range(7)]).sum(axis=1)
        reach = student_95(self.rows_used - fitted)
        if head.startswith("tau"):
            factor = np.exp(np.minimum(reach * sd / value, 50.0))
            return value / factor, value * factor
        return value - reach * sd, value + reach * sd


@dataclass(frozen=True, slots=True)
class EcmFit:
    """One record's fit; None where the record does not support the figure. Fields as in EcmFits."""

    ocv_v: float | None
    ocv_sd_v: float | None
    drift_v_c: float | None
    drift_sd_v_c: float | None
    r0_ohm: float | None
    r0_sd_ohm: float | None
    r1_ohm: float | None
    r1_sd_ohm: float | None
    tau1_s: float | None
    tau1_sd_s: float | None
    r2_ohm: float | None
    r2_sd_ohm: float | None
    tau2_s: float | None
    tau2_sd_s: float | None
    total_ohm: float | None
    total_sd_ohm: float | None
    hold_s: float | None
    rmse_v: float | None
    inflation: float | None
    rows_used: int
    pairs: int
    status: int
    reason: str


def student_95(freedom: NDArray[Any]) -> Float64Array:
    """97.5 % point of Student's t, within 0.3 % from 5 degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    v = np.maximum(np.asarray(freedom, dtype=np.float64), 1.0)
    z = 1.959963984540054
    first, second = (z**3 + z) / 4.0, (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    reach: Float64Array = z + first / v + second / v**2 + third / v**3
    return reach


def fit_ecms(
    offsets: Int64Array | Sequence[int],
    time_s: Float64Array,
    current_a: Float64Array,
    voltage_v: Float64Array,
    *,
    pairs: int = 2,
    ocv_v: Float64Array | float | None = None,
    drift: bool = False,
    before_a: Float64Array | float = 0.0,
    before_s: Float64Array | float = 0.0,
    until_next: bool = False,
    floor_v: float = FLOOR_V,
    threads: int = 1,
) -> EcmFits:
    """Fits n ragged records, rows offsets[k] to offsets[k + 1] of the flat arrays, on `threads` cores.

    `ocv_v`: voltage at rest where it is known, None or NaN to fit it. `before_a` is the current that flowed for
    `before_s` before the first row, after a rest (a relaxation record: the pulse's current and length; inf: settled).
    A row's current is taken to have flowed since the row before, as cyclers log it; `until_next` for a driver that
    logs what it sets. Any float is accepted and answered by a status. ValueError: shapes or options make no sense.
    """
    marks = integers(offsets)
    time, current, voltage = (floats(a) for a in (time_s, current_a, voltage_v))
    rows = time.size
    if not time.shape == current.shape == voltage.shape == (rows,):
        raise ValueError(f"time, current and voltage differ: {time.shape}, {current.shape}, {voltage.shape}")
    if marks.ndim != 1 or marks.size < 1 or marks[0] < 0 or marks[-1] > rows or (np.diff(marks) < 0).any():
        raise ValueError(f"offsets must rise from 0 to at most {rows}")
    if pairs not in {1, 2}:
        raise ValueError(f"one or two RC pairs can be fitted, not {pairs}")
    if not 0.0 <= floor_v < 1.0:
        raise ValueError(f"floor_v {floor_v:g} is not the resolution of a voltage")
    n = marks.size - 1
    rest = _each("ocv_v", math.nan if ocv_v is None else ocv_v, n)
    before = _each("before_a", before_a, n)
    lasted = _each("before_s", before_s, n)
    out = np.empty((n, layout.OUTPUTS))
    covariance = np.empty((n, layout.PARAMETERS, layout.PARAMETERS))
    code = np.empty(n, dtype=np.uint8)

    def work(first: int, stop: int) -> None:
        ecm_fit_kernel(
            marks, time, current, voltage, before, lasted, rest, pairs, drift, until_next, floor_v, first, stop,
            out, covariance, code,
        )  # fmt: skip

    if threads <= 1 or n < 2:
        work(0, n)
    else:
        # Several shares per thread: records differ in length, and one core may be busy elsewhere.
        cuts = np.unique(np.linspace(0, n, 8 * threads + 1).astype(np.int64))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, cuts[:-1].tolist(), cuts[1:].tolist()))
    return _results(out, covariance, code, rest, pairs)


def _each(name: str, value: Float64Array | float, n: int) -> Float64Array:
    """`value` for every record. ValueError: neither one nor n."""
    given = np.asarray(value, dtype=np.float64)
    if given.shape not in {(), (n,)}:
        raise ValueError(f"{name} has shape {given.shape}; there are {n} records")
    return floats(np.broadcast_to(given, (n,)))


def _results(
    out: Float64Array, covariance: Float64Array, code: NDArray[np.uint8], rest: Float64Array, asked: int
) -> EcmFits:
    """The kernel's columns under their names."""
    values: dict[str, Any] = {}
    for k, name in enumerate(NAMES):
        head, unit = name.split("_", 1)
        values[name] = np.ascontiguousarray(out[:, k])
        values[f"{head}_sd_{unit}"] = np.sqrt(covariance[:, k, k])
    values["ocv_v"] = np.where(np.isfinite(rest), rest, values["ocv_v"])
    for name, column in (
        ("total_ohm", layout.TOTAL), ("total_sd_ohm", layout.TOTAL_SD), ("hold_s", layout.HOLD),
        ("rmse_v", layout.RMSE), ("inflation", layout.INFLATION),
    ):  # fmt: skip
        values[name] = np.ascontiguousarray(out[:, column])
    for name, column in (("rows_used", layout.USED), ("pairs", layout.PAIRS), ("cause", layout.CAUSE)):
        values[name] = np.nan_to_num(out[:, column]).astype(np.int64)
    return EcmFits(**values, covariance=covariance, status=code, asked=asked)


def fit_ecm(time_s: Float64Array, current_a: Float64Array, voltage_v: Float64Array, **options: Any) -> EcmFit:
    """Fits one record; options as in `fit_ecms`, apart from `threads`."""
    fits = fit_ecms([0, np.size(time_s)], time_s, current_a, voltage_v, **options)
    skip = {"rows_used", "pairs", "status", "reason"}
    values = {name: float(getattr(fits, name)[0]) for name in EcmFit.__slots__ if name not in skip}
    return EcmFit(
        **{name: value if math.isfinite(value) else None for name, value in values.items()},
        rows_used=int(fits.rows_used[0]),
        pairs=int(fits.pairs[0]),
        status=int(fits.status[0]),
        reason=fits.reason(0),
    )
