"""Device stamps to the times of rows: jumps, standing clocks, restarts; times only grow and no reading is lost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drivers.device_time import DeviceTime, Note, clock_events
from controller.records import CLOCK_SET

S = 10**9
T0 = 1_700_000_000 * S
PERIOD_S = 20.0


class Watched:
    """One point read every 20 s; the device's clock is `wrong_s` ahead of ours, which is right."""

    def __init__(self, floor_ns: int = 0) -> None:
        self.time = DeviceTime(1, PERIOD_S, floor_ns=floor_ns)
        self.now_s = 0.0
        self.rows: list[tuple[float, bool]] = []  # seconds after T0 as they leave, whether the device's
        self.said: list[Note] = []

    def read(self, *wrong_s: float, changed: bool = True, stamp_s: float | None = None) -> list[tuple[float, bool]]:
        """One reading per entry, each a period after the last; the rows that they gave."""
        before = len(self.rows)
        for wrong in wrong_s:
            self.now_s += PERIOD_S
            raw = T0 + round((self.now_s + wrong if stamp_s is None else stamp_s) * S)
            self.take(raw, changed)
        return self.rows[before:]

    def take(self, raw_ns: int, changed: bool = True) -> None:
        time, believed, dropped = self.time.judge(np.array([raw_ns]), T0 + round(self.now_s * S), np.array([changed]))
        if not dropped[0]:
            self.rows.append(((int(time[0]) - T0) / S, bool(believed[0])))
        self.said += self.time.notes()

    @property
    def texts(self) -> list[str]:
        return [note.text for note in self.said]


def ours(rows: Sequence[tuple[float, bool]]) -> list[bool]:
    return [not believed for _, believed in rows]


def test_a_clock_that_agrees_is_believed_without_a_word() -> None:
    watched = Watched()
    assert watched.read(*[-3.0] * 5) == [(17.0, True), (37.0, True), (57.0, True), (77.0, True), (97.0, True)]
    assert watched.said == []


@pytest.mark.parametrize("by_s", [-1800.0, 3600.0, 86_400.0])
def test_a_jump_costs_no_row_and_time_goes_on_evenly(by_s: float) -> None:
    watched = Watched()
    watched.read(0.0, 0.0, 0.0)
    assert watched.read(*[by_s] * 100) == [(60.0 + 20.0 * k, False) for k in range(1, 101)]
    way = "back by 1800" if by_s < 0 else f"forward by {by_s:.0f}"
    assert watched.texts == [f"clock went {way} s; rows carry a time of ours, quality uncertain, until it agrees again"]
    assert watched.read(0.0, 0.0) == [(2080.0, True), (2100.0, True)]
    assert watched.texts[1:] == ["clock agrees again"]


def test_intervals_stay_the_devices_while_it_is_wrong() -> None:
    watched = Watched()
    watched.read(0.0, 0.0)
    rows = watched.read(-500.0, -498.0, -503.0)
    assert np.diff([second for second, _ in rows]).tolist() == [22.0, 15.0]


def test_a_small_step_back_is_caught_up_by_shorter_intervals() -> None:
    watched = Watched()
    watched.read(25.0, 25.0)
    rows = watched.read(*[0.0] * 5)
    assert rows == [(75.0, False), (80.0, True), (100.0, True), (120.0, True), (140.0, True)]
    assert watched.texts[0].startswith("clock went back by 25 s")


def test_drift_is_believed_and_its_end_too() -> None:
    watched = Watched()
    rows = watched.read(*np.linspace(0.0, 25.0, 400), *[0.0] * 400)
    assert sum(ours(rows)) <= 3
    assert all(a < b for (a, _), (b, _) in pairwise(rows))


def test_a_clock_set_right_after_it_was_behind_is_believed_and_told_as_a_hole() -> None:
    watched = Watched()
    watched.read(-7200.0, -7200.0)
    assert watched.texts == ["clock is 7200 s behind ours; its stamps are believed"]
    assert watched.read(0.0) == [(60.0, True)]
    assert watched.said[-1].source == CLOCK_SET
    assert watched.texts[-1] == "clock was set forward by 7200 s; its stamps are believed"


def test_a_clock_in_our_future_is_never_believed_and_leaves_no_trap_when_it_is_set_right() -> None:
    watched = Watched()
    assert watched.read(3600.0, 3600.0) == [(20.0, False), (40.0, False)]
    assert watched.texts[0].startswith("clock is 3600 s ahead of ours; rows carry a time of ours")
    assert watched.read(0.0, 0.0) == [(60.0, True), (80.0, True)]


def test_a_second_jump_while_it_is_wrong_is_told_too() -> None:
    watched = Watched()
    watched.read(0.0, 0.0)
    rows = watched.read(-600.0, -600.0, -4200.0, -4200.0, -100.0, -100.0)
    assert ours(rows) == [True] * 6
    assert [second for second, _ in rows] == [60.0, 80.0, 100.0, 120.0, 140.0, 160.0]
    assert [text.split(";")[0] for text in watched.texts] == [
        "clock went back by 600 s", "clock went back by 3600 s", "clock went forward by 4100 s",
    ]  # fmt: skip


