"""Two-RC extended Kalman filter for all cells of a rack in one call. SI units; no defaults, no checks of shapes.

State x = (soc, u1, u2, r0, k): state of charge, two overpotentials [V] (positive in charge), ohmic resistance at 25 C
[ohm], and k = nominal / true capacity. The inverse ratio makes the charge balance bilinear, so that the one slow
unknown that a charge count cannot do without enters without linearisation error:

    soc' = soc + eta q k / C_nom              q charge moved in dt [C], eta efficiency (first charge of a raw cell)
    uj'  = aj uj + f Rj (1 - aj) q/dt         aj = exp(-dt/tauj), f = exp(Ea/Rg (1/T - 1/298.15 K))
    r0'  = r0,  k' = k
    v    = OCV(soc) + u1 + u2 + f r0 i

Plett, J. Power Sources 134 (2004) 262-276, for the form. The covariance is kept as one triangle, so it is symmetric,
and updated as P - c c'/S with c = P h: with the gain exactly c/S, as here, Joseph's form is this, term by term. It
stays positive definite because no update may shrink the variance along h by more than 1e9 (1e-16 is where double
precision loses the sign), and because every prediction adds noise to every state. The curvature of the OCV adds
its second-order term to the innovation's variance (Jazwinski, Stochastic Processes and Filtering Theory, 1970, section
9.3), so that a wide prior on a bent OCV is not taken for knowledge.

Only good samples move a cell's stored state. A bad or missing one gives the prediction to its time and leaves the
state at the last good sample, so that a gap is one step from the last good sample to the next, however many bad ones
lie between, and the equipment's own charge counter bridges all of it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import contracted_kernel, inlined

Float64Array = NDArray[np.float64]

# Columns of one cell's state row. 5 to 19: covariance, upper triangle, row by row.
SOC, U1, U2, R0, K = 0, 1, 2, 3, 4
P00, P01, P02, P03, P04 = 5, 6, 7, 8, 9
P11, P12, P13, P14 = 10, 11, 12, 13
P22, P23, P24 = 14, 15, 16
P33, P34, P44 = 17, 18, 19
CURRENT = 20  # at the last good sample [A]
TEMPERATURE = 21  # at the last good sample [K]
PHASE = 22  # one of the four below
MISSES = 23  # good samples in a row that the gate refused
STATE_COLUMNS = 24

UNSEEN = -1.0  # no good sample yet
RAW = 0.0  # first charge, below the upper limit: part of the charge goes into the SEI
TOPPED = 1.0  # first charge, upper voltage limit reached
FORMED = 2.0  # charge has ended at the limit once, or the cell was not raw when it came

# Columns of one cell's parameter row.
PAR_CAPACITY, PAR_R0, PAR_R1, PAR_RATE1, PAR_R2, PAR_RATE2 = 0, 1, 2, 3, 4, 5  # [C], [ohm], 1/tau [1/s]
PAR_EA, PAR_ETA, PAR_R0_SD, PAR_K_SD = 6, 7, 8, 9  # Ea/Rg [K], first-charge efficiency, prior SDs
PARAMETER_COLUMNS = 10

# Entries of the noise vector that all cells share; twin/parameters.py gives values and reasons.
N_VOLTAGE, N_UNCERTAIN, N_FLOOR1, N_FLOOR2, N_FRACTION = 0, 1, 2, 3, 4
N_WALK, N_WALK_RAW, N_R0_WALK, N_K_WALK, N_COUNTER = 5, 6, 7, 8, 9
N_GAP, N_GAP_RATE, N_GATE, N_RAW_SD, N_UPPER, N_WALK_TIME = 10, 11, 12, 13, 14, 15
N_RAW_SOC, N_FLOOR_RAW = 16, 17
NOISE_ENTRIES = 18

# Rows of the output array; capacities in Ah, the one unit that is not SI, because no one reads coulombs.
(OUT_SOC, OUT_SOC_SD, OUT_U1, OUT_U2, OUT_R0, OUT_R0_SD, OUT_CAPACITY, OUT_CAPACITY_SD) = (0, 1, 2, 3, 4, 5, 6, 7)
OUT_INNOVATION, OUT_INNOVATION_SD = 8, 9
OUTPUT_ROWS = 10

SOC_MARGIN = 0.05  # the mean is kept within 0 - margin and 1 + margin: beyond, the table means nothing
SOC_SD_MAX = 0.3  # uniform on 0..1 has 0.29: nothing can be known less
MISSES_MAX = 3.0  # from this refusal on, the cell and not the sample is doubted
TIME_LIMIT_NS = 1 << 62  # differences of times within 0..limit cannot overflow
REFERENCE_K = 298.15
R0_WALK_TIME = 1e-12  # relative variance per second: 3e-4 in a day, so that nothing is ever known exactly
R_MIN_RELATIVE = 1e-9  # measurement variance per predicted one, see above


@inlined
def ocv_at(ocv: Float64Array, soc: float) -> tuple[float, float, float]:
    """OCV [V], slope and curvature per SOC. `ocv` is (m, 2): values and slopes on a uniform grid from 0 to 1.

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
def soc_at(ocv: Float64Array, voltage_v: float) -> float:
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
def _predict(
    w: Float64Array,
    par: Float64Array,
    i: int,
    noise: Float64Array,
    dt_s: float,
    current_a: float,
    charge_c: float,
    factor: float,
) -> int:
    """Moves the work row `w` over dt. `current_a` is the one at the end; a NaN charge is the current's trapezoid."""
    capacity, r0_nominal = par[i, PAR_CAPACITY], par[i, PAR_R0]
    r1, r2 = factor * par[i, PAR_R1], factor * par[i, PAR_R2]
    a1 = math.exp(-dt_s * par[i, PAR_RATE1])
    a2 = math.exp(-dt_s * par[i, PAR_RATE2])
    step = current_a - w[CURRENT]
    mean = 0.5 * (current_a + w[CURRENT])
    result = status.OK
    gap_a = 0.0  # standard deviation of the mean current over what nobody saw
    if dt_s > noise[N_GAP]:
        result = status.AFTER_GAP
        gap_a = noise[N_GAP_RATE] * capacity / 3600.0 * (dt_s - noise[N_GAP]) / dt_s
    # A step at an unknown moment of the interval: its charge is uniform over step * dt.
    shape2 = step * step / 12.0 + gap_a * gap_a
    moved_var = noise[N_COUNTER] * noise[N_COUNTER]
    # Not a plausible counter difference (reset, swapped channel): more than 10 C, or more than the cell holds.
    if abs(charge_c) <= min(1.3 * capacity, 10.0 * capacity * dt_s / 3600.0 + 1.0):
        mean_a = charge_c / dt_s
        shape2 += (mean_a - mean) * (mean_a - mean)
        mean = mean_a
    else:
        moved_var += shape2 * dt_s * dt_s

    eta, walk, floor2 = 1.0, noise[N_WALK], noise[N_FLOOR2]
    if w[PHASE] < FORMED:
        floor2 = noise[N_FLOOR_RAW]  # lithium that the SEI will take still holds the positive electrode down
        if mean > 0.0:
            walk = noise[N_WALK_RAW]
            eta = par[i, PAR_ETA]
    per_c = eta / capacity
    g = per_c * mean * dt_s
    moved = g * w[K]
    per_c *= w[K]
    throughput = abs(moved)
    # Overpotentials carry the model's error as coloured noise: a floor (OCV table, temperature) and a fraction of the
    # drive (resistances that depend on SOC, diffusion that is no RC pair), each with its pair's time constant.
    drive2 = (noise[N_FRACTION] * mean) ** 2 + shape2
    q1 = (noise[N_FLOOR1] ** 2 + r1 * r1 * drive2) * (1.0 - a1 * a1)
    q2 = (floor2 * floor2 + r2 * r2 * drive2) * (1.0 - a2 * a2)
    r0_walk = noise[N_R0_WALK] * r0_nominal

    p04, p14, p24, p34, p44 = w[P04], w[P14], w[P24], w[P34], w[P44]
    w[SOC] += moved
    w[U1] = a1 * w[U1] + r1 * (1.0 - a1) * mean
    w[U2] = a2 * w[U2] + r2 * (1.0 - a2) * mean
    w[P00] += g * (2.0 * p04 + g * p44) + (
        moved_var * per_c * per_c + walk * walk * throughput + noise[N_WALK_TIME] * dt_s
    )
    w[P01] = a1 * (w[P01] + g * p14)
    w[P02] = a2 * (w[P02] + g * p24)
    w[P03] += g * p34
    w[P04] = p04 + g * p44
    w[P11] = a1 * a1 * w[P11] + q1
    w[P12] *= a1 * a2
    w[P13] *= a1
    w[P14] = a1 * p14
    w[P22] = a2 * a2 * w[P22] + q2
    w[P23] *= a2
    w[P24] = a2 * p24
    w[P33] += r0_walk * r0_walk * throughput + R0_WALK_TIME * r0_nominal * r0_nominal * dt_s
    w[P44] = p44 + noise[N_K_WALK] * dt_s
    _limit(w, par[i, PAR_R0])
    return result


