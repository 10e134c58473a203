"""The coater's table of states."""

from __future__ import annotations

from simulators.machines.coater_sequence import TRANSITIONS, Command, Event, State, diagram, next_state


def test_every_state_but_aborted_can_be_reached_and_left() -> None:
    targets = set(TRANSITIONS.values()) | {State.IDLE}
    assert targets == set(State) - {State.ABORTED}
    assert {state for state, _ in TRANSITIONS} == set(State)


def test_start_only_from_idle_and_resume_only_from_held() -> None:
    assert [s for s in State if next_state(s, Command.START)] == [State.IDLE]
    assert [s for s in State if next_state(s, Command.RESUME)] == [State.HELD]
    assert next_state(State.COMPLETE, Command.START) is None


def test_the_watchdog_stops_what_moves_and_nothing_else() -> None:
    moving = {s for s in State if next_state(s, Event.HEARTBEAT_LOST)}
    assert moving == {State.STARTING, State.EXECUTE}
    assert all(next_state(s, Event.HEARTBEAT_LOST) is State.HELD for s in moving)


def test_the_diagram_has_a_line_per_transition() -> None:
    assert diagram().count("-->") == len(TRANSITIONS) + 1
    assert "    IDLE --> STARTING: start" in diagram()
