"""Functions, orders, holes and serial frames of the simulated Modbus server, against bytes written by hand."""

from __future__ import annotations

import random
import struct
from itertools import product

import numpy as np
import pytest

from configs.schema import Equipment
from simulators.servers.modbus_frames import Request, RtuFramer, crc16
from simulators.servers.modbus_pdu import Unit, answer
from tests.unit.simulators.modbus_rig import Plc


def thing(groups: list[dict[str, object]], **modbus: object) -> Equipment:
    options = {"name": "thing", "title": "Thing Ö", "protocol": "modbus", "modbus": modbus, "group": groups}
    return Equipment.model_validate(options)


def bits(table: str, first: int, points: int, name: str = "bit") -> dict[str, object]:
    tag = {"name": name, "address": first, "type": "bool", "access": "write"}
    return {"name": f"{name}s", "table": table, "points": points, "point_name": "k", "stride": 1, "tag": [tag]}


def words(first: int, points: int) -> dict[str, object]:
    tag = {"name": "word", "address": first, "type": "uint16", "access": "write"}
    return {"name": "words", "table": "holding", "points": points, "point_name": "k", "stride": 1, "tag": [tag]}


def ask(unit: Unit, pdu: str) -> str:
    return answer(bytes.fromhex(pdu), unit).hex(" ")


# MODBUS Application Protocol V1.1b3, examples of sections 6.1, 6.2, 6.5, 6.11, 6.16 and 6.17 (addresses on the wire).
def test_the_standards_examples_of_bits() -> None:
    plc = Plc()
    unit = Unit.of(thing([bits("coil", 0x13, 200, "coil"), bits("discrete", 0xC4, 22, "input")]), None, plc.write)
    coils = np.unpackbits(np.frombuffer(bytes.fromhex("CD 6B 05"), dtype=np.uint8), bitorder="little")[:19]
    inputs = np.unpackbits(np.frombuffer(bytes.fromhex("AC DB 35"), dtype=np.uint8), bitorder="little")[:22]
    unit.image.publish({"coil": np.pad(coils, (0, 181)).astype(float), "input": inputs.astype(float)})
    assert ask(unit, "01 00 13 00 13") == "01 03 cd 6b 05"
    assert ask(unit, "02 00 C4 00 16") == "02 03 ac db 35"
    assert ask(unit, "05 00 AC FF 00") == "05 00 ac ff 00"
    assert ask(unit, "01 00 AC 00 01") == "01 01 01"
    assert plc.written[-1][1][0xAC - 0x13] == 1.0
    assert ask(unit, "0F 00 13 00 0A 02 CD 01") == "0f 00 13 00 0a"
    assert plc.written[-1] == ("coil", [1, 0, 1, 1, 0, 0, 1, 1, 1, 0])
    assert ask(unit, "05 00 AC 12 34") == "85 03"
    assert ask(unit, "0F 00 13 00 0A 01 CD") == "8f 03"
    assert ask(unit, "01 00 12 00 02") == "81 02"
    assert ask(unit, "01 00 13 07 D1") == "81 03"
    assert ask(unit, "03 00 13 00 01") == "83 01", "no registers here"


def test_the_standards_examples_of_mask_write_and_read_write() -> None:
    plc = Plc()
    unit = Unit.of(thing([words(3, 20)]), None, plc.write)
    held = np.zeros(20)
    held[1] = 0x12
    unit.image.publish({"word": held})
    assert ask(unit, "16 00 04 00 F2 00 25") == "16 00 04 00 f2 00 25"
    assert ask(unit, "03 00 04 00 01") == "03 02 00 17"
    assert plc.written == [("word", [0, 0x17])]
    assert ask(unit, "17 00 03 00 06 00 0E 00 03 06 00 FF 00 FF 00 FF") == "17 0c" + " 00 00 00 17" + " 00" * 8
    assert plc.written[-1][1][-3:] == [255, 255, 255]
    # What is written is read: one request that does both on the same registers.
    assert ask(unit, "17 00 03 00 01 00 03 00 01 02 12 34") == "17 02 12 34"


