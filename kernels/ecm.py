"""Equivalent-circuit fit of many records: R0 with two, one or no RC pair, whatever the record can carry. SI units.

    v_k = v_ocv + s q_k + R0 i_k + R1 x1_k + R2 x2_k,    tau_j dx_j/dt = i - x_j

q is the charge moved, s an optional linear drift of the open-circuit voltage with it. Form: Plett, Battery Management
Systems vol. 1 (2015), chapter 2. Method: kernels/ecm_solve.py; uncertainty: kernels/ecm_report.py.

A pair is split from the rest only when every parameter of the model stands out of its own uncertainty and no time
constant lies at the edge of what the record reaches. Otherwise the next simpler model is tried, and at last one
resistance: R0 plus what the record reaches of the pairs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel
from kernels.ecm_columns import GRID, I_HOLD, I_ROWS, I_USED, INFO_ENTRIES, W_GRID, W_R0, WORK_ROWS, prepare, products
from kernels.ecm_report import (
    CAUSE,
    FLAT,
    HOLD,
    NONE,
    OUTPUTS,
    PAIRS,
    PARAMETERS,
    TOTAL,
    TOTAL_SD,
    UNSETTLED,
    USED,
    VAGUE,
    refusal,
    report,
    resistance_only,
    total,
)  # fmt: skip
from kernels.ecm_solve import HAS_CHARGE, HAS_OFFSET, HAS_R0, minimise, search

F = NDArray[np.float64]
Ints = NDArray[np.int64]


@contracted_helper
def _fit_levels(
    w: F, info: F, has: int, most_pairs: int, variance_floor: float, gram: F, index: Ints, a: F, length: F, c: F,
    inverse: F, start: F, ln_tau: F, out: F, cov: F,
) -> int:  # fmt: skip
    """The richest model that the record carries, from `most_pairs` downwards."""
    m = int(info[I_ROWS])
    search(w, info, has, gram, index, a, length, start)
    cause = NONE
    for pairs in range(most_pairs, 0, -1):
        if not start[pairs - 1] > 0.0:
            cause = VAGUE
            continue
        ln_tau[0], ln_tau[1] = math.log(start[pairs - 1]), math.log(start[2]) if pairs == 2 else 0.0
        products(w, m, 0, W_GRID, gram)
        if not minimise(w, info, has, pairs, ln_tau, gram, index, a, length, c):
            cause = UNSETTLED
            continue
        if not report(w, info, has, pairs, ln_tau, gram, index, a, length, c, inverse, variance_floor, out, cov):
            cause = VAGUE
            continue
        why = refusal(out, cov, info, has, pairs)
        if why == NONE:
            total(out, cov, info[I_HOLD], has, pairs, c)
            out[PAIRS], out[CAUSE] = pairs, cause
            return status.OK if pairs == most_pairs else status.REDUCED
        cause = why
    out[CAUSE] = cause
    if has & HAS_R0:
        products(w, m, 0, W_GRID, gram)
        if resistance_only(w, info, has, gram, index, a, length, c, inverse, variance_floor, out, cov):
            out[PAIRS] = 0.0
            return status.REDUCED
    return status.NOT_IDENTIFIABLE


@contracted_kernel
def ecm_fit(
    offsets: Ints,
    time_s: F,
    current_a: F,
    voltage_v: F,
    before_a: F,
    before_s: F,
    ocv_v: F,
    most_pairs: int,
    drift: bool,
    until_next: bool,
    floor_v: float,
    first: int,
    stop: int,
    out: F,
    covariance: F,
    code: NDArray[np.uint8],
) -> None:
    """Fits records `first` to `stop` - 1; record n is rows offsets[n] to offsets[n + 1] of the flat arrays.

    `before_a` flowed for `before_s` (inf: for ever; 0: rest) before the first row, after a rest. `ocv_v`: voltage at
    rest, NaN to fit it. A row's current has flowed since the row before, or with `until_next` until the next row.
    `floor_v`: least standard deviation of one voltage. Writes `out` (n, OUTPUTS), `covariance` (n, PARAMETERS,
    PARAMETERS) in the units of the parameters, NaN where a parameter is not reported, and `code` (n,): OK; REDUCED, a
    simpler model (out[PAIRS] pairs, out[CAUSE] why); NOT_IDENTIFIABLE, nothing; BAD_INPUT; BAD_TIME.
    """
    longest = 1
    for n in range(first, stop):
        longest = max(longest, offsets[n + 1] - offsets[n])
    w, info = np.zeros((WORK_ROWS, longest)), np.zeros(INFO_ENTRIES)
    columns = W_GRID + GRID
    gram, a, inverse = np.zeros((columns, columns)), np.zeros((columns, columns)), np.zeros((PARAMETERS, PARAMETERS))
    length, c, index = np.zeros(columns), np.zeros(columns), np.zeros(2 * columns, dtype=np.int64)
    start, ln_tau = np.zeros(3), np.zeros(4)
    for n in range(first, stop):
        out[n, :] = math.nan
        covariance[n, :, :] = math.nan
        rows = slice(offsets[n], offsets[n + 1])
        code[n] = prepare(
            time_s[rows], current_a[rows], voltage_v[rows], until_next, before_a[n], before_s[n], ocv_v[n], w, info
        )
        out[n, USED] = info[I_USED]
        if code[n] != status.OK:
            out[n, CAUSE] = FLAT
            continue
        out[n, HOLD] = info[I_HOLD]
        products(w, int(info[I_ROWS]), 0, W_GRID, gram)
        has = (0 if math.isfinite(ocv_v[n]) else HAS_OFFSET) | (HAS_CHARGE if drift else 0)
        has |= HAS_R0 if gram[W_R0, W_R0] > 0.0 else 0
        code[n] = _fit_levels(
            w, info, has, most_pairs, floor_v * floor_v, gram, index, a, length, c, inverse, start, ln_tau,
            out[n], covariance[n],
        )  # fmt: skip
        if code[n] == status.NOT_IDENTIFIABLE:
            out[n, :PARAMETERS] = math.nan
            out[n, TOTAL], out[n, TOTAL_SD] = math.nan, math.nan
            covariance[n, :, :] = math.nan


def warm_up() -> None:
    """Compiles with the signatures of twin/ecm.py."""
    time_s = np.arange(12.0)
    current = np.where(time_s > 1.0, 1.0, 0.0)
    voltage = 3.0 + 0.1 * current + 0.05 * np.maximum(1.0 - np.exp((1.0 - time_s) / 3.0), 0.0)
    none, unknown = np.zeros(1), np.full(1, np.nan)
    ecm_fit(
        np.array([0, 12]), time_s, current, voltage, none, none, unknown, 2, False, False, 1e-5, 0, 1,
        np.empty((1, OUTPUTS)), np.empty((1, PARAMETERS, PARAMETERS)), np.empty(1, dtype=np.uint8),
    )  # fmt: skip
