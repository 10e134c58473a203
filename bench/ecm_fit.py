"""Two RC pairs fitted to 600 samples, against SciPy's Levenberg-Marquardt on the same model; 10,000 fits on two cores.

Alone: python bench/ecm_fit.py

Five parameters (R0, R1, tau1, R2, tau2; the rest voltage is known), stamps jittered, 0.5 mV of noise. Ours is the
twin's whole call with its own start search and covariance. The peer begins about where that search ends, 1.3 times the
truth, has the pulse's closed form as its model (cheaper than a recursion over uneven steps), and gives no covariance.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import least_squares

from twin.ecm import fit_ecms

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

ROWS, FITS, ROUNDS, BATCH = 600, 50, 15, 10_000
TRUTH = np.array([0.02, 0.008, 5.0, 0.012, 60.0])
CURRENT_A, REST_V = 5.0, 3.7
BAR_US = 100.0  # per fit, one core; ten thousand on two cores: 60


def records(count: int) -> tuple[np.ndarray, ...]:
    """Offsets, time, current, voltage, and the two steps' times of 300 s pulses in 600 s."""
    rng = np.random.default_rng(1)
    t = np.arange(ROWS) + rng.uniform(-0.2, 0.2, (count, ROWS))
    t -= t[:, :1]
    on, off = t[:, 10:11], t[:, 310:311]
    i = np.where((t > on) & (t <= off), CURRENT_A, 0.0)
    v = REST_V + model(TRUTH, t, i, on, off) + 5e-4 * rng.standard_normal(t.shape)
    return np.arange(count + 1) * ROWS, t, i, np.round(v, 4), on, off


def model(p: np.ndarray, t: np.ndarray, i: np.ndarray, on: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Closed form for one rectangular pulse: cheaper for the peer than any recursion over uneven steps."""
    since_on, since_off = np.clip(t - on, 0.0, None), np.clip(t - off, 0.0, None)
    v = p[0] * i
    for r, tau in ((p[1], p[2]), (p[3], p[4])):
        v = v + CURRENT_A * r * (np.exp(-since_off / tau) - np.exp(-since_on / tau))
    return v


def run() -> list[Result]:
    """Time per fit on one core (ours CPU, peer CPU), and per fit of a batch on two cores (wall)."""
    marks, t, i, v, on, off = records(FITS)
    flat = (t.ravel(), i.ravel(), v.ravel())
    start = np.array([0.02, 0.01, 7.0, 0.01, 70.0])
    found = np.empty((FITS, 5))

    def ours() -> None:
        fits = fit_ecms(marks, *flat, ocv_v=REST_V)
        found[:] = np.stack([fits.r0_ohm, fits.r1_ohm, fits.tau1_s, fits.r2_ohm, fits.tau2_s], axis=1)

    def theirs() -> None:
        for n in range(5):
            y, where = v[n] - REST_V, (t[n], i[n], on[n], off[n])
            fit = least_squares(lambda p, y=y, where=where: model(p, *where) - y, start, method="lm", x_scale=start)
            if not np.allclose(fit.x, found[n], rtol=1e-3):
                raise RuntimeError(f"the fits disagree: {fit.x} and {found[n]}")

    mine, bare = alternate(ours, theirs, ROUNDS, time.thread_time)
    mine, bare = 1e6 * mine / FITS, 1e6 * bare / 5
    marks, t, i, v, _, _ = records(BATCH)
    flat = (t.ravel(), i.ravel(), v.ravel())
    two, one = alternate(
        lambda: fit_ecms(marks, *flat, ocv_v=REST_V, threads=2), lambda: fit_ecms(marks, *flat, ocv_v=REST_V), 3
    )
    two, one = 1e6 * two / BATCH, 1e6 * one / BATCH
    return [
        Result(
            name="ecm_fit", ours=mine, peer=bare, peer_name="SciPy least_squares, lm", ratio=mine / bare, bar=BAR_US,
            unit="us CPU per fit", ok=mine <= BAR_US,
        ),
        Result(
            name="ecm_fit_10000_2_cores", ours=two, peer=one, peer_name="the same on one core", ratio=two / one,
            bar=0.6 * BAR_US, unit="us wall per fit", ok=two <= 0.6 * BAR_US,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
