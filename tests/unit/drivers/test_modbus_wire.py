"""Received bytes are checked before pymodbus sees them; frames written out after Modbus Messaging on TCP/IP V1.0b."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadInputRegistersRequest, WriteMultipleRegistersRequest

from controller.drivers.modbus_plan import Block
from controller.drivers.modbus_wire import (
    RawInputRegisters,
    RawRegisters,
    check_replies,
    explain,
    refusal_hint,
    whole_replies,
)

READ = ReadInputRegistersRequest(1, 5, 100, 2)  # unit 1, transaction 5
WRITE = WriteMultipleRegistersRequest(1, 5, 10, 0, None, (7, 8))
ANSWER = bytes.fromhex("0005 0000 0007 01 04 04 4086 6666")
LATE = bytes.fromhex("0004 0000 0007 01 04 04 dead beef")


@pytest.mark.parametrize("cut", range(len(ANSWER) + 1))
def test_a_right_answer_passes_whole_and_in_every_part(cut: int) -> None:
    assert check_replies(ANSWER[:cut], READ) == ""
    assert check_replies(LATE + ANSWER[:cut], READ) == ""
    assert whole_replies(LATE + ANSWER[:cut]) is (cut in {0, len(ANSWER)})


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ("0005 0001 0007 01 04 04 4086 6666", "bytes that are not Modbus TCP: 00 05 00 01"),
        ("0005 0000 0002 01 84", "bytes that are not Modbus TCP"),
        ("0005 0000 ffff 01 04 04", "bytes that are not Modbus TCP"),
        ("0000 0000 0007 01 04 04 4086 6666", "an answer with transaction 0 to request 5"),
        ("0005 0000 0007 02 04 04 4086 6666", "an answer of unit 2 to a request to unit 1"),
        ("0005 0000 0007 01 03 04 4086 6666", "an answer to function 3 to a request for function 4"),
        ("0005 0000 0003 01 83 02", "an answer to function 131"),
        ("0005 0000 0004 01 84 02 00", "an exception of 4 bytes instead of 3"),
        ("0005 0000 0005 01 04 02 4086", "an answer of 5 bytes instead of 7"),
        ("0005 0000 0007 01 04 02 4086 6666", "a byte count of 2 instead of 4"),
        ("0004 0000 0007 01 04 04 4086 6666 0005 0000 0003 01 83 02", "an answer to function 131"),
    ],
)
def test_every_other_answer_is_named(frame: str, text: str) -> None:
    assert text in check_replies(bytes.fromhex(frame), READ)


def test_exceptions_and_write_echoes_pass() -> None:
    assert check_replies(bytes.fromhex("0005 0000 0003 01 84 02"), READ) == ""
    assert check_replies(bytes.fromhex("0005 0000 0006 01 10 000a 0002"), WRITE) == ""
    wrong = check_replies(bytes.fromhex("0005 0000 0006 01 10 000b 0002"), WRITE)
    assert wrong == "an echo 00 0b 00 02 instead of 00 0a 00 02"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.booleans())
def test_what_passes_cannot_break_pymodbus(tail: bytes, ours: bool) -> None:
    data = (bytes.fromhex("0005 0000") if ours else b"") + tail
    if check_replies(data, READ):
        return
    decoder = DecodePDU(False)
    decoder.register(RawRegisters)
    decoder.register(RawInputRegisters)
    _, pdu = FramerSocket(decoder).handleFrame(data, 1, 5)  # raises on a reply that it cannot unpack
    if isinstance(pdu, RawRegisters):
        assert len(pdu.payload) == 4
        assert pdu.transaction_id == 5


def test_registers_stay_bytes() -> None:
    decoder = DecodePDU(False)
    decoder.register(RawInputRegisters)
    _, pdu = FramerSocket(decoder).handleFrame(ANSWER, 1, 5)
    assert isinstance(pdu, RawInputRegisters)
    assert pdu.payload == bytes.fromhex("4086 6666")


def test_hints_say_what_to_do() -> None:
    assert "max_gap_registers = 0" in refusal_hint(2, Block("input", 0, 20))
    assert "max_gap_registers" not in refusal_hint(2, Block("input", 0, 1))
    assert explain(77)[0] == "exception 77, which the standard does not define"
