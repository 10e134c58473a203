"""Two-RC extended Kalman filter for all cells of a rack in one call. SI units; no defaults, no checks of shapes.

State x = (soc, u1, u2, r0, k): state of charge, two overpotentials [V] (positive in charge), ohmic resistance at 25 C
[ohm], and k = nominal / true capacity. The inverse ratio makes the charge balance bilinear, so that the one slow
unknown that a charge count cannot do without enters without linearisation error:

    soc' = soc + eta q k / C_nom              q charge moved in dt [C], eta efficiency (first charge of a raw cell)
    uj'  = aj uj + f Rj (1 - aj) q/dt         aj = exp(-dt/tauj), f = exp(Ea/Rg (1/T - 1/298.15 K))
    r0'  = r0,  k' = k,  b' = exp(-|dsoc|/L) b + noise of variance 1 - exp(-2 |dsoc|/L)
    v    = OCV(soc) + u1 + u2 + f r0 i + sigma b

Plett, J. Power Sources 134 (2004) 262-276, for the form. b is the OCV's own error (hysteresis, a table of another cell)
in units of its standard deviation sigma: it changes with charge and not with time, and it is considered, not estimated
(Schmidt, Adv. Control Systems 3 (1966) 293; Jazwinski, Stochastic Processes and Filtering Theory, 1970, section 8.4):
no gain, variance 1, covariances with x carried along, so that no number of samples makes the SOC surer than the OCV.

The covariance is kept as one triangle, so it is symmetric, and updated as P - c c'/S with c = P h: with the gain
exactly c/S, as here, Joseph's form is this, term by term, also where b's gain is left out. It stays positive definite
because no update may shrink the variance along h by more than 1e9 (1e-16 is where double precision loses the sign), and
because every prediction adds noise to every state. Mean and slope of the OCV are those over the band of the SOC
(statistical linearisation; tables from twin/parameters.py), and what the slope does not explain adds to the
innovation's variance, so that a wide prior on a bent OCV is not taken for knowledge.

Only good samples move a cell's stored state. A bad or missing one gives the prediction to its time and leaves the
state at the last good sample, so that a gap is one step from the last good sample to the next, however many bad ones
lie between, and the equipment's own charge counter bridges all of it.
"""

# ruff: noqa: I001  (one name a line would be eighty lines of imports)
from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_helper, contracted_kernel, inlined
from kernels.ekf_lanes import (
    check_lanes, compare_lanes, drive_lanes, exponentials_lanes, measure_lanes, predict_lanes, results_lanes,
)  # fmt: skip
from kernels.ekf_layout import (
    B0, CURRENT, D_A1, D_A2, D_AMPERE, D_CAPACITY, D_CHARGE, D_COMPARED, D_DT, D_ETA, D_FACTOR, D_GOOD, D_INNOVATION,
    D_OUT, D_R0, D_R1, D_R2, D_SD, D_SOUND, D_TAKEN, D_VOLTAGE, D_WARM, FORMED, K, LANES, LEVELS, MISSES, MISSES_MAX,
    NOISE_ENTRIES, N_FLOOR1, N_FLOOR2, N_FLOOR_RAW, N_GAP, N_OCV_SOC, N_OCV_V, N_RAW_SD, N_RAW_SOC, N_UNCERTAIN,
    N_VOLTAGE, OCV_COLUMNS, OCV_VALUE, OUTPUT_ROWS, P00, P01, P02, P03, P11, P22, P33, P44, PARAMETER_COLUMNS,
    PAR_CAPACITY, PAR_EA, PAR_ETA, PAR_K_SD, PAR_R0, PAR_R0_SD, PAR_R1, PAR_R2, PAR_RATE1, PAR_RATE2, PHASE, R0, RAW,
    REFERENCE_K, SOC, SOC_SD_MAX, START_POINTS, STATE_COLUMNS, TEMPERATURE, TIME_LIMIT_NS, UNSEEN, WORK_ROWS,
)  # fmt: skip

F = NDArray[np.float64]
Ints = NDArray[np.int64]


