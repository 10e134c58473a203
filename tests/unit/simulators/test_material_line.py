"""Material through the whole line, machine after machine as their processes would: order, faults, genealogy, mass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.loader import LoadedLine, load_line
from configs.schema import CoatingRecipe, Equipment
from simulators.faults.plant import Plant
from simulators.machine import KeepsMetres, Machine, Retains, Values
from simulators.machines import build_machine
from simulators.machines import line_design as design
from simulators.material import PARENT, Material, Row, cells_for_tray, read_kind
from simulators.material_line import MAKES, MetresOut, TrayInOut, join, makers_of
from simulators.process import device_seed

LINES = Path(__file__).parents[3] / "configs" / "lines"
NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
HOURS = 7
ORDER = ("mixer1", "coater1", "calender1", "stacker1", "filler1")
HEAVY = range(18, 25)  # metres, 8 % too heavy


@cache
def _line(name: str) -> LoadedLine:
    """That line without buffers: who may have to wait for those behind him cannot be played before them."""
    line = load_line(LINES / f"{name}.toml")
    assert line.file.simulation is not None
    tables = line.file.simulation.machines.items()
    machines = {device: {k: v for k, v in table.items() if k != "buffer"} for device, table in tables}
    simulation = line.file.simulation.model_copy(update={"machines": machines})
    return replace(line, file=line.file.model_copy(update={"simulation": simulation}))


class Coater:
    """A stand-in for the coater: a metre each 10 s, one batch each 80 m, some metres too heavy."""

    scan_s, truth_period_s = 10.0, 100.0

    def __init__(self) -> None:
        self._made, self._told = 0, 0
        self._rng = np.random.default_rng(4)
        self._lanes = 1.0 + 0.009 * self._rng.standard_normal((400, 24))

    def advance(self, until_ns: int) -> None:
        self._made = min(160, (until_ns - START_NS) // (10 * NS))

    def finished_metres(self, reader: str = "truth") -> Mapping[str, Values]:
        assert reader == "material", "the truth has its own"
        number = np.arange(self._told, self._made, dtype=np.float64)
        self._told = self._made
        if not len(number):
            return {}
        factor = np.where((number >= HEAVY.start) & (number < HEAVY.stop), 1.08, 1.0)
        lanes = design.LOADING_KG_M2 * factor[:, None] * self._lanes[number.astype(int)]
        columns = {
            "point": number,
            "web_position_m": number + 0.5,
            "coated_s": START_NS / NS + 10.0 * number,
            "dried_s": START_NS / NS + 10.0 * (number + 1.0),
            "slurry_batch": number // 80,
            "solids_fraction": np.full(len(number), 0.65),
            "splice": np.where(number == 40, 1.0, 0.0),
            "mass_loading_kg_m2": lanes.mean(axis=1),
            "residual_solvent_fraction": np.full(len(number), 0.004),
            "binder_index": np.full(len(number), 1.2),
        }
        return columns | {f"lane_{k + 1:02d}_kg_m2": lanes[:, k] for k in range(24)}

    def outputs(self) -> Mapping[str, Values]:
        return {}

    def truth(self) -> Mapping[str, Values]:
        return {"point": np.ones(1)}

    def write(self, tag: str, values: Values) -> None:
        raise ValueError(tag)


def joined(device: str, out: Path) -> Machine:
    line = _line("pilot_line")
    assert line.file.simulation is not None
    name = str(line.file.simulation.machines[device]["machine"])
    parameters = {"ready_batches": 2} if name == "mixer" else {}
    seed = device_seed(1, device)
    built = Coater() if name == "coater" else build_machine(name, line.equipment[device], START_NS, seed, parameters)
    return join(built, out, device, line.file, START_NS)


def play(out: Path, side_by_side: bool) -> dict[str, Machine]:
    """The line up to filled cells: each process to its end before the next, or all in step by minutes."""
    machines = {device: joined(device, out) for device in ORDER}
    if side_by_side:
        for minute in range(1, 60 * HOURS + 1):
            for device in reversed(ORDER):
                machines[device].advance(START_NS + minute * 60 * NS)
    else:
        for machine in machines.values():
            machine.advance(START_NS + HOURS * 3600 * NS)
    return machines


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Machine]]:
    out = tmp_path_factory.mktemp("line")
    return out, play(out, side_by_side=False)


def items(out: Path) -> dict[str, list[Row]]:
    return {kind: read_kind(out, kind) for kind in ("batch", "metre", "sheet", "stack", "cell")}


def truth(machine: Machine) -> dict[str, float]:
    return {name: float(column[0]) for name, column in machine.truth().items()}


def test_the_line_is_the_same_whether_its_processes_run_in_step_or_one_after_the_other(
    played: tuple[Path, dict[str, Machine]], tmp_path: Path
) -> None:
    other = play(tmp_path, side_by_side=True)
    assert items(played[0]) == items(tmp_path)
    for device in ORDER:
        assert truth(played[1][device]) == pytest.approx(truth(other[device]), nan_ok=True, rel=0, abs=0)
        assert truth(other[device]).get("late_items", 0) == 0


def test_every_cell_knows_its_sheets_every_sheet_its_metre_every_metre_its_batch(
    played: tuple[Path, dict[str, Machine]],
) -> None:
    found = {kind: {row["id"]: row for row in rows} for kind, rows in items(played[0]).items()}
    above = {"cell": "stack", "stack": "sheet", "sheet": "metre", "metre": "batch"}
    assert len(found["cell"]) > 100
    used: list[str] = []
    for cell in found["cell"].values():
        at = [cell["id"]]
        for kind in ("cell", "stack", "sheet", "metre"):
            parents = [found[kind][name][PARENT[kind]] for name in at]
            flat = [p for each in parents for p in ([each] if isinstance(each, str) else each)]
            used += flat if kind == "stack" else []
            assert all(not found[above[kind]][name]["scrap"] for name in flat)
            at = sorted(set(flat))
        assert at
        assert all(name.startswith("mixer1:") for name in at)
    assert len(used) == len(set(used)), "no sheet is in two cells"


def test_metres_that_were_coated_too_heavy_are_the_cells_with_more_capacity_and_less_n_over_p(
    played: tuple[Path, dict[str, Machine]],
) -> None:
    found = {kind: {row["id"]: row for row in rows} for kind, rows in items(played[0]).items()}
    heavy, usual = [], []
    for cell in found["cell"].values():
        sheets = [found["sheet"][name] for name in found["stack"][cell["stack"]]["sheets"]]
        positions = [found["metre"][sheet["metre"]]["web_position_m"] for sheet in sheets]
        share = np.mean([HEAVY.start <= position < HEAVY.stop for position in positions])
        assert cell["loading_factor"] == pytest.approx(1.0 + 0.08 * share, abs=0.012)
        (heavy if share == 1.0 else usual if share == 0.0 else []).append(cell)
    assert len(heavy) >= 6
    assert min(cell["loading_factor"] for cell in heavy) > max(cell["loading_factor"] for cell in usual) + 0.03
    assert np.mean([c["np_ratio"] for c in heavy]) == pytest.approx(design.NP_RATIO / 1.08, rel=0.01)
    assert np.mean([c["np_ratio"] for c in usual]) == pytest.approx(design.NP_RATIO, rel=0.01)
    assert np.mean([c["porosity"] for c in heavy]) > np.mean([c["porosity"] for c in usual]) + 0.004


def test_a_tray_shows_the_coating_fault_channel_by_channel(played: tuple[Path, dict[str, Machine]]) -> None:
    rack = Material(played[0], "rack1", makers_of(_line("pilot_line").file))
    tray = cells_for_tray(rack, 64, START_NS + HOURS * 3600 * NS, least=64)
    assert [row["channel"] for row in tray] == list(range(1, 65))
    assert sum(row["loading_factor"] > 1.05 for row in tray) >= 6
    assert all(row["electrolyte_factor"] > 0.95 and row["contact_ohm"] > 0 for row in tray)


def test_mass_is_conserved_from_slurry_to_stack(played: tuple[Path, dict[str, Machine]]) -> None:
    out, machines = played
    found = items(out)
    mixer, calender, stacker = (truth(machines[d]) for d in ("mixer1", "calender1", "stacker1"))
    batches = {row["id"]: row for row in found["batch"]}
    mixed = math.fsum(row["mass_kg"] for row in batches.values())
    assert mixed + mixer["vessel_kg"] == pytest.approx(mixer["charged_kg"], rel=1e-9)
    coated: dict[str, float] = {}
    for row in found["metre"]:
        coated[row["batch"]] = coated.get(row["batch"], 0.0) + row["wet_kg"]
    assert set(coated) <= set(batches)
    left = {name: batches[name]["mass_kg"] - mass for name, mass in coated.items()}
    assert min(left.values()) >= 0, "no batch gives more than it has"
    dry = math.fsum(row["loading_kg_m2"] * row["width_m"] * row["length_m"] for row in found["metre"])
    assert math.fsum(m["wet_kg"] * m["solids_fraction"] for m in found["metre"]) == pytest.approx(dry, rel=1e-9)
    splices = [row for row in found["metre"] if row["scrap"]]
    assert len(splices) == 1
    lost = math.fsum(row["loading_kg_m2"] * row["width_m"] for row in splices)
    assert calender["in_dry_kg"] == pytest.approx(dry - lost, rel=1e-9)
    sheets = math.fsum(row["dry_kg"] for row in found["sheet"])
    assert sheets + calender["trim_dry_kg"] == pytest.approx(calender["in_dry_kg"], rel=1e-9)
    good = math.fsum(row["dry_kg"] for row in found["sheet"] if not row["scrap"])
    foil = math.fsum(row["foil_kg"] for row in found["sheet"]) + calender["trim_foil_kg"]
    assert foil == pytest.approx(calender["in_foil_kg"], rel=1e-9)
    assert stacker["in_dry_kg"] == pytest.approx(good, rel=1e-9)
    parts = stacker["stacks_dry_kg"] + stacker["scrap_dry_kg"] + stacker["table_dry_kg"]
    assert parts == pytest.approx(stacker["in_dry_kg"], rel=1e-9)
    for device in ("calender1", "stacker1"):
        known = truth(machines[device])
        assert known["yield_fraction"] == known["made"] / (known["made"] + known["scrapped"])


def coat(machine: Machine, seconds: int, fault_s: tuple[int, int] = (1800, 2040), factor: float = 1.06) -> None:
    """The recipe's set-points, and start; a pump that gives 6 % too much for four minutes once it coats."""
    recipe = _line("pilot_line").recipes["coater1"]
    assert isinstance(recipe, CoatingRecipe)
    given = {"web_speed_sp_m_s": recipe.web_speed_m_s, "pump_rate_sp_ml_s": recipe.pump_rate_ml_s}
    given |= {"length_sp_m": recipe.length_m}
    machine.write("zone_temperature_sp_c", np.array(recipe.zone_temperature_c))
    for tag, value in {**given, "coater_command": 1.0, "coater_command_seq": 1.0}.items():
        machine.write(tag, np.array([value]))
    for at_s in range(60, seconds + 1, 60):
        machine.advance(START_NS + at_s * NS)
        too_much = factor if fault_s[0] <= at_s < fault_s[1] else 1.0
        machine.write("pump_rate_sp_ml_s", np.array([recipe.pump_rate_ml_s * too_much]))


