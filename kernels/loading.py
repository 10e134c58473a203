"""Running statistics of the web's loading, per lane and whole, from a gauge's diagonal samples. Nothing of coaters.

Welford's recurrence (Technometrics 4 (1962) 419) as in Knuth, The Art of Computer Programming 2, section 4.2.2:
mean_n = mean + (x - mean)/n, M2_n = M2 + (x - mean)(x - mean_n). No sum of squares is ever formed, so that a spread of
1e-4 of the mean keeps its digits after months.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel

Float64Array = NDArray[np.float64]

COUNT, MEAN, M2 = 0, 1, 2  # columns of the statistics
OUT_COUNT, OUT_MEAN, OUT_SD, OUT_CV, OUT_MEAN_SD = 0, 1, 2, 3, 4  # rows of the output
OUTPUT_ROWS = 5
LOADING_LIMIT_KG_M2 = 10.0  # fifty times an electrode; a reading beyond is no reading


@helper
def _add(statistics: Float64Array, row: int, value: float) -> None:
    statistics[row, COUNT] += 1.0
    away = value - statistics[row, MEAN]
    statistics[row, MEAN] += away / statistics[row, COUNT]
    statistics[row, M2] += away * (value - statistics[row, MEAN])


@kernel
def loading_update(
    statistics: Float64Array,
    place: Float64Array,
    width_m: float,
    least_kg_m2: float,
    mass_loading_kg_m2: Float64Array,
    cross_position_m: Float64Array,
    web_position_m: Float64Array,
    quality: NDArray[np.uint8],
    out: Float64Array,
    code: NDArray[np.uint8],
) -> int:
    """Adds n samples to `statistics` (1 + lanes, 3), row 0 the whole web; returns how many counted.

    `place` (2,) is the last counted position across and along the web: a gauge that is read twice without having moved
    measured once. A sample counts when its quality is 0, it is finite and on the web, and at least `least_kg_m2` (less
    is bare foil). Writes `out` (5, 1 + lanes) and `code` (1 + lanes,).
    """
    rows = statistics.shape[0]
    lanes = rows - 1
    for row in range(rows):
        code[row] = status.PREDICTED
    counted = 0
    for k in range(mass_loading_kg_m2.shape[0]):
        mass, cross, along = mass_loading_kg_m2[k], cross_position_m[k], web_position_m[k]
        if quality[k] != 0 or not (least_kg_m2 <= mass <= LOADING_LIMIT_KG_M2):
            continue
        if not (0.0 <= cross <= width_m and math.isfinite(along)):
            continue
        if cross == place[0] and along == place[1]:
            continue
        place[0], place[1] = cross, along
        lane = min(int(cross / width_m * lanes), lanes - 1)
        _add(statistics, 0, mass)
        _add(statistics, 1 + lane, mass)
        code[0] = status.OK
        code[1 + lane] = status.OK
        counted += 1
    for row in range(rows):
        count = statistics[row, COUNT]
        sd = math.nan
        if count > 1.0:
            sd = math.sqrt(max(statistics[row, M2], 0.0) / (count - 1.0))
        else:
            code[row] = status.WAITING
        mean = statistics[row, MEAN] if count > 0.0 else math.nan
        out[OUT_COUNT, row] = count
        out[OUT_MEAN, row] = mean
        out[OUT_SD, row] = sd
        out[OUT_CV, row] = sd / mean if mean > 0.0 else math.nan
        out[OUT_MEAN_SD, row] = sd / math.sqrt(count) if count > 1.0 else math.nan
    return counted


def warm_up() -> None:
    """Compiles with the signatures of twin/loading.py."""
    one = np.ones(1)
    statistics, out, code = np.zeros((2, 3)), np.empty((OUTPUT_ROWS, 2)), np.empty(2, dtype=np.uint8)
    loading_update(statistics, np.zeros(2), 1.0, 0.0, one, one, one, np.zeros(1, dtype=np.uint8), out, code)
