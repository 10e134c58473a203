"""64 rests of six hours at 10 s: relaxation and leak told apart, against SciPy's curve_fit on the same model.

Alone: python bench/relaxation.py

Ours is the twin's whole call (checks, covariance with correlated noise, refusals). The peer starts from the truth, fits
every fourth record and is scaled up, and gives no band for correlated noise.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from twin.relaxation import V_S_PER_MV_H, fit_relaxations

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

RECORDS, SAMPLES, STEP_S, SHARE, ROUNDS = 64, 2160, 10.0, 4, 9
BAR_MS = 20.0


def curve(t: np.ndarray, v_inf: float, a: float, k: float, tau: float, beta: float) -> np.ndarray:
    """The model, with K in mV/h and tau in units of an hour so that SciPy's steps are of one size."""
    found: np.ndarray = v_inf - a * np.exp(-((t / (3600.0 * abs(tau) + 1.0)) ** beta)) - k * V_S_PER_MV_H * t
    return found


def run() -> list[Result]:
    """One result: milliseconds for all 64 records."""
    rng = np.random.default_rng(1)
    t = np.tile(STEP_S * np.arange(1.0, SAMPLES + 1.0), (RECORDS, 1)) + rng.uniform(-0.05, 0.05, (RECORDS, SAMPLES))
    truth = np.column_stack(
        [
            np.full(RECORDS, 3.6),
            rng.uniform(0.005, 0.03, RECORDS) * rng.choice([-1.0, 1.0], RECORDS),
            rng.uniform(0.0, 0.2, RECORDS),
            rng.uniform(0.3, 1.2, RECORDS),
            rng.uniform(0.5, 0.95, RECORDS),
        ]
    )
    v = np.array([curve(t[i], *truth[i]) for i in range(RECORDS)]) + 1e-4 * rng.standard_normal(t.shape)
    flat_t, flat_v, ends, start = t.ravel(), v.ravel(), SAMPLES * np.arange(RECORDS + 1), np.zeros(RECORDS)

    def ours() -> None:
        fit_relaxations(flat_t, flat_v, ends, start)

    def theirs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            for i in range(0, RECORDS, SHARE):
                try:
                    curve_fit(curve, t[i], v[i], p0=truth[i], maxfev=500)
                except RuntimeError:
                    continue  # did not converge; its time counts

    mine, share = alternate(ours, theirs, ROUNDS)
    mine, theirs_ms = 1e3 * mine, 1e3 * share * SHARE
    return [
        Result(
            name="relaxation", ours=mine, peer=theirs_ms, peer_name="SciPy curve_fit from the true start",
            ratio=mine / theirs_ms, bar=BAR_MS, unit="ms per 64 records", ok=mine <= BAR_MS,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