def test_a_fault_of_the_real_coater_is_found_in_the_cells_of_its_metres(tmp_path: Path) -> None:
    line, equipment = _line("pilot_line").file, _line("pilot_line").equipment["coater1"]
    machines = {device: joined(device, tmp_path) for device in ORDER}
    seed = device_seed(1, "coater1")
    coater = join(build_machine("coater", equipment, START_NS, seed, {}), tmp_path, "coater1", line, START_NS)
    machines["mixer1"].advance(START_NS + 3600 * NS)
    coat(coater, 3600)
    for device in ORDER[2:]:
        machines[device].advance(START_NS + HOURS * 3600 * NS)
    found = {kind: {row["id"]: row for row in rows} for kind, rows in items(tmp_path).items()}
    assert all(row["batch"].startswith("mixer1:") for row in found["metre"].values())
    web = {name: 1800 <= row["coated_s"] - START_NS / NS < 2040 for name, row in found["metre"].items()}
    heavy, usual = [], []
    for cell in found["cell"].values():
        sheets = [found["sheet"][name] for name in found["stack"][cell["stack"]]["sheets"]]
        (heavy if all(web[s["metre"]] for s in sheets) else usual).append(cell["loading_factor"])
    assert len(heavy) >= 20
    assert len(usual) >= 100
    assert np.mean(heavy) / np.mean(usual) == pytest.approx(1.06, abs=0.015)


