"""The filter on a measured LFP cell: on the flat plateau the voltage says little, and the band must say so.

Data: A123 26650 at C/30, 25 C (measured_data). The OCV is the one that twin.ocv finds in the same scripts, so what is
tested is the filter's honesty on a flat curve, not the curve.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import configs
from configs.schema import CellModel
from kernels import status
from twin.ekf import CellFilter
from twin.ocv import OcvCurve, SlowTest, ocv

pytestmark = pytest.mark.data

CELL = Path(configs.__file__).parent / "cells" / "a123_26650.toml"
FILE = CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8")))
MET_AT = [0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95]


@dataclass(frozen=True)
class Leg:
    """One slow discharge or charge."""

    time_s: np.ndarray
    voltage_v: np.ndarray
    current_a: np.ndarray
    soc: np.ndarray  # counted from full or empty

    def part(self, first: float, last: float, every: int = 1) -> Leg:
        """Rows from one SOC to another, in the leg's direction."""
        low, high = min(first, last), max(first, last)
        keep = np.flatnonzero((self.soc >= low) & (self.soc <= high))[::every]
        return Leg(self.time_s[keep], self.voltage_v[keep], self.current_a[keep], self.soc[keep])


@dataclass(frozen=True)
class Lfp:
    model: CellModel
    curve: OcvCurve
    discharge: Leg
    charge: Leg


@pytest.fixture(scope="module")
def lfp(measured_data: Path) -> Lfp:
    rows = pl.read_parquet(measured_data / "a123_ocv_25c.parquet")
    columns = {name: rows[name].to_numpy().astype(float) for name in rows.columns}
    curve = ocv(
        SlowTest(
            columns["time_s"],
            columns["current_a"],
            columns["voltage_v"],
            columns["charge_capacity_ah"],
            columns["discharge_capacity_ah"],
            script=columns["script"],
        ),
        points=101,
    )
    assert curve.reason == ""
    model = CellModel(
        name="a123",
        title="A123 26650",
        source="measured",
        capacity_ah=curve.discharge_ah,
        capacity_sd_ah=0.02 * curve.discharge_ah,
        first_cycle_efficiency=1.0,
        voltage_min_v=2.0,
        voltage_max_v=3.65,
        r0_ohm=0.02,
        r0_sd_ohm=0.005,
        r1_ohm=0.01,
        tau1_s=10.0,
        r2_ohm=0.02,
        tau2_s=600.0,
        activation_energy_j_mol=20_000.0,
        ocv_soc=tuple(np.linspace(0.0, 1.0, 101)),
        ocv_v=tuple(float(v) for v in curve.ocv_v),
        ocv_sd_v=0.025,
        ocv_sd_soc=0.01,
    )
    legs = []
    for script, column, ah in (
        (1, "discharge_capacity_ah", curve.discharge_ah),
        (3, "charge_capacity_ah", -curve.charge_ah),
    ):
        part = rows.filter((pl.col("script") == script) & (pl.col("current_a").abs() > 0.02)).sort("time_s")
        moved = part[column].to_numpy()
        soc = (1.0 if ah > 0 else 0.0) - (moved - moved[0]) / ah
        legs.append(Leg(*(part[name].to_numpy() for name in ("time_s", "voltage_v", "current_a")), soc))
    return Lfp(model, curve, *legs)


