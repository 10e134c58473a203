"""Frozen results of the twin: every estimate with its standard deviation and a status. Data only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CellStates:
    """What the filter believes about n cells at their samples' times. Arrays (n,); `status`: kernels/status.py.

    Standard deviations are of the error against the truth, model error included; 1.96 of them are the 95 % band.
    """

    soc: Float64Array
    soc_sd: Float64Array
    u1_v: Float64Array
    u2_v: Float64Array
    r0_ohm: Float64Array  # at 25 C
    r0_sd_ohm: Float64Array
    capacity_ah: Float64Array
    capacity_sd_ah: Float64Array
    innovation_v: Float64Array  # measured minus predicted voltage; nan where no voltage was used
    innovation_sd_v: Float64Array
    status: NDArray[np.uint8]

    def columns(self) -> dict[str, Float64Array]:
        """The estimates by name, for a Frame; `status` among them as floats."""
        names = [name for name in self.__slots__ if name != "status"]
        return {name: getattr(self, name) for name in names} | {"status": self.status.astype(np.float64)}


@dataclass(frozen=True, slots=True, eq=False)
class LoadingStates:
    """Running statistics of the web's dry mass loading. Row 0 is the whole web, rows 1 to `lanes` the lanes.

    A row with fewer than two samples has NaN for what it cannot have, and a status that says so.
    """

    count: Float64Array
    mean_kg_m2: Float64Array
    sd_kg_m2: Float64Array  # sample standard deviation (n - 1)
    cv: Float64Array  # sd / mean
    mean_sd_kg_m2: Float64Array  # standard error of the mean, samples taken as independent
    status: NDArray[np.uint8]
    used: int  # samples of the last batch that counted

    @property
    def points(self) -> int:
        """Rows: 1 + lanes."""
        return int(self.count.shape[0])

    def columns(self) -> dict[str, Float64Array]:
        """The statistics by name, for a Frame; `status` among them as floats."""
        names = [name for name in self.__slots__ if name not in {"status", "used"}]
        return {name: getattr(self, name) for name in names} | {"status": self.status.astype(np.float64)}
