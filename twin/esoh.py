"""Electrode windows of a cell from a slow charge or discharge, and what two of them say about ageing. No files.

Current is positive in charge. x and y are the lithium stoichiometries of the negative and the positive electrode at the
discharged (0) and charged (100) end of the measured curve, on the scale of the half-cell tables: mean ones where the
electrodes' diffusion is known (twin/polarisation.py), else those of the particles' surfaces. Practical N/P is
1 + C_n (1 - x_100) / Q, the room that is left in the negative electrode: Weng et al., arXiv:2303.07088.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels import esoh as layout
from kernels import status as codes
from kernels.esoh import esoh_batch as esoh_batch_kernel
from kernels.esoh_descent import PARAMETERS
from kernels.esoh_descent import model as model_kernel
from kernels.esoh_sweep import even_points as even_points_kernel
from kernels.esoh_sweep import find_sweep as find_sweep_kernel
from twin.halfcell import HalfCell, Table, blended_table, table
from twin.inventory import Ageing, contents, losses, spread
from twin.polarisation import CAUSES, NONE, TRANSFERS, Polarisation

Float64Array = NDArray[np.float64]
C_PER_AH = 3600.0
POINTS = 300
SIGNS = {"charge": 1.0, "discharge": -1.0}
WINDOWS = ((0.01, 0.80), (0.03, 0.92), (0.02, 0.65), (0.30, 0.80))
SILICON = (0.03, 0.12)
REASONS = {
    codes.OK: "",
    codes.BAD_INPUT: "too few usable samples of time, current and voltage",
    codes.NOT_FOUND: "no run of constant current in the wanted direction",
    codes.NOT_IDENTIFIABLE: "the curve does not settle all four ends of the electrode windows",
    codes.OUTLIER: f"the half-cell tables do not describe this cell: more than {layout.RMSE_MAX_V * 1e3:.0f} mV RMSE",
}


@dataclass(frozen=True, slots=True, eq=False)
class Electrodes:
    """The half-cell tables of a fit. `silicon` makes the negative electrode a blend with `negative` as its graphite."""

    positive: HalfCell
    negative: HalfCell
    silicon: HalfCell | None = None
    polarisation: Polarisation = NONE

    def tables(self) -> tuple[Table, Table]:
        """Positive and negative table for the kernel."""
        if self.silicon is None:
            return table(self.positive), table(self.negative)
        return table(self.positive), blended_table(self.negative, self.silicon)


@dataclass(frozen=True, slots=True, eq=False)
class SlowCurve:
    """Voltage over charge of one slow step: `z` (m,) rises from 0, discharged, to 1, charged."""

    z: Float64Array
    voltage_v: Float64Array
    charge_c: float  # positive
    current_a: float  # signed mean
    status: int = codes.OK

    @property
    def reason(self) -> str:
        """Why there is no curve; empty where there is one."""
        return REASONS.get(self.status, codes.name(self.status))


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """One fit. NaN where `reason` says why, or where the figure was not fitted (silicon without a blend).

    SDs hold noise, the model's own smooth errors as its residuals show them, and what is not known of diffusion and
    charge transfer; not a wrong half-cell table, and not diffusion where nothing is said of it (`of_mean` False).
    """

    x_0: float
    x_100: float
    y_0: float
    y_100: float
    resistance_ohm: float
    silicon_fraction: float  # of the negative electrode's capacity
    x_0_sd: float
    x_100_sd: float
    y_0_sd: float
    y_100_sd: float
    resistance_ohm_sd: float
    silicon_fraction_sd: float
    rmse_v: float
    residual_correlation: float  # of neighbouring points
    n_to_p: float
    n_to_p_sd: float
    negative_ah: float  # from x = 0 to 1
    negative_ah_sd: float
    positive_ah: float
    positive_ah_sd: float
    lithium_ah: float  # cyclable, x C_n + y C_p
    lithium_ah_sd: float
    charge_ah: float
    covariance: Float64Array  # (6, 6): x_0, x_100, y_0, y_100, R, f; zero rows for what was not fitted
    status: int
    of_mean: bool  # stoichiometries are the particles' means; False: their surfaces'
    shifts: Float64Array  # (4, 6): what one SD of each cause in twin/polarisation.py moves; part of the covariance

    @property
    def identifiable(self) -> bool:
        """Whether the data settle the windows."""
        return self.status == codes.OK

    @property
    def reason(self) -> str:
        """Why there are no windows; empty where there are."""
        return REASONS.get(self.status, codes.name(self.status))

    @property
    def inventory(self) -> Float64Array:
        """Lithium, negative and positive capacity [Ah] (3, 6): value, SD without `shifts`, what each shift moves."""
        values, gradient = contents(self.x_0, self.x_100, self.y_0, self.y_100, self.charge_ah)
        own = self.covariance - self.shifts.T @ self.shifts
        sds = [spread(row, own) for row in gradient]
        return np.column_stack((values, sds, gradient @ self.shifts[:, :4].T))


def slow_curve(
    time_s: Float64Array,
    current_a: Float64Array,
    voltage_v: Float64Array,
    direction: str = "discharge",
    points: int = POINTS,
) -> SlowCurve:
    """The slow charge or discharge of a record as up to `points` points evenly in charge. Arrays (n,).

    ValueError: lengths differ, another direction, fewer than 50 points.
    """
    if direction not in SIGNS:
        raise ValueError(f"direction is charge or discharge, not {direction!r}")
    if points < 50:
        raise ValueError(f"{points} points are too few for a curve")
    t, i, v = (np.ascontiguousarray(c, dtype=np.float64) for c in (time_s, current_a, voltage_v))
    if t.ndim != 1 or not (t.shape == i.shape == v.shape):
        raise ValueError(f"columns differ in length: {t.shape}, {i.shape}, {v.shape}")
    span = np.zeros(2, dtype=np.int64)
    sign = SIGNS[direction]
    charge, current, code = find_sweep_kernel(t, i, v, sign, span)
    z, voltage = np.empty(points), np.empty(points)
    count = even_points_kernel(t, i, v, sign, span, charge, z, voltage) if code == codes.OK else 0
    return SlowCurve(z[:count], voltage[:count], abs(charge), current, int(code))


def fit_curves(
    curves: Sequence[SlowCurve], electrodes: Electrodes, starts: Float64Array | None = None
) -> list[Windows]:
    """Fits many curves of cells with the same electrodes; a curve without points gives a refusal.

    `starts` (s, 3) are x_0, x_100 and silicon fraction from which the search begins, for those who know better.
    """
    pos, neg = electrodes.tables()
    if starts is None:
        shares = SILICON if electrodes.silicon is not None else (0.0,)
        starts = np.array([(a, b, f) for f in shares for a, b in WINDOWS])
    elif starts.ndim != 2 or starts.shape[0] < 1 or starts.shape[1] != 3 or not np.isfinite(starts).all():
        raise ValueError("starts must be rows of x_0, x_100 and silicon fraction")
    n = len(curves)
    offsets = np.zeros(n + 1, dtype=np.int64)
    offsets[1:] = np.cumsum([c.z.size for c in curves])
    known = electrodes.polarisation
    seen = [known.seen(c.z, c.current_a, c.charge_c) for c in curves]
    z = np.concatenate([np.empty((0, 2)), *seen])
    v = np.concatenate([np.empty(0), *(c.voltage_v for c in curves)])
    rows, covariances = np.empty((n, layout.OUTPUTS)), np.empty((n, PARAMETERS, PARAMETERS))
    code = np.empty(n, dtype=np.uint8)
    loads = np.array([known.load(c.current_a) for c in curves], dtype=np.float64).reshape(n, 3)
    esoh_batch_kernel(
        z, v, offsets, loads, np.ascontiguousarray(starts, dtype=np.float64),
        pos.values, pos.grid, neg.values, neg.grid, rows, covariances, code,
    )  # fmt: skip
    found = []
    for k, c in enumerate(curves):
        status = int(code[k] if c.status == codes.OK else c.status)
        shifts = np.zeros((CAUSES, PARAMETERS))
        if status == codes.OK and known != NONE:
            shifts = _shifts(rows[k, :PARAMETERS], covariances[k], c, seen[k], known, pos, neg)
        found.append(_windows(rows[k], covariances[k], shifts, c.charge_c / C_PER_AH, status, known.of_mean))
    return found


def fit_curve(curve: SlowCurve, electrodes: Electrodes, starts: Float64Array | None = None) -> Windows:
    """`fit_curves` for one."""
    return fit_curves([curve], electrodes, starts)[0]


def fitted_voltage(curve: SlowCurve, fit: Windows, electrodes: Electrodes) -> Float64Array:
    """The fit's voltage (m,) at the curve's points. ValueError: the fit is refused."""
    if not fit.identifiable:
        raise ValueError(f"no windows: {fit.reason}")
    pos, neg = electrodes.tables()
    fitted = (fit.x_0, fit.x_100, fit.y_0, fit.y_100, fit.resistance_ohm, fit.silicon_fraction)
    known = electrodes.polarisation
    seen, load = known.seen(curve.z, curve.current_a, curve.charge_c), known.load(curve.current_a)
    return _voltage(np.nan_to_num(np.array(fitted)), seen, load, pos, neg)[0]


def _voltage(
    p: Float64Array, seen: Float64Array, load: Sequence[float], pos: Table, neg: Table
) -> tuple[Float64Array, Float64Array]:
    """Voltage (m,) and its derivatives (m, 6)."""
    out, derivatives = np.empty(len(seen)), np.empty((len(seen), PARAMETERS))
    model_kernel(p, np.array(load), seen, 1, pos.values, pos.grid, neg.values, neg.grid, out, derivatives)
    return out, derivatives


def _shifts(
    p: Float64Array, covariance: Float64Array, curve: SlowCurve, seen: Float64Array, known: Polarisation,
    pos: Table, neg: Table,
) -> Float64Array:  # fmt: skip
    """What one SD of each cause moves the fitted parameters by: (J'J)^-1 J' of what it moves the voltage by."""
    out = np.zeros((CAUSES, PARAMETERS))
    free = np.flatnonzero(np.diag(covariance) > 0.0)
    p = np.where(np.isfinite(p), p, 0.0)  # what was not fitted
    voltage, derivatives = _voltage(p, seen, known.load(curve.current_a), pos, neg)
    jac = derivatives[:, free]
    moved = np.zeros((CAUSES, PARAMETERS))
    for k, other in enumerate(known.varied):
        if other is not None:
            again = seen if k in TRANSFERS else other.seen(curve.z, curve.current_a, curve.charge_c)
            away = _voltage(p, again, other.load(curve.current_a), pos, neg)[0] - voltage
            moved[k, free] = away @ jac
    out[:, free] = np.linalg.solve(jac.T @ jac, moved[:, free].T).T
    return out


def _windows(
    row: Float64Array, own: Float64Array, shifts: Float64Array, charge_ah: float, status: int, of_mean: bool
) -> Windows:
    x0, x1, y0, y1, r, f = (float(p) for p in row[:PARAMETERS])
    covariance = own + shifts.T @ shifts
    sd = [math.sqrt(d) if d > 0.0 else math.nan for d in np.diag(covariance)]
    n_to_p = lithium = negative = positive = math.nan
    spreads = [math.nan] * 4
    if status == codes.OK:
        dx = x1 - x0
        values, gradients = contents(x0, x1, y0, y1, charge_ah)
        lithium, negative, positive = (float(value) for value in values)
        n_to_p = 1.0 + (1.0 - x1) / dx
        by_room = np.array([(1.0 - x1) / dx**2, -1.0 / dx - (1.0 - x1) / dx**2, 0.0, 0.0])
        spreads = [spread(g, covariance) for g in (by_room, *gradients)]
    return Windows(
        x0, x1, y0, y1, r, f, sd[0], sd[1], sd[2], sd[3], sd[4], sd[5],
        float(row[layout.RMSE]), float(row[layout.RHO]), n_to_p, spreads[0], negative, spreads[2],
        positive, spreads[3], lithium, spreads[1], charge_ah, covariance, status, of_mean, shifts,
    )  # fmt: skip


def ageing(first: Windows, second: Windows) -> Ageing:
    """LLI and LAM from the first to the second fit of a cell with the same electrodes: Dubarry 2012.

    ValueError: one of them is refused. What diffusion and charge transfer do alike to both fits cancels: at the same
    direction and current nearly all. A wrong half-cell table cancels too, so that the SDs are on the safe side.
    """
    for fit in (first, second):
        if not fit.identifiable:
            raise ValueError(f"no windows to compare: {fit.reason}")
    return losses(first.inventory, second.inventory)
