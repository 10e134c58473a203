"""The kinds of analysis by name. A module is imported only when its kind is asked for."""

from __future__ import annotations

from importlib import import_module

from controller.analysis.base import Kind

MODULES = {
    "pulses": "controller.analysis.kinds.pulses",
    "capacity": "controller.analysis.kinds.capacity",
    "esoh": "controller.analysis.kinds.esoh",
    "dqdv": "controller.analysis.kinds.dqdv",
    "relaxation": "controller.analysis.kinds.relaxation",
    "loading": "controller.analysis.kinds.loading",
    "ocv": "controller.analysis.kinds.ocv",
}

TEXTS = {
    "pulses": "pulse resistance (DCIR) at 1, 3, 10 and 30 s",
    "capacity": "capacity and efficiency of each cycle, first-cycle efficiency",
    "esoh": "electrode windows from a slow curve: half-cell stoichiometry fit",
    "dqdv": "incremental capacity and differential voltage, with their peaks",
    "relaxation": "rest after a step: relaxation, leak and K value",
    "loading": "web loading from a scanning gauge: along and across apart",
    "ocv": "open-circuit voltage over SOC, hysteresis and ohmic part taken out",
}
"""One line each for --help, here so that it needs no kernel; a test holds them equal to the kinds' own."""


def kind(name: str) -> Kind:
    """The kind of that name. Raises KeyError for an unknown one."""
    found: Kind = import_module(MODULES[name]).KIND
    return found
