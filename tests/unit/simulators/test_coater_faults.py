"""Each thing that can break in the coater, by its effect on what instruments show and on what is true."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.faults import Faultable
from simulators.machines.coater_faults import FAULTS
from simulators.machines.coater_sequence import Alarm, Result, State
from tests.unit.simulators.coater_rig import ZONES_C, Rig


def running(seed: int = 1, **parameters: float | str) -> Rig:
    """A coater that has coated for a quarter of an hour."""
    rig = Rig(seed, **parameters).to(2000)
    assert rig.machine.control.state is State.EXECUTE
    return rig


def alarm(rig: Rig) -> Alarm:
    return Alarm(int(rig.show("coater_alarms")))


def test_a_clogged_lip_starves_its_lane_and_feeds_the_others() -> None:
    sound, rig = running(), running()
    rig.on("die_lip_clog", lane=7, depth_fraction=0.5)
    sound.to(2400), rig.to(2400)
    ratio = rig.true("mass_loading_kg_m2") / sound.true("mass_loading_kg_m2")
    assert ratio[6] == pytest.approx(0.5, abs=0.03)
    assert ratio[[5, 7]] == pytest.approx([0.88, 0.88], abs=0.03)
    assert 1.02 < ratio[0] < 1.05
    assert rig.true("mass_loading_kg_m2").mean() == pytest.approx(sound.true("mass_loading_kg_m2").mean(), rel=1e-12)
    rig.off("die_lip_clog", lane=7)
    again = rig.to(2410).true("mass_loading_kg_m2") / sound.to(2410).true("mass_loading_kg_m2")
    assert again == pytest.approx(np.ones(24), rel=1e-12)
    # The gauge sees it one web path later: that scan's profile dips in lane 7.
    rig.on("die_lip_clog", lane=7, depth_fraction=0.5)
    profile = rig.to(3000).shows("lane_mass_loading_kg_m2")
    assert int(np.nanargmin(profile)) == 6


def test_a_web_that_leaves_wet_looks_heavy_to_the_gauge() -> None:
    rig = running(disturbance=0.0)
    rig.write(web_speed_sp_m_s=0.3, pump_rate_sp_ml_s=3 * 3.25)
    rig.to(2400)
    residual = rig.show("residual_solvent_fraction")
    assert residual > 0.02
    assert rig.true("mass_loading_kg_m2") == pytest.approx(0.169, rel=1e-4)
    assert rig.show("gauge_mass_loading_kg_m2") == pytest.approx(0.169 * (1.0 + residual), rel=0.005)


def test_a_zone_without_heat_cools_and_leaves_solvent() -> None:
    rig = running()
    before = rig.show("residual_solvent_fraction")
    rig.on("heater_fails", zone=2)
    rig.to(3500)
    zones = rig.shows("zone_temperature_c")
    assert zones[1] < 40.0
    assert zones[[0, 2, 3]] == pytest.approx(np.array(ZONES_C)[[0, 2, 3]], abs=6.0)
    assert rig.show("residual_solvent_fraction") > 5.0 * before
    assert Alarm.ZONE_COLD in alarm(rig)
    # Only the fans draw power there.
    assert rig.shows("zone_power_w")[1] == pytest.approx(1500.0)
    rig.off("heater_fails", zone=2)
    assert rig.to(5000).shows("zone_temperature_c")[1] == pytest.approx(105.0, abs=3.0)
    assert Alarm.ZONE_COLD not in alarm(rig)


def test_a_fan_that_fails_lets_solvent_gather_and_the_gas_interlock_take_the_heaters_off() -> None:
    rig = running()
    assert 0.02 < rig.shows("zone_lel_fraction").max() < 0.25
    rig.on("fan_fails", zone=2)
    states, gas, power = [], [], []
    for t in range(2010, 2600, 10):
        rig.to(t)
        states.append(rig.machine.control.state)
        gas.append(rig.shows("zone_lel_fraction").max())
        power.append(rig.shows("zone_power_w").max())
    assert Alarm.FAN in alarm(rig)
    assert max(gas) > 0.4
    held = states.index(State.HELD)
    assert gas[held] == pytest.approx(0.4, abs=0.08)
    assert Alarm.GAS_TRIP in alarm(rig)
    assert rig.shows("zone_air_flow_fraction")[1] < 0.06
    assert power[held - 1] > 10_000.0
    assert power[held] == 1500.0  # the fans of the other zones run on
    assert rig.show("web_speed_m_s") == 0.0
    if rig.machine.control.interlocked:
        rig.command(4)
        assert rig.to(2610).show("coater_command_result") == Result.REFUSED_INTERLOCK
    rig.off("fan_fails", zone=2)
    rig.to(3000)
    assert rig.shows("zone_lel_fraction").max() < 0.25
    assert not rig.machine.control.interlocked
    rig.command(4)
    assert rig.to(4000).show("coater_command_result") == Result.ACCEPTED
    assert rig.machine.control.state is State.EXECUTE
    assert Alarm.GAS_TRIP not in alarm(rig)


def test_a_splice_blinds_the_gauges_and_leaves_a_bump() -> None:
    rig, sound = running(disturbance=0.0), running(disturbance=0.0)
    place = rig.true("web_position_m")[0]
    rig.on("splice", speed_fraction=0.5)
    loadings, tension = [], []
    for t in range(2001, 2030):
        loadings.append(rig.to(t).true("mass_loading_kg_m2").mean())
        tension.append(rig.shows("unwind_tension_n")[0])
    normal = sound.true("mass_loading_kg_m2")[0]
    assert min(loadings) < 0.6 * normal
    assert max(loadings) > 1.3 * normal
    assert min(tension) < 28.0
    assert rig.show("splice_count") == 1.0
    assert rig.show("web_speed_m_s") == pytest.approx(0.05, rel=0.05)
    # Half the speed, half the flow: the same loading.
    assert rig.to(2060).true("mass_loading_kg_m2")[0] == pytest.approx(normal, rel=0.01)
    seen = []
    for t in range(2061, 2600):
        rig.to(t)
        at = rig.true("web_position_m")[0] - rig.machine.parameters.gauge_distance_m
        if abs(at - place) < 0.9:
            seen.append(rig.show("gauge_mass_loading_kg_m2"))
    assert len(seen) > 15
    assert np.all(np.isnan(seen))
    assert np.isfinite(rig.show("gauge_mass_loading_kg_m2"))
    assert rig.show("web_speed_m_s") == pytest.approx(0.1, rel=0.01)


def test_a_roll_that_ends_is_spliced() -> None:
    rig = running(foil_roll_m=150.0)
    assert rig.to(3000).show("splice_count") == 1.0
    assert 0.0 < rig.show("foil_left_m") < 150.0


def test_a_pump_that_stalls_thins_the_coating_and_then_breaks_the_bead() -> None:
    rig = running(disturbance=0.0)
    rig.on("pump_stall", share=0.1)
    rig.to(2100)
    assert rig.show("pump_rate_ml_s") == pytest.approx(3.25 * 0.9, rel=0.001)
    assert rig.true("mass_loading_kg_m2") == pytest.approx(0.169 * 0.9, rel=0.001)
    rig.on("pump_stall", share=0.3)
    rig.to(2200)
    # 76 um of wet film under a gap of 150 um: stripes.
    loading = rig.true("mass_loading_kg_m2")
    assert loading.mean() == pytest.approx(0.169 * 0.7, rel=0.001)
    assert loading.std() > 0.3 * loading.mean()
    rig.to(2500)
    assert rig.machine.finished_metres()["striped"][-1] == 1.0
    rig.off("pump_stall", share=0.3)
    assert rig.to(2600).true("mass_loading_kg_m2") == pytest.approx(0.169, rel=0.001)


def test_a_gauge_that_drifts_shows_what_is_not_there() -> None:
    sound, rig = running(3), running(3)
    rig.on("gauge_drift", kg_m2_per_h=0.004)
    sound.to(2000 + 5400), rig.to(2000 + 5400)
    gap = rig.show("gauge_mass_loading_kg_m2") - sound.show("gauge_mass_loading_kg_m2")
    assert gap == pytest.approx(0.006, rel=1e-6)
    assert rig.true("mass_loading_kg_m2").tobytes() == sound.true("mass_loading_kg_m2").tobytes()
    assert rig.true("gauge_offset_kg_m2")[0] == pytest.approx(0.006)
    rig.off("gauge_drift")
    assert rig.to(7410).show("gauge_mass_loading_kg_m2") == sound.to(7410).show("gauge_mass_loading_kg_m2")


def test_a_torn_web_loses_its_tension_and_trips_the_machine() -> None:
    rig = running()
    rig.on("web_break")
    rig.to(2030)
    assert rig.machine.control.state is State.ABORTED
    assert rig.show("web_speed_m_s") == 0.0
    assert rig.show("pump_rate_ml_s") == pytest.approx(0.0, abs=1e-3)
    for span in ("unwind", "dryer", "rewind"):
        assert abs(rig.show(f"{span}_tension_n")) < 1.0
    assert {Alarm.WEB_TORN, Alarm.TENSION} <= set(alarm(rig))
    rig.command(5)
    assert rig.to(2040).show("coater_command_result") == Result.REFUSED_IN_STATE
    rig.off("web_break")
    rig.command(5)
    assert rig.to(2050).show("coater_command_result") == Result.ACCEPTED
    assert rig.show("dryer_tension_n") == pytest.approx(30.0, abs=1.0)
    assert alarm(rig) == Alarm(0)
    rig.command(1)
    assert rig.to(3600).machine.control.state is State.EXECUTE


def test_thicker_slurry_presses_bends_the_lips_and_lags() -> None:
    sound, rig = running(), running()
    rig.on("viscosity_step", factor=3.0)
    sound.to(2100), rig.to(2100)
    assert rig.show("slurry_viscosity_pa_s") == pytest.approx(3.0 * sound.show("slurry_viscosity_pa_s"), rel=0.05)
    assert rig.show("die_pressure_pa") == pytest.approx(3.0 * sound.show("die_pressure_pa"), rel=0.05)
    change = rig.true("mass_loading_kg_m2") / sound.true("mass_loading_kg_m2") - 1.0
    # The slot opens in the middle.
    assert change[11] > 0.005
    assert change[0] < -0.01
    rig.write(pump_rate_sp_ml_s=3.6), sound.write(pump_rate_sp_ml_s=3.6)
    sound.to(2105), rig.to(2105)
    assert rig.show("pump_rate_ml_s") < sound.show("pump_rate_ml_s") - 0.1


@pytest.mark.parametrize(("name", "bit"), [("trip", Alarm.DRIVE_TRIP), ("estop", Alarm.EMERGENCY_STOP)])
def test_a_trip_aborts_and_wants_a_reset_once_it_is_over(name: str, bit: Alarm) -> None:
    rig = running()
    rig.on(name)
    rig.to(2020)
    assert rig.show("coater_state") == State.ABORTED
    assert rig.show("web_speed_m_s") == 0.0
    assert bit in alarm(rig)
    rig.command(5)
    assert rig.to(2030).show("coater_state") == State.ABORTED
    rig.off(name)
    rig.command(5)
    assert rig.to(2040).show("coater_state") == State.IDLE
    assert bit not in alarm(rig)


def test_a_false_gas_alarm_holds_and_takes_the_heaters_off() -> None:
    rig = running()
    rig.on("interlock")
    rig.to(2600)
    assert rig.show("coater_state") == State.HELD
    assert rig.shows("zone_temperature_c").max() < 60.0
    assert rig.true("highest_lel_fraction")[0] < 0.1
    rig.command(4)
    assert rig.to(2610).show("coater_command_result") == Result.REFUSED_INTERLOCK
    rig.off("interlock")
    rig.to(2620).command(4)
    assert rig.to(4200).show("coater_state") == State.EXECUTE


def test_power_that_fails_leaves_recipe_and_counters_and_no_values() -> None:
    rig = running()
    rig.write(coater_heartbeat=7)
    coated, place = rig.to(2010).true("coated_m")[0], rig.show("web_position_m")
    rig.on("power_fail")
    rig.to(2300)
    assert all(np.all(np.isnan(values)) for values in rig.machine.outputs().values())
    with pytest.raises(ValueError, match="no power"):
        rig.write(web_speed_sp_m_s=0.2)
    rig.off("power_fail")
    rig.to(2310)
    assert rig.show("coater_state") == State.ABORTED
    assert rig.show("web_speed_m_s") == 0.0
    assert rig.shows("zone_temperature_c").max() < 80.0
    assert rig.show("web_speed_sp_m_s") == 0.1
    assert list(rig.shows("zone_temperature_sp_c")) == list(ZONES_C)
    assert rig.show("coater_command_seq") == rig.sequence
    assert rig.show("coater_heartbeat") == 7.0
    assert coated <= rig.true("coated_m")[0] < coated + 1.0
    assert place < rig.show("web_position_m") < place + 1.0
    assert Alarm.POWER_WAS_OFF in alarm(rig)
    rig.command(5)
    rig.to(2320).command(1)
    assert rig.to(3800).show("coater_state") == State.EXECUTE


def test_local_refuses_commands_and_set_points_and_still_hears_the_heartbeat() -> None:
    rig = running()
    assert rig.show("coater_remote") == 1.0
    rig.on("local")
    rig.to(2010)
    assert rig.show("coater_remote") == 0.0
    assert Alarm.LOCAL in alarm(rig)
    for tag in ("web_speed_sp_m_s", "zone_temperature_sp_c", "zone_exhaust_sp_m3_s"):
        with pytest.raises(ValueError, match="local"):
            rig.write(**{tag: 60.0 if "temp" in tag else 0.2})
    rig.command(3)
    rig.write(coater_heartbeat=3)
    assert rig.to(2020).show("coater_command_result") == Result.REFUSED_LOCAL
    assert rig.show("coater_command_seq_ack") == rig.sequence
    assert rig.show("coater_state") == State.EXECUTE
    assert rig.show("coater_heartbeat") == 3.0
    rig.off("local")
    rig.command(3)
    assert rig.to(2030).show("coater_state") == State.HELD


def test_a_fault_that_this_machine_cannot_have_is_refused() -> None:
    rig = Rig(zones=2)
    machine: Faultable = rig.machine
    assert machine.faults is FAULTS
    for name, settings, what in (
        ("heater_fails", {"zone": 3.0}, "from 1 to 2"),
        ("heater_fails", {"zone": 1.5}, "whole number"),
        ("die_lip_clog", {"lane": 0.0, "depth_fraction": 0.5}, "from 1 to 24"),
        ("die_lip_clog", {"lane": 1.0, "depth_fraction": 1.5}, "from 0 to 1"),
        ("pump_stall", {"share": "much"}, "number"),
        ("flood", {}, "nothing called 'flood'"),
    ):
        with pytest.raises(ValueError, match=what):
            machine.fault(name, True, settings)
    assert all(kind.text and all(s.text for s in kind.settings.values()) for kind in FAULTS.values())