def met(model: CellModel, leg: Leg) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and its SD over a record that the filter meets at its first row, knowing nothing."""
    twin = CellFilter(model, 1)
    time_ns = (leg.time_s * 1e9).astype(np.int64) + 10**18
    warm, good = np.array([25.0]), np.zeros(1, dtype=np.uint8)
    found = []
    for k in range(len(time_ns)):
        row = slice(k, k + 1)
        states = twin.update(time_ns[row], leg.voltage_v[row], leg.current_a[row], warm, good)
        assert states.status[0] != status.RESET
        found.append((states.soc[0], states.soc_sd[0]))
    estimate = np.array(found)
    return estimate[:, 0], estimate[:, 1]


def coverage(model: CellModel, leg: Leg) -> float:
    soc, sd = met(model, leg)
    return float(np.mean(np.abs(soc - leg.soc) <= 1.96 * sd))


def test_met_on_the_plateau_the_band_stays_wide_and_holds_the_truth(lfp: Lfp) -> None:
    leg = lfp.discharge.part(0.65, 0.0)
    soc, sd = met(lfp.model, leg)
    plateau = (leg.soc > 0.35) & (leg.soc < 0.6)
    assert np.median(sd[plateau]) > 0.04, "hours on a flat curve must not make it sure"
    inside = np.abs(soc - leg.soc) <= 1.96 * sd
    assert inside.mean() >= 0.90


def test_at_the_knee_it_knows_again(lfp: Lfp) -> None:
    leg = lfp.discharge.part(0.65, 0.0)
    soc, sd = met(lfp.model, leg)
    plateau, knee = (leg.soc > 0.35) & (leg.soc < 0.6), (leg.soc > 0.0) & (leg.soc < 0.03)
    assert np.median(sd[knee]) < 0.5 * np.median(sd[plateau])
    assert np.abs(soc - leg.soc)[knee].max() < 0.05


@pytest.mark.parametrize("every", [1, 6, 30])
@pytest.mark.parametrize("direction", ["discharge", "charge"])
def test_met_anywhere_the_band_holds_the_truth_and_is_no_wider_than_the_error(
    lfp: Lfp, direction: str, every: int
) -> None:
    """Nine SOCs, both ways, samples 10 s, 60 s and 300 s apart; the same band, because the curve is what is unknown."""
    whole: Leg = getattr(lfp, direction)
    errors, widths = [], []
    for first in MET_AT[:: 3 if every == 1 else 1]:
        leg = whole.part(first, 0.0 if direction == "discharge" else 1.0, every)
        soc, sd = met(lfp.model, leg)
        assert (np.abs(soc - leg.soc) <= 1.96 * sd).mean() >= 0.90, first
        errors.append(np.mean((soc - leg.soc) ** 2))
        widths.append(np.mean(sd**2))
    assert 0.7 < np.sqrt(np.mean(widths) / np.mean(errors)) < 1.6


@pytest.mark.parametrize("direction", ["discharge", "charge"])
def test_where_the_ocv_is_steep_the_band_is_narrow(lfp: Lfp, direction: str) -> None:
    whole: Leg = getattr(lfp, direction)
    leg = whole.part(0.65, 0.0, 6) if direction == "discharge" else whole.part(0.35, 1.0, 6)
    soc, sd = met(lfp.model, leg)
    end = leg.soc < 0.03 if direction == "discharge" else leg.soc > 0.98
    assert np.median(sd[end]) < 0.015
    assert np.abs(soc - leg.soc)[end].max() < 0.02


@pytest.mark.parametrize("relax_soc", [0.0, 0.05])
@pytest.mark.parametrize("first", ["discharge", "charge"])
def test_a_reversal_on_the_plateau_does_not_make_it_sure(lfp: Lfp, first: str, relax_soc: float) -> None:
    """Half a discharge, then a charge from there, and the other way round: the OCV's error changes its sign.

    The record has no such turn; the second leg is put behind the first, at once on its branch (harder than any cell)
    or drawn towards it over 5 % SOC.
    """
    a, b = (0.65, 0.3) if first == "discharge" else (0.3, 0.7)
    one, two = (lfp.discharge, lfp.charge) if first == "discharge" else (lfp.charge, lfp.discharge)
    before, after = one.part(a, b, 6), two.part(b, 0.95 if first == "discharge" else 0.05, 6)
    half = np.interp(after.soc, lfp.curve.soc, lfp.curve.hysteresis_v)
    still = np.exp(-np.abs(after.soc - b) / relax_soc) if relax_soc else 0.0
    voltage = after.voltage_v + (-2.0 if first == "discharge" else 2.0) * half * still
    start = before.time_s[-1] + 60.0 - after.time_s[0]
    joined = Leg(
        np.append(before.time_s, after.time_s + start),
        np.append(before.voltage_v, voltage),
        np.append(before.current_a, after.current_a),
        np.append(before.soc, after.soc),
    )
    assert coverage(lfp.model, joined) >= 0.90


def test_without_the_considered_error_it_is_the_filter_that_was_wrong(lfp: Lfp) -> None:
    """The baseline: the same filter told that the table is right is off by tens of its own SD."""
    sure = lfp.model.model_copy(update={"ocv_sd_v": 0.0, "ocv_sd_soc": 0.0})
    assert coverage(sure, lfp.discharge.part(0.65, 0.0, 6)) < 0.1


def test_the_cell_file_is_what_the_record_gives(lfp: Lfp) -> None:
    np.testing.assert_allclose(FILE.ocv_v, lfp.curve.ocv_v, atol=0.6e-4)
    assert FILE.capacity_ah == pytest.approx(lfp.curve.discharge_ah, abs=1e-3)
    plateau = lfp.curve.hysteresis_v[10:94]
    assert np.sqrt(np.mean(plateau**2)) < FILE.ocv_sd_v < plateau.max()
    for leg in (lfp.discharge.part(0.8, 0.0, 6), lfp.charge.part(0.2, 1.0, 6)):
        assert coverage(FILE, leg) >= 0.90
