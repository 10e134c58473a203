"""What a formation's events gave: resistances by step, circuits of pulses, rests, grades. Medians only; no HTML.

The estimates themselves were made when the events happened (controller/pipeline/stages); here they are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from controller.report.data import Rows, RunData
from controller.report.words import number
from controller.types import Float64Array
from twin.grading import GRADE_NUMBERS, MAD_TO_SD, WHY_WORDS, Why
from twin.pulse import TIMES_S
from twin.relaxation import REASONS

PULSE_COLUMNS = ("step", "current_a", "soc", "temperature_c", *(f"r_{t:g}s_ohm" for t in TIMES_S))
ECM_COLUMNS = ("step", "r0_ohm", "r1_ohm", "tau1_s", "total_ohm", "pairs")
REST_COLUMNS = ("step", "duration_s", "k_mv_h", "end_slope_mv_h", "why")
GRADE_COLUMNS = ("grade", "why", "k_mv_h", "k_mv_h_sd", "rest_why")
WINDOW_COLUMNS = (
    "step", "cycle", "current_a", "x_0", "x_100", "y_0", "y_100", "rmse_v", "n_to_p", "lli", "status", "why",
)  # fmt: skip
PEAKS = 6
PEAK_COLUMNS = ("step", "cycle", "current_a", *(f"p{p}_{what}" for p in range(1, PEAKS + 1) for what in ("v", "ah_v")))
GRADES = {value: grade.value for grade, value in GRADE_NUMBERS.items()}
NAMED = 16


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Rows of six streams of one rack; any of them may be empty. `windows` and `peaks`: of slow steps (slow.py)."""

    pulses: Rows
    circuits: Rows
    rests: Rows
    grades: Rows
    windows: Rows
    peaks: Rows


def read(data: RunData, device: str) -> Estimates:
    """What a run folder holds of them."""
    return Estimates(
        data.stream("cell_pulse", device, PULSE_COLUMNS),
        data.stream("cell_ecm", device, ECM_COLUMNS),
        data.stream("cell_rest", device, REST_COLUMNS),
        data.stream("cell_grade", device, GRADE_COLUMNS),
        data.stream("cell_esoh", device, WINDOW_COLUMNS),
        data.stream("cell_dqdv", device, PEAK_COLUMNS),
    )


def resistances(pulses: Rows) -> list[list[str]]:
    """A row a step: step, current, SOC, temperature, then median, robust SD and number of channels at each time."""
    found = []
    for step, rows in by_step(pulses):
        cells = [f"{step:g}", median(rows, "current_a", 2), median(rows, "soc", 0, 100)]
        cells.append(median(rows, "temperature_c", 1))
        cells += [spread(rows.column(f"r_{t:g}s_ohm") * 1000.0) for t in TIMES_S]
        found.append(cells)
    return found


def circuits(rows: Rows) -> list[list[str]]:
    """A row a step: step, R0, R1, tau1, total, and how many channels' records could be split."""
    return [
        [
            f"{step:g}",
            spread(part.column("r0_ohm") * 1000.0),
            spread(part.column("r1_ohm") * 1000.0),
            spread(part.column("tau1_s")),
            spread(part.column("total_ohm") * 1000.0),
            f"{int(np.count_nonzero(part.column('pairs') > 0))} of {part.count}",
        ]
        for step, part in by_step(rows)
    ]


def rests(rows: Rows) -> list[list[str]]:
    """A row a step: step, length, K, slope at the end, how many have a K, and why most others have none."""
    found = []
    for step, part in by_step(rows):
        why = Counter(int(code) for code in part.column("why") if code > 0)
        most = REASONS.get(why.most_common(1)[0][0], "") if why else ""
        given = int(np.count_nonzero(np.isfinite(part.column("k_mv_h"))))
        found.append(
            [
                f"{step:g}",
                median(part, "duration_s", 0, 1 / 60),
                spread(part.column("k_mv_h"), 3),
                median(part, "end_slope_mv_h", 1),
                f"{given} of {part.count}",
                most.removeprefix("K not identifiable: "),
            ]
        )
    return found


def grades(rows: Rows) -> list[list[str]]:
    """A row a grade and cause of each channel's last grade: grade, cause, number, channels."""
    last = {channel: part.cut(slice(part.count - 1, None)) for channel, part in rows.points()} if rows.count else {}
    groups: dict[tuple[int, str], list[int]] = {}
    for channel, row in last.items():
        grade, why = (int(row.column(name)[0]) for name in ("grade", "why"))
        words = WHY_WORDS.get(Why(why), "") if why in set(Why) else f"code {why}"
        rest = row.column("rest_why")[0]
        if why == Why.K_UNKNOWN:
            words = REASONS.get(int(rest), words) if np.isfinite(rest) else "no rest was measured"
        groups.setdefault((grade, words), []).append(channel)
    return [
        [GRADES.get(grade, f"code {grade}"), words, str(len(channels)), _named(channels)]
        for (grade, words), channels in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1])))
    ]


def by_step(rows: Rows) -> list[tuple[float, Rows]]:
    """Rows of each step of the programme."""
    step = rows.column("step")
    return [(float(s), rows.cut(step == s)) for s in np.unique(step[np.isfinite(step)])]


def median(rows: Rows, name: str, digits: int, scale: float = 1.0) -> str:
    """Median of what is known of a column."""
    values = rows.column(name)
    values = values[np.isfinite(values)]
    return number(float(np.median(values)) if values.size else None, digits, scale)


def spread(values: Float64Array, digits: int = 1) -> str:
    """Median, robust standard deviation and number of what is known."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "–"
    middle = float(np.median(known))
    sd = MAD_TO_SD * float(np.median(np.abs(known - middle)))
    return f"{number(middle, digits)} ± {number(sd, digits)} ({known.size})"


def _named(channels: list[int]) -> str:
    shown = ", ".join(map(str, channels[:NAMED]))
    return shown + (f" and {len(channels) - NAMED} more" if len(channels) > NAMED else "")
