"""What breaks in a simulated Modbus server, seen by the controller's driver: loss is said and nothing false is read.

The driver is started again by hand where the supervisor would; holes are held against the gap detector's records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.errors import DeviceLostError, DeviceRefusedError, PeerError, ProtocolError
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.types import Frame
from tests.system.modbus_plant import NS_PER_S, START_S, Plant, equipment, running
from tests.system.test_modbus_endpoints import endpoint

pytestmark = [pytest.mark.long, pytest.mark.system]

BOTH = pytest.mark.parametrize("scheme", ["modbus.tcp", "modbus.rtu"])


class Watcher:
    """Reads a plant as the gateway does, checks every value, and keeps the gaps."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        streams = ("channel", "door", "board")
        self._detector = GapDetector({("rack1", name): StreamRule(1.0, True) for name in streams})
        self.gaps: list[float] = []

    async def read(self) -> Mapping[str, Frame]:
        frames = await self.plant.read()
        for frame in frames.values():
            if (gap := self._detector.observe(frame)) is not None and frame.stream == "channel":
                self.gaps.append(float(gap.columns["duration_s"][0]))
        if "channel" in frames:
            seconds = (frames["channel"].time_ns // NS_PER_S - START_S).tolist()
            assert seconds == [self.plant.rack.scan] * 3
            assert frames["channel"].columns["voltage_v"].tolist() == [3.5, 3.625, 3.75]
            assert frames["channel"].columns["count"].tolist() == [70_000 * seconds[0] + k for k in range(3)]
        if "board" in frames:
            assert frames["board"].columns["board_c"].tolist() == [-12.5]
        return frames

    async def lose(self, text: str, kind: type[PeerError] = DeviceLostError) -> None:
        with pytest.raises(kind, match=text):
            await self.plant.read()
        await self.plant.driver.stop()

    async def cannot_start(self, text: str, kind: type[PeerError] = DeviceLostError) -> None:
        with pytest.raises(kind, match=text):
            await self.plant.driver.start()
            await self.plant.read()
        await self.plant.driver.stop()

    async def goes_on(self) -> None:
        await self.plant.driver.start()
        assert set(await self.read()) == {"channel", "door", "board"}


def break_(plant: Plant, name: str, on: bool = True, **settings: float) -> None:
    kind = plant.server.faults[name]
    plant.server.fault(name, on, kind.complete(name, settings))


def plant_at(scheme: str, folder: Path, port: int, **modbus: Any) -> Plant:
    return Plant(equipment(**{"timeout_s": 0.2, **modbus}), endpoint(scheme, folder, port), folder)


@BOTH
@pytest.mark.asyncio
async def test_a_restart_is_a_gap_of_its_length(scheme: str, tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(plant_at(scheme, tmp_path, free_port())) as plant:
        watcher = Watcher(plant)
        await watcher.read()
        break_(plant, "restart", down_s=30)
        await watcher.lose("closed the connection" if scheme == "modbus.tcp" else "did not answer")
        await plant.scan(20)
        await watcher.cannot_start("no connection to|did not answer")
        await plant.scan(20)
        await watcher.goes_on()
        assert watcher.gaps == [42.0]
        break_(plant, "restart", down_s=30)
        break_(plant, "restart", on=False)  # the entry's duration is shorter
        if scheme == "modbus.tcp":
            await watcher.lose("closed the connection")
            await plant.driver.start()
        assert len(await watcher.read()) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("scheme", "name", "lost", "again"),
    [
        ("modbus.tcp", "cut", "closed the connection", "closed the connection|hung up"),
        ("modbus.tcp", "black_hole", "did not answer", "did not answer"),
        ("modbus.rtu", "cut", "did not answer", "did not answer"),
    ],
)
async def test_what_is_silent_or_cut_is_lost_and_comes_back(
    scheme: str, name: str, lost: str, again: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(plant_at(scheme, tmp_path, free_port())) as plant:
        watcher = Watcher(plant)
        await watcher.read()
        break_(plant, name)
        await watcher.lose(lost)
        await watcher.cannot_start(again)
        break_(plant, name, on=False)
        await plant.scan(10)
        await watcher.goes_on()
        await watcher.read()
        assert watcher.gaps == [float(plant.rack.scan - 2)], "from the first sample to the last but one"


@BOTH
@pytest.mark.asyncio
async def test_late_answers_are_waited_for_as_long_as_the_equipment_type_says_and_then_never_taken(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(plant_at(scheme, tmp_path, free_port(), timeout_s=0.3)) as plant:
        watcher = Watcher(plant)
        break_(plant, "slow", delay_s=0.02)
        await watcher.read()
        break_(plant, "slow", delay_s=0.4)
        await watcher.lose("did not answer within 0.3 s")
        break_(plant, "slow", on=False)
        await asyncio.sleep(0.3)
        await watcher.goes_on()


@pytest.mark.asyncio
async def test_a_late_serial_answer_is_not_taken_for_that_to_the_next_request_of_equal_length(tmp_path: Path) -> None:
    """It comes to the next connection, among the right ones, and carries no number."""
    whole = equipment(timeout_s=0.2)
    channels = whole.model_copy(update={"group": whole.group[:1]})
    async with running(Plant(whole, endpoint("modbus.rtu", tmp_path, 0), tmp_path, seen_as=channels)) as plant:
        watcher = Watcher(plant)
        for delay_s in (0.3, 0.5):  # within and after the time that the line is heard out
            break_(plant, "slow", delay_s=delay_s)
            await watcher.lose("did not answer within 0.2 s")
            break_(plant, "slow", on=False)
            for _ in range(20):
                try:
                    await plant.driver.start()
                    break
                except PeerError:
                    await plant.driver.stop()
            assert len(await watcher.read()) == 1
            assert len(await watcher.read()) == 1


@BOTH
@pytest.mark.asyncio
async def test_a_busy_device_is_asked_again_and_said_when_it_stays_busy(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(plant_at(scheme, tmp_path, free_port(), timeout_s=1.0)) as plant:
        watcher = Watcher(plant)
        break_(plant, "busy", share=0.4, seed=3)
        for _ in range(5):
            assert len(await watcher.read()) == 3
        assert plant.driver.counters.busy_retries > 3
        break_(plant, "busy", share=1.0)
        with pytest.raises(DeviceRefusedError, match="server device busy, for the whole time"):
            await plant.read()
        break_(plant, "busy", on=False)
        for _ in range(3):  # each group's refusal is told once; none has cost the connection
            try:
                await watcher.read()
            except DeviceRefusedError:
                continue
        assert len(await watcher.read()) == 3


@pytest.mark.asyncio
async def test_a_unit_that_is_gone_does_not_take_the_others_along(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(plant_at("modbus.tcp", tmp_path, free_port())) as plant:
        watcher = Watcher(plant)
        break_(plant, "unit_silent", unit=7)
        assert set(await watcher.read()) == {"channel", "door"}
        with pytest.raises(DeviceRefusedError, match=r"of unit 7 \(board_c\): exception 11, gateway target failed"):
            await plant.read()
        assert set(await watcher.read()) == {"channel", "door"}
        break_(plant, "unit_silent", on=False)
        await plant.driver.stop()
        await watcher.goes_on()


@pytest.mark.asyncio
async def test_a_unit_that_is_silent_on_a_serial_line_costs_the_line_after_the_others_were_read(tmp_path: Path) -> None:
    async with running(plant_at("modbus.rtu", tmp_path, 0)) as plant:
        watcher = Watcher(plant)
        break_(plant, "unit_silent", unit=7)
        for _ in range(3):
            assert set(await watcher.read()) == {"channel", "door"}
            await watcher.lose("did not answer within 0.2 s, reading input registers 100 to 100 of unit 7")
            await plant.driver.start()
        break_(plant, "unit_silent", on=False)
        assert set(await watcher.read()) == {"channel", "door", "board"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("scheme", "registers"),
    [("modbus.tcp", 2), ("modbus.tcp", -2), ("modbus.tcp", 12), ("modbus.tcp", 5000), ("modbus.rtu", 12)],
)
async def test_a_map_that_has_moved_is_never_read_as_if_it_had_not(
    scheme: str, registers: int, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The ends of the map tell: the device refuses what is beyond them."""
    async with running(plant_at(scheme, tmp_path, free_port())) as plant:
        watcher = Watcher(plant)
        await watcher.read()
        break_(plant, "register_map_shifted", registers=registers)
        for _ in range(4):
            try:
                frames = await plant.read()
            except DeviceRefusedError:
                continue
            except PeerError:
                await plant.driver.stop()
                await plant.driver.start()
                continue
            assert "channel" not in frames, "no row of moved registers"
        break_(plant, "register_map_shifted", on=False)
        await plant.driver.stop()
        await watcher.goes_on()


@BOTH
@pytest.mark.asyncio
async def test_firmware_of_another_revision_is_refused_whole(
    scheme: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(plant_at(scheme, tmp_path, free_port(), revision="2.4")) as plant:
        watcher = Watcher(plant)
        await watcher.read()
        break_(plant, "register_map_shifted", registers=12)
        if scheme == "modbus.tcp":  # a serial line does not break off when the device boots
            await watcher.lose("closed the connection")
        await watcher.cannot_start(r"has revision '2\.4\+shifted'.*are for revision 2\.4", ProtocolError)
        break_(plant, "register_map_shifted", on=False)
        await watcher.goes_on()


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    plant = plant_at("modbus.tcp", tmp_path, 1502)
    for name, settings, text in (
        ("restart", {"down_s": -1.0}, "'down_s' is not below 0"),
        ("slow", {"delay_s": float("nan")}, "'delay_s' is not below 0"),
        ("busy", {"share": 1.5}, "'share' is from 0 to 1"),
        ("register_map_shifted", {"registers": 1.5}, "whole number"),
        ("unit_silent", {"unit": 70_000.0}, "whole number"),
        ("cut", {"depth": 1.0}, "no setting 'depth'"),
        ("flood", {}, "has no fault 'flood'; it has: restart, cut"),
    ):
        with pytest.raises(ValueError, match=text):
            plant.server.fault(name, True, settings)
