"""Buffers that are full stop who fills them, and nobody else; the same line however it is cut; nothing gets lost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from configs.loader import LoadedLine, load_line, packaged
from simulators.machine import Machine
from simulators.machines import build_machine
from simulators.machines.line_machine import LineMachine
from simulators.machines.line_states import State
from simulators.machines.line_supply import Supply
from simulators.machines.line_unit import Unit, WaitsFor
from simulators.material import HANDOVER_S, Material, read_kind
from simulators.material_line import join, makers_of
from simulators.material_room import TAKES, Room, rooms_of
from simulators.timebase import NS_PER_S as NS

START_NS = 1_700_000_000 * NS
ROOM = {"calender_slitter": 60, "stacking": 500, "filling": 20, "formation_rack": 40, "coater": 2}
ORDER = ("mixer1", "calender1", "stacker1", "filler1")


def pilot(folder: Path, **buffers: int) -> LoadedLine:
    """The pilot line with these buffers and no others."""
    text = re.sub(r"(?m)^buffer = .*\n", "", packaged("lines")["pilot_line"].read_text())
    for machine, places in buffers.items():
        text = text.replace(f'machine = "{machine}"\n', f'machine = "{machine}"\nbuffer = {places}\n')
    path = folder / "line.toml"
    path.write_text(text)
    return load_line(path)


def build(line: LoadedLine, device: str, out: Path, **parameters: float) -> Machine:
    assert line.file.simulation is not None
    settings = {k: v for k, v in line.file.simulation.machines[device].items() if k != "control"} | parameters
    machine = build_machine(str(settings.pop("machine")), line.equipment[device], START_NS, 1, settings)
    return join(machine, out, device, line.file, START_NS)


def play(line: LoadedLine, out: Path, hours: int, cut_s: int) -> dict[str, LineMachine]:
    """Stations in step; the calender lives on a roll from outside, for nobody coats."""
    machines = {device: build(line, device, out) for device in ORDER}
    for at_s in range(cut_s, hours * 3600 + 1, cut_s):
        for machine in machines.values():
            machine.advance(START_NS + at_s * NS)
    assert all(isinstance(machine, LineMachine) for machine in machines.values())
    return machines  # type: ignore[return-value]


def truth(machine: Machine) -> dict[str, float]:
    return {name: float(column[0]) for name, column in machine.truth().items()}


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoadedLine, dict[str, LineMachine]]:
    folder = tmp_path_factory.mktemp("room")
    line = pilot(folder, **ROOM)
    roll(line, folder)
    return folder, line, play(line, folder, 12, 60)


def roll(line: LoadedLine, out: Path) -> None:
    """300 metres on a roll that is there from the beginning."""
    coater = Material(out, "coater1", makers_of(line.file))
    for number, row in enumerate(Supply("metre", 2).items(300, START_NS - HANDOVER_S * NS), 1):
        coater.add("metre", row | {"id": f"coater1:{number:06d}"})
    coater.flush()


def test_places_are_those_of_the_line_file_and_shared_by_makers(tmp_path: Path) -> None:
    line = pilot(tmp_path, **ROOM)
    wanted = {TAKES[name]: places for name, places in ROOM.items()}
    assert rooms_of(line.file, makers_of(line.file)) == wanted
    assert rooms_of(line.file, makers_of(line.file) | {"stack": ["a", "b"]})["stack"] == 10
    assert rooms_of(pilot(tmp_path).file, makers_of(line.file)) == {}
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(ValueError, match="buffer"):
            build_machine("stacking", line.equipment["stacker1"], START_NS, 1, {"buffer": wrong})


def test_two_racks_behind_one_filler_are_refused_for_both_would_take_the_same_cells(tmp_path: Path) -> None:
    line = pilot(tmp_path)
    assert line.file.simulation is not None
    machines = {**line.file.simulation.machines, "rack2": {"machine": "formation_rack"}}
    twice = line.file.model_copy(update={"simulation": line.file.simulation.model_copy(update={"machines": machines})})
    rack = build_machine("formation_rack", line.equipment["rack1"], START_NS, 1, {})
    with pytest.raises(ValueError, match="rack1 and rack2 would take the same cells"):
        join(rack, tmp_path, "rack1", twice, START_NS)


def test_a_line_without_formation_fills_up_from_its_end_and_stands(
    blocked: tuple[Path, LoadedLine, dict[str, LineMachine]],
) -> None:
    _, _, machines = blocked
    made = {device: machine.unit.made for device, machine in machines.items()}
    assert {device: machine.unit.state for device, machine in machines.items()} == dict.fromkeys(ORDER, State.SUSPENDED)
    assert all(machine.unit.waits_for is WaitsFor.ROOM for machine in machines.values())
    assert made["filler1"] == ROOM["formation_rack"], "nobody takes a cell"
    assert machines["stacker1"].unit.made - made["filler1"] == ROOM["filling"]
    stacked = 10 * (machines["stacker1"].unit.made + machines["stacker1"].unit.scrapped)
    # The calender cuts two metres a step, 32 sheets.
    assert ROOM["stacking"] <= made["calender1"] - stacked < ROOM["stacking"] + 32
    assert made["mixer1"] == ROOM["coater"], "nobody coats"
    out = machines["filler1"].outputs()
    assert (out["unit_state"][0], out["unit_waits_for"][0]) == (5, 2)


def test_nothing_is_lost_between_stations_that_wait(
    blocked: tuple[Path, LoadedLine, dict[str, LineMachine]],
) -> None:
    folder, _, machines = blocked
    mixer, calender, stacker, filler = (truth(machines[device]) for device in ORDER)
    assert calender["in_dry_kg"] == pytest.approx(
        calender["sheets_dry_kg"] + calender["trim_dry_kg"] + calender["scrap_dry_kg"], rel=1e-9
    )
    on_cart = sum(not row["scrap"] for row in read_kind(folder, "sheet")) - calender["made"]
    assert on_cart == 0, "every sheet has its row"
    assert stacker["in_dry_kg"] == pytest.approx(
        stacker["stacks_dry_kg"] + stacker["scrap_dry_kg"] + stacker["table_dry_kg"], rel=1e-9
    )
    assert stacker["made"] == filler["made"] + filler["scrapped"] + filler["waiting"]
    assert mixer["charged_kg"] == pytest.approx(mixer["batches_kg"] + mixer["scrap_kg"] + mixer["vessel_kg"], rel=1e-9)
    told = [row for row in read_kind(folder, "taken") if row["kind"] == "stack"]
    assert [row["items"] for row in told] == sorted(row["items"] for row in told)
    assert told[-1]["items"] == filler["made"] + filler["scrapped"]


@pytest.mark.parametrize("cut_s", [600, 290])
def test_a_line_with_full_buffers_is_the_same_however_it_is_cut(
    blocked: tuple[Path, LoadedLine, dict[str, LineMachine]], tmp_path: Path, cut_s: int
) -> None:
    folder, line, machines = blocked
    roll(line, tmp_path)
    other = play(line, tmp_path, 12, cut_s)
    for machine in other.values():
        machine.advance(START_NS + 12 * 3600 * NS)
    for kind in ("sheet", "stack", "cell", "taken"):
        assert read_kind(folder, kind) == read_kind(tmp_path, kind), kind
    for device in ORDER:
        assert truth(machines[device]) == pytest.approx(truth(other[device]), nan_ok=True, rel=0, abs=0)
        assert truth(other[device])["late_items"] == 0


def test_a_station_goes_on_when_its_cells_have_been_taken_and_a_new_process_knows_the_buffer(tmp_path: Path) -> None:
    line = pilot(tmp_path, formation_rack=40)
    stacker = Material(tmp_path, "stacker1", makers_of(line.file))
    for number, row in enumerate(Supply("stack", 2).items(100, START_NS - HANDOVER_S * NS), 1):
        stacker.add("stack", row | {"id": f"stacker1:{number:06d}"})
    stacker.flush()
    filler = build(line, "filler1", tmp_path)
    at_s = 6 * 3600
    filler.advance(START_NS + at_s * NS)
    assert (truth(filler)["made"], truth(filler)["waits_for"]) == (40, 2)
    # Started anew it still knows that forty stand there.
    again = build(line, "filler1", tmp_path)
    again.advance(START_NS + at_s * NS)
    assert truth(again)["made"] == 0
    rack = Material(tmp_path, "rack1", makers_of(line.file), rooms_of(line.file, makers_of(line.file)))
    taken = rack.take("cell", START_NS + at_s * NS, most=16)
    room = Room(rack, "formed", "cell")
    room.received(row["id"] for row in taken)
    room.tell(START_NS + at_s * NS, ())
    rack.flush()
    again.advance(START_NS + (at_s + 5 * 3600) * NS)
    assert truth(again)["made"] == 16
    assert again.outputs()["unit_state"][0] == State.SUSPENDED


def test_what_a_person_suspended_stays_so_until_a_person_ends_it() -> None:
    unit = Unit(automatic=True)
    for _ in range(20):
        unit.step(10.0, True)
    assert unit.state is State.EXECUTE
    for word, state, why in ((6, State.SUSPENDED, WaitsFor.PERSON), (7, State.EXECUTE, WaitsFor.NOTHING)):
        unit.port.word = word
        unit.take_sequence(unit.port.sequence + 1)
        for _ in range(20):
            unit.step(10.0, True)
        assert (unit.state, unit.waits_for) == (state, why)
    for has_work, has_room, why in ((True, False, WaitsFor.ROOM), (False, True, WaitsFor.MATERIAL)):
        for _ in range(5):
            unit.step(10.0, has_work, has_room)
        assert (unit.state, unit.waits_for) == (State.SUSPENDED, why)


def coat(coater: Machine) -> None:
    coater.write("zone_temperature_sp_c", np.array([80.0, 105.0, 120.0, 95.0]))
    given = {"web_speed_sp_m_s": 0.1, "pump_rate_sp_ml_s": 3.25, "length_sp_m": 2000.0}
    for tag, value in {**given, "coater_command": 1.0, "coater_command_seq": 1.0}.items():
        coater.write(tag, np.array([value]))


def test_a_coater_suspends_itself_on_a_full_roll_and_goes_on_when_metres_are_taken(tmp_path: Path) -> None:
    line = pilot(tmp_path, calender_slitter=150)
    coater = build(line, "coater1", tmp_path, disturbance=0.0)
    coat(coater)

    def state() -> tuple[float, float]:
        return float(coater.outputs()["coater_state"][0]), float(coater.outputs()["unit_state"][0])

    coater.advance(START_NS + 3 * 3600 * NS)
    assert state() == (5, 5)
    assert coater.outputs()["web_speed_m_s"][0] == pytest.approx(0.0, abs=1e-3)
    assert coater.outputs()["zone_temperature_c"].min() > 70.0, "the dryer stays hot"
    metres = len(read_kind(tmp_path, "metre"))
    # It sees the room at the cart's times only: ten minutes' metres more at most.
    assert 150 <= metres <= 150 + 61
    calender = build(line, "calender1", tmp_path)
    calender.advance(START_NS + 3 * 3600 * NS)
    for at_s in range(3 * 3600, 5 * 3600, 600):
        coater.advance(START_NS + at_s * NS)
        calender.advance(START_NS + at_s * NS)
    assert len(read_kind(tmp_path, "metre")) > metres + 60
