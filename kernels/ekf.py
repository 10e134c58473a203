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

F = NDArray[np.float64]
Ints = NDArray[np.int64]

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

# Cells go through the arithmetic in lanes of this many, so that the compiler can use vector instructions: work arrays
# hold one row per number and one column per cell. Loading, tables, exponentials and storing are done cell by cell.
LANES = 8
# Rows of the work array beyond the state's: what moves a lane, and what its voltage says. One array for all of it,
# because the compiler gives up on vectors when it would have to check many arrays for overlap.
D_DT, D_MEAN, D_PER_C, D_MOVED_VAR, D_WALK, D_FLOOR2, D_DRIVE2 = 24, 25, 26, 27, 28, 29, 30
D_R1, D_R2, D_FACTOR, D_A1, D_A2, D_R0, D_CAPACITY = 31, 32, 33, 34, 35, 36, 37  # D_FACTOR to D_A2 in this order
D_SLOPE, D_H3, D_INNOVATION, D_R, D_GATE2, D_TAKEN, D_VARIANCE = 38, 39, 40, 41, 42, 43, 44
D_AMPERE, D_CHARGE, D_ETA = 45, 46, 47
D_POWER = 48  # and the two after
D_OUT = 51  # the output rows follow
WORK_ROWS = D_OUT + 10
UNUSED, TIMED, COMPARED = 0, 1, 2  # a sample: not good; good without a voltage to compare; good

SOC_MARGIN = 0.05  # the mean is kept within 0 - margin and 1 + margin: beyond, the table means nothing
U_MAX_V = 2.0
SOC_SD_MAX = 0.3  # uniform on 0..1 has 0.29: nothing can be known less
MISSES_MAX = 3.0  # from this refusal on, the cell and not the sample is doubted
TIME_LIMIT_NS = 1 << 62  # differences of times within 0..limit cannot overflow
REFERENCE_K = 298.15
ROUNDING = 6755399441055744.0  # 1.5 * 2^52: adding and taking it away rounds to an integer
R0_WALK_TIME = 1e-12  # relative variance per second: 3e-4 in a day, so that nothing is ever known exactly
R_MIN_RELATIVE = 1e-9  # measurement variance per predicted one, see above


@inlined
def ocv_at(ocv: F, soc: float) -> tuple[float, float, float]:
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
    w[SOC, lane] = soc_at(ocv, voltage_v - factor * par[i, PAR_R0] * current_a)
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


@inlined
def _exponentials(w: F, bits: Ints, powers: F) -> None:
    """Replaces the rows D_FACTOR, D_A1, D_A2 by their exponentials, to 1e-15 relative; arguments within +-700.

    exp(x) = 2^k exp(r), |r| <= ln(2)/2 (Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6),
    because a call of the library's exp per number would cost as much as the covariance. `powers` is `bits` as floats.
    """
    for row in range(D_FACTOR, D_FACTOR + 3):
        for m in range(LANES):
            x = min(max(w[row, m], -700.0), 700.0)
            k = (x * 1.4426950408889634 + ROUNDING) - ROUNDING
            r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
            p = 1.0 / 39916800.0 + r * (1.0 / 479001600.0)
            p = 1.0 / 40320.0 + r * (1.0 / 362880.0 + r * (1.0 / 3628800.0 + r * p))
            p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0 + r * p))
            w[row, m] = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * p))))
            w[row - D_FACTOR + D_POWER, m] = k
    for row in range(3):
        for m in range(LANES):
            bits[row, m] = (np.int64(w[D_POWER + row, m]) + 1023) << 52
        for m in range(LANES):
            w[D_FACTOR + row, m] *= powers[row, m]