def test_device_identification() -> None:
    """V1.1b3, 6.21: basic and regular streams and single objects; other revisions say so."""
    unit = Unit.of(thing([words(3, 20)], revision="2.4"), None, Plc().write)
    basic = bytes.fromhex(ask(unit, "2B 0E 01 00"))
    assert basic[:7] == bytes.fromhex("2B 0E 01 82 00 00 03")
    assert basic[7:] == b"\x00\x08celltwin\x01\x05thing\x02\x032.4"
    regular = bytes.fromhex(ask(unit, "2B 0E 02 00"))
    assert regular[6] == 5
    assert regular.endswith(b"\x04\x07Thing ?\x05\x05thing")
    assert bytes.fromhex(ask(unit, "2B 0E 04 02"))[6:] == b"\x01\x02\x032.4"
    assert bytes.fromhex(ask(unit, "2B 0E 01 09"))[7:] == basic[7:], "an object that is none starts from the first"
    unit.image.shift = 2
    assert bytes.fromhex(ask(unit, "2B 0E 04 02")).endswith(b"2.4+shifted")


def test_functions_that_the_equipment_does_not_offer_are_illegal() -> None:
    unit = Unit.of(thing([words(3, 20)], server={"functions": [3, 16]}), None, Plc().write)
    assert ask(unit, "06 00 03 00 01") == "86 01"
    assert ask(unit, "2B 0E 01 00") == "ab 01"
    assert ask(unit, "03 00 03 00 01") == "03 02 00 00"


def test_holes_are_refused_where_the_equipment_has_them() -> None:
    group = words(10, 3) | {"stride": 4}
    for unused, answers in (("zero", "03 0a" + " 00" * 10), ("refused", "83 02")):
        unit = Unit.of(thing([group], unused_registers=unused), None, Plc().write)
        assert ask(unit, "03 00 0A 00 05") == answers
        assert ask(unit, "03 00 0E 00 01") == "03 02 00 00"


def test_longer_blocks_than_the_equipment_takes_are_refused() -> None:
    unit = Unit.of(thing([words(0, 125)], max_block_registers=10), None, Plc().write)
    assert ask(unit, "03 00 00 00 0A") == "03 14" + " 00" * 20
    assert ask(unit, "03 00 00 00 0B") == "83 03"
    assert ask(unit, (struct.pack(">BHHB", 16, 0, 11, 22) + bytes(22)).hex()) == "90 03"


def test_a_moved_map_answers_where_it_now_lies() -> None:
    unit = Unit.of(thing([words(10, 2)]), None, Plc().write)
    unit.image.publish({"word": np.array([7.0, 8.0])})
    unit.image.shift = 2
    assert ask(unit, "03 00 0C 00 02") == "03 04 00 07 00 08"
    assert ask(unit, "03 00 0A 00 01") == "83 02"
    unit.image.shift = -11
    assert ask(unit, "03 00 00 00 01") == "03 02 00 08"
    assert ask(unit, "10 00 00 00 01 02 00 05") == "10 00 00 00 01"
    assert ask(unit, "03 00 00 00 01") == "03 02 00 05"


_STRUCT = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f",
    "float64": "d",
}  # fmt: skip


def _turned(big: bytes, word_order: str, byte_order: str) -> bytes:
    """From ABCD to the other orders, by hand: CDAB, BADC, DCBA."""
    pairs = [big[k : k + 2] for k in range(0, len(big), 2)]
    if word_order == "little":
        pairs.reverse()
    return b"".join(pair[::-1] if byte_order == "little" else pair for pair in pairs)


