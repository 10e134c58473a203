"""A simulated coater as tests drive it: set-points, commands, faults, and plant seconds since its start."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

import configs
from configs.schema import Equipment
from simulators.faults import Settings
from simulators.machine import Values
from simulators.machines.coater import Coater

S = 1_000_000_000
START_NS = 1_760_000_000 * S
EQUIPMENT = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"
ZONES_C = (80.0, 105.0, 120.0, 95.0)


def equipment(zones: int = 4) -> Equipment:
    """The coater's equipment type, with another number of dryer zones where asked."""
    found = tomllib.loads(EQUIPMENT.read_text())
    for group in found["group"]:
        if group.get("point_name") == "zone":
            group["points"] = zones
            if zones == 1:
                del group["point_name"]
    return Equipment.model_validate(found)


class Rig:
    """One coater and its plant time."""

    def __init__(self, seed: int = 1, zones: int = 4, start: bool = True, **parameters: float | str) -> None:
        self.machine = Coater(equipment(zones), START_NS, seed, parameters)
        self.now_s = 0
        self.sequence = 0
        self.write(web_speed_sp_m_s=0.1, pump_rate_sp_ml_s=3.25, length_sp_m=20_000.0)
        self.write(zone_temperature_sp_c=np.array(ZONES_C) if zones == 4 else np.full(zones, 100.0))
        if start:
            self.command(1)

    def write(self, **tags: float | Values) -> None:
        for tag, value in tags.items():
            self.machine.write(tag, np.atleast_1d(np.array(value, dtype=float)))

    def command(self, word: int) -> None:
        self.sequence += 1
        self.write(coater_command=word, coater_command_seq=self.sequence)

    def to(self, second: int) -> Rig:
        """Advance to that plant second."""
        assert second >= self.now_s
        self.now_s = second
        self.machine.advance(START_NS + second * S)
        return self

    def on(self, name: str, **settings: float | str) -> None:
        self._fault(name, True, settings)

    def off(self, name: str, **settings: float | str) -> None:
        self._fault(name, False, settings)

    def _fault(self, name: str, on: bool, settings: Settings) -> None:
        self.machine.fault(name, on, self.machine.faults[name].complete(name, settings))

    def shows(self, tag: str) -> Values:
        return self.machine.outputs()[tag]

    def show(self, tag: str) -> float:
        """A tag of one point."""
        (value,) = self.machine.outputs()[tag]
        return float(value)

    def true(self, column: str) -> Values:
        return self.machine.truth()[column]
