"""The cell filter on the simulated rack, over the whole formation recipe: is the truth where the filter says it is?

The rack is a deliberately different model: half-cells whose windows shift while lithium is lost, resistances that rise
fivefold at low charge, three activation energies, leakage, and parameters that the twin's cell file does not have. No
sockets here: the machine is stepped, and its outputs pass through what the registers keep of them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

import configs
from configs.schema import CellModel, Equipment, FormationRecipe
from kernels import status
from simulators.machines.formation_rack import FormationRack
from twin.cycles import CycleBook
from twin.ekf import CellFilter

CONFIGS = Path(configs.__file__).parent
START_NS = 1_780_000_000 * 10**9
POLL_S = 20
HOURS = 24


def load(name: str) -> dict[str, object]:
    return tomllib.loads((CONFIGS / name).read_text(encoding="utf-8"))


def started_rack(seed: int) -> FormationRack:
    recipe = FormationRecipe.model_validate(load("recipes/formation_a_sample.toml"))
    rack = FormationRack(Equipment.model_validate(load("equipment/formation_rack_64.toml")), START_NS, seed, {})
    steps = recipe.step
    for tag, values in {
        "programme_id": [recipe.programme_id],
        "programme_steps": [len(steps)],
        "step_mode": [s.mode.code for s in steps],
        "step_cycle": [s.cycle for s in steps],
        "step_current_a": [s.current_a for s in steps],
        "step_voltage_v": [s.voltage_limit_v for s in steps],
        "step_end_current_a": [s.end_current_a for s in steps],
        "step_duration_s": [s.duration_s for s in steps],
        "command": [1],
        "command_seq": [1],
    }.items():
        rack.write(tag, np.asarray(values, dtype=np.float64))
    return rack


@pytest.fixture(scope="module", params=[1, 2])
def followed(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """Truth and estimate of every channel at every poll, (polls, channels)."""
    rack = started_rack(request.param)
    twin = CellFilter(CellModel.model_validate(load("cells/lgm50_21700.toml")), rack.channels)
    quality = np.zeros(rack.channels, dtype=np.uint8)
    book, cycles = CycleBook(twin.model, rack.channels), []
    channel = np.arange(1, rack.channels + 1)
    rows = []
    for k in range(1, HOURS * 3600 // POLL_S + 1):
        rack.advance(START_NS + k * POLL_S * 10**9)
        seen, true = rack.outputs(), rack.truth()
        counter = np.floor(seen["charge_ah"] * 1e5) / 1e5 - np.floor(seen["discharge_ah"] * 1e5) / 1e5
        states = twin.update(
            (seen["clock_s"] * 1e9).astype(np.int64),
            seen["voltage_v"].astype(np.float32).astype(np.float64),
            seen["current_a"].astype(np.float32).astype(np.float64),
            np.round(seen["temperature_c"], 1),
            quality,
            net_charge_c=counter * 3600.0,
        )
        counters = (np.floor(seen[name] * 1e5) / 1e5 for name in ("charge_ah", "discharge_ah"))
        ended = book.update(channel, seen["step"], seen["cycle"], seen["voltage_v"], seen["current_a"], *counters)
        cycles += list(zip(ended.channel, *ended.columns().values(), strict=True))
        row = [seen["step"], true["soc"], states.soc, states.soc_sd, states.status]
        rows.append([*row, true["capacity_ah"], states.capacity_ah, states.capacity_sd_ah])
    names = ("step", "true_soc", "soc", "soc_sd", "status", "true_capacity", "capacity", "capacity_sd")
    followed = dict(zip(names, np.array(rows).transpose(1, 0, 2), strict=True))
    return followed | {"cycles": np.array(cycles), "true_efficiency": rack.truth()["first_cycle_efficiency"]}


def test_soc_is_within_two_percent_after_the_first_full_charge(followed: dict[str, np.ndarray]) -> None:
    error = np.where(followed["step"] >= 4, followed["soc"] - followed["true_soc"], np.nan)
    rms = np.sqrt(np.nanmean(error**2, axis=0))
    assert (rms <= 0.02).sum() >= 60
    assert rms.max() < 0.01  # what it reaches; a change that loses it should be seen


def test_truth_is_inside_the_band_as_often_as_the_band_says(followed: dict[str, np.ndarray]) -> None:
    after = followed["step"] >= 4
    inside = np.abs(followed["soc"] - followed["true_soc"]) <= 1.96 * followed["soc_sd"]
    assert 0.90 <= inside[after].mean() <= 0.99
    per_channel = np.array([inside[after[:, c], c].mean() for c in range(after.shape[1])])
    assert (per_channel >= 0.90).sum() >= 60


def test_band_is_honest_in_the_first_charge_too(followed: dict[str, np.ndarray]) -> None:
    """The model knows least there; the band must be wide enough to say so, and no wider than useful."""
    first = (followed["step"] >= 1) & (followed["step"] <= 3)
    inside = np.abs(followed["soc"] - followed["true_soc"]) <= 1.96 * followed["soc_sd"]
    assert inside[first].mean() >= 0.90
    assert np.sqrt(np.mean(followed["soc_sd"][first] ** 2)) < 0.05


def test_capacity_is_learned(followed: dict[str, np.ndarray]) -> None:
    """From 2 % spread at the start to well under 1 % at the end, inside its own band."""
    error = followed["capacity"][-1] - followed["true_capacity"][-1]
    assert np.sqrt(np.mean(error**2)) < 0.04
    assert (np.abs(error) <= 1.96 * followed["capacity_sd"][-1]).mean() >= 0.90


def test_hardly_a_sample_is_refused(followed: dict[str, np.ndarray]) -> None:
    assert np.mean(followed["status"] == status.OUTLIER) < 1e-3
    assert set(np.unique(followed["status"])) <= {status.OK, status.STARTED, status.OUTLIER, status.PREDICTED}


def test_capacity_and_first_cycle_efficiency_come_with_the_discharges(followed: dict[str, np.ndarray]) -> None:
    channel, cycle, _, discharge_ah, _, efficiency, verdict = followed["cycles"].T
    for k in (1, 2):
        assert sorted(channel[cycle == k]) == list(range(1, 65)), f"every channel's discharge of cycle {k}, once"
    first = cycle == 1
    assert (verdict[first] == 0).all()
    true = followed["true_efficiency"][channel[first].astype(int) - 1]
    assert np.abs(efficiency[first] - true).max() < 0.002
    assert np.isnan(efficiency[~first]).all()
    assert 4.5 < np.median(discharge_ah[cycle == 2]) < 5.2
