"""The scan loop with a scenario: server faults, power, quality and the log; and plant time that stays honest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from configs.loader import load_line, packaged
from simulators.faults import Settings
from simulators.faults.instruments import INSTRUMENT_FAULTS, Instruments
from simulators.faults.plant import Plant
from simulators.faults.timetable import Entry, Place, Switch
from simulators.machine import Values
from simulators.process import Job, ScanLoop
from simulators.scheduler import MAX_STRIDE_S
from simulators.servers import Quality
from simulators.timebase import NS_PER_S, TimeBase
from simulators.truth import FaultLog, TruthWriter

S = NS_PER_S
COATER = load_line(packaged("lines")["a_sample"]).equipment["coater1"]


class Web:
    """A machine whose every tag shows its plant seconds; it can be made slow."""

    scan_s = 10.0
    truth_period_s = 100.0

    def __init__(self, hands: Hands, slow_ns: int = 0) -> None:
        self.at_ns, self._hands, self._slow_ns = 0, hands, slow_ns
        self.strides: list[int] = []

    def advance(self, until_ns: int) -> None:
        self.strides.append(until_ns - self.at_ns)
        self.at_ns = until_ns
        self._hands.now_ns += self._slow_ns

    def write(self, tag: str, values: Values) -> None: ...

    def outputs(self) -> Mapping[str, Values]:
        at_s = self.at_ns / S
        return {tag.name: np.full(group.points, at_s) for group in COATER.group for tag in group.tag}

    def truth(self) -> Mapping[str, Values]:
        return {"point": np.ones(1), "at_s": np.array([self.at_ns / S])}


class Board:
    """A server that remembers everything, `done` after so many scans."""

    def __init__(self, scans: int) -> None:
        self.calls: list[tuple[str, float]] = []
        self.shown: list[tuple[int, float, Mapping[str, Quality]]] = []
        self.done = asyncio.Event()
        self._scans, self._quality = scans, dict[str, Quality]()

    @property
    def at_s(self) -> float:
        return self.shown[-1][1] if self.shown else -1.0

    async def start(self) -> None:
        self.calls.append(("start", self.at_s))

    async def stop(self) -> None:
        self.calls.append(("stop", self.at_s))

    def qualify(self, quality: Mapping[str, Quality]) -> None:
        self._quality = dict(quality)

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        if name == "refused":
            raise ValueError("not with this server")
        self.calls.append((f"{name} {'on' if on else 'off'}", self.at_s))

    async def publish(self, outputs: Mapping[str, Values], plant_ns: int) -> None:
        self.shown.append((plant_ns, float(outputs["web_speed_m_s"][0]), self._quality))
        if len(self.shown) > self._scans:
            self.done.set()


class Hands:
    """A wall clock that goes on by a step with every look at it."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self._step_ns = 0, step_ns

    def __call__(self) -> int:
        self.now_ns += self._step_ns
        return self.now_ns


def _entry(number: int, place: Place, kind: str, at_s: float, duration_s: float | None, **given: float | str) -> Entry:
    settings: Settings = given
    if place is Place.INSTRUMENT:
        settings = INSTRUMENT_FAULTS[kind].complete(kind, given)
    return Entry(number, place, kind, settings, at_s, duration_s)


async def _run(
    folder: Path, entries: Sequence[Entry], scans: int, speed: float = 1000.0, slow_ns: int = 0
) -> tuple[Board, Web, list[str]]:
    hands, board, said = Hands(2_000_000), Board(scans), list[str]()
    machine, log = Web(hands, slow_ns), FaultLog(folder, "m1", "trial")

    def note(switch: Switch, refused: str) -> None:
        log.add(switch, refused)

    plant = Plant(machine, COATER, entries, Instruments(COATER, 1), 0, 0, note)
    truth = TruthWriter(folder, "m1")
    job = Job("m1", "x://y", machine, board, truth, TimeBase(0, 0, speed), 0, plant, log)
    await ScanLoop(job, said.append, said.append, hands).run(board.done, lambda: True)
    return board, machine, said


