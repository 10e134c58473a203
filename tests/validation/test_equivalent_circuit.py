"""Filter and circuit fit against PyBaMM's Thevenin model with the values of our own cell file.

Equations, solver, OCV interpolation, temperature and charge balance of the records are foreign; the numbers are ours.
The noise is ours too: PyBaMM makes none.
"""

import importlib.util
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

import configs
from configs.schema import CellModel
from kernels import status
from twin.ecm import fit_ecms
from twin.ekf import CellFilter
from twin.parameters import FilterNoise

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(importlib.util.find_spec("pybamm") is None, reason="PyBaMM is not installed: make peers"),
]

CELL = Path(configs.__file__).parent / "cells" / "lgm50_21700.toml"
MODEL = CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8")))
START_NS = 1_700_000_000_000_000_000
# Rest, C/2 charge, rest, pulses of 1 C both ways, a pulse of 1.5 C, rest, C/2 discharge, rest.
STEPS_S = np.array([0.0, 60.0, 3660.0, 5460.0, 5520.0, 5550.0, 5610.0, 5640.0, 6240.0, 9840.0, 11_000.0])
CURRENT_A = [0.0, 2.5, 0.0, -5.0, 0.0, 5.0, 0.0, -7.5, 0.0, -2.5]
CELLS = 48
NOISE_V = 1e-3
# A filter that believes its model: what PyBaMM's records deserve, because their model is the filter's, OCV included.
EXACT_MODEL = MODEL.model_copy(update={"ocv_sd_v": 0.0, "ocv_sd_soc": 0.0})
EXACT = FilterNoise(
    voltage_sd_v=NOISE_V, fast_floor_sd_v=1e-6, slow_floor_sd_v=1e-6, resistance_error_fraction=1e-6, charge_walk=1e-8,
    r0_design_error=0.0, r0_walk=1e-8, capacity_walk_per_day=1e-8, counter_sd_c=1e-6, gap_s=1e9,
    self_discharge_sd_per_day=1e-8,
)  # fmt: skip


def stamps(seed: int, at_steps: bool) -> np.ndarray:
    """Uneven, 1 to 20 s apart; `at_steps` adds a row right before and after each step, as cyclers log them."""
    t = np.cumsum(np.random.default_rng(seed).uniform(1.0, 20.0, 1500))
    t = np.r_[0.0, t[t < STEPS_S[-1]]]
    if at_steps:
        t = np.r_[t, STEPS_S[1:-1] - 1e-6, STEPS_S[1:-1] + 1e-6]
    return np.unique(np.round(t, 9))


@dataclass
class Rack:
    """PyBaMM's records of several cells at the same stamps, (cells, n), and their truth."""

    time_s: np.ndarray
    current_a: np.ndarray
    voltage_v: np.ndarray
    temperature_c: np.ndarray
    net_charge_c: np.ndarray
    truth: dict[str, np.ndarray]  # soc (n, cells), r0_ohm and capacity_ah (1, cells)

    @classmethod
    def of(cls, records) -> "Rack":
        columns = ("current_a", "voltage_v", "temperature_c", "net_charge_c")
        arrays = {name: np.array([getattr(r, name) for r in records]) for name in columns}
        truth = {name: np.array([[getattr(r, name) for r in records]]) for name in ("r0_ohm", "capacity_ah")}
        truth["soc"] = np.array([r.soc for r in records]).T
        return cls(records[0].time_s, truth=truth, **arrays)

    def follow(self, noise, sd_v, first_v=0.0, seed=1, model=MODEL, quality=None) -> dict[str, np.ndarray]:
        """The filter's estimates, (n, cells), from voltages with noise, a converter of 0.1 mV and a wrong first row."""
        quality = np.zeros(self.time_s.size, dtype=np.uint8) if quality is None else quality
        cells = len(self.voltage_v)
        voltage = self.voltage_v + sd_v * np.random.default_rng(seed).standard_normal(self.voltage_v.shape)
        if sd_v > 0.0:
            voltage = np.rint(voltage * 1e4) * 1e-4
        voltage[:, 0] += first_v
        twin = CellFilter(model, cells, noise)
        rows = [
            twin.update(
                np.full(cells, START_NS + round(1e9 * self.time_s[k])), voltage[:, k], self.current_a[:, k],
                self.temperature_c[:, k], np.full(cells, quality[k]), net_charge_c=self.net_charge_c[:, k],
            ).columns()
            for k in range(self.time_s.size)
        ]  # fmt: skip
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def errors(self, told: dict[str, np.ndarray], name: str) -> np.ndarray:
        """Errors of an estimate in its own standard deviations, (n, cells)."""
        head, _, unit = name.partition("_")
        return (told[name] - self.truth[name]) / told[f"{head}_sd_{unit}".rstrip("_")]


