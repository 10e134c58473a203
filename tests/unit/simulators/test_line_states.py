"""The PackML table, transition by transition, and what a station's PLC makes of it."""

from __future__ import annotations

import itertools

import pytest

from simulators.machines.line_energy import J_PER_KWH, SHARES, TOTAL_KWH_PER_KWH, EnergyMeter, Share
from simulators.machines.line_states import ACTING, TRANSITIONS, Command, Event, State, diagram, next_state
from simulators.machines.line_unit import DWELL_S, Fault, Result, Unit

# ISA-TR88.00.02-2015, written out by hand: from, what happens, to.
EXPECTED = """
IDLE START STARTING; STARTING COMPLETED EXECUTE; EXECUTE COMPLETED COMPLETING; COMPLETING COMPLETED COMPLETE
COMPLETE RESET RESETTING; STOPPED RESET RESETTING; RESETTING COMPLETED IDLE
EXECUTE HOLD HOLDING; SUSPENDED HOLD HOLDING; HOLDING COMPLETED HELD; HELD UNHOLD UNHOLDING
EXECUTE HEARTBEAT_LOST HOLDING; SUSPENDED HEARTBEAT_LOST HOLDING; UNHOLDING COMPLETED EXECUTE
EXECUTE SUSPEND SUSPENDING; EXECUTE STARVED SUSPENDING; SUSPENDING COMPLETED SUSPENDED
EXECUTE BLOCKED SUSPENDING; SUSPENDED ROOM UNSUSPENDING
SUSPENDED UNSUSPEND UNSUSPENDING; SUSPENDED FED UNSUSPENDING; UNSUSPENDING COMPLETED EXECUTE
STOPPING COMPLETED STOPPED; ABORTING COMPLETED ABORTED; ABORTED CLEAR CLEARING; CLEARING COMPLETED STOPPED
"""
STOPPABLE = (
    "STARTING IDLE SUSPENDED EXECUTE HOLDING HELD UNHOLDING SUSPENDING UNSUSPENDING RESETTING COMPLETING COMPLETE"
)
ABORTABLE = f"{STOPPABLE} STOPPING STOPPED CLEARING"
TRIGGERS = {trigger.name: trigger for trigger in (*Command, *Event)}


def expected() -> dict[tuple[State, Command | Event], State]:
    rows = [row.split() for row in EXPECTED.replace("\n", ";").split(";") if row.strip()]
    table = {(State[a], TRIGGERS[t]): State[b] for a, t, b in rows}
    table |= {(State[a], Command.STOP): State.STOPPING for a in STOPPABLE.split()}
    return table | {(State[a], Command.ABORT): State.ABORTING for a in ABORTABLE.split()}


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, (*Command, *Event))))
def test_every_pair_leads_where_the_report_says_or_nowhere(state: State, trigger: Command | Event) -> None:
    assert next_state(state, trigger) is expected().get((state, trigger))


def test_every_state_is_reached_and_left_and_acting_ones_end_by_themselves() -> None:
    assert set(TRANSITIONS.values()) == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {state for state, trigger in TRANSITIONS if trigger is Event.COMPLETED} == ACTING
    assert set(DWELL_S) == ACTING - {State.EXECUTE}
    assert [state.value for state in State] == list(range(1, 18))
    assert diagram().count("-->") == len(TRANSITIONS) + 1


def run(unit: Unit, seconds: float, has_work: bool = True) -> list[State]:
    """Steps of 10 s; the states that were passed, each once."""
    passed = [unit.state]
    for _ in range(round(seconds / 10.0)):
        unit.step(10.0, has_work)
        if unit.state is not passed[-1]:
            passed.append(unit.state)
    return passed


def command(unit: Unit, word: int) -> Result:
    unit.port.word = word
    unit.take_sequence(unit.port.sequence + 1)
    assert unit.port.acknowledged == unit.port.sequence
    return Result(unit.port.result)


