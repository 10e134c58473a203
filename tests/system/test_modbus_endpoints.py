"""Every way to a simulated Modbus device, spoken by the controller's own driver over real sockets and terminals."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controller.errors import DeviceLostError
from controller.types import Quality, Write
from tests.system.modbus_plant import CHANNELS, START_S, Plant, equipment, running

pytestmark = pytest.mark.system

SCHEMES = ["modbus.tcp", "modbus.tls", "modbus.rtu+tcp", "modbus.rtu"]


def endpoint(scheme: str, folder: Path, port: int) -> str:
    if scheme == "modbus.rtu":
        return f"modbus.rtu://{folder}/tty?baud=115200&unit=3"
    return f"{scheme}://127.0.0.1:{port}/3"


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_registers_bits_units_and_orders_are_read_and_written(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(Plant(equipment(), endpoint(scheme, tmp_path, free_port()), tmp_path)) as plant:
        for scan in (1, 2):
            frames = await plant.read()
            channel = frames["channel"]
            assert channel.columns["voltage_v"].tolist() == [3.5, 3.625, 3.75]
            assert channel.columns["count"].tolist() == [70_000 * scan + k for k in range(CHANNELS)]
            assert channel.columns["serial"].tolist() == [2**40 + k for k in range(CHANNELS)]
            assert channel.time_ns.tolist() == [(START_S + scan) * 10**9] * CHANNELS
            assert (channel.quality == Quality.GOOD).all()
            assert np.flatnonzero(frames["door"].columns["open"]).tolist() == [0, 3, 8, 9]
            assert frames["board"].columns["board_c"].tolist() == [-12.5]
        writes = [Write("current_sp_a", (1.5,)), Write("mode", (4.0,)), Write("closed", (0.0, 1.0, 1.0))]
        await plant.driver.write(writes)
        assert plant.rack.written == {"current_sp_a": [1.5], "mode": [4.0], "closed": [0.0, 1.0, 1.0]}
        await plant.scan()
        held = await plant.driver.read_back(["current_sp_a", "mode", "closed", "board_c"])
        assert {tag: values.tolist() for tag, values in held.items()} == {
            "current_sp_a": [1.5], "mode": [4.0], "closed": [0.0, 1.0, 1.0], "board_c": [-12.5],
        }  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_server_that_stops_can_start_again_and_leaves_nothing(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    plant = Plant(equipment(), endpoint(scheme, tmp_path, free_port()), tmp_path)
    async with running(plant):
        assert len(await plant.read()) == 3
        await plant.server.stop()
        with pytest.raises(DeviceLostError):
            await plant.read()
        await plant.driver.stop()
        await plant.server.start()
        await plant.driver.start()
        assert len(await plant.read()) == 3
    assert not (tmp_path / "tty").is_symlink()


@pytest.mark.asyncio
async def test_certificates_are_made_once_kept_private_and_both_sides_are_checked(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    where = f"modbus.tls://127.0.0.1:{free_port()}/3"
    async with running(Plant(equipment(timeout_s=5.0), where, tmp_path)) as plant:
        made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert sorted(made) == ["ca.pem", "client.pem", "client_key.pem", "server.pem", "server_key.pem"]
        assert stat.S_IMODE((tmp_path / "server_key.pem").stat().st_mode) == 0o600
        nobody = plant.new_driver(tls={"ca": "ca.pem"})
        with pytest.raises(DeviceLostError):
            await nobody.start()  # TLS 1.3 may tell only the first read
            await nobody.read()
        await nobody.stop()
        stranger = plant.new_driver(tls=None)
        with pytest.raises(DeviceLostError, match=r"certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
            await stranger.start()
        lost = plant.new_driver(tls={"ca": "elsewhere.pem"})
        with pytest.raises(DeviceLostError, match=r"no such certificate file: .*elsewhere\.pem"):
            await lost.start()
        old = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        assert old.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert len(await plant.read()) == 3
    async with running(Plant(equipment(timeout_s=5.0), where, tmp_path)) as plant:
        assert len(await plant.read()) == 3
        assert made == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.asyncio
async def test_a_serial_port_has_one_master_and_must_be_there(tmp_path: Path) -> None:
    where = f"modbus.rtu://{tmp_path}/tty?unit=3&baud=115200"
    async with running(Plant(equipment(timeout_s=5.0), where, tmp_path)) as plant:
        second = plant.new_driver()
        with pytest.raises(DeviceLostError, match="another program has this port open"):
            await second.start()
        gone = plant.new_driver(endpoint=f"modbus.rtu://{tmp_path}/none?unit=3")
        with pytest.raises(DeviceLostError, match=r"No such file or directory: .*none"):
            await gone.start()
        odd = plant.new_driver(endpoint=f"modbus.rtu://{tmp_path}/tty?unit=3&baud=12345")
        with pytest.raises(DeviceLostError, match="knows no serial line of 12345 baud"):
            await odd.start()
        (tmp_path / "file").touch()
        plain = plant.new_driver(endpoint=f"modbus.rtu://{tmp_path}/file?unit=3")
        with pytest.raises(DeviceLostError, match="no serial port"):
            await plain.start()
        assert len(await plant.read()) == 3


@pytest.mark.asyncio
async def test_a_name_that_is_taken_is_not_taken_away_and_one_left_behind_is(tmp_path: Path) -> None:
    plant = Plant(equipment(), f"modbus.rtu://{tmp_path}/tty?unit=3&baud=115200", tmp_path)
    (tmp_path / "tty").write_text("somebody's")
    await plant.server.publish(plant.rack.outputs(), 0)
    with pytest.raises(FileExistsError):
        await plant.server.start()
    await plant.server.stop()
    assert (tmp_path / "tty").read_text() == "somebody's"
    (tmp_path / "tty").unlink()
    (tmp_path / "tty").symlink_to("/dev/pts/left-behind")
    async with running(plant):
        assert len(await plant.read()) == 3
