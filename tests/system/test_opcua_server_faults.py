"""The controller's OPC UA driver against every fault of the simulated server: it reports, comes back and reads on.

`keep_going` does what the supervisor does: start again whenever the driver says that the device is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from configs.schema import Device
from controller.clock import LineClock, TimeBase
from controller.drivers.opcua import OpcUaDriver
from controller.errors import PeerError
from controller.types import Frame, Write
from tests.unit.simulators.opcua_rig import START_NS, Rig, S

SPEED = 50.0  # a scan each plant second, every 20 ms

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.asyncio]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep-alives come quickly, so that standing values leave quickly and a silent server is soon found out."""
    monkeypatch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)


class Reader:
    """A driver under supervision, and what it has read."""

    def __init__(self, rig: Rig) -> None:
        device = Device(id="press1", equipment="press", endpoint=rig.endpoint)
        self.driver = OpcUaDriver(
            device, rig.equipment, LineClock(TimeBase(START_NS, time.time_ns(), SPEED)), item_retry_s=0.3
        )
        self.frames: list[Frame] = []
        self.losses: list[PeerError] = []
        self.starts = 0

    async def keep_going(self) -> None:
        """Never gives up."""
        while True:
            try:
                await self.driver.start()
                self.starts += 1
                while True:
                    self.frames += await self.driver.read()
            except PeerError as lost:
                self.losses.append(lost)
                await asyncio.sleep(0.1)

    @property
    def force(self) -> list[tuple[int, float]]:
        """(plant second, force) of every row."""
        rows: list[tuple[int, float]] = []
        for frame in self.frames:
            if frame.stream == "press":
                seconds = (frame.time_ns - START_NS) // S
                rows += zip(seconds.tolist(), frame.columns["force_n"].tolist(), strict=True)
        return rows


@asynccontextmanager
async def reading(rig: Rig) -> AsyncIterator[Reader]:
    before = asyncio.all_tasks()
    reader = Reader(rig)
    task = asyncio.create_task(reader.keep_going())
    try:
        yield reader
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await reader.driver.stop()
        for _ in range(50):
            if asyncio.all_tasks() <= before:
                break
            await asyncio.sleep(0.02)


async def until(reached: Callable[[], bool], rig: Rig, what: str, **changes: float) -> None:
    """Scan on with a rising force until something is so."""
    for _ in range(600):
        if reached():
            return
        await rig.scan(force_n=rig.machine.held["force_n"][0] + 0.5, **changes)
        await asyncio.sleep(0.02)
    raise AssertionError(f"did not come to pass: {what}")


def new_rows(reader: Reader, more: int = 5) -> Callable[[], bool]:
    """Whether that many more good rows have come since now."""
    have = len(reader.force)
    return lambda: sum(not np.isnan(value) for _, value in reader.force[have:]) >= more


@pytest.mark.parametrize("name", ["restart", "namespace_index_changed"])
async def test_after_a_restart_it_reads_on(name: str) -> None:
    async with Rig() as rig, reading(rig) as reader:
        await until(new_rows(reader), rig, "first rows")
        rig.fault(name, down_s=5.0)
        await rig.scan()
        after = len(reader.force)
        await until(lambda: reader.starts >= 2, rig, "a fresh start")
        await until(new_rows(reader), rig, "rows after the restart")
        seconds = [second for second, value in reader.force[after:] if not np.isnan(value)]
        assert seconds == sorted(seconds)
        assert reader.driver.counters["items_missing"] == 0


async def test_nodes_with_other_identifiers_are_found_again_and_told() -> None:
    async with Rig() as rig, reading(rig) as reader:
        await until(new_rows(reader), rig, "first rows")
        rig.fault("node_ids_changed", down_s=1.0)
        await rig.scan()
        await until(lambda: reader.starts >= 2, rig, "a fresh start")
        await until(new_rows(reader), rig, "rows under the new identifiers")
        assert reader.driver.counters["items_missing"] == 0
        await reader.driver.write([Write("force_sp_n", (10.0,))])
        assert rig.machine.held["force_sp_n"][0] == 10.0
        rig.fault("node_ids_changed", on=False, down_s=1.0)
        await rig.scan()
        await until(lambda: reader.starts >= 3, rig, "another fresh start")
        await until(new_rows(reader), rig, "rows after the identifiers are back")
    told = [text for f in reader.frames if f.stream == "event" for text in f.text["message"] if "node id" in text]
    # i=77 keeps its number: it is no text identifier.
    assert len(told) == 2, told
    assert "15 of 16 tags have another node id now" in told[0]
    assert "s=Press.Force is ns=" in told[0]
    assert "15 of 16 tags have the node ids of the equipment file again" in told[1]


async def test_a_cut_costs_no_row() -> None:
    async with Rig() as rig, reading(rig) as reader:
        await until(new_rows(reader), rig, "first rows")
        first = reader.force[0][0]
        rig.fault("cut")
        for _ in range(20):
            await rig.scan(force_n=rig.machine.held["force_n"][0] + 0.5)
            await asyncio.sleep(0.01)
        rig.fault("cut", on=False)
        await until(new_rows(reader, 30), rig, "rows after the cut")
        seconds = [second for second, _ in reader.force]
        assert seconds == list(range(first, first + len(seconds)))  # the server's queue filled the hole
        assert reader.driver.counters["interruptions"] >= 1


async def test_a_black_hole_is_found_out_and_left() -> None:
    async with Rig() as rig, reading(rig) as reader:
        await until(new_rows(reader), rig, "first rows")
        rig.fault("black_hole")
        await until(
            lambda: bool(reader.losses) or reader.driver.counters["interruptions"] > 0, rig, "the silence is noticed"
        )
        rig.fault("black_hole", on=False)
        await until(new_rows(reader), rig, "rows after the black hole")


async def test_a_slow_server_is_read_all_the_same() -> None:
    async with Rig() as rig:
        rig.fault("slow", delay_s=0.05)
        async with reading(rig) as reader:
            await until(new_rows(reader, 20), rig, "rows from a slow server")
            assert reader.losses == []
            await reader.driver.write([Write("force_sp_n", (10.0,))])
            assert rig.machine.held["force_sp_n"][0] == 10.0


async def test_a_bad_status_is_no_value() -> None:
    async with Rig() as rig, reading(rig) as reader:
        await until(new_rows(reader), rig, "first rows")
        rig.fault("bad_status", tag="force_n", status="BadSensorFailure")
        await until(lambda: bool(np.isnan(reader.force[-1][1])), rig, "a row without a value")
        rig.fault("bad_status", on=False, tag="force_n")
        await until(new_rows(reader), rig, "values again")
        assert reader.losses == []


async def test_the_servers_own_clock_does_not_matter() -> None:
    async with Rig() as rig, reading(rig) as reader:
        rig.fault("server_clock_skew", skew_s=-1e6)
        await until(new_rows(reader), rig, "rows")
        seconds = [second for second, _ in reader.force]
        assert seconds == sorted(seconds)
        assert 0 <= seconds[0] < 100
