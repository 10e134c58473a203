"""The Parquet sink: any reader opens the files at any moment; after a crash at any point no row is twice or missing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from configs.schema import ParquetSink as ParquetOptions
from configs.schema import Spool as SpoolOptions
from controller.errors import StorageError
from controller.historian import Delivered, Drainer, Spool
from controller.historian.parquet import ParquetSink
from controller.historian.sink import SinkStart

OPTIONS = ParquetOptions(rows_per_file=40, seconds_per_file=60.0)


def open_spool(folder: Path, *sinks: str) -> Spool:
    return Spool.open(folder / "spool.sqlite3", SpoolOptions(), sinks or ("parquet",))


async def deliver_all(spool: Spool, folder: Path, options: ParquetOptions = OPTIONS) -> None:
    """A sink's whole life: start, deliver what is there, close."""
    sink = ParquetSink(folder / "parquet", options)
    try:
        await sink.start(SinkStart(spool.id, spool.cursor("parquet"), spool.last_seq))
        while batches := await spool.read("parquet", sink.max_rows):
            outcome = await sink.deliver(batches)
            assert isinstance(outcome, Delivered)
            await spool.advance("parquet", batches, outcome.rejected)
    finally:
        await sink.close()


def keys(folder: Path, stream: str) -> list[tuple[object, ...]]:
    """(device, point, time) of every row in the stream's folder."""
    table = pl.read_parquet(folder / "parquet" / stream)
    return sorted(table.select("device", "channel", "time").rows())


@pytest.mark.asyncio
async def test_every_reader_sees_the_same_rows_types_and_nulls(tmp_path: Path, frame, record) -> None:
    spool = open_spool(tmp_path)
    await spool.append([frame(k) for k in range(30)] + [record(k) for k in range(3)])
    await deliver_all(spool, tmp_path)
    await spool.close()
    folder = tmp_path / "parquet" / "channel"
    assert sorted(p.name for p in folder.iterdir()) == [
        "part-000000000001-000000000010.parquet",
        "part-000000000011-000000000020.parquet",
        "part-000000000021-000000000030.parquet",
    ]
    pandas, polars = pd.read_parquet(folder), pl.read_parquet(folder)
    (duck,) = duckdb.sql(f"SELECT count(*), sum(voltage_v), count(current_a) FROM '{folder}/*.parquet'").fetchall()
    expected = np.concatenate([frame(k).columns["voltage_v"] for k in range(30)])
    assert list(polars.columns) == [
        "time", "device", "channel", "voltage_v", "current_a", "quality", "code", "time_source", "lot",
    ]  # fmt: skip
    assert polars["voltage_v"].to_list() == expected.tolist()
    assert pandas["voltage_v"].tolist() == expected.tolist()
    assert duck[0] == len(pandas) == len(polars) == 120
    assert duck[2] == polars["current_a"].count() == pandas["current_a"].count() == 90
    assert polars["time"].dtype == pl.Datetime("ns", "UTC")
    assert str(pandas["time"].dtype) == "datetime64[ns, UTC]"
    assert polars["time"].to_physical()[0] == frame(0).time_ns[0]
    assert polars["channel"].to_list()[:4] == [1, 2, 3, 4]
    assert set(polars["lot"]) == {"CELL-0001"}
    commands = pd.read_parquet(tmp_path / "parquet" / "command")
    assert commands["reason"].tolist() == [record(k).text["reason"][0] for k in range(3)]
    assert "channel" not in commands


@pytest.mark.asyncio
async def test_rows_in_the_files_are_the_rows_in_the_ledger(tmp_path: Path, frame) -> None:
    spool = open_spool(tmp_path)
    for k in range(25):
        await spool.append([frame(k, rows=7), frame(k, rows=1, stream="rack"), frame(k, rows=3, device="rack2")])
    await deliver_all(spool, tmp_path)
    for stream, rows in spool.ledger().items():
        found = sum(pq.read_metadata(p).num_rows for p in (tmp_path / "parquet" / stream).iterdir())
        assert found == rows
    assert spool.counters("parquet").delivered == sum(spool.ledger().values())
    await spool.close()


