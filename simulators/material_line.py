"""Joins a machine to the material of its line: who makes what, and adapters for coater and formation rack.

A machine with `connect` takes and adds by itself. The coater and the rack know nothing of material: the coater is asked
for its finished metres (`finished_metres`), the rack is handed a tray (`take_tray`) where it can take one, and what it
has formed is noted when its programme is complete. No physics here.
"""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from configs.schema import LineFile
from simulators.machine import KeepsMetres, Machine, Values
from simulators.machines import line_design as design
from simulators.machines.line_supply import Supply
from simulators.machines.packml import packml
from simulators.machines.rack_states import RackState
from simulators.material import FLUSH_S, Material, Row, cells_for_tray
from simulators.material_room import Room, only_takers, rooms_of
from simulators.timebase import NS_PER_S

MAKES: Mapping[str, str] = {
    "mixer": "batch",
    "coater": "metre",
    "calender_slitter": "sheet",
    "stacking": "stack",
    "filling": "cell",
    "formation_rack": "formed",
    "ageing": "aged",
}
"""What each machine of a line file makes."""

_FLUSH_NS = FLUSH_S * NS_PER_S
# Volts that a 5 Ah cell loses at rest per ampere-hour that leaks, near half charge: 0.9 V over its whole range.
_V_PER_AH = 0.18
_SOUND_LEAK_A = 30e-6  # of a rack that does not tell


@runtime_checkable
class Connects(Protocol):
    """A machine that takes and adds material by itself."""

    def connect(self, material: Material) -> None:
        """From now on. Raises OSError when the material cannot be read."""
        ...


@runtime_checkable
class TakesSlurry(Protocol):
    """A coater that coats a mixer's batches instead of its own."""

    def take_slurry(self, solids_fraction: float) -> int:
        """A batch, to be used after those that wait; the number that the coater gives it."""
        ...


@runtime_checkable
class Waits(Protocol):
    """A coater that suspends itself while there is no room for what it makes."""

    def wait(self, on: bool) -> None:
        """From now on, until it is told otherwise."""
        ...


@runtime_checkable
class TakesTray(Protocol):
    """A rack that is filled with the line's cells instead of its own."""

    def take_tray(self, cells: list[Row]) -> None:
        """Rows of simulators.material.cells_for_tray; channels that no row names stay empty."""
        ...


def makers_of(line: LineFile) -> dict[str, list[str]]:
    """Kinds of material that are made on the line, and by which devices."""
    makers: dict[str, list[str]] = {}
    for device, settings in (line.simulation.machines if line.simulation else {}).items():
        kind = MAKES.get(str(settings.get("machine")))
        if kind is not None:
            makers.setdefault(kind, []).append(device)
    return makers


def join(machine: Machine, out: Path, device: str, line: LineFile, at_ns: int) -> Machine:
    """The machine, joined to its line's material. A line of coater and rack alone moves none.

    Raises OSError, and ValueError for a line on which two machines take the same items.
    """
    makers = makers_of(line)
    if not {"batch", "sheet", "stack", "cell", "aged"} & makers.keys():
        return machine
    only_takers(line, makers)
    material = Material(out, device, makers, rooms_of(line, makers))
    if isinstance(machine, Connects):
        machine.connect(material)
        return machine
    assert line.simulation is not None, "something is made here"
    if isinstance(machine, KeepsMetres):
        width_m = float(line.simulation.machines[device].get("width_m", design.WIDTH_M))
        return cast(Machine, MetresOut(machine, material, at_ns, line.simulation.seed, width_m))
    if "channels_running" in machine.outputs():
        return cast(Machine, TrayInOut(machine, material, at_ns))
    return machine


