"""Serial answers are checked before pymodbus sees them; frames after Modbus over serial line V1.02 with CRCs by hand.

Also what the driver makes of other units, bits and byte orders before anything is sent.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, WriteMultipleCoilsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from configs.schema import Equipment, ModbusOptions
from controller.drivers.modbus_codec import Decoder, join_registers
from controller.drivers.modbus_plan import Block, plan_polls, plan_reads
from controller.drivers.modbus_wire import RAW_REPLIES, RawRegisters, check_rtu
from controller.drivers.modbus_writes import plan_writes
from controller.types import Write

READ = ReadHoldingRegistersRequest(1, 0, 100, 2)  # unit 1
WRITE = WriteMultipleRegistersRequest(1, 0, 10, 0, None, (7, 8))
# A frame that is often printed: unit 1 answers two registers, 6 and 5 (CRC DA 31 on the line).
ANSWER = bytes.fromhex("01 03 04 00 06 00 05 DA 31")
EXCEPTION = bytes.fromhex("01 83 02 C0 F1")


@pytest.mark.parametrize("cut", range(len(ANSWER) + 1))
def test_a_right_answer_passes_whole_and_waits_in_part(cut: int) -> None:
    assert check_rtu(ANSWER[:cut], READ) == ("", cut == len(ANSWER))


@pytest.mark.parametrize("request_", [READ, ReadCoilsRequest(1, 0, 0, 9), WRITE, ReadDeviceInformationRequest(4, 2, 1)])
def test_an_exception_answers_every_request_of_its_function(request_: object) -> None:
    pdu = bytes((1, request_.function_code | 0x80, 2))  # type: ignore[attr-defined]
    frame = pdu + FramerRTU.compute_CRC(pdu).to_bytes(2, "big")
    assert check_rtu(frame, request_) == ("", True)  # type: ignore[arg-type]
    assert check_rtu(EXCEPTION, READ) == ("", True)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ("02", "an answer of unit 2 to a request to unit 1"),
        ("01 04 04 00 06 00 05 DA 31", "an answer to function 4 to a request for function 3"),
        ("01 03 02 00 06", "a byte count of 2 instead of 4"),
        ("01 03 04 00 06 00 05 DA 30", "a wrong checksum"),
        ("01 03 04 00 07 00 05 DA 31", "a wrong checksum"),
        ("01 03 04 00 06 00 05 DA 31 01", "1 bytes more than its answer has"),
        ("01 84 02 C0 F1", "an answer to function 132"),
    ],
)
def test_every_other_answer_is_named(frame: str, text: str) -> None:
    fault, whole = check_rtu(bytes.fromhex(frame), READ)
    assert text in fault
    assert not whole


def test_echoes_bits_and_identifications_have_lengths_of_their_own() -> None:
    def sealed(body: str) -> bytes:
        data = bytes.fromhex(body)
        return data + FramerRTU.compute_CRC(data).to_bytes(2, "big")

    assert check_rtu(sealed("01 10 00 0A 00 02"), WRITE) == ("", True)
    assert "an echo 00 0b" in check_rtu(sealed("01 10 00 0B 00 02"), WRITE)[0]
    assert check_rtu(sealed("01 0F 00 00 00 09"), WriteMultipleCoilsRequest(0, [True] * 9, 1)) == ("", True)
    assert check_rtu(sealed("01 01 02 FF 01"), ReadCoilsRequest(1, 0, 0, 9)) == ("", True)
    assert "a byte count of 1 instead of 2" in check_rtu(sealed("01 01 01 FF"), ReadCoilsRequest(1, 0, 0, 9))[0]
    told = sealed("01 2B 0E 04 82 00 00 01 02 03 32 2E 34")
    for cut in range(len(told) + 1):
        assert check_rtu(told[:cut], ReadDeviceInformationRequest(4, 2, 1)) == ("", cut == len(told))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.booleans())
def test_what_passes_cannot_break_pymodbus(tail: bytes, ours: bool) -> None:
    data = (bytes.fromhex("01 03 04") if ours else b"") + tail
    fault, whole = check_rtu(data, READ)
    if fault or not whole:
        return
    decoder = DecodePDU(False)
    for reply in RAW_REPLIES:
        decoder.register(reply)
    _, pdu = FramerRTU(decoder).handleFrame(data, 1, 0)
    if isinstance(pdu, RawRegisters):
        assert len(pdu.payload) == 4


def equipment(**modbus: object) -> Equipment:
    def group(name: str, tag: dict[str, object], **more: object) -> dict[str, object]:
        return {"name": name, "period_s": 1.0, "tag": [{"name": f"{name}_x", **tag}], **more}

    return Equipment.model_validate(
        {"name": "e", "title": "E", "protocol": "modbus", "modbus": modbus, "group": [
            group("a", {"address": 0, "type": "uint16"}),
            group("b", {"address": 1, "type": "uint16"}, unit=9),
            group("c", {"address": 0, "type": "bool"}, table="discrete", points=9, point_name="k", stride=1),
            group("d", {"address": 0, "type": "bool", "access": "write"}, table="coil"),
            group("e", {"address": 4, "type": "uint32", "access": "write", "byte_order": "little"}, table="holding"),
            group("f", {"address": 4, "type": "uint16", "access": "write"}, table="holding", unit=9),
        ]}
    )  # fmt: skip


def test_units_are_polled_apart_and_tables_read_by_themselves() -> None:
    own, other = plan_polls(equipment())
    assert (own.unit, other.unit) == (None, 9)
    assert own.plan.blocks == (
        Block("input", 0, 1), Block("holding", 4, 2), Block("discrete", 0, 9), Block("coil", 0, 1),
    )  # fmt: skip
    assert other.plan.blocks == (Block("input", 1, 1, 9), Block("holding", 4, 1, 9))
    assert str(other.plan.blocks[0]) == "input registers 1 to 1 of unit 9"
    assert str(own.plan.blocks[2]) == "discrete inputs 0 to 8"


def test_holes_that_are_refused_are_not_read_through() -> None:
    tags = [{"name": "p", "address": 0, "type": "uint16"}, {"name": "q", "address": 2, "type": "uint16"}]
    made = Equipment.model_validate(
        {"name": "e", "title": "E", "protocol": "modbus", "group": [{"name": "g", "tag": tags}]}
    )
    wanted = [(made.group[0], tag) for tag in made.group[0].tag]
    refused = ModbusOptions.model_validate({"unused_registers": "refused"})
    assert plan_reads(ModbusOptions(), wanted).blocks == (Block("input", 0, 3),)
    assert plan_reads(refused, wanted).blocks == (Block("input", 0, 1), Block("input", 2, 1))


def test_writes_of_bits_orders_and_units_go_each_their_way() -> None:
    blocks = plan_writes(equipment(), [Write("d_x", (1.0,)), Write("e_x", (0x01020304,)), Write("f_x", (7.0,))])
    assert [(str(b), b.registers) for b in blocks] == [
        ("coils 0 to 0", (1,)),
        ("holding registers 4 to 5", (0x0201, 0x0403)),
        ("holding registers 4 to 4 of unit 9", (7,)),
    ]


@pytest.mark.parametrize(
    ("word_order", "byte_order", "data"),
    [
        ("big", "big", "0102030405060708"),
        ("little", "big", "0708050603040102"),
        ("big", "little", "0201040306050807"),
        ("little", "little", "0807060504030201"),
    ],
)
def test_64_bits_in_every_order_of_words_and_bytes(word_order: str, byte_order: str, data: str) -> None:
    tag = {"name": "x", "address": 0, "type": "uint64", "word_order": word_order, "byte_order": byte_order}
    made = Equipment.model_validate(
        {"name": "e", "title": "E", "protocol": "modbus", "group": [{"name": "g", "tag": [tag]}]}
    )
    plan = plan_reads(ModbusOptions(), [(made.group[0], made.group[0].tag[0])])
    found = Decoder(plan.columns).decode(join_registers([bytes.fromhex(data)], plan.registers))
    np.testing.assert_array_equal(found.columns["x"], [float(0x0102030405060708)])
