"""The Modbus server's bytes, against examples of the standard and numbers encoded by hand; no socket is opened."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import numpy as np
import pytest

from configs.schema import Access, Equipment, Group, ModbusOptions, Protocol, Tag, ValueType, WordOrder
from simulators.servers import build_server
from simulators.servers.modbus import ModbusServer
from simulators.servers.modbus_connection import Connection
from simulators.servers.modbus_image import RegisterImage
from simulators.servers.modbus_pdu import Unit, answer
from tests.unit.simulators.modbus_rig import Plc, Wire, connect


def _tag(name: str, address: int, kind: ValueType = ValueType.UINT16, **more: object) -> Tag:
    return Tag.model_validate({"name": name, "address": address, "type": kind, **more})


def _equipment(word_order: WordOrder = WordOrder.BIG) -> Equipment:
    write = Access.WRITE
    types = Group(
        name="types",
        table="input",
        tag=(
            _tag("f32", 1000, ValueType.FLOAT32),
            _tag("t16", 1002, ValueType.INT16, scale=0.1),
            _tag("c32", 1003, ValueType.UINT32, scale=1e-5),
            _tag("f64", 1006, ValueType.FLOAT64),  # 1005 is a hole
            _tag("i32", 1010, ValueType.INT32, offset=100.0),
            _tag("flag", 1012, ValueType.BOOL),
        ),
    )
    example4 = Group(name="example4", table="input", tag=(_tag("a8", 8),))
    example3 = Group(
        name="example3",
        table="holding",
        points=3,
        point_name="k",
        stride=1,
        tag=(_tag("reg", 0x6B, access=write),),
    )
    example16 = Group(
        name="example16", table="holding", tag=(_tag("one", 1, access=write), _tag("two", 2, access=write, max=1000.0))
    )
    steps = Group(
        name="steps",
        table="holding",
        points=4,
        point_name="step",
        stride=6,
        tag=(
            _tag("mode", 200, access=write),
            _tag("amps", 201, ValueType.FLOAT32, access=write, min=0.0, max=700.0),
            _tag("look", 203, access=Access.READ),
        ),
    )
    return Equipment(
        name="thing",
        title="Thing",
        protocol=Protocol.MODBUS,
        modbus=ModbusOptions(word_order=word_order),
        group=(types, example4, example3, example16, steps),
    )


OUTPUTS = {
    "f32": [4.2],
    "t16": [-5.0],
    "c32": [1234.56789],
    "f64": [1 / 3],
    "i32": [98.0],
    "flag": [1],
    "a8": [10],
    "reg": [555, 0, 100],
    "one": [0],
    "two": [0],
    "mode": [1, 2, 3, 4],
    "amps": [1.0, 2.0, 3.0, 4.0],
    "look": [9, 9, 9, 9],
}


def _image(word_order: WordOrder = WordOrder.BIG, **changed: list[float]) -> RegisterImage:
    image = RegisterImage(_equipment(word_order).group, ModbusOptions(word_order=word_order))
    image.publish({name: np.array(values, dtype=float) for name, values in (OUTPUTS | changed).items()})
    return image


def _ask(pdu: str, image: RegisterImage | None = None, plc: Plc | None = None) -> str:
    unit = Unit.of(_equipment(), None, (plc or Plc()).write)
    return answer(bytes.fromhex(pdu), replace(unit, image=image or _image())).hex(" ")


# MODBUS Application Protocol V1.1b3, sections 6.3, 6.4, 6.6 and 6.12.
def test_the_standards_own_examples() -> None:
    assert _ask("03 00 6B 00 03") == "03 06 02 2b 00 00 00 64"
    assert _ask("04 00 08 00 01") == "04 02 00 0a"
    plc = Plc()
    assert _ask("06 00 01 00 03", plc=plc) == "06 00 01 00 03"
    assert _ask("10 00 01 00 02 04 00 0A 01 02", plc=plc) == "10 00 01 00 02"
    assert plc.written == [("one", [3.0]), ("one", [10.0]), ("two", [258.0])]


def test_values_lie_high_word_first() -> None:
    # 4.2 is 40866666 in IEEE 754, -5.0/0.1 is FFCE, 123456789 is 075BCD15, 1/3 is 3FD5555555555555, 98 - 100 is -2.
    assert _ask("04 03 E8 00 0D") == (
        "04 1a 40 86 66 66 ff ce 07 5b cd 15 00 00 3f d5 55 55 55 55 55 55 ff ff ff fe 00 01"
    )


def test_low_word_first_turns_the_words_and_not_the_bytes() -> None:
    assert _ask("04 03 E8 00 0D", _image(WordOrder.LITTLE)) == (
        "04 1a 66 66 40 86 ff ce cd 15 07 5b 00 00 55 55 55 55 55 55 3f d5 ff fe ff ff 00 01"
    )
    plc = Plc()
    # 258.0 is 43810000
    assert _ask("10 00 C9 00 02 04 00 00 43 81", _image(WordOrder.LITTLE), plc) == "10 00 c9 00 02"
    assert plc.written == [("amps", [258.0])]


def test_integers_round_and_saturate() -> None:
    image = _image(t16=[-9999.0], c32=[1e9], i32=[float("nan")], a8=[7.6])
    assert _ask("04 03 EA 00 03", image) == "04 06 80 00 ff ff ff ff"
    assert _ask("04 03 F2 00 02", image) == "04 04 00 00 00 00"
    assert _ask("04 00 08 00 01", image) == "04 02 00 08"


@pytest.mark.parametrize(
    ("request_pdu", "code", "why"),
    [
        ("04 00 07 00 01", 2, "before an extent"),
        ("04 00 08 00 02", 2, "past an extent"),
        ("04 FF FF 00 02", 2, "past the address space"),
        ("03 03 E8 00 01", 2, "an input register asked as holding"),
        ("04 03 E8 00 7E", 3, "126 registers"),
        ("04 03 E8 00 00", 3, "no registers"),
        ("04 03 E8 00", 3, "cut short"),
        ("06 00 01", 3, "cut short"),
        ("01 00 00 00 01", 1, "coils"),
        ("05 00 00 FF 00", 1, "a coil"),
        ("0F 00 00 00 01 01 01", 1, "coils"),
        ("08 00 00 A5 37", 1, "diagnostics"),
        ("2B 0D 01 00", 3, "CANopen"),
        ("2B 0E 05 00", 3, "no such stream"),
        ("2B 0E 04 03", 2, "no such object"),
        ("16 00 6B 00", 3, "cut short"),
        ("16 00 09 00 F2 00 25", 2, "no such register"),
        ("17 00 6B 00 03 00 01 00 01 02 00", 3, "cut short"),
        ("17 00 6A 00 03 00 01 00 01 02 00 07", 2, "nothing to read: and so nothing is written"),
        ("06 00 09 00 01", 2, "no such register"),
        ("06 00 CB 00 01", 2, "read-only"),
        ("06 00 C9 43 81", 2, "half a float"),
        ("10 00 01 00 02 02 00 0A", 3, "byte count is not twice the registers"),
        ("10 00 01 00 02 04 00 0A 01", 3, "cut short"),
        ("10 00 01 00 00 00", 3, "nothing to write"),
        ("10 00 01", 3, "cut short"),
        ("06 00 02 04 00", 3, "1024 is over the tag's maximum"),
        ("10 00 C9 00 02 04 7F C0 00 00", 3, "NaN"),
        ("06 00 01 02 9A", 3, "666, which the machine refuses"),
    ],
)
def test_what_cannot_be_answered_gets_the_standards_exception(request_pdu: str, code: int, why: str) -> None:
    plc = Plc()
    image = _image()
    before = image.read("holding", 200, 22).tobytes()
    function = int(request_pdu[:2], 16)
    assert _ask(request_pdu, image, plc) == f"{function | 0x80:02x} {code:02x}", why
    assert plc.written == []
    assert image.read("holding", 200, 22).tobytes() == before


def test_a_write_reads_back_at_once() -> None:
    image = _image()
    _ask("06 00 01 12 34", image)
    assert _ask("03 00 01 00 01", image) == "03 02 12 34"


def test_a_block_write_reaches_each_tag_from_its_first_point() -> None:
    """Step 2 and 3 written as one block, hole and all; the machine gets step 1 as it stands."""
    plc = Plc()
    image = _image(look=[0, 0, 0, 0])
    step = struct.pack(">Hf", 5, 1.5)
    assert _ask((b"\x10" + struct.pack(">HHB", 206, 3, 6) + step).hex(), image, plc) == "10 00 ce 00 03"
    assert plc.written == [("mode", [1.0, 5.0]), ("amps", [1.0, 1.5])]


def test_limits_are_those_of_the_written_points_only() -> None:
    """What the machine holds elsewhere is not the writer's fault."""
    plc = Plc()
    image = _image(amps=[9999.0, 2.0, 3.0, 4.0])
    assert _ask((b"\x10" + struct.pack(">HHBf", 207, 2, 4, 1.5)).hex(), image, plc) == "10 00 cf 00 02"
    assert plc.written == [("amps", [9999.0, 1.5])]


