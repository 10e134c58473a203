"""What the simulated coater is built like: dimensions, slurry, time constants, size of its disturbances.

Data and its check only. A line file may set any of these under [simulation.machines.<device>].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

LANES = 24
ZONES = 4
STEP_S = 1.0
"""Inner step. The web moves 0.1 m in it at demo speed, a hundredth of a scan of the gauge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaterParameters:
    """One coater. SI units but for temperatures in degrees Celsius, as on the machine's panel."""

    width_m: float = 0.30
    die_to_dryer_m: float = 1.0
    zone_length_m: float = 4.0
    dryer_to_gauge_m: float = 2.0

    slurry_density_kg_m3: float = 2400.0
    solids_fraction: float = 0.65

    web_acceleration_m_s2: float = 0.005
    web_lag_s: float = 2.0
    pump_lag_s: float = 4.0
    # A suck-back valve ends the bead much faster than the pump would.
    shut_off_lag_s: float = 1.0

    zone_lag_s: float = 240.0
    # Share of the temperature difference to a neighbour that leaks over within one zone_lag_s.
    zone_coupling: float = 0.02
    ambient_c: float = 23.0
    # Start waits until every zone is this close to its set-point.
    zone_ready_k: float = 3.0

    heat_transfer_w_m2_k: float = 48.0
    # Solvent per dry mass at which drying turns from evaporation-limited to diffusion-limited.
    critical_solvent_fraction: float = 0.25

    scan_duration_s: float = 96.0
    gauge_noise_fraction: float = 0.005

    # Scales every random disturbance of the process and the instruments; 0 gives the undisturbed machine.
    disturbance: float = 1.0

    @property
    def gauge_distance_m(self) -> float:
        """Web path from the die to the gauge."""
        return self.die_to_dryer_m + ZONES * self.zone_length_m + self.dryer_to_gauge_m

    @classmethod
    def of(cls, settings: Mapping[str, int | float | str | bool]) -> CoaterParameters:
        """Defaults with `settings` over them. Raises ValueError that lists what is unknown or out of place."""
        known = [f.name for f in fields(cls)]
        wrong = [f"'{key}' is no parameter of the coater" for key in settings if key not in known]
        for key, value in settings.items():
            if key not in known:
                continue
            if isinstance(value, bool | str):
                wrong.append(f"{key} is a number, not {value!r}")
            elif value < 0 or (value == 0 and key not in {"disturbance", "zone_coupling", "gauge_noise_fraction"}):
                wrong.append(f"{key} must be above 0, not {value:g}")
            elif key == "solids_fraction" and value >= 1:
                wrong.append(f"solids_fraction must be below 1, not {value:g}")
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}. Known: {', '.join(known)}")
        return cls(**{key: float(value) for key, value in settings.items()})

    def as_dict(self) -> dict[str, float]:
        """All values by name."""
        return asdict(self)
