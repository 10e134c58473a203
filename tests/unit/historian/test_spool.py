"""The spool: durable, ordered, bounded, and every row accounted for."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.schema import Spool as SpoolOptions
from configs.schema import WhenFull
from controller.errors import StorageError
from controller.historian import RejectedRow, Spool
from controller.historian import store as store_module

OPTIONS = SpoolOptions()
SMALL = {"max_mb": 1.0}


async def drain(spool: Spool, sink: str, max_rows: int = 1000) -> list[int]:
    """Passes everything; the sequence numbers in order."""
    seqs: list[int] = []
    while batches := await spool.read(sink, max_rows):
        seqs += [b.seq for b in batches]
        await spool.advance(sink, batches)
    return seqs


async def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        await asyncio.sleep(0.001)
    pytest.fail("never came true")


def rows_in_file(path: Path) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        found = db.execute("SELECT COALESCE(SUM(rows), 0) FROM batch").fetchone()[0]
    db.close()
    return int(found)


@pytest.mark.asyncio
async def test_what_is_appended_comes_out_in_order_for_each_sink(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a", "b"])
    for k in range(5):
        await spool.append([frame(k), frame(k, rows=2, stream="rack")])
    first = await spool.read("a", 4)
    assert [b.seq for b in first] == [1]
    assert [b.seq for b in await spool.read("a", 6)] == [1, 2]
    assert first[0].frame().columns["voltage_v"].tolist() == frame(0).columns["voltage_v"].tolist()
    assert await drain(spool, "a") == list(range(1, 11))
    assert spool.ledger() == {"channel": 20, "rack": 10}
    a, b = spool.counters("a"), spool.counters("b")
    assert (a.accepted, a.delivered, a.spooled) == (30, 30, 0)
    assert (b.accepted, b.delivered, b.spooled) == (30, 0, 30)
    assert rows_in_file(tmp_path / "s.sqlite3") == 30
    assert await drain(spool, "b") == list(range(1, 11))
    assert rows_in_file(tmp_path / "s.sqlite3") == 0
    await spool.close()


@pytest.mark.asyncio
async def test_everything_is_there_after_a_restart_and_numbers_go_on(tmp_path: Path, frame) -> None:
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, OPTIONS, ["a"])
    name = spool.id
    await spool.append([frame(0), frame(1)], {"twin": b"\x00state"})
    await spool.save_state({"line": b"7"})
    await drain(spool, "a")
    await spool.close()
    await spool.close()
    spool = Spool.open(path, OPTIONS, ["a"])
    assert spool.id == name
    assert (spool.load_state("twin"), spool.load_state("line"), spool.load_state("none")) == (b"\x00state", b"7", None)
    await spool.append([frame(2)])
    assert await drain(spool, "a") == [3]
    assert spool.counters("a").delivered == 12
    await spool.close()
    with pytest.raises(StorageError, match="closed"):
        await spool.append([frame(3)])


@pytest.mark.asyncio
async def test_many_appends_at_once_are_grouped_and_all_kept(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"])
    await asyncio.gather(*(spool.append([frame(k, rows=3)]) for k in range(300)))
    assert spool.counters("a").spooled == 900
    assert spool.last_seq == 300
    await spool.close()


@pytest.mark.asyncio
async def test_rejected_rows_are_counted_and_quarantined_with_a_bound(tmp_path: Path, frame, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "QUARANTINE_ROWS", 3)
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, OPTIONS, ["a", "b"])
    for k in range(5):
        await spool.append([frame(k)])
        batches = await spool.read("a", 100)
        bad = [RejectedRow(batches[0].seq, "channel", f"line {k}", "field type conflict")]
        await spool.advance("a", batches, bad)
    counted = spool.counters("a")
    assert (counted.delivered, counted.rejected, counted.reconciles) == (15, 5, True)
    await spool.close()
    db = sqlite3.connect(path)
    assert [r[0] for r in db.execute("SELECT row FROM quarantine ORDER BY id")] == ["line 2", "line 3", "line 4"]
    db.close()


@pytest.mark.asyncio
async def test_drop_oldest_bounds_the_file_and_counts_what_it_throws_away(tmp_path: Path, frame) -> None:
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, SpoolOptions(**SMALL, when_full=WhenFull.DROP_OLDEST), ["slow", "quick"])
    for k in range(200):
        await spool.append([frame(k, rows=500)])
        if k % 3 == 0:
            await drain(spool, "quick", 10_000)
        slow, quick = spool.counters("slow"), spool.counters("quick")
        assert slow.reconciles
        assert quick.reconciles
    assert slow.accepted == 100_000
    assert slow.dropped > 0
    assert slow.spooled > 0
    assert quick.dropped == 0
    assert path.stat().st_size <= 1_000_000 + 2 * 8192
    rest = await drain(spool, "slow")
    assert rest == list(range(201 - len(rest), 201))
    assert spool.counters("slow").reconciles
    await spool.close()


@pytest.mark.asyncio
async def test_a_batch_dropped_while_it_was_being_delivered_is_booked_as_delivered(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", SpoolOptions(**SMALL), ["a"])
    await spool.append([frame(0, rows=500)])
    in_hand = await spool.read("a", 1)
    for k in range(1, 100):
        await spool.append([frame(k, rows=500)])
    before = spool.counters("a")
    await spool.advance("a", in_hand)
    after = spool.counters("a")
    assert (after.delivered, after.dropped) == (500, before.dropped - 500)
    assert after.reconciles
    await spool.advance("a", in_hand)
    assert spool.counters("a") == after
    await spool.close()


@pytest.mark.asyncio
async def test_block_holds_appends_back_in_order_until_a_sink_catches_up(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", SpoolOptions(**SMALL, when_full=WhenFull.BLOCK), ["a"])
    waiting = [asyncio.ensure_future(spool.append([frame(k, rows=500)])) for k in range(100)]
    await until(lambda: spool.blocked)
    await asyncio.sleep(0.01)
    done = sum(w.done() for w in waiting)
    assert 0 < done < 100
    assert all(w.done() for w in waiting[:done])
    waiting[-1].cancel()
    seqs = []
    while not all(w.done() for w in waiting):
        seqs += await drain(spool, "a")
    seqs += await drain(spool, "a")
    assert seqs == list(range(1, 100))
    counted = spool.counters("a")
    assert (counted.delivered, counted.dropped) == (49_500, 0)
    stuck = [asyncio.ensure_future(spool.append([frame(k, rows=500)])) for k in range(100)]
    await until(lambda: spool.blocked)
    await spool.close()
    results = await asyncio.gather(*stuck, return_exceptions=True)
    assert isinstance(results[-1], StorageError)
    assert "full" in str(results[-1])


@pytest.mark.asyncio
async def test_a_frame_that_can_never_fit_is_refused(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", SpoolOptions(**SMALL), ["a"])
    with pytest.raises(StorageError, match=r"do not fit into a spool of max_mb = 1 \(raise spool.max_mb\)"):
        await spool.append([frame(0, rows=100_000)])
    await spool.append([frame(0)])
    assert spool.counters("a").accepted == 4
    await spool.close()


@pytest.mark.asyncio
async def test_one_bad_frame_fails_its_own_append_only(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"])
    bad = frame(1, columns={"voltage_v": [1.0]})
    results = await asyncio.gather(
        spool.append([frame(0)]), spool.append([frame(5), bad]), spool.append([frame(2)]), return_exceptions=True
    )
    assert [type(r) for r in results] == [type(None), StorageError, type(None)]
    assert spool.counters("a").spooled == 8
    with pytest.raises(StorageError):
        await spool.read("nobody", 1)
    await spool.append([frame(3)])
    await spool.close()


@pytest.mark.asyncio
async def test_a_later_sink_starts_from_what_is_there_and_one_taken_out_does_not_hold_the_rest(
    tmp_path: Path, frame
) -> None:
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, OPTIONS, ["a"])
    await spool.append([frame(0), frame(1), frame(2)])
    await spool.advance("a", await spool.read("a", 4))
    await spool.close()
    spool = Spool.open(path, OPTIONS, ["a", "late"])
    late = spool.counters("late")
    assert (late.accepted, late.spooled, late.reconciles) == (8, 8, True)
    await drain(spool, "a")
    assert rows_in_file(path) == 8
    await spool.close()
    spool = Spool.open(path, OPTIONS, ["a"])  # `late` was taken out of the line file
    assert rows_in_file(path) == 0
    await spool.append([frame(3)])
    await drain(spool, "a")
    await spool.close()
    spool = Spool.open(path, OPTIONS, ["a", "late"])  # and is back
    await spool.append([frame(4)])
    assert await drain(spool, "late") == [5]
    late = spool.counters("late")
    assert (late.accepted, late.delivered, late.dropped, late.reconciles) == (16, 4, 12, True)
    assert spool.counters("a").spooled == 4
    await spool.close()


@pytest.mark.asyncio
async def test_two_controllers_on_one_folder_are_refused(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"])
    with pytest.raises(StorageError, match=rf"another controller \(process {os.getpid()}\) has the spool in"):
        Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"])
    await spool.close()
    await Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"]).close()


def test_folders_and_files_that_cannot_serve_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write in .*--out"):
        Spool.open(tmp_path / "nowhere" / "s.sqlite3", OPTIONS, ["a"])
    junk = tmp_path / "junk.sqlite3"
    junk.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"is damaged.*move it away"):
        Spool.open(junk, OPTIONS, ["a"])
    other = tmp_path / "other.sqlite3"
    db = sqlite3.connect(other)
    db.executescript("CREATE TABLE x(y); PRAGMA user_version=9;")
    db.close()
    with pytest.raises(StorageError, match="no spool of this version"):
        Spool.open(other, OPTIONS, ["a"])


@pytest.mark.asyncio
async def test_damage_in_the_middle_is_an_error_and_not_a_dead_thread(tmp_path: Path, frame) -> None:
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, OPTIONS, ["a"])
    await asyncio.gather(*(spool.append([frame(k, rows=500)]) for k in range(50)))
    await spool.close()
    size = path.stat().st_size
    with path.open("r+b") as f:
        f.seek(8192 * 8)
        f.write(os.urandom(size - 8192 * 8))
    with pytest.raises(StorageError, match="damaged"):
        spool = Spool.open(path, OPTIONS, ["a"])
        try:
            await drain(spool, "a")
        finally:
            await spool.close()


@pytest.mark.asyncio
async def test_a_full_disk_fails_the_append_and_heals(tmp_path: Path, frame) -> None:
    spool = Spool.open(tmp_path / "s.sqlite3", OPTIONS, ["a"])
    await spool.append([frame(0)])
    pages = spool._store._pragma("page_count")
    await spool._submit(lambda store: store.db.execute(f"PRAGMA max_page_count={pages}").fetchall())
    with pytest.raises(StorageError, match="no space left"):
        await spool.append([frame(1, rows=5000)])
    counted = spool.counters("a")
    assert (counted.accepted, counted.spooled) == (4, 4)
    assert spool.ledger() == {"channel": 4}
    await spool._submit(lambda store: store.db.execute("PRAGMA max_page_count=1000000").fetchall())
    await spool.append([frame(1, rows=5000)])
    assert await drain(spool, "a") == [1, 2]
    assert spool.counters("a").delivered == 5004
    await spool.close()


@pytest.mark.asyncio
async def test_a_backlog_once_gone_gives_its_disk_space_back(tmp_path: Path, frame, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "_FREE_PAGES_KEPT", 8)
    path = tmp_path / "s.sqlite3"
    spool = Spool.open(path, OPTIONS, ["a"])
    await asyncio.gather(*(spool.append([frame(k, rows=1000)]) for k in range(100)))
    await drain(spool, "a", 100_000)
    for k in range(20):
        await spool.append([frame(k)])
        await drain(spool, "a")
    await spool.close()
    assert path.stat().st_size < 40 * 8192


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from conftest import make_frame
from configs.schema import Spool as SpoolOptions
from controller.historian import Spool

async def main():
    spool = Spool.open(Path(sys.argv[1]), SpoolOptions(), ["a"])
    async def drain():
        while True:
            batches = await spool.read("a", 20)
            await spool.advance("a", batches)
            await asyncio.sleep(0.001)
    task = asyncio.create_task(drain())
    for k in range(10_000):
        await spool.append([make_frame(k), make_frame(k, rows=2, stream="rack")])
        print(k, flush=True)

asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    script = _KILLED.format(here=str(Path(__file__).parent))
    with subprocess.Popen(  # noqa: ASYNC220  nothing else runs on this loop
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        acknowledged = -1
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged == 60:
                child.kill()
        child.wait()
    spool = Spool.open(path, OPTIONS, ["a"])
    ledger, counted = spool.ledger(), spool.counters("a")
    assert ledger["channel"] >= 4 * (acknowledged + 1)
    assert ledger["channel"] == 2 * ledger["rack"]
    assert counted.reconciles
    assert counted.delivered + counted.spooled == ledger["channel"] + ledger["rack"]
    first = spool.cursor("a") + 1
    assert await drain(spool, "a") == list(range(first, spool.last_seq + 1))
    await spool.close()
