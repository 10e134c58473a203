"""The coater's table of states."""

from __future__ import annotations

from simulators.machines.coater_sequence import TRANSITIONS, Command, Event, State, diagram, next_state


def test_every_state_can_be_reached_and_left() -> None:
    targets = set(TRANSITIONS.values()) | {State.IDLE}
    assert targets == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)


def test_start_only_from_idle_and_resume_only_from_held() -> None:
    assert [s for s in State if next_state(s, Command.START)] == [State.IDLE]
    assert [s for s in State if next_state(s, Command.RESUME)] == [State.HELD]
    assert next_state(State.COMPLETE, Command.START) is None


# A suspended machine moves by itself as soon as there is room.
MOVING = {State.STARTING, State.EXECUTE, State.SUSPENDED}


def test_the_watchdog_stops_what_moves_and_nothing_else() -> None:
    moving = {s for s in State if next_state(s, Event.HEARTBEAT_LOST)}
    assert moving == MOVING
    assert all(next_state(s, Event.HEARTBEAT_LOST) is State.HELD for s in moving)


def test_a_trip_aborts_from_everywhere_and_gas_holds_what_moves() -> None:
    assert all(next_state(s, Event.TRIP) is State.ABORTED for s in State if s is not State.ABORTED)
    assert {s for s in State if next_state(s, Event.INTERLOCK)} == MOVING


def test_the_diagram_has_a_line_per_transition() -> None:
    assert diagram().count("-->") == len(TRANSITIONS) + 1
    assert "    IDLE --> STARTING: start" in diagram()
