"""Clients that we did not write, and a machine that shows every type in every order. No tests."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import re
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import Equipment
from simulators.servers.modbus import ModbusServer

MBPOLL = shutil.which("mbpoll")
LIBMODBUS = ctypes.util.find_library("modbus")

VALUES = {
    "uint16": 0xBEEF, "int16": -12_345, "uint32": 0xDEADBEEF, "int32": -123_456_789, "uint64": 2**53 - 2**33 + 7,
    "int64": -(2**40) - 77, "float32": 3.140625, "float64": -1.0 / 3.0,
}  # fmt: skip
FORM = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip
ORDERS = {"abcd": ("big", "big"), "cdab": ("little", "big"), "badc": ("big", "little"), "dcba": ("little", "little")}
CASES = list(product(VALUES, ORDERS))
ADDRESS = {case: 200 + 4 * k for k, case in enumerate(CASES)}


def everything() -> Equipment:
    """Every type in every order, as input and as holding registers, and bits."""
    tags = [
        {"name": f"{kind}_{order}", "address": ADDRESS[kind, order], "type": kind,
         "word_order": ORDERS[order][0], "byte_order": ORDERS[order][1]}
        for kind, order in CASES
    ]  # fmt: skip
    written = [tag | {"name": "w_" + str(tag["name"]), "access": "write"} for tag in tags]
    bit = {"name": "lamp", "address": 7, "type": "bool"}
    coil = {"name": "relay", "address": 7, "type": "bool", "access": "write"}
    many = {"points": 12, "point_name": "k", "stride": 1}
    groups = [
        {"name": "shown", "table": "input", "tag": tags},
        {"name": "written", "table": "holding", "tag": written},
        {"name": "lamps", "table": "discrete", **many, "tag": [bit]},
        {"name": "relays", "table": "coil", **many, "tag": [coil]},
        {"name": "unit9", "table": "input", "unit": 9, "tag": [{"name": "other", "address": 200, "type": "uint16"}]},
    ]
    options = {"unused_registers": "refused", "max_block_registers": 100, "revision": "3.1"}
    return Equipment.model_validate(
        {"name": "everything", "title": "Everything", "protocol": "modbus", "modbus": options, "group": groups}
    )


class Machine:
    """Shows VALUES and what is written."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {f"{kind}_{order}": np.array([float(VALUES[kind])]) for kind, order in CASES}
        self.shown |= {"w_" + name: np.zeros(1) for name in self.shown}
        self.shown |= {"lamp": np.arange(12) % 3 == 0, "relay": np.zeros(12), "other": np.array([99.0])}
        self.shown["lamp"] = self.shown["lamp"].astype(float)

    def write(self, tag: str, values: Any) -> None:
        self.shown[tag] = np.concatenate([values, self.shown[tag][len(values) :]])


@asynccontextmanager
async def serving(endpoint: str, folder: Path) -> AsyncIterator[Machine]:
    machine = Machine()
    server = ModbusServer(everything(), endpoint, machine.write)
    server.keep_in(folder)
    await server.publish(machine.shown, 0)
    await server.start()
    try:
        yield machine
    finally:
        await server.stop()


def _port(endpoint: str) -> str:
    return endpoint.rpartition(":")[2].partition("/")[0]


Poll = Callable[..., Awaitable[tuple[int, str]]]


def mbpoll_at(endpoint: str) -> Poll:
    """mbpoll with the arguments of a case; its exit code and what it printed."""
    if endpoint.startswith("modbus.rtu:"):
        place = endpoint.removeprefix("modbus.rtu://").partition("?")[0]
        way = ["-m", "rtu", "-b", "19200", "-P", "none"]
    else:
        place, way = "127.0.0.1", ["-m", "tcp", "-p", _port(endpoint)]

    async def poll(*arguments: str, unit: int = 3, write: tuple[str, ...] = ()) -> tuple[int, str]:
        command = [str(MBPOLL), *way, "-a", str(unit), "-0", "-1", "-o", "0.5", *arguments, place, *write]
        process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2)
        printed, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed.decode()

    return poll


