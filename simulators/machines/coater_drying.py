"""Evaporation of NMP from a thin coating in hot air: rate, film temperature, and what a dose of drying leaves.

Constant-rate drying down to a critical solvent content, then a rate that falls in proportion to what is left (the
characteristic drying curve; first-order falling rate). Pure functions on floats and arrays, SI units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAS_J_MOL_K = 8.314462618
# N-methyl-2-pyrrolidone (CAS 872-50-4): boils at 202 C; vapour pressure 0.3 to 0.4 hPa at 20 C in data sheets. One
# enthalpy of evaporation joins the two points; it lies between the measured ones at room temperature and at boiling.
NMP_KG_MOL = 0.09913
NMP_BOILING_K = 475.15
NMP_EVAPORATION_J_MOL = 50_000.0
NMP_EVAPORATION_J_KG = NMP_EVAPORATION_J_MOL / NMP_KG_MOL
ATMOSPHERE_PA = 101_325.0
ZERO_C_K = 273.15
# Lewis analogy: rho * cp * Le^(2/3) of warm air with NMP diffusing in it, Le about 2.5.
_AIR_J_M3_K = 1_000.0 * 2.5 ** (2.0 / 3.0)


def vapour_pressure_pa(temperature_k: Array) -> Array:
    """Clausius and Clapeyron down from the boiling point."""
    exponent = NMP_EVAPORATION_J_MOL / GAS_J_MOL_K * (1.0 / NMP_BOILING_K - 1.0 / temperature_k)
    return np.asarray(ATMOSPHERE_PA * np.exp(exponent), dtype=np.float64)


def wet_film(air_k: Array, heat_transfer_w_m2_k: float) -> tuple[Array, Array]:
    """Steady temperature (K) of a wet film and its evaporation rate (kg/m2/s) in solvent-free air of `air_k`.

    Air heats both sides of the web; one side evaporates. Heat in = heat of evaporation, solved by bisection.
    """
    mass_transfer_m_s = heat_transfer_w_m2_k / _AIR_J_M3_K
    low, high = np.full_like(air_k, 200.0), air_k.astype(np.float64)
    for _ in range(60):
        film = 0.5 * (low + high)
        rate = _flux(film, mass_transfer_m_s)
        too_hot = rate * NMP_EVAPORATION_J_KG > 2.0 * heat_transfer_w_m2_k * (air_k - film)
        high = np.where(too_hot, film, high)
        low = np.where(too_hot, low, film)
    film = 0.5 * (low + high)
    return film, _flux(film, mass_transfer_m_s)


def _flux(film_k: Array, mass_transfer_m_s: float) -> Array:
    concentration = vapour_pressure_pa(film_k) * NMP_KG_MOL / (GAS_J_MOL_K * film_k)
    return np.asarray(mass_transfer_m_s * concentration, dtype=np.float64)


def dry(solvent: Array, critical: Array, dose: Array) -> Array:
    """Solvent left (kg/m2) after a `dose` of drying: constant rate times time, summed over the zones on the way, kg/m2.

    Exact for any dose, also across zones: both periods depend on rate and time through their product alone. Nothing
    evaporates where `critical` (kg/m2) is 0: there is no coating.
    """
    coated = critical > 0.0
    falling = np.maximum(dose - np.maximum(solvent - critical, 0.0), 0.0)
    decay = np.exp(-falling / np.where(coated, critical, 1.0))
    return np.asarray(np.where(coated, (solvent - (dose - falling)) * decay, solvent), dtype=np.float64)
