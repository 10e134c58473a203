"""What is wrong with a rack's cells from the start, and what breaks later: seen where an operator would see it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from configs.loader import load_line
from configs.schema import Equipment
from kernels.spm import P as CellP
from simulators.machine import Values
from simulators.machines import build_machine
from simulators.machines.formation_rack import FormationRack
from simulators.machines.rack_faults import DEFECTS, FAULTS
from simulators.machines.rack_states import RackFault, RackState

NS = 1_000_000_000
START_S = 1_700_000_000
LINE = Path(__file__).parents[3] / "configs" / "lines" / "a_sample.toml"
# mode, cycle, current, voltage, end current, duration
CHARGE = ((1.0, 1, 1.0, 4.2, 0, 3600), (3.0, 1, 0, 0, 0, 3600))
TAGS = ("step_mode", "step_cycle", "step_current_a", "step_voltage_v", "step_end_current_a", "step_duration_s")


@cache
def _equipment() -> Equipment:
    return load_line(LINE).equipment["rack1"]


class Bench:
    """A rack with a charge of an hour and a rest in it, started."""

    def __init__(self, seed: int = 1, **parameters: float | str) -> None:
        rack = build_machine("formation_rack", _equipment(), START_S * NS, seed, parameters)
        assert isinstance(rack, FormationRack)
        self.rack, self.at_s, self.seq = rack, START_S, 0
        for k, tag in enumerate(TAGS):
            rack.write(tag, np.array([step[k] for step in CHARGE], dtype=float))
        rack.write("programme_steps", np.array([2.0]))
        rack.write("programme_id", np.array([7.0]))
        self.result = self.order(1)

    def order(self, command: int) -> float:
        self.seq += 1
        self.rack.write("command", np.array([float(command)]))
        self.rack.write("command_seq", np.array([float(self.seq)]))
        self.wait(1)
        return float(self.rack.outputs()["command_result"][0])

    def wait(self, seconds: int) -> Bench:
        self.at_s += seconds
        self.rack.advance(self.at_s * NS)
        return self

    def get(self, tag: str) -> Values:
        return self.rack.outputs()[tag]


@cache
def _sound() -> Bench:
    return Bench().wait(5400)


@pytest.mark.parametrize(
    ("defects", "why"),
    [
        ("soft_shorts:3", "no defect"),
        ("soft_short", "needs 'channel'"),
        ("soft_short:65", "from 1 to 64"),
        ("soft_short:3.5", "whole number"),
        ("soft_short:3:0.2", "from 1 to"),
        ("dry_cell:3:x", "is written"),
        ("dry_cell:3:0.5:9", "is written"),
    ],
)
def test_a_defect_that_the_rack_cannot_have_is_refused(defects: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Bench(defects=defects)


def test_a_spread_is_taken_from_the_line_file_and_moves_no_other_number() -> None:
    alike = Bench(**{f"spread_{name}": 0.0 for name in ("loading", "kinetics", "electrolyte", "contact", "sei_area")})
    truth = alike.wait(60).rack.truth()
    assert np.ptp(truth["capacity_ah"]) < 1e-6
    assert np.ptp(truth["leak_a"]) > 1e-6
    assert np.array_equal(truth["leak_a"], Bench().wait(60).rack.truth()["leak_a"])
    with pytest.raises(ValueError, match="spread_loading is from 0"):
        Bench(spread_loading=2.0)


def test_each_defect_shows_in_its_cell_and_in_no_other() -> None:
    sound = _sound()
    bad = Bench(defects="soft_short:17:20, dry_cell:3, loose_contact:5:0.05, wrong_polarity:9, high_loading:11:1.1")
    truth, was = bad.rack.truth(), Bench().rack.truth()
    assert truth["leak_a"][16] == pytest.approx(2.75 / 20, rel=0.05)
    assert truth["capacity_ah"][2] == pytest.approx(0.7 * was["capacity_ah"][2], rel=0.01)
    assert truth["r0_ohm"][4] == pytest.approx(was["r0_ohm"][4] + 0.05, abs=1e-6)
    loaded = bad.rack._cells.cell_p[CellP.Q_POS_C, 10] / Bench().rack._cells.cell_p[CellP.Q_POS_C, 10]
    assert loaded == pytest.approx(1.1)
    bad.wait(1800)
    assert bad.get("voltage_v")[8] < -2.5
    assert (bad.get("fault_bits")[8], bad.get("charge_ah")[8]) == (16, 0)
    bad.wait(3600)
    fallen = bad.get("voltage_v")[16] - sound.get("voltage_v")[16]
    assert fallen < -0.01
    # Others differ by the tray's heat alone, which two odd cells and one without current change a little.
    good = np.delete(np.arange(64), [2, 4, 8, 10, 16])
    assert np.abs((bad.get("voltage_v") - sound.get("voltage_v"))[good]).max() < 0.002


def test_a_soft_short_that_comes_later_leaks_from_then_on() -> None:
    bench = Bench()
    bench.wait(1800).rack.fault("soft_short", True, {"channel": 17, "ohm": 20.0})
    bench.wait(3600)
    sound = _sound()
    other = np.delete(np.arange(64), 16)
    assert bench.rack.truth()["leak_a"][16] > 0.1
    assert (bench.get("voltage_v") - sound.get("voltage_v"))[16] < -0.005
    assert np.abs((bench.get("voltage_v") - sound.get("voltage_v"))[other]).max() < 1e-3
    bench.rack.fault("soft_short", False, {"channel": 17, "ohm": 20.0})
    assert bench.rack.truth()["leak_a"][16] < 1e-4


def test_a_loose_contact_lifts_the_voltage_while_current_flows_and_goes_as_it_came() -> None:
    bench, sound = Bench().wait(1800), Bench().wait(1800)
    bench.rack.fault("loose_contact", True, {"channel": 40, "ohm": 0.08})
    bench.wait(10)
    sound.wait(10)
    assert (bench.get("voltage_v") - sound.get("voltage_v"))[39] == pytest.approx(0.08, abs=1e-3)
    bench.rack.fault("loose_contact", False, {"channel": 40, "ohm": 0.08})
    bench.wait(10)
    sound.wait(10)
    assert (bench.get("voltage_v") - sound.get("voltage_v"))[39] == pytest.approx(0.0, abs=1e-4)


def test_a_hot_tray_warms_every_cell_and_cools_down_again() -> None:
    bench = Bench().wait(600)
    bench.rack.fault("hot_tray", True, {"kelvin": 10.0})
    bench.wait(4800)
    warmer = bench.get("temperature_c") - _sound().get("temperature_c")
    assert warmer.min() > 6.0
    assert warmer.max() < 10.5
    assert (bench.get("fault_bits") == 0).all()
    bench.rack.fault("hot_tray", False, {"kelvin": 10.0})
    assert np.ptp(bench.wait(7200).get("temperature_c")) < 8.0


def test_a_trip_takes_its_channel_out_until_reset() -> None:
    bench = Bench().wait(600)
    bench.rack.fault("channel_trip", True, {"channel": 64})
    bench.wait(1)
    assert (bench.get("fault_bits")[63], bench.get("current_a")[63], bench.get("state")[63]) == (32, 0, 0)
    assert bench.get("channels_running")[0] == 63
    kept = bench.get("charge_ah")[63]
    bench.rack.fault("channel_trip", False, {"channel": 64})
    bench.wait(600)
    assert (bench.get("charge_ah")[63], bench.get("fault_bits")[63]) == (kept, 32)
    bench.order(2)
    bench.order(5)
    assert bench.get("fault_bits")[63] == 0
    bench.order(1)
    assert bench.wait(1).get("channels_running")[0] == 64


def test_an_emergency_stop_aborts_and_is_not_talked_away() -> None:
    bench = Bench().wait(600)
    bench.rack.fault("estop", True, {})
    bench.wait(1)
    assert bench.rack.state is RackState.ABORTED
    assert bench.get("rack_fault_bits")[0] == RackFault.EMERGENCY_STOP
    assert (bench.get("current_a") == 0).all()
    assert bench.order(5) == 2
    bench.rack.fault("estop", False, {})
    assert bench.rack.state is RackState.ABORTED
    assert (bench.order(5), bench.order(1)) == (1, 1)
    assert bench.get("rack_fault_bits")[0] == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("die_lip_clog", {}),
        ("soft_short", {}),
        ("soft_short", {"channel": 0, "ohm": 20}),
        ("dry_cell", {"channel": 1, "factor": 5}),
        ("hot_tray", {"kelvin": "hot"}),
        ("estop", {"channel": 1}),
    ],
)
def test_a_fault_that_the_rack_cannot_take_is_refused(name: str, settings: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=name):
        Bench().rack.fault(name, True, settings)


def test_every_kind_can_come_and_go_and_leaves_the_rack_as_it_was() -> None:
    bench = Bench()
    before = bench.rack._cells.cell_p.copy(), bench.rack._cells.p.copy()
    assert set(DEFECTS) - set(FAULTS) == {"high_loading"}
    for name, kind in FAULTS.items():
        settings = kind.complete(name, {"channel": 2} if "channel" in kind.settings else {})
        bench.rack.fault(name, True, settings)
        bench.wait(2).rack.fault(name, False, settings)
    assert np.array_equal(before[0], bench.rack._cells.cell_p)
    assert np.array_equal(before[1], bench.rack._cells.p)


def test_a_tray_of_the_line_takes_the_batchs_place() -> None:
    cell = {"loading_factor": 1.0, "np_ratio": 1.10, "porosity": 0.335, "contact_ohm": 1e-3, "electrolyte_factor": 1.0}
    odd = (
        {},
        {"loading_factor": 1.05, "np_ratio": 1.05},
        {"electrolyte_factor": 0.8},
        {"contact_ohm": 6e-3},
        {"defects": ["soft_short"]},
    )
    tray = [{"channel": k, "cell": f"f:{k}", "defects": [], **cell, **more} for k, more in enumerate(odd, 1)]
    bench = Bench(spread_kinetics=0.0, spread_electrolyte=0.0, spread_contact=0.0, spread_sei_area=0.0)
    bench.order(2)
    bench.order(5)
    bench.rack.take_tray(tray)
    truth = bench.rack.truth()
    assert np.isnan(truth["soc"][5:]).all()
    base = truth["capacity_ah"][0]
    q = bench.rack._cells.cell_p[[CellP.Q_POS_C, CellP.Q_NEG_C]]
    assert q[:, 1] / q[:, 0] == pytest.approx([1.05, 1.05 * 1.05 / 1.10])
    assert truth["capacity_ah"][2] == pytest.approx(0.8 * base, rel=1e-3)
    assert truth["r0_ohm"][3] - truth["r0_ohm"][0] == pytest.approx(5e-3, abs=1e-6)
    assert truth["leak_a"][4] > 1e-3
    bench.order(1)
    bench.wait(600)
    assert (bench.get("fault_bits")[5:] == 8).all()
    assert np.abs(bench.get("voltage_v")[5:]).max() < 0.01
    assert (bench.get("charge_ah")[:5] > 0.1).all()
    assert bench.get("channels_running")[0] == 5
