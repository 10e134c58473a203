"""The durable buffer that every Frame goes to first. Asyncio in front, one writer thread behind, SQLite at the bottom.

The thread takes whatever has queued up since its last commit and makes it one transaction (group commit): many Frames
cost one sync of the disk, and a lone Frame waits for nobody.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Spool as SpoolOptions
from configs.schema import WhenFull
from controller.errors import StorageError
from controller.historian.batch import Batch, RejectedRow
from controller.historian.codec import FrameEncoder, warm_up
from controller.historian.lock import FolderLock
from controller.historian.store import SPOOL_ID, Encoded, Store
from controller.types import Frame, SinkCounters

_GROUP = 512
"""Jobs in one transaction at most: bounds how long the first of them waits for the last."""


@dataclass(frozen=True, slots=True)
class _View:
    """What everybody may look at: the state as of one commit."""

    last_seq: int
    used_bytes: int
    ledger: Mapping[str, int]
    counters: Mapping[str, SinkCounters]
    cursors: Mapping[str, int]
    blocked: bool


@dataclass(slots=True, eq=False)
class _Job:
    """One request to the writer thread. `run` happens inside the transaction; its result goes to `future`."""

    run: Callable[[Store], object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[object]
    frames: Sequence[Frame] = ()
    result: object = None
    error: BaseException | None = None


class Spool:
    """See the module. Made by `open`; every coroutine may raise StorageError, and then nothing of it has happened."""

    def __init__(self, path: Path, options: SpoolOptions, store: Store, lock: FolderLock) -> None:
        self._path, self._options, self._store, self._lock = path, options, store, lock
        self._max_bytes = int(options.max_mb * 1e6)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: deque[_Job] = deque()  # appends held back because the spool is full
        self._encoder = FrameEncoder()
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
        self._closed = False
        self._on_end: Callable[[], None] = lambda: None
        self._used_bytes = 0
        self._view = self._look()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, options: SpoolOptions, sinks: Sequence[str]) -> Spool:
        """Opens or makes the spool file; `sinks` are the ones that it waits for before it forgets a batch.

        Raises StorageError: folder missing or not writable, disk full, file damaged, another process has it.
        """
        try:
            lock = FolderLock(path.with_name(path.name + ".lock"))
        except OSError as bad:
            raise StorageError(
                f"cannot write in {path.parent}: {bad.strerror}", "choose a writable folder with --out"
            ) from bad
        try:
            store = Store(path, sinks)
        except sqlite3.Error as bad:
            lock.release()
            raise storage_error(bad, path) from bad
        except BaseException:
            lock.release()
            raise
        return cls(path, options, store, lock)

    # ---- what callers see --------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Random name of this spool, made with the file."""
        return self._store.state[SPOOL_ID].hex()

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest durable batch."""
        return self._view.last_seq

    @property
    def used_mb(self) -> float:
        """What the spool holds, in 10^6 bytes of file."""
        return self._view.used_bytes / 1e6

    @property
    def blocked(self) -> bool:
        """True while appends wait because the spool is full (WhenFull.BLOCK)."""
        return self._view.blocked

    def counters(self, sink: str) -> SinkCounters:
        """The sink's account as of the last commit."""
        return self._view.counters[sink]

    def cursor(self, sink: str) -> int:
        """Sequence number of the newest batch that the sink has passed."""
        return self._view.cursors[sink]

    def ledger(self) -> dict[str, int]:
        """Rows ever accepted, per stream."""
        return dict(self._view.ledger)

    def load_state(self, key: str) -> bytes | None:
        """What `save_state` or `append` stored under the key, also before the last restart."""
        return self._store.state.get(key)

    async def append(self, frames: Sequence[Frame], state: Mapping[str, bytes] | None = None) -> None:
        """Returns when the Frames, and the state values beside them, are on disk: all of them or, on error, none.

        With WhenFull.BLOCK it waits as long as the spool is full.
        """
        values = dict(state) if state else {}
        await self._submit(lambda store: store.save_state(values) if values else None, frames)

    async def save_state(self, values: Mapping[str, bytes]) -> None:
        """Returns when the values are on disk (twin checkpoints, the sequence of the line)."""
        await self.append((), values)

    async def read(self, sink: str, max_rows: int) -> list[Batch]:
        """Batches that the sink has not passed, oldest first: at most `max_rows` rows, at least one batch if any."""
        found = await self._submit(lambda store: store.read(sink, max_rows))
        assert isinstance(found, list)
        return found

    async def advance(self, sink: str, batches: Sequence[Batch], rejected: Sequence[RejectedRow] = ()) -> None:
        """Books batches that `read` gave as delivered, but for the rejected rows, and moves the sink's cursor."""
        await self._submit(lambda store: store.advance(sink, batches, rejected))

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` on the running loop after each commit, until the returned function is called."""
        entry = (asyncio.get_running_loop(), listener)
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry)

    async def close(self) -> None:
        """Commits what is queued, ends the thread, closes the file. Appends that still wait for room get an error."""
        if self._closed:
            return
        self._closed = True
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._on_end = lambda: _call_on(loop, ended.set)
        self._jobs.put(None)
        await ended.wait()
        self._thread.join()
        self._lock.release()

    async def _submit(self, run: Callable[[Store], object], frames: Sequence[Frame] = ()) -> object:
        if self._closed:
            raise StorageError(f"the spool {self._path} is closed")
        loop = asyncio.get_running_loop()
        job = _Job(run, loop, loop.create_future(), frames)
        self._jobs.put(job)
        return await job.future

    # ---- the writer thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        warm_up()
        closing = False
        while not closing:
            group = [self._jobs.get()]
            while len(group) < _GROUP and not self._jobs.empty():
                group.append(self._jobs.get())
            closing = None in group
            self._commit([job for job in group if job is not None])
        for job in self._waiting:
            job.error = StorageError(
                f"the spool {self._path} was full ({self._options.max_mb:g} MB) until it was closed"
            )
        self._answer(list(self._waiting))
        with suppress(sqlite3.Error):  # everything acknowledged is committed; the next open replays SQLite's log
            self._store.close()
        self._on_end()

    def _commit(self, jobs: list[_Job]) -> None:
        """One transaction for all jobs, those that waited for room first."""
        jobs = [job for job in self._waiting if not job.future.cancelled()] + jobs
        self._waiting.clear()
        done: list[_Job] = []
        newest = self._view.last_seq
        try:
            encoded = {id(job): self._encode(job) for job in jobs if job.frames}
            self._store.begin()
            # Cursors move before Frames come in: that is what makes room.
            for job in sorted(jobs, key=lambda j: bool(j.frames)):
                keep = job.error is None and not self._run(job, encoded.get(id(job), []))
                (self._waiting if keep else done).append(job)
            self._store.commit()
            if not self._waiting:
                self._store.give_back_space()
        except Exception as bad:  # whatever it is, the thread must live on to tell every caller
            done, error = jobs, storage_error(bad, self._path)
            self._waiting.clear()
            for job in jobs:
                job.error = job.error or error
            self._roll_back()
        self._view = self._look()
        self._answer(done)
        if self._view.last_seq != newest:
            for loop, listener in list(self._listeners):
                _call_on(loop, listener)

    def _run(self, job: _Job, batches: list[Encoded]) -> bool:
        """False when the job has to wait for room. Order is kept: nobody overtakes one who waits."""
        if batches:
            need = self._store.size_of(batches)
            if need > self._max_bytes:
                what = f"{need / 1e6:.1f} MB do not fit into a spool of max_mb = {self._options.max_mb:g}"
                job.error = StorageError(what, "raise spool.max_mb")
                return True
            if self._waiting:
                return False
            self._used_bytes += need  # an upper estimate; the file is asked when it comes near the bound
            if self._used_bytes > self._max_bytes:
                self._used_bytes = self._store.used_bytes() + need
            if self._used_bytes > self._max_bytes:
                if self._options.when_full is WhenFull.BLOCK:
                    return False
                self._store.drop_oldest(self._max_bytes - need)
                self._used_bytes = self._store.used_bytes() + need
            self._store.insert(batches)
        job.result = job.run(self._store)
        return True

    def _encode(self, job: _Job) -> list[Encoded]:
        try:
            return [
                Encoded(
                    f.device,
                    f.stream,
                    f.kind.value,
                    f.rows,
                    int(f.time_ns.min()) if f.rows else 0,
                    int(f.time_ns.max()) if f.rows else 0,
                    self._encoder.encode(f),
                )
                for f in job.frames
            ]
        except Exception as bad:  # one caller's bad Frame must not fail the others in its group
            job.error = bad if isinstance(bad, StorageError) else StorageError(f"a Frame cannot be stored: {bad}")
            return []

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the file itself is unreadable: every later call will say so
            self._store.rollback()

    def _look(self) -> _View:
        s = self._store
        try:
            used = s.used_bytes()
        except sqlite3.Error:
            used = self._max_bytes  # unreadable now; the callers have their errors
        cursors = {name: account.cursor for name, account in s.sinks.items()}
        self._used_bytes = used
        return _View(s.last_seq, used, dict(s.ledger), s.counters(), cursors, bool(self._waiting))

    def _answer(self, jobs: list[_Job]) -> None:
        """Wakes the callers, all of one loop with one call: a wake-up is a system call."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, mine in by_loop.items():
            _call_on(loop, lambda mine=mine: _wake(mine))  # type: ignore[misc]


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # that loop has ended; nobody waits there any more
        loop.call_soon_threadsafe(call)


def _wake(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # the caller was cancelled meanwhile
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def storage_error(bad: BaseException, path: Path) -> StorageError:
    """What SQLite's error means for the person who runs the line."""
    if isinstance(bad, StorageError):
        return bad
    name = getattr(bad, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return StorageError(f"no space left for the spool {path}", "free some disk space; nothing acknowledged is lost")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StorageError(f"the spool {path} is damaged: {bad}", "move it away to start afresh; keep it for salvage")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageError(f"cannot write the spool {path}: {bad}", "check the folder's owner and mount")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError(f"another program holds the spool {path} locked", "close it (a database browser, a backup)")
    return StorageError(f"the spool {path} failed: {bad}", "check the disk and the kernel's log")
