"""The air of a dryer's zones over one step: solvent that comes in evenly and leaves with the exhaust, and power.

No classes, no I/O. Each zone is well mixed; V dc/dt = evaporated - exhaust c is solved exactly, so that what came in is
what stays and what left. Of the family of kernels/drying.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

Array = NDArray[np.float64]

_ATMOSPHERE_PA, _GAS_J_MOL_K, _ZERO_C_K = 101_325.0, 8.314462618, 273.15
_AIR_J_KG_K, _AIR_KG_K_M3 = 1006.0, 353.0  # density of air is 353 / T at one atmosphere
# The explosive limit falls with temperature (modified Burgess-Wheeler law: Zabetakis, Bureau of Mines Bulletin 627).
_LEL_PER_K = 0.00078
# Rows of the table of zones.
AIR_C, WARMING_K_S, FLOW, EXHAUST_M3_S, HEATER, FAN, VAPOUR_KG, AIR_KG_M3, LEL, POWER_W = range(10)
ROWS = 10
# What all zones have in common.
ROOM_C, VOLUME_M3, WALL_W_K, HEAT_J_K, FAN_W, MOLAR_KG, LEL_FRACTION = range(7)


@kernel
def lel_share(air_kg_m3: float, air_c: float, molar_kg: float, lel_fraction: float) -> float:
    """Solvent in the air over its lower explosive limit (`lel_fraction` at 25 C); 0 for what does not burn."""
    if lel_fraction <= 0.0:
        return 0.0
    share = air_kg_m3 * _GAS_J_MOL_K * (air_c + _ZERO_C_K) / (molar_kg * _ATMOSPHERE_PA)
    return float(share / (lel_fraction * (1.0 - _LEL_PER_K * (air_c - 25.0))))


@kernel
def air_step(
    zones: Array, common: Array, seconds: float, evaporated_kg: Array, web_j: Array
) -> tuple[float, float, float, float]:
    """Moves vapour, gas and power of all zones on.

    Returns solvent exhausted and taken up (kg), power of all (W) and the highest share of the explosive limit.

    `zones`: a row for each quantity, of which AIR_C to FAN are inputs (HEATER and FAN 1 where they run, else 0).
    """
    exhausted = taken_up = total_w = highest = 0.0
    for z in range(zones.shape[1]):
        exhaust, air_c = zones[EXHAUST_M3_S, z], zones[AIR_C, z]
        turns = exhaust / common[VOLUME_M3] * seconds
        keep = math.exp(-turns)
        before, came = zones[VAPOUR_KG, z], evaporated_kg[z]
        after = before + came
        if turns > 0.0:
            after = before * keep + came / turns * (1.0 - keep)
        taken_up += came
        exhausted += before + came - after
        zones[VAPOUR_KG, z] = after
        zones[AIR_KG_M3, z] = after / common[VOLUME_M3]
        zones[LEL, z] = lel_share(zones[AIR_KG_M3, z], air_c, common[MOLAR_KG], common[LEL_FRACTION])
        highest = max(highest, zones[LEL, z])
        makeup = exhaust * _AIR_KG_K_M3 / (air_c + _ZERO_C_K) * _AIR_J_KG_K
        heat = (makeup + common[WALL_W_K]) * (air_c - common[ROOM_C]) + web_j[z] / seconds
        heat += common[HEAT_J_K] * zones[WARMING_K_S, z]
        zones[POWER_W, z] = zones[HEATER, z] * max(0.0, heat) + zones[FAN, z] * common[FAN_W] * zones[FLOW, z] ** 3
        total_w += zones[POWER_W, z]
    return exhausted, taken_up, total_w, highest


def warm_up() -> None:
    """Compiles the kernels."""
    lel_share(0.01, 20.0, 0.1, 0.013)
    air_step(np.ones((ROWS, 2)), np.ones(7), 1.0, np.zeros(2), np.zeros(2))