def numbers(printed: str) -> list[float]:
    """The values of lines such as `[200]: 3.14`; a signed reading of 16 bits comes after the unsigned one."""
    return [float(found) for found in re.findall(r"^\[\d+\]:\s+(-?[\d.e+-]+)", printed, re.MULTILINE)]


def words(printed: str) -> bytes:
    return b"".join(bytes.fromhex(found) for found in re.findall(r"^\[\d+\]:\s+0x([0-9A-F]{4})", printed, re.MULTILINE))


def on_the_wire(kind: str, order: str, value: float | None = None) -> bytes:
    """Registers of a value, from the order's letters: A is the most significant byte."""
    straight = struct.pack(">" + FORM[kind], VALUES[kind] if value is None else value)
    pairs = [straight[k : k + 2] for k in range(0, len(straight), 2)]
    if order in {"cdab", "dcba"}:
        pairs.reverse()
    return b"".join(pair[::-1] if order in {"badc", "dcba"} else pair for pair in pairs)


def place_of(scheme: str, folder: Path, port: int) -> str:
    return f"modbus.rtu://{folder}/tty?unit=3" if scheme == "modbus.rtu" else f"{scheme}://127.0.0.1:{port}/3"


class Libmodbus:
    """The few calls of libmodbus 3.1 that are made here."""

    ILLEGAL_ADDRESS = 112_345_678 + 2  # MODBUS_ENOBASE + the exception

    def __init__(self, endpoint: str, unit: int) -> None:
        self._lib = ctypes.CDLL(str(LIBMODBUS), use_errno=True)
        self._lib.modbus_new_tcp.restype = self._lib.modbus_new_rtu.restype = ctypes.c_void_p
        self._lib.modbus_strerror.restype = ctypes.c_char_p
        for order in ORDERS:
            getattr(self._lib, f"modbus_get_float_{order}").restype = ctypes.c_float
        if endpoint.startswith("modbus.rtu:"):
            path = endpoint.removeprefix("modbus.rtu://").partition("?")[0].encode()
            made = self._lib.modbus_new_rtu(path, 19_200, ctypes.c_char(b"N"), 8, 1)
        else:
            made = self._lib.modbus_new_tcp(b"127.0.0.1", int(_port(endpoint)))
        self._context = ctypes.c_void_p(made)
        self._lib.modbus_set_slave(self._context, unit)
        self._lib.modbus_set_response_timeout(self._context, 2, 0)
        self.check(self._lib.modbus_connect(self._context))

    def check(self, code: int) -> int:
        if code < 0:
            raise OSError(ctypes.get_errno(), self._lib.modbus_strerror(ctypes.get_errno()).decode())
        return code

    def read(self, table: str, address: int, count: int) -> list[int]:
        call = {"input": "modbus_read_input_registers", "holding": "modbus_read_registers"}[table]
        held = (ctypes.c_uint16 * count)()
        assert self.check(getattr(self._lib, call)(self._context, address, count, held)) == count
        return list(held)

    def get_float(self, order: str, registers: list[int]) -> float:
        return float(getattr(self._lib, f"modbus_get_float_{order}")((ctypes.c_uint16 * 2)(*registers)))

    def write(self, address: int, registers: list[int]) -> None:
        held = (ctypes.c_uint16 * len(registers))(*registers)
        self.check(self._lib.modbus_write_registers(self._context, address, len(registers), held))

    def mask_write(self, address: int, both: int, either: int) -> None:
        self.check(self._lib.modbus_mask_write_register(self._context, address, both, either))

    def write_and_read(self, write_at: int, value: int, read_at: int, count: int) -> list[int]:
        held = (ctypes.c_uint16 * count)()
        source = (ctypes.c_uint16 * 1)(value)
        call = self._lib.modbus_write_and_read_registers
        self.check(call(self._context, write_at, 1, source, read_at, count, held))
        return list(held)

    def bits(self, address: int, count: int) -> list[int]:
        held = (ctypes.c_uint8 * count)()
        self.check(self._lib.modbus_read_input_bits(self._context, address, count, held))
        return list(held)

    def close(self) -> None:
        self._lib.modbus_close(self._context)
        self._lib.modbus_free(self._context)