def test_one_wild_stamp_does_not_poison_the_rest() -> None:
    watched = Watched()
    watched.read(0.0)
    watched.read(9e8)
    assert watched.read(0.0, 0.0)[-1] == (80.0, True)


def test_the_same_sample_again_is_dropped_and_a_standing_clock_is_not() -> None:
    watched = Watched()
    watched.read(0.0)
    assert watched.read(0.0, 0.0, changed=False, stamp_s=20.0) == []
    assert watched.read(0.0, 0.0, 0.0, stamp_s=20.0) == [(80.0, False), (100.0, False), (120.0, False)]
    assert watched.texts == ["clock stands still; rows carry a time of ours, quality uncertain"]
    assert watched.read(0.0) == [(140.0, True)]


def test_stamps_in_steps_are_told_once() -> None:
    watched = Watched()
    for minute in range(10):
        watched.read(0.0, 0.0, 0.0, stamp_s=60.0 * minute + 20.0)
    assert [second for second, _ in watched.rows] == [20.0 * k for k in range(1, 31)]
    assert ours(watched.rows) == [False, True, True] * 10
    assert len(watched.said) == 1


def test_no_possible_stamp() -> None:
    watched = Watched()
    watched.now_s = 10.0
    watched.take(0)
    watched.now_s = 30.0
    watched.take(0)
    assert watched.rows == [(10.0, False), (30.0, False)]
    assert watched.texts == ["clock has no time; rows carry a time of ours, quality uncertain"]
    assert watched.read(0.0) == [(50.0, True)]


def test_a_restart_of_ours_does_not_overwrite_what_was_left_before() -> None:
    watched = Watched(floor_ns=T0 + 1000 * S)
    watched.now_s = 1000.0
    assert watched.read(-1800.0, -1800.0) == [(1020.0, False), (1040.0, False)], "the clock is back since before"
    again = Watched(floor_ns=T0 + 1000 * S)
    again.now_s = 1000.0
    again.take(T0 + 1000 * S)
    again.take(T0 + 995 * S)
    assert again.rows == [], "readings of before the restart"
    assert again.read(0.0) == [(1020.0, True)]


def test_rows_of_another_plant_time_bound_nothing() -> None:
    watched = Watched(floor_ns=T0 + 86_400 * S)
    assert watched.read(0.0, 0.0) == [(20.0, True), (40.0, True)]


def test_points_are_judged_one_by_one_and_told_together() -> None:
    time = DeviceTime(3, PERIOD_S)
    at = T0 + 20 * S * np.arange(1, 6)[:, None] + np.array([0, 1, 2])
    for k in range(2):
        time.judge(at[k], int(at[k, 0]))
    wrong = at[2] - np.array([0, 1800 * S, 1800 * S])
    out, believed, dropped = time.judge(wrong, int(at[2, 0]))
    assert believed.tolist() == [True, False, False]
    assert not dropped.any()
    assert (np.abs(out - at[2]) <= 2).all()
    (note,) = time.notes()
    assert "(2 of 3 points)" in note.text
    (frame,) = clock_events("rack1", "channel", [note, note], 5)
    assert frame.time_ns.tolist() == [5, 6]
    assert frame.text["message"][0].startswith("rack1: the device's clock went back by 1800 s (2 of 3 points)")


@given(st.lists(st.tuples(st.integers(-(10**13), 10**13), st.booleans(), st.integers(0, 60)), max_size=60))
def test_whatever_a_clock_does_times_only_grow(steps: list[tuple[int, bool, int]]) -> None:
    time, now, last = DeviceTime(1, PERIOD_S), T0, 0
    for wrong, possible, passed in steps:
        now += passed * S
        out, believed, dropped = time.judge(np.array([now + wrong if possible else 0]), now)
        assert not (believed & dropped).any()
        if not dropped[0]:
            assert out[0] > last
            last = int(out[0])
        if believed[0]:
            assert out[0] == now + wrong


def test_an_answer_that_was_long_on_its_way_says_nothing_of_the_clock() -> None:
    """Asked at 0 s, stamped and answered at 15 s; asked again at once: the same millisecond, other values."""
    time = DeviceTime(1, PERIOD_S)
    stamp = np.array([T0 + 15 * S])
    time.judge(stamp, T0, None, T0 + 15 * S)
    _, believed, dropped = time.judge(stamp, T0 + 15 * S, np.array([True]), T0 + 16 * S)
    assert dropped[0] and not believed[0] and time.notes() == []
    _, _, dropped = time.judge(stamp, T0 + 26 * S, np.array([True]), T0 + 26 * S)
    assert not dropped[0], "now it stands"
    assert "stands still" in time.notes()[0].text


def test_a_clock_of_whole_seconds_does_not_stand() -> None:
    time = DeviceTime(1, 0.5, resolution_s=1.0)
    time.judge(np.array([T0]), T0 + S // 10)
    _, _, dropped = time.judge(np.array([T0]), T0 + 6 * S // 10, np.array([True]))
    assert dropped[0] and time.notes() == []
    _, believed, _ = time.judge(np.array([T0 + S]), T0 + 11 * S // 10, np.array([True]))
    assert believed[0]
    _, _, dropped = time.judge(np.array([T0 + S]), T0 + 23 * S // 10, np.array([True]))
    assert not dropped[0] and "stands still" in time.notes()[0].text