@pytest.mark.asyncio
async def test_the_drainer_fills_files_while_readers_look(tmp_path: Path, frame) -> None:
    spool = open_spool(tmp_path)
    drainer = Drainer(spool, ParquetSink(tmp_path / "parquet", ParquetOptions(rows_per_file=20, seconds_per_file=0.02)))
    task = asyncio.create_task(drainer.run())
    seen = 0
    for k in range(40):
        await spool.append([frame(k)])
        if any((tmp_path / "parquet" / "channel").glob("*.parquet")):  # the folder is there before its first file
            rows = len(pl.read_parquet(tmp_path / "parquet" / "channel"))
            assert rows >= seen
            seen = rows
    assert await drainer.drain(5.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(keys(tmp_path, "channel")) == len(set(keys(tmp_path, "channel"))) == 160
    await spool.close()


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Crash:
    """Dies at the n-th point where a process could: around every sync, rename and cursor move."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at, self.count = 0, 0
        sync, replace, advance = os.fsync, Path.replace, Spool.advance

        def crashing_sync(fd: int) -> None:
            self.point()
            sync(fd)

        def crashing_replace(path: Path, target: Path) -> Path:
            self.point()
            there = replace(path, target)
            self.point()
            return there

        async def crashing_advance(spool: Spool, *args: object) -> None:
            self.point()
            await advance(spool, *args)  # type: ignore[arg-type]
            self.point()

        patch.setattr(os, "fsync", crashing_sync)
        patch.setattr(Path, "replace", crashing_replace)
        patch.setattr(Spool, "advance", crashing_advance)

    def point(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


async def crashed_and_went_on(folder: Path, crash: Crash, frame) -> bool:
    """One life that may crash, one with more data and other file sizes; True when the crash point was reached."""
    folder.mkdir()
    crash.count, crashed = 0, False
    spool = open_spool(folder)
    for k in range(6):
        await spool.append([frame(k, rows=3), frame(k, rows=2, stream="rack")])
    try:
        await deliver_all(spool, folder, ParquetOptions(rows_per_file=11))
    except Killed:
        crashed = True
    await spool.close()
    crash.count = crash.at
    spool = open_spool(folder)
    await spool.append([frame(6, rows=3), frame(6, rows=2, stream="rack")])
    await deliver_all(spool, folder, ParquetOptions(rows_per_file=17))
    assert spool.counters("parquet").delivered == 35
    await spool.close()
    return crashed


@pytest.mark.asyncio
async def test_a_crash_at_any_point_neither_doubles_nor_loses_a_row(tmp_path: Path, frame, monkeypatch) -> None:
    crash = Crash(monkeypatch)
    crashed = True
    while crashed:
        crash.at += 1
        folder = tmp_path / str(crash.at)
        crashed = await crashed_and_went_on(folder, crash, frame)
        for stream, rows in (("channel", 3), ("rack", 2)):
            found = keys(folder, stream)
            assert len(found) == len(set(found)) == 7 * rows, crash.at
        assert not list((folder / "parquet" / ".writing").iterdir())
    assert crash.at > 30


@pytest.mark.asyncio
async def test_streams_with_growing_columns_stay_readable(tmp_path: Path, frame) -> None:
    spool = open_spool(tmp_path)
    await spool.append([frame(0)])
    await deliver_all(spool, tmp_path)
    less = frame(1, columns={"voltage_v": np.ones(4)}, labels={})
    more = frame(2, columns={"quality": np.ones(4), "voltage_v": np.full(4, 2.0)}, labels={"lot": "B", "recipe": "r"})
    await spool.append([less, more])
    await deliver_all(spool, tmp_path)
    await spool.close()
    first, second = (pq.read_table(p) for p in sorted((tmp_path / "parquet" / "channel").iterdir()))
    assert second.column_names == [*first.column_names, "quality_", "recipe"]
    assert second["lot"].to_pylist() == [None] * 4 + ["B"] * 4
    assert second["current_a"].null_count == 8
    folder = tmp_path / "parquet" / "channel"
    rows = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/*.parquet', union_by_name=true)").fetchall()
    assert rows == [(12,)]
    assert len(pd.read_parquet(folder)) == 12


@pytest.mark.asyncio
async def test_a_folder_filled_from_another_spool_is_refused(tmp_path: Path, frame) -> None:
    spool = open_spool(tmp_path)
    await spool.append([frame(0)])
    await deliver_all(spool, tmp_path)
    await spool.close()
    for file in tmp_path.glob("spool.sqlite3*"):
        file.unlink()
    spool = open_spool(tmp_path)
    with pytest.raises(StorageError, match="was not written from the spool in this run folder"):
        await deliver_all(spool, tmp_path)
    await spool.close()


@pytest.mark.asyncio
async def test_a_damaged_batch_is_rejected_and_the_rest_goes_on(tmp_path: Path, frame) -> None:
    spool = open_spool(tmp_path)
    await spool.append([frame(0), frame(1), frame(2)])
    await spool._submit(lambda store: store.db.execute("UPDATE batch SET payload = X'00' WHERE seq = 2"))
    await deliver_all(spool, tmp_path)
    counted = spool.counters("parquet")
    assert (counted.delivered, counted.rejected, counted.reconciles) == (8, 4, True)
    await spool.close()


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_written_is_an_error_that_heals(tmp_path: Path, frame, caplog) -> None:
    spool = open_spool(tmp_path)
    sink = ParquetSink(tmp_path / "parquet", ParquetOptions(seconds_per_file=0.01))
    drainer = Drainer(spool, sink, backoff_s=(0.01, 0.02))
    task = asyncio.create_task(drainer.run())
    await asyncio.sleep(0.05)
    (tmp_path / "parquet" / "channel").write_text("a file where a folder should be")
    await spool.append([frame(0)])
    while not drainer.trouble:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert "Parquet files in" in drainer.trouble
    (tmp_path / "parquet" / "channel").unlink()
    assert await drainer.drain(5.0)
    assert not drainer.trouble
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(keys(tmp_path, "channel")) == 4
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    await spool.close()
