"""Estimates when steps end: the numbers of `celltwin analyse`, nothing before its time, nothing lost by a restart."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from configs.results import CELL_RESULTS
from controller.analysis.run import Request, analyse
from controller.historian.columns import to_table
from controller.pipeline.late import Late
from controller.pipeline.stages import steps
from controller.pipeline.stages.steps import NOTES, Newest, StepStage, StepStates
from controller.pipeline.stages.waiting import Waiting
from controller.types import Frame, FrameKind
from kernels import status
from tests.unit.pipeline.rack_frames import SHORT_S, channel_group, frames, line

CHANNELS = 6
SECONDS = SHORT_S + 60
PULSE_STEP = 3.0


class Ready(Late):
    """Kernels that are there from the start, or once `come` is called."""

    def __init__(self, now: bool = True) -> None:
        super().__init__()
        if now:
            self.come()

    def come(self) -> None:
        self._ready.set()


def states() -> StepStates:
    tags = {tag.name: tag for tag in channel_group(line()).tag}
    return StepStates.of(tags["state"].meanings)


def stage(late: Late | None = None) -> tuple[StepStage, Newest]:
    newest = Newest(NOTES, CHANNELS)
    return StepStage("rack1", CHANNELS, states(), newest, late or Ready()), newest


def fed(made: StepStage, given: Iterable[Frame]) -> list[Frame]:
    return [result for frame in given for result in made.process(frame)]


def column(found: Sequence[Frame], stream: str, name: str, step: float | None = None) -> dict[tuple[int, int], float]:
    """Values by channel and time."""
    picked = {}
    for frame in found:
        if frame.stream != stream:
            continue
        mine = np.ones(frame.rows, dtype=bool) if step is None else frame.columns["step"] == step
        for at in np.flatnonzero(mine):
            key = int(frame.point[at]), int(frame.time_ns[at])
            assert key not in picked, "one row for each event"
            picked[key] = float(frame.columns[name][at])
    return picked


def by_channel(found: Sequence[Frame], stream: str, name: str, step: float) -> dict[int, float]:
    return {channel: value for (channel, _), value in column(found, stream, name, step).items()}


@pytest.fixture(scope="module")
def polled_at_1_s() -> list[Frame]:
    return list(frames(1, SECONDS, CHANNELS))


@pytest.fixture(scope="module")
def fine(polled_at_1_s: list[Frame]) -> list[Frame]:
    return fed(stage()[0], polled_at_1_s)


def test_states_are_told_by_the_equipments_words() -> None:
    known = states()
    assert (known.rest, known.pulse, known.idle, known.ended) == ({3}, {5}, {0}, {6})
    assert StepStates.of({0: "aus", 1: "laden"}).rest == frozenset()


def test_every_step_that_ends_has_its_estimates(fine: list[Frame]) -> None:
    rows = {s: sum(f.rows for f in fine if f.stream == s) for s in ("cell_pulse", "cell_ecm", "cell_rest")}
    assert rows == {"cell_pulse": 2 * CHANNELS, "cell_ecm": CHANNELS, "cell_rest": 3 * CHANNELS}
    for frame in fine:
        assert set(frame.columns) == CELL_RESULTS[frame.stream], "charts may watch them by these names"
        assert frame.kind is FrameKind.RESULT
        assert frame.labels == {"lot": "L1"}
        assert frame.point_name == "channel"
    r30, r10 = (by_channel(fine, "cell_pulse", f"r_{s}s_ohm", PULSE_STEP) for s in (30, 10))
    total = by_channel(fine, "cell_ecm", "total_ohm", PULSE_STEP)
    for channel in range(1, CHANNELS + 1):
        assert 0.025 < r10[channel] < r30[channel] < 0.07  # at 6 % of charge, where the voltage is steep
        assert 0.8 < total[channel] / r30[channel] < 1.0, "the circuit has the open-circuit voltage's drift apart"
    assert set(by_channel(fine, "cell_rest", "status", 2.0).values()) <= {status.OK, status.NOT_IDENTIFIABLE}


@pytest.mark.parametrize("period_s", [1, 20])
def test_the_numbers_are_those_of_analyse_pulses_on_the_runs_parquet_files(
    polled_at_1_s: list[Frame], tmp_path: Path, period_s: int
) -> None:
    polled = polled_at_1_s[6::period_s]
    fine = fed(stage()[0], polled)
    folder = tmp_path / "channel"
    folder.mkdir()
    # The pulse with the end of its rest, as the stage saw them; of the whole file the spread is the whole file's.
    edges = column(fine, "cell_pulse", "status", PULSE_STEP)
    kept = [f for f in polled if f.columns["step"][0] in {2.0, PULSE_STEP}]
    begins = min(t for _, t in edges) - 64_000_000_000 * period_s
    pq.write_table(to_table([f for f in kept if f.time_ns[0] > begins], None, {}), folder / "part-1-1.parquet")
    printed = io.StringIO()
    request = Request("pulses", [folder], (), None, "charge", ["channel"], True, None, ["stamps=polled"])
    assert analyse(request, Console(file=printed), Console(stderr=True)) == 0
    rows = json.loads(printed.getvalue())
    assert [row["channel"] for row in rows] == list(range(1, CHANNELS + 1))
    assert all(np.isfinite(list(by_channel(fine, "cell_pulse", "r_10s_ohm", PULSE_STEP).values())))
    for row in rows:
        assert row["stamps"].startswith("counted")
        for name in ("current_a", *(f"r_{s}s_ohm{sd}" for s in (1, 3, 10, 30) for sd in ("", "_sd"))):
            live = by_channel(fine, "cell_pulse", name, PULSE_STEP)[row["channel"]]
            if np.isfinite(live):
                assert live == pytest.approx(row[name], rel=1e-9), name
            else:
                assert row[name] is None, name


def test_an_estimate_belongs_to_the_time_of_its_event(polled_at_1_s: list[Frame], fine: list[Frame]) -> None:
    begun = {}
    for frame in polled_at_1_s:
        for channel in frame.point[frame.columns["step"] == PULSE_STEP].tolist():
            at = channel - 1
            begun.setdefault(channel, int(frame.time_ns[at] - frame.columns["step_time_s"][at] * 1e9))
    for stream in ("cell_pulse", "cell_ecm"):
        times = dict(list(column(fine, stream, "step", PULSE_STEP)))
        assert times == pytest.approx(begun, abs=1e6)


def test_polled_every_20_s_only_late_resistances_are_known_and_the_status_says_why(fine: list[Frame]) -> None:
    found = fed(stage()[0], frames(20, SECONDS, CHANNELS))
    pulses = [f for f in found if f.stream == "cell_pulse"]
    for frame in pulses:
        for seconds in (1, 3):
            assert not np.isfinite(frame.columns[f"r_{seconds}s_ohm"]).any()
            assert (frame.columns[f"status_{seconds}s"] == status.NOT_SAMPLED).all()
        for seconds in (1, 3, 10, 30):
            r = frame.columns[f"r_{seconds}s_ohm"]
            assert (np.isfinite(r) == np.isin(frame.columns[f"status_{seconds}s"], [status.OK])).all()
    r30 = by_channel(found, "cell_pulse", "r_30s_ohm", 5.0)
    wanted = by_channel(fine, "cell_pulse", "r_30s_ohm", 5.0)
    sd = by_channel(found, "cell_pulse", "r_30s_ohm_sd", 5.0)
    assert sum(np.isfinite(list(r30.values()))) == CHANNELS
    assert all(abs(r30[k] - wanted[k]) < 3.0 * sd[k] for k in r30)


def test_a_pulse_carries_what_the_filter_believed_before_it(polled_at_1_s: list[Frame]) -> None:
    made, newest = stage()
    found = []
    for frame in polled_at_1_s:
        newest.process(
            Frame(
                "rack1", "cell_state", FrameKind.RESULT, frame.time_ns, frame.point, "channel",
                {"soc": frame.columns["step"] / 10.0, "soc_sd": np.full(CHANNELS, 0.01)},
                frame.quality, frame.code,
            )
        )  # fmt: skip
        found += made.process(frame)
    assert set(by_channel(found, "cell_pulse", "soc", PULSE_STEP).values()) == {0.2}, (
        "of step 2, not of its own samples"
    )
    assert set(by_channel(found, "cell_pulse", "soc_sd", PULSE_STEP).values()) == {0.01}


def test_steps_wait_for_their_kernels_and_over_a_restart(polled_at_1_s: list[Frame], fine: list[Frame]) -> None:
    made, newest = stage(Ready(now=False))
    middle = len(polled_at_1_s) - 700
    assert fed(made, polled_at_1_s[:middle]) == []
    assert made.catch_up() == []
    saved, known = made.checkpoint(), newest.checkpoint()
    late = Ready(now=False)
    again, newest = stage(late)
    newest.restore(known)
    again.restore(saved)
    assert fed(again, polled_at_1_s[middle:]) == []
    late.come()
    caught_up = again.catch_up()
    for stream, name in (("cell_pulse", "r_10s_ohm"), ("cell_ecm", "total_ohm"), ("cell_rest", "end_slope_mv_h")):
        wanted = column(fine, stream, name)
        assert column(caught_up, stream, name) == pytest.approx(wanted, nan_ok=True, rel=1e-9)
    assert {frame.labels["lot"] for frame in caught_up} == {"L1"}
    assert again.catch_up() == []


def test_what_waited_comes_in_parts_in_its_order_with_samples_between_and_a_kill_between_any_two(
    polled_at_1_s: list[Frame], fine: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "AT_ONCE", 3)
    late = Ready(now=False)
    made, _ = stage(late)
    middle = len(polled_at_1_s) - 300
    assert fed(made, polled_at_1_s[:middle]) == []
    late.come()
    found, rest, parts = [], iter(polled_at_1_s[middle:]), 0
    while made.waits():
        part = made.catch_up()
        assert 0 < sum(f.rows for f in part if f.stream in {"cell_pulse", "cell_rest"}) <= 3
        saved, parts = made.checkpoint(), parts + 1
        found += part
        found += made.process(next(rest))
        if made.urgent():
            saved = made.checkpoint()
        else:  # killed before the sample was durable: the equipment is asked again
            found += made.process(next(rest))
        again, _ = stage(late)
        again.restore(made.checkpoint() if made.urgent() else saved)
        made = again
    assert parts > 3
    for frame in rest:
        found += made.process(frame)
    for _ in range(CHANNELS):
        found += made.catch_up()
    for stream in ("cell_pulse", "cell_rest"):
        wanted, given = column(fine, stream, "step"), column(found, stream, "step")
        assert sorted((k, v) for (k, _), v in given.items()) == sorted((k, v) for (k, _), v in wanted.items())
        for channel in range(1, CHANNELS + 1):
            times = [t for k, t in given if k == channel]
            assert times == sorted(times)


def test_steps_that_waited_are_given_once_though_a_sample_comes_before_the_catching_up(
    polled_at_1_s: list[Frame],
) -> None:
    """The kernels are there, the pipeline has not yet come to `catch_up`: a sample without a step's end is first."""
    late = Ready(now=False)
    made, _ = stage(late)
    frames = iter(polled_at_1_s)
    while len(made._waiting) == 0 or made.urgent():
        made.process(next(frames))
    late.come()
    given = made.process(next(frames))
    assert given
    assert made.urgent(), "else a killed controller gives them again"
    again, _ = stage()
    again.restore(made.checkpoint())
    assert again.catch_up() == []
    made.process(next(frames))
    assert not made.urgent()


