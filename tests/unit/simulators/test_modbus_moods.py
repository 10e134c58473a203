"""What a simulated Modbus server does with clients that crowd, hurry or ask for others; no socket is opened."""

from __future__ import annotations

import asyncio
import struct

import numpy as np
import pytest

from configs.schema import Equipment
from simulators.servers.modbus import ModbusServer
from simulators.servers.modbus_connection import Connection
from simulators.servers.modbus_frames import RtuFramer, crc16
from tests.unit.simulators.modbus_rig import Plc, Wire, connect

READ = "04 00 08 00 01"
VALUE = "04 02 00 07"


async def server(plc: Plc | None = None, units: tuple[int | None, ...] = (None,), **options: object) -> ModbusServer:
    groups = []
    for unit in units:
        name = f"u{unit or ''}"
        groups += [
            {"name": f"{name}_in", "unit": unit, "table": "input",
             "tag": [{"name": f"{name}_a", "address": 8, "type": "uint16"}]},
            {"name": f"{name}_out", "unit": unit, "table": "holding",
             "tag": [{"name": f"{name}_b", "address": 9, "type": "uint16", "access": "write"}]},
        ]  # fmt: skip
    kind = Equipment.model_validate(
        {"name": "thing", "title": "Thing", "protocol": "modbus", "modbus": {"server": options}, "group": groups}
    )
    made = ModbusServer(kind, "modbus.tcp://127.0.0.1:1502/3", (plc or Plc()).write)
    tags = [tag.name for group in kind.group for tag in group.tag]
    await made.publish({tag: np.array([7.0]) for tag in tags}, 0)
    return made


def adu(number: int, pdu: str, unit: int = 3) -> bytes:
    data = bytes.fromhex(pdu)
    return struct.pack(">HHHB", number, 0, len(data) + 1, unit) + data


def serial(unit: int, pdu: str) -> bytes:
    data = bytes((unit,)) + bytes.fromhex(pdu)
    return data + crc16(data)


@pytest.mark.asyncio
async def test_one_client_at_a_time_and_the_next_is_refused() -> None:
    plc = await server(connections=1, further="refused")
    first, wire = connect(plc)
    second, other = connect(plc)
    assert other.aborted
    second.connection_lost(None)
    first.data_received(adu(1, READ))
    assert wire.take() == adu(1, VALUE)
    first.connection_lost(None)
    third, wire = connect(plc)
    third.data_received(adu(2, READ))
    assert wire.take() == adu(2, VALUE)
    third.connection_lost(None)
    await plc.stop()


@pytest.mark.asyncio
async def test_one_client_at_a_time_and_the_next_waits_unheard() -> None:
    plc = await server(connections=1, further="queued")
    (first, _), (second, waiting), (third, _) = connect(plc), connect(plc), connect(plc)
    assert waiting.paused
    assert not waiting.aborted
    second.pause_writing()
    second.resume_writing()
    assert waiting.paused, "still not its turn"
    third.connection_lost(None)
    first.connection_lost(None)
    assert not waiting.paused
    second.data_received(adu(2, READ))
    assert waiting.take() == adu(2, VALUE)
    second.connection_lost(None)
    await plc.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("policy", "answers"),
    [
        ("in_order", adu(1, VALUE) + adu(2, VALUE) + adu(3, VALUE)),
        ("refused", adu(1, VALUE) + adu(2, "84 06") + adu(3, "84 06")),
        ("dropped", adu(1, VALUE)),
    ],
)
async def test_requests_that_do_not_wait(policy: str, answers: bytes) -> None:
    connection, wire = connect(await server(pipelined=policy))
    connection.data_received(adu(1, READ) + adu(2, READ) + adu(3, READ))
    assert wire.take() == answers
    connection.data_received(adu(4, READ))
    assert wire.take() == adu(4, VALUE)


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", ["in_order", "refused", "dropped"])
async def test_a_slow_device_answers_one_after_the_other(policy: str) -> None:
    connection, wire = connect(await server(pipelined=policy, reply_delay_s=0.01))
    connection.data_received(adu(1, READ))
    assert wire.take() == b""
    connection.data_received(adu(2, READ))
    assert wire.take() == (adu(2, "84 06") if policy == "refused" else b"")
    await asyncio.sleep(0.1)
    assert wire.take() == adu(1, VALUE) + (adu(2, VALUE) if policy == "in_order" else b"")
    connection.data_received(adu(3, READ))
    connection.connection_lost(None)
    await asyncio.sleep(0.03)
    assert wire.take() == b"", "nobody is there any more"


@pytest.mark.asyncio
@pytest.mark.parametrize(("absent", "answers"), [("no_answer", "84 0b"), ("no_path", "84 0a"), ("silence", "")])
async def test_units_behind_one_endpoint(absent: str, answers: str) -> None:
    plc = Plc()
    connection, wire = connect(await server(plc, (None, 5, 247), absent_unit=absent))
    for unit in (3, 5, 247):
        connection.data_received(adu(unit, READ, unit) + adu(unit, f"06 00 09 00 {unit:02x}", unit))
        assert wire.take() == adu(unit, VALUE, unit) + adu(unit, f"06 00 09 00 {unit:02x}", unit)
    assert plc.written == [("u_b", [3.0]), ("u5_b", [5.0]), ("u247_b", [247.0])]
    for unit in (0, 4, 255):  # a gateway is no device: nobody is meant
        connection.data_received(adu(9, READ, unit))
        assert wire.take() == (adu(9, answers, unit) if answers else b"")


@pytest.mark.asyncio
async def test_a_serial_line_hears_its_own_units_and_everybody_a_broadcast() -> None:
    plc = Plc()
    connection, wire = Connection(await server(plc, (None, 5)), RtuFramer()), Wire()
    connection.connection_made(wire)
    connection.data_received(serial(5, READ))
    assert wire.take() == serial(5, VALUE)
    for frame in (serial(4, READ), serial(0, READ), serial(255, READ)):
        connection.data_received(frame)
        assert wire.take() == b""
    connection.data_received(serial(0, "06 00 09 00 01"))
    assert wire.take() == b""
    assert plc.written == [("u_b", [1.0]), ("u5_b", [1.0])]
    connection.data_received(serial(5, "06 00 07 00 01"))
    assert wire.take() == serial(5, "86 02")


@pytest.mark.asyncio
async def test_a_share_of_requests_meets_a_busy_device_the_same_ones_every_time() -> None:
    async def codes() -> list[bytes]:
        connection, wire = connect(await server(busy_share=0.25))
        found = []
        for k in range(400):
            connection.data_received(adu(k, READ))
            found.append(wire.take()[7:])
        return found

    once, again = await codes(), await codes()
    assert once == again
    busy = once.count(bytes.fromhex("84 06"))
    assert busy + once.count(bytes.fromhex(VALUE)) == 400
    assert 70 <= busy <= 130


@pytest.mark.asyncio
async def test_a_unit_cannot_be_the_endpoints_and_a_groups() -> None:
    with pytest.raises(ValueError, match="names unit 3, which a group of its own has too"):
        await server(units=(None, 3))
