"""The drainer: lingers, hurries, backs off, logs a loss once, and one sink's trouble is nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from configs.schema import Spool as SpoolOptions
from controller.errors import StorageError
from controller.historian import Batch, Delivered, Drainer, Outcome, RetryLater, SinkStart, Spool


class SoftSink:
    """Keeps what it is given; answers what the test says."""

    def __init__(self, name: str = "a", max_rows: int = 8, linger_s: float = 0.0) -> None:
        self.name, self.max_rows, self.linger_s = name, max_rows, linger_s
        self.answers: list[Outcome | Exception] = []
        self.taken: list[int] = []
        self.calls: list[list[int]] = []
        self.started: SinkStart | None = None
        self.closed = False

    async def start(self, where: SinkStart) -> None:
        self.started = where

    async def deliver(self, batches: Sequence[Batch]) -> Outcome:
        self.calls.append([b.seq for b in batches])
        answer = self.answers.pop(0) if self.answers else Delivered()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Delivered):
            self.taken += [b.seq for b in batches]
        return answer

    async def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def draining(folder: Path, *sinks: SoftSink) -> AsyncIterator[tuple[Spool, list[Drainer]]]:
    spool = Spool.open(folder / "s.sqlite3", SpoolOptions(), [s.name for s in sinks])
    drainers = [Drainer(spool, s, backoff_s=(0.001, 0.01)) for s in sinks]
    tasks = [asyncio.create_task(d.run()) for d in drainers]
    await asyncio.sleep(0)
    try:
        yield spool, drainers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spool.close()
    assert all(s.closed for s in sinks)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        await asyncio.sleep(0.001)
    pytest.fail("never came true")


@pytest.mark.asyncio
async def test_everything_arrives_in_order_in_bites_of_bounded_size(tmp_path: Path, frame) -> None:
    sink = SoftSink()
    async with draining(tmp_path, sink) as (spool, (drainer,)):
        for k in range(10):
            await spool.append([frame(k)])
        assert await drainer.drain(5.0)
        assert sink.taken == list(range(1, 11))
        assert all(len(call) <= 2 for call in sink.calls)
        assert spool.counters("a").delivered == 40


@pytest.mark.asyncio
async def test_it_lingers_until_enough_rows_wait_and_hurries_when_told(tmp_path: Path, frame) -> None:
    sink = SoftSink(linger_s=3600.0)
    async with draining(tmp_path, sink) as (spool, (drainer,)):
        await spool.append([frame(0)])
        await asyncio.sleep(0.02)
        assert sink.calls == []
        await spool.append([frame(1)])
        await until(lambda: sink.taken == [1, 2])
        await spool.append([frame(2)])
        assert await drainer.drain(5.0)
        assert sink.calls == [[1, 2], [3]]


@pytest.mark.asyncio
async def test_it_lingers_no_longer_than_asked(tmp_path: Path, frame) -> None:
    sink = SoftSink(max_rows=1000, linger_s=0.01)
    async with draining(tmp_path, sink) as (spool, _):
        await spool.append([frame(0)])
        await until(lambda: sink.taken == [1])


@pytest.mark.asyncio
async def test_a_loss_is_told_once_and_so_is_the_recovery(tmp_path: Path, frame, caplog) -> None:
    sink = SoftSink()
    sink.answers = [RetryLater("it is away", "start it")] * 5 + [StorageError("it is full", "free space")] * 2
    async with draining(tmp_path, sink) as (spool, (drainer,)):
        await spool.append([frame(0)])
        await until(lambda: drainer.trouble == "it is away")
        await until(lambda: sink.taken == [1])
        await until(lambda: drainer.trouble == "")
        assert len(sink.calls) == 8
    assert [r.getMessage() for r in caplog.records] == [
        "sink a takes no data: it is away (start it); the spool keeps them",
        "sink a takes no data: it is full (free space); the spool keeps them",
        "sink a takes data again; 0 rows wait",
    ]


@pytest.mark.asyncio
async def test_a_sink_that_is_away_disturbs_neither_the_other_nor_the_appends(tmp_path: Path, frame) -> None:
    away, fine = SoftSink("away"), SoftSink("fine")
    away.answers = [RetryLater("away")] * 1_000_000
    async with draining(tmp_path, away, fine) as (spool, drainers):
        for k in range(20):
            await spool.append([frame(k)])
        assert await drainers[1].drain(5.0)
        assert not await drainers[0].drain(0.02)
        assert (spool.counters("away").spooled, spool.counters("fine").spooled) == (80, 0)
        away.answers.clear()
        assert await drainers[0].drain(5.0)
        assert away.taken == fine.taken


@pytest.mark.asyncio
async def test_a_peer_that_asks_for_a_pause_gets_it_unless_the_line_ends(tmp_path: Path, frame) -> None:
    sink = SoftSink()
    sink.answers = [RetryLater("busy", after_s=3600.0)]
    async with draining(tmp_path, sink) as (spool, (drainer,)):
        await spool.append([frame(0)])
        await until(lambda: bool(drainer.trouble))
        await asyncio.sleep(0.03)
        assert len(sink.calls) == 1
        assert await drainer.drain(5.0)


@pytest.mark.asyncio
async def test_a_start_that_can_never_work_ends_the_task_with_its_error(tmp_path: Path) -> None:
    class Hopeless(SoftSink):
        async def start(self, where: SinkStart) -> None:
            raise StorageError("wrong folder")

    sink = Hopeless()
    spool = Spool.open(tmp_path / "s.sqlite3", SpoolOptions(), ["a"])
    with pytest.raises(StorageError, match="wrong folder"):
        await Drainer(spool, sink).run()
    assert sink.closed
    await spool.close()
