"""What the simulated coater is built like: dimensions, slurry, time constants, size of its disturbances.

Data and its check only. A line file may set any of these under [simulation.machines.<device>], but for the numbers of
zones and lanes, which are those of the equipment type. Sources and measured effects: docs/plants/coater.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

STEP_S = 1.0
"""Inner step. The web moves 0.1 m in it at demo speed, a hundredth of a scan of the gauge."""

CELL_M = 0.5
"""Length of the cells of web that dry as one; two of them are a metre with its history."""

SOLVENTS = ("nmp", "water")
_OF_THE_EQUIPMENT = ("zones", "lanes")
_MAY_BE_ZERO = {
    "disturbance",
    "zone_coupling",
    "gauge_noise_fraction",
    "gauge_drift_fraction",
    "standardise_every_s",
    "foil_roll_m",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaterParameters:
    """One coater. SI units but for temperatures in degrees Celsius, as on the machine's panel."""

    zones: int = 4
    lanes: int = 24

    width_m: float = 0.30
    die_to_wet_gauge_m: float = 0.6
    die_to_dryer_m: float = 1.0
    zone_length_m: float = 4.0
    dryer_to_gauge_m: float = 2.0

    # Density and solids are those of the demo's recipe, 0.169 kg/m2 at 0.1 m/s and 3.25 mL/s. They are free of each
    # other: a slurry of 65 % NMC by mass would rather have 2.0 g/mL.
    solvent: str = "nmp"
    slurry_density_kg_m3: float = 2400.0
    solids_fraction: float = 0.65
    # Cathode slurries: 1 to 10 Pa s at the shear rates of a slot die.
    viscosity_pa_s: float = 3.0
    batch_l: float = 30.0
    # Stirred vessel between batch and pump: a new batch comes by and by.
    feed_vessel_l: float = 5.0

    web_acceleration_m_s2: float = 0.005
    web_lag_s: float = 2.0
    # Hose and manifold give way under pressure; the lag grows with the viscosity.
    pump_lag_s: float = 4.0
    # A suck-back valve ends the bead much faster than the pump would.
    shut_off_lag_s: float = 1.0
    die_gap_m: float = 150e-6
    die_slot_m: float = 0.5e-3
    die_land_m: float = 0.03

    foil_thickness_m: float = 15e-6
    foil_modulus_pa: float = 70e9
    foil_roll_m: float = 6000.0  # 0: endless
    core_radius_m: float = 0.076
    unwind_m: float = 3.0
    rewind_m: float = 3.0
    tension_n: float = 30.0  # 100 N per metre of width

    zone_lag_s: float = 240.0
    # Share of the temperature difference to a neighbour that leaks over within one zone_lag_s.
    zone_coupling: float = 0.02
    ambient_c: float = 23.0
    # Start waits until every zone is this close to its set-point.
    zone_ready_k: float = 3.0
    zone_air_m3: float = 1.5
    zone_heat_j_k: float = 40_000.0
    wall_loss_w_k: float = 25.0
    exhaust_m3_s: float = 0.25
    fan_power_w: float = 1500.0
    # Rolls, pump, slurry vessel, gauges; and controls. Assumed: small beside the dryer.
    drives_w: float = 3000.0
    standby_w: float = 800.0
    # With analysers that watch all the time NFPA 86 and EN 1539 allow half of the limit, without them a quarter.
    lel_trip_fraction: float = 0.4
    lel_reset_fraction: float = 0.25

    # Slot nozzles at full air flow; falls with the flow to the power 2/3.
    heat_transfer_w_m2_k: float = 65.0
    # Solvent per dry mass at which drying turns from evaporation-limited to diffusion-limited.
    critical_solvent_fraction: float = 0.40
    binder_m2_s: float = 1e-10
    binder_lock_fraction: float = 0.10

    scan_duration_s: float = 96.0
    gauge_noise_fraction: float = 0.005
    wet_gauge_noise_fraction: float = 0.01
    # Standard deviation that a gauge wanders off in an hour; standardising takes it back to zero.
    gauge_drift_fraction: float = 0.001
    standardise_every_s: float = 3600.0  # 0: never
    standardise_s: float = 30.0

    # Scales every random disturbance of the process and the instruments; 0 gives the undisturbed machine.
    disturbance: float = 1.0

    @property
    def dryer_exit_m(self) -> float:
        """Web path from the die to the end of the last zone."""
        return self.die_to_dryer_m + self.zones * self.zone_length_m

    @property
    def gauge_distance_m(self) -> float:
        """Web path from the die to the gauge."""
        return self.dryer_exit_m + self.dryer_to_gauge_m

    @classmethod
    def of(cls, settings: Mapping[str, int | float | str | bool], zones: int = 4, lanes: int = 24) -> CoaterParameters:
        """Defaults with `settings` over them. Raises ValueError that lists what is unknown or out of place."""
        known = [f.name for f in fields(cls) if f.name not in _OF_THE_EQUIPMENT]
        wrong = [f"'{key}' is no parameter of the coater" for key in settings if key not in known]
        for key, value in settings.items():
            if key in known and (fault := _fault_of(key, value)):
                wrong.append(fault)
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}. Known: {', '.join(known)}")
        numbers = {key: value if isinstance(value, str) else float(value) for key, value in settings.items()}
        return cls(zones=zones, lanes=lanes, **numbers)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, float | int | str]:
        """All values by name."""
        return asdict(self)


def _fault_of(key: str, value: int | float | str | bool) -> str | None:
    """What is wrong with one setting, None where nothing is."""
    if key == "solvent":
        return None if value in SOLVENTS else f"solvent is one of {', '.join(SOLVENTS)}, not {value!r}"
    if isinstance(value, bool | str):
        return f"{key} is a number, not {value!r}"
    if value < 0 or (value == 0 and key not in _MAY_BE_ZERO):
        return f"{key} must be above 0, not {value:g}"
    if key == "solids_fraction" and value >= 1:
        return f"solids_fraction must be below 1, not {value:g}"
    return None
