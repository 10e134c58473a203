"""The job table: what we do in each phase for each machine state, and above all what we never do."""

from __future__ import annotations

import itertools

import pytest

from configs.schema import MachineControl
from controller.control.sequence import Action, MachineState, Phase, machine_state, next_action

CONTROL = MachineControl(
    command="c",
    sequence="s",
    sequence_ack="a",
    result="r",
    state="x",
    idle=(0,),
    running=(1, 7),
    held=(2,),
    complete=(3,),
    ended=(4, 5),
)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (0.0, MachineState.IDLE),
        (7.0, MachineState.RUNNING),
        (2.0, MachineState.HELD),
        (3.0, MachineState.COMPLETE),
        (5.0, MachineState.ENDED),
        (99.0, MachineState.UNKNOWN),
        (float("nan"), MachineState.UNKNOWN),
    ],
)
def test_state_numbers_are_reduced_and_unknown_ones_stay_unknown(value: float, state: MachineState) -> None:
    assert machine_state(CONTROL, value) is state


def test_a_good_job_goes_load_start_wait_finish() -> None:
    assert next_action(Phase.NEW, MachineState.IDLE) is Action.LOAD
    assert next_action(Phase.LOADED, MachineState.IDLE) is Action.START
    assert next_action(Phase.STARTED, MachineState.RUNNING) is Action.WAIT
    assert next_action(Phase.STARTED, MachineState.COMPLETE) is Action.FINISH


def test_a_started_job_is_never_started_or_reset_again() -> None:
    harmless = {Action.WAIT, Action.FINISH, Action.FAIL, Action.RESUME}
    for phase, state in itertools.product((Phase.STARTED, Phase.DONE, Phase.FAILED), MachineState):
        assert next_action(phase, state, held_for_heartbeat=True) in harmless


def test_only_our_own_silence_is_resumed_by_us() -> None:
    assert next_action(Phase.STARTED, MachineState.HELD) is Action.WAIT
    assert next_action(Phase.STARTED, MachineState.HELD, held_for_heartbeat=True) is Action.RESUME


def test_an_unknown_state_is_waited_out() -> None:
    assert all(next_action(phase, MachineState.UNKNOWN) is Action.WAIT for phase in Phase)


def test_a_running_machine_is_adopted_not_commanded() -> None:
    for phase in (Phase.NEW, Phase.LOADED):
        assert next_action(phase, MachineState.RUNNING) is Action.ADOPT
