"""The Modbus driver against a raw socket server (not our simulator) that misbehaves on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from controller.errors import CommandError, DeviceLostError, DeviceRefusedError, PeerError, ProtocolError
from controller.types import Quality, TimeSource, Write
from tests.system.modbus_device import (
    START_S,
    TIMEOUT_S,
    RawRack,
    Trick,
    by_stream,
    bytewise,
    exception,
    half_and_hang_up,
    hang_up,
    http,
    late,
    make_driver,
    old_transaction_first,
    other_function,
    other_unit,
    running,
    silent,
    too_short,
    transaction_zero,
    twice,
)

pytestmark = pytest.mark.system


@pytest.mark.asyncio
async def test_frames_carry_device_time_points_units_and_lot() -> None:
    rack = RawRack()
    rack.set_channels(5.25, 3.5, 3.625, 7.0)
    rack.holding[1801] = 1
    async with running(rack) as driver:
        frames = by_stream(await driver.read())
    cells, panel = frames["channel"], frames["panel"]
    assert list(cells.columns) == ["voltage_v", "temperature_c"]
    assert cells.columns["voltage_v"].tolist() == [3.5, 3.625, 7.0]
    np.testing.assert_allclose(cells.columns["temperature_c"], [23.0, 23.1, 23.2])
    assert cells.point.tolist() == [1, 2, 3]
    assert cells.time_ns.tolist() == [START_S * 10**9 + 5_250_000_000] * 3
    assert cells.time_source is TimeSource.DEVICE
    assert cells.quality.tolist() == [Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN]
    assert cells.labels == {"lot": "L7"}
    assert (panel.columns["door"].tolist(), panel.point.tolist(), panel.point_name) == ([1.0], [0], "")
    assert panel.time_source is TimeSource.CONTROLLER
    assert len(rack.requests) == 2, "one block each"


@pytest.mark.asyncio
async def test_rows_that_repeat_are_dropped_and_read_waits_for_new_ones() -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.0, 3.0)
    async with running(rack) as driver:
        assert len(await driver.read()) == 2
        later = await driver.read()  # 10 s: all rows repeat, so on to 20 s, where the panel is due again
        assert [f.stream for f in later] == ["panel"]
        rack.set_channels(30, 3.1, 3.1)
        again = await driver.read()
        assert [(f.stream, f.point.tolist()) for f in again] == [("channel", [1, 2])]
        assert driver.counters.repeated_rows == 7
        assert driver.counters.skipped_polls == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("trick", [twice, bytewise, old_transaction_first])
async def test_odd_but_lawful_answers_are_read_rightly(trick: Trick) -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.1, 3.2)
    async with running(rack) as driver:
        rack.tricks.append(trick)
        frames = by_stream(await driver.read())
        np.testing.assert_allclose(frames["channel"].columns["voltage_v"], [3.0, 3.1, 3.2], rtol=1e-7)
        rack.set_channels(11, 4.0, 4.1, 4.2)
        frames = by_stream(await driver.read())
        np.testing.assert_allclose(frames["channel"].columns["voltage_v"], [4.0, 4.1, 4.2], rtol=1e-7)
        assert rack.connections == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trick", "kind", "text"),
    [
        (silent, DeviceLostError, "did not answer within 0.25 s"),
        (late, DeviceLostError, "did not answer within 0.25 s"),
        (hang_up, DeviceLostError, "closed the connection"),
        (half_and_hang_up, DeviceLostError, "closed the connection"),
        (exception(11), DeviceLostError, "gateway target failed to respond"),
        (http, ProtocolError, "bytes that are not Modbus TCP: 48 54 54 50"),
        (transaction_zero, ProtocolError, "an answer with transaction 0"),
        (other_unit, ProtocolError, "an answer of unit 9 to a request to unit 1"),
        (other_function, ProtocolError, "an answer to function 43"),
        (too_short, ProtocolError, "an answer of 47 bytes instead of 49"),
    ],
)
async def test_bad_answers_name_the_fault_and_a_new_start_reads_current_values(
    trick: Trick, kind: type[PeerError], text: str
) -> None:
    rack = RawRack()
    rack.set_channels(1, 9.0, 9.0, 9.0)
    async with running(rack) as driver:
        rack.tricks.append(trick)
        with pytest.raises(kind, match=text) as caught:
            await driver.read()
        assert "rack1 (modbus.tcp://127.0.0.1:" in str(caught.value)
        assert "reading input registers 100 to 122" in str(caught.value)
        rack.set_channels(2, 3.0, 3.0, 3.0)
        await driver.start()
        await asyncio.sleep(TIMEOUT_S * 0.6 if trick is late else 0)  # the late answer has nowhere to go
        frames = by_stream(await driver.read())
        assert frames["channel"].columns["voltage_v"].tolist() == [3.0, 3.0, 3.0]


@pytest.mark.asyncio
async def test_refused_block_is_named_and_the_other_group_still_comes() -> None:
    rack = RawRack()
    async with running(rack) as driver:
        rack.tricks.append(exception(2))
        frames = await driver.read()
        assert [f.stream for f in frames] == ["panel"]
        with pytest.raises(DeviceRefusedError) as caught:
            await driver.read()
    assert caught.value.code == 2
    text = str(caught.value)
    assert "refused to read input registers 100 to 122 (voltage_v, temperature_c, clock_s, clock_ms)" in text
    assert "exception 2, illegal data address" in text
    assert "compare the address with the device's manual" in text


@pytest.mark.asyncio
async def test_busy_is_asked_again_within_the_deadline() -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.0, 3.0)
    async with running(rack) as driver:
        rack.tricks.extend([exception(6), exception(6)])
        assert by_stream(await driver.read())["channel"].rows == 3
        assert driver.counters.busy_retries == 2
        rack.tricks.extend([exception(6)] * 20)
        with pytest.raises(DeviceRefusedError, match="server device busy, for the whole time"):
            await driver.read_back(["door"])


@pytest.mark.asyncio
async def test_frames_before_a_loss_are_kept_and_the_loss_follows() -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.0, 3.0)
    async with running(rack) as driver:
        rack.tricks.extend([None, hang_up])
        assert [f.stream for f in await driver.read()] == ["channel"]
        with pytest.raises(DeviceLostError, match="reading holding registers 900"):
            await driver.read()


@pytest.mark.asyncio
async def test_a_hang_up_between_polls_is_found_by_the_next() -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.0, 3.0)
    async with running(rack) as driver:
        await driver.read()
        for writer in rack.writers:
            writer.close()
        await asyncio.sleep(0.05)
        with pytest.raises(DeviceLostError, match="closed the connection before reading input registers"):
            await driver.read()
        rack.set_channels(2, 4.0, 4.0, 4.0)
        await driver.start()
        assert by_stream(await driver.read())["channel"].columns["voltage_v"].tolist() == [4.0, 4.0, 4.0]


@pytest.mark.asyncio
async def test_a_half_answer_after_a_cancelled_request_is_not_built_upon() -> None:
    rack = RawRack()
    rack.set_channels(1, 9.0, 9.0, 9.0)

    async def half(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
        writer.write(reply[:20])

    async with running(rack) as driver:
        rack.tricks.append(half)
        read = asyncio.create_task(driver.read())
        await rack.asked.wait()
        await asyncio.sleep(0.02)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        with pytest.raises(ProtocolError, match="a part of an answer that nobody waits for"):
            await driver.read_back(["door"])


@pytest.mark.asyncio
async def test_write_goes_in_one_request_and_reads_back() -> None:
    rack = RawRack()
    async with running(rack) as driver:
        await driver.write([Write("current_sp_a", (1.5,)), Write("command", (3,))])
        assert rack.requests == [bytes.fromhex("10 000a 0003 06 3fc00000 0003")]
        found = await driver.read_back(["command", "current_sp_a", "voltage_v"])
        assert found["current_sp_a"].tolist() == [1.5]
        assert found["command"].tolist() == [3.0]
        assert found["voltage_v"].shape == (3,)
        with pytest.raises(CommandError, match=r"rack1 .*'voltage_v'.*cannot be written"):
            await driver.write([Write("command", (1,)), Write("voltage_v", (1.0,))])
        rack.tricks.append(exception(3))
        with pytest.raises(DeviceRefusedError, match=r"holding registers 12 to 12 \(command\): illegal data value"):
            await driver.write([Write("command", (9,))])


@pytest.mark.asyncio
async def test_a_write_waits_for_one_answer_not_for_the_poll() -> None:
    rack = RawRack()
    rack.set_channels(1, 3.0, 3.0, 3.0)
    gate = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
        await gate.wait()
        writer.write(reply)

    async with running(rack) as driver:
        rack.tricks.append(hold)
        read = asyncio.create_task(driver.read())
        await rack.asked.wait()
        write = asyncio.create_task(driver.write([Write("command", (1,))]))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(read, write)
    assert [pdu[0] for pdu in rack.requests] == [4, 16, 3], "between the two blocks of the poll"


@pytest.mark.asyncio
async def test_cancelled_request_leaves_nothing_that_a_later_one_could_take() -> None:
    rack = RawRack()
    rack.set_channels(1, 9.0, 9.0, 9.0)
    gate = asyncio.Event()

    async def after_the_next(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
        await gate.wait()
        writer.write(reply)

    async with running(rack) as driver:
        rack.tricks.append(after_the_next)
        read = asyncio.create_task(driver.read())
        await rack.asked.wait()
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        gate.set()
        rack.set_channels(2, 3.0, 3.0, 3.0)
        assert by_stream(await driver.read())["channel"].columns["voltage_v"].tolist() == [3.0, 3.0, 3.0]
        assert rack.connections == 1


@pytest.mark.asyncio
async def test_stop_ends_a_read_that_waits_and_may_be_repeated() -> None:
    rack = RawRack()
    async with running(rack) as driver:
        rack.tricks.append(silent)
        read = asyncio.create_task(driver.read())
        await rack.asked.wait()
        await driver.stop()
        with pytest.raises(DeviceLostError, match="closed by us"):
            await read
        await driver.stop()
        with pytest.raises(DeviceLostError, match="not connected"):
            await driver.read_back(["door"])


@pytest.mark.asyncio
async def test_nobody_listens_and_nobody_answers(free_port: Callable[[], int]) -> None:
    driver = make_driver(free_port())
    with pytest.raises(DeviceLostError, match=r"no connection to rack1 .*[Cc]onnect.*is the device on"):
        await driver.start()
    await driver.stop()
