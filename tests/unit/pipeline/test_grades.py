"""The tray's grade: once, when every channel that ran has ended; after a restart, after a fault, for the next tray."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from configs.results import CELL_RESULTS
from controller.pipeline.late import Late
from controller.pipeline.stages.grades import TrayStage
from controller.pipeline.stages.steps import StepStates
from controller.types import Float64Array, Frame, FrameKind
from twin.grading import GRADE_NUMBERS, Grade, Why

CHANNELS = 10
IDLE, CHARGE, REST, DONE = 0, 1, 3, 6
STATES = StepStates.of({IDLE: "idle", CHARGE: "cc charge", REST: "rest", 5: "pulse", DONE: "done"})
S = 1_000_000_000


class Kernels(Late):
    """There from the start, or when `come` is called."""

    def come(self) -> Kernels:
        self._ready.set()
        return self


def stage(late: Late | None = None, rests_wait: Callable[[], bool] = lambda: False) -> TrayStage:
    return TrayStage(CHANNELS, STATES, late or Kernels().come(), rests_wait)


def frame(second: int, columns: dict[str, Float64Array], stream: str = "channel") -> Frame:
    return Frame(
        "rack1", stream, FrameKind.RAW, np.full(CHANNELS, second * S, dtype=np.int64),
        np.arange(1, CHANNELS + 1, dtype=np.int32), "channel", columns,
        np.zeros(CHANNELS, dtype=np.uint8), np.zeros(CHANNELS, dtype=np.uint32), labels={"lot": "L1"},
    )  # fmt: skip


def shown(second: int, state: Sequence[int] | int, fault: Sequence[int] = ()) -> Frame:
    bits = np.zeros(CHANNELS)
    bits[[channel - 1 for channel in fault]] = 8.0
    return frame(second, {"state": np.broadcast_to(np.array(state, dtype=float), CHANNELS), "fault_bits": bits})


def rests(second: int, k: Float64Array, why: float = 0.0, step: float = 15.0) -> Frame:
    columns = {
        "k_mv_h": k, "k_mv_h_sd": np.where(np.isfinite(k), 0.004, np.nan), "end_v": np.full(CHANNELS, 3.75),
        "temperature_c": np.full(CHANNELS, 25.0), "why": np.where(np.isfinite(k), 0.0, why),
        "step": np.full(CHANNELS, step),
    }  # fmt: skip
    return frame(second, columns, "cell_rest")


def split(found: Sequence[Frame]) -> tuple[Frame, str]:
    grades, said = found
    assert (grades.stream, said.stream, grades.kind) == ("cell_grade", "event", FrameKind.RESULT)
    assert said.text["severity"] == ("info",)
    assert set(grades.columns) == CELL_RESULTS["cell_grade"], "charts may watch them by these names"
    return grades, said.text["message"][0]


K = np.linspace(0.02, 0.04, CHANNELS)


def test_the_tray_is_graded_once_when_the_last_channel_has_ended() -> None:
    made = stage()
    assert made.process(shown(0, REST)) == []
    k = K.copy()
    k[6] = 0.21
    assert made.process(rests(100, k)) == []
    some = [DONE] * 9 + [REST]
    assert made.process(shown(100, some)) == []
    assert made.process(shown(120, some)) == []
    assert not made.urgent(), "nothing happened"
    grades, words = split(made.process(shown(140, DONE)))
    assert made.urgent()
    assert words == "tray graded: 9 A, 1 reject (channel 7: K 0.210 +- 0.008 mV/h is above 0.08 mV/h)"
    assert grades.columns["grade"].tolist() == [1, 1, 1, 1, 1, 1, 4, 1, 1, 1]
    assert grades.columns["why"][6] == Why.K_ABOVE_LIMIT
    assert grades.time_ns.tolist() == [140 * S] * CHANNELS
    assert grades.labels == {"lot": "L1"}
    assert made.process(shown(160, DONE)) == []
    assert made.process(rests(170, k)) == [], "not twice"


def test_refused_rests_are_a_retest_with_their_reason() -> None:
    made = stage()
    made.process(shown(0, CHARGE))
    made.process(rests(100, np.full(CHANNELS, np.nan), why=4.0))
    grades, words = split(made.process(shown(140, DONE)))
    assert words == "tray graded: 10 retest (K not identifiable: the record ends while the cell still relaxes)"
    assert set(grades.columns["grade"].tolist()) == {GRADE_NUMBERS[Grade.RETEST]}
    assert set(grades.columns["rest_why"].tolist()) == {4.0}
    assert np.isnan(grades.columns["k_mv_h"]).all()


def test_a_channel_that_fails_holds_nobody_up_and_one_that_never_ran_is_not_graded() -> None:
    made = stage()
    made.process(shown(0, [IDLE] + [CHARGE] * 9))
    made.process(shown(20, [IDLE, IDLE] + [REST] * 8, fault=(2,)))
    k = K.copy()
    k[:2] = np.nan
    late = rests(100, k)
    made.process(Frame(late.device, late.stream, late.kind, late.time_ns[2:], late.point[2:], "channel",
                       {n: c[2:] for n, c in late.columns.items()}, late.quality[2:], late.code[2:]))  # fmt: skip
    grades, words = split(made.process(shown(140, [IDLE, IDLE] + [DONE] * 8, fault=(2,))))
    assert grades.point.tolist() == list(range(2, 11))
    assert "channel 2: no rest was measured" in words


@pytest.mark.parametrize("state", [IDLE, REST])
def test_a_rack_on_hold_or_stopped_is_not_done(state: int) -> None:
    made = stage()
    made.process(shown(0, CHARGE))
    made.process(rests(100, K))
    assert made.process(shown(120, [DONE] * 5 + [state] * 5)) == []


def test_the_tray_waits_for_rests_whose_kernels_still_compile() -> None:
    late = Kernels()
    made = stage(late)
    made.process(shown(0, REST))
    assert made.process(shown(100, DONE)) == []
    late.come()
    assert made.process(shown(110, DONE)) == [], "no rest is known yet"
    grades, _ = split(made.process(rests(100, K)))
    assert grades.rows == CHANNELS


def test_the_tray_waits_for_rests_that_have_not_had_their_turn() -> None:
    """What came before them is of half of the channels: the others would be graded without their last rest."""
    waiting = [True]
    made = stage(rests_wait=lambda: bool(waiting))
    made.process(shown(0, REST))
    assert made.process(shown(100, DONE)) == made.process(rests(90, K)) == made.catch_up() == []
    waiting.clear()
    again = stage()
    again.restore(made.checkpoint())
    graded, _ = split(made.process(rests(100, 2.0 * K)))
    assert graded.columns["k_mv_h"].tolist() == (2.0 * K).tolist()
    assert split(again.process(shown(110, DONE)))[0].rows == CHANNELS, "after a restart the next Frame grades"


def test_the_tray_is_graded_too_where_no_rest_follows_what_waited() -> None:
    waiting = [True]
    made = stage(rests_wait=lambda: bool(waiting))
    made.process(shown(0, REST))
    made.process(rests(90, K))
    assert made.process(shown(100, DONE)) == []
    waiting.clear()
    graded, _ = split(made.catch_up())
    assert graded.time_ns.tolist() == [100 * S] * CHANNELS
    assert made.catch_up() == made.process(shown(120, DONE)) == []
    again = stage()
    again.restore(made.checkpoint())
    assert again.process(shown(120, DONE)) == [], "once"


def test_a_restart_goes_on_where_it_was_whichever_place_was_saved_last() -> None:
    made = stage()
    made.process(shown(0, REST))
    older = made.checkpoint()
    made.process(rests(100, K))
    newer = made.checkpoint()
    for saved in ((older, newer), (newer, older)):
        again = stage()
        for one in saved:
            again.restore(one)
        grades, _ = split(again.process(shown(140, DONE)))
        assert np.isfinite(grades.columns["k_mv_h"]).all()
        once_more = stage()
        once_more.restore(again.checkpoint())
        assert once_more.process(shown(160, DONE)) == []
    with pytest.raises(ValueError, match="checkpoint"):
        stage().restore(b"")


def test_the_next_tray_starts_from_nothing() -> None:
    made = stage()
    for begin in (0, 1000):
        made.process(shown(begin, CHARGE))
        assert made.process(shown(begin + 10, DONE)) == [], "the last tray's rests do not count"
        made.process(shown(begin + 20, CHARGE))
        made.process(rests(begin + 100, K, step=2.0))
        made.process(rests(begin + 200, K))
        grades, _ = split(made.process(shown(begin + 300, DONE)))
        assert set(grades.columns["step"].tolist()) == {15.0}
