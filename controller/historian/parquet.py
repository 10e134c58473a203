"""Sink that needs no server: Parquet files which pandas, Polars and DuckDB open while the line runs.

Theory of operation. parquet/<stream>/part-<first>-<last>.parquet holds every row of that stream whose batches have
sequence numbers from first to last. A file appears under its name complete and durable, by a rename, and only after
all files of a delivery stand does the spool's cursor move. A crash in between leaves files that the cursor does not
know; on the next start their names say which batches of which stream not to write again. Half-written files lie in
parquet/.writing (not beside the finished ones: Polars refuses a folder with any other file in it) and are removed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from configs.schema import ParquetSink as ParquetOptions
from controller.errors import StorageError
from controller.historian.batch import Batch, Delivered, Outcome, decode_all
from controller.historian.codec import FrameDecoder
from controller.historian.columns import to_table
from controller.historian.sink import SinkStart
from controller.types import Frame

_A = TypeVar("_A")
_T = TypeVar("_T")
_SPOOL = b"celltwin.spool"
_WRITING = ".writing"
_NAME = re.compile(r"part-(\d+)-(\d+)\.parquet")


def file_name(first_seq: int, last_seq: int) -> str:
    """Zero-padded, so that names sort as numbers do."""
    return f"part-{first_seq:012d}-{last_seq:012d}.parquet"


class ParquetSink:
    """See the module. `folder` is the run's parquet folder; it is made when missing."""

    name = "parquet"

    def __init__(self, folder: Path, options: ParquetOptions) -> None:
        self._folder, self._options = folder, options
        self._spool_id = ""
        self._schemas: dict[str, pa.Schema] = {}
        self._written: dict[str, list[tuple[int, int]]] = {}  # ranges beyond the cursor, per stream
        self._decoder = FrameDecoder()
        self._thread = ThreadPoolExecutor(1, "parquet")

    @property
    def max_rows(self) -> int:
        """Rows of one delivery, all streams together."""
        return self._options.rows_per_file

    @property
    def linger_s(self) -> float:
        """Wall seconds that the oldest row may wait."""
        return self._options.seconds_per_file

    async def start(self, where: SinkStart) -> None:
        """Takes stock of the folder. StorageError: not writable, or filled from another spool."""
        await self._in_thread(self._take_stock, where)

    async def deliver(self, batches: Sequence[Batch]) -> Outcome:
        """Writes one file per stream. StorageError where the folder or the disk refuses."""
        return await self._in_thread(self._write_all, batches)

    async def close(self) -> None:
        """Waits for the file that is being written."""
        self._thread.shutdown(wait=True)

    async def _in_thread(self, work: Callable[[_A], _T], argument: _A) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, argument)
        except (OSError, pa.ArrowException) as bad:
            raise _storage_error(bad, self._folder) from bad

    def _take_stock(self, where: SinkStart) -> None:
        self._spool_id = where.spool_id
        writing = self._folder / _WRITING
        writing.mkdir(parents=True, exist_ok=True)
        for leftover in writing.iterdir():
            leftover.unlink()
        for stream in sorted(p for p in self._folder.iterdir() if p.is_dir() and p.name != _WRITING):
            found = sorted((int(m[1]), int(m[2]), p) for p in stream.iterdir() if (m := _NAME.fullmatch(p.name)))
            if not found:
                continue
            newest = found[-1]
            schema = pq.read_schema(newest[2])
            if (schema.metadata or {}).get(_SPOOL) != where.spool_id.encode() or newest[1] > where.last_seq:
                raise StorageError(
                    f"{newest[2]} was not written from the spool in this run folder",
                    "the spool file was removed or exchanged: choose another folder with --out",
                )
            self._schemas[stream.name] = schema
            self._written[stream.name] = [(first, last) for first, last, _ in found if last > where.cursor]

    def _write_all(self, batches: Sequence[Batch]) -> Delivered:
        frames, rejected = decode_all(batches, self._decoder)
        streams: dict[str, list[tuple[int, Frame]]] = {}
        for batch, frame in frames:
            ranges = self._written.get(batch.stream, [])
            if not any(first <= batch.seq <= last for first, last in ranges):
                streams.setdefault(batch.stream, []).append((batch.seq, frame))
        for stream, items in streams.items():
            self._write(stream, items)
        # What lies before this delivery is behind the cursor; it cannot come again.
        for stream, ranges in self._written.items():
            self._written[stream] = [r for r in ranges if r[1] >= batches[0].seq]
        return Delivered(tuple(rejected))

    def _write(self, stream: str, items: Sequence[tuple[int, Frame]]) -> None:
        """One file, durable under its final name when this returns."""
        table = to_table([f for _, f in items], self._schemas.get(stream), {_SPOOL: self._spool_id.encode()})
        first, last = items[0][0], items[-1][0]
        folder, name = self._folder / stream, file_name(first, last)
        if not folder.is_dir():
            folder.mkdir()
            _sync_folder(self._folder)
        unfinished = self._folder / _WRITING / f"{stream}-{name}"
        with unfinished.open("wb") as file:
            pq.write_table(table, file, compression="zstd", compression_level=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / name)
        _sync_folder(folder)
        self._schemas[stream] = table.schema
        self._written.setdefault(stream, []).append((first, last))


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _storage_error(bad: Exception, folder: Path) -> StorageError:
    number = getattr(bad, "errno", None)
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(f"no space left for Parquet files in {folder}", "free some disk space")
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StorageError(f"cannot write in {folder}: {bad}", "check the folder's owner and mount")
    return StorageError(f"Parquet files in {folder}: {bad}", "check the disk")
