"""The foreign programmes, loaded when a test asks for them: importing PyBaMM takes two seconds."""

from __future__ import annotations

import importlib
from types import ModuleType

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
