"""What can break between a machine's outputs and its server: sensors, their quality, the device's clock.

The machine goes on unharmed; only what is shown of it changes. All is a function of seed, plant time and what was shown
when the fault began, so that cutting time differently changes nothing. Faults on one tag act in the order in which they
began. No protocol here, and no timetable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from configs.scenario_checks import point_numbers, tag_names
from configs.schema import Equipment
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.faults.clocks import CLOCK_EFFECTS, CLOCK_FAULTS, read_clocks, write_clocks
from simulators.machine import Values
from simulators.servers import Quality
from simulators.timebase import NS_PER_S

_TAGS = {"tags": FaultSetting("Tags with commas between them")}
_WHERE = _TAGS | {"points": FaultSetting("Points such as 1-4, 7; empty: all", "", "")}
_OWN = "the tag's"
_ABOVE_0 = frozenset({"sd", "rate_per_h", "width_s", "step_s"})

VALUE_FAULTS: Mapping[str, FaultKind] = {
    "stuck": FaultKind("The reading stays what it was when the fault began", _WHERE),
    "drift": FaultKind("The reading wanders off steadily", _WHERE | {"per_h": FaultSetting("Drift an hour", _OWN)}),
    "noise": FaultKind("Each reading is off by another random amount", _WHERE | {"sd": FaultSetting("Spread", _OWN)}),
    "offset": FaultKind("The reading is off by a constant", _WHERE | {"by": FaultSetting("Added", _OWN)}),
    "gain": FaultKind("The reading is off by a factor", _WHERE | {"factor": FaultSetting("Multiplied")}),
    "dropout": FaultKind("The instrument shows nothing: NaN, Bad in OPC UA, 0 in an integer register", _WHERE),
    "spikes": FaultKind(
        "Short peaks of either sign at random moments",
        _WHERE
        | {
            "size": FaultSetting("Height", _OWN),
            "rate_per_h": FaultSetting("Mean number of peaks an hour and point", "1/h", 60.0),
            "width_s": FaultSetting("Length of a peak; one between two scans is not seen", "s", 1.0),
        },
    ),
}
QUALITY_FAULTS: Mapping[str, FaultKind] = {
    "bad_quality": FaultKind("The value comes with a Bad status and without a number (OPC UA)", _WHERE),
    "uncertain_quality": FaultKind("The value comes with an Uncertain status (OPC UA)", _TAGS),
}
INSTRUMENT_FAULTS: Mapping[str, FaultKind] = {**VALUE_FAULTS, **QUALITY_FAULTS, **CLOCK_FAULTS}


@dataclass(frozen=True, slots=True)
class Shown:
    """One scan as the instruments show it."""

    outputs: Mapping[str, Values]
    stamp_ns: int  # the device's own time
    quality: Mapping[str, Quality]


@dataclass(slots=True)
class _Active:
    """One fault that acts."""

    kind: str
    settings: Settings
    seed: int
    begin_ns: int
    tags: Mapping[str, NDArray[np.bool_]]  # tag -> which of its points
    held: dict[str, Values] = field(default_factory=dict)  # what was shown at the beginning

    def number(self, key: str) -> float:
        return float(self.settings[key])


class Instruments:
    """The instruments of one device. What it shows is right while no fault acts."""

    faults = INSTRUMENT_FAULTS

    def __init__(self, equipment: Equipment, seed: int, has_quality: bool = True) -> None:
        """`has_quality`: the protocol shows it."""
        self._equipment = equipment
        self._seed = seed
        self._has_quality = has_quality
        self._active: dict[int, _Active] = {}

    def check(self, kind: str, settings: Settings) -> None:
        """Raises ValueError where this device has no such tag or point, or nothing that could show the fault."""
        if kind in QUALITY_FAULTS and not self._has_quality:
            raise ValueError(f"'{kind}': Modbus shows no quality; use dropout")
        for key, value in settings.items():
            if key not in _WHERE and isinstance(value, str):
                raise ValueError(f"'{key}' is a number, not '{value}'")
            if key in _ABOVE_0 and not float(value) > 0.0:
                raise ValueError(f"'{key}' is above 0, not {value}")
        if kind in CLOCK_FAULTS:
            return
        if not self._where(settings):
            raise ValueError(f"'tags' is empty: say which tags of '{self._equipment.name}' show the fault")

    def begin(self, number: int, kind: str, settings: Settings, outputs: Mapping[str, Values], plant_ns: int) -> None:
        """Entry `number` begins at `plant_ns`, when the machine's outputs are `outputs`. Raises ValueError."""
        self.check(kind, settings)
        tags = {} if kind in CLOCK_FAULTS else self._where(settings)
        seed = crc32(f"{number}".encode()) ^ self._seed
        new = _Active(kind, settings, seed & (2**64 - 1), plant_ns, tags)
        shown = self.show(outputs, plant_ns).outputs
        new.held = {tag: shown[tag].copy() for tag in tags}
        self._active[number] = new

    def end(self, number: int) -> None:
        """Entry `number` is over; nothing happens when it does not act."""
        self._active.pop(number, None)

    def show(self, outputs: Mapping[str, Values], plant_ns: int) -> Shown:
        """A scan of the machine as it is shown at `plant_ns`; `outputs` are not changed."""
        if not self._active:
            return Shown(outputs, plant_ns, {})
        values = dict(outputs)
        quality: dict[str, Quality] = {}
        clocks: list[Callable[[NDArray[np.int64]], NDArray[np.int64]]] = []
        for fault in self._active.values():
            if fault.kind in CLOCK_FAULTS:
                clocks.append(CLOCK_EFFECTS[fault.kind](fault.settings, fault.begin_ns))
            for tag, chosen in fault.tags.items():
                values[tag] = np.where(chosen, _EFFECTS[fault.kind](fault, tag, values[tag], plant_ns), values[tag])
                if fault.kind in QUALITY_FAULTS:
                    whole = fault.kind == "bad_quality" and bool(chosen.all())
                    quality[tag] = max(quality.get(tag, Quality.GOOD), Quality.BAD if whole else Quality.UNCERTAIN)
        stamp = np.array([plant_ns], dtype=np.int64)
        if clocks:
            own = read_clocks(self._equipment, values)
            for clock in clocks:
                stamp, own = clock(stamp), {name: clock(time_ns) for name, time_ns in own.items()}
            write_clocks(self._equipment, values, own)
        return Shown(values, int(stamp[0]), quality)

    def _where(self, settings: Settings) -> dict[str, NDArray[np.bool_]]:
        """Which points of which tags. Raises ValueError for those that the equipment does not have."""
        points = point_numbers(str(settings.get("points", "")))
        where: dict[str, NDArray[np.bool_]] = {}
        for name in tag_names(str(settings["tags"])):
            found = self._equipment.find(name)
            if found is None:
                raise ValueError(f"equipment '{self._equipment.name}' has no tag '{name}'")
            count = found[0].points
            if points and max(points) > count:
                raise ValueError(f"tag '{name}' has {count} points, not {max(points)}")
            where[name] = np.isin(np.arange(1, count + 1), points) if points else np.ones(count, dtype=np.bool_)
        return where


