"""The foreign programmes, loaded when a test asks for them: importing PyBaMM takes two seconds."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def thevenin() -> ModuleType:
    """bench/_thevenin.py: PyBaMM's circuit with the values of one of our cell models."""
    return importlib.import_module("bench._thevenin")


@pytest.fixture(scope="session")
def pybamm(thevenin: ModuleType) -> ModuleType:
    """PyBaMM, told not to report to its makers."""
    foreign: ModuleType = thevenin.pybamm
    return foreign


@pytest.fixture(scope="session")
def chen(pybamm: ModuleType) -> tuple[Any, dict[str, float]]:
    """PyBaMM's parameter set and what its solver makes of it: windows [-] and capacities [Ah]."""
    values = pybamm.ParameterValues("Chen2020")
    solver = pybamm.lithium_ion.ElectrodeSOHSolver(values)
    x_0, x_100, y_100, y_0 = solver.get_min_max_stoichiometries()
    truth = {"x_0": x_0, "x_100": x_100, "y_0": y_0, "y_100": y_100}
    truth["negative_ah"] = values.evaluate(solver.param.n.Q_init)
    truth["positive_ah"] = values.evaluate(solver.param.p.Q_init)
    truth["lithium_ah"] = values.evaluate(solver.param.Q_Li_particles_init)
    return values, {name: float(value) for name, value in truth.items()}