@inlined
def _drive(w: F, noise: F) -> None:
    """What moves the cells over dt: mean current, noise of the drive, charge per SOC. A lane that stays has dt = 0."""
    gap_s, gap_rate, counter_var = noise[N_GAP], noise[N_GAP_RATE], noise[N_COUNTER] ** 2
    walk_formed, walk_raw, fraction2 = noise[N_WALK], noise[N_WALK_RAW], noise[N_FRACTION] ** 2
    floor2_formed, floor2_raw = noise[N_FLOOR2], noise[N_FLOOR_RAW]
    for m in range(LANES):
        dt, charge, ampere_hours = w[D_DT, m], w[D_CHARGE, m], w[D_CAPACITY, m]
        per_s = 1.0 / max(dt, 1e-9)
        step = w[D_AMPERE, m] - w[CURRENT, m]
        trapezoid = 0.5 * (w[D_AMPERE, m] + w[CURRENT, m])
        # The mean current over what nobody saw has a standard deviation of its own.
        gap_a = gap_rate * ampere_hours * max(dt - gap_s, 0.0) * per_s
        # A step at an unknown moment of the interval: its charge is uniform over step * dt.
        shape2 = step * step * (1.0 / 12.0) + gap_a * gap_a
        # Not a plausible counter difference (reset, swapped channel): more than 10 C, or more than the cell holds.
        counted = abs(charge) <= min(4680.0 * ampere_hours, 10.0 * ampere_hours * dt + 1.0)
        mean = charge * per_s if counted else trapezoid
        moved_var = counter_var if dt > 0.0 else 0.0
        w[D_MOVED_VAR, m] = moved_var if counted else moved_var + shape2 * dt * dt
        shape2 += (mean - trapezoid) * (mean - trapezoid)
        # In a first charge, lithium that the SEI will take still holds the positive electrode down.
        raw = w[PHASE, m] < FORMED
        charged_raw = raw and mean > 0.0
        w[D_FLOOR2, m] = floor2_raw if raw else floor2_formed
        w[D_WALK, m] = walk_raw if charged_raw else walk_formed
        w[D_PER_C, m] = (w[D_ETA, m] if charged_raw else 1.0) / (3600.0 * ampere_hours)
        w[D_MEAN, m] = mean
        # Overpotentials carry the model's error as coloured noise: a floor (OCV table, temperature) and a fraction of
        # the drive (resistances that depend on SOC, diffusion that is no RC pair), each with its pair's time constant.
        w[D_DRIVE2, m] = fraction2 * mean * mean + shape2
        w[D_R1, m] *= w[D_FACTOR, m]
        w[D_R2, m] *= w[D_FACTOR, m]


@inlined
def _predict(w: F, noise: F) -> None:
    """Moves all lanes. A lane whose dt and 1 - a are zero stays as it is."""
    floor1, r0_walk, k_walk, time_walk = (
        noise[N_FLOOR1] ** 2,
        noise[N_R0_WALK] ** 2,
        noise[N_K_WALK],
        noise[N_WALK_TIME],
    )
    for m in range(LANES):
        dt, mean, per_c = w[D_DT, m], w[D_MEAN, m], w[D_PER_C, m]
        r1, r2, a1, a2 = w[D_R1, m], w[D_R2, m], w[D_A1, m], w[D_A2, m]
        p04, p14, p24, p44 = w[P04, m], w[P14, m], w[P24, m], w[P44, m]
        r0_2 = w[D_R0, m] * w[D_R0, m]
        g = per_c * mean * dt
        moved = g * w[K, m]
        throughput = abs(moved)
        spread = per_c * w[K, m]
        q0 = w[D_MOVED_VAR, m] * spread * spread + w[D_WALK, m] * w[D_WALK, m] * throughput + time_walk * dt
        q1 = (floor1 + r1 * r1 * w[D_DRIVE2, m]) * (1.0 - a1 * a1)
        q2 = (w[D_FLOOR2, m] * w[D_FLOOR2, m] + r2 * r2 * w[D_DRIVE2, m]) * (1.0 - a2 * a2)
        w[SOC, m] = min(max(w[SOC, m] + moved, -SOC_MARGIN), 1.0 + SOC_MARGIN)
        w[U1, m] = min(max(a1 * w[U1, m] + r1 * (1.0 - a1) * mean, -U_MAX_V), U_MAX_V)
        w[U2, m] = min(max(a2 * w[U2, m] + r2 * (1.0 - a2) * mean, -U_MAX_V), U_MAX_V)
        p00 = w[P00, m] + g * (2.0 * p04 + g * p44) + q0
        # Scaling a row and a column by the same number keeps the matrix positive definite.
        shrink = math.sqrt(min(1.0, SOC_SD_MAX * SOC_SD_MAX / max(p00, 1e-30)))
        w[P00, m] = shrink * shrink * p00
        w[P01, m] = shrink * a1 * (w[P01, m] + g * p14)
        w[P02, m] = shrink * a2 * (w[P02, m] + g * p24)
        w[P03, m] = shrink * (w[P03, m] + g * w[P34, m])
        w[P04, m] = shrink * (p04 + g * p44)
        w[P11, m] = a1 * a1 * w[P11, m] + q1
        w[P12, m] *= a1 * a2
        w[P13, m] *= a1
        w[P14, m] = a1 * p14
        w[P22, m] = a2 * a2 * w[P22, m] + q2
        w[P23, m] *= a2
        w[P24, m] = a2 * p24
        w[P33, m] += r0_2 * (r0_walk * throughput + R0_WALK_TIME * dt)
        w[P44, m] = p44 + k_walk * dt


