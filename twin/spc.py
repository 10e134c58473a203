"""Control charts of many channels that remember between calls: checks, limits, flags in words. No I/O, no actions.

Every chart takes one value per channel (a stream) or ragged batches by `offsets`; both leave the same memory.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import spc as layout
from kernels import status
from kernels.spc import cpk_update as cpk_update_kernel
from kernels.spc import cusum_update as cusum_update_kernel
from kernels.spc import ewma_update as ewma_update_kernel
from kernels.spc import imr_limits as imr_limits_kernel
from kernels.spc import imr_update as imr_update_kernel
from twin.checkpoint import pack, unpack

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

WORDS = {
    layout.BEYOND_3_SIGMA: "one point beyond 3 sigma",
    layout.TWO_OF_THREE: "two of three points beyond 2 sigma on one side",
    layout.FOUR_OF_FIVE: "four of five points beyond 1 sigma on one side",
    layout.EIGHT_OF_ONE_SIDE: "eight points in a row on one side",
    layout.MOVING_RANGE: "moving range above its limit",
    layout.ABOVE: "above the limit",
    layout.BELOW: "below the limit",
    layout.BAD: "no usable value, centre or sigma",
}


def words(flags: int) -> list[str]:
    """What an observation's flags mean."""
    return [text for bit, text in WORDS.items() if flags & bit]


@dataclass(frozen=True, slots=True, eq=False)
class ChartPoints:
    """What a chart says of its observations, arrays (total,). `flags` are those of kernels/spc.py; 0 is in control.

    `value` and `other` by chart: I-MR z and moving range; EWMA z and its limit in sigmas; CUSUM C+ and C-; T2 and its
    limit.
    """

    value: Float64Array
    other: Float64Array
    flags: NDArray[np.uint8]

    @property
    def signals(self) -> NDArray[np.bool_]:
        """Observations out of control; a missing one is none."""
        return np.asarray((self.flags & ~np.uint8(layout.BAD)) != 0)


@dataclass(frozen=True, slots=True, eq=False)
class Capability:
    """Cpk of n channels with its interval, arrays (n,); nan where `status` (kernels/status.py) is not OK."""

    cpk: Float64Array
    low: Float64Array
    high: Float64Array
    mean: Float64Array
    sd: Float64Array
    count: Float64Array
    status: NDArray[np.uint8]


def individuals_limits(values: Float64Array, offsets: Int64Array | None = None) -> tuple[Float64Array, Float64Array]:
    """Centre and sigma (n,) from values in control: mean, and mean moving range / 1.128. nan where there is none."""
    flat = np.require(values, np.float64, ["C", "W"])
    ends = checked_offsets(offsets, flat, 1 if offsets is None else len(offsets) - 1, one_each=False)
    out, code = np.empty((ends.size - 1, 3)), np.empty(ends.size - 1, dtype=np.uint8)
    imr_limits_kernel(flat, ends, out, code)
    out[code != status.OK, :2] = np.nan
    return out[:, 0].copy(), out[:, 1].copy()


