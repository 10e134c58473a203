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
    "pulses": "direct-current resistance 1, 3, 10 and 30 s into each current pulse",
    "capacity": "charge, energy and efficiency per cycle; first-cycle efficiency where the discharge reached its limit",
    "esoh": "electrode windows from a slow curve: half-cell stoichiometry fit",
    "dqdv": "incremental capacity of slow charges and discharges: peaks with position, height, width and charge",
    "relaxation": "rests: stretched exponential relaxation and self-discharge K, "
    "refused where they cannot be told apart",
    "loading": "web loading from a scanning gauge: along and across apart",
    "ocv": "open-circuit voltage over SOC with hysteresis, from a slow charge and discharge",
}
"""One line each for --help, here so that it needs no kernel; a test holds them equal to the kinds' own."""


def kind(name: str) -> Kind:
    """The kind of that name. Raises KeyError for an unknown one."""
    found: Kind = import_module(MODULES[name]).KIND
    return found
