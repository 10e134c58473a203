"""Incremental capacity of the LG M50 C/10 branches against SciPy: resampled over voltage, then Savitzky-Golay.

Alone: python bench/dqdv.py

Both smooth to the same standard deviation, 5 mV, on the same grid. Speed (CPU of one thread) is on the measured record,
or a simulated one where the data are absent; ours gives the noise's standard deviation too. Accuracy is the RMS error
against the known curve, smoothed alike, of a simulated charge read with 0.5 mV of noise at a resolution of 1 mV.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
from scipy.signal import savgol_filter

from twin.dqdv import incremental_capacity
from twin.ocv import SlowTest, branches, net_charge

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "lgm50_c10.parquet"
H = 0.005
STEP = H / 4
ORDER = 2  # the derivative of a fitted parabola weighs the slope by 1 - u^2: its SD is half a window over sqrt(5)
ROUNDS = 30


def peer(charge: np.ndarray, voltage: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The usual recipe: rising voltage, charge resampled on an even grid, Savitzky-Golay derivative."""
    if voltage[-1] < voltage[0]:
        charge, voltage = charge[::-1], voltage[::-1]
    rising = np.maximum.accumulate(voltage)
    grid = np.arange(np.ceil(rising[0] / STEP), np.floor(rising[-1] / STEP)) * STEP
    return grid, savgol_filter(np.interp(grid, rising, charge), window, ORDER, deriv=1, delta=STEP) / 3600


def window_of(h: float) -> int:
    """Odd number of points whose parabola weight has the standard deviation h."""
    return 2 * round(h * np.sqrt(5.0) / STEP) + 1


def simulated(rows: int = 34_000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Charge and voltage of a charge with four peaks, and its true voltage and dQ/dV (Ah/V)."""
    v = np.linspace(2.9, 4.2, 200_001)
    f = 1.5 + sum(
        a * np.exp(-0.5 * ((v - c) / s) ** 2)
        for a, c, s in ((4, 3.47, 0.02), (7, 3.65, 0.035), (4, 3.93, 0.04), (10, 4.12, 0.015))
    )
    q = 3600 * np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(v))])
    charge = np.linspace(0, q[-1], rows)
    return charge, np.interp(charge, q, v), v, f


def measured() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slow branches of the measured record, one behind the other, with offsets."""
    if not DATA.is_file():
        charge, voltage, _, _ = simulated()
        return np.tile(charge, 2), np.tile(voltage, 2), np.array([0, len(charge), 2 * len(charge)])
    import polars as pl

    table = pl.read_parquet(DATA)
    test = SlowTest(*(table[n].to_numpy() for n in ("time_s", "current_a", "voltage_v")))
    joined, _ = net_charge(test)
    spans = [slice(b.first, b.last + 1) for b in branches(test, 1.0)]
    ends = np.cumsum([0, *(s.stop - s.start for s in spans)])
    return np.concatenate([joined[s] for s in spans]), np.concatenate([test.voltage_v[s] for s in spans]), ends


def accuracy() -> tuple[float, float]:
    """RMS error in Ah/V of ours and of the peer, 50 mV from the ends, each against the truth at its own smoothing."""
    charge, voltage, v, f = simulated()
    rng = np.random.default_rng(1)
    read = np.round(voltage + 5e-4 * rng.standard_normal(len(voltage)), 3)
    curves = incremental_capacity(charge, read, np.array([0, len(charge)]), H)
    theirs_at, theirs = peer(charge, read, window_of(H))
    fine = v[1] - v[0]
    u = np.arange(-round(3 * H / fine), round(3 * H / fine) + 1) * fine / (3 * H)
    smooth = np.convolve(f, (1 - u * u) ** 3 / ((1 - u * u) ** 3).sum(), "same")
    errors = []
    for at, value in ((curves.grid(0), curves.value[0]), (theirs_at, theirs)):
        inner = (at > 2.95) & (at < 4.15)
        errors.append(float(np.sqrt(np.mean((value[inner] - np.interp(at[inner], v, smooth)) ** 2))))
    return errors[0], errors[1]


def run() -> list[Result]:
    """Speed on the measured record and accuracy on a simulated one."""
    charge, voltage, ends = measured()
    window = window_of(H)

    def theirs() -> None:
        for a, b in itertools.pairwise(ends):
            peer(charge[a:b], voltage[a:b], window)

    def ours() -> None:
        incremental_capacity(charge, voltage, ends, H)

    mine, other = (1e3 * s for s in alternate(ours, theirs, ROUNDS, time.thread_time))
    exact, rough = accuracy()
    name = "SciPy Savitzky-Golay on a resampled curve"
    return [
        Result("dqdv", mine, other, name, mine / other, other, "ms CPU per record", mine <= other),
        Result("dqdv_error", exact, rough, name, exact / rough, rough, "Ah/V RMS", exact <= rough),
    ]


if __name__ == "__main__":
    main(run)
