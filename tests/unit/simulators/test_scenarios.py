"""Every scenario that comes with celltwin, played on its plants without sockets: logged, and visible in what is shown.

A good day with the same seed is what it is compared with: the same bits until the first fault, others where it acts.
What breaks in servers and networks is only handed on here; tests/system/test_scenario_on_the_wire.py has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from configs.loader import LoadedLine, load_line, load_scenario, packaged
from simulators.faults.clocks import CLOCK_FAULTS
from simulators.faults.instruments import QUALITY_FAULTS, Shown
from simulators.faults.setup import Faults
from simulators.faults.timetable import Place, Switch
from simulators.machine import Machine, Values
from simulators.machines import build_machine
from simulators.proxy.front import server_builder
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.servers.modbus import ModbusServer
from simulators.servers.opcua import OpcUaServer
from simulators.timebase import NS_PER_S, TimeBase

S = NS_PER_S
T0 = 1_700_000_000 * S
LOOK_S = 50
SCENARIOS = tuple(packaged("scenarios"))
MUST_BE_THERE = {
    "good_day",
    "die_lip_clog",
    "dryer_zone_fails",
    "splice",
    "short_in_one_cell",
    "hot_tray",
    "network_storm",
    "power_fail",
}
LATE_S = 1800.0  # web to the gauge, a scan of it, and cells that answer slowly


@cache
def _line() -> LoadedLine:
    return load_line(packaged("lines")["a_sample"])


@dataclass
class Day:
    """What a device showed at every look, with the power and the server's switches."""

    shown: dict[int, Shown] = field(default_factory=dict)  # seconds after the start
    unpowered: set[int] = field(default_factory=set)
    switches: list[Switch] = field(default_factory=list)

    def differs(self, other: Day, tag: str, from_s: float, to_s: float) -> bool:
        """Whether the tag was shown otherwise at some look in that time."""
        looks = [at for at in self.shown if from_s < at <= to_s and at in other.shown]
        return any(self.shown[at].outputs[tag].tobytes() != other.shown[at].outputs[tag].tobytes() for at in looks)


def _machine(device: str) -> Machine:
    settings = dict(_line().file.simulation.machines[device])  # type: ignore[union-attr]
    return build_machine(str(settings.pop("machine")), _line().equipment[device], T0, 1, settings)


@cache
def _spare(device: str) -> Machine:
    """One on which faults are tried; it is left well."""
    return _machine(device)


class _Still:
    """A machine that does nothing: for what breaks on the wire only."""

    def __init__(self, machine: Machine) -> None:
        self.scan_s, self.truth_period_s = machine.scan_s, machine.truth_period_s
        self.outputs, self.truth = machine.outputs, machine.truth

    def advance(self, until_ns: int) -> None: ...

    def write(self, tag: str, values: Values) -> None: ...


_OF_THE_WIRE = {*NETWORK_FAULTS, *ModbusServer.faults, *OpcUaServer.faults}


def _of_the_wire_only(device: str, scenario: str) -> bool:
    faults = load_scenario(scenario, _line()).file.fault
    return any(f.device == device for f in faults) and all(f.kind in _OF_THE_WIRE for f in faults if f.device == device)


_ORDERS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "coater1": {
        "zone_temperature_sp_c": (80, 105, 120, 95),
        "web_speed_sp_m_s": (0.1,),
        "pump_rate_sp_ml_s": (3.25,),
        "length_sp_m": (5000,),
        "coater_command": (1,),
        "coater_command_seq": (1,),
    },
    "rack1": {
        "step_mode": (3, 1),
        "step_cycle": (1, 1),
        "step_current_a": (0, 1),
        "step_voltage_v": (0, 4.2),
        "step_duration_s": (1800, 40_000),
        "programme_steps": (2,),
        "programme_id": (7,),
        "command": (1,),
        "command_seq": (1,),
    },
}


def _play(device: str, scenario: str, until_s: float, out: Path) -> Day:
    """The device's day with the orders of its controller, looked at now and then."""
    line, day = _line(), Day()
    equipment = line.equipment[device]
    endpoint = next(d.endpoint for d in line.file.device if d.id == device)
    loaded = load_scenario(scenario, line)
    spare = _spare(device)
    server = server_builder(device, False, loaded, 1)(equipment, endpoint, spare.write)
    faults = Faults(loaded, device, equipment, 1, (spare, server))
    machine: Machine = _Still(spare) if _of_the_wire_only(device, scenario) else _machine(device)
    plant, log = faults.plant(machine, TimeBase(T0, 0, 1.0), T0, out, pytest.fail)
    for tag, values in _ORDERS[device].items():
        plant.write(tag, np.array(values, dtype=float))
    for at_s in range(0, int(until_s) + 1, LOOK_S):
        plant.advance(T0 + at_s * S)
        for switch in plant.server_switches():
            day.switches.append(switch)
            if switch.entry.place is Place.SERVER:
                plant.note(switch, "")
        day.shown[at_s] = plant.shown()
        if not plant.powered:
            day.unpowered.add(at_s)
    log.flush()
    return day


@pytest.fixture(scope="module")
def good_day(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Day]:
    """A good day of a device, played once."""
    return cache(lambda device: _play(device, "good_day", 20_500.0, tmp_path_factory.mktemp(device)))


def test_the_days_that_people_ask_for_are_there() -> None:
    assert set(SCENARIOS) >= MUST_BE_THERE
    assert all(load_scenario(name, _line()).file.name == name for name in SCENARIOS)
    assert all(load_scenario(name, _line()).file.text for name in SCENARIOS if name != "good_day")


