"""The coater's sequence as a table: states after PackML (ISA-TR88.00.02), commands, and what the machine notices.

Pure: no physics, no time. A command that the table does not have for the present state is refused.

Theory of operation. A start first heats the dryer, then moves the web, and coats once it is at speed (EXECUTE). When
the ordered length is coated the pump stops and the web runs on until the last coated metre has passed the gauge; only
then the job is COMPLETE. Without room behind it the machine suspends itself, and goes on by itself. Hold stops pump and
web and keeps the dryer hot; resume goes through STARTING again. The watchdog on the heartbeat holds and never stops: a
supervisor that comes back decides what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType


class State(IntEnum):
    """PackML state numbers, as in the equipment file."""

    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTED = 9
    HELD = 11
    COMPLETE = 17


class Command(Enum):
    """Values of the command word."""

    START = 1
    STOP = 2
    HOLD = 3
    RESUME = 4
    RESET = 5


class Event(Enum):
    """What the machine notices by itself."""

    AT_SPEED = "zones ready and web at speed"
    RUN_OUT = "ordered length coated and past the gauge"
    STANDSTILL = "web stands"
    HEARTBEAT_LOST = "heartbeat older than its timeout"
    INTERLOCK = "too much solvent in the dryer's air"
    BLOCKED = "no room behind the machine for what it coats"
    ROOM = "room again"
    TRIP = "drive tripped, web torn, emergency stop or power lost"


class Result(IntEnum):
    """Answer to a command, as in the equipment file."""

    NONE = 0
    ACCEPTED = 1
    REFUSED_IN_STATE = 2
    REFUSED_SETPOINT = 3
    REFUSED_LOCAL = 4
    REFUSED_INTERLOCK = 5


class Alarm(IntFlag):
    """Bits of the alarm word, as in the equipment file."""

    HEARTBEAT_LOST = 1
    GAS_WARNING = 2
    GAS_TRIP = 4
    WEB_TORN = 8
    DRIVE_TRIP = 16
    EMERGENCY_STOP = 32
    ZONE_COLD = 64
    FAN = 128
    TENSION = 256
    LOCAL = 512
    POWER_WAS_OFF = 1024


Trigger = Command | Event

_RUNNING = (State.STARTING, State.EXECUTE, State.SUSPENDED)

TRANSITIONS: Mapping[tuple[State, Trigger], State] = MappingProxyType(
    {
        (State.IDLE, Command.START): State.STARTING,
        (State.STARTING, Event.AT_SPEED): State.EXECUTE,
        (State.EXECUTE, Event.RUN_OUT): State.COMPLETE,
        (State.STOPPING, Event.STANDSTILL): State.STOPPED,
        (State.HELD, Command.RESUME): State.STARTING,
        (State.EXECUTE, Event.BLOCKED): State.SUSPENDED,
        (State.SUSPENDED, Event.ROOM): State.STARTING,
        **{(state, Command.HOLD): State.HELD for state in _RUNNING},
        **{(state, Event.HEARTBEAT_LOST): State.HELD for state in _RUNNING},
        **{(state, Event.INTERLOCK): State.HELD for state in _RUNNING},
        **{(state, Event.TRIP): State.ABORTED for state in State if state is not State.ABORTED},
        **{(state, Command.STOP): State.STOPPING for state in (*_RUNNING, State.IDLE, State.HELD, State.COMPLETE)},
        **{(state, Command.RESET): State.IDLE for state in (State.STOPPED, State.ABORTED, State.COMPLETE)},
    }
)

HEATED = frozenset({State.STARTING, State.EXECUTE, State.SUSPENDED, State.HELD})
"""States in which the dryer's heaters follow their set-points."""


def next_state(state: State, trigger: Trigger) -> State | None:
    """Where `trigger` leads from `state`; None where the table says nothing."""
    return TRANSITIONS.get((state, trigger))


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    rows = [f"    {a.name} --> {b.name}: {t.name.lower()}" for (a, t), b in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> IDLE", *rows])
