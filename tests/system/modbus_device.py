"""A Modbus device that misbehaves on purpose: a raw socket server with tricks, and a driver on it. No tests."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from configs.schema import Device, Equipment
from controller.drivers.modbus import ModbusDriver
from controller.types import Frame

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


def by_stream(frames: Sequence[Frame]) -> dict[str, Frame]:
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
