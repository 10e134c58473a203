"""Grades of one tray from self-discharge and open-circuit voltage, by robust statistics. No fits, no equipment.

Median and MAD (scaled by 1.4826 to a normal's standard deviation): Hampel, J. Am. Stat. Assoc. 69 (1974) 383.
Outliers by the modified z-score above 3.5: Iglewicz and Hoaglin, How to detect and handle outliers, ASQC 1993.
Temperature: a stated coefficient, or the median of all pairs' slopes (Theil 1950, Sen, J. Am. Stat. Assoc. 63 (1968)
1379) once the tray's temperatures differ enough to give one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

MAD_TO_SD = 1.4826
CELLS_MIN = 8
"""Fewer cells do not make a tray: the spread of eight is known to a third."""
REGRESSION_SPAN_K = 2.0
"""Temperatures closer together than this give no coefficient."""
NORMAL_95 = 1.959964


class Grade(StrEnum):
    """What to do with a cell."""

    A = "A"  # leaks less than the limit, stands with its tray in leak and voltage
    B = "B"  # leaks less than the limit, its voltage stands apart from the tray's
    RETEST = "retest"  # the measurement cannot decide
    REJECT = "reject"  # leaks more than the limit, or far more than its tray


GRADE_NUMBERS = {Grade.A: 1, Grade.B: 2, Grade.RETEST: 3, Grade.REJECT: 4}
"""How a grade stands in data; these numbers never change meaning."""


class Why(IntEnum):
    """What decided a grade; stored in data, so the numbers never change meaning."""

    NOTHING = 0
    K_UNKNOWN = 1
    K_ABOVE_LIMIT = 2
    K_ABOVE_TRAY = 3
    K_STRADDLES_LIMIT = 4
    K_BELOW_TRAY = 5
    OCV_APART = 6


WHY_WORDS = {
    Why.NOTHING: "",
    Why.K_UNKNOWN: "K is not known",
    Why.K_ABOVE_LIMIT: "K is above the limit",
    Why.K_ABOVE_TRAY: "K stands above its tray",
    Why.K_STRADDLES_LIMIT: "K straddles the limit",
    Why.K_BELOW_TRAY: "K stands below its tray",
    Why.OCV_APART: "OCV stands apart from its tray",
}
NAMED_MAX = 3
"""Cells that share a cause and are named one by one in the words for a tray; more are counted."""


@dataclass(frozen=True, slots=True)
class GradeLimits:
    """Limits of a grade. Vendors accept about 0.08 mV/h; EV grades want +-5 mV within a batch."""

    k_mv_h: float = 0.08
    ocv_window_v: float = 0.005
    outlier: float = 3.5

    def __post_init__(self) -> None:
        if not all(0.0 < value < math.inf for value in (self.k_mv_h, self.ocv_window_v, self.outlier)):
            raise ValueError("limits of a grade are positive")


@dataclass(frozen=True, slots=True)
class TrayStatistics:
    """Robust statistics of n values of one tray."""

    count: int  # values that are known
    median: float
    mad_sd: float  # 1.4826 MAD: the standard deviation if normal; nan with fewer than two values
    median_sd: float  # standard error of the median, 1.2533 SD / sqrt(n)


@dataclass(frozen=True, slots=True, eq=False)
class TrayGrades:
    """Grades of n cells. Arrays (n,); nan where a cell's value is unknown."""

    grade: tuple[Grade, ...]
    why: tuple[Why, ...]
    reason: tuple[str, ...]  # empty for A
    k_mv_h: Float64Array  # at the tray's median temperature
    k_z: Float64Array  # modified z-score within the tray
    ocv_away_v: Float64Array  # from the tray's median, at its median temperature
    k: TrayStatistics
    ocv: TrayStatistics
    k_coefficient_mv_h_k: float  # what was taken out, 0 where none
    ocv_coefficient_v_k: float

    def in_words(self, cells: Sequence[int], name: str = "channel") -> str:
        """Counts of every grade and what decided those below A: "62 A, 1 retest (...), 1 reject (channel 17: ...)"."""
        parts = []
        for grade in Grade:
            mine = [i for i, found in enumerate(self.grade) if found is grade]
            if mine:
                parts.append(f"{len(mine)} {grade.value}{self._causes(mine, cells, name)}")
        return ", ".join(parts)

    def _causes(self, mine: Sequence[int], cells: Sequence[int], name: str) -> str:
        """The causes of the cells `mine`, in brackets; those that many share once, with their number."""
        said: list[str] = []
        for why, words in dict.fromkeys(self._cause(i) for i in mine):
            same = [i for i in mine if self._cause(i) == (why, words)]
            if why is Why.NOTHING:
                continue
            if len(same) <= NAMED_MAX and words != self.reason[same[0]]:
                said += [f"{name} {cells[i]}: {self.reason[i]}" for i in same]
            elif len(same) <= NAMED_MAX:
                said.append(f"{name} {', '.join(str(cells[i]) for i in same)}: {words}")
            else:
                said.append(words if len(same) == len(mine) else f"{len(same)} {name}s: {words}")
        return f" ({'; '.join(said)})" if said else ""

    def _cause(self, i: int) -> tuple[Why, str]:
        """What decided cell i, in words without its own figures."""
        why = self.why[i]
        return why, self.reason[i] if why is Why.K_UNKNOWN else WHY_WORDS[why]


