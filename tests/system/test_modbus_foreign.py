"""The simulated Modbus server driven by clients that we did not write: mbpoll, libmodbus, pymodbus.

mbpoll and libmodbus are Debian packages of these names; what is absent is skipped with a reason.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient

from tests.system.modbus_clients import (
    ADDRESS,
    CASES,
    FORM,
    LIBMODBUS,
    MBPOLL,
    ORDERS,
    VALUES,
    Libmodbus,
    mbpoll_at,
    numbers,
    on_the_wire,
    place_of,
    serving,
    words,
)

pytestmark = pytest.mark.system

needs_mbpoll = pytest.mark.skipif(MBPOLL is None, reason="mbpoll is not installed (Debian package mbpoll)")
needs_libmodbus = pytest.mark.skipif(LIBMODBUS is None, reason="libmodbus is not installed (Debian package libmodbus5)")
BOTH = pytest.mark.parametrize("scheme", ["modbus.tcp", "modbus.rtu"])


@needs_mbpoll
@BOTH
@pytest.mark.asyncio
async def test_mbpoll_reads_every_type_and_order_that_it_knows(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    endpoint = place_of(scheme, tmp_path, free_port())
    async with serving(endpoint, tmp_path):
        poll = mbpoll_at(endpoint)
        for kind, order in CASES:
            at, wide = ("-r", str(ADDRESS[kind, order])), struct.calcsize(FORM[kind]) // 2
            if scheme == "modbus.tcp":  # over and over on a line of 19200 baud takes long
                code, printed = await poll("-t", "3:hex", *at, "-c", str(wide))
                assert (code, words(printed)) == (0, on_the_wire(kind, order)), (kind, order)
            if kind in {"int32", "float32"} and order in {"abcd", "cdab"}:
                turn = ["-B"] if order == "abcd" else []
                code, printed = await poll("-t", "3:int" if kind == "int32" else "3:float", *at, *turn)
                # It prints floats with six digits.
                assert (code, numbers(printed)) == (0, [pytest.approx(VALUES[kind], rel=1e-5)]), (kind, order)
            if kind == "uint16" and order == "abcd":
                assert numbers((await poll("-t", "3", *at))[1]) == [VALUES[kind]]


@needs_mbpoll
@BOTH
@pytest.mark.asyncio
async def test_mbpoll_writes_and_reads_bits_units_and_refusals(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    endpoint = place_of(scheme, tmp_path, free_port())
    async with serving(endpoint, tmp_path) as machine:
        poll = mbpoll_at(endpoint)
        assert numbers((await poll("-t", "1", "-r", "7", "-c", "12"))[1]) == [1, 0, 0] * 4
        assert (await poll("-t", "0", "-r", "8", write=("1", "0", "1")))[0] == 0
        assert machine.shown["relay"].tolist() == [0, 1, 0, 1] + [0] * 8
        assert numbers((await poll("-t", "0", "-r", "7", "-c", "12"))[1]) == [0, 1, 0, 1] + [0] * 8
        for kind, order, turn, raw, value in (
            ("float32", "abcd", ["-B"], "4:float", "-2.5"), ("float32", "cdab", [], "4:float", "1234.5"),
            ("int32", "abcd", ["-B"], "4:int", "-70000"), ("uint16", "abcd", [], "4", "48879"),
        ):  # fmt: skip
            at = ("-r", str(ADDRESS[kind, order]))
            assert (await poll("-t", raw, *at, *turn, write=("--", value)))[0] == 0
            assert machine.shown[f"w_{kind}_{order}"].tolist() == [float(value)]
            assert numbers((await poll("-t", raw, *at, *turn))[1]) == [float(value)]
        assert numbers((await poll("-t", "3", "-r", "200", unit=9))[1]) == [99.0]
        hole = ADDRESS["uint16", "abcd"] + 1
        for arguments, complaint in (
            (("-t", "3", "-r", str(hole)), "Illegal data address"),
            (("-t", "3", "-r", "200", "-c", "2"), "Illegal data address"),
            (("-t", "3", "-r", "200", "-c", "101"), "Illegal data value"),
        ):
            code, printed = await poll(*arguments)
            assert (code, complaint in printed) == (1, True), printed
        _, printed = await poll("-t", "3", "-r", "200", unit=77)
        absent = "Connection timed out" if scheme == "modbus.rtu" else "Target device failed to respond"
        assert absent in printed


@needs_libmodbus
@BOTH
@pytest.mark.asyncio
async def test_libmodbus_reads_and_writes_floats_in_all_its_orders(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    endpoint = place_of(scheme, tmp_path, free_port())
    async with serving(endpoint, tmp_path) as machine:

        def drive() -> None:
            client = Libmodbus(endpoint, 3)
            try:
                for order in ORDERS:
                    at = ADDRESS["float32", order]
                    assert client.get_float(order, client.read("input", at, 2)) == VALUES["float32"]
                    # Not by its set_float: 3.1.6 writes the bytes of abcd in another order than it reads them.
                    client.write(at, list(struct.unpack(">2H", on_the_wire("float32", order, -7.125))))
                    assert client.get_float(order, client.read("holding", at, 2)) == -7.125
                assert client.bits(7, 12) == [1, 0, 0] * 4
                word = ADDRESS["uint16", "abcd"]
                assert client.write_and_read(word, 0x12, word, 1) == [0x12]
                client.mask_write(word, 0xF2, 0x25)
                assert client.read("holding", word, 1) == [0x17]
                with pytest.raises(OSError, match="Illegal data address") as refused:
                    client.read("input", word + 1, 1)
                assert refused.value.errno == Libmodbus.ILLEGAL_ADDRESS
                assert client.read("input", word, 1) == [VALUES["uint16"]], "the connection goes on"
            finally:
                client.close()

        await asyncio.to_thread(drive)
        assert [machine.shown[f"w_float32_{order}"][0] for order in ORDERS] == [-7.125] * 4


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["modbus.tcp", "modbus.tls", "modbus.rtu+tcp"])
async def test_pymodbus_reads_every_type_and_who_the_device_is(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with serving(place_of(scheme, tmp_path, port), tmp_path):
        client: AsyncModbusTcpClient
        if scheme == "modbus.tls":
            secure = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            secure.load_cert_chain(tmp_path / "client.pem", tmp_path / "client_key.pem")
            client = AsyncModbusTlsClient("127.0.0.1", port=port, sslctx=secure, reconnect_delay=0)
        else:
            framer = FramerType.RTU if scheme == "modbus.rtu+tcp" else FramerType.SOCKET
            client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, reconnect_delay=0)
        assert await client.connect()
        try:
            types = client.DATATYPE
            for kind, order in CASES:
                if order in {"badc", "dcba"}:
                    continue  # it turns words only
                reply = await client.read_input_registers(
                    ADDRESS[kind, order], count=struct.calcsize(FORM[kind]) // 2, device_id=3
                )
                assert client.convert_from_registers(
                    reply.registers, types[kind.upper()], word_order="big" if order == "abcd" else "little"
                ) == pytest.approx(VALUES[kind], abs=0)
            told = await client.read_device_information(read_code=2, device_id=3)
            assert told.information == {
                0: b"celltwin", 1: b"everything", 2: b"3.1", 4: b"Everything", 5: b"everything",
            }  # fmt: skip
            assert (await client.read_coils(7, count=13, device_id=3)).exception_code == 2
        finally:
            client.close()


@needs_mbpoll
def test_a_rack_on_a_serial_line_is_played_by_the_command(tmp_path: Path) -> None:
    """The whole way: line file, process, pseudo-terminal, and a stranger who reads a cell's voltage."""
    sample = Path(__file__).parents[2] / "configs" / "lines" / "a_sample.toml"
    line, tty = tmp_path / "line.toml", tmp_path / "tty"
    endpoint = f"modbus.rtu://{tty}?baud=115200&unit=17"
    line.write_text(re.sub(r"modbus\.tcp://[^\"]+", endpoint.replace("\\", ""), sample.read_text()))
    base = f"{1_700_000_000 * 10**9},{time.time_ns()},60"
    command = [sys.executable, "-m", "simulators", "rack1", "--line", str(line), "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [*command, "--time-base", base, "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"ready rack1 {endpoint}\n"
            arguments = ["-m", "rtu", "-a", "17", "-b", "115200", "-P", "none", "-0", "-1", "-t", "3:float", "-B"]
            read = [str(MBPOLL), *arguments, "-r", str(1000 + 63 * 24), "-c", "2", str(tty)]
            printed = subprocess.run(read, capture_output=True, text=True, check=True, timeout=20).stdout
            volts, amps = numbers(printed)
            assert 0.0 < volts < 4.5
            assert abs(amps) < 20.0
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0
    assert not tty.is_symlink()
