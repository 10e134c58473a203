"""Wall time to make realistic batches durable: our spool against bare SQLite (WAL, synchronous=FULL), same bytes.

Ours encodes the Frames (64 channels x 15 columns and the results beside them), hands them to the writer thread, keeps
ledger and cursors, and wakes the caller; the bare one inserts ready bytes in one transaction. The disk's sync is in
both. One case is a single poll that waits for its own commit, the other 16 polls at once (group commit against 16
transactions in one). Alone: python bench/spool_batch.py
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

import numpy as np

from configs.schema import Spool as SpoolOptions
from controller.historian import Spool
from controller.historian.codec import FrameEncoder
from controller.types import Frame, FrameKind

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

BAR = 2.0  # our time over bare SQLite's; encoding alone is a good part of one
ROUNDS, POLLS = 60, 16
COLUMNS = 15


def frame(k: int, stream: str, columns: int) -> Frame:
    """One Frame of 64 channels."""
    rng = np.random.default_rng(k)
    return Frame(
        device="rack1",
        stream=stream,
        kind=FrameKind.RAW,
        time_ns=np.full(64, 1_760_000_000_000_000_000 + k, np.int64),
        point=np.arange(1, 65, dtype=np.int32),
        point_name="channel",
        columns={f"some_quantity_{i}_v": rng.normal(3.7, 0.1, 64) for i in range(columns)},
        quality=np.zeros(64, np.uint8),
        code=np.zeros(64, np.uint32),
        labels={"lot": "CELL-0001"},
    )


class Bare:
    """The least that makes bytes durable in SQLite."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA page_size=8192")
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE batch(seq INTEGER PRIMARY KEY, payload BLOB)")

    def insert(self, payloads: list[bytes]) -> None:
        """One transaction."""
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO batch(payload) VALUES(?)", [(p,) for p in payloads])
        self.db.execute("COMMIT")


def run() -> list[Result]:
    """One poll, and many at once."""
    poll = [frame(0, "channel", COLUMNS), frame(1, "cell_state", 8)]
    payloads = [FrameEncoder().encode(f) for f in poll]
    loop = asyncio.new_event_loop()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool.open(Path(folder) / "spool.sqlite3", SpoolOptions(), ["nobody"])
        bare = Bare(Path(folder) / "bare.sqlite3")

        async def many() -> None:
            await asyncio.gather(*(spool.append(poll) for _ in range(POLLS)))

        for name, polls, ours, theirs in (
            ("spool_batch", 1, lambda: loop.run_until_complete(spool.append(poll)), lambda: bare.insert(payloads)),
            ("spool_group", POLLS, lambda: loop.run_until_complete(many()), lambda: bare.insert(payloads * POLLS)),
        ):
            mine, plain = (1e6 * s / polls for s in alternate(ours, theirs, ROUNDS))
            results.append(
                Result(
                    name=name,
                    ours=mine,
                    peer=plain,
                    peer_name="bare SQLite, WAL and FULL",
                    ratio=mine / plain,
                    bar=BAR,
                    unit="us per poll",
                    ok=mine / plain <= BAR,
                )
            )
        loop.run_until_complete(spool.close())
        bare.db.close()
    loop.close()
    return results


if __name__ == "__main__":
    main(run)
