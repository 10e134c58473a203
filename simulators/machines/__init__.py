"""Machines by name. Only the one that is asked for is imported: a rack does not pay for a coater's libraries.

A machine class is built as `Class(equipment, start_ns, seed, parameters)`; it raises ValueError for a parameter that it
does not know or cannot take.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from configs.schema import Equipment
from simulators.machine import Machine

Parameters = Mapping[str, int | float | str | bool]

MACHINES: Mapping[str, str] = {
    "formation_rack": "simulators.machines.formation_rack:FormationRack",
    "coater": "simulators.machines.coater:Coater",
    "mixer": "simulators.machines.line_mixer:Mixer",
    "calender_slitter": "simulators.machines.line_calender:CalenderSlitter",
    "stacking": "simulators.machines.line_stacking:Stacking",
    "filling": "simulators.machines.line_filling:Filling",
    "ageing": "simulators.machines.line_ageing:Ageing",
}


def build_machine(name: str, equipment: Equipment, start_ns: int, seed: int, parameters: Parameters) -> Machine:
    """The machine of that name at plant time `start_ns`. Raises ValueError for a bad name or parameter.

    `buffer`, the room in front of it, is the line's (simulators.material_room) and only checked here.
    """
    if name not in MACHINES:
        raise ValueError(f"no machine is called '{name}'; there are: {', '.join(sorted(MACHINES))}")
    places = parameters.get("buffer", 0)
    if isinstance(places, bool | str) or places < 0 or places != int(places):
        raise ValueError(f"{name}: parameter 'buffer' is a whole number of items, not {places!r}; 0: without end")
    parameters = {key: value for key, value in parameters.items() if key != "buffer"}
    module, _, cls = MACHINES[name].partition(":")
    machine: Machine = getattr(import_module(module), cls)(equipment, start_ns, seed, parameters)
    return machine