@inlined
def _compare(w: F, lane: int, noise: F, ocv: F, voltage_v: float, current_a: float, uncertain: bool) -> bool:
    """What a good sample says against the prediction. False where the model has no voltage to compare with."""
    w[CURRENT, lane] = current_a
    if w[PHASE, lane] == RAW and voltage_v > noise[N_UPPER]:
        w[PHASE, lane] = TOPPED
    elif w[PHASE, lane] == TOPPED and current_a <= 0.0:
        w[PHASE, lane] = FORMED
    open_v, slope, curvature = ocv_at(ocv, w[SOC, lane])
    h3 = w[D_FACTOR, lane] * current_a
    over = w[U1, lane] + w[U2, lane] + h3 * w[R0, lane]
    if w[PHASE, lane] == RAW and voltage_v - over < ocv[0, 0]:
        return False  # never charged: its electrodes are where no formed cell's are
    sd = noise[N_UNCERTAIN] if uncertain else noise[N_VOLTAGE]
    bend = curvature * w[P00, lane]
    w[D_SLOPE, lane] = slope
    w[D_H3, lane] = h3
    w[D_INNOVATION, lane] = voltage_v - open_v - over
    w[D_R, lane] = sd * sd + 0.5 * bend * bend
    w[D_GATE2, lane] = noise[N_GATE] ** 2 if w[MISSES, lane] < MISSES_MAX else math.inf
    w[D_TAKEN, lane] = 1.0
    return True


@inlined
def _measure(w: F) -> None:
    """One scalar update of the lanes that are to be taken; a lane whose innovation the gate refuses is not."""
    for m in range(LANES):
        h0, h3, innovation = w[D_SLOPE, m], w[D_H3, m], w[D_INNOVATION, m]
        c0 = h0 * w[P00, m] + w[P01, m] + w[P02, m] + h3 * w[P03, m]
        c1 = h0 * w[P01, m] + w[P11, m] + w[P12, m] + h3 * w[P13, m]
        c2 = h0 * w[P02, m] + w[P12, m] + w[P22, m] + h3 * w[P23, m]
        c3 = h0 * w[P03, m] + w[P13, m] + w[P23, m] + h3 * w[P33, m]
        c4 = h0 * w[P04, m] + w[P14, m] + w[P24, m] + h3 * w[P34, m]
        known = h0 * c0 + c1 + c2 + h3 * c3
        variance = known + max(w[D_R, m], R_MIN_RELATIVE * known)
        taken = w[D_TAKEN, m] if innovation * innovation <= w[D_GATE2, m] * variance else 0.0
        w[D_VARIANCE, m] = variance
        w[D_TAKEN, m] = taken
        gain = taken / variance
        k0, k1, k2, k3, k4 = c0 * gain, c1 * gain, c2 * gain, c3 * gain, c4 * gain
        w[SOC, m] = min(max(w[SOC, m] + k0 * innovation, -SOC_MARGIN), 1.0 + SOC_MARGIN)
        w[U1, m] = min(max(w[U1, m] + k1 * innovation, -U_MAX_V), U_MAX_V)
        w[U2, m] = min(max(w[U2, m] + k2 * innovation, -U_MAX_V), U_MAX_V)
        w[R0, m] = min(max(w[R0, m] + k3 * innovation, 0.1 * w[D_R0, m]), 10.0 * w[D_R0, m])
        w[K, m] = min(max(w[K, m] + k4 * innovation, 0.5), 2.0)
        w[P00, m] -= k0 * c0
        w[P01, m] -= k0 * c1
        w[P02, m] -= k0 * c2
        w[P03, m] -= k0 * c3
        w[P04, m] -= k0 * c4
        w[P11, m] -= k1 * c1
        w[P12, m] -= k1 * c2
        w[P13, m] -= k1 * c3
        w[P14, m] -= k1 * c4
        w[P22, m] -= k2 * c2
        w[P23, m] -= k2 * c3
        w[P24, m] -= k2 * c4
        w[P33, m] -= k3 * c3
        w[P34, m] -= k3 * c4
        w[P44, m] -= k4 * c4


@inlined
def _results(w: F) -> None:
    """Estimates and their standard deviations of all lanes."""
    for m in range(LANES):
        w[D_OUT + OUT_SOC, m] = w[SOC, m]
        w[D_OUT + OUT_SOC_SD, m] = math.sqrt(max(w[P00, m], 0.0))
        w[D_OUT + OUT_U1, m] = w[U1, m]
        w[D_OUT + OUT_U2, m] = w[U2, m]
        w[D_OUT + OUT_R0, m] = w[R0, m]
        w[D_OUT + OUT_R0_SD, m] = math.sqrt(max(w[P33, m], 0.0))
        capacity = w[D_CAPACITY, m] / w[K, m]
        w[D_OUT + OUT_CAPACITY, m] = capacity
        w[D_OUT + OUT_CAPACITY_SD, m] = capacity / w[K, m] * math.sqrt(max(w[P44, m], 0.0))
        w[D_OUT + OUT_INNOVATION, m] = w[D_INNOVATION, m]
        w[D_OUT + OUT_INNOVATION_SD, m] = math.sqrt(max(w[D_VARIANCE, m], 0.0))


