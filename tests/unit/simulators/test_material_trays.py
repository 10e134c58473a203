"""Tray after tray through formation and ageing: each cell once, none lost, and none pushed where there is no room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from configs.loader import LoadedLine
from simulators.machine import Machine, Values
from simulators.machines.line_states import State
from simulators.material import HANDOVER_S, Material, Row, read_kind
from simulators.material_line import TrayInOut, makers_of
from tests.unit.simulators.test_material_room import NS, START_NS, build, pilot, truth

# A short programme: mode, current, voltage, end current, duration, cycle.
STEPS = ((1, 2.5, 4.2, 0.0, 1200, 1), (4, 2.5, 2.5, 0.0, 600, 1), (3, 0, 0, 0, 60, 2))
TAGS = ("step_mode", "step_current_a", "step_voltage_v", "step_end_current_a", "step_duration_s", "step_cycle")


def filled(line: LoadedLine, out: Path, cells: int) -> None:
    filler = Material(out, "filler1", makers_of(line.file))
    for number in range(1, cells + 1):
        row: Row = {"id": f"filler1:{number:06d}", "time_ns": START_NS - HANDOVER_S * NS + number, "scrap": ""}
        row |= {"stack": "s", "defects": [], "loading_factor": 1.0, "np_ratio": 1.1, "porosity": 0.335}
        row |= {"contact_ohm": 1e-3, "electrolyte_kg": 8e-3, "electrolyte_factor": 1.0, "wetted_fraction": 1.0}
        filler.add("cell", row)
    filler.flush()


class Controller:
    """Runs a programme as often as the rack is idle with a tray in it, and resets what is complete."""

    def __init__(self, rack: Machine) -> None:
        self._rack, self._sequence, self.started = rack, 0, 0

    def look(self) -> None:
        state = self._rack.outputs()["rack_state"][0]
        word = {0: 1.0, 3: 5.0}.get(int(state))
        if word is None:
            return
        if word == 1.0:
            self.started += 1
            for k, tag in enumerate(TAGS):
                self._rack.write(tag, np.array([float(step[k]) for step in STEPS]))
            for tag, value in {"programme_steps": float(len(STEPS)), "programme_id": 7.0}.items():
                self._rack.write(tag, np.array([value]))
        self._sequence += 1
        self._rack.write("command", np.array([word]))
        self._rack.write("command_seq", np.array([float(self._sequence)]))


def trays(line: LoadedLine, out: Path, hours: int, cut_s: int) -> tuple[Machine, Machine, Controller]:
    rack, shelf = build(line, "rack1", out), build(line, "shelf1", out)
    shelf.write("ageing_time_sp_s", np.array([3600.0]))
    controller = Controller(rack)
    for at_s in range(cut_s, hours * 3600 + 1, cut_s):
        rack.advance(START_NS + at_s * NS)
        if at_s % 60 == 0:
            controller.look()
        shelf.advance(START_NS + at_s * NS)
    return rack, shelf, controller


def one(values: Mapping[str, Values], name: str) -> float:
    return float(values[name][0])


def test_tray_after_tray_goes_through_formation_and_ageing_and_every_cell_is_accounted_for(tmp_path: Path) -> None:
    line = pilot(tmp_path, ageing=128)
    filled(line, tmp_path, 3 * 64 + 10)
    rack, shelf, controller = trays(line, tmp_path, 6, 60)
    assert isinstance(rack, TrayInOut)
    formed, aged = read_kind(tmp_path, "formed"), read_kind(tmp_path, "aged")
    assert controller.started == 3
    assert [row["cell"] for row in formed] == [f"filler1:{k:06d}" for k in range(1, 193)], "each once, in order"
    assert one(rack.outputs(), "rack_state") == 7, "ten cells are no tray"
    assert one(rack.outputs(), "unit_state") == State.SUSPENDED
    good = {row["cell"] for row in formed if not row["scrap"]}
    known = truth(shelf)
    assert len(aged) == known["made"] + known["scrapped"] > 64
    assert {row["cell"] for row in aged} <= good
    assert len(good) == len(aged) + known["on_the_shelf"] + known["waiting"]
    assert known["yield_fraction"] == known["made"] / len(aged)
    other = tmp_path / "cut"
    other.mkdir()
    filled(line, other, 3 * 64 + 10)
    trays(line, other, 6, 12)
    assert read_kind(other, "formed") == formed
    assert read_kind(other, "aged") == aged


def test_a_formed_tray_stays_in_the_rack_while_nobody_has_room_for_it(tmp_path: Path) -> None:
    line = pilot(tmp_path, ageing=64)
    filled(line, tmp_path, 3 * 64)
    rack = build(line, "rack1", tmp_path)
    controller = Controller(rack)
    for at_s in range(60, 5 * 3600, 60):
        rack.advance(START_NS + at_s * NS)
        controller.look()
    assert controller.started == 2, "the second tray is formed and stays: the first is in front of the shelf"
    assert len(read_kind(tmp_path, "formed")) == 64
    assert one(rack.outputs(), "rack_state") == 7
    assert one(rack.outputs(), "unit_state") == State.SUSPENDED