@pytest.fixture(scope="module")
def circuit(thevenin):
    return thevenin.Thevenin(MODEL, STEPS_S, CURRENT_A, ambient_c=25.0)


@pytest.fixture(scope="module")
def cells():
    """What the filter assumes of cells that it has not seen, drawn: past currents of C/5, R0 and capacity."""
    rng = np.random.default_rng(3)
    fifth = MODEL.capacity_ah / 5.0
    return [
        {
            "u1_v": fifth * MODEL.r1_ohm * rng.standard_normal(),
            "u2_v": fifth * MODEL.r2_ohm * rng.standard_normal(),
            "r0_ohm": MODEL.r0_ohm + MODEL.r0_sd_ohm * rng.standard_normal(),
            "capacity_ah": MODEL.capacity_ah / (1.0 + MODEL.capacity_sd_ah / MODEL.capacity_ah * rng.standard_normal()),
            "soc": rng.uniform(0.15, 0.42),
        }
        for _ in range(CELLS)
    ]


@pytest.fixture(scope="module")
def logged(circuit, cells) -> Rack:
    """Cells that come at rest, in a cycler's rows: also right before and after each step."""
    resting = [cell | {"u1_v": 0.0, "u2_v": 0.0} for cell in cells]
    return Rack.of([circuit.record(stamps(1, True), cell["soc"], cell) for cell in resting])


@pytest.fixture(scope="module")
def polled(circuit, cells) -> Rack:
    """Cells that come with overpotentials, in a rack's rows: the steps fall between them."""
    return Rack.of([circuit.record(stamps(2, False), cell["soc"], cell) for cell in cells])


@pytest.mark.parametrize("ambient_c", [10.0, 40.0])
def test_the_forward_model_is_pybamms(thevenin, ambient_c) -> None:
    """A filter that knows a cell after half a day's rest and then trusts no voltage is its own forward model.

    Its innovation is what PyBaMM says against it. The cell warms by some kelvin, which our rows see at the stamps only:
    0.02 mV. Where a step falls between two rows up to 20 s apart, only the charge of the interval is known, not when
    it flowed: about 1 mV at that row, gone with tau1.
    """
    rest_s = 43_200.0
    known = EXACT_MODEL.model_copy(update={"capacity_sd_ah": 1e-7})
    foreign = thevenin.Thevenin(MODEL, np.r_[0.0, rest_s + STEPS_S[1:]], CURRENT_A, ambient_c)
    sure = replace(EXACT, voltage_sd_v=1e-6, uncertain_voltage_sd_v=1e3)
    for at_steps in (True, False):
        t = np.r_[np.arange(0.0, rest_s, 600.0), rest_s + stamps(5, at_steps)]
        rack = Rack.of([foreign.record(t, 0.4)])
        told = rack.follow(sure, 0.0, model=known, quality=(t >= rest_s).astype(np.uint8))
        trial = t >= rest_s
        away, t = 1e3 * np.abs(told["innovation_v"][trial, 0]), t[trial] - rest_s
        since = t - STEPS_S[np.searchsorted(STEPS_S, t, side="right") - 1]
        calm = since > 5.0 * MODEL.tau1_s
        warmed, rms = np.ptp(rack.temperature_c), np.sqrt(np.mean(away[calm] ** 2))
        told_mv = f"{away.max():.3f} mV, away from steps {away[calm].max():.3f} mV, RMS {rms:.4f} mV"
        print(f"{ambient_c:.0f} C, rows at steps {at_steps}: {told_mv}; warmed by {warmed:.1f} K")
        assert away[calm].max() < 0.05
        assert away.max() < (0.05 if at_steps else 2.0)
        assert told["soc"][-1, 0] == pytest.approx(rack.truth["soc"][-1, 0], abs=1e-6)
        assert warmed > 3.0 and np.ptp(rack.truth["soc"]) > 0.3