@inlined
def _refused(w: F, lane: int) -> None:
    """The gate refused a good sample. Several in a row: doubt the state; the next is taken whatever it says."""
    w[MISSES, lane] += 1.0
    if w[MISSES, lane] >= MISSES_MAX:
        w[P00, lane] = min(w[P00, lane] + 0.25 * SOC_SD_MAX * SOC_SD_MAX, SOC_SD_MAX * SOC_SD_MAX)
        w[P11, lane] += w[D_INNOVATION, lane] ** 2
        w[P22, lane] += w[D_INNOVATION, lane] ** 2


@inlined
def _sound(w: F, m: int) -> bool:
    """True while means and variances are finite and variances positive. Sums in pairs: a chain of ten would wait."""
    means = (w[SOC, m] + w[U1, m]) + (w[U2, m] + w[R0, m]) + w[K, m]
    variances = (w[P00, m] + w[P11, m]) + (w[P22, m] + w[P33, m]) + w[P44, m]
    positive = w[P00, m] > 0.0 and w[P11, m] > 0.0 and w[P22, m] > 0.0 and w[P33, m] > 0.0 and w[P44, m] > 0.0
    return positive and math.isfinite(means + variances)


@contracted_kernel
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
    """One sample of each of n cells. Changes `state` (n, 24) and `last_ns` (n,); writes `out` (10, n) and `code` (n,).

    `quality` is 0 good, 1 uncertain (voltage trusted less), 2 and above bad (prediction only). `charge_c` is the charge
    moved since the cell's last good sample where the equipment counted it, else nan. Codes: kernels/status.py.
    """
    n = state.shape[0]
    w = np.zeros((WORK_ROWS, LANES))
    bits = np.zeros((3, LANES), dtype=np.int64)
    powers = bits.view(np.float64)
    results, good = np.zeros(LANES, dtype=np.int64), np.zeros(LANES, dtype=np.int64)
    for first in range(0, n, LANES):
        used = min(LANES, n - first)
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
            if not 200.0 < t_k < 450.0:
                t_k = w[TEMPERATURE, m]
            w[TEMPERATURE, m] = t_k
            w[D_DT, m], w[D_AMPERE, m], w[D_CHARGE, m] = dt_s, a, charge
            w[D_FACTOR, m] = parameters[i, PAR_EA] * (1.0 / t_k - 1.0 / REFERENCE_K)
            w[D_A1, m], w[D_A2, m] = -dt_s * parameters[i, PAR_RATE1], -dt_s * parameters[i, PAR_RATE2]
            w[D_SLOPE, m] = w[D_H3, m] = w[D_TAKEN, m] = w[D_GATE2, m] = w[D_INNOVATION, m] = 0.0
            w[D_R, m] = 1.0
            results[m], good[m] = result, UNUSED
        _exponentials(w, bits, powers)
        _drive(w, noise)
        for m in range(used):
            if results[m] == status.STARTED:
                i = np.uintp(first + m)
                _start(w, m, parameters, i, noise, ocv, voltage_v[i], current_a[i], w[D_FACTOR, m])
        _predict(w, noise)
        for m in range(used):
            if results[m] in (status.OK, status.AFTER_GAP, status.STARTED):
                i = np.uintp(first + m)
                good[m] = TIMED
                if _compare(w, m, noise, ocv, voltage_v[i], current_a[i], quality[i] == 1):
                    good[m] = COMPARED
                elif results[m] != status.STARTED:
                    results[m] = status.PREDICTED
        _measure(w)
        for m in range(used):
            if good[m] == COMPARED:
                if w[D_TAKEN, m] > 0.0:
                    w[MISSES, m] = 0.0
                else:
                    _refused(w, m)
                    results[m] = status.OUTLIER
            if good[m] != UNUSED and not _sound(w, m):
                results[m] = status.RESET
                good[m] = UNUSED
                reset_cell(state, parameters, np.uintp(first + m))
                for j in range(STATE_COLUMNS):
                    w[j, m] = state[np.uintp(first + m), j]
        _results(w)
        for m in range(used):
            i = np.uintp(first + m)
            if good[m] != UNUSED:
                for j in range(STATE_COLUMNS):
                    state[i, j] = w[j, m]
                last_ns[i] = time_ns[i]
            if good[m] != COMPARED:
                w[D_OUT + OUT_INNOVATION, m] = w[D_OUT + OUT_INNOVATION_SD, m] = math.nan
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
    ocv = np.array([[0.0, 2.0], [1.0, 2.0], [2.0, 2.0]])
    out, code, quality = np.empty((OUTPUT_ROWS, 1)), np.empty(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    ekf_update(state, last_ns, parameters, noise, ocv, last_ns + 1, one, one, 300.0 * one, quality, one, out, code)