@pytest.mark.parametrize(
    ("kind", "word_order", "byte_order"), list(product(_STRUCT, ("big", "little"), ("big", "little")))
)
def test_every_type_in_every_order(kind: str, word_order: str, byte_order: str) -> None:
    """Tag by tag: its neighbour in the same group lies in the usual order."""
    plc = Plc()
    tags = [
        {"name": "x", "address": 10, "type": kind, "access": "write", "word_order": word_order,
         "byte_order": byte_order},
        {"name": "usual", "address": 14, "type": kind, "access": "write"},
    ]  # fmt: skip
    unit = Unit.of(thing([{"name": "g", "table": "holding", "tag": tags}]), None, plc.write)
    value = 0x1234 if kind.endswith("16") else 0x01020304
    straight = struct.pack(">" + _STRUCT[kind], value)
    unit.image.publish({"x": np.array([float(value)]), "usual": np.array([float(value)])})
    count = len(straight) // 2
    assert ask(unit, f"03 00 0A 00 0{count}") == (
        bytes((3, 2 * count)) + _turned(straight, word_order, byte_order)
    ).hex(" ")
    assert ask(unit, f"03 00 0E 00 0{count}") == (bytes((3, 2 * count)) + straight).hex(" ")
    other = struct.pack(">" + _STRUCT[kind], 77)
    pdu = struct.pack(">BHHB", 16, 10, count, 2 * count) + _turned(other, word_order, byte_order)
    assert ask(unit, pdu.hex()) == f"10 00 0a 00 0{count}"
    assert plc.written == [("x", [77.0])]


@pytest.mark.parametrize(("kind", "low", "high"), [("int64", -(2**63), 2**63 - 1024), ("uint64", 0, 2**64 - 2048)])
def test_64_bits_saturate_at_the_last_number_that_a_double_has(kind: str, low: int, high: int) -> None:
    group = {"name": "g", "tag": [{"name": "x", "address": 0, "type": kind}]}
    unit = Unit.of(thing([group]), None, Plc().write)
    for shown, wanted in ((-1e30, low), (1e30, high)):
        unit.image.publish({"x": np.array([shown])})
        assert bytes.fromhex(ask(unit, "04 00 00 00 04"))[2:] == struct.pack(">" + _STRUCT[kind], wanted)


def test_the_checksum_of_the_standards_example() -> None:
    """Modbus over serial line V1.02, 6.2.2: unit 2, function 7 has the CRC 1241 hex, low byte 41 first."""
    assert crc16(bytes.fromhex("02 07")) == bytes.fromhex("41 12")
    # A frame that is often printed: unit 1, two holding registers from 0 (C4 0B).
    assert crc16(bytes.fromhex("01 03 00 00 00 02")) == bytes.fromhex("C4 0B")


def _frame(body: str) -> bytes:
    data = bytes.fromhex(body)
    return data + crc16(data)


FRAMES = {
    "01 03 00 00 00 02": (1, 3), "11 05 00 AC FF 00": (17, 5), "00 06 00 01 00 03": (0, 6),
    "01 0F 00 13 00 0A 02 CD 01": (1, 15), "01 10 00 01 00 02 04 00 0A 01 02": (1, 16),
    "01 16 00 04 00 F2 00 25": (1, 22), "01 17 00 03 00 06 00 0E 00 01 02 00 FF": (1, 23),
    "01 2B 0E 01 00": (1, 43), "01 07": (1, 7), "01 08 00 00 A5 37": (1, 8),
}  # fmt: skip


def test_serial_frames_are_told_apart_by_their_functions_in_any_pieces() -> None:
    stream = b"".join(_frame(body) for body in FRAMES)
    for size in (1, 2, 3, 7, len(stream)):
        framer, found = RtuFramer(), []
        for k in range(0, len(stream), size):
            found += framer.feed(stream[k : k + size])
        assert [(request.unit, request.pdu[0]) for request in found] == list(FRAMES.values())
        assert framer.dropped == 0


def test_a_broken_serial_frame_is_dropped_and_the_next_is_heard() -> None:
    framer = RtuFramer()
    good = _frame("01 03 00 00 00 02")
    assert framer.feed(good[:-1] + b"\x00") == []
    assert framer.dropped == 1
    assert framer.feed(good) == [Request(1, bytes.fromhex("03 00 00 00 02"))]
    assert framer.feed(good[:5]) == []
    framer.drop()  # silence
    assert framer.feed(good) == [Request(1, bytes.fromhex("03 00 00 00 02"))]
    assert framer.wrap(Request(1, b""), bytes.fromhex("83 02")) == bytes.fromhex("01 83 02 C0 F1")


def test_any_serial_bytes_are_dropped_or_requests() -> None:
    rng, framer = random.Random(8), RtuFramer()
    for _ in range(2000):
        for request in framer.feed(rng.randbytes(rng.randrange(1, 40))):
            assert request.pdu
        framer.drop()
