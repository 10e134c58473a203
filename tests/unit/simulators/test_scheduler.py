"""Scan times, the time base, and what the scan loop makes of them with a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulators.machine import Values
from simulators.process import Job, ScanLoop, device_seed, parent_watch
from simulators.scheduler import MAX_STRIDE_S, Pace, Schedule
from simulators.timebase import NS_PER_S, TimeBase
from simulators.truth import TruthWriter

S = NS_PER_S


def test_scans_lie_on_a_grid_of_plant_time() -> None:
    schedule = Schedule(start_ns=1007 * S, scan_s=1.0, speed=960.0)
    assert schedule.scan_ns == 10 * S
    assert schedule.due_ns == 1010 * S
    assert schedule.stride(1009 * S) is None
    assert schedule.stride(1010 * S) == 1010 * S
    assert schedule.stride(1019 * S) is None
    assert schedule.stride(1043 * S) == 1040 * S


def test_at_the_plants_own_speed_every_scan_is_taken() -> None:
    assert Schedule(0, 1.0, 1.0).scan_ns == S
    assert Schedule(0, 0.1, 1.0).scan_ns == S // 10


def test_a_long_gap_is_taken_in_strides_that_skip_nothing() -> None:
    schedule = Schedule(0, 1.0, 960.0)
    targets = []
    while (target := schedule.stride(1000 * S)) is not None:
        targets.append(target)
    assert targets[-1] == 1000 * S
    assert max(np.diff([0, *targets])) == MAX_STRIDE_S * S


def test_falling_behind_and_catching_up_are_told_once() -> None:
    schedule = Schedule(0, 1.0, 10.0)
    told = [schedule.pace(now * S) for now in (1, 11, 12, 30)]
    assert told == [Pace.UNCHANGED, Pace.UNCHANGED, Pace.FELL_BEHIND, Pace.UNCHANGED]
    while schedule.stride(30 * S) is not None:
        pass
    assert [schedule.pace(30 * S), schedule.pace(30 * S)] == [Pace.CAUGHT_UP, Pace.UNCHANGED]


def test_plant_time_is_the_same_line_for_every_process() -> None:
    base = TimeBase.parse("1000000000000,500000000000,960")
    assert base.plant_ns(500 * S) == 1000 * S
    assert base.plant_ns(501 * S) == 1960 * S
    assert base.wall_s_until(1960 * S, 500 * S) == pytest.approx(1.0)
    assert base.wall_s_until(1000 * S, 501 * S) == pytest.approx(-1.0)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,2,3", "1,2.5,3", "1,2,0", "1,2,-1", "1,2,nan", "1,2,inf"])
def test_a_bad_time_base_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"time base|speed"):
        TimeBase.parse(text)


def test_equal_machines_have_different_seeds() -> None:
    assert device_seed(1, "rack1") != device_seed(1, "rack2")
    assert device_seed(1, "rack1") != device_seed(2, "rack1")


def test_parent_watch() -> None:
    import os

    assert parent_watch(None)()
    assert parent_watch(os.getppid())()
    assert parent_watch(os.getpid())()
    assert not parent_watch(2**22 + 1)()  # above the kernel's highest process number


class Counter:
    """A machine that counts its seconds."""

    scan_s = 1.0
    truth_period_s = 60.0

    def __init__(self, start_ns: int) -> None:
        self.at_ns = start_ns
        self.strides: list[int] = []

    def advance(self, until_ns: int) -> None:
        assert until_ns > self.at_ns
        self.strides.append(until_ns - self.at_ns)
        self.at_ns = until_ns

    def write(self, tag: str, values: Values) -> None: ...

    def outputs(self) -> Mapping[str, Values]:
        return {"at_s": np.array([self.at_ns / S])}

    def truth(self) -> Mapping[str, Values]:
        return {"point": np.array([1.0, 2.0]), "at_s": np.full(2, self.at_ns / S)}


class Board:
    """A server that remembers what it showed; `stop` after so many scans."""

    def __init__(self, scans: int, fails: bool = False) -> None:
        self.shown: list[tuple[int, float]] = []
        self.done = asyncio.Event()
        self.calls: list[str] = []
        self._scans, self._fails = scans, fails

    async def start(self) -> None:
        self.calls.append("start")
        if self._fails:
            raise OSError(98, "address already in use")

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        self.shown.append((plant_ns, float(outputs["at_s"][0])))
        if len(self.shown) > self._scans:
            self.done.set()

    async def stop(self) -> None:
        self.calls.append("stop")


class Hands:
    """A wall clock that goes on by a step with every look at it."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self._step_ns = 0, step_ns

    def __call__(self) -> int:
        self.now_ns += self._step_ns
        return self.now_ns


