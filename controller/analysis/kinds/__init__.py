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


def kind(name: str) -> Kind:
    """The kind of that name. Raises KeyError for an unknown one."""
    found: Kind = import_module(MODULES[name]).KIND
    return found
