"""Finished steps: each channel on its own, with the tail of the step before, in bounded memory."""

from __future__ import annotations

import numpy as np

from controller.pipeline.steps import TAIL, StepCutter
from controller.types import Frame, FrameKind, Quality

S = 1_000_000_000


def frame(second: float, steps: list[int], voltages: list[float], bad: tuple[int, ...] = ()) -> Frame:
    n = len(steps)
    quality = np.zeros(n, dtype=np.uint8)
    quality[list(bad)] = Quality.BAD
    return Frame(
        "rack1",
        "channel",
        FrameKind.RAW,
        np.full(n, int(second * S), dtype=np.int64),
        np.arange(1, n + 1, dtype=np.int32),
        "channel",
        {
            "step": np.array(steps, dtype=float),
            "state": np.array(steps, dtype=float) % 7,
            "cycle": np.ones(n),
            "voltage_v": np.array(voltages),
        },
        quality,
        np.zeros(n, dtype=np.uint32),
    )


def test_each_channel_ends_its_own_steps() -> None:
    cutter = StepCutter(2)
    assert cutter.feed(frame(0, [1, 1], [3.0, 3.1])) == []
    assert cutter.feed(frame(1, [1, 1], [3.0, 3.2])) == []
    (first,) = cutter.feed(frame(2, [1, 2], [3.0, 3.5]))
    assert (first.channel, first.step, first.tail, first.whole) == (2, 1, 0, False)
    assert first.columns["voltage_v"].tolist() == [3.1, 3.2]
    cutter.feed(frame(3, [1, 2], [3.0, 3.6]))
    done = {f.channel: f for f in cutter.feed(frame(4, [2, 3], [3.0, 3.7]))}
    assert done.keys() == {1, 2}
    assert done[2].whole
    assert done[2].tail == 2
    assert done[2].columns["voltage_v"].tolist() == [3.1, 3.2, 3.5, 3.6]
    assert done[2].time_ns.tolist() == [0, S, 2 * S, 3 * S]
    assert done[1].columns["voltage_v"].size == 4


def test_the_tail_is_the_end_of_the_step_before_only() -> None:
    cutter = StepCutter(1)
    for k in range(50):
        cutter.feed(frame(k, [1], [float(k)]))
    cutter.feed(frame(50, [2], [50.0]))
    (second,) = cutter.feed(frame(51, [3], [51.0]))
    assert second.tail == TAIL
    assert second.columns["voltage_v"].tolist() == [float(k) for k in range(50 - TAIL, 51)]
    (third,) = cutter.feed(frame(52, [4], [52.0]))
    assert third.columns["voltage_v"].tolist() == [50.0, 51.0], "one sample of step 2, one of step 3"


def test_bad_samples_do_not_count_and_end_no_step() -> None:
    cutter = StepCutter(1)
    cutter.feed(frame(0, [1], [3.0]))
    assert cutter.feed(frame(1, [9], [9.9], bad=(0,))) == []
    (done,) = cutter.feed(frame(2, [2], [3.0]))
    assert done.columns["voltage_v"].tolist() == [3.0]


def test_a_long_step_is_thinned_evenly_and_keeps_its_ends() -> None:
    cutter = StepCutter(1, samples=64)
    for k in range(1000):
        cutter.feed(frame(k, [1], [float(k)]))
    (done,) = cutter.feed(frame(1000, [2], [0.0]))
    seconds = done.time_ns // S
    assert 32 <= seconds.size <= 64
    assert seconds[0] == 0
    assert seconds[-1] >= 1000 - 2 * 32
    assert np.unique(np.diff(seconds)).size == 1
