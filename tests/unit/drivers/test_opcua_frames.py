"""Rows out of notifications: completeness, last-value fill, first values, late values, never twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Group, Tag
from controller.drivers import opcua_status as status
from controller.drivers.opcua_frames import GroupAssembler
from controller.types import Frame, Quality, TimeSource

NAN = float("nan")
Sample = tuple[int, int, float]  # column, time_ns, value


def assembler(tags: int = 2, points: int = 1, **limits: float) -> GroupAssembler:
    group = Group(
        name="web",
        period_s=1.0,
        points=points,
        point_name="zone" if points > 1 else None,
        tag=tuple(Tag(name=f"t{k}", address=f"s=t{k}", **limits) for k in range(tags)),
    )
    return GroupAssembler("plc1", group)


def feed(to: GroupAssembler, samples: Sequence[Sample], more: bool = False, code: int = 0, ours: bool = False) -> None:
    n = len(samples)
    value = np.array([s[2] for s in samples], dtype=np.float64)
    to.feed(
        np.array([s[0] for s in samples]),
        np.array([s[1] for s in samples], dtype=np.int64),
        np.full(n, code, dtype=np.uint32),
        np.full(n, ours),
        value.reshape(n, -1),
        more,
    )


def rows(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [(int(f.time_ns[k]), *(float(c[k]) for c in f.columns.values())) for f in frames for k in range(f.rows)]


def settled(to: GroupAssembler) -> list[tuple[Any, ...]]:
    to.heard_nothing()
    return rows(to.take())


def test_the_newest_row_waits_until_a_later_response_brings_nothing_for_it() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0)])
    assert group.take() == []
    feed(group, [(1, 10, 2.0)])  # the rest of the same scan
    assert group.take() == []
    assert settled(group) == [(10, 1.0, 2.0)]
    assert settled(group) == []


def test_an_unchanged_tag_carries_its_last_value() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (1, 10, 2.0), (0, 20, 3.0), (1, 30, 4.0), (0, 40, 5.0)])
    assert rows(group.take()) == [(20, 3.0, 2.0), (30, 3.0, 4.0)]
    assert settled(group) == [(40, 5.0, 4.0)]


def test_more_notifications_hold_everything_whatever_the_order_of_items() -> None:
    """A catching-up server sends all samples of one item, then all of the next, over several responses."""
    group = assembler()
    feed(group, [(0, 1, 0.0), (1, 1, 0.0)])
    assert settled(group) == [(1, 0.0, 0.0)]
    feed(group, [(0, t, float(t)) for t in range(10, 15)], more=True)
    assert group.take() == []
    feed(group, [(1, t, -float(t)) for t in range(10, 15)])
    assert rows(group.take()) == [(t, float(t), -float(t)) for t in range(10, 14)]
    assert settled(group) == [(14, 14.0, -14.0)]
    assert group.counts.late_rows == group.counts.late_folded == 0


def test_first_values_set_the_state_and_only_the_newest_makes_a_row() -> None:
    group = assembler(tags=3)
    feed(group, [(0, 5, 1.0), (1, 90, 2.0)])
    feed(group, [(2, 7, 3.0)])
    assert settled(group) == [(90, 1.0, 2.0, 3.0)]


def test_before_its_first_value_a_tag_is_nan_and_says_why() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (0, 20, 2.0)])
    group.heard_nothing()
    (frame,) = group.take()
    assert frame.time_ns.tolist() == [20]
    assert np.isnan(frame.columns["t1"]).all() and frame.quality.tolist() == [Quality.BAD]
    assert frame.code.tolist() == [status.BAD_WAITING]


def test_a_row_that_left_is_never_sent_again_even_by_a_new_subscription() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (1, 10, 2.0)])
    assert settled(group) == [(10, 1.0, 2.0)]
    feed(group, [(1, 10, 9.0)])  # late for a row that left: state only, and counted
    assert settled(group) == [] and group.counts.late_folded == 1
    feed(group, [(0, 20, 3.0)])
    assert settled(group) == [(20, 3.0, 9.0)]
    group.begin()
    feed(group, [(0, 20, 3.0), (1, 10, 9.0)])  # the standing machine's first values again
    assert settled(group) == []
    feed(group, [(1, 30, 4.0)])
    assert settled(group) == [(30, 3.0, 4.0)]


def test_what_waited_at_a_loss_leaves_with_the_next_subscription() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (1, 10, 2.0)])
    group.begin()
    assert rows(group.take()) == [(10, 1.0, 2.0)]


def test_a_late_value_makes_a_row_of_its_own_as_of_its_time() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (1, 10, 2.0), (0, 20, 3.0), (0, 40, 5.0)])
    assert settled(group) == [(20, 3.0, 2.0), (40, 5.0, 2.0)]
    feed(group, [(1, 30, 7.0)])
    assert settled(group) == [(30, 3.0, 7.0)]
    assert group.counts.late_rows == 1
    feed(group, [(0, 50, 6.0)])
    assert settled(group) == [(50, 6.0, 7.0)]


def test_a_clock_set_back_is_followed_and_counted() -> None:
    group = assembler()
    hour = 3600 * 10**9
    feed(group, [(0, hour, 1.0), (1, hour, 2.0)])
    assert settled(group) == [(hour, 1.0, 2.0)]
    feed(group, [(0, 10, 3.0), (0, 20, 4.0)])
    assert settled(group) == [(10, 3.0, 2.0), (20, 4.0, 2.0)]
    assert group.counts.clock_steps == 1


def test_bad_is_nan_uncertain_keeps_its_value_and_the_worst_tag_gives_the_code() -> None:
    group = assembler()
    feed(group, [(0, 10, 1.0), (1, 10, 2.0)])
    bad, uncertain = 0x808C0000, 0x40920000
    feed(group, [(0, 20, 3.0)], code=uncertain)
    feed(group, [(1, 20, 4.0)], code=bad)
    group.heard_nothing()
    frame = group.take()[-1]
    assert frame.columns["t0"].tolist()[-1] == 3.0 and np.isnan(frame.columns["t1"][-1])
    assert frame.quality[-1] == Quality.BAD and frame.code[-1] == bad


@pytest.mark.parametrize(
    ("value", "quality", "code"),
    [
        (5.0, Quality.GOOD, 0),
        (11.0, Quality.UNCERTAIN, status.UNCERTAIN_RANGE),
        (-1.0, Quality.UNCERTAIN, status.UNCERTAIN_RANGE),
        (float("inf"), Quality.BAD, status.BAD_OUT_OF_RANGE),
        (NAN, Quality.BAD, status.BAD_OUT_OF_RANGE),
    ],
)
def test_what_is_not_believable_is_marked(value: float, quality: Quality, code: int) -> None:
    group = assembler(tags=1, min=0.0, max=10.0)
    feed(group, [(0, 10, value)])
    group.heard_nothing()
    (frame,) = group.take()
    assert (frame.quality.tolist(), frame.code.tolist()) == ([quality], [code])
    assert np.isfinite(frame.columns["t0"][0]) == (quality is not Quality.BAD)


def test_arrays_give_one_row_per_point_and_quality_per_point() -> None:
    group = assembler(tags=1, points=3, min=0.0)
    group.feed(
        np.array([0]), np.array([10]), np.zeros(1, np.uint32), np.array([False]), np.array([[1.0, -2.0, 3.0]]), False
    )  # fmt: skip
    group.heard_nothing()
    (frame,) = group.take()
    assert frame.point.tolist() == [1, 2, 3] and frame.point_name == "zone"
    assert frame.time_ns.tolist() == [10] * 3
    assert frame.quality.tolist() == [Quality.GOOD, Quality.UNCERTAIN, Quality.GOOD]


def test_rows_that_we_stamp_are_uncertain_and_in_a_frame_of_their_own() -> None:
    group = assembler(tags=1)
    feed(group, [(0, 5, 0.0), (0, 10, 1.0)])
    feed(group, [(0, 20, 2.0)], ours=True)
    group.heard_nothing()
    device, ours = group.take()
    assert (device.time_source, device.time_ns.tolist(), device.quality.tolist()) == (TimeSource.DEVICE, [10], [0])
    assert (ours.time_source, ours.time_ns.tolist()) == (TimeSource.CONTROLLER, [20])
    assert (ours.quality.tolist(), ours.code.tolist()) == ([Quality.UNCERTAIN], [status.UNCERTAIN])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60),
    st.lists(st.integers(1, 7), min_size=1, max_size=30),
    st.booleans(),
)
def test_in_order_nothing_is_lost_and_nothing_sent_twice(
    samples: list[tuple[int, int]], cuts: list[int], more: bool
) -> None:
    """Any split of an ordered stream into responses: every sample is in the row of its time, each row leaves once."""
    ordered = sorted(set(samples), key=lambda s: s[1])
    group = assembler(tags=3)
    feed(group, [(k, -1, 0.0) for k in range(3)])
    group.heard_nothing()
    group.take()
    got: list[tuple[Any, ...]] = []
    at = 0
    while at < len(ordered):
        size = cuts[at % len(cuts)]
        part = [(tag, t, float(100 * tag + t + 1)) for tag, t in ordered[at : at + size]]
        at += size
        feed(group, part, more=more and at < len(ordered))
        got += rows(group.take())
    got += settled(group)
    assert [row[0] for row in got] == sorted({t for _, t in ordered})
    by_time = {row[0]: row for row in got}
    for tag, t in ordered:
        assert by_time[t][1 + tag] == 100 * tag + t + 1
    assert group.counts.late_folded == group.counts.coalesced == 0