class _Adapter(ABC):
    """A machine with its material beside it; everything but `advance` is the machine's own."""

    def __init__(self, machine: Any, material: Material, at_ns: int) -> None:
        """`at_ns`: plant time that the machine stands at. Raises OSError when the material cannot be read."""
        self._machine = machine
        self._material = material
        self._at_ns = at_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def advance(self, until_ns: int) -> None:
        """The machine to `until_ns`, stopping wherever the cart comes: so it matters not how `advance` is cut."""
        while (mark_ns := (self._at_ns // _FLUSH_NS + 1) * _FLUSH_NS) <= until_ns:
            self._machine.advance(mark_ns)
            self._at_ns = mark_ns
            # The disk is full or gone: the plant runs on, and tries again with the next cart.
            with contextlib.suppress(OSError):
                self._cart(mark_ns)
                self._material.flush()
        self._machine.advance(until_ns)
        self._at_ns = max(self._at_ns, until_ns)

    @abstractmethod
    def _cart(self, plant_ns: int) -> None:
        """What the cart brings and takes at this plant time."""


class MetresOut(_Adapter):
    """A coater whose finished metres go on the line, each with the batch of slurry that it was coated from.

    The coater numbers its batches; each number is a batch of the mixer's, in the order in which they were finished, or
    of a default supply where no mixer is on the line or none was ready. One batch always waits at the coater. Wet mass
    that was coated from a batch is its metres' dry mass over their solids; what no metre has got of it is the heel.
    """

    def __init__(self, machine: Any, material: Material, at_ns: int, seed: int, width_m: float) -> None:
        super().__init__(machine, material, at_ns)
        self._supply = Supply("batch", seed)
        self._width_m = width_m
        self._batches: dict[int, Row] = {}
        self._last_given = 0
        self._room = Room(material, "metre", "batch")
        self._good = 0
        self._number = material.resume("metre", "batch")

    def batch(self, number: int, plant_ns: int) -> Row:
        """The batch that the coater calls by that number; `plant_ns`: when its first metre was finished."""
        if number not in self._batches:
            # What the coater takes by itself it has been given; without it, it coated a batch of its own.
            made = self._material.made_here("batch") and not isinstance(self._machine, TakesSlurry)
            found = self._material.take("batch", plant_ns, most=1) if made else []
            self._room.received(row["id"] for row in found)
            self._batches[number] = found[0] if found else self._supply.items(1, plant_ns)[0]
        return self._batches[number]

    def _feed(self, coater: TakesSlurry, plant_ns: int) -> None:
        present = float(self._machine.outputs()["slurry_batch"][0])
        while self._last_given <= present and self._material.made_here("batch"):
            found = self._material.take("batch", plant_ns, most=1)
            if not found:
                return
            self._room.received([found[0]["id"]])
            self._last_given = coater.take_slurry(found[0]["solids_fraction"])
            self._batches[self._last_given] = found[0]

    def _cart(self, plant_ns: int) -> None:
        if isinstance(self._machine, TakesSlurry):
            self._feed(self._machine, plant_ns)
        self._room.listen(plant_ns)
        columns = self._machine.finished_metres("material")
        lanes = sorted(name for name in columns if name.startswith("lane_"))
        for k in range(len(columns["point"]) if columns else 0):
            self._number += 1
            loading = float(columns["mass_loading_kg_m2"][k])
            solids = float(columns["solids_fraction"][k])
            dried_ns = round(float(columns["dried_s"][k]) * 1e3) * 1_000_000
            batch = self.batch(int(columns["slurry_batch"][k]), dried_ns)
            row = {
                "id": f"{self._material.device}:{self._number:06d}",
                "time_ns": dried_ns,
                "scrap": "splice" if columns["splice"][k] else "",
                "batch": batch["id"],
                "web_position_m": float(columns["web_position_m"][k]),
                "coated_s": float(columns["coated_s"][k]),
                "width_m": self._width_m,
                "length_m": 1.0,
                "loading_kg_m2": loading,
                "foil_kg_m2": design.FOIL_KG_M2,
                "solids_fraction": solids,
                "wet_kg": loading * self._width_m / solids,
                "residual_solvent_fraction": float(columns["residual_solvent_fraction"][k]),
                "binder_index": float(columns["binder_index"][k]),
                "lane_kg_m2": np.array([columns[name][k] for name in lanes]).tolist(),
            }
            self._material.add("metre", row)
            self._good += not row["scrap"]
        self._room.tell(plant_ns, ())
        if isinstance(self._machine, Waits):
            self._machine.wait(self._room.free(self._good) <= 0)


class TrayInOut(_Adapter):
    """A formation rack that is filled from the line where it can take a tray, and whose formed cells go on.

    Until its tray is there, a rack that is idle says that it waits for one: nobody starts it then. A formed tray is
    taken out when there is room for it behind the rack; until then the rack is suspended, and gets no other.
    """

    def __init__(self, machine: Any, material: Material, at_ns: int) -> None:
        super().__init__(machine, material, at_ns)
        self._number = material.resume("formed", "cell")
        self._room = Room(material, "formed", "cell")
        self._tray: list[Row] = []
        self._good = 0
        self._runs = 0  # programmes that the rack had completed when its last tray was taken out
        self._waits = isinstance(machine, TakesTray) and material.made_here("cell")

    def _completed(self, shown: Mapping[str, Values]) -> int:
        return int(getattr(self._machine, "completed", shown["rack_state"][0] == RackState.COMPLETE))

    def outputs(self) -> Mapping[str, Values]:
        """The rack's own, but for the state of one that waits: for its tray, or to be rid of it."""
        shown = dict(self._machine.outputs())
        formed = self._completed(shown) > self._runs
        if self._waits and shown["rack_state"][0] == RackState.IDLE and (formed or not self._tray):
            shown["rack_state"] = np.array([float(RackState.WAITS)])
        if "unit_state" in shown and (shown["rack_state"][0] == RackState.WAITS or formed):
            shown["unit_state"] = np.array([float(packml(RackState.WAITS))])
        return shown

    def _cart(self, plant_ns: int) -> None:
        rack, shown = self._machine, self._machine.outputs()
        state, channels = int(shown["rack_state"][0]), len(shown["state"])
        completed = self._completed(shown)
        self._runs = min(self._runs, completed)
        self._room.listen(plant_ns)
        if completed > self._runs and self._room.free(self._good + (len(self._tray) or channels)) >= 0:
            self._unload(plant_ns)
            self._runs = completed
        if state == RackState.IDLE and not self._tray and isinstance(rack, TakesTray):
            self._tray = cells_for_tray(self._material, channels, plant_ns, least=channels)
            if self._tray:
                self._room.received(row["cell"] for row in self._tray)
                rack.take_tray(self._tray)
        self._room.tell(plant_ns, ())

    def _unload(self, plant_ns: int) -> None:
        truth = self._machine.truth()
        leak_a = truth.get("leak_a", np.full(len(truth["point"]), _SOUND_LEAK_A))
        tray = self._tray or [{"channel": c, "cell": "", "defects": []} for c in truth["point"].astype(int).tolist()]
        for cell in tray:
            k = cell["channel"] - 1
            self._number += 1
            row = {
                "id": f"{self._material.device}:{self._number:06d}",
                "time_ns": plant_ns,
                "scrap": "" if math.isfinite(truth["first_cycle_efficiency"][k]) else "not formed",
                "cell": cell["cell"] or f"supply:cell:{self._number:06d}",
                "defects": list(cell["defects"]),
                "channel": float(cell["channel"]),
                "loading_factor": cell.get("loading_factor", math.nan),
                "np_ratio": cell.get("np_ratio", math.nan),
                "capacity_ah": float(truth["capacity_ah"][k]),
                "first_cycle_efficiency": float(truth["first_cycle_efficiency"][k]),
                "leak_v_h": float(leak_a[k]) * _V_PER_AH,
            }
            self._material.add("formed", row)
            self._good += not row["scrap"]
        self._tray = []