def _job(tmp_path: Path, board: Board) -> tuple[Job, Counter]:
    machine = Counter(0)
    truth = TruthWriter(tmp_path, "m1")
    return Job("m1", "x://y", machine, board, truth, TimeBase(0, 0, 960.0), 0), machine


@pytest.mark.asyncio
async def test_the_scan_loop_shows_every_scan_and_records_truth_every_minute(tmp_path: Path) -> None:
    board, said = Board(scans=100), list[str]()
    job, machine = _job(tmp_path, board)
    await ScanLoop(job, said.append, said.append, Hands(3_000_000)).run(board.done, lambda: True)
    assert said == ["ready m1 x://y"]
    assert board.calls == ["start", "stop"]
    assert board.shown[0] == (0, 0.0)
    assert all(plant_ns == at_s * S for plant_ns, at_s in board.shown)
    assert sum(machine.strides) == machine.at_ns
    table = pq.read_table(tmp_path / "truth" / "m1")
    assert table.column_names == ["time", "device", "point", "at_s"]
    minutes = sorted(set(table["at_s"].to_pylist()))
    assert minutes == [60.0 * k for k in range(1, len(minutes) + 1)]
    assert table["time"].cast("int64").to_pylist() == [int(at * S) for at in table["at_s"].to_pylist()]


@pytest.mark.asyncio
async def test_a_slow_process_says_so_and_does_all_of_the_physics(tmp_path: Path) -> None:
    board, said = Board(scans=150), list[str]()
    job, machine = _job(tmp_path, board)

    class Stalls(Hands):
        def __call__(self) -> int:
            if len(board.shown) == 50 and self.now_ns < 2_000_000_000:
                self.now_ns += 2_000_000_000  # somebody stopped us for two seconds
            return super().__call__()

    await ScanLoop(job, said.append, said.append, Stalls(1_000_000)).run(board.done, lambda: True)
    assert [line for line in said[1:] if "keep up" in line] == ["m1: cannot keep up with speed 960; plant time lags"]
    assert [line for line in said[1:] if "caught up" in line] == ["m1: has caught up with speed 960"]
    assert max(machine.strides) <= MAX_STRIDE_S * S
    assert sum(machine.strides) == machine.at_ns


@pytest.mark.asyncio
async def test_an_orphan_ends_itself(tmp_path: Path) -> None:
    board = Board(scans=10**9)
    job, _ = _job(tmp_path, board)
    await ScanLoop(job, lambda _: None, lambda _: None, Hands(3_000_000)).run(
        asyncio.Event(), lambda: len(board.shown) < 20
    )
    assert len(board.shown) == 20


@pytest.mark.asyncio
async def test_a_port_in_use_is_raised_and_the_server_is_stopped(tmp_path: Path) -> None:
    board, said = Board(scans=1, fails=True), list[str]()
    job, _ = _job(tmp_path, board)
    with pytest.raises(OSError, match="address already in use"):
        await ScanLoop(job, said.append, said.append, Hands(1)).run(asyncio.Event(), lambda: True)
    assert (said, board.calls) == ([], ["start", "stop"])


def test_truth_parts_are_numbered_on_and_complete(tmp_path: Path) -> None:
    for run in range(2):
        writer = TruthWriter(tmp_path, "m1")
        writer.flush()
        for k in range(3):
            writer.add(k, {"point": np.array([1.0]), "soc": np.array([float(run)])})
            writer.flush()
    names = sorted(p.name for p in (tmp_path / "truth" / "m1").iterdir())
    assert names == [f"part-{k:05d}.parquet" for k in range(1, 7)]
    assert pq.read_table(tmp_path / "truth" / "m1")["soc"].to_pylist() == [0.0] * 3 + [1.0] * 3


def test_truth_that_cannot_be_written_is_kept_for_the_next_try(tmp_path: Path) -> None:
    writer = TruthWriter(tmp_path, "m1")
    folder = tmp_path / "truth" / "m1"
    writer.add(1, {"point": np.array([1.0])})
    folder.rmdir()
    with pytest.raises(OSError, match="part-00001"):
        writer.flush()
    folder.mkdir()
    writer.flush()
    assert pq.read_table(folder).num_rows == 1