@inlined
def _limit(w: Float64Array, r0_nominal: float) -> None:
    """Keeps means within physical bounds, and the SOC's variance below that of knowing nothing."""
    w[SOC] = min(max(w[SOC], -SOC_MARGIN), 1.0 + SOC_MARGIN)
    w[U1] = min(max(w[U1], -2.0), 2.0)
    w[U2] = min(max(w[U2], -2.0), 2.0)
    w[R0] = min(max(w[R0], 0.1 * r0_nominal), 10.0 * r0_nominal)
    w[K] = min(max(w[K], 0.5), 2.0)
    if w[P00] > SOC_SD_MAX * SOC_SD_MAX:
        # Scaling a row and a column by the same number keeps the matrix positive definite.
        shrink = SOC_SD_MAX / math.sqrt(w[P00])
        w[P00] = SOC_SD_MAX * SOC_SD_MAX
        w[P01] *= shrink
        w[P02] *= shrink
        w[P03] *= shrink
        w[P04] *= shrink


@inlined
def _measure(w: Float64Array, h0: float, h3: float, innovation: float, r_var: float, gate: float) -> tuple[float, bool]:
    """One scalar update; gives the innovation's variance, and False where the gate refused and nothing changed."""
    c0 = h0 * w[P00] + w[P01] + w[P02] + h3 * w[P03]
    c1 = h0 * w[P01] + w[P11] + w[P12] + h3 * w[P13]
    c2 = h0 * w[P02] + w[P12] + w[P22] + h3 * w[P23]
    c3 = h0 * w[P03] + w[P13] + w[P23] + h3 * w[P33]
    c4 = h0 * w[P04] + w[P14] + w[P24] + h3 * w[P34]
    known = h0 * c0 + c1 + c2 + h3 * c3
    variance = known + max(r_var, R_MIN_RELATIVE * known)
    if innovation * innovation > gate * gate * variance:
        return variance, False
    inverse = 1.0 / variance
    k0, k1, k2, k3, k4 = c0 * inverse, c1 * inverse, c2 * inverse, c3 * inverse, c4 * inverse
    w[SOC] += k0 * innovation
    w[U1] += k1 * innovation
    w[U2] += k2 * innovation
    w[R0] += k3 * innovation
    w[K] += k4 * innovation
    w[P00] -= k0 * c0
    w[P01] -= k0 * c1
    w[P02] -= k0 * c2
    w[P03] -= k0 * c3
    w[P04] -= k0 * c4
    w[P11] -= k1 * c1
    w[P12] -= k1 * c2
    w[P13] -= k1 * c3
    w[P14] -= k1 * c4
    w[P22] -= k2 * c2
    w[P23] -= k2 * c3
    w[P24] -= k2 * c4
    w[P33] -= k3 * c3
    w[P34] -= k3 * c4
    w[P44] -= k4 * c4
    return variance, True


