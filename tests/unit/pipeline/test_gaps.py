"""Gap records: polled streams by their period, subscribed streams only across a lost connection or a restart."""

from __future__ import annotations

import numpy as np

from controller.pipeline.gaps import GapDetector, StreamRule
from controller.types import Frame, FrameKind

S = 1_000_000_000
RULES = {("rack1", "channel"): StreamRule(20.0, True), ("coater1", "coater"): StreamRule(10.0, False)}


def frame(device: str, stream: str, *seconds: float) -> Frame:
    n = len(seconds)
    return Frame(
        device,
        stream,
        FrameKind.RAW,
        np.array([int(s * S) for s in seconds], dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        "",
        {"x": np.zeros(n)},
        np.zeros(n, dtype=np.uint8),
        np.zeros(n, dtype=np.uint32),
        labels={"lot": "L1"},
    )


def test_regular_polls_with_a_skipped_one_are_no_gap() -> None:
    gaps = GapDetector(RULES)
    assert all(gaps.observe(frame("rack1", "channel", t)) is None for t in (0, 20, 40, 80, 100, 160))


def test_a_busy_host_at_high_speed_is_no_gap_of_the_plant() -> None:
    fast = GapDetector(RULES, speed=960.0)
    fast.observe(frame("rack1", "channel", 0))
    assert fast.observe(frame("rack1", "channel", 470)) is None
    assert fast.observe(frame("rack1", "channel", 470 + 490)) is not None


def test_a_polled_stream_that_pauses_has_a_gap_from_its_last_stamp() -> None:
    gaps = GapDetector(RULES)
    gaps.observe(frame("rack1", "channel", 0, 20))
    gap = gaps.observe(frame("rack1", "channel", 120))
    assert gap is not None
    assert gap.stream == "gap"
    assert gap.time_ns.tolist() == [20 * S]
    assert gap.columns["duration_s"].tolist() == [100.0]
    assert gap.labels == {"lot": "L1", "of_stream": "channel"}


def test_a_quiet_subscription_is_no_gap_unless_the_connection_broke() -> None:
    gaps = GapDetector(RULES)
    gaps.observe(frame("coater1", "coater", 0))
    assert gaps.observe(frame("coater1", "coater", 5000)) is None
    gaps.broken("coater1", "cable", 5005 * S)
    assert gaps.observe(frame("coater1", "coater", 5010)) is None, "the server had queued what came meanwhile"
    gaps.broken("coater1", "cable", 5900 * S)
    gap = gaps.observe(frame("coater1", "coater", 6000))
    assert gap is not None
    assert gap.text["reason"] == ("cable",)


def test_a_restart_continues_from_the_durable_stamps() -> None:
    before = GapDetector(RULES)
    before.observe(frame("rack1", "channel", 100))
    before.observe(frame("coater1", "coater", 90))
    after = GapDetector(RULES)
    after.restore(before.checkpoint(), "controller was not running")
    rack, coater = after.observe(frame("rack1", "channel", 500)), after.observe(frame("coater1", "coater", 500))
    assert rack is not None
    assert coater is not None
    assert rack.columns["duration_s"].tolist() == [400.0]
    assert coater.text["reason"] == ("controller was not running",)
    assert after.observe(frame("coater1", "coater", 2000)) is None


def test_streams_without_a_rule_and_late_stamps_are_left_alone() -> None:
    gaps = GapDetector(RULES)
    assert gaps.observe(frame("rack1", "other", 0)) is None
    gaps.observe(frame("rack1", "channel", 100))
    assert gaps.observe(frame("rack1", "channel", 50)) is None
    assert gaps.observe(frame("rack1", "channel", 120)) is None


def test_a_server_that_repeats_old_values_first_does_not_hide_the_gap() -> None:
    gaps = GapDetector(RULES)
    gaps.observe(frame("coater1", "coater", 100))
    gaps.broken("coater1", "cable", 900 * S)
    assert gaps.observe(frame("coater1", "coater", 90, 100)) is None
    assert gaps.observe(frame("coater1", "coater", 110)) is None, "the last of the server's queue"
    gap = gaps.observe(frame("coater1", "coater", 1700, 1710))
    assert gap is not None
    assert gap.time_ns.tolist() == [110 * S]
    assert gap.columns["duration_s"].tolist() == [1590.0]
    assert gaps.observe(frame("coater1", "coater", 5000)) is None, "the suspicion is over"


def test_a_hole_within_one_batch_is_found() -> None:
    gaps = GapDetector(RULES)
    gaps.observe(frame("rack1", "channel", 0))
    gap = gaps.observe(frame("rack1", "channel", 20, 40, 400, 420))
    assert gap is not None
    assert gap.columns["duration_s"].tolist() == [360.0]
