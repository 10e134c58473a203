"""The device task: keeps reading through every failure, backs off, and tells its state."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import numpy as np
import pytest

from controller.drivers.soft import SoftDriver
from controller.errors import DeviceLostError, DeviceRefusedError, ProtocolError
from controller.gateway.supervisor import BackOff, DeviceTask
from controller.types import ConnectionState, Frame, FrameKind


def frame(value: float) -> Frame:
    one = np.array([value])
    return Frame(
        "rack1",
        "channel",
        FrameKind.RAW,
        np.array([int(value)], dtype=np.int64),
        np.ones(1, dtype=np.int32),
        "channel",
        {"voltage_v": one},
        np.zeros(1, dtype=np.uint8),
        np.zeros(1, dtype=np.uint32),
    )


class Seen:
    """Collects what the task hands over, and can fail once as a pipeline with a fault would."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.states: list[ConnectionState] = []
        self.details: list[str] = []
        self.fail_once = False
        self.changed = asyncio.Event()

    async def frames(self, frames: Sequence[Frame]) -> None:
        if self.fail_once:
            self.fail_once = False
            raise RuntimeError("a fault of ours")
        self.values += [float(f.columns["voltage_v"][0]) for f in frames]
        self.changed.set()

    def state(self, device: str, state: ConnectionState, detail: str) -> None:
        assert device == "rack1"
        self.states.append(state)
        self.details.append(detail)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.values) < count:
                self.changed.clear()
                await self.changed.wait()


async def run_until(driver: SoftDriver, seen: Seen, count: int) -> None:
    task = asyncio.create_task(
        DeviceTask(driver, BackOff(0.001, 0.01), seen.frames, seen.state, random.Random(1)).run()
    )
    try:
        await seen.until(count)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_lost_device_is_started_again_and_its_data_go_on() -> None:
    driver = SoftDriver(
        "rack1", [frame(1.0), DeviceLostError("cable"), frame(2.0), ProtocolError("garbage"), frame(3.0)]
    )
    driver.start_errors.append(DeviceLostError("refused"))
    seen = Seen()
    await run_until(driver, seen, 3)
    assert seen.values == [1.0, 2.0, 3.0]
    assert driver.starts == 4
    assert driver.stops >= driver.starts
    assert seen.states[-1] is ConnectionState.STOPPED
    assert [d for d in seen.details if d] == ["refused", "cable", "garbage"]


@pytest.mark.asyncio
async def test_a_refused_read_costs_neither_the_connection_nor_the_other_groups() -> None:
    refusal = DeviceRefusedError("exception 2 at register 5000", code=2)
    driver = SoftDriver("rack1", [frame(1.0), refusal, frame(2.0), refusal, frame(3.0)])
    seen = Seen()
    await run_until(driver, seen, 3)
    assert driver.starts == 1
    assert [d for d in seen.details if d] == ["exception 2 at register 5000"]


@pytest.mark.asyncio
async def test_a_fault_of_ours_does_not_end_the_task() -> None:
    driver = SoftDriver("rack1", [frame(1.0), frame(2.0)])
    seen = Seen()
    seen.fail_once = True
    await run_until(driver, seen, 1)
    assert seen.values == [2.0]
    assert any("fault in celltwin: RuntimeError" in d for d in seen.details)


@pytest.mark.asyncio
async def test_loss_and_recovery_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    driver = SoftDriver("rack1", [frame(1.0), DeviceLostError("cable"), frame(2.0)])
    driver.start_errors.extend([DeviceLostError("refused")] * 3)
    seen = Seen()
    await run_until(driver, seen, 2)
    said = [r.message for r in caplog.records]
    assert said == [
        "rack1: lost: refused",
        "rack1: back after 3 attempt(s)",
        "rack1: lost: cable",
        "rack1: back after 1 attempt(s)",
    ]


def test_back_off_doubles_to_its_bound_and_is_spread_by_half() -> None:
    back_off = BackOff(0.5, 30.0)
    assert [back_off.delay_s(n, 1.0) for n in (1, 2, 3, 7, 100)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert back_off.delay_s(3, 0.0) == 1.0