@contracted_kernel
def _start(
    w: Float64Array,
    par: Float64Array,
    i: int,
    noise: Float64Array,
    ocv: Float64Array,
    voltage_v: float,
    current_a: float,
    factor: float,
) -> None:
    """First good sample: SOC from the voltage. A cell at or below the bottom of the table is taken for raw."""
    r0 = par[i, PAR_R0]
    ohmic = factor * r0 * current_a
    for j in range(P00, CURRENT):
        w[j] = 0.0
    w[U1] = 0.0
    w[U2] = 0.0
    w[R0] = r0
    w[K] = 1.0
    w[MISSES] = 0.0
    w[SOC] = soc_at(ocv, voltage_v - ohmic)
    w[PHASE] = FORMED
    soc_sd = SOC_SD_MAX
    if w[SOC] < noise[N_RAW_SOC]:
        w[PHASE] = RAW
        soc_sd = noise[N_RAW_SD]
    # The overpotentials of an unknown past: those of C/5, or of the current that flows.
    past = max(abs(current_a), par[i, PAR_CAPACITY] / 18_000.0) * factor
    w[P00] = soc_sd * soc_sd
    w[P11] = noise[N_FLOOR1] ** 2 + (past * par[i, PAR_R1]) ** 2
    floor2 = noise[N_FLOOR_RAW] if w[PHASE] == RAW else noise[N_FLOOR2]
    w[P22] = floor2 * floor2 + (past * par[i, PAR_R2]) ** 2
    w[P33] = par[i, PAR_R0_SD] ** 2
    w[P44] = par[i, PAR_K_SD] ** 2


