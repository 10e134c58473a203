"""What equipment with a state table of its own says in PackML: one table for all of it. Pure: no time, no commands.

Numbers are those of line_states (ISA-TR88.00.02-2015). The equipment's own register stays as it is; this one is beside
it, so that a line can be watched by one set of numbers. What they have no state for is said by the nearest: a rack
whose programme was refused may be started at once, so it is idle; one that waits for its tray is starved: suspended.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from simulators.machines import coater_sequence as coater
from simulators.machines.line_states import State
from simulators.machines.rack_states import RackState


class Dryer(IntEnum):
    """What the coater's dryer does, which has no register of its own."""

    OFF = 0
    HEATING = 1
    HOT = 2
    COOLING = 3
    INTERLOCKED = 4
    TRIPPED = 5


TABLE: Mapping[type[IntEnum], Mapping[IntEnum, State]] = MappingProxyType(
    {
        RackState: {
            RackState.IDLE: State.IDLE,
            RackState.RUNNING: State.EXECUTE,
            RackState.HELD: State.HELD,
            RackState.COMPLETE: State.COMPLETE,
            RackState.STOPPED: State.STOPPED,
            RackState.ABORTED: State.ABORTED,
            RackState.REFUSED: State.IDLE,
            RackState.WAITS: State.SUSPENDED,
        },
        coater.State: {state: State[state.name] for state in coater.State},
        Dryer: {
            Dryer.OFF: State.IDLE,
            Dryer.HEATING: State.STARTING,
            Dryer.HOT: State.EXECUTE,
            Dryer.COOLING: State.COMPLETING,
            Dryer.INTERLOCKED: State.HELD,
            Dryer.TRIPPED: State.ABORTED,
        },
    }
)
"""Own states to PackML's, by the enumeration that they are members of."""


def packml(state: IntEnum) -> State:
    """The PackML state of a rack, a coater or a dryer. Raises KeyError for a state of something else."""
    return TABLE[type(state)][state]