_EXPECTED: Mapping[str, tuple[str, ...]] = {
    "die_lip_clog": ("lane_mass_loading_kg_m2", "gauge_mass_loading_kg_m2"),
    "heater_fails": ("zone_temperature_c", "residual_solvent_fraction", "web_temperature_c"),
    "fan_fails": ("web_temperature_c", "residual_solvent_fraction"),
    "splice": ("lane_mass_loading_kg_m2",),
    "soft_short": ("voltage_v",),
    "hot_tray": ("temperature_c",),
    "loose_contact": ("voltage_v",),
    "channel_trip": ("current_a", "fault_bits"),
}
"""What a fault of a machine must show in, by its kind."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenarios_faults_are_logged_and_visible(name: str, good_day: Callable[[str], Day], tmp_path: Path) -> None:
    scenario = load_scenario(name, _line()).file
    for device in dict.fromkeys(fault.device for fault in scenario.fault):
        mine = [fault for fault in scenario.fault if fault.device == device]
        handed_on = _of_the_wire_only(device, name)
        until_s = max(fault.at_s for fault in mine) + (LOOK_S if handed_on else LATE_S)
        day, good = _play(device, name, until_s, tmp_path), Day() if handed_on else good_day(device)
        before = [at for at in day.shown if at < min(fault.at_s for fault in mine) and not handed_on]
        assert before or handed_on
        for at in before:
            for tag, values in day.shown[at].outputs.items():
                assert values.tobytes() == good.shown[at].outputs[tag].tobytes(), (device, tag, at)
        for entry in _begun(tmp_path, device, until_s):
            _is_visible(entry, day, good, device)


def _begun(out: Path, device: str, until_s: float) -> list[Mapping[str, object]]:
    """Rows of the log of each entry's first beginning; they are the scenario's entries."""
    rows = pq.read_table(out / "truth" / device / "faults.parquet").to_pylist()
    assert all(row["refused"] == "" for row in rows)
    begins = [row for row in rows if row["event"] == "begin"]
    entries = {
        k + 1
        for k, fault in enumerate(load_scenario(str(rows[0]["scenario"]), _line()).file.fault)
        if fault.device == device and fault.at_s <= until_s
    }
    assert {row["entry"] for row in begins} == entries
    return list({row["entry"]: row for row in reversed(begins)}.values())


def _is_visible(row: Mapping[str, object], day: Day, good: Day, device: str) -> None:
    kind, settings = str(row["kind"]), json.loads(str(row["settings"]))
    from_s = row["time"].timestamp() - T0 // S  # type: ignore[attr-defined]
    to_s = from_s + LATE_S
    if row["place"] == Place.SERVER.value:
        assert (kind, True) in [(s.entry.kind, s.on) for s in day.switches]
    elif row["place"] == Place.POWER.value:
        down = set(range(int(from_s), int(from_s + settings["down_s"]), LOOK_S))
        assert down <= day.unpowered
        state = {"coater1": "coater_state", "rack1": "rack_state"}[device]
        assert day.differs(good, state, from_s + settings["down_s"], to_s)
    elif kind in CLOCK_FAULTS:
        assert any(day.shown[at].stamp_ns != T0 + at * S for at in day.shown if from_s < at < to_s)
    elif kind in QUALITY_FAULTS:
        tags = str(settings["tags"]).split(", ")
        assert any(set(tags) <= set(day.shown[at].quality) for at in day.shown if from_s <= at < to_s)
    else:
        tags = _EXPECTED[kind] if row["place"] == Place.MACHINE.value else tuple(str(settings["tags"]).split(", "))
        for tag in tags:
            assert day.differs(good, tag, from_s, to_s), (kind, tag)


def test_a_lump_in_the_die_makes_its_lane_thin(good_day: Callable[[str], Day], tmp_path: Path) -> None:
    day, good = _play("coater1", "die_lip_clog", 9600.0, tmp_path), good_day("coater1")
    ratio = day.shown[9600].outputs["lane_mass_loading_kg_m2"] / good.shown[9600].outputs["lane_mass_loading_kg_m2"]
    assert int(np.argmin(ratio)) == 8
    assert ratio[8] < 0.8
    assert np.median(ratio) > 1.0


def test_a_failed_heater_cools_its_zone_only(good_day: Callable[[str], Day], tmp_path: Path) -> None:
    day, good = _play("coater1", "dryer_zone_fails", 8900.0, tmp_path), good_day("coater1")
    cooler = good.shown[8900].outputs["zone_temperature_c"] - day.shown[8900].outputs["zone_temperature_c"]
    assert cooler[1] > 20.0
    assert abs(np.delete(cooler, 1)).max() < 5.0


def test_a_short_shows_in_its_own_channel_only(good_day: Callable[[str], Day], tmp_path: Path) -> None:
    day, good = _play("rack1", "short_in_one_cell", 14_400.0, tmp_path), good_day("rack1")
    lower = good.shown[14_400].outputs["voltage_v"] - day.shown[14_400].outputs["voltage_v"]
    assert int(np.argmax(lower)) == 16
    assert lower[16] > 0.01
    assert abs(np.delete(lower, 16)).max() < 0.002


def test_a_tray_without_fans_is_warmer_everywhere(good_day: Callable[[str], Day], tmp_path: Path) -> None:
    day, good = _play("rack1", "hot_tray", 14_400.0, tmp_path), good_day("rack1")
    warmer = day.shown[14_400].outputs["temperature_c"] - good.shown[14_400].outputs["temperature_c"]
    assert (warmer > 7.0).all()
    assert (warmer < 11.0).all()
    assert day.shown[14_400].outputs["current_a"][63] == 0.0  # tripped