@inlined
def _sample(
    w: Float64Array,
    par: Float64Array,
    i: int,
    noise: Float64Array,
    ocv: Float64Array,
    dt_s: float,
    voltage_v: float,
    current_a: float,
    charge_c: float,
    temperature_k: float,
    uncertain: bool,
) -> tuple[int, float, float]:
    """A good sample: predict (or start), then update. Status, innovation and its variance (nan: none)."""
    factor = math.exp(par[i, PAR_EA] * (1.0 / temperature_k - 1.0 / REFERENCE_K))
    result = status.STARTED
    if w[PHASE] == UNSEEN:
        _start(w, par, i, noise, ocv, voltage_v, current_a, factor)
    else:
        result = _predict(w, par, i, noise, dt_s, current_a, charge_c, factor)
    w[CURRENT] = current_a
    w[TEMPERATURE] = temperature_k
    if w[PHASE] == RAW and voltage_v > noise[N_UPPER]:
        w[PHASE] = TOPPED
    elif w[PHASE] == TOPPED and current_a <= 0.0:
        w[PHASE] = FORMED

    open_v, slope, curvature = ocv_at(ocv, w[SOC])
    h3 = factor * current_a
    over = w[U1] + w[U2] + h3 * w[R0]
    if w[PHASE] == RAW and voltage_v - over < ocv[0, 0]:
        # The model has no voltage for a cell that was never charged.
        return status.STARTED if result == status.STARTED else status.PREDICTED, math.nan, math.nan
    sd = noise[N_UNCERTAIN] if uncertain else noise[N_VOLTAGE]
    bend = curvature * w[P00]
    innovation = voltage_v - open_v - over
    gate = noise[N_GATE] if w[MISSES] < MISSES_MAX else math.inf
    variance, taken = _measure(w, slope, h3, innovation, sd * sd + 0.5 * bend * bend, gate)
    if not taken:
        w[MISSES] += 1.0
        if w[MISSES] >= MISSES_MAX:
            # Several in a row: doubt the state. The next sample is taken whatever it says.
            w[P00] += 0.25 * SOC_SD_MAX * SOC_SD_MAX
            w[P11] += innovation * innovation
            w[P22] += innovation * innovation
            _limit(w, par[i, PAR_R0])
        return status.OUTLIER, innovation, variance
    w[MISSES] = 0.0
    _limit(w, par[i, PAR_R0])
    return result, innovation, variance


@inlined
def _sound(w: Float64Array) -> bool:
    """True while means and variances are finite and variances positive. Sums in pairs: a chain of ten would wait."""
    means = (w[SOC] + w[U1]) + (w[U2] + w[R0]) + w[K]
    variances = (w[P00] + w[P11]) + (w[P22] + w[P33]) + w[P44]
    positive = w[P00] > 0.0 and w[P11] > 0.0 and w[P22] > 0.0 and w[P33] > 0.0 and w[P44] > 0.0
    return positive and math.isfinite(means + variances)