def test_innovations_are_those_of_a_consistent_filter(logged) -> None:
    """Their squares over their variances sum to chi-square (99.9 % bounds) and are white; noise of 1.5 mV is seen."""
    told = logged.follow(EXACT, NOISE_V, model=EXACT_MODEL)
    assert set(np.unique(told["status"][1:])) == {status.OK}
    normalised = (told["innovation_v"] / told["innovation_sd_v"])[20:]  # from the fourth minute on
    low, high = chi2.ppf([0.0005, 0.9995], normalised.size) / normalised.size
    white = np.mean(normalised[1:] * normalised[:-1])
    print(f"mean square {np.mean(normalised**2):.4f} in {low:.4f} to {high:.4f}; neighbours' correlation {white:.4f}")
    assert low < np.mean(normalised**2) < high
    assert abs(white) < 3.3 / np.sqrt(normalised.size)
    loud = logged.follow(EXACT, 1.5 * NOISE_V, model=EXACT_MODEL)
    assert np.mean((loud["innovation_v"] / loud["innovation_sd_v"])[20:] ** 2) > 2.0


def test_errors_are_those_of_the_stated_bands(logged) -> None:
    """Squared errors over variances of the 48 cells sum to chi-square, row after row (every hundredth; 99.9 %)."""
    low, high = chi2.ppf([0.0005, 0.9995], CELLS)
    told = logged.follow(EXACT, NOISE_V, model=EXACT_MODEL)
    for name in ("soc", "r0_ohm", "capacity_ah"):
        sums = (logged.errors(told, name) ** 2).sum(axis=1)[::-100]
        print(f"{name}: {sums.round(0)} at most {high:.1f}, at the end at least {low:.1f}")
        assert (sums < high).all(), name
        assert sums[0] > low, name  # narrower than the truth at first: a start knows less than a cell at rest shows


@pytest.mark.parametrize(("first_v", "wrong"), [(0.0, 0.015), (0.1, 0.08), (-0.1, 0.08)])
def test_a_wrong_start_converges_within_the_stated_band(polled, first_v, wrong) -> None:
    """As it runs live. SOC at the start is off by 2 % in the mean, by overpotentials of a past that nobody saw.

    Or by 9 to 11 %, by a first row of which the voltage is 100 mV wrong.
    """
    told = polled.follow(FilterNoise(), 0.5e-3, first_v)
    error = told["soc"] - polled.truth["soc"]
    hour = int(np.searchsorted(polled.time_s, 3660.0))
    rms = [float(np.sqrt(np.mean(error[k] ** 2))) for k in (0, hour, -1)]
    print(f"RMS error of SOC at the start, after an hour, at the end: {rms}")
    assert np.mean(np.abs(error[0])) > wrong
    assert rms[1] < 0.015 and rms[2] < 0.006
    for name in ("soc", "r0_ohm", "capacity_ah"):
        inside = np.abs(polled.errors(told, name)[20:]) < 1.96  # from the fourth minute on
        print(f"{name}: {inside.mean():.3f} in the 95 % band, {inside[: hour - 20].mean():.3f} in the first hour")
        assert inside.mean() >= 0.93, name
    squares = (told["innovation_v"] / told["innovation_sd_v"])[20:] ** 2
    assert np.mean(squares) < 1.0  # it allows for a model's error that these records do not have
    assert np.mean(told["status"][1:] == status.OK) > 0.99


def test_the_circuit_fit_finds_pybamms_parameters(thevenin) -> None:
    """Of 2,000 draws of noise, 93 to 97 % of the stated 95 % bands hold the value that PyBaMM computed with.

    The OCV is a straight line here, which is what the fit's drift term describes.
    """
    line = MODEL.model_copy(update={"ocv_v": tuple(3.4 + 0.7 * s for s in MODEL.ocv_soc)})
    steps, rng, draws = [0.0, 60.0, 70.0, 130.0, 140.0, 800.0, 2300.0], np.random.default_rng(5), 2000
    foreign = thevenin.Thevenin(line, steps, [0.0, -5.0, 0.0, 5.0, -2.5, 0.0], heats=False)
    t = np.sort(np.r_[0.0, rng.uniform(0.0, steps[-1], 600), np.array(steps[1:-1]) - 1e-6])
    record = foreign.record(t, 0.47)
    noisy = record.voltage_v + 3e-4 * rng.standard_normal((draws, t.size))
    fits = fit_ecms(
        np.arange(draws + 1) * t.size, np.tile(t, draws), np.tile(record.current_a, draws),
        (np.rint(noisy * 1e4) * 1e-4).ravel(), drift=True,
    )  # fmt: skip
    assert (fits.status == status.OK).all()
    for name in ("r0_ohm", "r1_ohm", "tau1_s", "r2_ohm", "tau2_s"):
        low, high = fits.interval(name)
        share = np.mean((low <= getattr(MODEL, name)) & (getattr(MODEL, name) <= high))
        print(f"{name}: {np.median(getattr(fits, name)):.5g} for {getattr(MODEL, name):g}, in the band {share:.3f}")
        assert 0.93 <= share <= 0.97, name