def test_any_bytes_are_answered() -> None:
    rng, unit = random.Random(4), replace(Unit.of(_equipment(), None, Plc().write), image=_image())
    for _ in range(3000):
        pdu = bytes([rng.choice((3, 4, 6, 16, 22, 23, 43, rng.randrange(256)))]) + rng.randbytes(rng.randrange(12))
        reply = answer(pdu, unit)
        assert reply[0] in {pdu[0], pdu[0] | 0x80}
        assert len(reply) <= 253


async def _connected(endpoint: str = "modbus.tcp://127.0.0.1:1502/3") -> tuple[Connection, Wire]:
    server = ModbusServer(_equipment(), endpoint, Plc().write)
    await server.publish({name: np.array(values, dtype=float) for name, values in OUTPUTS.items()}, 0)
    return connect(server)


READ_A8 = bytes.fromhex("00 07 00 00 00 06 03 04 00 08 00 01")
REPLY_A8 = bytes.fromhex("00 07 00 00 00 05 03 04 02 00 0A")


@pytest.mark.asyncio
async def test_frames_are_cut_from_any_stream_and_answered_in_order() -> None:
    connection, wire = await _connected()
    other = b"\x01\x00" + READ_A8[2:]
    stream = READ_A8 + other + READ_A8
    for k in range(len(stream)):
        connection.data_received(stream[k : k + 1])
    assert wire.sent == REPLY_A8 + b"\x01\x00" + REPLY_A8[2:] + REPLY_A8
    wire.sent = b""
    connection.data_received(stream)
    assert wire.sent == REPLY_A8 + b"\x01\x00" + REPLY_A8[2:] + REPLY_A8


@pytest.mark.asyncio
async def test_units() -> None:
    connection, wire = await _connected()
    for unit, expected in ((0, "04 02 00 0a"), (255, "04 02 00 0a"), (4, "84 0b")):
        wire.sent = b""
        connection.data_received(READ_A8[:6] + bytes([unit]) + READ_A8[7:])
        assert wire.sent[7:].hex(" ") == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("header", ["00 07 00 01 00 06 03", "00 07 00 00 00 01 03", "00 07 00 00 01 00 03"])
async def test_a_broken_frame_ends_the_connection(header: str) -> None:
    connection, wire = await _connected()
    connection.data_received(bytes.fromhex(header) + READ_A8[7:])
    assert wire.aborted
    assert wire.sent == b""


@pytest.mark.asyncio
async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    connection, wire = await _connected()
    connection.pause_writing()
    assert wire.paused
    connection.resume_writing()
    assert not wire.paused


def test_an_endpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"modbus\.tcp"):
        build_server(_equipment(), "opc.tcp://127.0.0.1:1/x", Plc().write)
