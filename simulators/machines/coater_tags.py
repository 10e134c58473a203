"""The coater's tags: what its parts show, and what is true of them.

No physics and no sequence; a tag that the equipment type does not have is shown to nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simulators.machine import Values
from simulators.machines.coater_zones import J_PER_KWH
from simulators.machines.packml import packml

if TYPE_CHECKING:
    from simulators.machines.coater import Coater

SCALARS = {
    "web_speed_sp_m_s": "speed_m_s",
    "pump_rate_sp_ml_s": "pump_ml_s",
    "length_sp_m": "length_m",
}
ZONE_LISTS = {
    "zone_temperature_sp_c": "zone_c",
    "zone_air_flow_sp_fraction": "flow",
    "zone_exhaust_sp_m3_s": "exhaust_m3_s",
}
SETPOINTS = frozenset(SCALARS) | frozenset(ZONE_LISTS)
NOISE = 6
"""Instruments that `readings` wants a unit normal number for, besides one per zone."""


def readings(machine: Coater, noise: list[float], zone_noise: list[float]) -> dict[str, Values]:
    """Every tag; NaN where an instrument has nothing to see. Unit normal numbers: NOISE, and one per zone."""
    web, gauge, wet, control = machine.web, machine.gauge, machine.wet_gauge, machine.control
    dryer, air, tension, setpoints = machine.dryer, machine.air, machine.tension, machine.setpoints
    size = machine.parameters.disturbance
    numbers = {
        "coater_state": control.state,
        "web_speed_m_s": web.measured_speed_m_s,
        "web_position_m": web.position_m,
        "pump_rate_ml_s": web.measured_flow_ml_s,
        "gauge_mass_loading_kg_m2": gauge.loading_kg_m2,
        "gauge_cross_position_m": gauge.cross_position_m,
        "gauge_web_position_m": gauge.web_position_m,
        "residual_solvent_fraction": dryer.residual_fraction * (1.0 + 0.01 * size * noise[0]),
        "web_temperature_c": dryer.web_c + 0.1 * size * noise[1],
        "scan_number": gauge.scans,
        "wet_gauge_mass_loading_kg_m2": wet.loading_kg_m2,
        "wet_gauge_cross_position_m": wet.cross_position_m,
        "slurry_batch": web.slurry.batch,
        "slurry_viscosity_pa_s": web.slurry.viscosity_pa_s * (1.0 + 0.01 * size * noise[2]),
        "die_pressure_pa": web.pressure_pa * (1.0 + 0.003 * size * noise[3]),
        "foil_left_m": tension.roll_m if machine.parameters.foil_roll_m > 0.0 else math.nan,
        "splice_count": machine.splice_count,
        "coater_remote": 0 if control.local else 1,
        "coater_alarms": int(control.alarms),
        "coater_energy_kw_h": air.energy_j / J_PER_KWH,
        "unit_state": packml(control.state),
        "unit_power_w": machine.power_w,
        "unit_energy_kwh": machine.energy_j / J_PER_KWH,
        "dryer_unit_state": packml(machine.dryer_state),
        "dryer_power_w": float(air.power_w.sum()),
        "coater_command": control.port.word,
        "coater_command_seq": control.port.sequence,
        "coater_command_seq_ack": control.port.acknowledged,
        "coater_command_result": control.port.result,
        "coater_heartbeat": control.beat.value,
        "coater_heartbeat_timeout_s": control.beat.timeout_s,
    }
    for span, newton in zip(("unwind", "dryer", "rewind"), tension.measured_n, strict=True):
        numbers[f"{span}_tension_n"] = newton
    for tag, name in SCALARS.items():
        numbers[tag] = getattr(setpoints, name)
    found = {name: np.array([value], dtype=np.float64) for name, value in numbers.items()}
    for tag, name in ZONE_LISTS.items():
        found[tag] = np.array(getattr(setpoints, name))
    spread = np.array(zone_noise) * size
    found["zone_temperature_c"] = np.array(machine.heaters.air_c)
    found["zone_air_flow_fraction"] = air.flow.copy()
    found["zone_exhaust_m3_s"] = air.exhaust_m3_s.copy()
    found["zone_lel_fraction"] = air.lel * (1.0 + 0.02 * spread)
    found["zone_web_temperature_c"] = np.array(dryer.zone_web_c()) + 0.3 * spread
    found["zone_power_w"] = air.power_w.copy()
    found["lane_mass_loading_kg_m2"] = gauge.profile_kg_m2
    if not control.powered:
        return {name: np.full(values.shape, math.nan) for name, values in found.items()}
    return found


def truths(machine: Coater) -> Mapping[str, Values]:
    """Per lane: what the die lays down now (0 while it coats nothing), where, and what is true of the whole web."""
    web, dryer, p = machine.web, machine.dryer, machine.parameters
    loading = web.profile(web.last) if web.last is not None else np.zeros(p.lanes)
    wet_m = web.flow_ml_s * 1e-6 / (web.speed_m_s * p.width_m) if web.speed_m_s > 0.0 else 0.0
    whole = {
        "web_position_m": web.position_m,
        "web_speed_m_s": web.speed_m_s,
        "pump_rate_ml_s": web.flow_ml_s,
        "wet_film_thickness_m": wet_m,
        "residual_solvent_fraction": dryer.residual_fraction,
        "coated_m": machine.control.coated_m,
        "slurry_batch": web.slurry.batch,
        "solids_fraction": web.slurry.solids_fraction,
        "viscosity_pa_s": web.slurry.viscosity_pa_s,
        "dryer_tension_n": machine.tension.tension_n[1],
        "gauge_error_fraction": machine.gauge.drift,
        "gauge_offset_kg_m2": machine.gauge.offset_kg_m2,
        "binder_index": dryer.binder_index,
        "slurry_kg": web.slurry_kg,
        "solvent_in_kg": dryer.solvent_in_kg,
        "evaporated_kg": dryer.evaporated_kg,
        "exhausted_kg": machine.air.exhausted_kg,
        "solvent_out_kg": dryer.solvent_out_kg,
        "unit_state": packml(machine.control.state),
        "power_w": machine.power_w,
        "energy_kwh": machine.energy_j / J_PER_KWH,
        "dryer_energy_kwh": machine.air.energy_j / J_PER_KWH,
        "highest_lel_fraction": machine.air.highest_lel,
    }
    rows: dict[str, Values] = {"point": np.arange(1.0, p.lanes + 1.0), "mass_loading_kg_m2": loading}
    return rows | {name: np.full(p.lanes, value, dtype=np.float64) for name, value in whole.items()}
