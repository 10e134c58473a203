"""What can be wrong with a device's own clock, and where the tags of an equipment type carry it.

A device's time is in the stamps of its server (OPC UA source time) and in clock tags (Modbus): both go wrong alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from configs.schema import Equipment
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.machine import Values
from simulators.timebase import NS_PER_S

Times = NDArray[np.int64]
Clock = Callable[[Times], Times]

_NS_PER_MS = 1_000_000

CLOCK_FAULTS: Mapping[str, FaultKind] = {
    "clock_jump": FaultKind("The device's clock is wrong by a constant", {"by_s": FaultSetting("Ahead of true", "s")}),
    "clock_skew": FaultKind(
        "The device's clock runs fast (or slow); right again at the end",
        {"ppm": FaultSetting("Too fast by so many millionths", "1e-6")},
    ),
    "duplicate_stamps": FaultKind(
        "The device's clock moves on in steps: several scans carry the same time",
        {"step_s": FaultSetting("Length of a step", "s", 60.0)},
    ),
}


def _jump(settings: Settings, begin_ns: int) -> Clock:
    by_ns = round(float(settings["by_s"]) * NS_PER_S)
    return lambda time_ns: time_ns + by_ns


def _skew(settings: Settings, begin_ns: int) -> Clock:
    ppm = float(settings["ppm"])
    # In whole parts in a million of nanoseconds: float64 would round a time since 1970 to a quarter of a microsecond.
    return lambda time_ns: time_ns + np.rint((time_ns - begin_ns) * (ppm * 1e-6)).astype(np.int64)


def _steps(settings: Settings, begin_ns: int) -> Clock:
    step_ns = max(1, round(float(settings["step_s"]) * NS_PER_S))
    return lambda time_ns: begin_ns + (time_ns - begin_ns) // step_ns * step_ns


CLOCK_EFFECTS: Mapping[str, Callable[[Settings, int], Clock]] = {
    "clock_jump": _jump,
    "clock_skew": _skew,
    "duplicate_stamps": _steps,
}


def read_clocks(equipment: Equipment, values: Mapping[str, Values]) -> dict[str, Times]:
    """The device's own times (ns) by the tag of their whole seconds; only of tags that show a number."""
    found: dict[str, Times] = {}
    for group in equipment.group:
        if group.clock is None or not np.isfinite(values[group.clock.seconds]).all():
            continue
        time_ns = np.rint(values[group.clock.seconds]).astype(np.int64) * NS_PER_S
        if group.clock.milliseconds is not None:
            time_ns += np.rint(np.nan_to_num(values[group.clock.milliseconds])).astype(np.int64) * _NS_PER_MS
        found[group.clock.seconds] = time_ns
    return found


def write_clocks(equipment: Equipment, values: dict[str, Values], times: Mapping[str, Times]) -> None:
    """Put times (ns) into the clock tags of `values`."""
    for group in equipment.group:
        if group.clock is None or group.clock.seconds not in times:
            continue
        time_ns = times[group.clock.seconds]
        values[group.clock.seconds] = (time_ns // NS_PER_S).astype(np.float64)
        if group.clock.milliseconds is not None:
            values[group.clock.milliseconds] = (time_ns % NS_PER_S // _NS_PER_MS).astype(np.float64)
