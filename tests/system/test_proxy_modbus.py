"""The Modbus driver and its supervisor behind the fault proxy: no answer is ever taken for another, data come again.

The rack answers two blocks of equal length, each with its own mark, a count and a stamp of the moment of the answer: an
answer that was taken for another shows in the mark, one of an earlier request in a stamp from before the question.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from configs.schema import Device, Equipment
from controller.clock import LineClock
from controller.drivers.modbus import ModbusDriver
from controller.errors import DeviceLostError
from controller.gateway.supervisor import BackOff, DeviceTask
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.types import ConnectionState, Frame, FrameKind, TimeSource
from simulators.proxy.kinds import NETWORK_FAULTS, Begun, Direction, Draws
from simulators.proxy.proxy import FaultProxy
from tests.system.modbus_device import START_S, RawRack

pytestmark = [pytest.mark.long, pytest.mark.system]

TIMEOUT_S = 0.15
PERIOD_S = 0.02
MARKS = {"first": 1.0, "second": 2.0}
START_AT = {"first": 100, "second": 300}


def _group(name: str) -> dict[str, object]:
    at = START_AT[name]
    tags = [
        {"name": f"{name}_mark", "address": at, "type": "float32"},
        {"name": f"{name}_count", "address": at + 2, "type": "uint32"},
        {"name": f"{name}_s", "address": at + 4, "type": "uint32"},
        {"name": f"{name}_ms", "address": at + 6, "type": "uint16"},
    ]
    clock = {"seconds": f"{name}_s", "milliseconds": f"{name}_ms"}
    return {"name": name, "table": "input", "period_s": PERIOD_S, "clock": clock, "tag": tags}


EQUIPMENT = Equipment.model_validate(
    {
        "name": "marked_rack",
        "title": "Two blocks that look alike",
        "protocol": "modbus",
        "modbus": {"timeout_s": TIMEOUT_S},
        "group": [_group(name) for name in MARKS],
    }
)


class MarkedRack(RawRack):
    """Every answer is made when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self._began_s = 0.0

    def now_ms(self) -> int:
        """Milliseconds of the device's clock; everyone in the test reads this one."""
        loop_s = asyncio.get_running_loop().time()
        self._began_s = self._began_s or loop_s
        return int((loop_s - self._began_s) * 1000) + 1000

    def answer(self, pdu: bytes) -> bytes:
        self.answered += 1
        second, ms = divmod(self.now_ms(), 1000)
        for name, at in START_AT.items():
            struct.pack_into(">fIIH", self.input, 2 * at, MARKS[name], self.answered, START_S + second, ms)
        return super().answer(pdu)


class Watch:
    """A driver under its supervisor, and what came of it. Every row is judged as it comes."""

    def __init__(self, rack: MarkedRack, port: int) -> None:
        device = Device(id="rack1", equipment="marked_rack", endpoint=f"modbus.tcp://127.0.0.1:{port}/1")
        self.driver = ModbusDriver(device, EQUIPMENT, LineClock())
        self._rack = rack
        self._asked_ms = 0
        self._last: dict[str, int] = {}
        self._detector = GapDetector({("rack1", name): StreamRule(PERIOD_S, polled=True) for name in MARKS})
        self.rows = 0
        self.losses: list[str] = []
        self.gaps: list[Frame] = []
        self.task = DeviceTask(self.driver, BackOff(0.02, 0.05), self.frames, self.state, random.Random(1))

    async def frames(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.kind is FrameKind.RECORD:  # what the driver says of the rack's clock
                continue
            assert frame.time_source is TimeSource.DEVICE
            assert frame.columns[f"{frame.stream}_mark"].tolist() == [MARKS[frame.stream]], "the other block's answer"
            count = int(frame.columns[f"{frame.stream}_count"][0])
            assert count > self._last.get(frame.stream, 0), "an answer that was taken before"
            # Stamps are whole milliseconds.
            assert int(frame.time_ns[0]) // 10**6 - START_S * 1000 >= self._asked_ms, (
                "the answer to an earlier question"
            )
            self._last[frame.stream] = count
            self.rows += 1
            gap = self._detector.observe(frame)
            self.gaps += [gap] if gap is not None else []
        self._asked_ms = self._rack.now_ms()

    def state(self, device: str, state: ConnectionState, detail: str) -> None:
        if state is ConnectionState.CONNECTED:
            self._asked_ms = self._rack.now_ms()
        if state is ConnectionState.BACKING_OFF:
            self.losses.append(detail)
            self._detector.broken(device, detail, START_S * 10**9 + self._rack.now_ms() * 10**6)

    async def more_rows(self, count: int) -> None:
        """Until that many rows more have come."""
        wanted, end = self.rows + count, asyncio.get_running_loop().time() + 10
        while self.rows < wanted:
            assert asyncio.get_running_loop().time() < end, f"no more rows: {self.losses[-3:]}"
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watched(rack: MarkedRack, seed: int = 1) -> AsyncIterator[tuple[FaultProxy, Watch]]:
    server = await asyncio.start_server(rack.serve, "127.0.0.1", 0)
    proxy = FaultProxy(("127.0.0.1", 0), ("127.0.0.1", server.sockets[0].getsockname()[1]), modbus=True, seed=seed)
    await proxy.start()
    watch = Watch(rack, proxy.port)
    running = asyncio.create_task(watch.task.run())
    try:
        await watch.more_rows(4)
        yield proxy, watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await proxy.stop()
        server.close()
        for writer in set(rack.writers):
            writer.close()
        await rack.idle.wait()
    assert not [line for line in watch.losses if "fault in celltwin" in line], watch.losses


