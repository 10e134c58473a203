"""What the pump delivers is found again: on the web, in the air, in the exhaust; and every metre knows its history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulators.truth import TruthWriter
from tests.unit.simulators.coater_rig import START_NS, Rig, S


def balance(rig: Rig) -> None:
    """Every kilogram of slurry, solvent and solids since the start, to 1e-9."""
    web, dryer, air = rig.machine.web, rig.machine.dryer, rig.machine.air
    held = sum(web.held_back_kg)
    assert dryer.dry_in_kg + dryer.solvent_in_kg + held == pytest.approx(web.slurry_kg, rel=1e-9)
    left = dryer.solvent_inside_kg + dryer.solvent_out_kg
    assert left + dryer.evaporated_kg == pytest.approx(dryer.solvent_in_kg, rel=1e-9)
    assert air.taken_up_kg == pytest.approx(dryer.evaporated_kg, rel=1e-9)
    assert air.exhausted_kg + sum(air.vapour_kg) == pytest.approx(dryer.evaporated_kg, rel=1e-9)
    assert dryer.dry_inside_kg + dryer.dry_out_kg == pytest.approx(dryer.dry_in_kg, rel=1e-9)


def eventful(rig: Rig) -> None:
    """Two hours with ramps, stops, splices, a clog, a fan that fails, a torn web and a pump that stalls."""
    rig.to(1500)
    rig.write(web_speed_sp_m_s=0.25, pump_rate_sp_ml_s=8.0)
    rig.to(2100)
    rig.write(web_speed_sp_m_s=0.07, pump_rate_sp_ml_s=2.4)
    rig.on("splice", speed_fraction=0.5)
    rig.to(2600).command(3)
    rig.to(2800).command(4)
    rig.on("die_lip_clog", lane=5, depth_fraction=0.8)
    rig.to(3500)
    rig.on("fan_fails", zone=2)
    rig.to(3600)
    rig.off("fan_fails", zone=2)
    rig.on("pump_stall", share=0.4)
    rig.to(3900)
    rig.off("pump_stall", share=0.4)
    rig.on("splice")
    rig.to(4500)
    rig.on("web_break")
    rig.to(4600)
    rig.off("web_break")
    rig.command(5)
    rig.to(4610).command(1)
    rig.to(7200)


@pytest.mark.parametrize("seed", [1, 2])
def test_slurry_solvent_and_solids_are_conserved_over_an_eventful_shift(seed: int) -> None:
    rig = Rig(seed)
    for until in (1200, 1300, 1450):
        balance(rig.to(until))
    eventful(rig)
    balance(rig)
    assert rig.machine.dryer.evaporated_kg > 3.0


def test_dry_mass_is_conserved_along_the_web_metre_by_metre() -> None:
    rig = Rig(3).to(7200)
    metres = rig.machine.finished_metres()
    width = rig.machine.parameters.width_m
    loading = rig.machine.metres.columns.index("mass_loading_kg_m2")
    waiting = sum(half[loading] * 0.5 for half in rig.machine.metres._halves)  # a half metre may wait for its other
    laid = (metres["mass_loading_kg_m2"].sum() + waiting) * width
    assert laid == pytest.approx(rig.machine.dryer.dry_out_kg, rel=1e-9)
    lanes = np.array([metres[f"lane_{k:02d}_kg_m2"] for k in range(1, 25)])
    assert lanes.mean(axis=0) == pytest.approx(metres["mass_loading_kg_m2"], rel=1e-12)
    # No metre is missing and none is there twice.
    assert np.all(np.diff(metres["point"]) == 1.0)


def test_every_metre_keeps_its_history() -> None:
    rig = Rig(4).to(2000)
    before = float(rig.true("web_position_m")[0])
    rig.write(zone_temperature_sp_c=np.array([85.0, 110.0, 125.0, 100.0]), web_speed_sp_m_s=0.12)
    rig.on("splice")
    changed_s = rig.now_s
    rig.to(4000)
    metres = rig.machine.finished_metres("someone")
    assert len(metres["point"]) > 150
    assert {len(column) for column in metres.values()} == {len(metres["point"])}
    assert np.all(np.isfinite(np.array(list(metres.values()))))
    place = metres["web_position_m"]
    assert metres["point"] == pytest.approx(np.floor(place))
    old, new = place < before - 30.0, place > before + 30.0
    assert metres["zone_2_sp_c"][old] == pytest.approx(105.0)
    assert metres["zone_2_sp_c"][new] == pytest.approx(110.0)
    assert metres["zone_2_c"][old] == pytest.approx(105.0, abs=1.5)
    assert metres["zone_2_c"][place > before + 150.0] == pytest.approx(110.0, abs=1.5)
    assert metres["web_speed_sp_m_s"][old] == pytest.approx(0.1)
    assert metres["web_speed_m_s"][new] == pytest.approx(0.12, rel=1e-3)
    # 16 m of dryer; the die is 17 m before its end.
    assert metres["drying_s"][old] == pytest.approx(160.0, rel=0.02)
    assert (metres["dried_s"] - metres["coated_s"])[old] == pytest.approx(167.0, abs=5.0)
    at = START_NS // S + changed_s
    assert np.interp(at, metres["coated_s"], place) == pytest.approx(before, abs=1.0)
    spliced = place[metres["splice"] > 0.0]
    assert spliced == pytest.approx(before, abs=1.5)
    assert np.all(metres["slurry_batch"] >= 1.0)
    assert np.all(metres["binder_index"] > 1.0)
    residual = metres["residual_solvent_fraction"][old][3:]  # the first metres began thin
    assert np.all((residual > 3e-5) & (residual < 1e-3))


def test_readers_of_the_history_do_not_take_it_from_each_other_and_it_is_bounded() -> None:
    rig = Rig(5).to(1800)
    first = rig.machine.finished_metres()
    assert rig.machine.finished_metres() == {}
    assert first["point"].tobytes() == rig.machine.finished_metres("line")["point"].tobytes()
    rig.to(2000)
    assert rig.machine.finished_metres()["point"][0] == first["point"][-1] + 1.0
    assert rig.machine.metres._finished.maxlen == 5000


def test_the_history_is_readable_from_the_truth_file(tmp_path: Path) -> None:
    rig, writer = Rig(7), TruthWriter(tmp_path, "coater1_metres")
    for t in range(1200, 2400, 400):
        metres = rig.to(t).machine.finished_metres()
        if metres:
            writer.add(START_NS + t * S, metres)
            writer.flush()
    table = pq.read_table(tmp_path / "truth" / "coater1_metres")
    points = table["point"].to_numpy()
    assert np.all(np.diff(points) == 1)
    assert {"slurry_batch", "zone_4_sp_c", "zone_4_c", "lane_24_kg_m2", "web_speed_sp_m_s"} <= set(table.column_names)
    assert table["mass_loading_kg_m2"].to_numpy()[3:].mean() == pytest.approx(0.169, rel=0.03)


def test_a_new_batch_of_slurry_comes_by_and_by() -> None:
    rig = Rig(2, batch_l=3.0, feed_vessel_l=1.0).to(4200)
    metres = rig.machine.finished_metres()
    batches = metres["slurry_batch"]
    assert np.all(np.diff(batches) >= 0.0)
    # 3 L at 3.25 mL/s are 15 minutes, 92 m.
    assert np.median(np.diff(np.flatnonzero(np.diff(batches)))) == pytest.approx(92, abs=4)
    assert 0.001 < metres["solids_fraction"].std() / 0.65 < 0.01
    # Steps of a batch are rounded off by the vessel: a metre differs little from the one before it.
    assert np.abs(np.diff(metres["solids_fraction"])).max() < 0.002
    # Thicker slurry has more solids.
    assert np.corrcoef(metres["solids_fraction"], metres["viscosity_pa_s"])[0, 1] > 0.4


def test_eventful_hours_in_any_pieces_are_the_same_bit_for_bit() -> None:
    whole, pieces = Rig(6), Rig(6)
    eventful(whole)
    to = pieces.to

    def in_pieces(second: int) -> Rig:
        for t in range(pieces.now_s + 17, second, 17):
            to(t)
        return to(second)

    pieces.to = in_pieces  # type: ignore[method-assign]
    eventful(pieces)
    for name, values in whole.machine.outputs().items():
        assert values.tobytes() == pieces.machine.outputs()[name].tobytes(), name
    for name, values in whole.machine.truth().items():
        assert values.tobytes() == pieces.machine.truth()[name].tobytes(), name
    mine, theirs = whole.machine.finished_metres(), pieces.machine.finished_metres()
    assert {k: v.tobytes() for k, v in mine.items()} == {k: v.tobytes() for k, v in theirs.items()}
