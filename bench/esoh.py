"""Half-cell fits per second and core, against SciPy's least squares on the same model, points and start.

Alone: python bench/esoh.py

Ours searches from four (blended: eight) starts and gives the covariance under correlated residuals; the peer runs once,
from the first start, with finite differences as most scripts do. 300 points a curve, all curves different.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from twin.esoh import Electrodes, SlowCurve, Windows, fit_curves
from twin.halfcell import load
from twin.polarisation import Polarisation

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

POINTS, CURVES, ROUNDS = 300, 200, 7
BAR_PER_S = 1000.0
CURRENT_A = -0.5


def curves(cell: Electrodes) -> list[SlowCurve]:
    """Discharges of cells that differ by 1 % in every window end, with 1 mV of noise."""
    rng, z = np.random.default_rng(1), (np.arange(POINTS) + 0.5) / POINTS
    found = []
    for _ in range(CURVES):
        x0, x1, y0, y1 = np.array([0.03, 0.82, 0.90, 0.27]) + 0.01 * rng.standard_normal(4) * [0.3, 1, 1, 1]
        v = voltage(cell, z, np.array([x0, x1, y0, y1, 0.05, 0.09]))
        found.append(SlowCurve(z, v + 1e-3 * rng.standard_normal(POINTS), 5.0 * 3600.0, CURRENT_A))
    return found


def voltage(cell: Electrodes, z: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The model with NumPy: np.interp through the tables, a blend by interpolation at equal potential."""
    pos, neg = cell.positive, cell.negative
    up = np.interp(p[2] + z * (p[3] - p[2]), pos.stoichiometry, pos.potential_v)
    x = p[0] + z * (p[1] - p[0])
    if cell.silicon is None:
        return up - np.interp(x, neg.stoichiometry, neg.potential_v) + CURRENT_A * p[4]
    u = np.union1d(neg.potential_v, cell.silicon.potential_v)
    graphite = np.interp(u, neg.potential_v[::-1], neg.stoichiometry[::-1])
    silicon = np.interp(u, cell.silicon.potential_v[::-1], cell.silicon.stoichiometry[::-1])
    held = (1.0 - p[5]) * graphite + p[5] * silicon
    return up - np.interp(x, held[::-1], u[::-1]) + CURRENT_A * p[4]


def measure(name: str, cell: Electrodes) -> Result:
    """Fits per second of CPU time."""
    records = curves(cell)
    count = 5 if cell.silicon is None else 6
    start = np.array([0.01, 0.80, 0.92, 0.28, 0.0, 0.03])[:count]
    fits: list[Windows] = []

    def ours() -> None:
        fits[:] = fit_curves(records, cell)

    def peer() -> None:
        for record in records[:2]:
            least_squares(
                lambda p, r=record: voltage(cell, r.z, np.append(p, 0.0)[:6]) - r.voltage_v,
                start, method="lm", x_scale=np.array([0.01, 0.05, 0.05, 0.05, 0.05, 0.05])[:count],
            )  # fmt: skip

    mine, theirs = alternate(ours, peer, ROUNDS, time.thread_time)
    assert all(fit.identifiable for fit in fits)
    rate, other = CURVES / mine, 2 / theirs
    return Result(
        name=name, ours=rate, peer=other, peer_name="scipy least_squares, one start", ratio=rate / other,
        bar=BAR_PER_S, unit="fits per CPU s", ok=rate >= BAR_PER_S,
    )  # fmt: skip


def run() -> list[Result]:
    """One table, the same with diffusion and charge transfer (which the peer has not), graphite with silicon."""
    positive = load("nmc811_chen2020")
    plain = Electrodes(positive, load("graphite_siox_chen2020"))
    blend = Electrodes(positive, load("graphite_ai2020"), load("silicon_delithiation_verbrugge2016"))
    means = replace(plain, polarisation=Polarisation(69.4, 454.0, 0.3, 0.0225, 0.0025, 0.3))
    return [
        measure("esoh_fit", plain),
        measure("esoh_fit_means", means),
        measure("esoh_fit_blended", blend),
    ]


if __name__ == "__main__":
    main(run)
