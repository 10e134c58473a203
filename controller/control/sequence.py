"""What to do next with a machine that has a job: a table of our phase against the machine's state. Pure.

    phase     machine says   we do
    NEW       ended/complete RESET    a fresh start may clear an old job's remains
    NEW       idle           LOAD     write the recipe, read it back
    NEW       running/held   ADOPT    it runs already (our own state was lost): watch it, send nothing
    LOADED    idle           START
    STARTED   running        WAIT
    STARTED   held           RESUME   only when it was held for want of our heartbeat; otherwise a person decides
    STARTED   complete       FINISH
    STARTED   idle/ended     FAIL     stopped by a person, aborted, or restarted without its job: never started twice
    DONE, FAILED  any        WAIT

The phase is durable; a controller that was killed continues here and repeats nothing that may not be repeated.
"""

from __future__ import annotations

from enum import Enum

from configs.schema import MachineControl


class Phase(Enum):
    """Where a job stands, from our side."""

    NEW = "new"
    LOADED = "loaded"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


class MachineState(Enum):
    """A machine's state, reduced to what a job needs to know."""

    IDLE = "idle"
    RUNNING = "running"
    HELD = "held"
    COMPLETE = "complete"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Action(Enum):
    """What we do about it."""

    WAIT = "wait"
    RESET = "reset"
    LOAD = "load"
    START = "start"
    ADOPT = "adopt"
    RESUME = "resume"
    FINISH = "finish"
    FAIL = "fail"


COMMAND_CODES = {Action.START: 1, Action.RESUME: 4, Action.RESET: 5}
"""Command words of all our equipment (configs.schema.MachineControl)."""

TABLE: dict[tuple[Phase, MachineState], Action] = {
    (Phase.NEW, MachineState.IDLE): Action.LOAD,
    (Phase.NEW, MachineState.COMPLETE): Action.RESET,
    (Phase.NEW, MachineState.ENDED): Action.RESET,
    (Phase.NEW, MachineState.RUNNING): Action.ADOPT,
    (Phase.NEW, MachineState.HELD): Action.ADOPT,
    (Phase.LOADED, MachineState.IDLE): Action.START,
    (Phase.LOADED, MachineState.RUNNING): Action.ADOPT,
    (Phase.LOADED, MachineState.HELD): Action.ADOPT,
    (Phase.LOADED, MachineState.COMPLETE): Action.RESET,
    (Phase.LOADED, MachineState.ENDED): Action.RESET,
    (Phase.STARTED, MachineState.HELD): Action.RESUME,
    (Phase.STARTED, MachineState.COMPLETE): Action.FINISH,
    (Phase.STARTED, MachineState.IDLE): Action.FAIL,
    (Phase.STARTED, MachineState.ENDED): Action.FAIL,
}


def machine_state(control: MachineControl, value: float) -> MachineState:
    """The reduced state for a value of the machine's state tag; unknown numbers are UNKNOWN, never a guess."""
    for state, values in (
        (MachineState.IDLE, control.idle),
        (MachineState.RUNNING, control.running),
        (MachineState.HELD, control.held),
        (MachineState.COMPLETE, control.complete),
        (MachineState.ENDED, control.ended),
    ):
        if value in values:
            return state
    return MachineState.UNKNOWN


def next_action(phase: Phase, machine: MachineState, *, held_for_heartbeat: bool = False) -> Action:
    """The table above. Pairs that it does not name wait."""
    action = TABLE.get((phase, machine), Action.WAIT)
    if action is Action.RESUME and not held_for_heartbeat:
        return Action.WAIT
    return action
