"""One batch is one durable append: raw Frames, gaps, results and state together; a failing twin costs no raw data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from controller.clock import LineClock
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.pipeline.pipeline import GAPS_STATE, Pipeline, StageKey
from controller.records import CONNECTION, event, record
from controller.types import Frame, FrameKind

S = 1_000_000_000
KEY = StageKey("coater1", "coater", "doubler")


def frame(second: int, value: float = 1.0) -> Frame:
    return Frame(
        "coater1",
        "coater",
        FrameKind.RAW,
        np.array([second * S], dtype=np.int64),
        np.zeros(1, dtype=np.int32),
        "",
        {"x": np.array([value])},
        np.zeros(1, dtype=np.uint8),
        np.zeros(1, dtype=np.uint32),
    )


class Doubler:
    """A twin that doubles, and cannot stand 13."""

    def process(self, given: Frame) -> list[Frame]:
        if given.columns["x"][0] == 13.0:
            raise ZeroDivisionError("thirteen")
        return [record("coater1", "doubled", int(given.time_ns[0]), {"x": 2 * float(given.columns["x"][0])}, {})]

    def catch_up(self) -> list[Frame]:
        return []

    def checkpoint(self) -> bytes:
        return b"doubler"

    def restore(self, saved: bytes) -> None:
        assert saved == b"doubler"


class Store:
    def __init__(self) -> None:
        self.appends: list[list[Frame]] = []
        self.state: dict[str, bytes] = {}
        self.seen: list[str] = []

    async def append(self, frames: Sequence[Frame], state: Mapping[str, bytes]) -> None:
        self.appends.append(list(frames))
        self.state.update(state)

    def watch(self, frames: Sequence[Frame]) -> None:
        self.seen += [f.stream for f in frames]

    def streams(self) -> list[list[str]]:
        return [[f.stream for f in batch] for batch in self.appends]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def pipeline(store: Store) -> Iterator[Pipeline]:
    gaps = GapDetector({("coater1", "coater"): StreamRule(10.0, polled=False)})
    made = Pipeline(LineClock(), store.append, gaps, {KEY: Doubler()}, [store.watch])
    yield made
    made.close()


@pytest.mark.asyncio
async def test_raw_result_and_state_are_one_append(pipeline: Pipeline, store: Store) -> None:
    await pipeline.accept([frame(0), frame(10, 4.0)])
    assert store.streams() == [["coater", "doubled", "coater", "doubled"]]
    assert store.appends[0][3].columns["x"].tolist() == [8.0]
    assert store.state.keys() == {GAPS_STATE, "twin/coater1/coater/doubler"}
    assert store.seen == store.streams()[0]


@pytest.mark.asyncio
async def test_a_twin_that_fails_costs_no_raw_data_and_is_said_once(pipeline: Pipeline, store: Store) -> None:
    await pipeline.accept([frame(0, 13.0), frame(10, 13.0), frame(20, 1.0)])
    assert store.streams() == [["coater", "event", "coater", "coater", "doubled"]]
    said = store.appends[0][1].text["message"][0]
    assert said == "twin doubler of coater failed: ZeroDivisionError: thirteen"


@pytest.mark.asyncio
async def test_an_interruption_that_the_driver_reports_makes_the_next_silence_a_gap(
    pipeline: Pipeline, store: Store
) -> None:
    lost = record("coater1", "event", 5 * S, {}, {"severity": "warning", "source": CONNECTION, "message": "cut"})
    await pipeline.accept([frame(0)])
    await pipeline.accept([frame(900)])
    await pipeline.accept([lost, frame(1800)])
    await pipeline.accept([frame(2700)])
    assert [streams.count("gap") for streams in store.streams()] == [0, 0, 1, 0]
    gap = next(f for f in store.appends[2] if f.stream == "gap")
    assert gap.columns["duration_s"].tolist() == [900.0]


@pytest.mark.asyncio
async def test_an_ordinary_event_is_no_interruption(pipeline: Pipeline, store: Store) -> None:
    await pipeline.accept([frame(0)])
    await pipeline.accept([event("coater1", 5 * S, "info", "node is there"), frame(900)])
    assert [streams.count("gap") for streams in store.streams()] == [0, 0]


class Patient(Doubler):
    """A twin of the doubler's results that keeps them until it is told to catch up."""

    def __init__(self) -> None:
        self.waiting: list[int] = []

    def process(self, given: Frame) -> list[Frame]:
        self.waiting.append(int(given.time_ns[0]))
        return []

    def catch_up(self) -> list[Frame]:
        done, self.waiting = self.waiting, []
        return [record("coater1", "late", time_ns, {"x": 0.0}, {}) for time_ns in done]

    def checkpoint(self) -> bytes:
        return str(self.waiting).encode()