def test_a_kill_at_any_moment_loses_and_repeats_no_step(polled_at_1_s: list[Frame], fine: list[Frame]) -> None:
    """The pipeline saves the state with every Frame in which a step ended, and between them every few Frames."""
    made, _ = stage()
    results, saved = [], made.checkpoint()
    for n, frame in enumerate(polled_at_1_s):
        results += made.process(frame)
        if made.urgent() or n % 5 == 0:
            saved = made.checkpoint()
        if n % 41 == 40:  # killed: up to 4 samples of the open steps are gone
            made, _ = stage()
            made.restore(saved)
    for stream in ("cell_pulse", "cell_ecm", "cell_rest"):
        wanted, kept = column(fine, stream, "step"), column(results, stream, "step")
        assert sorted((k, v) for (k, _), v in kept.items()) == sorted((k, v) for (k, _), v in wanted.items())


def test_what_waits_is_bounded_and_what_is_given_up_is_said(polled_at_1_s: list[Frame]) -> None:
    made, _ = stage(Ready(now=False))
    made._waiting = Waiting(len(NOTES), rows_max=3000)
    said = [f for frame in polled_at_1_s for f in made.process(frame) if f.stream == "event"]
    assert said
    assert "finished steps could not wait any longer" in said[0].text["message"][0]


