"""Half-cell fit against PyBaMM's electrode state-of-health solver and its single-particle model, set Chen 2020."""

import importlib.util

import numpy as np
import pytest

from twin import halfcell
from twin.esoh import Electrodes, fit_curves, slow_curve

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(importlib.util.find_spec("pybamm") is None, reason="PyBaMM is not installed: make peers"),
]

NOISE_V, RESISTANCE_OHM, DRAWS = 0.5e-3, 0.03, 1000


@pytest.fixture(scope="module")
def electrodes() -> Electrodes:
    return Electrodes(halfcell.load("nmc811_chen2020"), halfcell.load("graphite_siox_chen2020"))


def potential(pybamm, values, electrode: str, stoichiometry: np.ndarray) -> np.ndarray:
    """PyBaMM's own open-circuit potential [V]."""
    function = values[f"{electrode} electrode OCP [V]"]
    return np.asarray(function(pybamm.Vector(stoichiometry)).evaluate()).ravel()


def test_windows_are_those_of_pybamms_solver(pybamm, chen, electrodes) -> None:
    """Discharges along PyBaMM's curves between its windows: 93 to 97 % of 1,000 draws' bands hold its figures."""
    values, truth = chen
    t = np.arange(0.0, 36_001.0, 20.0)
    z = 1.0 - t / t[-1]
    charge_ah = truth["negative_ah"] * (truth["x_100"] - truth["x_0"])
    current = np.full(t.size, -charge_ah / 10.0)
    y, x = (truth[f"{e}_0"] + z * (truth[f"{e}_100"] - truth[f"{e}_0"]) for e in "yx")
    voltage = potential(pybamm, values, "Positive", y) - potential(pybamm, values, "Negative", x)
    assert voltage[0] == pytest.approx(4.2, abs=1e-6) and voltage[-1] == pytest.approx(2.5, abs=1e-6)
    rng = np.random.default_rng(4)
    noisy = voltage + RESISTANCE_OHM * current + NOISE_V * rng.standard_normal((DRAWS, t.size))
    fits = fit_curves([slow_curve(t, current, np.rint(v * 1e4) * 1e-4) for v in noisy], electrodes)
    assert all(fit.identifiable for fit in fits)
    for name, value in (truth | {"resistance_ohm": RESISTANCE_OHM}).items():
        told, sd = (np.array([getattr(fit, name + end) for fit in fits]) for end in ("", "_sd"))
        share = np.mean(np.abs(told - value) < 1.96 * sd)
        print(f"{name}: {np.median(told):.5f} +- {np.median(sd):.5f} for {value:.5f}, in the band {share:.3f}")
        assert abs(np.median(told) - value) < np.median(sd), name
        assert 0.93 <= share <= 0.97, name


@pytest.mark.parametrize(("hours", "near"), [(100.0, 0.002), (20.0, 0.005), (10.0, 0.008)])
def test_a_discharge_of_a_single_particle_model(pybamm, chen, electrodes, hours, near) -> None:
    """Here lithium must diffuse, which the fit does not know and takes for other windows: the quicker, the farther off.

    That error is the model's, and the stated SD, which is made from the residuals, does not hold it: 0.0065 in y_100 at
    C/10 against an SD of 0.0012. So the bounds are absolute.
    """
    values, truth = chen
    charge_ah = truth["negative_ah"] * (truth["x_100"] - truth["x_0"])
    values = values.copy()
    values["Current function [A]"] = charge_ah / hours
    simulation = pybamm.Simulation(pybamm.lithium_ion.SPM(), parameter_values=values, solver=pybamm.IDAKLUSolver())
    solution = simulation.solve([0.0, 3700.0 * hours], initial_soc=1.0)
    t = np.linspace(0.0, float(solution.t[-1]), 3000)
    noise = NOISE_V * np.random.default_rng(4).standard_normal(t.size)
    voltage = np.rint((solution["Voltage [V]"](t) + noise) * 1e4) * 1e-4
    (fit,) = fit_curves([slow_curve(t, np.full(t.size, -charge_ah / hours), voltage)], electrodes)
    reached = {"x_0": float(solution["Negative electrode stoichiometry"](t[-1]))} | {
        name: truth[name] for name in ("x_100", "y_100")
    }
    reached["y_0"] = float(solution["Positive electrode stoichiometry"](t[-1]))
    print(f"C/{hours:.0f}: RMSE {1e3 * fit.rmse_v:.2f} mV")
    assert fit.identifiable and fit.rmse_v < 2e-3
    for name, value in reached.items():
        told, sd = getattr(fit, name), getattr(fit, name + "_sd")
        print(f"  {name}: {told:.4f} +- {sd:.4f} for {value:.4f}")
        assert abs(told - value) < near, name