def test_a_mixers_solids_are_coated_batch_by_batch(tmp_path: Path) -> None:
    line, equipment = _line("pilot_line").file, _line("pilot_line").equipment["coater1"]
    mixer = Material(tmp_path, "mixer1", makers_of(line))
    for number, solids in enumerate((0.63, 0.66, 0.65), 1):
        row = {"id": f"mixer1:{number:06d}", "time_ns": START_NS - 900 * NS, "scrap": "", "mass_kg": 75.0}
        mixer.add("batch", row | {"solids_fraction": solids, "density_kg_m3": 2050.0, "viscosity_pa_s": 3.0})
    mixer.flush()
    small = {"batch_l": 4.0, "feed_vessel_l": 0.2, "disturbance": 0.0}
    built = build_machine("coater", equipment, START_NS, 1, small)
    coat(join(built, tmp_path, "coater1", line, START_NS), 5400)
    metres = [row for row in read_kind(tmp_path, "metre") if row["loading_kg_m2"] > 0.1]
    by_batch = {
        name: [r["solids_fraction"] for r in metres if r["batch"] == name] for name in {r["batch"] for r in metres}
    }
    assert np.median(by_batch["mixer1:000001"]) == pytest.approx(0.63, abs=1e-3)
    assert np.median(by_batch["mixer1:000002"]) == pytest.approx(0.66, abs=1e-3)
    assert np.median(by_batch["mixer1:000003"]) == pytest.approx(0.65, abs=1e-3)
    assert any(name.startswith("supply:") for name in by_batch), "when the mixer is late it coats what it has"


