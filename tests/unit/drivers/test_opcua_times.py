"""Source times of a clock that is stepped a little: however scans are cut into responses, each is a row, in order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Group, Tag
from controller.drivers.opcua_frames import GroupAssembler
from controller.drivers.opcua_times import SourceTimes
from controller.types import Frame, Quality, TimeSource

S = 1_000_000_000
START = 1_760_000_000 * S
Row = tuple[float, float, bool]


class Wire:
    """A group of two items behind a publishing server: responses in, rows out as (second, first item, ours)."""

    def __init__(self, period_s: float = 1.0) -> None:
        group = Group(name="g", period_s=period_s, tag=tuple(Tag(name=f"t{k}", address=f"s=t{k}") for k in range(2)))
        self.times = SourceTimes("plc", group, 1.0, 0)
        self.rows = GroupAssembler("plc", group)
        self.frames: list[Frame] = []
        self.send([(0, 0.0, -1.0), (1, 0.0, -1.0)], 0.0)  # the first of each item

    def send(self, entries: list[tuple[int, float, float]], now_s: float) -> None:
        """One response: (item, stamp in seconds, value) in the server's order."""
        column = np.array([e[0] for e in entries])
        stamps = np.array([START + round(e[1] * 1e3) * 1_000_000 for e in entries])
        none, now_ns = np.zeros(len(entries), dtype=np.bool_), START + round(now_s * 1e9)
        first = self.rows.first(column)
        time_ns, ours = self.times.judge(column, stamps, none, first, now_ns)
        value = np.array([[e[2]] for e in entries])
        self.rows.feed(column, time_ns, none.astype(np.uint32), ours, value, False)
        self.frames += self.rows.take()

    def end(self) -> list[Row]:
        self.rows.heard_nothing()
        self.frames += self.rows.take()
        return [
            (float(f.time_ns[k] - START) / S, float(f.columns["t0"][k]), f.time_source is TimeSource.CONTROLLER)
            for f in self.frames
            for k in range(f.rows)
            if f.columns["t0"][k] >= 0.0
        ]


def played(steps: list[float], cuts: list[int], by_item: bool, period_s: float = 1.0) -> tuple[Wire, list[Row]]:
    """Scans whose clock takes a step before each, `cuts` of them in each response."""
    wire, wrong, k, size = Wire(period_s), 0.0, 0, list(cuts)
    while k < len(steps):
        n = size.pop(0) if size else 1
        entries = []
        for step in steps[k : k + n]:
            k, wrong = k + 1, wrong + step
            entries += [(item, k * period_s + wrong, float(k)) for item in range(2)]
        wire.send(sorted(entries, key=lambda e: e[0]) if by_item else entries, k * period_s + 0.1)
    return wire, wire.end()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, -0.2, -1.0, -1.5, -2.0, 0.4]), min_size=1, max_size=30),
    st.lists(st.integers(1, 6), max_size=15),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 10.0]),
)
def test_steps_of_ntp_cost_no_row_and_time_only_grows(
    steps: list[float], cuts: list[int], by_item: bool, period_s: float
) -> None:
    wire, rows = played([0.0, *steps], [1, *cuts], by_item, period_s)
    assert [value for _, value, _ in rows] == [float(k + 1) for k in range(len(steps) + 1)]
    assert all(a[0] < b[0] for a, b in pairwise(rows))
    counts = wire.rows.counts
    assert counts.late_rows == counts.late_folded == counts.coalesced == 0


@pytest.mark.parametrize("cuts", [[], [20], [3] * 7])
def test_one_step_back_is_ours_until_the_clock_has_caught_up(cuts: list[int]) -> None:
    _, rows = played([0.0] * 5 + [-2.0] + [0.0] * 14, cuts, True)
    assert [time for time, _, ours in rows if not ours][:5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert 2 <= sum(ours for _, _, ours in rows) <= 5
    assert rows[-1] == (18.0, 20.0, False)


def test_a_clock_that_stands_within_a_response_gives_rows_of_ours() -> None:
    wire = Wire()
    wire.send([(0, 1.0, 1.0), (0, 1.0, 2.0), (0, 1.0, 3.0)], 3.1)
    wire.send([(0, 4.0, 4.0)], 4.1)
    rows = wire.end()
    assert [value for _, value, _ in rows] == [1.0, 2.0, 3.0, 4.0]
    assert [ours for _, _, ours in rows] == [False, True, True, False]
    assert {int(q) for f in wire.frames if f.time_source is TimeSource.CONTROLLER for q in f.quality} == {
        int(Quality.UNCERTAIN)
    }


def test_an_item_that_is_late_keeps_its_time_and_so_do_the_others() -> None:
    wire = Wire()
    wire.send([(0, 1.0, 1.0), (1, 1.0, 1.0)], 1.1)
    wire.send([(0, 2.0, 2.0)], 2.1)
    wire.send([(0, 3.0, 3.0)], 3.1)
    wire.send([(1, 2.5, 7.0)], 3.2)
    wire.send([(0, 4.0, 4.0)], 4.1)
    assert sorted(time for time, _, ours in wire.end() if not ours) == [1.0, 2.0, 2.5, 3.0, 4.0]


def test_a_scan_cut_in_two_after_a_step_is_one_row() -> None:
    wire = Wire()
    for k, stamp in enumerate([1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0]):
        wire.send([(0, stamp, float(k))], k + 1.1)
        wire.send([(1, stamp, float(k))], k + 1.1)
    rows = wire.end()
    assert [value for _, value, _ in rows] == [float(k) for k in range(8)]
    assert all(a[0] < b[0] for a, b in pairwise(rows))
