"""Puts a device's faults together: its entries of the scenario, its instruments, its log, and the plant around it.

`Faults` checks everything before plant time begins; `plant` is called when it has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from configs.loader import LoadedScenario
from configs.schema import Equipment, Protocol
from simulators.faults.instruments import Instruments
from simulators.faults.plan import fault_seed, plan_device
from simulators.faults.plant import Plant
from simulators.faults.timetable import Switch
from simulators.machine import Machine
from simulators.timebase import TimeBase
from simulators.truth import FaultLog


class Faults:
    """What breaks in one device, checked."""

    def __init__(
        self,
        scenario: LoadedScenario,
        device: str,
        equipment: Equipment,
        device_seed: int,
        spare: tuple[object, object],
    ) -> None:
        """`spare`: a machine and a server to try the entries on. Raises ConfigError."""
        self._scenario = scenario.file.name
        self._device = device
        self._equipment = equipment
        seed = fault_seed(device_seed, scenario.file.name)
        self._instruments = Instruments(equipment, seed, equipment.protocol is Protocol.OPCUA)
        self.entries = plan_device(scenario, device, *spare, self._instruments)

    def plant(
        self, machine: Machine, base: TimeBase, start_ns: int, out: Path, complain: Callable[[str], None]
    ) -> tuple[Plant, FaultLog]:
        """The machine on its timetable, and the log of it."""
        log = FaultLog(out, self._device, self._scenario)

        def note(switch: Switch, refused: str) -> None:
            log.add(switch, refused)
            if refused:
                complain(f"{self._device}: fault '{switch.entry.kind}' had no effect: {refused}")

        base_ns = base.plant_start_ns
        plant = Plant(machine, self._equipment, self.entries, self._instruments, base_ns, start_ns, note)
        return plant, log
