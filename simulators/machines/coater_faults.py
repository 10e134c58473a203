"""What can break in the coater, and what each fault does to its parts. No timetable, no instrument of the network.

A fault that names a lane or a zone counts them from 1, as the tags do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.machines.coater_sequence import Alarm

if TYPE_CHECKING:
    from simulators.machines.coater import Coater

_ZONE = FaultSetting("which zone, from 1 at the dryer's entry")

FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "die_lip_clog": FaultKind(
            "a lump sticks in the die: its lane gets less slurry, the next ones a little, all others more",
            {
                "lane": FaultSetting("which lane, from 1 at the operator side"),
                "depth_fraction": FaultSetting("share of the lane's flow that is held up, 0 to 1", "1", 0.5),
            },
        ),
        "heater_fails": FaultKind("a zone's heater gives no heat: its air cools to the room", {"zone": _ZONE}),
        "fan_fails": FaultKind("a zone's fans stop: less heat to the web, solvent gathers in the air", {"zone": _ZONE}),
        "splice": FaultKind(
            "a splice passes: bare and then heavy coating, slack web, gauges lifted",
            {"speed_fraction": FaultSetting("share of the set speed until it has passed the gauge", "1", 1.0)},
        ),
        "pump_stall": FaultKind(
            "the pump delivers too little", {"share": FaultSetting("share of the flow that is lost", "1", 1.0)}
        ),
        "gauge_drift": FaultKind(
            "the dry gauge's calibration walks off, which standardising does not see",
            {"kg_m2_per_h": FaultSetting("drift of the reading", "kg/m2/h", 0.002)},
        ),
        "web_break": FaultKind("the web tears: tension lost, drives and pump stop; reset once it is threaded again"),
        "viscosity_step": FaultKind(
            "the slurry is thicker or thinner: die pressure, lip deflection, pump lag, thinnest film",
            {"factor": FaultSetting("viscosity over that of the recipe", "1", 1.5)},
        ),
        "trip": FaultKind("the web drive's protection trips; reset once it is over"),
        "interlock": FaultKind("the gas detector gives a false alarm: heaters off, machine held"),
        "estop": FaultKind("someone presses the emergency stop; reset once it is pulled out"),
        "power_fail": FaultKind("no power: everything stops, no values; recipe and counters are kept, reset after it"),
        "local": FaultKind("someone turns the key to local: commands and set-points from outside are refused"),
    }
)


def apply(machine: Coater, name: str, on: bool, settings: Settings) -> None:
    """Begin or end one fault. Raises ValueError for an unknown name or a setting that this machine cannot take."""
    if name not in FAULTS:
        raise ValueError(f"nothing called '{name}' breaks in a coater; it has: {', '.join(FAULTS)}")
    _ACTIONS[name](machine, on, FAULTS[name].complete(name, settings))


def _number(settings: Settings, key: str, low: float, high: float) -> float:
    value = settings[key]
    if isinstance(value, str) or not low <= value <= high:
        raise ValueError(f"{key} is a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _place(settings: Settings, key: str, count: int) -> int:
    value = _number(settings, key, 1, count)
    if value != int(value):
        raise ValueError(f"{key} is a whole number from 1 to {count}, not {value:g}")
    return int(value) - 1


def _clog(machine: Coater, on: bool, settings: Settings) -> None:
    lane = _place(settings, "lane", machine.parameters.lanes)
    depth = _number(settings, "depth_fraction", 0.0, 1.0)
    machine.web.lips.clog(lane, depth if on else 0.0)


def _heater(machine: Coater, on: bool, settings: Settings) -> None:
    machine.heaters.works[_place(settings, "zone", machine.parameters.zones)] = not on


def _fan(machine: Coater, on: bool, settings: Settings) -> None:
    machine.air.fan_works[_place(settings, "zone", machine.parameters.zones)] = not on


def _splice(machine: Coater, on: bool, settings: Settings) -> None:
    share = _number(settings, "speed_fraction", 0.2, 1.0)
    if on:
        machine.splice(share)


def _stall(machine: Coater, on: bool, settings: Settings) -> None:
    share = _number(settings, "share", 0.0, 1.0)
    machine.web.pump_share = 1.0 - share if on else 1.0


def _drift(machine: Coater, on: bool, settings: Settings) -> None:
    rate = _number(settings, "kg_m2_per_h", -1.0, 1.0)
    machine.gauge.fault_kg_m2_h = rate if on else 0.0
    if not on:
        machine.gauge.offset_kg_m2 = 0.0  # it was calibrated anew


def _tear(machine: Coater, on: bool, settings: Settings) -> None:
    if on:
        machine.tension.tear()
    _trip(Alarm.WEB_TORN)(machine, on, settings)


def _viscosity(machine: Coater, on: bool, settings: Settings) -> None:
    factor = _number(settings, "factor", 0.01, 100.0)
    machine.web.slurry.viscosity_factor = factor if on else 1.0


def _false_alarm(machine: Coater, on: bool, settings: Settings) -> None:
    machine.control.false_gas_alarm = on


def _local(machine: Coater, on: bool, settings: Settings) -> None:
    machine.control.local = on


def _trip(cause: Alarm) -> Callable[[Coater, bool, Settings], None]:
    def act(machine: Coater, on: bool, settings: Settings) -> None:
        if on:
            machine.control.trip(cause)
        else:
            machine.control.over(cause)

    return act


_ACTIONS: Mapping[str, Callable[[Coater, bool, Settings], None]] = MappingProxyType(
    {
        "die_lip_clog": _clog,
        "heater_fails": _heater,
        "fan_fails": _fan,
        "splice": _splice,
        "pump_stall": _stall,
        "gauge_drift": _drift,
        "web_break": _tear,
        "viscosity_step": _viscosity,
        "trip": _trip(Alarm.DRIVE_TRIP),
        "interlock": _false_alarm,
        "estop": _trip(Alarm.EMERGENCY_STOP),
        "power_fail": _trip(Alarm.POWER_WAS_OFF),
        "local": _local,
    }
)