def tray_statistics(values: Float64Array) -> TrayStatistics:
    """Median, MAD and their errors of the finite values."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if known.size == 0:
        return TrayStatistics(0, math.nan, math.nan, math.nan)
    middle = float(np.median(known))
    if known.size < 2:
        return TrayStatistics(1, middle, math.nan, math.nan)
    spread = MAD_TO_SD * float(np.median(np.abs(known - middle)))
    return TrayStatistics(int(known.size), middle, spread, 1.2533 * spread / math.sqrt(known.size))


def temperature_coefficient(values: Float64Array, temperature_c: Float64Array) -> float:
    """Theil-Sen slope of `values` per kelvin; 0 where too few cells or too like temperatures give none."""
    known = np.isfinite(values) & np.isfinite(temperature_c)
    x, y = np.asarray(temperature_c)[known], np.asarray(values)[known]
    if x.size < CELLS_MIN or float(np.ptp(x)) < REGRESSION_SPAN_K:
        return 0.0
    i, j = np.triu_indices(x.size, 1)
    apart = np.abs(x[j] - x[i]) > 0.25 * REGRESSION_SPAN_K
    if np.count_nonzero(apart) < CELLS_MIN:
        return 0.0
    return float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))


def grade_tray(
    k_mv_h: Float64Array,
    k_sd_mv_h: Float64Array,
    ocv_v: Float64Array | None = None,
    temperature_c: Float64Array | None = None,
    *,
    limits: GradeLimits | None = None,
    k_coefficient_mv_h_k: float | None = None,
    ocv_coefficient_v_k: float | None = None,
    unknown: Sequence[str] | None = None,
) -> TrayGrades:
    """Grades n cells that rested together; arrays (n,), nan where a fit refused, and `unknown` says why in words.

    With temperatures, K and OCV are brought to the tray's median temperature by the coefficients; one that is None is
    found by regression over the tray. A cell without a temperature is taken for one at the median. ValueError: shapes.
    """
    k, sd = _column("k_mv_h", k_mv_h, None), _column("k_sd_mv_h", k_sd_mv_h, np.shape(k_mv_h))
    ocv = np.full(k.size, np.nan) if ocv_v is None else _column("ocv_v", ocv_v, k.shape)
    k_by = ocv_by = 0.0
    if temperature_c is not None:
        warm = _column("temperature_c", temperature_c, k.shape)
        k_by = temperature_coefficient(k, warm) if k_coefficient_mv_h_k is None else k_coefficient_mv_h_k
        ocv_by = temperature_coefficient(ocv, warm) if ocv_coefficient_v_k is None else ocv_coefficient_v_k
        away = warm - tray_statistics(warm).median
        away[~np.isfinite(away)] = 0.0
        k, ocv = k - k_by * away, ocv - ocv_by * away
    of_k, of_ocv = tray_statistics(k), tray_statistics(ocv)
    # A tray more alike than its cells are measured is no reason to call one of them an outlier.
    scale = np.sqrt(np.square(sd) + (of_k.mad_sd**2 if of_k.count >= CELLS_MIN else np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(scale > 0.0, (k - of_k.median) / scale, np.nan)
    apart = ocv - of_ocv.median
    words = [""] * k.size if unknown is None else unknown
    if len(words) != k.size:
        raise ValueError(f"unknown has {len(words)} reasons for {k.size} cells")
    decided = [_one(k[i], sd[i], z[i], apart[i], limits or GradeLimits(), words[i]) for i in range(k.size)]
    return TrayGrades(
        grade=tuple(grade for grade, _, _ in decided),
        why=tuple(why for _, why, _ in decided),
        reason=tuple(reason for _, _, reason in decided),
        k_mv_h=k,
        k_z=z,
        ocv_away_v=apart,
        k=of_k,
        ocv=of_ocv,
        k_coefficient_mv_h_k=k_by,
        ocv_coefficient_v_k=ocv_by,
    )


def _one(k: float, sd: float, z: float, apart: float, limits: GradeLimits, unknown: str) -> tuple[Grade, Why, str]:
    """Grade and reason of one cell. The limit is judged with the 95 % band, never with the bare value."""
    if not (math.isfinite(k) and math.isfinite(sd)):
        return Grade.RETEST, Why.K_UNKNOWN, unknown or WHY_WORDS[Why.K_UNKNOWN]
    band, limit = NORMAL_95 * sd, limits.k_mv_h
    if k - band > limit:
        return Grade.REJECT, Why.K_ABOVE_LIMIT, f"K {k:.3f} +- {band:.3f} mV/h is above {limit:g} mV/h"
    if z > limits.outlier:
        found = Grade.REJECT, Why.K_ABOVE_TRAY, f"K {k:.3f} mV/h stands {z:.1f} robust SD above its tray"
    elif k + band > limit:
        found = Grade.RETEST, Why.K_STRADDLES_LIMIT, f"K {k:.3f} +- {band:.3f} mV/h straddles {limit:g} mV/h"
    elif z < -limits.outlier:
        found = Grade.RETEST, Why.K_BELOW_TRAY, f"K {k:.3f} mV/h stands {-z:.1f} robust SD below its tray"
    elif abs(apart) > limits.ocv_window_v:
        found = Grade.B, Why.OCV_APART, f"OCV stands {1e3 * apart:+.1f} mV from its tray"
    else:
        found = Grade.A, Why.NOTHING, ""
    return found


def _column(name: str, values: Float64Array, shape: tuple[int, ...] | None) -> Float64Array:
    column = np.array(values, dtype=np.float64)
    if column.ndim != 1 or (shape is not None and column.shape != shape):
        raise ValueError(
            f"{name} has shape {column.shape}; expected {'one value per cell' if shape is None else shape}"
        )
    column[~np.isfinite(column) | (np.abs(column) > 1e6)] = np.nan
    return column
