"""The only writer to equipment: checked before, written, read back within a deadline, recorded with reason and outcome.

Nothing else in celltwin calls a driver's `write`. Every command ends as one row of the stream `command`, whatever
became of it; the caller gets the outcome and decides what it means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from configs.schema import Access, Equipment, Tag, ValueType
from controller.clock import Clock
from controller.errors import CommandError, DeviceRefusedError, PeerError
from controller.records import record
from controller.types import Command, CommandOutcome, Float64Array, Frame, Quality, Write

log = logging.getLogger(__name__)

READ_BACK_PAUSE_S = 0.05
"""Wall seconds between read-backs: a PLC scan is 10 to 50 ms, so asking faster only adds load."""

Recorder = Callable[[Frame], Awaitable[None]]


class Writable(Protocol):
    """What a command needs of a driver. See controller/drivers/base.py for the whole contract and its errors."""

    async def write(self, writes: Sequence[Write]) -> None:
        """Write tags in the given order."""
        ...

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """Read tags now."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one Command ended, with the reason in words."""

    outcome: CommandOutcome
    detail: str = ""

    @property
    def ok(self) -> bool:
        """True when the device holds (or took) what we wanted."""
        return self.outcome is CommandOutcome.CONFIRMED


class Commander:
    """Carries out Commands, one at a time per device, and records each."""

    def __init__(
        self,
        drivers: Mapping[str, Writable],
        equipment: Mapping[str, Equipment],
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._drivers = drivers
        self._equipment = equipment
        self._clock = clock
        self._recorder = recorder
        self._locks = {device: asyncio.Lock() for device in drivers}

    async def execute(self, command: Command) -> Outcome:
        """Carry out a command and record it. Raises only by cancellation."""
        started_ns = self._clock.now_ns()
        problem = self._problem(command)
        if problem:
            outcome = Outcome(CommandOutcome.REFUSED_BY_US, problem)
        else:
            async with self._locks[command.device]:
                outcome = await self._carry_out(command)
        level = logging.INFO if outcome.ok else logging.WARNING
        log.log(level, "%s: %s: %s %s", command.device, command.name, outcome.outcome.value, outcome.detail)
        await self._recorder(_row(command, outcome, started_ns, self._clock.now_ns()))
        return outcome

    async def beat(self, device: str, tag: str, value: float) -> None:
        """Write a heartbeat: too frequent to record, not worth a read-back. Raises PeerError."""
        async with self._locks[device]:
            await self._drivers[device].write([Write(tag, (value,))])

    async def read(self, device: str, tag: str) -> float:
        """Read one tag's first point now. Raises PeerError."""
        values = await self._drivers[device].read_back([tag])
        return float(values[tag][0])

    def _problem(self, command: Command) -> str:
        """Why we refuse to send this, or nothing."""
        equipment = self._equipment.get(command.device)
        if equipment is None:
            return f"the line has no device '{command.device}'"
        for write in command.writes:
            found = equipment.find(write.tag)
            if found is None:
                return f"{equipment.name} has no tag '{write.tag}'"
            group, tag = found
            if tag.access is Access.READ:
                return f"tag '{write.tag}' is read-only"
            if not 1 <= len(write.values) <= group.points:
                return f"tag '{write.tag}' takes 1 to {group.points} values, not {len(write.values)}"
            for value in write.values:
                if not _within(tag, value):
                    return f"{write.tag} = {value:g} {tag.unit} is outside {tag.min} to {tag.max}"
        return ""

    async def _carry_out(self, command: Command) -> Outcome:
        driver = self._drivers[command.device]
        try:
            async with asyncio.timeout(command.deadline_s):
                await driver.write(command.writes)
                return await self._confirm(driver, command)
        except TimeoutError:
            return Outcome(CommandOutcome.NOT_CONFIRMED, f"no agreeing read-back within {command.deadline_s:g} s")
        except DeviceRefusedError as error:
            return Outcome(CommandOutcome.REFUSED_BY_DEVICE, str(error))
        except CommandError as error:
            return Outcome(CommandOutcome.REFUSED_BY_US, str(error))
        except PeerError as error:
            return Outcome(CommandOutcome.LOST, str(error))

    async def _confirm(self, driver: Writable, command: Command) -> Outcome:
        """Read back until every value agrees; the caller's deadline ends it."""
        equipment = self._equipment[command.device]
        wanted = {w.tag: np.asarray(w.values, dtype=np.float64) for w in command.expect or command.writes}
        while True:
            held = await driver.read_back(list(wanted))
            agrees = [_agrees(equipment, tag, values, held[tag]) for tag, values in wanted.items()]
            if all(agrees):
                return Outcome(CommandOutcome.CONFIRMED)
            if command.expect and agrees[0]:
                answer = ", ".join(f"{tag} = {held[tag][0]:g}" for tag in wanted)
                return Outcome(CommandOutcome.REFUSED_BY_DEVICE, f"the device answered {answer}")
            await asyncio.sleep(READ_BACK_PAUSE_S)


def _within(tag: Tag, value: float) -> bool:
    low = tag.min is None or value >= tag.min
    high = tag.max is None or value <= tag.max
    return bool(np.isfinite(value)) and low and high


def _agrees(equipment: Equipment, name: str, wanted: np.ndarray, held: np.ndarray) -> bool:
    """Equal within what the tag's raw type can hold: one count of an integer, 24 bits of a 32-bit float."""
    found = equipment.find(name)
    assert found is not None, "checked before the write"
    tag = found[1]
    if tag.type in {ValueType.FLOAT32, ValueType.FLOAT64}:
        tolerance = np.abs(wanted) * 2.0**-22 + 1e-12
    else:
        tolerance = np.full_like(wanted, abs(tag.scale) * 0.51)
    return bool(np.all(np.abs(held[: wanted.size] - wanted) <= tolerance))


def _row(command: Command, outcome: Outcome, started_ns: int, ended_ns: int) -> Frame:
    detail = outcome.detail or "; ".join(f"{w.tag} = {_short(w.values)}" for w in command.writes)
    return record(
        command.device,
        "command",
        started_ns,
        {"duration_s": (ended_ns - started_ns) / 1e9},
        {
            "name": command.name,
            "reason": command.reason,
            "outcome": outcome.outcome.value,
            "detail": detail[:500],
        },
        Quality.GOOD if outcome.ok else Quality.BAD,
    )


def _short(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{v:g}" for v in values[:8])
    return f"{shown}, ... ({len(values)} values)" if len(values) > 8 else shown
