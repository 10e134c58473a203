"""The spool's SQLite file: batches, ledger, cursors, quarantine, state. One thread calls this; no asyncio in here.

Every public method but `read` runs inside a transaction that the caller opens and closes with `begin` and `commit`
(or `rollback`). The numbers kept in memory are copies of what the file says; after a rollback they are read again.

Accounting, per sink: accepted - base = delivered + rejected + dropped + spooled. `base` is what had left the spool
before the sink existed. `spooled` is counted from the batches themselves, never inferred, so the equation is a check.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controller.errors import StorageError
from controller.historian.batch import Batch, RejectedRow
from controller.types import SinkCounters

APPLICATION_ID = 0x43545350  # "CTSP", in the file's header: this is ours
FORMAT = 1
SPOOL_ID = "spool.id"
"""State key of 16 random bytes that name this spool for ever: sinks tell by it whose sequence numbers they hold."""
QUARANTINE_ROWS = 1000
"""Rejected rows kept per sink with text and reason; older ones leave, their count stays."""
_QUARANTINE_TEXT = 2000
_PAGE = 8192
_VACUUM_PAGES = 64
_FREE_PAGES_KEPT = 2048  # 16 MB stay allocated for reuse before the file is made smaller

_SCHEMA = """
CREATE TABLE batch(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, stream TEXT NOT NULL, kind TEXT NOT NULL,
  rows INTEGER NOT NULL, bytes INTEGER NOT NULL, time_min INTEGER NOT NULL, time_max INTEGER NOT NULL,
  payload BLOB NOT NULL);
