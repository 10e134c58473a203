"""Machine, instruments and timetable together, without sockets: the same bits however time is cut, and power fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pytest

from configs.loader import LoadedLine, load_line, packaged
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.faults.instruments import INSTRUMENT_FAULTS, Instruments
from simulators.faults.plan import POWER_FAULTS
from simulators.faults.plant import Plant
from simulators.faults.timetable import Entry, Place, Switch
from simulators.machine import Machine, Retains, Values
from simulators.machines import build_machine
from simulators.machines.formation_rack import FormationRack
from simulators.machines.rack_states import RackState
from simulators.timebase import NS_PER_S

S = NS_PER_S
T0 = 1_700_000_000 * S


@cache
def _line() -> LoadedLine:
    return load_line(packaged("lines")["a_sample"])


RACK = _line().equipment["rack1"]


class Bench:
    """A plant with what it noted."""

    def __init__(self, machine: Machine, entries: Sequence[Entry], device: str = "rack1", seed: int = 1) -> None:
        equipment = _line().equipment[device]
        self.noted: list[tuple[float, str, bool, str]] = []
        self.plant = Plant(machine, equipment, entries, Instruments(equipment, seed), T0, T0, self._note)

    def _note(self, switch: Switch, refused: str) -> None:
        self.noted.append(((switch.plant_ns - T0) / S, switch.entry.kind, switch.on, refused))

    def at(self, seconds: float) -> Mapping[str, Values]:
        self.plant.advance(T0 + round(seconds * S))
        return self.plant.shown().outputs


def _instrument(number: int, kind: str, at_s: float, duration_s: float | None = None, **given: float | str) -> Entry:
    return Entry(number, Place.INSTRUMENT, kind, INSTRUMENT_FAULTS[kind].complete(kind, given), at_s, duration_s)


def _power(number: int, at_s: float, down_s: float, repeat_every_s: float | None = None) -> Entry:
    settings = POWER_FAULTS["power_fail"].complete("power_fail", {"down_s": down_s})
    return Entry(number, Place.POWER, "power_fail", settings, at_s, down_s, repeat_every_s)


class Tank:
    """A machine that fills by a litre a second, and leaks when it is broken."""

    scan_s = 1.0
    truth_period_s = 60.0
    faults: Mapping[str, FaultKind] = {"leak": FaultKind("It leaks", {"l_s": FaultSetting("Lost", "L/s")})}

    def __init__(self) -> None:
        self.at_s, self.litre, self.leak_l_s = T0 // S, 0.0, 0.0

    def advance(self, until_ns: int) -> None:
        while self.at_s < until_ns // S:
            self.at_s += 1
            self.litre += 1.0 - self.leak_l_s

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        if float(settings["l_s"]) > 1.0:
            raise ValueError("it cannot leak more than it gets")
        self.leak_l_s = float(settings["l_s"]) if on else 0.0

    def write(self, tag: str, values: Values) -> None: ...

    def outputs(self) -> Mapping[str, Values]:
        outputs = {tag.name: np.zeros(group.points) for group in RACK.group for tag in group.tag}
        outputs["voltage_v"] += self.litre
        for name in ("clock_s", "rack_clock_s"):
            outputs[name] += self.at_s
        return outputs

    def truth(self) -> Mapping[str, Values]:
        return {"point": np.ones(1), "litre": np.array([self.litre])}


def test_a_machine_breaks_and_is_mended_at_its_plant_times_however_late_the_scan_is() -> None:
    bench = Bench(Tank(), [Entry(1, Place.MACHINE, "leak", {"l_s": 1.0}, 10.0, 20.0, 100.0)])
    assert bench.at(1000.0)["voltage_v"][0] == 1000.0 - 10 * 20.0
    assert bench.noted[:3] == [(10.0, "leak", True, ""), (30.0, "leak", False, ""), (110.0, "leak", True, "")]


def test_what_a_machine_cannot_take_is_noted_and_the_plant_runs_on() -> None:
    bench = Bench(Tank(), [Entry(1, Place.MACHINE, "leak", {"l_s": 2.0}, 10.0)])
    assert bench.at(20.0)["voltage_v"][0] == 20.0
    assert bench.noted == [(10.0, "leak", True, "it cannot leak more than it gets")]


def test_server_faults_are_handed_on_in_order() -> None:
    bench = Bench(Tank(), [Entry(1, Place.SERVER, "cut", {}, 5.0, 2.0), _power(2, 6.0, 10.0)])
    bench.at(20.0)
    assert [(s.entry.kind, s.on) for s in bench.plant.server_switches()] == [
        ("cut", True),
        ("power_fail", True),
        ("cut", False),
        ("power_fail", False),
    ]
    assert bench.plant.server_switches() == []


def test_a_machine_without_retained_memory_stands_still_without_power_and_its_clock_is_right_afterwards() -> None:
    bench = Bench(Tank(), [_power(1, 100.0, 50.0), _power(2, 120.0, 60.0)])
    assert bench.at(99.0)["voltage_v"][0] == 99.0
    bench.plant.advance(T0 + 150 * S)
    assert not bench.plant.powered
    with pytest.raises(ValueError, match="no power"):
        bench.plant.write("command", np.ones(1))
    shown = bench.at(200.0)
    assert shown["voltage_v"][0] == 120.0
    assert shown["clock_s"].tolist() == [T0 // S + 200.0] * 64


def _rack(seed: int = 1) -> FormationRack:
    rack = build_machine("formation_rack", RACK, T0, seed, {})
    assert isinstance(rack, FormationRack)
    return rack


def _start(machine: Machine) -> None:
    """Charge at 1.5 A for two hours, then rest, without a watchdog."""
    programme = {"step_mode": (1, 3), "step_current_a": (1.5, 0), "step_voltage_v": (4.2, 0)}
    programme |= {"step_cycle": (1, 1), "step_end_current_a": (0, 0), "step_duration_s": (7200, 9000)}
    for tag, values in programme.items():
        machine.write(tag, np.array(values, dtype=float))
    for tag, value in (("programme_steps", 2), ("programme_id", 7), ("command", 1), ("command_seq", 1)):
        machine.write(tag, np.array([value], dtype=float))


def test_a_rack_keeps_its_recipe_and_its_counters_without_power_and_waits_for_its_controller() -> None:
    rack = _rack()
    assert isinstance(rack, Retains)
    bench = Bench(rack, [_power(1, 600.0, 300.0)])
    _start(bench.plant)
    before = bench.at(599.5)
    assert before["rack_state"][0] == RackState.RUNNING
    rested_v = before["voltage_v"]
    after = bench.at(900.0)
    for tag in ("charge_ah", "charge_wh", "step", "step_current_a", "active_programme_id"):
        assert after[tag] == pytest.approx(before[tag], abs=0.003), tag
    assert after["charge_ah"][0] > 0.2
    assert after["rack_state"][0] == RackState.HELD
    assert after["rack_fault_bits"][0] == 1
    assert after["current_a"].tolist() == [0.0] * 64
    assert (after["voltage_v"] < rested_v).all()  # the cells have relaxed meanwhile
    assert [after[tag][0] for tag in ("command", "command_seq", "command_seq_ack", "heartbeat")] == [0.0] * 4
    assert after["clock_s"][0] == T0 // S + 900
    for tag, value in (("command", 4), ("command_seq", 1)):
        bench.plant.write(tag, np.array([value], dtype=float))
    resumed = bench.at(960.0)
    assert resumed["rack_state"][0] == RackState.RUNNING
    assert resumed["charge_ah"][0] == pytest.approx(after["charge_ah"][0] + 1.5 * 59 / 3600, rel=0.01)


_RACK_ENTRIES = (
    _instrument(1, "noise", 100.0, 400.0, tags="voltage_v", sd=0.01),
    _instrument(2, "stuck", 333.3, 500.0, tags="voltage_v, temperature_c", points="1-8"),
    _instrument(3, "spikes", 50.0, None, tags="current_a", size=1.0, rate_per_h=600.0, width_s=5.0),
    _instrument(4, "clock_skew", 10.0, None, ppm=500.0),
    _power(5, 700.5, 120.0, 600.0),
)


@pytest.mark.parametrize("seed", [1, 7])
def test_the_same_seed_and_scenario_give_the_same_rack_bit_for_bit_however_time_is_cut(seed: int) -> None:
    looks = [60.0 * k for k in range(1, 31)]
    rng = np.random.default_rng(seed)
    cuts = sorted({*looks, *rng.uniform(0.0, 1800.0, 150).round(3).tolist()})
    coarse, fine = Bench(_rack(seed), _RACK_ENTRIES), Bench(_rack(seed), _RACK_ENTRIES)
    for bench in (coarse, fine):
        _start(bench.plant)
    fine_shown = {}
    for cut in cuts:
        fine_shown[cut] = (fine.at(cut), fine.plant.shown().stamp_ns)
    for look in looks:
        outputs, stamp_ns = coarse.at(look), coarse.plant.shown().stamp_ns
        assert stamp_ns == fine_shown[look][1]
        for tag, values in outputs.items():
            assert values.tobytes() == fine_shown[look][0][tag].tobytes(), (look, tag)
    assert coarse.noted == fine.noted
    assert len(coarse.noted) == 2 + 2 + 1 + 1 + 2 * 2


_COATER_ENTRIES = (
    Entry(1, Place.MACHINE, "die_lip_clog", {"lane": 9.0, "depth_fraction": 0.3}, 1500.0, 300.0, 900.0),
    Entry(2, Place.MACHINE, "splice", {"speed_fraction": 0.6}, 1777.7, 5.0),
    _instrument(3, "drift", 900.0, None, tags="zone_temperature_c", points="2", per_h=3.0),
    _power(4, 2222.2, 77.7),
)


def test_the_same_seed_and_scenario_give_the_same_coater_bit_for_bit_however_time_is_cut() -> None:
    looks = [300.0 * k for k in range(1, 10)]
    rng = np.random.default_rng(3)
    cuts = sorted({*looks, *rng.uniform(0.0, 2700.0, 100).round(3).tolist()})
    coater = {"zone_temperature_sp_c": (80, 105, 120, 95), "web_speed_sp_m_s": (0.1,), "pump_rate_sp_ml_s": (3.25,)}
    coater |= {"length_sp_m": (2000,), "coater_command": (1,), "coater_command_seq": (1,)}
    benches = []
    for _ in range(2):
        machine = build_machine("coater", _line().equipment["coater1"], T0, 5, {})
        benches.append(Bench(machine, _COATER_ENTRIES, "coater1"))
        for tag, values in coater.items():
            machine.write(tag, np.array(values, dtype=float))
    shown = [{cut: bench.at(cut) for cut in times} for bench, times in zip(benches, (looks, cuts), strict=True)]
    for look in looks:
        for tag, values in shown[0][look].items():
            assert values.tobytes() == shown[1][look][tag].tobytes(), (look, tag)
    assert benches[0].noted == benches[1].noted
    assert [refused for *_, refused in benches[0].noted] == [""] * len(benches[0].noted)
    assert shown[0][1800.0]["coater_state"][0] == 6
    assert shown[0][2700.0]["coater_state"][0] != 6  # someone has to reset it after the power fail
