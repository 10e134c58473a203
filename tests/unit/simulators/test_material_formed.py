"""From coating to grading: what was coated too heavy is found in what formation and ageing make of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from configs.loader import load_line
from simulators.machine import Values
from simulators.machines import build_machine
from simulators.machines import line_design as design
from simulators.machines.line_supply import Supply
from simulators.material import Material, Row, read_kind
from simulators.material_line import TrayInOut, join, makers_of

LINE = load_line(Path(__file__).parents[3] / "configs" / "lines" / "pilot_line.toml")
NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
CHANNELS = 64
HEAVY = range(20, 30)  # channels from 0 whose cells have 8 % more cathode


def filled(out: Path) -> None:
    """A tray of cells in the material's files, as filling leaves them."""
    filler = Material(out, "filler1", makers_of(LINE.file))
    for number, stack in enumerate(Supply("stack", 3).items(CHANNELS, START_NS)):
        factor = 1.08 if number in HEAVY else 1.0
        row: Row = {name: stack[name] for name in ("porosity", "contact_ohm", "scrap", "defects", "time_ns")}
        row |= {"id": f"filler1:{number + 1:06d}", "stack": stack["id"], "loading_factor": factor}
        row |= {"np_ratio": design.np_ratio(stack["anode_factor"], factor), "electrolyte_kg": 8e-3}
        filler.add("cell", row | {"electrolyte_factor": 1.0, "wetted_fraction": 1.0})
    filler.flush()


# mode, current, voltage, end current, duration, cycle: charged and held at C/2, discharged, and a rest that ends it.
STEPS = ((1, 2.5, 4.2, 0.0, 14400, 1), (2, 2.5, 4.2, 0.5, 7200, 1), (4, 2.5, 2.5, 0.0, 14400, 1), (3, 0, 0, 0, 60, 2))
TAGS = ("step_mode", "step_current_a", "step_voltage_v", "step_end_current_a", "step_duration_s", "step_cycle")


def form(rack: TrayInOut) -> None:
    """A short programme, and start."""
    for k, tag in enumerate(TAGS):
        rack.write(tag, np.array([float(step[k]) for step in STEPS]))
    for tag, value in {"programme_steps": 4.0, "programme_id": 7.0, "command": 1.0, "command_seq": 1.0}.items():
        rack.write(tag, np.array([value]))


def column(out: Mapping[str, Values], name: str) -> Values:
    return np.asarray(out[name], dtype=np.float64)


def test_a_cell_of_heavy_metres_has_more_capacity_loses_more_and_goes_on_to_ageing(tmp_path: Path) -> None:
    filled(tmp_path)
    kind = LINE.equipment["rack1"]
    rack = join(build_machine("formation_rack", kind, START_NS, 1, {}), tmp_path, "rack1", LINE.file, START_NS)
    assert isinstance(rack, TrayInOut)
    assert column(rack.outputs(), "rack_state")[0] == 7, "it waits for its tray"
    rack.advance(START_NS + 1800 * NS)
    assert column(rack.outputs(), "rack_state")[0] == 0
    form(rack)
    rack.advance(START_NS + 10 * 3600 * NS)
    assert column(rack.outputs(), "rack_state")[0] == 3
    formed = {int(row["channel"]) - 1: row for row in read_kind(tmp_path, "formed")}
    assert sorted(formed) == list(range(CHANNELS))
    assert [formed[c]["cell"] for c in range(CHANNELS)] == [f"filler1:{c + 1:06d}" for c in range(CHANNELS)]
    heavy = np.array([formed[c]["capacity_ah"] for c in HEAVY])
    usual = np.array([formed[c]["capacity_ah"] for c in range(CHANNELS) if c not in HEAVY])
    assert 1.05 < heavy.mean() / usual.mean() < 1.10, "more cathode, more lithium; the film takes no more of it"
    measured = column(rack.outputs(), "discharge_ah")
    others = [c for c in range(CHANNELS) if c not in HEAVY and not formed[c]["defects"]]
    assert min(measured[list(HEAVY)]) > max(measured[others]), "and the rack's own registers tell it"
    shelf = join(
        build_machine("ageing", LINE.equipment["shelf1"], START_NS, 1, {}), tmp_path, "shelf1", LINE.file, START_NS
    )
    shelf.advance(START_NS + 25 * 3600 * NS)
    aged = read_kind(tmp_path, "aged")
    assert {row["cell"] for row in aged} == {row["cell"] for row in formed.values() if not row["scrap"]}
    assert all(row["grade"] == "A" for row in aged if not row["defects"])