def begin(proxy: FaultProxy, kind: str, **settings: float | str) -> Callable[[], None]:
    full = NETWORK_FAULTS[kind].complete(kind, settings)
    proxy.fault(kind, True, full)
    return lambda: proxy.fault(kind, False, full)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("net_cut", {}),
        ("net_black_hole", {}),
        ("net_black_hole", {"after": "reset", "direction": "to_client"}),
        ("net_reset", {}),
        ("net_reset", {"after_bytes": 30}),
    ],
)
async def test_what_breaks_off_leaves_a_gap_and_no_wrong_value(kind: str, settings: dict[str, float | str]) -> None:
    async with watched(MarkedRack()) as (proxy, watch):
        end = begin(proxy, kind, **settings)
        await asyncio.sleep(0.65)  # a silence of more than half a second is a gap at any period
        end()
        await watch.more_rows(20)
        assert watch.losses
        if settings.get("after_bytes"):  # the first block's answer still passed at each connection
            return
        assert {gap.labels["of_stream"] for gap in watch.gaps} == set(MARKS)
        assert all("rack1 (modbus.tcp://127.0.0.1:" in gap.text["reason"][0] for gap in watch.gaps)
        assert all(gap.columns["duration_s"][0] > 0.5 for gap in watch.gaps)


@pytest.mark.asyncio
async def test_a_half_open_connection_is_left_for_a_new_one() -> None:
    rack = MarkedRack()
    async with watched(rack) as (proxy, watch):
        end = begin(proxy, "net_half_open")
        await watch.more_rows(10)  # while it lasts
        assert "did not answer within 0.15 s" in watch.losses[0]
        end()
        await watch.more_rows(10)
        assert len(watch.losses) == 1
        assert rack.connections == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("net_delay", {"delay_s": 0.03, "jitter_s": 0.03}),
        ("net_bandwidth", {"bytes_per_s": 4000}),
        ("net_fragment", {"bytes": 3, "gap_s": 0.0005}),
        ("net_duplicate", {}),
        ("net_duplicate", {"order": "after_next"}),
        ("net_late", {"share": 0.3, "hold_s": 0.05}),
    ],
)
async def test_what_only_annoys_costs_no_connection(kind: str, settings: dict[str, float | str]) -> None:
    rack = MarkedRack()
    async with watched(rack) as (proxy, watch):
        begin(proxy, kind, **settings)
        await watch.more_rows(16)
        assert proxy.counters.applied[kind] > 3
        assert not watch.losses
        assert rack.connections == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("settings", [{"connection": "lost"}, {"connection": "next"}])
async def test_a_reply_that_comes_too_late_answers_nothing(settings: dict[str, float | str]) -> None:
    """With `next` it comes on the connection after, where it has the length and could have the number of an answer."""
    rack = MarkedRack()
    async with watched(rack) as (proxy, watch):
        begin(proxy, "net_late", share=0.2, hold_s=60.0, **settings)
        await watch.more_rows(30)
        assert proxy.counters.applied["net_late"] >= 2
        assert rack.connections >= 3


def _first_late_then_not() -> int:
    """A seed with which the first reply of the first connection is late, and that of the second is not."""
    fault = Begun("net_late", 1, {"share": 0.5})
    for seed in range(100):
        first, second = (Draws(seed, k, Direction.TO_CLIENT).of(fault).random() for k in (1, 2))
        if first < 0.5 <= second:
            return seed
    raise AssertionError


@pytest.mark.asyncio
async def test_a_first_reply_that_comes_first_on_the_next_connection_is_not_its_first() -> None:
    """Same block, same length, both the first of their connection: nothing but their numbers tells them apart."""
    rack = MarkedRack()
    server = await asyncio.start_server(rack.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = FaultProxy(("127.0.0.1", 0), ("127.0.0.1", port), modbus=True, seed=_first_late_then_not())
    await proxy.start()
    begin(proxy, "net_late", share=0.5, hold_s=60.0, connection="next")
    driver = Watch(rack, proxy.port).driver
    try:
        await driver.start()
        with pytest.raises(DeviceLostError, match="did not answer"):
            await driver.read()
        while proxy.open_connections:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await driver.start()
        asked_ms = rack.now_ms()
        frames = [frame for frame in await driver.read() if frame.stream == "first"]
        assert [int(f.time_ns[0]) // 10**6 - START_S * 1000 >= asked_ms for f in frames] == [True]
    finally:
        await driver.stop()
        await proxy.stop()
        server.close()
        await rack.idle.wait()


@pytest.mark.asyncio
async def test_all_of_it_at_once() -> None:
    async with watched(MarkedRack(), seed=7) as (proxy, watch):
        begin(proxy, "net_delay", delay_s=0.01, jitter_s=0.01)
        begin(proxy, "net_fragment", bytes=9, gap_s=0.0005)
        begin(proxy, "net_duplicate", share=0.5, order="after_next")
        begin(proxy, "net_late", share=0.1, hold_s=60.0, connection="next")
        await watch.more_rows(6)
        begin(proxy, "net_cut")()
        await watch.more_rows(6)
        begin(proxy, "net_reset", after_bytes=100)
        await watch.more_rows(6)
