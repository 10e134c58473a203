"""Each station by itself: its tags, its physics, what it conserves, what breaks in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.loader import LoadedLine, load_line
from configs.schema import Access
from simulators.faults import Faultable
from simulators.machine import Retains, Values
from simulators.machines import build_machine
from simulators.machines import line_design as design
from simulators.machines.line_machine import LineMachine
from simulators.machines.line_states import Command, State
from simulators.machines.line_supply import Supply

LINE = Path(__file__).parents[3] / "configs" / "lines" / "pilot_line.toml"
NS = 1_000_000_000
START_S = 1_700_000_000
STATIONS = {
    "mixer": "mixer1",
    "calender_slitter": "calender1",
    "stacking": "stacker1",
    "filling": "filler1",
    "ageing": "shelf1",
}
every_station = pytest.mark.parametrize("name", STATIONS)


@cache
def _line() -> LoadedLine:
    return load_line(LINE)


def build(name: str, seed: int = 1, **parameters: Any) -> LineMachine:
    machine = build_machine(name, _line().equipment[STATIONS[name]], START_S * NS, seed, parameters)
    assert isinstance(machine, LineMachine)
    return machine


def to(machine: LineMachine, seconds: float) -> LineMachine:
    machine.advance((START_S + round(seconds)) * NS)
    return machine


def put(machine: LineMachine, tag: str, value: float) -> None:
    machine.write(tag, np.array([value]))


def get(machine: LineMachine, tag: str) -> float:
    return float(machine.outputs()[tag][0])


def truth(machine: LineMachine) -> dict[str, float]:
    return {name: float(column[0]) for name, column in machine.truth().items()}


def same(a: Mapping[str, Values], b: Mapping[str, Values]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


@every_station
def test_outputs_are_exactly_the_equipment_types_tags_and_everything_writable_is_taken(name: str) -> None:
    machine, kind = build(name), _line().equipment[STATIONS[name]]
    tags = {tag.name: group.points for group in kind.group for tag in group.tag}
    assert {tag: len(values) for tag, values in machine.outputs().items()} == tags
    writable = [tag for group in kind.group for tag in group.tag if tag.access is not Access.READ]
    for turn, tag in enumerate(writable, 1):
        value = 7.0 if tag.min is None else tag.min
        put(machine, tag.name, value)
        to(machine, 10 * turn)
        assert get(machine, tag.name) == value


@every_station
def test_however_time_is_cut_the_station_is_the_same_and_another_seed_is_another(name: str) -> None:
    hours = 6 * 3600.0
    whole, cut = to(build(name), hours), build(name)
    for second in [*np.random.default_rng(3).uniform(0, hours, 200).round().tolist(), hours]:
        to(cut, max(second, 0.0))
    assert same(whole.outputs(), cut.outputs())
    assert same(whole.truth(), cut.truth())
    other = to(build(name, seed=2), hours)
    assert not (same(whole.outputs(), other.outputs()) and same(whole.truth(), other.truth()))


@every_station
def test_it_runs_by_itself_makes_something_and_its_meter_goes_up(name: str) -> None:
    machine = to(build(name), 3600)
    early = get(machine, "unit_energy_kwh")
    assert get(machine, "unit_state") == State.EXECUTE
    to(machine, 14 * 3600)
    assert get(machine, "unit_made") > 0
    assert get(machine, "unit_energy_kwh") > early > 0
    assert 0.5 < truth(machine)["yield_fraction"] <= 1


@every_station
def test_a_job_of_so_many_items_is_complete_after_them(name: str) -> None:
    machine = build(name, control="remote")
    put(machine, "unit_quantity_sp", 1)
    put(machine, "unit_command", Command.START)
    put(machine, "unit_command_seq", 1)
    to(machine, 16 * 3600)
    assert get(machine, "unit_state") == State.COMPLETE
    assert get(machine, "unit_command_seq_ack") == get(machine, "unit_command_result") == 1
    assert get(machine, "unit_made") >= 1


@every_station
def test_what_a_plc_refuses_is_refused(name: str) -> None:
    machine = build(name)
    for tag, value in [("unit_state", 6.0), ("nothing", 1.0), ("unit_command", 10.0), ("unit_command", 1.5)]:
        with pytest.raises(ValueError, match=tag):
            put(machine, tag, value)
    with pytest.raises(ValueError, match="finite"):
        put(machine, "unit_heartbeat", float("nan"))
    with pytest.raises(ValueError, match="one value"):
        machine.write("unit_command", np.ones(2))
    with pytest.raises(ValueError, match="no parameter 'colour'"):
        build(name, colour=1)
    with pytest.raises(ValueError, match="automatic or remote"):
        build(name, control="manual")
    with pytest.raises(ValueError, match="is not for machine"):
        build_machine(name, _line().equipment["coater1"], 0, 1, {})


@every_station
def test_its_faults_are_named_and_only_those(name: str) -> None:
    machine: Faultable = build(name)
    assert machine.faults
    for fault, kind in machine.faults.items():
        machine.fault(fault, True, kind.complete(fault, {}))
        machine.fault(fault, False, {})
    with pytest.raises(ValueError, match="no fault 'flood'"):
        machine.fault("flood", True, {})


@every_station
def test_power_comes_back_with_set_points_counters_and_meter(name: str) -> None:
    machine = to(build(name), 8 * 3600)
    put(machine, "unit_quantity_sp", 9000)
    to(machine, 8 * 3600 + 10)
    assert isinstance(machine, Retains)
    kept, before = machine.retained(), machine.outputs()
    machine.restore_retained(kept, (START_S + 10 * 3600) * NS)
    after = machine.outputs()
    for tag in ("unit_quantity_sp", "unit_scrapped", "unit_energy_kwh"):
        assert after[tag][0] == before[tag][0]
    assert after["unit_made"][0] >= before["unit_made"][0], "what soaked is ready meanwhile"
    assert after["unit_state"][0] == State.IDLE
    assert get(to(machine, 10 * 3600 + 200), "unit_state") == State.EXECUTE


def balance(machine: LineMachine, into: str, *out: str) -> None:
    found = truth(machine)
    assert found[into] > 0
    assert sum(found[name] for name in out) == pytest.approx(found[into], rel=1e-9)


def test_the_mixer_conserves_slurry_and_scraps_what_is_stopped_or_off() -> None:
    machine = to(build("mixer"), 11 * 3600)
    balance(machine, "charged_kg", "batches_kg", "scrap_kg", "vessel_kg")
    assert get(machine, "unit_made") == 4
    assert get(machine, "mixer_temperature_c") > 25
    assert 3 < get(machine, "mixer_viscosity_pa_s") < 8
    put(machine, "unit_command", Command.STOP)
    put(machine, "unit_command_seq", 1)
    to(machine, 12 * 3600)
    assert (get(machine, "unit_state"), get(machine, "unit_scrapped")) == (State.STOPPED, 1)
    assert np.isnan(get(machine, "mixer_viscosity_pa_s"))
    balance(machine, "charged_kg", "batches_kg", "scrap_kg", "vessel_kg")
    off = build("mixer")
    off.fault("solids_error", True, {"fraction": -0.03})
    assert get(to(off, 3 * 3600), "unit_scrapped") == 1


def test_slurry_of_the_recipe_has_the_density_and_viscosity_that_the_coater_expects() -> None:
    assert design.slurry_density_kg_m3(0.65) == pytest.approx(2050, abs=20)
    assert design.slurry_viscosity_pa_s(0.65) == pytest.approx(3.0, abs=0.2)
    assert design.slurry_viscosity_pa_s(0.60) < design.slurry_viscosity_pa_s(0.65) < 1e3
    assert np.isfinite(design.slurry_viscosity_pa_s(0.99))


def test_the_calender_conserves_dry_mass_and_foil_through_trim_and_scrap() -> None:
    machine = build("calender_slitter")
    machine.fault("blunt_knife", True, {"fraction": 0.2})
    to(machine, 2 * 3600)
    balance(machine, "in_dry_kg", "sheets_dry_kg", "trim_dry_kg", "scrap_dry_kg")
    balance(machine, "in_foil_kg", "sheets_foil_kg", "trim_foil_kg", "scrap_foil_kg")
    found = truth(machine)
    assert found["made"] + found["scrapped"] == found["metres"] * design.STRIPS * design.SHEETS_A_METRE
    assert found["yield_fraction"] == pytest.approx(0.8, abs=0.02)


def test_the_calender_presses_to_the_designs_porosity_and_a_heavier_coating_stays_more_porous() -> None:
    loading = np.array([0.9, 1.0, 1.1]) * design.LOADING_KG_M2
    porosity = design.calendered_porosity(design.LINE_LOAD_N_M, loading)
    assert porosity[1] == pytest.approx(design.POROSITY, rel=1e-12)
    assert porosity[0] < porosity[1] < porosity[2]
    assert design.calendered_porosity(0.0, loading) == pytest.approx(design.DRIED_POROSITY)
    assert design.calendered_porosity(1e9, loading) == pytest.approx(design.LEAST_POROSITY)
    machine = to(build("calender_slitter"), 600)
    usual = get(machine, "calender_porosity")
    machine.fault("line_load_error", True, {"fraction": -0.2})
    assert get(to(machine, 900), "calender_porosity") > usual + 0.01
    assert get(machine, "calender_line_load_n_m") == design.LINE_LOAD_N_M, "the display does not know"


@pytest.mark.parametrize(
    ("change", "why"),
    [({"factor": 1.2}, "loading out of limits"), ({"residual_solvent_fraction": 0.2}, "not dry")],
)
def test_the_calender_throws_out_metres_that_are_out_of_limits(change: dict[str, float], why: str) -> None:
    machine = build("calender_slitter", burr_scrap_fraction=0.0)
    metre = Supply("metre", 5).items(1, 0)[0]
    factor = change.pop("factor", 1.0)
    metre |= change | {"lane_kg_m2": [lane * factor for lane in metre["lane_kg_m2"]]}
    machine.inbox.append(metre)
    seen: list[str] = []
    finish = machine.finish
    machine.finish = lambda row, now, scrap="": (seen.append(scrap), finish(row, now, scrap))[1]  # type: ignore[method-assign]
    to(machine, 90)
    assert seen[: design.STRIPS * design.SHEETS_A_METRE] == [why] * (design.STRIPS * design.SHEETS_A_METRE)


def test_stacking_conserves_cathode_and_its_faults_show_in_scrap_and_resistance() -> None:
    machine = to(build("stacking"), 6 * 3600)
    balance(machine, "in_dry_kg", "stacks_dry_kg", "scrap_dry_kg", "table_dry_kg")
    assert truth(machine)["yield_fraction"] > 0.98
    machine.fault("misaligned", True, {"offset_m": 0.7e-3})
    before = get(machine, "unit_scrapped")
    to(machine, 7 * 3600)
    assert get(machine, "unit_scrapped") > before + 50


def test_filling_conserves_electrolyte_and_a_short_dose_makes_dry_cells() -> None:
    machine = to(build("filling"), 4 * 3600)
    balance(machine, "dispensed_kg", "cells_kg", "scrap_kg", "soaking_kg")
    assert get(machine, "filler_soaking") == pytest.approx(7200 / 30, abs=2)
    machine.fault("short_dose", True, {"fraction": 0.2})
    finished: list[Any] = []
    finish = machine.finish
    machine.finish = lambda row, now, scrap="": (finished.append(row), finish(row, now, scrap))[1]  # type: ignore[method-assign]
    to(machine, 8 * 3600)
    assert "dry" in finished[-1]["defects"]
    assert "dry" not in finished[0]["defects"]
    assert finished[-1]["electrolyte_factor"] == pytest.approx(0.8, abs=0.03)
    assert get(machine, "filler_dose_kg") == pytest.approx(8e-3, rel=0.03), "the scales do not know"


def test_ageing_relaxes_as_measured_and_finds_the_leaking_cells() -> None:
    machine = build("ageing")
    finished: list[Any] = []
    finish = machine.finish

    def note(row: Any, now: int, scrap: str = "") -> Any:
        finished.append((row, scrap))
        return finish(row, now, scrap)

    machine.finish = note  # type: ignore[method-assign]
    to(machine, 6 * 3600 + 90)
    volt = machine.outputs()["shelf_voltage_v"]
    assert np.isfinite(volt).sum() == machine.outputs()["shelf_taken"][0] > 64
    assert np.nanmedian(3.72 - volt) == pytest.approx(0.0225, abs=0.0025), "21 to 24 mV in six hours"
    to(machine, 60 * 3600)
    leaking = [scrap for row, scrap in finished if "soft_short" in row["defects"]]
    sound = [scrap for row, scrap in finished if not row["defects"]]
    assert len(leaking) >= 3
    assert set(leaking) == {"self-discharge"}
    assert set(sound) == {""}
