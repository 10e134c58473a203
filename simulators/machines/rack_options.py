"""Parameters of the formation rack in a line file, checked. Nothing moves here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from simulators.machines.formation_cell import Spread

AMBIENT_C = 24.0
SUPPLY: Mapping[str, float] = MappingProxyType(
    {
        "supply_efficiency": 0.90,
        "regeneration_efficiency": 0.0,
        "standby_w": 30.0,
        "fans_w": 20.0,
    }
)
"""Mains to channels, all assumed: a supply of 90 %, controls, fans for the tray's 10 W/K of air. The channels are
linear regulators (0.7 V, rack_kernel) and burn what they discharge; a rack with regeneration_efficiency gives it to the
other channels first and to the mains then."""


def rack_options(parameters: Mapping[str, int | float | str | bool]) -> tuple[dict[str, float], Spread, str]:
    """Plain parameters, spread and defects. Raises ValueError."""
    defaults = Spread()
    options = {"ambient_c": AMBIENT_C, "truth_period_s": 60.0, **SUPPLY}
    options |= {f"spread_{name}": getattr(defaults, name) for name in Spread.names()}
    defects = ""
    for name, value in parameters.items():
        if name == "defects" and isinstance(value, str):
            defects = value
            continue
        if name not in options:
            known = ", ".join(sorted([*options, "defects"]))
            raise ValueError(f"formation_rack has no parameter '{name}'; it has: {known}")
        if isinstance(value, str | bool):
            raise ValueError(f"formation_rack: parameter '{name}' is a number, not {value!r}")
        if name.startswith("spread_") and not 0 <= value <= 0.3:
            raise ValueError(f"formation_rack: {name} is from 0 to 0.3, not {value:g}")
        if name in SUPPLY and not (0 <= value <= 1e5 and (value <= 1 or name.endswith("_w"))):
            raise ValueError(f"formation_rack: {name} cannot be {value:g}")
        options[name] = float(value)
    if options["supply_efficiency"] < 0.1:
        raise ValueError("formation_rack: supply_efficiency is from 0.1 to 1")
    if options["truth_period_s"] < 1:
        raise ValueError("formation_rack: truth_period_s is at least 1")
    return options, Spread(*(options[f"spread_{name}"] for name in Spread.names())), defects