@pytest.mark.asyncio
async def test_server_faults_begin_and_end_with_the_scan_of_their_plant_time_and_are_logged(tmp_path: Path) -> None:
    entries = (
        _entry(1, Place.SERVER, "cut", 105.0, 60.0, share=0.5),
        _entry(2, Place.SERVER, "refused", 300.0, None),
        _entry(3, Place.SERVER, "slow", 0.0, None),
    )
    board, _, _ = await _run(tmp_path, entries, 60)
    assert board.calls == [
        ("start", 0.0),
        ("slow on", 0.0),
        ("cut on", 100.0),
        ("cut off", 160.0),
        ("stop", board.at_s),
    ]
    rows = pq.read_table(tmp_path / "truth" / "m1" / "faults.parquet").to_pylist()
    assert [(row["time"].value // S, row["kind"], row["event"]) for row in rows] == [
        (0, "slow", "begin"),
        (105, "cut", "begin"),
        (165, "cut", "end"),
        (300, "refused", "begin"),
    ]
    assert [row["refused"] for row in rows] == ["", "", "", "not with this server"]
    assert (rows[1]["scenario"], rows[1]["entry"], rows[1]["place"], rows[1]["settings"]) == (
        "trial",
        1,
        "server",
        '{"share": 0.5}',
    )


@pytest.mark.asyncio
async def test_without_power_nothing_is_shown_and_the_server_is_down(tmp_path: Path) -> None:
    board, machine, _ = await _run(tmp_path, (_entry(1, Place.POWER, "power_fail", 200.0, 100.0, down_s=100.0),), 60)
    assert board.calls[:3] == [("start", 0.0), ("stop", 190.0), ("start", 200.0)]
    stamps = [plant_ns // S for plant_ns, _, _ in board.shown]
    assert [stamp for stamp in stamps if 200 <= stamp < 300] == []
    assert 300 in stamps
    assert machine.at_ns == max(plant_ns for plant_ns, _, _ in board.shown) - 100 * S  # it stood still


@pytest.mark.asyncio
async def test_quality_and_stamps_reach_a_server_that_shows_them(tmp_path: Path) -> None:
    entries = (
        _entry(1, Place.INSTRUMENT, "bad_quality", 100.0, 50.0, tags="web_speed_m_s"),
        _entry(2, Place.INSTRUMENT, "clock_jump", 300.0, 100.0, by_s=-1000.0),
    )
    board, _, _ = await _run(tmp_path, entries, 60)
    bad = [plant_ns // S for plant_ns, value, quality in board.shown if quality == {"web_speed_m_s": Quality.BAD}]
    assert bad == [100, 110, 120, 130, 140]
    assert all(np.isnan(value) == bool(quality) for _, value, quality in board.shown)
    wrong = [(plant_ns // S, value) for plant_ns, value, _ in board.shown if plant_ns < 0]
    assert wrong == [(value - 1000, value) for value in range(300, 400, 10)]


@pytest.mark.asyncio
@pytest.mark.parametrize("speed", [200.0, 2000.0])
async def test_a_plant_that_cannot_keep_up_says_so_and_stays_honest(tmp_path: Path, speed: float) -> None:
    """Each advance costs more wall time than its stride lasts: late for ever, but nothing is skipped or misdated."""
    entries = (_entry(1, Place.INSTRUMENT, "offset", 1234.5, 777.7, tags="web_speed_m_s", by=1e6),)
    board, machine, said = await _run(tmp_path, entries, 120, speed, slow_ns=round(100 * S / speed))
    assert [line for line in said if "keep up" in line] == [f"m1: cannot keep up with speed {speed:g}; plant time lags"]
    assert sum(machine.strides) == machine.at_ns
    assert max(machine.strides) <= MAX_STRIDE_S * S
    for plant_ns, value, _ in board.shown:
        broken = 1234.5 <= plant_ns / S < 1234.5 + 777.7
        assert value == plant_ns / S + (1e6 if broken else 0.0)
    rows = pq.read_table(tmp_path / "truth" / "m1" / "faults.parquet").to_pylist()
    assert [row["time"].value / S for row in rows] == [1234.5, 1234.5 + 777.7]
    table = pq.read_table(sorted((tmp_path / "truth" / "m1").glob("part-*.parquet")))
    assert table["at_s"].to_pylist() == [100.0 * k for k in range(1, table.num_rows + 1)]


def test_a_log_that_cannot_be_written_is_kept_for_the_next_try(tmp_path: Path) -> None:
    log = FaultLog(tmp_path, "m1", "trial")
    log.flush()
    assert not (tmp_path / "truth").exists()
    log.add(Switch(5, True, _entry(1, Place.SERVER, "cut", 0.0, None)))
    (tmp_path / "truth").write_text("in the way")
    with pytest.raises(OSError, match="truth"):
        log.flush()
    (tmp_path / "truth").unlink()
    log.flush()
    log.add(Switch(6, False, _entry(1, Place.SERVER, "cut", 0.0, None)), "no")
    log.flush()
    rows = pq.read_table(tmp_path / "truth" / "m1" / "faults.parquet").to_pylist()
    assert [(row["event"], row["refused"]) for row in rows] == [("begin", ""), ("end", "no")]
