"""Finished steps: each channel on its own, with the tail of the step before, in bounded memory, over restarts."""

from __future__ import annotations

import numpy as np
import pytest

from controller.pipeline.steps import BRIEF, LEAD, ROWS, TAIL, FinishedStep, StepCutter
from controller.types import Frame, FrameKind, Quality

S = 1_000_000_000
REST, LOAD, PULSE = 3, 1, 5
RESTS = frozenset({REST})


def frame(
    second: float, steps: list[int], voltages: list[float], state: int = LOAD, since_s: float | None = None,
    bad: tuple[int, ...] = (),
) -> Frame:  # fmt: skip
    n = len(steps)
    quality = np.zeros(n, dtype=np.uint8)
    quality[list(bad)] = Quality.BAD
    columns = {
        "step": np.array(steps, dtype=float),
        "state": np.full(n, float(state)),
        "cycle": np.ones(n),
        "voltage_v": np.array(voltages),
    }
    if since_s is not None:
        columns["step_time_s"] = np.full(n, since_s)
    return Frame(
        "rack1",
        "channel",
        FrameKind.RAW,
        np.full(n, int(second * S), dtype=np.int64),
        np.arange(1, n + 1, dtype=np.int32),
        "channel",
        columns,
        quality,
        np.zeros(n, dtype=np.uint32),
    )


def volts(step: FinishedStep) -> list[float]:
    return step.columns["voltage_v"].tolist()


def test_each_channel_ends_its_own_steps() -> None:
    cutter = StepCutter(2, RESTS)
    assert cutter.feed(frame(0, [1, 1], [3.0, 3.1])) == []
    assert cutter.feed(frame(1, [1, 1], [3.0, 3.2])) == []
    (first,) = cutter.feed(frame(2, [1, 2], [3.0, 3.5]))
    assert (first.channel, first.step, first.begin, first.whole) == (2, 1, 0, False)
    assert volts(first) == [3.1, 3.2]
    cutter.feed(frame(3, [1, 2], [3.0, 3.6]))
    done = {f.channel: f for f in cutter.feed(frame(4, [2, 3], [3.0, 3.7]))}
    assert done.keys() == {1, 2}
    assert done[2].whole and (done[2].before_state, done[2].next_state) == (LOAD, LOAD)
    assert (done[2].before, done[2].begin) == (0, 2)
    assert volts(done[2]) == [3.1, 3.2, 3.5, 3.6]
    assert done[2].time_ns.tolist() == [0, S, 2 * S, 3 * S]
    assert len(volts(done[1])) == 4


def test_only_the_end_of_a_rest_goes_in_front_of_the_next_step() -> None:
    cutter = StepCutter(1, RESTS)
    for k in range(100):
        cutter.feed(frame(k, [1], [float(k)], state=REST))
    cutter.feed(frame(100, [2], [100.0]))
    (second,) = cutter.feed(frame(101, [3], [101.0], state=REST))
    assert (second.before, second.begin, second.before_state) == (0, TAIL, REST)
    assert volts(second) == [float(k) for k in range(100 - TAIL, 101)]
    assert second.last_ns == 100 * S


def test_a_pulse_goes_whole_in_front_of_its_rest_with_some_of_the_rest_before() -> None:
    cutter = StepCutter(1, RESTS)
    for k in range(50):
        cutter.feed(frame(k, [1], [float(k)], state=REST, since_s=k + 1.0))
    for k in range(50, 80):
        cutter.feed(frame(k, [2], [float(k)], state=PULSE, since_s=k - 49.5))
    for k in range(80, 180):
        cutter.feed(frame(k, [3], [float(k)], state=REST, since_s=k - 79.5))
    (rest,) = cutter.feed(frame(180, [4], [0.0]))
    assert (rest.before, rest.begin, rest.before_state) == (LEAD, LEAD + 30, PULSE)
    assert volts(rest) == [float(k) for k in range(50 - LEAD, 180)]
    assert (rest.before_begun_ns, rest.begun_ns) == (int(49.5 * S), int(79.5 * S))


def test_bad_samples_do_not_count_and_end_no_step() -> None:
    cutter = StepCutter(1, RESTS)
    cutter.feed(frame(0, [1], [3.0]))
    assert cutter.feed(frame(1, [9], [9.9], bad=(0,))) == []
    (done,) = cutter.feed(frame(2, [2], [3.0]))
    assert volts(done) == [3.0]