CREATE TABLE ledger(stream TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sink(
  name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, base INTEGER NOT NULL, delivered INTEGER NOT NULL,
  rejected INTEGER NOT NULL, dropped INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantine(
  id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, seq INTEGER NOT NULL, stream TEXT NOT NULL,
  row TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One Frame ready to be stored."""

    device: str
    stream: str
    kind: str
    rows: int
    time_min_ns: int
    time_max_ns: int
    payload: bytes = field(repr=False)


@dataclass(slots=True)
class _SinkRow:
    """A sink's account, and what is only in memory: how far it has read and what was dropped under its hands."""

    cursor: int
    base: int
    delivered: int
    rejected: int
    dropped: int
    spooled: int
    read_to: int = 0
    dropped_while_read: dict[int, int] = field(default_factory=dict)


class Store:
    """The open file. Construction creates or checks it; errors are sqlite3.Error or StorageError."""

    def __init__(self, path: Path, sinks: Sequence[str]) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        self._freed = True
        try:
            self._prepare(path)
            self.begin()
            self._join(sinks)
            self.commit()
        except BaseException:
            self.db.close()
            raise

    def _prepare(self, path: Path) -> None:
        # Pages of 8 kB took the least CPU for batches of about 10 kB; both settings act on a new file only.
        for pragma in (f"page_size={_PAGE}", "auto_vacuum=INCREMENTAL", "journal_mode=WAL"):
            self.db.execute(f"PRAGMA {pragma}")
        # FULL: a commit is on the platter before append returns. Freed pages are not overwritten with zeros (Debian's
        # build would), that doubles the writing. The log shrinks back to 16 MB after a burst.
        for pragma in ("synchronous=FULL", "secure_delete=OFF", f"journal_size_limit={16 << 20}"):
            self.db.execute(f"PRAGMA {pragma}")
        if self._pragma("schema_version") == 0:
            mark = f"PRAGMA user_version={FORMAT}; PRAGMA application_id={APPLICATION_ID};"
            name = f"INSERT INTO state VALUES('{SPOOL_ID}', X'{uuid.uuid4().hex}');"
            self.db.executescript(f"BEGIN; {_SCHEMA} {mark} {name} COMMIT;")
        found = self._pragma("user_version")
        if found != FORMAT:
            raise StorageError(
                f"{path} is no spool of this version (format {found}, expected {FORMAT})",
                "move the file away or run the version that wrote it",
            )

    def _pragma(self, name: str) -> int:
        return int(self.db.execute(f"PRAGMA {name}").fetchone()[0])

    def begin(self) -> None:
        """Opens the transaction that everything below goes into."""
        self.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Durable from here on."""
        for stream in self._touched_streams:
            self.db.execute("INSERT OR REPLACE INTO ledger VALUES(?,?)", (stream, self.ledger[stream]))
        for name in self._touched_sinks:
            s = self.sinks[name]
            self.db.execute(
                "UPDATE sink SET cursor=?, delivered=?, rejected=?, dropped=? WHERE name=?",
                (s.cursor, s.delivered, s.rejected, s.dropped, name),
            )
        if self._touched_sinks:
            self._delete_passed()
        self.db.execute("COMMIT")
        self._touched_streams.clear()
        self._touched_sinks.clear()

    def rollback(self) -> None:
        """Undoes the transaction, in the file and in memory."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        reading = {name: (s.read_to, s.dropped_while_read) for name, s in self.sinks.items()}
        self._load(tuple(self.sinks))
        for name, (read_to, dropped) in reading.items():
            self.sinks[name].read_to, self.sinks[name].dropped_while_read = read_to, dropped

    def _join(self, sinks: Sequence[str]) -> None:
        """Makes the sinks' accounts. A new sink starts from what is there; one that was away lost what is gone."""
        self._load(())
        total = sum(self.ledger.values())
        oldest = self.db.execute("SELECT MIN(seq) FROM batch").fetchone()[0]
        before = self.last_seq if oldest is None else oldest - 1
        here = self._rows_after(0)
        for name in sinks:
            fresh = (name, before, total - here)
            self.db.execute("INSERT OR IGNORE INTO sink VALUES(?,?,?,0,0,0)", fresh)
            cursor, known = self.db.execute(
                "SELECT cursor, base + delivered + rejected + dropped FROM sink WHERE name=?", (name,)
            ).fetchone()
            if cursor < before:
                gone = total - known - here
                self.db.execute("UPDATE sink SET cursor=?, dropped=dropped+? WHERE name=?", (before, gone, name))
        self._load(sinks)
        if sinks:
            self._delete_passed()

    def _load(self, sinks: Iterable[str]) -> None:
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name='batch'").fetchone()
        self.last_seq = int(row[0]) if row else 0
        self.ledger: dict[str, int] = dict(self.db.execute("SELECT stream, rows FROM ledger"))
        self.state: dict[str, bytes] = dict(self.db.execute("SELECT key, value FROM state"))
        self.sinks: dict[str, _SinkRow] = {}
        for name in sinks:
            sql = "SELECT cursor, base, delivered, rejected, dropped FROM sink WHERE name=?"
            cursor, base, delivered, rejected, dropped = self.db.execute(sql, (name,)).fetchone()
            self.sinks[name] = _SinkRow(cursor, base, delivered, rejected, dropped, self._rows_after(cursor))
        self._touched_streams: set[str] = set()
        self._touched_sinks: set[str] = set()

    def _rows_after(self, seq: int) -> int:
        return int(self.db.execute("SELECT COALESCE(SUM(rows), 0) FROM batch WHERE seq > ?", (seq,)).fetchone()[0])

    def used_bytes(self) -> int:
        """Bytes of the file's pages that hold something; the rest is free for reuse."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * _PAGE

    @staticmethod
    def size_of(batches: Sequence[Encoded]) -> int:
        """Upper estimate of what the batches take in the file, in bytes: whole pages and one for the tree."""
        return sum((len(b.payload) // (_PAGE - 64) + 2) * _PAGE for b in batches)

    def insert(self, batches: Sequence[Encoded]) -> None:
        """Adds batches with the next sequence numbers and counts their rows."""
        rows = []
        for b in batches:
            self.last_seq += 1
            head = (self.last_seq, b.device, b.stream, b.kind, b.rows, len(b.payload), b.time_min_ns, b.time_max_ns)
            rows.append((*head, b.payload))
            self.ledger[b.stream] = self.ledger.get(b.stream, 0) + b.rows
            self._touched_streams.add(b.stream)
            for sink in self.sinks.values():
                sink.spooled += b.rows
        self.db.executemany("INSERT INTO batch VALUES(?,?,?,?,?,?,?,?,?)", rows)

    def drop_oldest(self, limit_bytes: int) -> None:
        """Throws the oldest batches away until at most `limit_bytes` are in use, and books their rows as dropped."""
        while self.used_bytes() > limit_bytes:
            oldest = self.db.execute("SELECT seq, rows FROM batch ORDER BY seq LIMIT 8").fetchall()
            if not oldest:
                return
            last = oldest[-1][0]
            for name, sink in self.sinks.items():
                for seq, rows in oldest:
                    if seq > sink.cursor:
                        sink.dropped += rows
                        sink.spooled -= rows
                        if seq <= sink.read_to:
                            sink.dropped_while_read[seq] = rows
                sink.cursor = max(sink.cursor, last)
                self._touched_sinks.add(name)
            self.db.execute("DELETE FROM batch WHERE seq <= ?", (last,))

    def read(self, sink: str, max_rows: int) -> list[Batch]:
        """Batches after the sink's cursor, oldest first, together at most `max_rows` rows but at least one batch."""
        account, rows = self.sinks[sink], 0
        found: list[Batch] = []
        sql = "SELECT seq, stream, rows, payload FROM batch WHERE seq > ? ORDER BY seq"
        cursor = self.db.execute(sql, (account.cursor,))
        for row in cursor:
            rows += row[2]
            if found and rows > max_rows:
                break
            found.append(Batch(*row))
        cursor.close()
        if found:
            account.read_to = found[-1].seq
        return found

    def advance(self, sink: str, batches: Sequence[Batch], rejected: Sequence[RejectedRow]) -> None:
        """Moves the cursor past batches that `read` gave, and books every row as delivered or rejected.

        A batch that was dropped while the sink had it in hand did arrive after all: it is booked over.
        """
        account = self.sinks[sink]
        refused: dict[int, int] = {}
        for r in rejected:
            refused[r.seq] = refused.get(r.seq, 0) + 1
        for b in batches:
            bad = min(refused.get(b.seq, 0), b.rows)
            if b.seq > account.cursor:
                account.spooled -= b.rows
                account.cursor = b.seq
            elif account.dropped_while_read.pop(b.seq, None) is not None:
                account.dropped -= b.rows
            else:
                continue
            account.delivered += b.rows - bad
            account.rejected += bad
        account.dropped_while_read.clear()
        self._touched_sinks.add(sink)
        self._quarantine(sink, rejected)

    def _quarantine(self, sink: str, rejected: Sequence[RejectedRow]) -> None:
        if not rejected:
            return
        self.db.executemany(
            "INSERT INTO quarantine(sink, seq, stream, row, reason) VALUES(?,?,?,?,?)",
            [(sink, r.seq, r.stream, r.row[:_QUARANTINE_TEXT], r.reason[:_QUARANTINE_TEXT]) for r in rejected],
        )
        self.db.execute(
            "DELETE FROM quarantine WHERE sink=?1 AND id <= (SELECT id FROM quarantine WHERE sink=?1"
            " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (sink, QUARANTINE_ROWS),
        )

    def _delete_passed(self) -> None:
        passed = min(s.cursor for s in self.sinks.values())
        self._freed |= self.db.execute("DELETE FROM batch WHERE seq <= ?", (passed,)).rowcount > 0

    def save_state(self, values: Mapping[str, bytes]) -> None:
        """Stores named values of others; the last one wins."""
        self.db.executemany("INSERT OR REPLACE INTO state VALUES(?,?)", list(values.items()))
        self.state.update(values)

    def give_back_space(self) -> None:
        """Returns some free pages to the file system: a backlog once survived does not hold the disk for ever."""
        if not self._freed:
            return
        free = self._pragma("freelist_count") - _FREE_PAGES_KEPT
        if free > 0:
            # A script, because `execute` stops after the pragma's first step, which is one page.
            self.db.executescript(f"PRAGMA incremental_vacuum({min(free, _VACUUM_PAGES)})")
        self._freed = free > _VACUUM_PAGES

    def counters(self) -> dict[str, SinkCounters]:
        """Every sink's account as of the last commit."""
        total = sum(self.ledger.values())
        return {
            name: SinkCounters(name, total - s.base, s.delivered, s.spooled, s.rejected, s.dropped)
            for name, s in self.sinks.items()
        }

    def close(self) -> None:
        """Closes the file; SQLite folds its log into it."""
        self.db.close()
