"""The whole chain in one piece: a pump that gives too much, its metres, sheets, cells, and what formation measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulators.machines import build_machine
from simulators.material import Row, read_kind
from simulators.material_line import TrayInOut, join
from simulators.process import device_seed
from tests.unit.simulators.test_material_formed import form
from tests.unit.simulators.test_material_line import NS, ORDER, START_NS, _line, coat, joined

FAULT_S = (1200, 1380)  # after the start; coating begins after a quarter of an hour of heating
TOO_MUCH = 1.06
FILLED_S, FORMED_S = 14_400, 34_200


def seconds(time_s: float) -> float:
    return time_s - START_NS / NS


def from_the_fault(out: Path, cell: Row, rows: dict[str, dict[str, Row]]) -> float:
    """Share of the cell's cathode that was coated while the pump gave too much."""
    sheets = [rows["sheet"][name] for name in rows["stack"][cell["stack"]]["sheets"]]
    coated = [seconds(rows["metre"][sheet["metre"]]["coated_s"]) for sheet in sheets]
    return float(np.mean([FAULT_S[0] + 60 <= at_s < FAULT_S[1] for at_s in coated]))


def test_what_the_pump_gave_too_much_is_measured_as_capacity_in_formation(tmp_path: Path) -> None:
    line = _line("pilot_line")
    machines = {device: joined(device, tmp_path) for device in ORDER}
    coater = build_machine("coater", line.equipment["coater1"], START_NS, device_seed(1, "coater1"), {})
    coater = join(coater, tmp_path, "coater1", line.file, START_NS)
    machines["mixer1"].advance(START_NS + 1800 * NS)
    coat(coater, 2400, FAULT_S, TOO_MUCH)
    for device in ORDER[2:]:
        machines[device].advance(START_NS + FILLED_S * NS)
    at_ns = START_NS + FILLED_S * NS
    rack = join(
        build_machine("formation_rack", line.equipment["rack1"], at_ns, 1, {}), tmp_path, "rack1", line.file, at_ns
    )
    assert isinstance(rack, TrayInOut)
    rack.advance(at_ns + 1200 * NS)
    form(rack)
    rack.advance(START_NS + FORMED_S * NS)
    kinds = ("metre", "sheet", "stack", "cell", "formed")
    rows = {kind: {row["id"]: row for row in read_kind(tmp_path, kind)} for kind in kinds}
    formed = sorted(rows["formed"].values(), key=lambda row: row["channel"])
    assert len(formed) == 64
    share = np.array([from_the_fault(tmp_path, rows["cell"][row["cell"]], rows) for row in formed])
    measured = np.asarray(rack.outputs()["discharge_ah"])
    sound = np.array([not row["scrap"] and not row["defects"] for row in formed])
    heavy, usual = sound & (share == 1.0), sound & (share == 0.0)
    assert heavy.sum() >= 5
    assert usual.sum() >= 20
    # Six per cent more cathode, with its lithium; the film takes a little less than that of it.
    assert measured[heavy].mean() / measured[usual].mean() == pytest.approx(TOO_MUCH, abs=0.02)
    assert np.corrcoef([row["loading_factor"] for row in formed], measured)[0, 1] > 0.9
    # Every formed cell leads back to the mixer's batch.
    parents = {rows["metre"][s["metre"]]["batch"] for s in rows["sheet"].values()}
    assert all(name.startswith("mixer1:") for name in parents)