def test_automatic_starts_by_itself_suspends_without_material_and_goes_on_with_it() -> None:
    unit = Unit(automatic=True)
    assert run(unit, 200.0) == [State.IDLE, State.STARTING, State.EXECUTE]
    assert run(unit, 60.0, has_work=False)[1:] == [State.SUSPENDING, State.SUSPENDED]
    assert run(unit, 60.0)[1:] == [State.UNSUSPENDING, State.EXECUTE]
    unit.trigger(Event.COMPLETED)
    assert run(unit, 300.0) == [
        State.COMPLETING, State.COMPLETE, State.RESETTING, State.IDLE, State.STARTING, State.EXECUTE,
    ]  # fmt: skip


def test_what_a_person_stopped_or_held_stays_so() -> None:
    unit = Unit(automatic=True)
    run(unit, 200.0)
    assert command(unit, Command.HOLD) is Result.ACCEPTED
    assert run(unit, 600.0)[-1] is State.HELD
    assert command(unit, Command.UNHOLD) is Result.ACCEPTED
    run(unit, 60.0)
    assert command(unit, Command.STOP) is Result.ACCEPTED
    assert run(unit, 600.0)[-1] is State.STOPPED
    assert command(unit, Command.ABORT) is Result.ACCEPTED
    assert run(unit, 600.0)[-1] is State.ABORTED
    assert command(unit, Command.RESET) is Result.REFUSED_IN_STATE
    assert command(unit, Command.CLEAR) is Result.ACCEPTED
    assert run(unit, 600.0)[-1] is State.STOPPED


def test_remote_waits_and_takes_a_command_only_with_a_new_number() -> None:
    unit = Unit(automatic=False)
    assert run(unit, 600.0) == [State.IDLE]
    unit.port.word = Command.START
    unit.take_sequence(0)
    assert (unit.state, unit.port.result) == (State.IDLE, Result.NONE)
    assert command(unit, Command.START) is Result.ACCEPTED
    assert command(unit, Command.START) is Result.REFUSED_IN_STATE
    assert command(unit, 77) is Result.REFUSED_IN_STATE


def test_the_watchdog_holds_and_refuses_until_the_heart_beats_again() -> None:
    unit = Unit(automatic=True)
    run(unit, 200.0)
    unit.beat.take_timeout(100)
    unit.beat.take(1)
    run(unit, 90.0)
    assert unit.state is State.EXECUTE
    run(unit, 60.0)
    assert (unit.state, unit.fault_bits) == (State.HELD, Fault.HEARTBEAT_LOST)
    assert command(unit, Command.UNHOLD) is Result.REFUSED_HEARTBEAT
    unit.beat.take(1)
    assert command(unit, Command.UNHOLD) is Result.REFUSED_HEARTBEAT, "the same value is no beat"
    unit.beat.take(2)
    assert command(unit, Command.UNHOLD) is Result.ACCEPTED
    assert (run(unit, 60.0)[-1], unit.fault_bits) == (State.EXECUTE, 0)


def test_the_meter_counts_power_over_time_and_never_back() -> None:
    meter, counted = EnergyMeter(Share(2.0, 0.5), 1000.0), 0.0
    for state in State:
        before = meter.energy_kwh
        meter.step(state, 60.0)
        counted += meter.power_w * 60.0 / J_PER_KWH
        assert meter.energy_kwh > before
        assert meter.power_w >= 500.0
    assert meter.energy_kwh == pytest.approx(counted, rel=1e-12)
    meter.step(State.EXECUTE, 10.0)
    assert meter.power_w == 2500.0
    meter.step(State.EXECUTE, 10.0, load=0.5)
    assert meter.power_w == 1500.0


def test_the_stations_together_draw_what_factories_are_said_to_draw() -> None:
    low, high = TOTAL_KWH_PER_KWH
    assert low < sum(share.process + share.room for share in SHARES.values()) < high
    small = [share.process for name, share in SHARES.items() if name != "coater"]
    assert max(small) < 2.0, "each step beside drying and dry rooms takes less than 2"
