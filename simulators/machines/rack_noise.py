"""Instrument noise as a pure function of seed, second and channel: how time is chopped cannot change it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.machine import Values

VOLTAGE_SD_V = 0.4e-3
CURRENT_SD_A = 0.4e-3
_MASK_64 = 2**64 - 1


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014); wraps modulo 2^64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class NoiseSource:
    """Counter-based noise of one rack."""

    def __init__(self, seed: int, channels: int) -> None:
        lanes = np.arange(1, 2 * channels + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        self._lanes = _mix(lanes ^ np.uint64(seed & _MASK_64)).reshape(channels, 2)
        self._sd = np.array([VOLTAGE_SD_V, CURRENT_SD_A])

    def draw(self, tick: int, ticks: int) -> Values:
        """Noise (ticks, channels, 2) in V and A for the seconds that follow second `tick`.

        The sum of four uniform numbers: normal to the eye, and never beyond 3.5 SD, as an instrument's filter gives it.
        """
        seconds = (np.arange(tick, tick + ticks, dtype=np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
        bits = _mix(self._lanes[None, :, :] + seconds[:, None, None])
        quarters = bits.view(np.uint16).reshape(*bits.shape, 4).sum(axis=-1, dtype=np.float64)
        noise: Values = (quarters / 65536.0 - (2.0 - 2.0 / 65536.0)) * (np.sqrt(3.0) * self._sd)
        return noise
