"""Seeded random disturbances of the coater, drawn per inner step so that they do not depend on how time is cut.

No physics here: unit normal numbers and slow drifts with a given spread and correlation time.
"""

from __future__ import annotations

import math

import numpy as np

_BLOCK = 512


class Normals:
    """Rows of unit normal numbers. Drawn in blocks: one NumPy call a step would cost more than the step."""

    def __init__(self, seed: int, columns: int, stream: int = 0xC0A7) -> None:
        """`stream` tells several of the same seed apart."""
        self._rng = np.random.default_rng([seed, stream])
        self._columns = columns
        self._rows: list[list[float]] = []
        self._next = 0

    def row(self) -> list[float]:
        """The next row; `columns` numbers."""
        if self._next == len(self._rows):
            self._rows = self._rng.standard_normal((_BLOCK, self._columns)).tolist()
            self._next = 0
        row = self._rows[self._next]
        self._next += 1
        return row


class Drift:
    """Ornstein-Uhlenbeck process: mean 0, standard deviation `spread`, correlation time `tau_s`."""

    def __init__(self, spread: float, tau_s: float, step_s: float, start: float) -> None:
        """`start` is a unit normal number, so that the process is stationary from the first step."""
        self._keep = math.exp(-step_s / tau_s)
        self._kick = spread * math.sqrt(1.0 - self._keep * self._keep)
        self.value = spread * start

    def step(self, normal: float) -> float:
        """One step on, with a unit normal number."""
        self.value = self._keep * self.value + self._kick * normal
        return self.value
