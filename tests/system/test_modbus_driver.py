"""The Modbus driver against a raw socket server of this file (not our simulator) that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from configs.schema import Device, Equipment
from controller.drivers.modbus import ModbusDriver
from controller.errors import CommandError, DeviceLostError, DeviceRefusedError, PeerError, ProtocolError
from controller.types import Frame, Quality, TimeSource, Write

pytestmark = pytest.mark.system

START_S = 1_700_000_000
TIMEOUT_S = 0.25
EQUIPMENT = {
    "name": "small_rack",
    "title": "Three channels",
    "protocol": "modbus",
    "modbus": {"timeout_s": TIMEOUT_S, "max_gap_registers": 2},
    "group": [
        {
            "name": "channel", "table": "input", "points": 3, "point_name": "channel", "stride": 8, "period_s": 10,
            "clock": {"seconds": "clock_s", "milliseconds": "clock_ms"},
            "tag": [
                {"name": "voltage_v", "address": 100, "type": "float32", "min": 0, "max": 5},
                {"name": "temperature_c", "address": 102, "type": "int16", "scale": 0.1},
                {"name": "clock_s", "address": 104, "type": "uint32"},
                {"name": "clock_ms", "address": 106, "type": "uint16"},
            ],
        },
        {"name": "panel", "table": "holding", "period_s": 20,
         "tag": [{"name": "door", "address": 900, "type": "bool"}]},
        {
            "name": "setpoint", "table": "holding",
            "tag": [
                {"name": "current_sp_a", "address": 10, "type": "float32", "min": 0, "max": 20, "access": "write"},
                {"name": "command", "address": 12, "type": "uint16", "access": "command"},
            ],
        },
    ],
}  # fmt: skip

Trick = Callable[[asyncio.StreamWriter, bytes, bytes], Awaitable[None]]


class StepClock:
    """Plant time that moves only when somebody waits for it."""

    speed = 1.0

    def __init__(self) -> None:
        self.ns = START_S * 10**9

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, plant_s: float) -> None:
        self.ns += round(max(0.0, plant_s) * 1e9)
        await asyncio.sleep(0)


class RawRack:
    """65,536 registers per table and a queue of tricks, one for each of the next requests; then it answers well."""

    def __init__(self) -> None:
        self.input = bytearray(2 * 65_536)
        self.holding = bytearray(2 * 65_536)
        self.tricks: deque[Trick | None] = deque()
        self.requests: list[bytes] = []  # PDUs
        self.connections = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.asked = asyncio.Event()  # a request has come
        self.idle = asyncio.Event()  # no connection is open
        self.idle.set()

    def set_channels(self, second: float, *volts: float) -> None:
        """Fresh samples with device time START_S + second."""
        for k, volt in enumerate(volts):
            whole, ms = divmod(round(second * 1000), 1000)
            struct.pack_into(">fhxxIH", self.input, 2 * (100 + 8 * k), volt, 230 + k, START_S + whole, ms)

    def answer(self, pdu: bytes) -> bytes:
        function, address, count = struct.unpack_from(">BHH", pdu)
        if function == 16:
            self.holding[2 * address : 2 * (address + count)] = pdu[6:]
            return pdu[:5]
        table = self.holding if function == 3 else self.input
        return bytes([function, 2 * count]) + bytes(table[2 * address : 2 * (address + count)])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        self.idle.clear()
        try:
            while True:
                header = await reader.readexactly(7)
                pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                self.requests.append(pdu)
                self.asked.set()
                trick = self.tricks.popleft() if self.tricks else None
                reply = adu(header, self.answer(pdu))
                if trick is None:
                    writer.write(reply)
                else:
                    await trick(writer, header, reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            if not self.writers:
                self.idle.set()
            writer.close()


def adu(header: bytes, pdu: bytes) -> bytes:
    return header[:4] + (len(pdu) + 1).to_bytes(2, "big") + header[6:7] + pdu


@asynccontextmanager
async def running(rack: RawRack) -> AsyncIterator[ModbusDriver]:
    """A rack that listens and a driver that is connected."""
    server = await asyncio.start_server(rack.serve, "127.0.0.1", 0)
    rack.port = server.sockets[0].getsockname()[1]
    driver = make_driver(rack.port)
    try:
        await driver.start()
        yield driver
    finally:
        await driver.stop()
        server.close()
        for writer in set(rack.writers):
            writer.close()
        await server.wait_closed()
        await rack.idle.wait()


def make_driver(port: int) -> ModbusDriver:
    device = Device(id="rack1", equipment="small_rack", endpoint=f"modbus.tcp://127.0.0.1:{port}/1", lot="L7")
    return ModbusDriver(device, Equipment.model_validate(EQUIPMENT), StepClock())


def by_stream(frames: object) -> dict[str, Frame]:
    assert isinstance(frames, list)
    return {frame.stream: frame for frame in frames}


async def silent(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    return


async def late(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    await asyncio.sleep(TIMEOUT_S * 1.4)
    writer.write(reply)


async def bytewise(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    for k in range(len(reply)):
        writer.write(reply[k : k + 1])
        await writer.drain()
        await asyncio.sleep(0.0005)


async def hang_up(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    writer.close()


async def half_and_hang_up(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    writer.write(reply[:11])
    await writer.drain()
    writer.close()


async def old_transaction_first(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
    stale = bytearray(reply)
    stale[0:2] = b"\x7f\xff"
    stale[9:] = b"\xee" * (len(stale) - 9)
    writer.write(bytes(stale))
    await asyncio.sleep(0.01)
    writer.write(reply)


def answers(change: Callable[[bytes, bytes], bytes]) -> Trick:
    """A trick that answers at once with something else: change(request header, honest reply)."""

    async def trick(writer: asyncio.StreamWriter, header: bytes, reply: bytes) -> None:
        writer.write(change(header, reply))

    return trick


def exception(code: int) -> Trick:
    return answers(lambda header, reply: adu(header, bytes([reply[7] | 0x80, code])))


twice = answers(lambda _, reply: reply + reply)
http = answers(lambda _, __: b"HTTP/1.1 400 Bad Request\r\n\r\n")
transaction_zero = answers(lambda _, reply: b"\x00\x00" + reply[2:])
other_unit = answers(lambda _, reply: reply[:6] + b"\x09" + reply[7:])
other_function = answers(lambda _, reply: reply[:7] + b"\x2b" + reply[8:])
too_short = answers(lambda header, reply: adu(header, reply[7:8] + bytes([reply[8] - 2]) + reply[9:-2]))


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
