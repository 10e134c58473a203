"""Solvents and webs as the drying kernel wants them, and closed forms of drying to hold it against. Pure, SI units.

Constant-rate drying down to a critical solvent content, then a rate that falls in proportion to what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from kernels.drying import vapour_kg_m3
from simulators.machines.coater_parameters import CoaterParameters

Array = NDArray[np.float64]

FOIL_KG_M3, FOIL_J_KG_K = 2700.0, 897.0  # aluminium
DRY_J_KG_K = 900.0  # NMC with carbon and PVDF, within 800 to 1000
_ROOM_W_M2_K = 5.0  # free convection on a moving web
# rho * cp of warm air; times Le^(2/3) it turns a heat into a mass transfer coefficient (Lewis analogy).
_AIR_J_M3_K = 1_000.0


@dataclass(frozen=True, slots=True)
class Solvent:
    """What evaporates."""

    molar_kg: float
    boiling_k: float
    evaporation_j_kg: float
    liquid_kg_m3: float
    liquid_j_kg_k: float
    lewis: float  # of its vapour in warm air
    lel_fraction: float | None  # lower explosive limit at 25 C, volume per volume; None: does not burn


SOLVENTS: Mapping[str, Solvent] = MappingProxyType(
    {
        # CAS 872-50-4: boils at 202 C; 0.3 to 0.4 hPa at 20 C and an explosive limit of 1.3 % by volume in data sheets.
        # One enthalpy of evaporation joins the two points of vapour pressure; it lies between those measured at room
        # temperature and at boiling.
        "nmp": Solvent(0.09913, 475.15, 50_000.0 / 0.09913, 1028.0, 1_770.0, 2.5, 0.013),
        # CAS 7732-18-5: the enthalpy near 50 C, which joins 23 hPa at 20 C to the boiling point.
        "water": Solvent(0.018015, 373.15, 2.38e6, 998.0, 4_180.0, 0.87, None),
    }
)


def solvent_row(solvent: Solvent) -> Array:
    """The kernel's row for a solvent."""
    lewis = _AIR_J_M3_K * solvent.lewis ** (2.0 / 3.0)
    s = solvent
    return np.array([s.molar_kg, s.boiling_k, s.evaporation_j_kg, s.liquid_kg_m3, s.liquid_j_kg_k, lewis])


def web_row(p: CoaterParameters) -> Array:
    """The kernel's row for foil and coating."""
    foil = p.foil_thickness_m * FOIL_KG_M3 * FOIL_J_KG_K
    film = [p.critical_solvent_fraction, p.slurry_density_kg_m3, p.binder_m2_s, p.binder_lock_fraction]
    return np.array([foil, DRY_J_KG_K, *film, p.ambient_c, _ROOM_W_M2_K])


def wet_film(air_c: float, h_w_m2_k: float, row: Array, air_kg_m3: float = 0.0) -> tuple[float, float]:
    """Steady temperature (C) of a wet film and its evaporation rate (kg/m2/s) in air with `air_kg_m3` of solvent.

    Air heats both sides of the web; one side evaporates. Heat in = heat of evaporation, solved by bisection.
    """
    mass_transfer_m_s = h_w_m2_k / row[5]
    low, high = -70.0, air_c
    film = rate = 0.0
    for _ in range(60):
        film = 0.5 * (low + high)
        rate = mass_transfer_m_s * max(0.0, vapour_kg_m3(film, row) - air_kg_m3)
        if rate * row[2] > 2.0 * h_w_m2_k * (air_c - film):
            high = film
        else:
            low = film
    return film, rate


def dry(solvent: Array, critical: Array, dose: Array) -> Array:
    """Solvent left (kg/m2) after a `dose` of drying at a held web temperature: constant rate times time, kg/m2.

    Nothing evaporates where `critical` (kg/m2) is 0: there is no coating.
    """
    coated = critical > 0.0
    falling = np.maximum(dose - np.maximum(solvent - critical, 0.0), 0.0)
    decay = np.exp(-falling / np.where(coated, critical, 1.0))
    return np.asarray(np.where(coated, (solvent - (dose - falling)) * decay, solvent), dtype=np.float64)
