"""The cell file of the simulated plant in the filter, against PyBaMM: exact at a held temperature, not while it heats.

test_equivalent_circuit.py keeps a cell of its own (two_rc_cell.toml). With the shipped file its heated records miss two
bounds: 0.30 mV for 0.25 mV at 10 C, and R0's squared errors sum to 95 for 87. The tests here say why. It is not tau1
(40 s) nor how the filter steps: at a held temperature both agree. A row's temperature stands for the whole interval
before it, and 25 mOhm in pairs of 40 and 205 s follow a warming cell faster than the 20 mOhm of 800 s there. The error
halves with the interval; a filter that is told that its model has no error takes it for R0 (0.9 of its SD).
"""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

import configs
from configs.schema import CellModel
from tests.validation.test_equivalent_circuit import (
    CELLS,
    CURRENT_A,
    EXACT,
    NOISE_V,
    STEPS_S,
    Rack,
    stamps,
)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(importlib.util.find_spec("pybamm") is None, reason="PyBaMM is not installed: make peers"),
]

CELL = Path(configs.__file__).parent / "cells" / "lgm50_21700.toml"
MODEL = CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8")))
EXACT_MODEL = MODEL.model_copy(update={"ocv_sd_v": 0.0, "ocv_sd_soc": 0.0})
REST_S = 43_200.0


def away_mv(foreign, longest_s: float) -> np.ndarray:
    """Innovations of a filter that knows the cell and then trusts no voltage; rows at steps, the rest uneven."""
    within = np.cumsum(np.random.default_rng(5).uniform(longest_s / 20.0, longest_s, round(30_000 / longest_s)))
    within = np.r_[0.0, within[within < STEPS_S[-1]], STEPS_S[1:-1] - 1e-6, STEPS_S[1:-1] + 1e-6]
    t = np.r_[np.arange(0.0, REST_S, 600.0), REST_S + np.unique(np.round(within, 9))]
    sure = replace(EXACT, voltage_sd_v=1e-6, uncertain_voltage_sd_v=1e3)
    known = EXACT_MODEL.model_copy(update={"capacity_sd_ah": 1e-7})
    told = Rack.of([foreign.record(t, 0.4)]).follow(
        sure, 0.0, model=known, quality=(t >= REST_S).astype(np.uint8)
    )  # fmt: skip
    return 1e3 * np.abs(told["innovation_v"][t >= REST_S, 0])


@pytest.mark.parametrize("ambient_c", [10.0, 40.0])
def test_at_a_held_temperature_the_forward_model_is_pybamms(thevenin, ambient_c: float) -> None:
    foreign = thevenin.Thevenin(MODEL, np.r_[0.0, REST_S + STEPS_S[1:]], CURRENT_A, ambient_c, heats=False)
    away = away_mv(foreign, 20.0)
    print(f"{ambient_c:.0f} C: {away.max():.5f} mV at most")
    assert away.max() < 0.01


def test_what_is_off_while_the_cell_heats_halves_with_the_interval(thevenin) -> None:
    foreign = thevenin.Thevenin(MODEL, np.r_[0.0, REST_S + STEPS_S[1:]], CURRENT_A, 10.0)
    worst = [away_mv(foreign, longest_s).max() for longest_s in (20.0, 10.0, 5.0)]
    print(f"rows up to 20, 10, 5 s apart: {np.round(worst, 3)} mV")
    assert 1.6 < worst[0] / worst[1] < 2.6 and 1.6 < worst[1] / worst[2] < 2.6
    assert worst[1] < 0.25


def test_at_a_held_temperature_errors_are_those_of_the_stated_bands(thevenin) -> None:
    """Squared errors over variances of the 48 cells sum to chi-square, row after row (every hundredth; 99.9 %)."""
    rng = np.random.default_rng(3)
    foreign = thevenin.Thevenin(MODEL, STEPS_S, CURRENT_A, ambient_c=25.0, heats=False)
    records = []
    for _ in range(CELLS):
        ratio = 1.0 + MODEL.capacity_sd_ah / MODEL.capacity_ah * rng.standard_normal()
        cell = {
            "r0_ohm": MODEL.r0_ohm + MODEL.r0_sd_ohm * rng.standard_normal(),
            "capacity_ah": MODEL.capacity_ah / ratio,
        }
        records.append(foreign.record(stamps(1, True), rng.uniform(0.15, 0.42), cell))
    rack = Rack.of(records)
    told = rack.follow(EXACT, NOISE_V, model=EXACT_MODEL)
    low, high = chi2.ppf([0.0005, 0.9995], CELLS)
    for name in ("soc", "r0_ohm", "capacity_ah"):
        sums = (rack.errors(told, name) ** 2).sum(axis=1)[::-100]
        print(f"{name}: {sums.round(0)} at most {high:.1f}, at the end at least {low:.1f}")
        assert (sums < high).all(), name
        assert sums[0] > low, name