@inlined
def ocv_at(ocv: F, soc: float) -> tuple[float, float, float]:
    """OCV [V], slope and curvature per SOC. `ocv` is (m, 2 or more): values, slopes on a uniform grid from 0 to 1.

    Cubic Hermite between the points, straight lines beyond the ends. `soc` must be finite.
    """
    cells = ocv.shape[0] - 1
    if soc <= 0.0:
        return ocv[0, 0] + ocv[0, 1] * soc, ocv[0, 1], 0.0
    if soc >= 1.0:
        return ocv[cells, 0] + ocv[cells, 1] * (soc - 1.0), ocv[cells, 1], 0.0
    position = soc * cells
    k = min(int(position), cells - 1)
    t = position - k
    rise = ocv[k + 1, 0] - ocv[k, 0]
    m0 = ocv[k, 1] / cells
    m1 = ocv[k + 1, 1] / cells
    c2 = 3.0 * rise - 2.0 * m0 - m1
    c3 = m0 + m1 - 2.0 * rise
    value = ocv[k, 0] + t * (m0 + t * (c2 + t * c3))
    slope = cells * (m0 + t * (2.0 * c2 + 3.0 * t * c3))
    return value, slope, cells * (ocv[k + 1, 1] - ocv[k, 1])


@contracted_kernel
def soc_at(ocv: F, voltage_v: float) -> float:
    """SOC whose OCV is `voltage_v`, by bisection; 0 or 1 beyond the table."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if ocv_at(ocv, middle)[0] < voltage_v:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@inlined
def _start(
    w: F, lane: int, par: F, i: int | np.uintp, noise: F, ocv: F, voltage_v: float, current_a: float, factor: float
) -> None:
    """First good sample: SOC from the voltage. A cell at or below the bottom of the table is taken for raw."""
    for row in range(P44 + 1):
        w[row, lane] = 0.0
    w[MISSES, lane] = 0.0
    w[R0, lane] = par[i, PAR_R0]
    w[K, lane] = 1.0
    open_v = voltage_v - factor * par[i, PAR_R0] * current_a
    w[SOC, lane] = soc_at(ocv, open_v)
    w[PHASE, lane] = FORMED
    soc_sd, floor2 = SOC_SD_MAX, noise[N_FLOOR2]
    if w[SOC, lane] < noise[N_RAW_SOC]:
        w[PHASE, lane] = RAW
        soc_sd, floor2 = noise[N_RAW_SD], noise[N_FLOOR_RAW]
    # The overpotentials of an unknown past: those of C/5, or of the current that flows.
    past = max(abs(current_a), par[i, PAR_CAPACITY] / 18_000.0) * factor
    w[P00, lane] = soc_sd * soc_sd
    w[P11, lane] = noise[N_FLOOR1] ** 2 + (past * par[i, PAR_R1]) ** 2
    w[P22, lane] = floor2 * floor2 + (past * par[i, PAR_R2]) ** 2
    w[P33, lane] = par[i, PAR_R0_SD] ** 2
    w[P44, lane] = par[i, PAR_K_SD] ** 2
    if w[PHASE, lane] == FORMED:
        _settle(w, lane, noise, ocv, open_v, factor * current_a)


@contracted_helper
def _settle(w: F, lane: int, noise: F, ocv: F, open_v: float, h3: float) -> None:
    """SOC of the first sample by Bayes' rule over the whole table, every SOC being equally likely before.

    A flat stretch beside a knee makes the answer lopsided, and no slope at one point says so: then its mean is taken,
    else the mean stays where the table has the voltage. Covariances go to what else may explain the voltage:
    overpotentials, R0, the OCV's error b, whose own variances stay.
    """
    cells = ocv.shape[0] - 1
    rest = w[P11, lane] + w[P22, lane] + h3 * h3 * w[P33, lane] + noise[N_VOLTAGE] ** 2
    open_v = min(max(open_v, ocv[0, OCV_VALUE]), ocv[cells, OCV_VALUE])
    reach_v = 4.0 * math.sqrt(rest + noise[N_OCV_V] ** 2)
    low = max(soc_at(ocv, open_v - reach_v) - 4.0 * noise[N_OCV_SOC], 0.0)
    high = min(soc_at(ocv, open_v + reach_v) + 4.0 * noise[N_OCV_SOC], 1.0)
    step = max(high - low, 1e-6) / START_POINTS
    total, mean, square, over, over_b, soc_over, soc_over_b = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(START_POINTS):
        off = (k + 0.5) * step
        value, slope, _ = ocv_at(ocv, low + off)
        hb2 = noise[N_OCV_V] ** 2 + (noise[N_OCV_SOC] * slope) ** 2
        short = (open_v - value) / (rest + hb2)
        weight = math.exp(-0.5 * (open_v - value) * short) / math.sqrt(rest + hb2)
        total += weight
        mean += weight * off
        square += weight * off * off
        over += weight * short
        soc_over += weight * short * off
        over_b += weight * short * math.sqrt(hb2)
        soc_over_b += weight * short * math.sqrt(hb2) * off
    if not total > 0.0:
        return
    mean /= total
    with_rest = (soc_over - mean * over) / total
    w[B0, lane] = (soc_over_b - mean * over_b) / total
    w[P01, lane] = w[P11, lane] * with_rest
    w[P02, lane] = w[P22, lane] * with_rest
    w[P03, lane] = h3 * w[P33, lane] * with_rest
    # At least what the covariances claim, and what the sum over points cannot resolve.
    claimed = with_rest * with_rest * (rest - noise[N_VOLTAGE] ** 2) + w[B0, lane] ** 2
    variance = max(square / total - mean * mean, claimed) * (1.0 + 1e-6) + step * step
    off = low + mean - w[SOC, lane]
    if off * off > 0.04 * variance:  # lopsided by more than a fifth of its SD
        w[SOC, lane] += off
        off = 0.0
    w[P00, lane] = variance + off * off


@inlined
def _refused(w: F, lane: int) -> None:
    """The gate refused a good sample. Several in a row: doubt the state; the next is taken whatever it says."""
    w[MISSES, lane] += 1.0
    if w[MISSES, lane] >= MISSES_MAX:
        w[P00, lane] = min(w[P00, lane] + 0.25 * SOC_SD_MAX * SOC_SD_MAX, SOC_SD_MAX * SOC_SD_MAX)
        w[P11, lane] += w[D_INNOVATION, lane] ** 2
        w[P22, lane] += w[D_INNOVATION, lane] ** 2


@contracted_helper
def reset_cell(state: F, parameters: F, i: int | np.uintp) -> None:
    """Puts cell i's state to the prior of a cell that was never seen."""
    for j in range(STATE_COLUMNS):
        state[i, j] = 0.0
    state[i, SOC], state[i, R0], state[i, K] = 0.5, parameters[i, PAR_R0], 1.0
    state[i, P00], state[i, P11], state[i, P22] = SOC_SD_MAX**2, 1e-4, 1e-4
    state[i, P33], state[i, P44] = parameters[i, PAR_R0_SD] ** 2, parameters[i, PAR_K_SD] ** 2
    state[i, TEMPERATURE], state[i, PHASE] = REFERENCE_K, UNSEEN


