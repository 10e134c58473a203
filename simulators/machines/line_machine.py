"""What all stations between coater and grading share: tags, steps, parameters, material in and out, truth.

A station is a subclass with its parameters, its work, and its own tags. Inner steps lie on a grid of plant time and
every random number is drawn per item, so that the outputs do not depend on how `advance` is called.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from configs.schema import Equipment
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.machines.line_checks import Parameters, options_of
from simulators.machines.line_energy import SHARES, EnergyMeter
from simulators.machines.line_states import Event, State
from simulators.machines.line_supply import Supply
from simulators.machines.line_unit import Unit
from simulators.machines.plc_writes import checked
from simulators.material import FLUSH_S, Material, Row
from simulators.material_room import Room
from simulators.timebase import NS_PER_S

STEP_S = 10.0
_STEP_NS = round(STEP_S * NS_PER_S)
_FLUSH_NS = FLUSH_S * NS_PER_S
CELL_WH = 18.5
"""Energy of one cell as designed, 5 Ah at 3.7 V: what the shares of the energy meters refer to."""

# Items that a default supply keeps in front of a station.
_STOCK = 64


class LineMachine(ABC):
    """The Machine. Parameters: `control` ("automatic" or "remote") and those in DEFAULTS."""

    NAME: ClassVar[str]
    TAKES: ClassVar[str | None] = None  # kind of material that it works on
    MAKES: ClassVar[str]
    DEFAULTS: ClassVar[Mapping[str, float]] = {}
    RATED_ITEM_S: ClassVar[float]  # plant seconds that one item of MAKES takes at the rated speed
    CELLS_AN_ITEM: ClassVar[float]  # cells that one item of MAKES is enough for

    faults: Mapping[str, FaultKind] = MappingProxyType({})
    scan_s = 30.0
    truth_period_s = 300.0

    def __init__(self, equipment: Equipment, start_ns: int, seed: int, parameters: Parameters | None = None) -> None:
        """Idle at plant time `start_ns`. Raises ValueError for an unknown parameter, or tags that it does not have."""
        self._equipment = equipment
        self.p, automatic = options_of(self.NAME, self.DEFAULTS, parameters or {})
        self.unit = Unit(automatic)
        self.meter = EnergyMeter(SHARES[self.NAME], 3600.0 / self.RATED_ITEM_S * self.CELLS_AN_ITEM * CELL_WH)
        self.broken: dict[str, Settings] = {}
        self.rng = np.random.default_rng([seed, 0x11E])
        self.material: Material | None = None
        self.room: Room | None = None
        self.device = self.NAME
        self.inbox: deque[Row] = deque()
        self.setpoints = self._setpoints()
        self.unwritten = 0
        self._start_ns = start_ns
        self._supply = None if self.TAKES is None else Supply(self.TAKES, seed)
        self._number = 0
        self._done = start_ns // _STEP_NS
        self._pending: list[tuple[str, float]] = []
        self.begin()
        shown, tags = self.outputs(), {tag.name: g.points for g in equipment.group for tag in g.tag}
        if {name: len(v) for name, v in shown.items()} != tags:
            odd = ", ".join(sorted(set(shown) ^ set(tags))) or "numbers of points"
            raise ValueError(f"equipment type '{equipment.name}' is not for machine '{self.NAME}': {odd}")

    # What a station is.

    @abstractmethod
    def begin(self) -> None:
        """Its own state at power-on; parameters, set-points and random numbers are there."""

    @abstractmethod
    def work(self, now_ns: int) -> float:
        """One step of EXECUTE, which ends at `now_ns`. Returns the load of its drives, 1 as rated."""

    @abstractmethod
    def own_values(self) -> Mapping[str, float | Values]:
        """Its own readable tags."""

    @abstractmethod
    def own_truth(self) -> Mapping[str, float]:
        """Its mass balance and whatever else no instrument shows."""

    def own_setpoints(self) -> Mapping[str, float]:
        """Its own writable tags, as they are at power-on."""
        return {}

    def rest(self, now_ns: int) -> None:  # noqa: B027 -- few stations have something that never rests
        """What goes on in every step and every state: heat, soaking, ageing."""

    def has_work(self) -> bool:
        """Whether there is something to work on."""
        return bool(self.inbox) or self.TAKES is None

    def in_front(self) -> Iterable[Row]:
        """What stands in front of the station."""
        return self.inbox

    def waiting(self) -> int:
        """How many items stand in front of the station."""
        return len(self.inbox)

    def in_work(self) -> int:
        """Items that will be finished whatever happens behind the station."""
        return 0

    # What is the same for all.

    def connect(self, material: Material) -> None:
        """Take from and add to the line's material from now on. Raises OSError when it cannot be read."""
        self.material, self.device = material, material.device
        self.room = Room(material, self.MAKES, self.TAKES)
        self._number = material.resume(self.MAKES, self.TAKES or self.MAKES)

    @property
    def made_before(self) -> bool:
        """Whether this run's files hold items of an earlier process of this device."""
        return self._number > 0

    def finish(self, row: Row, now_ns: int, scrap: str = "") -> Row:
        """An item is finished, or scrapped: it gets its id and is counted. `row` holds the columns of its kind."""
        self._number += 1
        item = {"id": f"{self.device}:{self._number:06d}", "time_ns": now_ns, "scrap": scrap, **row}
        if scrap:
            self.unit.scrapped += 1
        else:
            self.unit.made += 1
        if self.material is not None:
            self.material.add(self.MAKES, item)
        wanted = self.setpoints["unit_quantity_sp"]
        if not scrap and wanted and self.unit.made % wanted == 0:
            self.unit.trigger(Event.COMPLETED)
        return item

    def advance(self, until_ns: int) -> None:
        """Every step that ends at or before `until_ns`; writes since the last call act first."""
        last = until_ns // _STEP_NS
        if last > self._done:
            for tag, value in self._pending:
                self._take(tag, value)
            self._pending.clear()
        while self._done < last:
            self._done += 1
            self._step(self._done * _STEP_NS)

    def _step(self, now_ns: int) -> None:
        room = self.room is None or self.room.free(self.unit.made + self.in_work()) > 0
        self.unit.step(STEP_S, self.has_work(), room)
        state = self.unit.state
        load = self.work(now_ns) if state is State.EXECUTE else 1.0
        self.rest(now_ns)
        self.meter.step(state, STEP_S, load)
        if now_ns % _FLUSH_NS == 0:
            self._exchange(now_ns)
        elif self._supply is not None and self.waiting() < _STOCK and not self._fed_by_others:
            self._restock(now_ns)

    @property
    def _fed_by_others(self) -> bool:
        return self.material is not None and self.TAKES is not None and self.material.made_here(self.TAKES)

    def _restock(self, now_ns: int) -> None:
        assert self._supply is not None
        self.inbox.extend(self._supply.items(_STOCK - self.waiting(), now_ns))

    def _exchange(self, now_ns: int) -> None:
        """The cart comes: what is finished goes, what others have finished comes."""
        if self.material is None or self.room is None:
            return
        try:
            self.room.tell(now_ns, (row["id"] for row in self.in_front()))
            self.material.flush()
            self.unwritten = 0
            self.room.listen(now_ns)
            if self.TAKES is not None and self._fed_by_others:
                rows = self.material.take(self.TAKES, now_ns)
                self.room.received(row["id"] for row in rows)
                self.inbox.extend(rows)
        except OSError:
            self.unwritten = 1  # the disk is full or gone: the plant runs on, and tries again with the next cart

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end one of `faults`. Raises ValueError for a name that it does not have."""
        if name not in self.faults:
            raise ValueError(f"{self.NAME} has no fault '{name}'")
        if on:
            self.broken[name] = settings
        else:
            self.broken.pop(name, None)

    def setting(self, fault: str, name: str, without: float) -> float:
        """A setting of a fault that is on; `without` while it is off."""
        return float(self.broken[fault][name]) if fault in self.broken else without

    def write(self, tag: str, values: Values) -> None:
        """Take a written tag. ValueError: unknown, read-only, not one value, not finite, out of limits."""
        self._pending.append((tag, checked(self._equipment, tag, values)[0]))

    def _take(self, tag: str, number: float) -> None:
        unit = self.unit
        match tag:
            case "unit_command":
                unit.port.word = int(number)
            case "unit_command_seq":
                unit.take_sequence(int(number))
            case "unit_heartbeat":
                unit.beat.take(int(number))
            case "unit_heartbeat_timeout_s":
                unit.beat.take_timeout(int(number))
            case _:
                self.setpoints[tag] = number

    def _setpoints(self) -> dict[str, float]:
        return {"unit_quantity_sp": 0.0, **self.own_setpoints()}

    def retained(self) -> Mapping[str, Values]:
        """Set-points, counters and the energy meter."""
        unit = self.unit
        kept = {"made": unit.made, "scrapped": unit.scrapped, "joule": self.meter.joule, **self.setpoints}
        return {name: np.array([value], dtype=np.float64) for name, value in kept.items()}

    def restore_retained(self, kept: Mapping[str, Values], plant_ns: int) -> None:
        """The PLC boots idle. Material stands where it stood; what soaks or ages has gone on."""
        numbers = {name: float(value[0]) for name, value in kept.items()}
        self.unit = Unit(self.unit.automatic)
        self.unit.made, self.unit.scrapped = int(numbers.pop("made")), int(numbers.pop("scrapped"))
        self.meter.joule = numbers.pop("joule")
        self.setpoints.update(numbers)
        self._pending.clear()
        self._done = plant_ns // _STEP_NS
        self.rest(self._done * _STEP_NS)

    def outputs(self) -> Mapping[str, Values]:
        """Every tag; NaN where an instrument has nothing to see."""
        unit = self.unit
        shown: dict[str, float | Values] = {
            "unit_state": unit.state,
            "unit_power_w": self.meter.power_w,
            "unit_energy_kwh": self.meter.energy_kwh,
            "unit_made": unit.made,
            "unit_scrapped": unit.scrapped,
            "unit_waiting": self.waiting(),
            "unit_fault_bits": unit.fault_bits,
            "unit_automatic": unit.automatic,
            "unit_waits_for": unit.waits_for,
            "unit_command": unit.port.word,
            "unit_command_seq": unit.port.sequence,
            "unit_command_seq_ack": unit.port.acknowledged,
            "unit_command_result": unit.port.result,
            "unit_heartbeat": unit.beat.value,
            "unit_heartbeat_timeout_s": unit.beat.timeout_s,
            **self.setpoints,
            **self.own_values(),
        }
        return {name: np.array(np.atleast_1d(value), dtype=np.float64) for name, value in shown.items()}

    def truth(self) -> Mapping[str, Values]:
        """One row: state, energy, yield, the station's mass balance, and material that came too late to be in order."""
        unit = self.unit
        ended = unit.made + unit.scrapped
        columns = {
            "point": 1.0,
            "state": unit.state,
            "energy_kwh": self.meter.energy_kwh,
            "made": unit.made,
            "scrapped": unit.scrapped,
            "yield_fraction": unit.made / ended if ended else math.nan,
            "waiting": self.waiting(),
            "waits_for": unit.waits_for,
            "late_items": 0 if self.material is None else self.material.late,
            "unwritten": self.unwritten,
            **self.own_truth(),
        }
        return {name: np.array([value], dtype=np.float64) for name, value in columns.items()}
