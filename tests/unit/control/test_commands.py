"""The only writer: refuses before sending, confirms by reading back, records every outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from configs.loader import packaged
from configs.schema import Equipment
from controller.clock import LineClock
from controller.control.commands import Commander
from controller.drivers.soft import SoftDriver
from controller.errors import DeviceLostError, DeviceRefusedError
from controller.types import Command, CommandOutcome, Frame, Write
from tests.unit.control.machines import RACK_TAGS, rack


class Recorded:
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def __call__(self, frame: Frame, state: Mapping[str, bytes] | None = None) -> None:
        self.frames.append(frame)

    def last(self) -> dict[str, str]:
        return {name: values[0] for name, values in self.frames[-1].text.items()}


@pytest.fixture
def driver() -> SoftDriver:
    return SoftDriver("rack1", tags=RACK_TAGS)


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def commander(driver: SoftDriver, recorded: Recorded) -> Commander:
    asyncio.run(driver.start())
    return Commander({"rack1": driver}, {"rack1": rack()}, LineClock(), recorded)


def command(*writes: Write, expect: tuple[Write, ...] = (), deadline_s: float = 0.2) -> Command:
    return Command("rack1", "test", writes, "because", deadline_s, expect)


def execute(commander: Commander, wanted: Command) -> CommandOutcome:
    return asyncio.run(commander.execute(wanted)).outcome


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (Write("voltage_v", (3.0,)), "read-only"),
        (Write("nonsense", (3.0,)), "has no tag"),
        (Write("step_current_a", (1.0, 21.0)), "outside 0.0 to 20.0"),
        (Write("step_current_a", (float("nan"),)), "outside"),
        (Write("step_current_a", (1.0,) * 33), "takes 1 to 32 values"),
        (Write("step_current_a", ()), "takes 1 to 32 values"),
    ],
)
def test_what_we_refuse_is_not_sent_and_is_recorded(
    commander: Commander, driver: SoftDriver, recorded: Recorded, write: Write, says: str
) -> None:
    assert execute(commander, command(write)) is CommandOutcome.REFUSED_BY_US
    assert not driver.written
    assert says in recorded.last()["detail"]
    assert recorded.last()["reason"] == "because"


def test_a_written_value_is_read_back(commander: Commander, driver: SoftDriver, recorded: Recorded) -> None:
    write = Write("step_current_a", (1.6667, 0.0))
    assert execute(commander, command(write)) is CommandOutcome.CONFIRMED
    assert driver.written == [write]
    assert recorded.last()["outcome"] == "confirmed"


def test_a_device_that_keeps_its_old_value_is_not_confirmed(commander: Commander, driver: SoftDriver) -> None:
    driver.ignore_writes = True
    assert execute(commander, command(Write("programme_id", (7.0,)))) is CommandOutcome.NOT_CONFIRMED


def test_the_devices_own_refusal_and_loss_are_told_apart(commander: Commander, driver: SoftDriver) -> None:
    driver.write_errors.extend([DeviceRefusedError("exception 3", code=3), DeviceLostError("gone")])
    assert execute(commander, command(Write("programme_id", (7.0,)))) is CommandOutcome.REFUSED_BY_DEVICE
    assert execute(commander, command(Write("programme_id", (7.0,)))) is CommandOutcome.LOST


@pytest.mark.parametrize(
    ("ack", "result", "outcome"),
    [
        (5.0, 1.0, CommandOutcome.CONFIRMED),
        (5.0, 2.0, CommandOutcome.REFUSED_BY_DEVICE),
        (4.0, 1.0, CommandOutcome.NOT_CONFIRMED),
    ],
)
def test_an_acknowledged_command_counts_only_with_its_result(
    commander: Commander, driver: SoftDriver, ack: float, result: float, outcome: CommandOutcome
) -> None:
    driver.tags["command_seq_ack"][0], driver.tags["command_result"][0] = ack, result
    wanted = command(
        Write("command", (1.0,)),
        Write("command_seq", (5.0,)),
        expect=(Write("command_seq_ack", (5.0,)), Write("command_result", (1.0,))),
    )
    assert execute(commander, wanted) is outcome


def test_every_packaged_equipment_that_is_commanded_names_its_control_tags() -> None:
    import tomllib

    for path in packaged("equipment").values():
        equipment = Equipment.model_validate(tomllib.loads(path.read_text()))
        assert equipment.control is None or equipment.find(equipment.control.command)
