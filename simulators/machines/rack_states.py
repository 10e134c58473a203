"""The rack's states as a table. Pure: no time, no cells.

Theory of operation: IDLE takes START, checks the programme and runs it; a bad programme ends in REFUSED, from where a
corrected one may be started. HELD freezes every channel with its current off; RESUME goes on where it stood. COMPLETE,
STOPPED and ABORTED keep their counters until RESET. A command that the table does not list is refused in this state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum


class RackState(IntEnum):
    """Values of the register rack_state."""

    IDLE = 0
    RUNNING = 1
    HELD = 2
    COMPLETE = 3
    STOPPED = 4
    ABORTED = 5
    REFUSED = 6
    WAITS = 7  # for a tray, on a line that brings it one: said by who brings it


class RackCommand(IntEnum):
    """Values of the register command."""

    START = 1
    STOP = 2
    HOLD = 3
    RESUME = 4
    RESET = 5


class CommandResult(IntEnum):
    """Values of the register command_result."""

    NONE = 0
    ACCEPTED = 1
    REFUSED_IN_THIS_STATE = 2
    REFUSED_PROGRAMME = 3


class RackEvent(Enum):
    """What happens to a running rack by itself."""

    ALL_DONE = "all channels done"
    ALL_FAULTED = "no channel left without a fault"
    HEARTBEAT_LOST = "heartbeat lost"
    TOO_HOT = "too hot"
    EMERGENCY_STOP = "emergency stop"


class RackFault(IntEnum):
    """Bits of the register rack_fault_bits."""

    HEARTBEAT_LOST = 1
    OVER_TEMPERATURE = 2
    PROGRAMME_INVALID = 4
    EMERGENCY_STOP = 8


TABLE: Mapping[tuple[RackState, RackCommand | RackEvent], RackState] = {
    (RackState.IDLE, RackCommand.START): RackState.RUNNING,
    (RackState.REFUSED, RackCommand.START): RackState.RUNNING,
    (RackState.RUNNING, RackCommand.HOLD): RackState.HELD,
    (RackState.RUNNING, RackCommand.STOP): RackState.STOPPED,
    (RackState.HELD, RackCommand.STOP): RackState.STOPPED,
    (RackState.HELD, RackCommand.RESUME): RackState.RUNNING,
    (RackState.IDLE, RackCommand.RESET): RackState.IDLE,
    (RackState.COMPLETE, RackCommand.RESET): RackState.IDLE,
    (RackState.STOPPED, RackCommand.RESET): RackState.IDLE,
    (RackState.ABORTED, RackCommand.RESET): RackState.IDLE,
    (RackState.REFUSED, RackCommand.RESET): RackState.IDLE,
    (RackState.RUNNING, RackEvent.ALL_DONE): RackState.COMPLETE,
    (RackState.RUNNING, RackEvent.ALL_FAULTED): RackState.ABORTED,
    (RackState.RUNNING, RackEvent.HEARTBEAT_LOST): RackState.HELD,
    (RackState.RUNNING, RackEvent.TOO_HOT): RackState.ABORTED,
    (RackState.HELD, RackEvent.TOO_HOT): RackState.ABORTED,
    (RackState.RUNNING, RackEvent.EMERGENCY_STOP): RackState.ABORTED,
    (RackState.HELD, RackEvent.EMERGENCY_STOP): RackState.ABORTED,
}


def after(state: RackState, cause: RackCommand | RackEvent) -> RackState | None:
    """The next state, or None where the table has none: a command is then refused, an event has no effect."""
    return TABLE.get((state, cause))
