"""Columns as the compiled kernels take them: one type, contiguous, writable. No checks of shape or range.

Numba compiles a kernel anew for a read-only array, and a column that comes from polars or Arrow is read-only: such a
one is copied, which costs milliseconds where the compiler takes seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def floats(values: ArrayLike) -> NDArray[np.float64]:
    """`values` as contiguous writable doubles; itself where it is that already. ValueError, TypeError: no numbers."""
    return np.require(values, np.float64, ["C", "W"])


def integers(values: ArrayLike) -> NDArray[np.int64]:
    """`values` as contiguous writable 64-bit integers; itself where it is that already."""
    return np.require(values, np.int64, ["C", "W"])
