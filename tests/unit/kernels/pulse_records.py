"""Synthetic pulses with known resistance for the tests of pulse, on both levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Records one behind the other, and the true resistance (records, times) of each."""

    time_s: Float64Array
    current_a: Float64Array
    voltage_v: Float64Array
    offsets: NDArray[np.int64]
    truth_ohm: Float64Array


def resistance(seconds: Float64Array, scale: float = 1.0) -> Float64Array:
    """Two RC elements, ohm: 25 ohmic, 8 with 2 s, 12 with 25 s, in milliohm."""
    t = np.asarray(seconds)
    shape = 25e-3 + 8e-3 * (1.0 - np.exp(-t / 2.0)) + 12e-3 * (1.0 - np.exp(-t / 25.0))
    return scale * np.where(t >= 0.0, shape, 0.0)


def draw(
    records: int,
    seed: int,
    *,
    times_s: tuple[float, ...],
    polled: bool = False,
    soc_ohm_sd: float = 0.0,
    one_pace: bool = False,
) -> Draws:
    """Rest at 1 Hz, 32 s of load at uneven stamps, noise, converter steps, and (unless polled) stale rows of each sort.

    `soc_ohm_sd`: spread of what the unknown state of charge adds to the resistance. `one_pace`: rest and load are
    sampled at one pace (to 3 %), which goes on through the step where polled and begins anew at it where not.
    """
    rng = np.random.default_rng(seed)
    times, currents, voltages, lengths, truths = [], [], [], [], []
    for _ in range(records):
        rest = np.arange(20.0) + rng.uniform(0.0, 1.0)
        every = rng.uniform(0.05, 0.15)
        step = rest[-1] + rng.uniform(0.02, 1.0)
        inside = step + np.cumsum(rng.uniform(0.5, 1.5, int(32.0 / every)) * every)
        stale = np.empty(0)
        if one_pace:
            grid = every * (np.arange(360) + 0.03 * rng.uniform(-1.0, 1.0, 360))
            rest = grid[:30]
            step = grid[29] + every * rng.uniform(0.0, 1.0)
            inside = grid[30:] if polled else step + grid[:330] - grid[0]
        elif polled:
            inside = step + every * rng.uniform(0.0, 1.0) + every * np.arange(int(32.0 / every))
        else:
            stale = np.full(int(rng.integers(0, 3)), step)
            inside = np.concatenate([[step], inside]) if rng.uniform() < 0.5 or not stale.size else inside
        t = np.concatenate([rest, stale, inside])
        amps = rng.choice([-1.0, 1.0]) * rng.uniform(2.0, 8.0)
        scale = rng.uniform(0.8, 1.5)
        extra = soc_ohm_sd * rng.standard_normal()
        load = np.arange(t.size) >= rest.size + stale.size
        i = np.where(load, amps + 5e-4 * rng.standard_normal(t.size), 0.0)
        with_voltage = np.arange(t.size) >= rest.size
        v = 3.7 + np.where(with_voltage, amps * (resistance(t - step, scale) + extra), 0.0)
        v = v + rng.uniform(5e-5, 5e-4) * rng.standard_normal(t.size)
        times.append(np.rint(t * 1e3) / 1e3)
        currents.append(np.rint(i / 1e-4) * 1e-4)
        voltages.append(np.rint(v / 1e-4) * 1e-4)
        lengths.append(t.size)
        truths.append(resistance(np.array(times_s), scale))
    joined = (np.concatenate(part) for part in (times, currents, voltages))
    return Draws(*joined, np.cumsum([0, *lengths], dtype=np.int64), np.array(truths))