def test_the_two_machine_line_moves_no_material(tmp_path: Path) -> None:
    line, coater = _line("a_sample").file, Coater()
    assert join(coater, tmp_path, "coater1", line, START_NS) is coater
    assert set(MAKES) == {str(s["machine"]) for s in _line("pilot_line").file.simulation.machines.values()}  # type: ignore[union-attr]


def test_an_adapter_is_the_machine_in_everything_else(tmp_path: Path) -> None:
    coater = joined("coater1", tmp_path)
    assert isinstance(coater, MetresOut)
    assert isinstance(coater, KeepsMetres)
    assert not isinstance(coater, Retains)
    assert (coater.scan_s, coater.truth_period_s) == (10.0, 100.0)
    with pytest.raises(ValueError, match="speed"):
        coater.write("speed", np.ones(1))
    assert Plant.__init__.__annotations__["machine"] == "Machine"


class Rack:
    """A stand-in for the rack: three channels, complete when told."""

    scan_s, truth_period_s = 1.0, 60.0

    def __init__(self) -> None:
        self.state, self.tray = 0, list[Row]()

    def advance(self, until_ns: int) -> None:
        pass

    def write(self, tag: str, values: Values) -> None:
        self.state = int(values[0])

    def outputs(self) -> Mapping[str, Values]:
        state = np.array([float(self.state)])
        return {"rack_state": state, "channels_running": np.zeros(1), "state": np.zeros(3)}

    def truth(self) -> Mapping[str, Values]:
        return {
            "point": np.arange(1.0, 4.0),
            "capacity_ah": np.array([5.0, 5.3, 4.9]),
            "first_cycle_efficiency": np.array([0.87, 0.88, np.nan]),
            "leak_a": np.array([30e-6, 3e-3, 30e-6]),
        }


