"""The state model of ISA-TR88.00.02 (PackML) as a table: states, commands, and the completion of an acting state. Pure.

No time and no machine here. What the table does not have is refused (a command) or has no effect (an event).

Theory of operation. Acting states (-ing) end by themselves, with COMPLETED; waiting states end by a command. EXECUTE
acts until the job is done, or until something interrupts it: from inside the machine or by hand it is held, for want of
material or of room it is suspended. STOP and ABORT leave from everywhere but from where they lead to; an aborted
machine must be cleared before it can be reset.
Numbers and transitions: ISA-TR88.00.02-2015, as in OPC 30050 (OPC UA for PackML), 6.3 and annex B. Of these, holding a
suspended machine is SuspendedToHolding there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType


class State(IntEnum):
    """State numbers of the report."""

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Command(IntEnum):
    """Values of the command word: 1 to 5 as on all equipment of the line, then the rest of the report's commands."""

    START = 1
    STOP = 2
    HOLD = 3
    UNHOLD = 4
    RESET = 5
    SUSPEND = 6
    UNSUSPEND = 7
    ABORT = 8
    CLEAR = 9


class Event(Enum):
    """What a machine finds by itself."""

    COMPLETED = "the acting state has done its work"
    HEARTBEAT_LOST = "heartbeat older than its timeout"
    STARVED = "nothing to work on"
    FED = "something to work on again"
    BLOCKED = "no room for what it makes"
    ROOM = "room for it again"


Trigger = Command | Event

ACTING = frozenset(State) - {
    State.STOPPED, State.IDLE, State.SUSPENDED, State.ABORTED, State.HELD, State.COMPLETE,
}  # fmt: skip
"""States that end by themselves."""

_ENDED = {State.STOPPING, State.STOPPED, State.CLEARING}
_ABORTED = {State.ABORTING, State.ABORTED}

TRANSITIONS: Mapping[tuple[State, Trigger], State] = MappingProxyType(
    {
        (State.IDLE, Command.START): State.STARTING,
        (State.STARTING, Event.COMPLETED): State.EXECUTE,
        (State.EXECUTE, Event.COMPLETED): State.COMPLETING,
        (State.COMPLETING, Event.COMPLETED): State.COMPLETE,
        (State.COMPLETE, Command.RESET): State.RESETTING,
        (State.STOPPED, Command.RESET): State.RESETTING,
        (State.RESETTING, Event.COMPLETED): State.IDLE,
        **{(state, Command.HOLD): State.HOLDING for state in (State.EXECUTE, State.SUSPENDED)},
        **{(state, Event.HEARTBEAT_LOST): State.HOLDING for state in (State.EXECUTE, State.SUSPENDED)},
        (State.HOLDING, Event.COMPLETED): State.HELD,
        (State.HELD, Command.UNHOLD): State.UNHOLDING,
        (State.UNHOLDING, Event.COMPLETED): State.EXECUTE,
        (State.EXECUTE, Command.SUSPEND): State.SUSPENDING,
        (State.EXECUTE, Event.STARVED): State.SUSPENDING,
        (State.EXECUTE, Event.BLOCKED): State.SUSPENDING,
        (State.SUSPENDING, Event.COMPLETED): State.SUSPENDED,
        (State.SUSPENDED, Command.UNSUSPEND): State.UNSUSPENDING,
        (State.SUSPENDED, Event.FED): State.UNSUSPENDING,
        (State.SUSPENDED, Event.ROOM): State.UNSUSPENDING,
        (State.UNSUSPENDING, Event.COMPLETED): State.EXECUTE,
        **{(state, Command.STOP): State.STOPPING for state in State if state not in _ENDED | _ABORTED},
        (State.STOPPING, Event.COMPLETED): State.STOPPED,
        **{(state, Command.ABORT): State.ABORTING for state in State if state not in _ABORTED},
        (State.ABORTING, Event.COMPLETED): State.ABORTED,
        (State.ABORTED, Command.CLEAR): State.CLEARING,
        (State.CLEARING, Event.COMPLETED): State.STOPPED,
    }
)


def next_state(state: State, trigger: Trigger) -> State | None:
    """Where `trigger` leads from `state`; None where the table says nothing."""
    return TRANSITIONS.get((state, trigger))


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    rows = [f"    {a.name} --> {b.name}: {t.name.lower()}" for (a, t), b in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> IDLE", *rows])