def test_a_checkpoint_of_another_kind_is_refused(polled_at_1_s: list[Frame]) -> None:
    made, newest = stage()
    for foreign in (b"", b"no", newest.checkpoint(), Waiting(0).checkpoint()):
        with pytest.raises(ValueError, match="checkpoint"):
            made.restore(foreign)
    empty = Waiting(2)
    empty.restore(Waiting(2).checkpoint())
    assert len(empty) == 0


def test_a_rack_that_does_not_count_its_steps_time_gets_what_the_samples_alone_can_tell(
    polled_at_1_s: list[Frame], fine: list[Frame]
) -> None:
    def without(given: Iterable[Frame]) -> list[Frame]:
        return [replace(f, columns={n: c for n, c in f.columns.items() if n != "step_time_s"}) for f in given]

    found = fed(stage()[0], without(polled_at_1_s))
    for name in ("r_10s_ohm", "r_30s_ohm"):
        wanted = by_channel(fine, "cell_pulse", name, PULSE_STEP)
        given, sd = (by_channel(found, "cell_pulse", f"{name}{what}", PULSE_STEP) for what in ("", "_sd"))
        assert all(abs(given[k] - wanted[k]) < 3.0 * sd[k] for k in wanted), "the edge lies anywhere in a second"
    total = by_channel(found, "cell_ecm", "total_ohm", PULSE_STEP)
    assert total == pytest.approx(by_channel(fine, "cell_ecm", "total_ohm", PULSE_STEP), rel=0.03)
    coarse = fed(stage()[0], without(frames(10, SECONDS, CHANNELS)))
    assert set(by_channel(coarse, "cell_ecm", "status", PULSE_STEP).values()) == {status.NOT_SAMPLED}
    assert not np.isfinite(list(by_channel(coarse, "cell_ecm", "total_ohm", PULSE_STEP).values())).any()
