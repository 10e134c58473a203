"""What we add to pymodbus on the wire: replies kept as bytes, and a check of every received byte before it is believed.

Pure; no socket. pymodbus 3.16 unpacks registers one by one (about 30 us for 125), takes a reply with transaction 0 for
any request, waits out the timeout on bytes that are not Modbus, and raises inside the event loop on a reply that it
cannot unpack. `check_replies` sees the bytes first and names the fault at once.
"""

from __future__ import annotations

import struct

from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, WriteMultipleCoilsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, WriteMultipleRegistersRequest

from controller.drivers.modbus_plan import Block

BUSY = 6
GATEWAY_CODES = (10, 11)

# Modbus Application Protocol V1.1b3, section 7, and what a person can do about each.
EXCEPTIONS = {
    1: ("illegal function", "the device does not offer this kind of access: is the group's table right?"),
    2: ("illegal data address", "compare the address with the device's manual (zero-based here)"),
    3: ("illegal data value", "the device does not take this value or this many registers at once"),
    4: ("server device failure", "look at the device itself"),
    5: ("acknowledge, still working", "the device needs longer than a request may take"),
    6: ("server device busy", "poll more slowly, or let fewer masters ask this device"),
    8: ("memory parity error", "the device's memory is damaged: have it serviced"),
    10: ("gateway path unavailable", "the gateway has no way to this unit: check the unit number and its settings"),
    11: ("gateway target failed to respond", "the device behind the gateway is silent: check its power and wiring"),
}

_HEADER = struct.Struct(">HHHBB")  # transaction, protocol, length, unit, function (Modbus Messaging on TCP/IP V1.0b)
_LONGEST = 254  # unit, function and 252 bytes of data
_EXCEPTION_BIT = 0x80


class RawRegisters(ReadHoldingRegistersResponse):
    """Reply to function 3 whose registers stay bytes, big-endian as they came."""

    function_code = 3
    payload: bytes = b""

    def decode(self, data: bytes) -> None:
        """Keeps what follows the byte count; `check_replies` has compared lengths before."""
        self.payload = data[1:]

    def __str__(self) -> str:  # pymodbus formats every reply for its debug log, also when nobody logs
        return "RawRegisters"


class RawInputRegisters(RawRegisters):
    """Reply to function 4, likewise."""

    function_code = 4


class RawCoils(RawRegisters):
    """Reply to function 1: bits, the first in the lowest bit of the first byte."""

    function_code = 1


class RawDiscreteInputs(RawRegisters):
    """Reply to function 2, likewise."""

    function_code = 2


RAW_REPLIES = (RawRegisters, RawInputRegisters, RawCoils, RawDiscreteInputs)


def explain(code: int) -> tuple[str, str]:
    """Name of a Modbus exception code and a hint."""
    return EXCEPTIONS.get(code, (f"exception {code}, which the standard does not define", "see the device's manual"))


def refusal_hint(code: int, block: Block) -> str:
    """What to check when a block read was refused."""
    hint = explain(code)[1]
    if code in (2, 3) and block.count > 1:
        hint += "; registers between tags may not exist in this device: try max_gap_registers = 0"
    return hint


_WRITES = (WriteMultipleRegistersRequest, WriteMultipleCoilsRequest)


def _data_bytes(request: ModbusPDU) -> int:
    """Byte count of the right answer to a read."""
    return (request.count + 7) // 8 if isinstance(request, ReadCoilsRequest) else 2 * request.count


def _body_length(request: ModbusPDU) -> int | None:
    """Length field of the right answer: unit, function, then byte count and data or the echo; None: any."""
    if isinstance(request, ReadDeviceInformationRequest):
        return None
    return 6 if isinstance(request, _WRITES) else 3 + _data_bytes(request)


def whole_replies(data: bytes) -> bool:
    """True where `data` is nothing or whole frames; a repeated answer is one, and skipped by its transaction number."""
    at, size = 0, len(data)
    while size - at >= _HEADER.size:
        at += 6 + int(_HEADER.unpack_from(data, at)[2])
    return at == size


def check_replies(data: bytes, request: ModbusPDU) -> str:
    """What is wrong with the bytes received since `request` was sent; "" where nothing is, also when more must follow.

    Whole replies to earlier transactions are fine (they are late, and skipped); nothing else is.
    """
    at, size = 0, len(data)
    while size - at >= _HEADER.size:
        transaction, protocol, length, unit, function = _HEADER.unpack_from(data, at)
        if protocol != 0 or not 3 <= length <= _LONGEST:
            return f"bytes that are not Modbus TCP: {data[at : at + 16].hex(' ')}"
        if transaction == 0:
            return f"an answer with transaction 0 to request {request.transaction_id}: it may answer anything"
        if transaction == request.transaction_id:
            if unit != request.dev_id:
                return f"an answer of unit {unit} to a request to unit {request.dev_id}"
            if fault := _check_answer(data[at:], request, length, function):
                return fault
        at += 6 + length
    return ""


def _check_answer(data: bytes, request: ModbusPDU, length: int, function: int) -> str:
    """What is wrong with the PDU of an answer to `request`; it may not be complete yet."""
    fault = ""
    if function == request.function_code | _EXCEPTION_BIT:
        if length != 3:
            fault = f"an exception of {length} bytes instead of 3"
    elif function != request.function_code:
        fault = f"an answer to function {function} to a request for function {request.function_code}"
    elif (right := _body_length(request)) is None:
        pass
    elif length != right:
        fault = f"an answer of {length} bytes instead of {right}"
    elif isinstance(request, _WRITES):
        echo = struct.pack(">HH", request.address, request.count)
        if not echo.startswith(data[8:12]):
            fault = f"an echo {data[8:12].hex(' ')} instead of {echo.hex(' ')}"
    elif len(data) > _HEADER.size and data[_HEADER.size] != _data_bytes(request):
        fault = f"a byte count of {data[_HEADER.size]} instead of {_data_bytes(request)}"
    return fault


def _identification_length(frame: bytes) -> int:
    """Bytes of unit and PDU of a device identification (V1.1b3, 6.21), as far as can be told."""
    size = 8
    for _ in range(frame[7] if len(frame) >= size else 0):
        size += 2 + (frame[size + 1] if len(frame) > size + 1 else 0)
    return size


def check_rtu(data: bytes, request: ModbusPDU) -> tuple[str, bool]:
    """What is wrong with the serial bytes received since `request` was sent, and whether its answer is complete.

    There is no transaction number: a late answer to an earlier request for as many registers of the same unit looks
    right. Whoever gave one up has to close the line before he asks again.
    """
    if data and data[0] != request.dev_id:
        return f"an answer of unit {data[0]} to a request to unit {request.dev_id}", False
    if len(data) < 2:
        return "", False
    unit, function = data[0], data[1]
    length = 3 if function & _EXCEPTION_BIT else (_body_length(request) or _identification_length(data))
    header = _HEADER.pack(0, 0, length, unit, function)[:6]
    if fault := _check_answer(header + data[:length], request, length, function):
        return fault, False
    fault, missing = "", length + 2 - len(data)
    if missing < 0:
        fault = f"{-missing} bytes more than its answer has"
    elif missing == 0 and not FramerRTU.check_CRC(data[:length], int.from_bytes(data[length:], "big")):
        fault = "an answer with a wrong checksum"
    return fault, missing == 0 and not fault