@pytest.mark.parametrize("unseen", ["a step was passed over", "it began before our last sample"])
def test_a_beginning_that_was_not_seen_is_said_and_nothing_is_put_in_front(unseen: str) -> None:
    cutter = StepCutter(1, RESTS)
    cutter.feed(frame(0, [1], [3.0], state=REST, since_s=10.0))
    passed = unseen == "a step was passed over"
    cutter.feed(frame(500, [3 if passed else 2], [4.0], since_s=20.0 if passed else 600.0))
    (load,) = cutter.feed(frame(520, [4 if passed else 3], [4.1], state=REST, since_s=5.0))
    assert not load.whole
    assert (load.begin, load.before_state, volts(load)) == (0, -1, [4.0])
    assert load.begun_ns == (480 * S if passed else -100 * S), "the equipment's own count stands"


def test_a_long_rest_is_thinned_evenly_and_keeps_both_ends_in_full() -> None:
    cutter = StepCutter(1, RESTS)
    for k in range(4_000):
        cutter.feed(frame(k, [1], [float(k)], state=REST))
    (done,) = cutter.feed(frame(4_000, [2], [0.0]))
    seconds = (done.time_ns // S).tolist()
    assert ROWS / 2 < len(seconds) <= ROWS
    assert seconds[:60] == list(range(60))
    assert seconds[-TAIL:] == list(range(4_000 - TAIL, 4_000))
    assert len(np.unique(np.diff(seconds[61:-TAIL]))) == 1
    assert volts(done) == [float(k) for k in seconds]


def test_of_a_long_load_the_beginning_is_kept_and_its_end_goes_in_front_of_the_rest() -> None:
    cutter = StepCutter(1, RESTS)
    for k in range(4_000):
        cutter.feed(frame(k, [1], [float(k)]))
    (load,) = cutter.feed(frame(4_000, [2], [0.5], state=REST))
    assert volts(load) == [float(k) for k in range(61)]
    assert load.last_ns == 3_999 * S
    (rest,) = cutter.feed(frame(20_001, [3], [0.0]))
    assert volts(rest) == [*[float(k) for k in range(4_000 - TAIL, 4_000)], 0.5]
    assert (rest.before, rest.begin) == (0, TAIL)


def test_what_the_caller_notes_at_the_beginning_comes_back_at_the_end() -> None:
    cutter = StepCutter(2, RESTS, notes=2)
    cutter.feed(frame(0, [1, 1], [3.0, 3.0]), notes=np.array([[0.1, 0.2], [0.01, 0.02]]))
    cutter.feed(frame(1, [1, 2], [3.0, 3.0]), notes=np.array([[0.3, 0.4], [0.03, 0.04]]))
    done = cutter.feed(frame(2, [2, 3], [3.0, 3.0]), notes=np.full((2, 2), 9.0))
    assert [step.notes.tolist() for step in done] == [[0.1, 0.01], [0.4, 0.04]]


def test_a_restart_anywhere_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    plan = [(1, REST, 30), (2, PULSE, 20), (3, REST, 900), (4, LOAD, 400), (5, REST, 100), (6, LOAD, BRIEF + 5)]
    given, k = [], 0
    for step, state, length in plan:
        for _ in range(length):
            given.append(frame(k, [step], [float(rng.normal())], state=state, since_s=0.5))
            k += 1
    straight, broken = StepCutter(1, RESTS, 1), StepCutter(1, RESTS, 1)
    for n, one in enumerate(given):
        if n % 37 == 0:
            saved = broken.checkpoint()
            broken = StepCutter(1, RESTS, 1)
            broken.restore(saved)
        note = np.array([[float(n)]])
        wanted, found = straight.feed(one, notes=note), broken.feed(one, notes=note)
        assert len(wanted) == len(found)
        for a, b in zip(wanted, found, strict=True):
            for name in FinishedStep.__slots__:
                if name == "columns":
                    assert all(np.array_equal(a.columns[c], b.columns[c], equal_nan=True) for c in a.columns)
                else:
                    assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True), name


def test_a_checkpoint_holds_used_rows_only_and_a_foreign_one_is_refused() -> None:
    cutter = StepCutter(64, RESTS, 2)
    for k in range(10):
        cutter.feed(frame(k, [1] * 64, [3.0] * 64))
    saved = cutter.checkpoint()
    assert len(saved) < 64 * 10 * 48 + 64 * 13 * 8 + 5000
    for other in (StepCutter(32, RESTS, 2), StepCutter(64, RESTS, 1)):
        with pytest.raises(ValueError, match="checkpoint"):
            other.restore(saved)
    with pytest.raises(ValueError, match="checkpoint"):
        cutter.restore(saved[:-50])
