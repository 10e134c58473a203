"""Brings one machine through one job: an asyncio shell around `sequence`, with the phase kept durably.

It asks the machine for its state rather than trusting the last Frame, so that no decision rests on stale data. While
the machine is away it does nothing but ask again; it feeds the heartbeat only after a state was read.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from configs.schema import Equipment, MachineControl, Recipe
from controller.clock import Clock
from controller.control.commands import Commander
from controller.control.recipes import recipe_writes
from controller.control.sequence import COMMAND_CODES, Action, MachineState, Phase, machine_state, next_action
from controller.errors import PeerError
from controller.records import event
from controller.types import Command, Frame, Write

log = logging.getLogger(__name__)

ASK_S = 0.5
"""Wall seconds between looks at the machine; also the heartbeat's period."""

RETRY_S = 3.0
"""Wall seconds before a command that failed is tried again."""

COMMAND_ACCEPTED = 1.0


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job needs of the rest of the controller."""

    commander: Commander
    clock: Clock
    record: Callable[[Frame, Mapping[str, bytes]], Awaitable[None]]  # with the state that belongs to it
    load_state: Callable[[str], bytes | None]


class Job:
    """One recipe on one machine, once or job after job."""

    def __init__(
        self,
        device: str,
        equipment: Equipment,
        recipe: Recipe,
        heartbeat_timeout_s: float,
        context: JobContext,
        jobs: int = 1,
    ) -> None:
        """`jobs`: how often; 0: for ever. A job that ended early is not followed by another."""
        assert equipment.control is not None, "checked with the line file"
        self._device = device
        self._equipment = equipment
        self._control: MachineControl = equipment.control
        self._recipe = recipe
        self._context = context
        # The equipment counts plant seconds; its register holds 16 bits.
        self._heartbeat_timeout_s = min(65_535.0, round(heartbeat_timeout_s * context.clock.speed))
        self._beats = 0
        self._jobs = jobs
        self._done = 0
        self.phase = self._load_phase()

    async def run(self) -> None:
        """Keep the job going until cancelled; the heartbeat goes on after its end."""
        while True:
            try:
                pause_s = await self._step()
            except PeerError as error:
                log.debug("%s: no state: %s", self._device, error)  # the supervisor tells of the loss
                pause_s = ASK_S
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # A library cancelled one of its own calls. That is a lost answer and no reason to end the line.
                log.warning("%s: a request was cancelled by its library; asking again", self._device)
                pause_s = ASK_S
            await asyncio.sleep(pause_s)

    async def _step(self) -> float:
        """Look, beat, act once. Returns the wall seconds to wait."""
        control, commander = self._control, self._context.commander
        state = machine_state(control, await commander.read(self._device, control.state))
        await self._beat()
        action = next_action(self.phase, state, held_for_heartbeat=await self._held_for_heartbeat(state))
        match action:
            case Action.WAIT:
                return ASK_S
            case Action.LOAD:
                ok = await self._load()
                return 0.0 if ok else RETRY_S
            case Action.ADOPT:
                await self._enter(Phase.STARTED, "the machine was already running: watching it, nothing sent")
            case Action.FINISH:
                await self._finish()
            case Action.FAIL:
                await self._enter(
                    Phase.FAILED, f"job ended early: machine is {state.value}; not started again by itself"
                )
            case Action.START | Action.RESET | Action.RESUME:
                if not await self._command(action):
                    return RETRY_S
                if action is Action.START:
                    await self._enter(Phase.STARTED, "job started")
                elif action is Action.RESET:
                    await self._enter(Phase.NEW, "machine reset")
        return ASK_S

    async def _finish(self) -> None:
        self._done += 1
        if self._jobs == 1:
            await self._enter(Phase.DONE, "job complete")
        elif self._done == self._jobs:
            await self._enter(Phase.DONE, f"job {self._done} complete, the last")
        else:
            await self._enter(Phase.NEW, f"job {self._done} complete, the next one follows")

    async def _load(self) -> bool:
        writes = recipe_writes(self._recipe, self._equipment)
        if self._control.heartbeat_timeout is not None:
            writes += (Write(self._control.heartbeat_timeout, (self._heartbeat_timeout_s,)),)
        command = Command(self._device, "load recipe", writes, f"recipe {self._recipe.name}")
        if not (await self._context.commander.execute(command)).ok:
            return False
        await self._enter(Phase.LOADED, f"recipe {self._recipe.name} loaded and read back")
        return True

    async def _command(self, action: Action) -> bool:
        """Send a command word with a new sequence number and wait for its acknowledgement."""
        control = self._control
        sequence = (await self._context.commander.read(self._device, control.sequence) + 1) % 65_536
        command = Command(
            self._device,
            action.value,
            (Write(control.command, (float(COMMAND_CODES[action]),)), Write(control.sequence, (sequence,))),
            f"recipe {self._recipe.name}, phase {self.phase.value}",
            expect=(Write(control.sequence_ack, (sequence,)), Write(control.result, (COMMAND_ACCEPTED,))),
        )
        return (await self._context.commander.execute(command)).ok

    async def _beat(self) -> None:
        if self._control.heartbeat is not None:
            self._beats = (self._beats + 1) % 65_536
            await self._context.commander.beat(self._device, self._control.heartbeat, float(self._beats))

    async def _held_for_heartbeat(self, state: MachineState) -> bool:
        control = self._control
        if state is not MachineState.HELD or control.fault_bits is None:
            return False
        faults = await self._context.commander.read(self._device, control.fault_bits)
        return bool(int(faults) & control.heartbeat_lost_bit)

    async def _enter(self, phase: Phase, why: str) -> None:
        self.phase = phase
        saved = {"recipe": self._recipe.name, "phase": phase.value, "done": self._done}
        severity = "error" if phase is Phase.FAILED else "info"
        log.log(logging.ERROR if phase is Phase.FAILED else logging.INFO, "%s: %s", self._device, why)
        state = {self._state_key: json.dumps(saved).encode()}
        await self._context.record(event(self._device, self._context.clock.now_ns(), severity, why), state)

    @property
    def _state_key(self) -> str:
        return f"job/{self._device}"

    def _load_phase(self) -> Phase:
        """The phase of an earlier process on this run folder, if it worked on the same recipe."""
        saved = self._context.load_state(self._state_key)
        if saved is None:
            return Phase.NEW
        job = json.loads(saved)
        if job["recipe"] != self._recipe.name:
            return Phase.NEW
        self._done = job.get("done", 0)
        return Phase(job["phase"])
