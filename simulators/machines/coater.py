"""Slot-die coater with a zoned dryer and scanning gauges: binds sequence and physics to the tags of its type.

No protocol and no wall clock. Inner steps lie on a grid of plant time, so that the outputs do not depend on how
`advance` is called. Dryer zones and lanes are as many as the equipment type has.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from configs.schema import Equipment
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.machines.coater_control import CoaterControl, Setpoints, Sight
from simulators.machines.coater_dryer import DriedCell, Dryer, Part
from simulators.machines.coater_faults import FAULTS, apply
from simulators.machines.coater_gauge import ScanningGauge
from simulators.machines.coater_history import AtTheDie, MetreLog
from simulators.machines.coater_noise import Normals
from simulators.machines.coater_parameters import STEP_S, CoaterParameters
from simulators.machines.coater_sequence import HEATED, State
from simulators.machines.coater_tags import NOISE, SCALARS, SETPOINTS, ZONE_LISTS, readings, truths
from simulators.machines.coater_tension import SPANS, Tension
from simulators.machines.coater_web import NORMALS, CoaterWeb
from simulators.machines.coater_zones import Heaters, ZoneAir
from simulators.machines.packml import Dryer as DryerState
from simulators.machines.plc_writes import checked

_STEP_NS = round(STEP_S * 1e9)
# Fans run on until the dryer is no warmer than this above the room.
_PURGED_K = 20.0
# Unit normal numbers a step: in the first stream those of process, zones, and two instruments and the gauge; in the
# second those of all that came later, so that it changed nothing of the first.
_FIRST_TAIL = 3
_WANDER, _WET, _WET_WANDER = range(3)
_SPAN, _ZONE = 3 + NOISE, 3 + NOISE + len(SPANS)


class Coater:
    """The Machine. Parameters: those of CoaterParameters. What can break in it: `faults`."""

    scan_s = 10.0
    truth_period_s = 100.0
    faults: Mapping[str, FaultKind] = FAULTS

    def __init__(
        self,
        equipment: Equipment,
        start_ns: int,
        seed: int,
        parameters: Mapping[str, int | float | str | bool] | None = None,
    ) -> None:
        """A cold machine at plant time `start_ns`, idle. Raises ValueError for an unknown parameter."""
        zones, lanes = (_points(equipment, tag) for tag in ("zone_temperature_sp_c", "lane_mass_loading_kg_m2"))
        self.parameters = p = CoaterParameters.of(parameters or {}, zones, lanes)
        self._equipment = equipment
        self._done = start_ns // _STEP_NS
        rng = np.random.default_rng([seed, 0xC0A0])
        self._normals = Normals(seed, NORMALS + zones + _FIRST_TAIL)
        self._more = Normals(seed, _ZONE + zones, 0xC0A8)
        self._row = [0.0] * (_ZONE + zones)
        self.web = CoaterWeb(p, rng, np.random.default_rng([seed, 0xBA7C]))
        self.heaters = Heaters(p, rng.standard_normal(zones).tolist())
        self.air = ZoneAir(p)
        self.metres = MetreLog(p)
        self.dryer = Dryer(p, self._on_cell, self._on_dried)
        self.gauge = ScanningGauge(p)
        self.wet_gauge = ScanningGauge(p, wet=True)
        self.tension = Tension(p)
        self.setpoints = Setpoints.cold(p)
        self.control = CoaterControl(p)
        self.splice_count = 0
        self.power_w = self.energy_j = 0.0  # of dryer, drives and controls
        self._pending: list[tuple[str, list[float]]] = []

    def advance(self, until_ns: int) -> None:
        """Every inner step that ends at or before `until_ns`; writes since the last call act first."""
        last = until_ns // _STEP_NS
        if last > self._done:
            for tag, values in self._pending:
                self._take(tag, values)
            self._pending.clear()
        while self._done < last:
            self._done += 1
            self._step()

    def _step(self) -> None:
        normal, more = self._normals.row(), self._more.row()
        control, setpoints, web, air = self.control, self.setpoints, self.web, self.air
        zones = len(setpoints.zone_c)
        control.step(setpoints, self._sight())
        web.quick_stop = control.state is State.ABORTED
        segment = web.step(control.speed_target_m_s, control.pump_target_ml_s, normal)
        if segment is not None and control.pump_on:
            control.coated_m += segment.length_m
        self.tension.step(web.speed_m_s, 0.0 if segment is None else segment.length_m, more[_SPAN:_ZONE])
        if self.parameters.foil_roll_m > 0.0 and self.tension.roll_m <= 0.0:
            self.splice(1.0)
        heating = control.heating
        self.heaters.step(setpoints.zone_c if heating else None, normal[NORMALS : NORMALS + zones])
        warm = max(self.heaters.air_c) > self.parameters.ambient_c + _PURGED_K
        fans = control.powered and (control.state in HEATED or warm)
        air.blow(setpoints.flow, setpoints.exhaust_m3_s, fans)
        self.dryer.step(segment, self.heaters.air_c, air)
        air.step(self.heaters, self.dryer.evaporated_step_kg, self.dryer.heat_step_j, heating, fans)
        if control.powered:
            drives_w = self.parameters.drives_w if web.speed_m_s > 0.0 else 0.0
            self.power_w = float(air.power_w.sum()) + drives_w + self.parameters.standby_w
            self.energy_j += self.power_w * STEP_S
        residual = self.dryer.residual_at(web.position_m - self.parameters.gauge_distance_m)
        self.gauge.step(web, normal[-1], more[_WANDER], residual)
        self.wet_gauge.step(web, more[_WET], more[_WET_WANDER])
        more[3:5] = normal[-3:-1]
        self._row = more

    def _sight(self) -> Sight:
        web, heaters, zone_c = self.web, self.heaters, self.setpoints.zone_c
        held = [t / self.parameters.tension_n for t in self.tension.tension_n]
        cold_k = max([s - a for s, a in zip(zone_c, heaters.air_c, strict=True)])
        gas = self.air.highest_lel
        fans = all(self.air.fan_works)
        ready = self.control.state is State.STARTING and heaters.ready(zone_c)
        return Sight(web.speed_m_s, web.position_m, ready, gas, held, cold_k, fans)

    @property
    def dryer_state(self) -> DryerState:
        """What the dryer does, as the coater's sequence and its zones have it."""
        if self.control.state is State.ABORTED:
            return DryerState.TRIPPED
        if self.control.interlocked:
            return DryerState.INTERLOCKED
        if self.control.heating:
            return DryerState.HOT if self.heaters.ready(self.setpoints.zone_c) else DryerState.HEATING
        warm = max(self.heaters.air_c) > self.parameters.ambient_c + _PURGED_K
        return DryerState.COOLING if warm else DryerState.OFF

    def splice(self, speed_fraction: float) -> None:
        """A splice is at the die; the machine may slow down until it has passed the gauge."""
        self.splice_count += 1
        self.web.splice()
        self.tension.splice()
        if speed_fraction < 1.0:
            self.control.slow_down(speed_fraction, self.web.position_m + self.parameters.gauge_distance_m + 1.0)

    def _on_cell(self, number: int, parts: list[Part]) -> None:
        web, setpoints = self.web, self.setpoints
        slurry = web.slurry
        die = AtTheDie(
            self._done * STEP_S,
            *(slurry.batch, slurry.solids_fraction, slurry.viscosity_pa_s, setpoints.speed_m_s, web.speed_m_s),
            *(setpoints.pump_ml_s, web.flow_ml_s, self.tension.tension_n[1], list(setpoints.zone_c)),
        )
        self.metres.coated(number, parts, web, die)

    def _on_dried(self, cell: DriedCell) -> None:
        self.metres.dried(cell, self._done * STEP_S)

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end a fault at the present plant time. Raises ValueError for what this machine cannot take."""
        apply(self, name, on, settings)

    def write(self, tag: str, values: Values) -> None:
        """Take a written tag. ValueError: unknown, read-only, too many values, not finite, out of limits, local."""
        numbers = checked(self._equipment, tag, values)
        if not self.control.powered:
            raise ValueError(f"{tag}: the machine has no power")
        if self.control.local and tag in SETPOINTS:
            raise ValueError(f"{tag}: the machine is switched to local")
        self._pending.append((tag, numbers))

    def _take(self, tag: str, numbers: list[float]) -> None:
        setpoints, control = self.setpoints, self.control
        if tag in ZONE_LISTS:
            getattr(setpoints, ZONE_LISTS[tag])[: len(numbers)] = numbers
            if tag == "zone_temperature_sp_c":
                setpoints.zones_written = setpoints.zones_written or len(numbers) == len(setpoints.zone_c)
        elif tag in SCALARS:
            setattr(setpoints, SCALARS[tag], numbers[0])
        elif tag == "coater_command":
            control.port.word = int(numbers[0])
        elif tag == "coater_command_seq":
            if control.take_sequence(int(numbers[0]), setpoints):
                self.tension.thread()
        elif tag == "coater_heartbeat":
            control.beat.take(int(numbers[0]))
        else:
            control.beat.take_timeout(int(numbers[0]))

    def outputs(self) -> Mapping[str, Values]:
        """Every tag; NaN where an instrument has nothing to see, and everywhere without power."""
        return readings(self, self._row[3 : 3 + NOISE], self._row[_ZONE:])

    def truth(self) -> Mapping[str, Values]:
        """Per lane: what the die lays down now (0 while it coats nothing), where, and what is true of the whole web."""
        return truths(self)

    def wait(self, on: bool) -> None:
        """Suspended while the line has no room for what it coats; dryer hot, web and pump stand."""
        self.control.no_room = on

    def take_slurry(self, solids_fraction: float) -> int:
        """A batch that a mixer has finished; the number that the coater gives it. Without any, chance makes them."""
        return self.web.slurry.deliver(solids_fraction)

    def finished_metres(self, reader: str = "truth") -> Mapping[str, Values]:
        """The history of every metre that left the dryer since this reader's last call; no columns when none did."""
        return self.metres.take(reader)


def _points(equipment: Equipment, tag: str) -> int:
    found = equipment.find(tag)
    if found is None:
        raise ValueError(f"equipment '{equipment.name}' is no coater: it has no tag '{tag}'")
    return found[0].points
