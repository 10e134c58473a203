"""What slow charges and discharges gave, tray by tray: electrode windows, losses, peaks. Medians only; no HTML.

The estimates were made when the steps ended (controller/pipeline/stages/slow.py); here they are counted.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from controller.report.data import Rows
from controller.report.formation import PEAKS, by_step, median, spread
from kernels.status import NOT_IDENTIFIABLE, OUTLIER

WHY_WORDS = {
    1: "first charge: the film takes lithium",
    2: "did not run from limit to limit",
    3: "samples are missing",
    4: "its beginning was not seen",
    5: "no half-cell table for this direction",
}
STATUS_WORDS = {
    NOT_IDENTIFIABLE: "the curve does not settle the windows",
    OUTLIER: "the half-cell tables do not describe these cells",
}


def windows(rows: Rows) -> list[list[str]]:
    """A row a step: step, cycle, current, the four ends, RMSE, N/P, LLI, how many were fitted, why most others not."""
    found = []
    for step, part in by_step(rows):
        cells = [f"{step:g}", median(part, "cycle", 0), median(part, "current_a", 2)]
        cells += [spread(part.column(name), 3) for name in ("x_0", "x_100", "y_0", "y_100")]
        cells += [
            median(part, "rmse_v", 1, 1000),
            spread(part.column("n_to_p"), 3),
            spread(part.column("lli") * 100, 2),
        ]
        fitted = int(np.count_nonzero(np.isfinite(part.column("x_0"))))
        found.append([*cells, f"{fitted} of {part.count}", _most(part)])
    return found


def peaks(rows: Rows) -> list[list[str]]:
    """A row a step: step, cycle, current, then place and height of P1 to P6."""
    return [
        [
            f"{step:g}",
            median(part, "cycle", 0),
            median(part, "current_a", 2),
            *(_peak(part, p) for p in range(1, PEAKS + 1)),
        ]
        for step, part in by_step(rows)
    ]


def _peak(part: Rows, p: int) -> str:
    place = median(part, f"p{p}_v", 3)
    return f"{place} V, {median(part, f'p{p}_ah_v', 1)}" if np.isfinite(part.column(f"p{p}_v")).any() else "–"


def _most(part: Rows) -> str:
    """Why most of those without windows have none."""
    none = ~np.isfinite(part.column("x_0"))
    words = [
        WHY_WORDS.get(int(why)) or STATUS_WORDS.get(int(status), f"code {status:g}")
        for why, status in zip(part.column("why")[none], part.column("status")[none], strict=True)
        if np.isfinite(why) and np.isfinite(status)
    ]
    return Counter(words).most_common(1)[0][0] if words else ""