class TrayRack(Rack):
    def take_tray(self, cells: list[Row]) -> None:
        self.tray = cells


@pytest.mark.parametrize(("rack", "takes"), [(Rack(), False), (TrayRack(), True)])
def test_a_rack_is_filled_where_it_can_be_and_its_formed_cells_go_on(rack: Any, takes: bool, tmp_path: Path) -> None:
    line = _line("pilot_line")
    filler = Material(tmp_path, "filler1", makers_of(line.file))
    for number in range(1, 6):
        row: Row = {"id": f"filler1:{number:06d}", "time_ns": START_NS, "scrap": "", "stack": "s"}
        row |= {"defects": ["soft_short"] if number == 2 else [], "loading_factor": 1.0, "np_ratio": 1.1}
        row |= {"porosity": 0.33, "contact_ohm": 1e-3, "electrolyte_kg": 8e-3}
        filler.add("cell", row | {"electrolyte_factor": 1.0, "wetted_fraction": 1.0})
    filler.flush()
    machine = join(rack, tmp_path, "rack1", line.file, START_NS)
    assert isinstance(machine, TrayInOut)
    assert machine.outputs()["rack_state"][0] == (7 if takes else 0), "it waits for a tray"
    machine.advance(START_NS + 3600 * NS)
    assert machine.outputs()["rack_state"][0] == 0
    assert [row["cell"] for row in rack.tray] == [f"filler1:{k:06d}" for k in (1, 2, 3)] * takes
    machine.write("state", np.array([3.0]))
    machine.advance(START_NS + 7200 * NS)
    machine.advance(START_NS + 9000 * NS)
    formed = read_kind(tmp_path, "formed")
    assert [row["capacity_ah"] for row in formed] == [5.0, 5.3, 4.9]
    assert [row["scrap"] for row in formed] == ["", "", "not formed"]
    cells = [row["cell"] for row in formed]
    assert cells == [f"{'filler1:' if takes else 'supply:cell:'}{k:06d}" for k in (1, 2, 3)]
    assert formed[1]["leak_v_h"] == pytest.approx(0.54e-3)
    assert formed[1]["defects"] == ["soft_short"] * takes
    machine.write("state", np.array([0.0]))
    machine.advance(START_NS + 10800 * NS)
    assert machine.outputs()["rack_state"][0] == (7 if takes else 0), "reset, it waits for the next: two cells are left"


def test_a_real_rack_and_a_real_coater_are_joined(tmp_path: Path) -> None:
    line = _line("pilot_line")
    equipment: Mapping[str, Equipment] = line.equipment
    for device, name, kind in (("coater1", "coater", MetresOut), ("rack1", "formation_rack", TrayInOut)):
        machine = join(build_machine(name, equipment[device], START_NS, 1, {}), tmp_path, device, line.file, START_NS)
        assert isinstance(machine, kind)
        machine.advance(START_NS + 700 * NS)  # type: ignore[attr-defined]
        tags = {tag.name for group in equipment[device].group for tag in group.tag}
        assert set(machine.outputs()) == tags  # type: ignore[attr-defined]