class _Chart(ABC):
    """Memory and parameters of one kind of chart on n channels."""

    kind = ""
    columns = 0

    def __init__(self, centre: ArrayLike, sigma: ArrayLike, *settings: float) -> None:
        centres, sigmas = np.broadcast_arrays(np.atleast_1d(centre), np.atleast_1d(sigma))
        if centres.ndim != 1:
            raise ValueError(f"centre and sigma have shape {centres.shape}; expected one value per channel")
        self.channels = int(centres.size)
        self.parameters = np.empty((self.channels, 2 + len(settings)))
        self.parameters[:, 0], self.parameters[:, 1] = centres, sigmas
        self.parameters[:, 2:] = settings
        self.reset()

    def reset(self) -> None:
        """Forgets everything that was observed."""
        self._state = np.zeros((self.channels, self.columns))

    def update(self, values: Float64Array, offsets: Int64Array | None = None) -> ChartPoints:
        """Adds one value per channel, or channel i's values offsets[i] to offsets[i + 1]. ValueError: shapes."""
        # Writable, because a read-only array is another type to Numba and would be compiled anew.
        flat = np.require(values, np.float64, ["C", "W"])
        ends = checked_offsets(offsets, flat, self.channels, one_each=True)
        out, flags = np.empty((flat.size, 2)), np.empty(flat.size, dtype=np.uint8)
        self._kernel(flat, ends, out, flags)
        return ChartPoints(value=out[:, 0], other=out[:, 1], flags=flags)

    @abstractmethod
    def _kernel(self, flat: Float64Array, ends: Int64Array, out: Float64Array, flags: NDArray[np.uint8]) -> None:
        """The chart's own kernel: `flat` in, `out` and `flags` written, the state moved on."""

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        return pack(self._head, {"state": self._state})

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same kind and number of channels. ValueError otherwise, and nothing changed."""
        state = unpack(data, self._head, {"state": self._state})["state"]
        if not np.isfinite(state).all():
            raise ValueError("checkpoint holds numbers that no chart writes")
        self._state = state

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": f"celltwin-chart-{self.kind}", "version": 1, "channels": self.channels}


class IndividualsChart(_Chart):
    """Shewhart individuals and moving range with the Western Electric rules. `centre`, `sigma`: one or per channel."""

    kind, columns = "imr", layout.IMR_STATE

    def __init__(self, centre: ArrayLike, sigma: ArrayLike) -> None:
        super().__init__(centre, sigma)

    def _kernel(self, flat: Float64Array, ends: Int64Array, out: Float64Array, flags: NDArray[np.uint8]) -> None:
        imr_update_kernel(self._state, self.parameters, flat, ends, out, flags)


class EwmaChart(_Chart):
    """Exponentially weighted moving average; 0.2 and 2.962 signal falsely once in 500. ValueError: weight, width."""

    kind, columns = "ewma", layout.EWMA_STATE

    def __init__(
        self, centre: ArrayLike, sigma: ArrayLike, weight: float = 0.2, width: float = 2.962, *, exact: bool = False
    ) -> None:
        if not (0.0 < weight <= 1.0 and 0.0 < width < math.inf):
            raise ValueError(f"weight {weight:g} must be in (0, 1] and width {width:g} positive")
        super().__init__(centre, sigma, weight, width, float(exact))

    def _kernel(self, flat: Float64Array, ends: Int64Array, out: Float64Array, flags: NDArray[np.uint8]) -> None:
        ewma_update_kernel(self._state, self.parameters, flat, ends, out, flags)


class CusumChart(_Chart):
    """Two-sided cumulative sums; 0.5 and 5 signal falsely once in 465. ValueError: slack, limit (in sigmas).

    With a `ceiling` (in sigmas, above the limit) a sum is no higher between two calls, so that a chart comes back soon
    after the process did, however long it had been away.
    """

    kind, columns = "cusum", layout.CUSUM_STATE

    def __init__(
        self, centre: ArrayLike, sigma: ArrayLike, slack: float = 0.5, limit: float = 5.0, *, ceiling: float = math.inf
    ) -> None:
        if not (0.0 <= slack < math.inf and 0.0 < limit < math.inf):
            raise ValueError(f"slack {slack:g} must not be negative and limit {limit:g} must be positive")
        if not ceiling > limit:
            raise ValueError(f"ceiling {ceiling:g} must be above limit {limit:g}")
        self._ceiling = ceiling
        super().__init__(centre, sigma, slack, limit)

    def _kernel(self, flat: Float64Array, ends: Int64Array, out: Float64Array, flags: NDArray[np.uint8]) -> None:
        cusum_update_kernel(self._state, self.parameters, flat, ends, out, flags)
        np.minimum(self._state, self._ceiling, out=self._state)


class CapabilityIndex:
    """Running Cpk of n channels between limits (infinite: none). `quantile` 1.96 gives a 95 % interval."""

    def __init__(self, low: ArrayLike, high: ArrayLike, channels: int = 1, quantile: float = 1.96) -> None:
        self.channels = channels
        self._limits = np.empty((channels, 3))
        self._limits[:, 0], self._limits[:, 1], self._limits[:, 2] = low, high, quantile
        if not (self._limits[:, 0] < self._limits[:, 1]).all() or not quantile >= 0.0:
            raise ValueError("the lower limit must be below the upper one and the quantile not negative")
        self.reset()

    def update(self, values: Float64Array, offsets: Int64Array | None = None) -> Capability:
        """Adds values as a chart does; the index of everything so far."""
        flat = np.require(values, np.float64, ["C", "W"])
        ends = checked_offsets(offsets, flat, self.channels, one_each=True)
        out, code = np.empty((self.channels, 6)), np.empty(self.channels, dtype=np.uint8)
        cpk_update_kernel(self._state, self._limits, flat, ends, out, code)
        cpk, low, high, mean, sd, count = out.T
        return Capability(cpk, low, high, mean, sd, count, code)

    def reset(self) -> None:
        """Forgets all values."""
        self._state = np.zeros((self.channels, layout.WELFORD_STATE))

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        return pack(self._head, {"state": self._state})

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of as many channels. ValueError otherwise, and nothing changed."""
        state = unpack(data, self._head, {"state": self._state})["state"]
        if not np.isfinite(state).all() or (state[:, layout.COUNT] < 0.0).any() or (state[:, layout.M2] < 0.0).any():
            raise ValueError("checkpoint holds numbers that no values have")
        self._state = state

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-capability", "version": 1, "channels": self.channels}


def checked_offsets(offsets: Int64Array | None, flat: NDArray[Any], channels: int, *, one_each: bool) -> Int64Array:
    """Checked offsets; without any, one value per channel or everything for a single one."""
    total = len(flat) if flat.ndim else -1
    if offsets is None:
        offsets = np.arange(channels + 1) if one_each else np.array([0, total])
    ends = np.ascontiguousarray(offsets, dtype=np.int64)
    if ends.shape != (channels + 1,) or ends[0] != 0 or ends[-1] != total or (np.diff(ends) < 0).any():
        raise ValueError(f"{total} values do not fit offsets of shape {ends.shape} and {channels} channels")
    return ends