@contracted_kernel
def ekf_update(
    state: Float64Array,
    last_ns: NDArray[np.int64],
    parameters: Float64Array,
    noise: Float64Array,
    ocv: Float64Array,
    time_ns: NDArray[np.int64],
    voltage_v: Float64Array,
    current_a: Float64Array,
    temperature_k: Float64Array,
    quality: NDArray[np.uint8],
    charge_c: Float64Array,
    out: Float64Array,
    code: NDArray[np.uint8],
) -> None:
    """One sample of each of n cells. Changes `state` (n, 24) and `last_ns` (n,); writes `out` (10, n) and `code` (n,).

    `quality` is 0 good, 1 uncertain (voltage trusted less), 2 and above bad (prediction only). `charge_c` is the charge
    moved since the cell's last good sample where the equipment counted it, else nan. Codes: kernels/status.py.
    """
    w = np.empty(STATE_COLUMNS)
    for i in range(state.shape[0]):
        for j in range(STATE_COLUMNS):
            w[j] = state[i, j]
        v, a, t_k = voltage_v[i], current_a[i], temperature_k[i]
        result = status.OK
        innovation, variance = math.nan, math.nan
        seen = w[PHASE] != UNSEEN
        reach = 20.0 * parameters[i, PAR_CAPACITY] / 3600.0  # no formation channel gives 20 C
        degraded = not 200.0 < t_k < 450.0
        if degraded:
            t_k = w[TEMPERATURE]
        if not 0 <= time_ns[i] < TIME_LIMIT_NS or (seen and time_ns[i] <= last_ns[i]):
            result = status.BAD_TIME
        elif quality[i] > 1:
            result = status.PREDICTED if seen else status.WAITING
        elif not (-1.0 < v < 10.0 and abs(a) <= reach):
            result = status.BAD_INPUT
        dt_s = 1e-9 * (time_ns[i] - last_ns[i]) if seen and result != status.BAD_TIME else 0.0
        if result == status.OK:
            unsure = quality[i] == 1
            result, innovation, variance = _sample(w, parameters, i, noise, ocv, dt_s, v, a, charge_c[i], t_k, unsure)
            if _sound(w):
                for j in range(STATE_COLUMNS):
                    state[i, j] = w[j]
                last_ns[i] = time_ns[i]
                if degraded and result == status.OK:
                    result = status.DEGRADED
            else:
                result = status.RESET
                state[i, PHASE] = UNSEEN
                for j in range(STATE_COLUMNS):
                    w[j] = state[i, j]
        elif dt_s > 0.0:
            factor = math.exp(parameters[i, PAR_EA] * (1.0 / w[TEMPERATURE] - 1.0 / REFERENCE_K))
            _predict(w, parameters, i, noise, dt_s, w[CURRENT], math.nan, factor)
        code[i] = result
        out[OUT_SOC, i] = w[SOC]
        out[OUT_SOC_SD, i] = math.sqrt(w[P00])
        out[OUT_U1, i] = w[U1]
        out[OUT_U2, i] = w[U2]
        out[OUT_R0, i] = w[R0]
        out[OUT_R0_SD, i] = math.sqrt(w[P33])
        capacity = parameters[i, PAR_CAPACITY] / (3600.0 * w[K])
        out[OUT_CAPACITY, i] = capacity
        out[OUT_CAPACITY_SD, i] = capacity * math.sqrt(w[P44]) / w[K]
        out[OUT_INNOVATION, i] = innovation
        out[OUT_INNOVATION_SD, i] = math.sqrt(variance)


def warm_up() -> None:
    """Compiles with the signatures of twin/ekf.py."""
    state, last_ns = np.zeros((1, STATE_COLUMNS)), np.zeros(1, dtype=np.int64)
    state[0, PHASE], state[0, TEMPERATURE], state[0, K] = UNSEEN, REFERENCE_K, 1.0
    one, parameters, noise = np.ones(1), np.ones((1, PARAMETER_COLUMNS)), np.ones(NOISE_ENTRIES)
    ocv = np.array([[0.0, 2.0], [1.0, 2.0], [2.0, 2.0]])
    out, code, quality = np.empty((OUTPUT_ROWS, 1)), np.empty(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    ekf_update(state, last_ns, parameters, noise, ocv, last_ns + 1, one, one, 300.0 * one, quality, one, out, code)