@pytest.mark.asyncio
async def test_a_result_feeds_the_next_twin_and_what_waited_becomes_durable_with_its_state(store: Store) -> None:
    late = StageKey("coater1", "doubled", "patient")
    made = Pipeline(LineClock(), store.append, GapDetector({}), {KEY: Doubler(), late: Patient()}, [store.watch])
    try:
        await made.accept([frame(0), frame(10)])
        assert store.state[late.state] == b"[0]", "it was saved at the first Frame, and is due again in two seconds"
        await made.catch_up()
        assert store.streams() == [["coater", "doubled", "coater", "doubled"], ["late", "late"]]
        assert store.state[late.state] == b"[]"
        await made.catch_up()
        assert len(store.appends) == 2, "nothing waited: nothing is written"
    finally:
        made.close()


class PartByPart(Patient):
    """Gives one a call."""

    def catch_up(self) -> list[Frame]:
        return [record("coater1", "late", self.waiting.pop(0), {"x": 0.0}, {})] if self.waiting else []

    def waits(self) -> bool:
        return bool(self.waiting)


@pytest.mark.asyncio
async def test_what_waited_is_worked_off_in_parts_with_frames_between_and_a_kill_at_any_moment_costs_nothing() -> None:
    late = StageKey("coater1", "doubled", "patient")
    kept: list[tuple[list[str], list[int], bytes | None]] = []

    async def append(frames: Sequence[Frame], state: Mapping[str, bytes]) -> None:
        given = [int(f.time_ns[0]) // S for f in frames if f.stream == "late"]
        kept.append(([f.stream for f in frames], given, state.get(late.state)))
        await asyncio.sleep(0)

    made = Pipeline(LineClock(), append, GapDetector({}), {KEY: Doubler(), late: PartByPart()}, [])
    try:
        for second in (0, 1, 2, 3):
            await made.accept([frame(second)])
        kept.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(made.catch_up())
            group.create_task(made.accept([frame(4)]))
        streams = [streams for streams, _, _ in kept]
        assert streams.index(["coater", "doubled"]) <= 1, "the poll waited for one part at most"
        assert streams.count(["late"]) == 5
        done: list[int] = []
        for _, given, state in kept:
            done += given
            if given:  # killed here: what is durable is given, the rest waits in the state
                left = [n // S for n in json.loads(state or b"")]
                assert [*done, *left] in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
        assert done == [0, 1, 2, 3, 4]
    finally:
        made.close()


class Once(Doubler):
    """A twin whose results happen once: it wants its state saved with them."""

    def urgent(self) -> bool:
        return True


@pytest.mark.asyncio
async def test_the_state_of_a_twin_of_events_is_saved_with_every_result(store: Store) -> None:
    saved: list[bool] = []

    async def append(frames: Sequence[Frame], state: Mapping[str, bytes]) -> None:
        saved.append(KEY.state in state)

    for twin, wanted in ((Once(), [True, True, True]), (Doubler(), [True, False, False])):
        saved.clear()
        made = Pipeline(LineClock(), append, GapDetector({}), {KEY: twin}, [])
        try:
            for second in (0, 10, 20):
                await made.accept([frame(second)])
        finally:
            made.close()
        assert saved == wanted