Effect = Callable[[_Active, str, Values, int], Values]


def _stuck(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return fault.held[tag]


def _drift(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return values + fault.number("per_h") * ((plant_ns - fault.begin_ns) / (3600 * NS_PER_S))


def _noise(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return values + fault.number("sd") * _random(fault, tag, plant_ns).standard_normal(len(values))


def _offset(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return values + fault.number("by")


def _gain(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return values * fault.number("factor")


def _nothing(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return np.full(len(values), np.nan)


def _spikes(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    """A peak fills a cell of plant time with the probability that gives the rate; the cell decides, not the scan."""
    width_s = max(fault.number("width_s"), 1e-3)
    draw = _random(fault, tag, plant_ns // round(width_s * NS_PER_S)).random((2, len(values)))
    there = draw[0] < fault.number("rate_per_h") * width_s / 3600.0
    return values + np.where(there, np.where(draw[1] < 0.5, -1.0, 1.0) * fault.number("size"), 0.0)


def _as_it_is(fault: _Active, tag: str, values: Values, plant_ns: int) -> Values:
    return values


_EFFECTS: Mapping[str, Effect] = {
    "stuck": _stuck,
    "drift": _drift,
    "noise": _noise,
    "offset": _offset,
    "gain": _gain,
    "dropout": _nothing,
    "spikes": _spikes,
    "bad_quality": _nothing,
    "uncertain_quality": _as_it_is,
}


def _random(fault: _Active, tag: str, count: int) -> np.random.Generator:
    """Counter-based generator (Philox: Salmon et al., SC11): the numbers of a moment need no moment before it.

    The generator itself counts in the lowest word; moments lie in the next one, or their numbers would overlap.
    """
    key = np.array([fault.seed, crc32(tag.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, count, 0, 0], dtype=np.uint64)))
