"""Coater and rack in PackML beside their own states, and the meters that every equipment of the line has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from configs.loader import LoadedLine, load_line
from simulators.machine import Retains
from simulators.machines import build_machine, coater_sequence
from simulators.machines.line_states import State
from simulators.machines.packml import TABLE, Dryer, packml
from simulators.machines.rack_states import RackState
from tests.unit.simulators.test_rack_machine import CC_CHARGE, CC_DISCHARGE, REST, Operator, RackCommand

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
LINES = Path(__file__).parents[3] / "configs" / "lines"
# Charged for half an hour, at rest, discharged for a quarter: mode, cycle, current, voltage, end current, duration.
CYCLE = [
    (CC_CHARGE, 1, 2.0, 4.2, 0, 1800), (REST, 1, 0, 0, 0, 600), (CC_DISCHARGE, 1, 2.0, 2.5, 0, 900),
    (REST, 2, 0, 0, 0, 60),
]  # fmt: skip


@cache
def line() -> LoadedLine:
    return load_line(LINES / "pilot_line.toml")


def test_every_own_state_has_one_of_packmls() -> None:
    assert {kind: set(states) for kind, states in TABLE.items()} == {kind: set(kind) for kind in TABLE}
    assert packml(RackState.WAITS) is State.SUSPENDED, "starved, as any other station"
    assert packml(RackState.RUNNING) is packml(coater_sequence.State.EXECUTE) is packml(Dryer.HOT) is State.EXECUTE
    for state in coater_sequence.State:
        assert packml(state) == state, "the coater's register has PackML's numbers already"
    with pytest.raises(KeyError):
        packml(State.IDLE)


def test_all_equipment_of_a_line_shows_a_packml_state_and_an_energy_meter() -> None:
    assert line().file.simulation is not None
    for device, settings in line().file.simulation.machines.items():  # type: ignore[union-attr]
        kind = line().equipment[device]
        machine = build_machine(str(settings["machine"]), kind, START_NS, 1, {})
        assert {"unit_state", "unit_power_w", "unit_energy_kwh"} <= {tag.name for g in kind.group for tag in g.tag}
        machine.advance(START_NS + 3600 * NS)
        early = machine.outputs()
        machine.advance(START_NS + 7200 * NS)
        late = machine.outputs()
        assert State(int(late["unit_state"][0]))
        assert late["unit_power_w"][0] > 0
        assert late["unit_energy_kwh"][0] > early["unit_energy_kwh"][0] > 0


def formed(**parameters: float) -> Operator:
    op = Operator(**parameters)
    op.load(CYCLE)
    op.command(RackCommand.START)
    return op


def test_the_racks_meter_is_what_its_cells_took_over_the_supplys_efficiency() -> None:
    op = formed(standby_w=0.0, fans_w=0.0)
    op.wait(1800)
    out = op.rack.outputs()
    # Each channel takes its cell's energy and 0.7 V more: a linear regulator.
    bus_wh = float((out["charge_wh"] + 0.7 * out["charge_ah"]).sum())
    assert out["unit_energy_kwh"][0] == pytest.approx(bus_wh / 0.9 / 1000.0, rel=2e-3)
    assert out["unit_power_w"][0] == 0.0, "at rest"
    op.wait(700)
    assert op.get("unit_power_w") == 0.0, "what it discharges is burnt in the channels"
    op.wait(1000)
    assert op.get("unit_energy_kwh") == out["unit_energy_kwh"][0]
    assert op.get("unit_energy_returned_kwh") == 0.0
    assert op.get("unit_state") == State.COMPLETE


def test_a_rack_that_regenerates_gives_back_what_channels_do_not_take() -> None:
    op = formed(standby_w=0.0, fans_w=0.0, regeneration_efficiency=0.8)
    op.wait(2500)
    assert op.get("unit_power_w") < -200.0
    op.wait(1000)
    out = op.rack.outputs()
    given_wh = float((out["discharge_wh"] - 0.7 * out["discharge_ah"]).sum())
    assert out["unit_energy_returned_kwh"][0] == pytest.approx(0.8 * given_wh / 1000.0, rel=2e-3)


def test_the_racks_own_draw_is_there_at_rest_and_its_meter_outlives_a_power_fail() -> None:
    op = formed()
    assert op.get("unit_power_w") > 500.0
    op.wait(3600)
    assert (op.get("unit_power_w"), op.get("unit_state")) == (30.0, State.COMPLETE)
    before = op.get("unit_energy_kwh")
    rack = op.rack
    assert isinstance(rack, Retains)
    kept = {name: values.copy() for name, values in rack.retained().items()}
    rack.restore_retained(kept, (op.at_s + 1800) * NS)
    assert op.get("unit_energy_kwh") == before, "nothing was drawn without power"


@pytest.mark.parametrize(("name", "value"), [("supply_efficiency", 0.0), ("supply_efficiency", 1.2), ("fans_w", -1.0)])
def test_a_supply_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Operator(**{name: value})


def test_the_coater_and_its_dryer_have_states_and_meters_of_their_own() -> None:
    kind = line().equipment["coater1"]
    machine = build_machine("coater", kind, START_NS, 1, {"disturbance": 0.0})

    def shown(name: str) -> float:
        return float(machine.outputs()[name][0])

    assert (shown("unit_state"), shown("dryer_unit_state")) == (State.IDLE, State.IDLE)
    machine.write("zone_temperature_sp_c", np.array([80.0, 105.0, 120.0, 95.0]))
    given = {"web_speed_sp_m_s": 0.1, "pump_rate_sp_ml_s": 3.25, "length_sp_m": 60.0}
    for tag, value in {**given, "coater_command": 1.0, "coater_command_seq": 1.0}.items():
        machine.write(tag, np.array([value]))
    passed: list[tuple[float, float]] = []
    for at_s in range(60, 10_860, 60):
        machine.advance(START_NS + at_s * NS)
        now = (shown("unit_state"), shown("dryer_unit_state"))
        passed += [now] if now not in passed[-1:] else []
    cold, heats, hot, coats = (4, 4), (3, 3), (3, 6), (6, 6)
    assert [s for s in passed if s != hot] == [heats, coats, (17, 16), (17, 4)], passed
    assert cold not in passed
    assert shown("unit_energy_kwh") > shown("coater_energy_kw_h") > 1.0
    truth = machine.truth()
    assert truth["energy_kwh"][0] == shown("unit_energy_kwh")
    assert truth["dryer_energy_kwh"][0] == shown("coater_energy_kw_h")
