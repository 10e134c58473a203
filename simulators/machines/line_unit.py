"""What the PLC of every station does: state model, command word with sequence number, watchdog, production counters.

No physics and no material here. In automatic (the default) a station starts by itself when it is idle and resets itself
when its job is complete; what a person stopped, held, suspended or aborted stays so. In remote it waits for commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from simulators.machines.line_states import ACTING, Command, Event, State, Trigger, next_state
from simulators.machines.plc_command import CommandWord, Heartbeat

DWELL_S: Mapping[State, float] = {
    State.STARTING: 60.0,
    State.COMPLETING: 60.0,
    State.RESETTING: 60.0,
    State.STOPPING: 30.0,
    State.CLEARING: 60.0,
    State.ABORTING: 10.0,
    State.HOLDING: 20.0,
    State.UNHOLDING: 30.0,
    State.SUSPENDING: 20.0,
    State.UNSUSPENDING: 30.0,
}
"""Plant seconds that an acting state takes; EXECUTE ends with the job. Assumed; multiples of the machine's step."""


class Result(IntEnum):
    """Answer to a command, as in the equipment files."""

    NONE = 0
    ACCEPTED = 1
    REFUSED_IN_STATE = 2
    REFUSED_HEARTBEAT = 3


class WaitsFor(IntEnum):
    """Why a station is suspended."""

    NOTHING = 0
    MATERIAL = 1
    ROOM = 2
    PERSON = 3


class Fault(IntEnum):
    """Bits of the fault word."""

    HEARTBEAT_LOST = 1


_WAITING = frozenset({State.SUSPENDING, State.SUSPENDED})


class Unit:
    """One station's PLC."""

    def __init__(self, automatic: bool) -> None:
        self.automatic = automatic
        self.state = State.IDLE
        self.fault_bits = 0
        self.port = CommandWord()
        self.beat = Heartbeat()
        self.made = 0
        self.scrapped = 0
        self.waits_for = WaitsFor.NOTHING
        self._in_state_s = 0.0

    def take_sequence(self, sequence: int) -> None:
        """A changed number makes the unit take the command word."""
        word = self.port.taken(sequence)
        if word is not None:
            self.port.result = self._command(word)

    def _command(self, word: int) -> Result:
        try:
            command = Command(word)
        except ValueError:
            return Result.REFUSED_IN_STATE
        if command in {Command.START, Command.UNHOLD, Command.UNSUSPEND} and self.beat.lost:
            return Result.REFUSED_HEARTBEAT
        if not self.trigger(command):
            return Result.REFUSED_IN_STATE
        if command is Command.SUSPEND:
            self.waits_for = WaitsFor.PERSON  # only unsuspend ends it
        if command in {Command.UNHOLD, Command.RESET, Command.CLEAR}:
            self.fault_bits = 0
        return Result.ACCEPTED

    def trigger(self, trigger: Trigger) -> bool:
        """Go where the table says; False where it says nothing."""
        to = next_state(self.state, trigger)
        if to is None:
            return False
        self.state, self._in_state_s = to, 0.0
        if to not in _WAITING:
            self.waits_for = WaitsFor.NOTHING
        return True

    def step(self, duration_s: float, has_work: bool, has_room: bool = True) -> None:
        """Before the work of one step: watchdog, end of acting states, waiting, and what automatic does by itself."""
        self.beat.step(duration_s)
        if self.beat.lost and self.trigger(Event.HEARTBEAT_LOST):
            self.fault_bits |= Fault.HEARTBEAT_LOST
        why = WaitsFor.NOTHING if has_work and has_room else WaitsFor.MATERIAL if has_room else WaitsFor.ROOM
        if self.state is State.EXECUTE:
            if why is not WaitsFor.NOTHING:
                self.waits_for = why
                self.trigger(Event.STARVED if why is WaitsFor.MATERIAL else Event.BLOCKED)
        elif self.state is State.SUSPENDED:
            self._wait(why)
        elif self.state in ACTING:
            self._in_state_s += duration_s
            if self._in_state_s >= DWELL_S[self.state]:
                self.trigger(Event.COMPLETED)
        elif self.automatic and self.state is State.IDLE:
            self.trigger(Command.START)
        elif self.automatic and self.state is State.COMPLETE:
            self.trigger(Command.RESET)

    def _wait(self, why: WaitsFor) -> None:
        if self.waits_for is WaitsFor.PERSON:
            return
        if why is WaitsFor.NOTHING:
            self.trigger(Event.FED if self.waits_for is WaitsFor.MATERIAL else Event.ROOM)
        else:
            self.waits_for = why