@contracted_kernel
def ekf_update(
    state: F, last_ns: Ints, parameters: F, noise: F, ocv: F,
    time_ns: Ints, voltage_v: F, current_a: F, temperature_k: F,
    quality: NDArray[np.uint8], charge_c: F, out: F, code: NDArray[np.uint8],
) -> None:  # fmt: skip
    """One sample of each of n cells. Changes `state` (n, 29) and `last_ns` (n,); writes `out` (10, n) and `code` (n,).

    `quality` is 0 good, 1 uncertain (voltage trusted less), 2 and above bad (prediction only). `charge_c` is the charge
    moved since the cell's last good sample where the equipment counted it, else nan. Codes: kernels/status.py.
    """
    n, flat = state.shape[0], ocv.reshape(-1)
    w = np.zeros((WORK_ROWS, LANES))
    bits = np.zeros((3, LANES), dtype=np.int64)
    powers = bits.view(np.float64)
    results = np.zeros(LANES, dtype=np.int64)
    for first in range(0, n, LANES):
        used, starts = min(LANES, n - first), 0
        for m in range(LANES):
            # Lanes beyond the last cell repeat it, and are thrown away. Unsigned, or each access would test for i < 0.
            i = np.uintp(min(first + m, n - 1))
            for j in range(STATE_COLUMNS):
                w[j, m] = state[i, j]
            w[D_CAPACITY, m], w[D_R0, m] = parameters[i, PAR_CAPACITY] * (1.0 / 3600.0), parameters[i, PAR_R0]
            w[D_R1, m], w[D_R2, m] = parameters[i, PAR_R1], parameters[i, PAR_R2]
            w[D_ETA, m] = parameters[i, PAR_ETA]
            v, a, t_k = voltage_v[i], current_a[i], temperature_k[i]
            dt_s, charge = 0.0, math.nan
            seen = w[PHASE, m] != UNSEEN
            result = status.OK
            if not 0 <= time_ns[i] < TIME_LIMIT_NS or (seen and time_ns[i] <= last_ns[i]):
                result = status.BAD_TIME
            else:
                if seen:
                    dt_s = 1e-9 * (time_ns[i] - last_ns[i])
                if quality[i] > 1:
                    result = status.PREDICTED if seen else status.WAITING
                elif not (-1.0 < v < 10.0 and abs(a) <= 20.0 * w[D_CAPACITY, m]):  # no formation channel gives 20 C
                    result = status.BAD_INPUT
            if result != status.OK:
                a, t_k = w[CURRENT, m], w[TEMPERATURE, m]
            elif seen:
                charge = charge_c[i]
                result = status.AFTER_GAP if dt_s > noise[N_GAP] else status.OK
            else:
                result = status.STARTED
                starts += 1
            if not 200.0 < t_k < 450.0:
                t_k = w[TEMPERATURE, m]
            # Between two samples the temperature went from one to the other.
            before_k = w[TEMPERATURE, m] if seen else t_k
            w[D_WARM, m] = parameters[i, PAR_EA] * 0.5 * (1.0 / before_k - 1.0 / t_k)
            w[TEMPERATURE, m] = t_k
            w[D_DT, m], w[D_AMPERE, m], w[D_CHARGE, m] = dt_s, a, charge
            w[D_FACTOR, m] = parameters[i, PAR_EA] * (1.0 / t_k - 1.0 / REFERENCE_K)
            w[D_A1, m], w[D_A2, m] = -dt_s * parameters[i, PAR_RATE1], -dt_s * parameters[i, PAR_RATE2]
            w[D_VOLTAGE, m], w[D_SD, m] = v, noise[N_UNCERTAIN] if quality[i] == 1 else noise[N_VOLTAGE]
            w[D_GOOD, m] = 1.0 if result in (status.OK, status.AFTER_GAP, status.STARTED) else 0.0
            results[m] = result
        exponentials_lanes(w, bits, powers)
        drive_lanes(w, noise)
        for m in range(used if starts > 0 else 0):
            if results[m] == status.STARTED:
                i = np.uintp(first + m)
                _start(w, m, parameters, i, noise, ocv[0], voltage_v[i], current_a[i], w[D_FACTOR, m])
        predict_lanes(w, noise)
        compare_lanes(w, noise, flat, ocv.shape[1])
        for m in range(used if starts > 0 else 0):
            if results[m] == status.STARTED and w[PHASE, m] == FORMED:
                w[D_COMPARED, m] = 0.0  # the start has used this voltage
        measure_lanes(w)
        for m in range(used):
            if w[D_COMPARED, m] != w[D_TAKEN, m]:
                _refused(w, m)
                results[m] = status.OUTLIER
        check_lanes(w)
        for m in range(used):
            if w[D_SOUND, m] == 0.0 and w[D_GOOD, m] > 0.0:
                results[m] = status.RESET
                w[D_GOOD, m] = w[D_COMPARED, m] = 0.0
                reset_cell(state, parameters, np.uintp(first + m))
                for j in range(STATE_COLUMNS):
                    w[j, m] = state[np.uintp(first + m), j]
        results_lanes(w)
        for m in range(used):
            i = np.uintp(first + m)
            if w[D_GOOD, m] > 0.0:
                for j in range(STATE_COLUMNS):
                    state[i, j] = w[j, m]
                last_ns[i] = time_ns[i]
                if w[D_COMPARED, m] == 0.0 and results[m] != status.STARTED:
                    results[m] = status.PREDICTED
                if results[m] == status.OK and not 200.0 < temperature_k[i] < 450.0:
                    results[m] = status.DEGRADED
            code[i] = results[m]
        if used == LANES:  # the same with a length that the compiler knows
            for row in range(OUTPUT_ROWS):
                for m in range(LANES):
                    out[row, np.uintp(first + m)] = w[D_OUT + row, m]
        else:
            for row in range(OUTPUT_ROWS):
                for m in range(used):
                    out[row, first + m] = w[D_OUT + row, m]


def warm_up() -> None:
    """Compiles with the signatures of twin/ekf.py."""
    state, last_ns = np.zeros((1, STATE_COLUMNS)), np.zeros(1, dtype=np.int64)
    state[0, PHASE], state[0, TEMPERATURE], state[0, K] = UNSEEN, REFERENCE_K, 1.0
    one, parameters, noise = np.ones(1), np.ones((1, PARAMETER_COLUMNS)), np.ones(NOISE_ENTRIES)
    ocv = np.ones((LEVELS, 3, OCV_COLUMNS))
    out, code, quality = np.empty((OUTPUT_ROWS, 1)), np.empty(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    ekf_update(state, last_ns, parameters, noise, ocv, last_ns + 1, one, one, 300.0 * one, quality, one, out, code)
