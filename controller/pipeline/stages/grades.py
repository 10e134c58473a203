"""The grade of a tray: when every channel that ran has ended its programme, from the rest that each ended with.

Two streams lead to it, so the stage has a place at both: the channels' states say when the tray is done, `cell_rest`
says what each rest gave. While rests wait, for their kernels or for their turn, the tray waits for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.late import Late
from controller.pipeline.stages.common import result, samples
from controller.pipeline.stages.steps import StepStates
from controller.records import event
from controller.types import Frame, Int64Array, Quality
from twin.checkpoint import pack, unpack
from twin.grading import GRADE_NUMBERS, grade_tray
from twin.relaxation import REASONS

RUNS, ENDED, STEP, K, K_SD, OCV, TEMPERATURE, REFUSED = range(8)
"""Columns of the book, one row a channel; from STEP on what its last rest gave. REFUSED: why it gave no K."""
OF_REST = ("step", "k_mv_h", "k_mv_h_sd", "end_v", "temperature_c", "why")
"""Columns of cell_rest in that order."""
NO_REST = "no rest was measured"


class TrayStage:
    """Which channels run, which have ended, what each channel's last rest gave; grades when the last one has ended.

    `rests_wait`: whether a step has ended that has no rows yet.
    """

    def __init__(self, channels: int, states: StepStates, late: Late, rests_wait: Callable[[], bool]) -> None:
        self._states = states
        self._late = late
        self._rests_wait = rests_wait
        self._held: Frame | None = None  # made the tray done while rests waited; after a restart the next Frame does
        self._book = self._fresh(channels)
        self._serial = np.zeros(2, dtype=np.int64)  # changes so far; 1 when this tray is graded
        self._changed = False

    @staticmethod
    def _fresh(channels: int) -> NDArray[np.float64]:
        book = np.full((channels, REFUSED + 1), np.nan)
        book[:, [RUNS, ENDED]] = 0.0
        return book

    def process(self, frame: Frame) -> list[Frame]:
        """Grades and the event that says them, when this Frame makes the tray done."""
        before = self._book.copy()
        if "k_mv_h" in frame.columns:
            self._take_rests(frame)
        else:
            for rows in samples(frame):
                self._follow(frame, rows)
        graded = self._grades(frame) if self._ready else []
        self._held = frame if self._done else None
        self._changed = bool(graded) or not np.array_equal(before, self._book, equal_nan=True)
        self._serial[0] += self._changed
        return graded

    def catch_up(self) -> list[Frame]:
        """Rests that waited come as Frames of their own; here a tray is graded whose last steps gave none."""
        held, self._held = self._held, None
        if held is None or not self._ready:
            return []
        self._serial[0] += 1
        return self._grades(held)

    def urgent(self) -> bool:
        """Whether something has just happened that happens once."""
        return self._changed

    def checkpoint(self) -> bytes:
        """The whole book."""
        return pack(self._head, {"book": self._book, "serial": self._serial})

    def restore(self, saved: bytes) -> None:
        """Continue from it, or stay where a newer one (of the stage's other place) has led. Raises ValueError."""
        arrays = unpack(saved, self._head, {"book": self._book, "serial": self._serial})
        if arrays["serial"][0] >= self._serial[0]:
            self._book, self._serial = arrays["book"], arrays["serial"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-tray", "version": 1}

    @property
    def _done(self) -> bool:
        """Every channel that ran has ended, at least one of them with a rest, and they are not graded yet."""
        ran = self._book[:, RUNS] > 0.0
        rested = np.isfinite(self._book[ran, STEP]).any()
        return bool(not self._serial[1] and ran.any() and (self._book[ran, ENDED] > 0.0).all() and rested)

    @property
    def _ready(self) -> bool:
        """The tray is done, and so is every step of it."""
        return self._done and self._late.ready and not self._rests_wait()

    def _take_rests(self, frame: Frame) -> None:
        order = np.argsort(frame.time_ns, kind="stable")  # of one channel's rests the newest counts
        for i, name in enumerate(OF_REST):
            self._book[frame.point[order] - 1, STEP + i] = frame.columns[name][order]

    def _follow(self, frame: Frame, rows: Int64Array) -> None:
        """How the channels stand now. A channel ends with its programme, or with the fault that took it out of it."""
        state = frame.columns["state"][rows]
        good = (frame.quality[rows] < Quality.BAD) & np.isfinite(state)
        rows, state = rows[good], state[good].astype(np.int64)
        at = frame.point[rows] - 1
        idle, over = (np.isin(state, sorted(which)) for which in (self._states.idle, self._states.ended))
        runs = ~idle & ~over
        faulty = (
            np.nan_to_num(frame.columns["fault_bits"][rows]) > 0.0 if "fault_bits" in frame.columns else ~runs & runs
        )
        if self._serial[1] and runs.any():
            self._book, self._serial[1] = self._fresh(self._book.shape[0]), 0
        again = runs & (self._book[at, ENDED] > 0.0)
        self._book[at[again], STEP:] = np.nan
        ended = (over | (idle & faulty)) & (self._book[at, RUNS] > 0.0)
        self._book[at, ENDED] = np.where(runs, 0.0, np.where(ended, 1.0, self._book[at, ENDED]))
        self._book[at[runs], RUNS] = 1.0

    def _grades(self, frame: Frame) -> list[Frame]:
        """At the newest time of the Frame that made the tray done."""
        self._serial[1] = 1
        cells = np.flatnonzero(self._book[:, RUNS] > 0.0)
        book = self._book[cells]
        # Cells that rested after different steps stand at different charge: their voltages say nothing of each other.
        steps, counts = np.unique(book[np.isfinite(book[:, STEP]), STEP], return_counts=True)
        ocv = np.where(book[:, STEP] == steps[np.argmax(counts)], book[:, OCV], np.nan)
        unknown = [REASONS.get(int(why), "").split(" (")[0] if why >= 0.0 else NO_REST for why in book[:, REFUSED]]
        found = grade_tray(book[:, K], book[:, K_SD], ocv, book[:, TEMPERATURE], unknown=unknown)
        columns = {
            "grade": np.array([GRADE_NUMBERS[grade] for grade in found.grade], dtype=np.float64),
            "why": np.array([float(why) for why in found.why]),
            "rest_why": book[:, REFUSED],
            "k_mv_h": found.k_mv_h,
            "k_mv_h_sd": book[:, K_SD],
            "k_z": found.k_z,
            "ocv_v": ocv,
            "ocv_away_v": found.ocv_away_v,
            "temperature_c": book[:, TEMPERATURE],
            "step": book[:, STEP],
        }
        time_ns = int(frame.time_ns.max())
        times, quality = np.full(cells.size, time_ns), np.full(cells.size, Quality.GOOD, dtype=np.uint8)
        words = f"tray graded: {found.in_words((cells + 1).tolist(), frame.point_name)}"
        return [
            result(frame, "cell_grade", times, (cells + 1).astype(np.int32), columns, quality),
            event(frame.device, time_ns, "info", words),
        ]
