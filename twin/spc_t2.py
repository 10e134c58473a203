"""Hotelling's chart of several variables at once, on many channels; it remembers between calls. No I/O, no actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.spc_t2 import VARIABLES_MAX
from kernels.spc_t2 import t2_factor as t2_factor_kernel
from kernels.spc_t2 import t2_learn as t2_learn_kernel
from kernels.spc_t2 import t2_limit as t2_limit_kernel
from kernels.spc_t2 import t2_update as t2_update_kernel
from twin.checkpoint import pack, unpack
from twin.spc import ChartPoints, checked_offsets

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


class HotellingChart:
    """T2 of p variables on n channels: `learn` from observations in control, then `update` with new ones."""

    def __init__(self, variables: int, channels: int = 1, alpha: float = 0.0027) -> None:
        if not (1 <= variables <= VARIABLES_MAX and channels >= 1 and 1e-12 <= alpha < 1.0):
            raise ValueError(f"1 to {VARIABLES_MAX} variables, at least one channel, 1e-12 <= alpha < 1")
        self.variables, self.channels, self.alpha = variables, channels, alpha
        self._count, self._mean = np.zeros(channels), np.zeros((channels, variables))
        self._scatter = np.zeros((channels, variables, variables))
        self._factor = np.full((channels, variables, variables), np.nan)
        self._limit = np.full(channels, np.nan)

    def learn(self, values: Float64Array, offsets: Int64Array | None = None) -> NDArray[np.uint8]:
        """Adds observations (total, p) in control; per channel OK, WAITING or NOT_IDENTIFIABLE (kernels/status.py)."""
        table = self._table(values)
        ends = checked_offsets(offsets, table, self.channels, one_each=False)
        code = np.empty(self.channels, dtype=np.uint8)
        t2_learn_kernel(self._count, self._mean, self._scatter, table, ends)
        t2_factor_kernel(self._count, self._scatter, self._factor, code)
        limits = {count: t2_limit_kernel(self.variables, float(count), self.alpha) for count in np.unique(self._count)}
        self._limit = np.array([limits[count] for count in self._count])
        return code

    def update(self, values: Float64Array, offsets: Int64Array | None = None) -> ChartPoints:
        """T2 of new observations (total, p), by default one per channel; BAD before anything was learnt."""
        table = self._table(values)
        ends = checked_offsets(offsets, table, self.channels, one_each=True)
        out, flags = np.empty(len(table)), np.empty(len(table), dtype=np.uint8)
        t2_update_kernel(self._mean, self._factor, self._limit, table, ends, out, flags)
        return ChartPoints(value=out, other=np.repeat(self._limit, np.diff(ends)), flags=flags)

    def checkpoint(self) -> bytes:
        """Everything that was learnt."""
        return pack(self._head, self._arrays())

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same variables, channels and alpha. ValueError otherwise, and nothing changed."""
        found = unpack(data, self._head, self._arrays())
        learnt = [found["count"], found["mean"], found["scatter"]]
        if not all(np.isfinite(a).all() for a in learnt) or (found["count"] < 0.0).any():
            raise ValueError("checkpoint holds numbers that no chart learns")
        self._count, self._mean, self._scatter = learnt
        self._factor, self._limit = found["factor"], found["limit"]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "count": self._count, "mean": self._mean, "scatter": self._scatter, "factor": self._factor,
            "limit": self._limit,
        }  # fmt: skip

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {
            "format": "celltwin-chart-t2", "version": 1, "variables": self.variables, "channels": self.channels,
            "alpha": self.alpha,
        }  # fmt: skip

    def _table(self, values: Float64Array) -> NDArray[Any]:
        table = np.require(values, np.float64, ["C", "W"])
        if table.ndim != 2 or table.shape[1] != self.variables:
            raise ValueError(f"observations have shape {table.shape}; expected (total, {self.variables})")
        return table
