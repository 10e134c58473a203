"""The soft driver keeps the contract that the gateway relies on."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from controller.drivers.base import Driver
from controller.drivers.soft import SoftDriver
from controller.errors import CommandError, DeviceLostError, DeviceRefusedError
from controller.types import Frame, FrameKind, Write


def frame(second: int) -> Frame:
    return Frame(
        device="d", stream="s", kind=FrameKind.RAW, time_ns=np.array([second * 10**9]), point=np.zeros(1, np.int32),
        point_name="", columns={"x": np.array([1.0])}, quality=np.zeros(1, np.uint8), code=np.zeros(1, np.uint32),
    )  # fmt: skip


@pytest.mark.asyncio
async def test_script_then_feed_then_wait() -> None:
    soft = SoftDriver("d", [frame(1), [frame(2), frame(3)]])
    driver: Driver = soft
    with pytest.raises(DeviceLostError, match="not connected"):
        await driver.read()
    await driver.start()
    assert [len(await driver.read()), len(await driver.read())] == [1, 2]
    waiting = asyncio.create_task(driver.read())
    await asyncio.sleep(0)
    soft.feed(frame(4))
    assert (await waiting)[0].time_ns.tolist() == [4 * 10**9]


@pytest.mark.asyncio
async def test_errors_come_in_their_place_and_a_loss_needs_a_start() -> None:
    soft = SoftDriver("d", [DeviceRefusedError("no"), frame(1), DeviceLostError("gone"), frame(2)])
    soft.start_errors.append(DeviceLostError("away"))
    with pytest.raises(DeviceLostError, match="away"):
        await soft.start()
    await soft.start()
    with pytest.raises(DeviceRefusedError):
        await soft.read()
    await soft.read()
    with pytest.raises(DeviceLostError, match="gone"):
        await soft.read()
    with pytest.raises(DeviceLostError, match="not connected"):
        await soft.read()
    await soft.start()
    assert len(await soft.read()) == 1
    assert (soft.starts, soft.waiting) == (3, 0)


@pytest.mark.asyncio
async def test_stop_ends_a_waiting_read() -> None:
    soft = SoftDriver("d")
    await soft.start()
    waiting = asyncio.create_task(soft.read())
    await asyncio.sleep(0)
    await soft.stop()
    with pytest.raises(DeviceLostError):
        await waiting


@pytest.mark.asyncio
async def test_writes_are_kept_and_read_back_unless_told_otherwise() -> None:
    soft = SoftDriver("d", tags={"a": [0.0, 0.0], "b": [5.0]})
    await soft.start()
    await soft.write([Write("a", (1.0,)), Write("b", (2.0,))])
    found = await soft.read_back(["a", "b"])
    assert (found["a"].tolist(), found["b"].tolist()) == ([1.0, 0.0], [2.0])
    soft.ignore_writes = True
    await soft.write([Write("b", (9.0,))])
    assert (await soft.read_back(["b"]))["b"].tolist() == [2.0]
    assert soft.written[-1] == Write("b", (9.0,))
    for wrong in (Write("c", (1.0,)), Write("b", (1.0, 2.0))):
        with pytest.raises(CommandError):
            await soft.write([wrong])
    soft.write_errors.append(DeviceRefusedError("locked"))
    with pytest.raises(DeviceRefusedError):
        await soft.write([Write("b", (1.0,))])
