"""Slot-die coater with four-zone dryer and scanning gauge: binds sequence and physics to the tags of its type.

No protocol and no wall clock. Inner steps lie on a grid of plant time, so that the outputs do not depend on how
`advance` is called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from configs.schema import Access, Equipment, Tag, ValueType
from simulators.machine import Values
from simulators.machines.coater_control import CoaterControl, Setpoints
from simulators.machines.coater_dryer import Dryer, Heaters
from simulators.machines.coater_gauge import ScanningGauge
from simulators.machines.coater_noise import Normals
from simulators.machines.coater_parameters import LANES, STEP_S, ZONES, CoaterParameters
from simulators.machines.coater_sequence import HEATED
from simulators.machines.coater_web import NORMALS, CoaterWeb

_STEP_NS = round(STEP_S * 1e9)
_WORD_MAX = {ValueType.UINT16: 65_535, ValueType.UINT32: 4_294_967_295}
_SCALARS = (
    "web_speed_sp_m_s",
    "pump_rate_sp_ml_s",
    "length_sp_m",
    "coater_command",
    "coater_command_seq",
    "coater_heartbeat",
    "coater_heartbeat_timeout_s",
)


class Coater:
    """The Machine. Parameters: those of CoaterParameters."""

    scan_s = 10.0
    truth_period_s = 100.0

    def __init__(
        self,
        equipment: Equipment,
        start_ns: int,
        seed: int,
        parameters: Mapping[str, int | float | str | bool] | None = None,
    ) -> None:
        """A cold machine at plant time `start_ns`, idle. Raises ValueError for an unknown parameter."""
        p = CoaterParameters.of(parameters or {})
        self._equipment = equipment
        self._done = start_ns // _STEP_NS
        rng = np.random.default_rng([seed, 0xC0A0])
        self._normals = Normals(seed, NORMALS + ZONES + 3)
        self.web = CoaterWeb(p, rng)
        self.heaters = Heaters(p, rng.standard_normal(ZONES).tolist())
        self.dryer = Dryer(p)
        self.gauge = ScanningGauge(p)
        self.setpoints = Setpoints()
        self.control = CoaterControl(p.gauge_distance_m)
        self._parameters = p
        self._pending: list[tuple[str, list[float]]] = []
        self._instrument = [0.0, 0.0]

    def advance(self, until_ns: int) -> None:
        """Every inner step that ends at or before `until_ns`; writes since the last call act first."""
        last = until_ns // _STEP_NS
        if last > self._done:
            for tag, values in self._pending:
                self._take(tag, values)
            self._pending.clear()
        while self._done < last:
            self._step()
            self._done += 1

    def _step(self) -> None:
        normal = self._normals.row()
        control, setpoints, web = self.control, self.setpoints, self.web
        zones_ready = self.heaters.ready(setpoints.zone_c)
        control.step(setpoints, web.speed_m_s, web.position_m, zones_ready)
        segment = web.step(control.speed_target_m_s, control.pump_target_ml_s, normal)
        if segment is not None and control.pump_on:
            control.coated_m += segment.length_m
        self.heaters.step(setpoints.zone_c if control.state in HEATED else None, normal[NORMALS : NORMALS + ZONES])
        self.dryer.step(segment, self.heaters.air_c)
        self.gauge.step(web, normal[-1])
        self._instrument = normal[-3:-1]

    def write(self, tag: str, values: Values) -> None:
        """Take a written tag. ValueError: unknown, read-only, too many values, not finite, out of limits."""
        found = self._equipment.find(tag)
        if found is None:
            raise ValueError(f"there is no tag '{tag}'")
        group, definition = found
        if definition.access is Access.READ:
            raise ValueError(f"{tag} is read-only")
        numbers = [float(v) for v in np.atleast_1d(values)]
        if not 0 < len(numbers) <= group.points:
            raise ValueError(f"{tag} takes 1 to {group.points} values, not {len(numbers)}")
        for number in numbers:
            _check(definition, number)
        self._pending.append((tag, numbers))

    def _take(self, tag: str, numbers: list[float]) -> None:
        setpoints, control = self.setpoints, self.control
        if tag == "zone_temperature_sp_c":
            setpoints.zone_c[: len(numbers)] = numbers
            setpoints.zones_written = setpoints.zones_written or len(numbers) == ZONES
        elif tag == "web_speed_sp_m_s":
            setpoints.speed_m_s = numbers[0]
        elif tag == "pump_rate_sp_ml_s":
            setpoints.pump_ml_s = numbers[0]
        elif tag == "length_sp_m":
            setpoints.length_m = numbers[0]
        elif tag == "coater_command":
            control.command_word = int(numbers[0])
        elif tag == "coater_command_seq":
            control.take_sequence(int(numbers[0]), setpoints)
        elif tag == "coater_heartbeat":
            control.take_heartbeat(int(numbers[0]))
        else:
            control.take_timeout(int(numbers[0]))

    def outputs(self) -> Mapping[str, Values]:
        """Every tag; NaN where an instrument has nothing to see."""
        web, gauge, dryer, control, setpoints = self.web, self.gauge, self.dryer, self.control, self.setpoints
        size = self._parameters.disturbance
        residual = dryer.residual_fraction * (1.0 + 0.01 * size * self._instrument[0])
        numbers = {
            "coater_state": control.state,
            "web_speed_m_s": web.measured_speed_m_s,
            "web_position_m": web.position_m,
            "pump_rate_ml_s": web.measured_flow_ml_s,
            "gauge_mass_loading_kg_m2": gauge.loading_kg_m2,
            "gauge_cross_position_m": gauge.cross_position_m,
            "gauge_web_position_m": gauge.web_position_m,
            "residual_solvent_fraction": residual,
            "web_temperature_c": dryer.web_c + 0.1 * size * self._instrument[1],
            "scan_number": gauge.scans,
            "web_speed_sp_m_s": setpoints.speed_m_s,
            "pump_rate_sp_ml_s": setpoints.pump_ml_s,
            "length_sp_m": setpoints.length_m,
            "coater_command": control.command_word,
            "coater_command_seq": control.sequence,
            "coater_command_seq_ack": control.acknowledged,
            "coater_command_result": control.result,
            "coater_heartbeat": control.heartbeat,
            "coater_heartbeat_timeout_s": control.timeout_s,
        }
        found = {name: np.array([value], dtype=np.float64) for name, value in numbers.items()}
        found["zone_temperature_c"] = np.array(self.heaters.air_c)
        found["zone_temperature_sp_c"] = np.array(setpoints.zone_c)
        found["lane_mass_loading_kg_m2"] = gauge.profile_kg_m2
        return found

    def truth(self) -> Mapping[str, Values]:
        """Per lane: what the die lays down now (0 while it coats nothing), where, and what is true of the whole web."""
        web = self.web
        loading = web.profile(web.last) if web.last is not None else np.zeros(LANES)
        wet_m = web.flow_ml_s * 1e-6 / (web.speed_m_s * self._parameters.width_m) if web.speed_m_s > 0.0 else 0.0
        whole = {
            "web_position_m": web.position_m,
            "web_speed_m_s": web.speed_m_s,
            "pump_rate_ml_s": web.flow_ml_s,
            "wet_film_thickness_m": wet_m,
            "residual_solvent_fraction": self.dryer.residual_fraction,
            "coated_m": self.control.coated_m,
        }
        rows: dict[str, Values] = {"point": np.arange(1.0, LANES + 1.0), "mass_loading_kg_m2": loading}
        return rows | {name: np.full(LANES, value) for name, value in whole.items()}


def _check(tag: Tag, number: float) -> None:
    """Raises ValueError where a PLC would refuse the number."""
    if not math.isfinite(number):
        raise ValueError(f"{tag.name} must be a finite number")
    low, high = tag.min, tag.max
    if tag.type in _WORD_MAX:
        if number != math.floor(number):
            raise ValueError(f"{tag.name} must be a whole number, not {number:g}")
        low, high = max(low or 0, 0), _WORD_MAX[tag.type] if high is None else high
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{tag.name} = {number:g} is outside {low:g} to {high:g} {tag.unit}".rstrip())
