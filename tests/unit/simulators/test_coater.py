"""The coater as a whole: what a job looks like from its tags, refusals, and that time may be cut in any way."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import configs
from configs.schema import Equipment
from simulators.machines.coater import Coater
from simulators.machines.coater_sequence import Result, State

S = 1_000_000_000
START_NS = 1_760_000_000 * S
EQUIPMENT = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"
ZONES_C = (80.0, 105.0, 120.0, 95.0)
Make = Callable[..., Coater]


def equipment() -> Equipment:
    return Equipment.model_validate(tomllib.loads(EQUIPMENT.read_text()))


def coater(seed: int = 1, **parameters: float) -> Coater:
    return Coater(equipment(), START_NS, seed, parameters)


def write(machine: Coater, **tags: float | tuple[float, ...]) -> None:
    for tag, value in tags.items():
        machine.write(tag, np.atleast_1d(np.array(value, dtype=float)))


def set_points(machine: Coater, length_m: float = 2000.0, speed: float = 0.1, pump: float = 3.25) -> None:
    write(machine, web_speed_sp_m_s=speed, pump_rate_sp_ml_s=pump, length_sp_m=length_m)
    write(machine, zone_temperature_sp_c=ZONES_C)


def command(machine: Coater, word: int) -> None:
    write(machine, coater_command=word, coater_command_seq=machine.control.port.sequence + 1)


def run(machine: Coater, begin_s: float, end_s: float, period_s: float = 10.0) -> list[dict[str, np.ndarray]]:
    found = []
    for t in np.arange(begin_s + period_s, end_s + 1e-6, period_s):
        machine.advance(START_NS + round(t * S))
        found.append(dict(machine.outputs()))
    return found


def started(length_m: float = 2000.0, **parameters: float) -> Coater:
    machine = coater(**parameters)
    set_points(machine, length_m)
    command(machine, 1)
    return machine


def test_outputs_are_every_tag_of_the_equipment_type() -> None:
    outputs = coater().outputs()
    expected = {tag.name: group.points for group in equipment().group for tag in group.tag}
    assert {name: values.shape[0] for name, values in outputs.items()} == expected
    assert all(values.dtype == np.float64 for values in outputs.values())


def test_steady_loading_is_the_mass_balance_of_the_recipe() -> None:
    machine = started(disturbance=0.0)
    run(machine, 0, 3000)
    # 3.25 mL/s x 2.4 g/mL x 65 % solids over 0.30 m x 0.10 m/s.
    by_hand = 3.25e-6 * 2400.0 * 0.65 / (0.30 * 0.10)
    assert by_hand == pytest.approx(0.169)
    truth = machine.truth()
    assert truth["mass_loading_kg_m2"] == pytest.approx(by_hand, rel=1e-6)
    # The gauge weighs what solvent is left as well.
    residual = machine.outputs()["residual_solvent_fraction"][0]
    assert 0.0 < residual < 2e-4
    assert machine.outputs()["gauge_mass_loading_kg_m2"][0] == pytest.approx(by_hand * (1.0 + residual), rel=1e-6)
    assert machine.outputs()["lane_mass_loading_kg_m2"] == pytest.approx(by_hand * (1.0 + residual), rel=1e-6)
    # Wet film: the same flow without the density.
    assert truth["wet_film_thickness_m"][0] == pytest.approx(108.3e-6, rel=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 4, 7, 10, 12, 19])
def test_open_loop_loading_varies_as_real_coatings_do(seed: int) -> None:
    machine = coater(seed)
    set_points(machine, length_m=900.0)
    command(machine, 1)
    rows = []
    for t in range(2000, 9000, 100):
        machine.advance(START_NS + t * S)
        rows.append(machine.truth()["mass_loading_kg_m2"])
    loading = np.array(rows)
    assert 0.012 < loading.std() / loading.mean() < 0.023
    assert loading.mean() == pytest.approx(0.169, rel=0.03)


def test_a_job_goes_through_its_states_and_ends_by_itself() -> None:
    machine = started(length_m=60.0)
    assert machine.control.state is State.IDLE
    scans = run(machine, 0, 2400)
    states = [int(s["coater_state"][0]) for s in scans]
    order = [state for k, state in enumerate(states) if k == 0 or states[k - 1] != state]
    assert order == [State.STARTING, State.EXECUTE, State.COMPLETE]
    last = scans[-1]
    assert last["web_speed_m_s"][0] == 0.0
    assert last["pump_rate_ml_s"][0] == 0.0
    assert machine.control.coated_m == pytest.approx(60.0, abs=0.15)
    # The last coated metre has passed the gauge: it saw all of the coating but what lies within one scan of its ends.
    seen = np.array([s["gauge_web_position_m"][0] for s in scans])
    assert np.nanmax(seen) - np.nanmin(seen) == pytest.approx(60.0, abs=2.5)
    assert np.isnan(last["gauge_mass_loading_kg_m2"][0])
    assert last["coater_command_result"][0] == Result.ACCEPTED


def test_the_web_waits_for_the_dryer() -> None:
    machine = started(disturbance=0.0)
    for scan in run(machine, 0, 1500):
        zones = scan["zone_temperature_c"]
        if scan["web_speed_m_s"][0] > 0.0:
            assert np.all(np.abs(zones - ZONES_C) <= 3.1)
            break
        assert scan["coater_state"][0] == State.STARTING
    else:
        pytest.fail("the web never moved")


def test_start_without_set_points_is_refused() -> None:
    machine = coater()
    set_points(machine)
    write(machine, length_sp_m=0.0)
    command(machine, 1)
    scan = run(machine, 0, 10)[-1]
    assert scan["coater_command_result"][0] == Result.REFUSED_SETPOINT
    assert scan["coater_command_seq_ack"][0] == 1
    assert scan["coater_state"][0] == State.IDLE
    zones_missing = coater()
    write(zones_missing, web_speed_sp_m_s=0.1, pump_rate_sp_ml_s=3.0, length_sp_m=10.0)
    command(zones_missing, 1)
    assert run(zones_missing, 0, 10)[-1]["coater_command_result"][0] == Result.REFUSED_SETPOINT


def test_a_command_is_taken_once_and_only_where_the_table_has_it() -> None:
    machine = coater()
    command(machine, 4)
    scan = run(machine, 0, 10)[-1]
    assert scan["coater_command_result"][0] == Result.REFUSED_IN_STATE
    assert scan["coater_command"][0] == 0
    write(machine, coater_command=1)  # without a new sequence number nothing happens
    set_points(machine)
    assert run(machine, 10, 20)[-1]["coater_state"][0] == State.IDLE
    command(machine, 1)
    assert run(machine, 20, 30)[-1]["coater_state"][0] == State.STARTING


def test_hold_resume_stop_reset() -> None:
    machine = started()
    run(machine, 0, 1300)
    assert machine.control.state is State.EXECUTE
    command(machine, 3)
    held = run(machine, 1300, 1500)[-1]
    assert held["coater_state"][0] == State.HELD
    assert held["web_speed_m_s"][0] == 0.0
    assert held["zone_temperature_c"][2] > 110.0
    coated = machine.control.coated_m
    command(machine, 4)
    run(machine, 1500, 1800)
    assert machine.control.state is State.EXECUTE
    assert machine.control.coated_m > coated
    command(machine, 2)
    run(machine, 1800, 1810)
    assert machine.control.state is State.STOPPING
    run(machine, 1810, 2000)
    assert machine.control.state is State.STOPPED
    command(machine, 5)
    run(machine, 2000, 2010)
    assert machine.control.state is State.IDLE


def test_a_silent_supervisor_means_hold_and_a_living_one_does_not() -> None:
    machine = started()
    write(machine, coater_heartbeat_timeout_s=60.0)
    beat = 0
    for t in range(0, 1300, 50):
        beat += 1
        write(machine, coater_heartbeat=float(beat))
        run(machine, t, t + 50)
    assert machine.control.state is State.EXECUTE
    run(machine, 1300, 1310)  # the last beat is 60 s old
    assert machine.control.state is State.EXECUTE
    write(machine, coater_heartbeat=float(beat))  # the same value again is no sign of life
    run(machine, 1310, 1320)
    assert machine.control.state is State.HELD


@pytest.mark.parametrize(
    ("tag", "values", "what"),
    [
        ("web_speed_sp_m_s", [1.5], "outside 0 to 1 m/s"),
        ("web_speed_sp_m_s", [-0.1], "outside"),
        ("pump_rate_sp_ml_s", [np.nan], "finite"),
        ("zone_temperature_sp_c", [80.0, 190.0], "outside 20 to 180 Cel"),
        ("zone_temperature_sp_c", [80.0] * 5, "1 to 4 values"),
        ("coater_command", [6.0], "outside 0 to 5"),
        ("coater_command_seq", [1.5], "whole number"),
        ("coater_command_seq", [65536.0], "outside"),
        ("web_speed_m_s", [0.1], "read-only"),
        ("no_such_tag", [1.0], "no tag"),
    ],
)
def test_a_write_that_a_plc_would_refuse(tag: str, values: list[float], what: str) -> None:
    machine = coater()
    with pytest.raises(ValueError, match=what):
        machine.write(tag, np.array(values))
    run(machine, 0, 10)
    assert machine.outputs()["web_speed_sp_m_s"][0] == 0.0


def test_a_bad_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"'lanes' is no parameter of the coater.*width_m must be above 0"):
        Coater(equipment(), START_NS, 1, {"lanes": 3, "width_m": -1.0})


def test_one_hour_at_once_or_in_pieces_is_the_same_bit_for_bit() -> None:
    whole, pieces, odd = started(), started(), started()
    whole.advance(START_NS + 3600 * S)
    for t in range(10, 3601, 10):
        pieces.advance(START_NS + t * S)
    for t in range(0, 3_600_000_000_000, 7_300_000_001):
        odd.advance(START_NS + t)
    odd.advance(START_NS + 3600 * S)
    for other in (pieces, odd):
        for name, values in whole.outputs().items():
            assert values.tobytes() == other.outputs()[name].tobytes(), name
        for name, values in whole.truth().items():
            assert values.tobytes() == other.truth()[name].tobytes(), name


def test_the_seed_decides_everything_random() -> None:
    def outputs(seed: int) -> dict[str, bytes]:
        machine = coater(seed)
        set_points(machine)
        command(machine, 1)
        machine.advance(START_NS + 1800 * S)
        return {name: values.tobytes() for name, values in machine.outputs().items()}

    first, same, other = outputs(1), outputs(1), outputs((5 << 32) + 77)
    assert first == same
    assert first["gauge_mass_loading_kg_m2"] != other["gauge_mass_loading_kg_m2"]


def test_truth_has_one_row_per_lane() -> None:
    machine = started()
    machine.advance(START_NS + 1500 * S)
    truth = machine.truth()
    assert list(truth["point"]) == list(range(1, 25))
    assert {values.shape for values in truth.values()} == {(24,)}
    assert truth["mass_loading_kg_m2"].mean() == pytest.approx(machine.web.last.loading_kg_m2)  # type: ignore[union-attr]


def test_the_demos_two_thousand_metres_take_five_and_a_half_hours() -> None:
    machine = started()
    machine.advance(START_NS + 5 * 3600 * S)
    assert machine.control.state is State.EXECUTE
    coating_s = 0
    for t in range(5 * 3600, 6 * 3600, 60):
        machine.advance(START_NS + t * S)
        if machine.control.state is State.COMPLETE:
            coating_s = t
            break
    assert 2000.0 <= machine.control.coated_m < 2000.5
    assert coating_s / 3600.0 == pytest.approx(5.8, abs=0.2)
    # Within the recipe's tolerance all the while, but for the first and last metres.
    metres = machine.finished_metres()
    loading = metres["mass_loading_kg_m2"][5:-5]
    assert loading.mean() == pytest.approx(0.169, rel=0.02)
    assert 0.003 < loading.std() / loading.mean() < 0.012
    assert metres["striped"][5:-5].max() == 0.0
    assert machine.outputs()["coater_alarms"][0] == 0.0
    # Heating the air of the exhaust is nearly all of it: some 80 kW.
    assert 300.0 < machine.outputs()["coater_energy_kw_h"][0] < 600.0
