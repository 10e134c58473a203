"""Convective drying of a thin coating on a moving web: cells of web through zones of hot air, one time step per call.

No classes, no I/O. The web is a table of cells, newest first; a cell is a point at its centre, with what lies on it per
area. Each cell's path of this step is split at the borders of the zones. Solvent is conserved: what a cell loses is
what its zone's air gains. Outside the zones the web only exchanges heat with the room.

Equations, per area of web (u solvent, m dry mass, T web temperature, a air):
    N = h / (rho cp Le^(2/3)) * f(u) * (c_sat(T) - c_a),   f = min(1, u / (X_c m))        Lewis analogy; falling rate
    (c_foil + c_dry m + c_liq u) dT/dt = 2 h (T_a - T) - L N                              both sides heated, one wet
f falls in proportion to what is left below the critical content X_c (first-order falling rate; Mujumdar, Handbook of
Industrial Drying, chapter 1). N is taken at the temperature half a step on; u and T are then exact, also across X_c.

Binder: between two walls without flux, a solute in a liquid that moves to the surface at N / rho settles at the profile
exp(Pe y), whose surface-to-mean ratio is Pe / (1 - exp(-Pe)), Pe = N H / (rho D); the slowest decay towards it has the
rate D / H^2 (pi^2 + Pe^2 / 4). The index follows both until too little liquid is left. One mode, not the full equation
of Font et al., J. Power Sources 393 (2018) 177 (arXiv:1801.01580), whose trend it shares: fast drying enriches the top.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import helper, kernel

Array = NDArray[np.float64]

GAS_J_MOL_K = 8.314462618
ZERO_C_K = 273.15
ATMOSPHERE_PA = 101_325.0

# Columns of a cell.
CENTRE_M, DRY, SOLVENT, WEB_C, BINDER, PEAK_FLUX, ID = range(7)
PER_ZONE = 7  # then, for each zone, seconds spent in it, and for each zone, air temperature times those seconds
# Rows of the solvent and of the web, see simulators/machines/coater_drying.py for values and sources.
MOLAR_KG, BOILING_K, EVAPORATION_J_KG, LIQUID_KG_M3, LIQUID_J_KG_K, AIR_J_M3_K = range(6)
FOIL_J_M2_K, DRY_J_KG_K, CRITICAL, WET_FILM_KG_M3, BINDER_M2_S, BINDER_LOCK, ROOM_C, ROOM_W_M2_K = range(8)

_LONGEST_S = 0.5  # the web's own time constant is some seconds


@kernel
def vapour_kg_m3(temperature_c: float, solvent: Array) -> float:
    """Saturated vapour: Clausius and Clapeyron down from the boiling point, ideal gas."""
    t_k = temperature_c + ZERO_C_K
    if t_k < 150.0:
        return 0.0
    molar = solvent[MOLAR_KG]
    slope = solvent[EVAPORATION_J_KG] * molar / GAS_J_MOL_K
    pressure = ATMOSPHERE_PA * math.exp(slope * (1.0 / solvent[BOILING_K] - 1.0 / t_k))
    return float(pressure * molar / (GAS_J_MOL_K * t_k))


@helper
def _dry_cell(
    cell: Array, seconds: float, air_c: float, h: float, air_kg_m3: float, solvent: Array, web: Array
) -> tuple[float, float]:
    """Moves one cell on in one zone; solvent lost (kg/m2) and heat taken up from the air (J/m2)."""
    steps = max(1, math.ceil(seconds / _LONGEST_S))
    dt = seconds / steps
    lost = heat = 0.0
    dry = cell[DRY]
    critical = web[CRITICAL] * dry
    for _ in range(steps):
        u, t_c = cell[SOLVENT], cell[WEB_C]
        stored = web[FOIL_J_M2_K] + web[DRY_J_KG_K] * dry + solvent[LIQUID_J_KG_K] * u
        flux = 0.0
        if u > 0.0 and critical > 0.0:
            transfer = h / solvent[AIR_J_M3_K]
            now = transfer * max(0.0, vapour_kg_m3(t_c, solvent) - air_kg_m3) * min(1.0, u / critical)
            halfway = t_c + 0.5 * dt * (2.0 * h * (air_c - t_c) - solvent[EVAPORATION_J_KG] * now) / (stored + h * dt)
            dose = transfer * max(0.0, vapour_kg_m3(halfway, solvent) - air_kg_m3) * dt
            falling = max(dose - max(u - critical, 0.0), 0.0)
            left = (u - (dose - falling)) * math.exp(-falling / critical)
            flux = (u - left) / dt
            lost += u - left
            cell[SOLVENT] = left
            cell[PEAK_FLUX] = max(cell[PEAK_FLUX], flux)
        settled_c = air_c - solvent[EVAPORATION_J_KG] * flux / (2.0 * h)
        decay = math.exp(-2.0 * h * dt / stored)
        warmer = settled_c + (t_c - settled_c) * decay
        # What the web stored and what evaporation took: all of it came from the air.
        heat += stored * (warmer - t_c) + solvent[EVAPORATION_J_KG] * flux * dt
        cell[WEB_C] = warmer
        if u > web[BINDER_LOCK] * dry and dry > 0.0:
            thick = (dry + u) / web[WET_FILM_KG_M3]
            peclet = flux * thick / (solvent[LIQUID_KG_M3] * web[BINDER_M2_S])
            settled = peclet / (1.0 - math.exp(-peclet)) if peclet > 1e-6 else 1.0
            rate = web[BINDER_M2_S] / (thick * thick) * (math.pi**2 + 0.25 * peclet * peclet)
            cell[BINDER] += (settled - cell[BINDER]) * (1.0 - math.exp(-rate * dt))
    return lost, heat


@kernel
def drying_step(
    cells: Array,
    count: int,
    before_m: float,
    moved_m: float,
    seconds: float,
    borders_m: Array,
    air_c: Array,
    h: Array,
    air_kg_m3: Array,
    solvent: Array,
    web: Array,
    lost: Array,
    heat: Array,
) -> float:
    """Dries the first `count` cells for `seconds`, while the web moves from position `before_m` by `moved_m`.

    `borders_m`: where the zones begin, and the last one ends, behind the die. `air_c`, `h` (W/m2/K), `air_kg_m3`
    (solvent in the air): per zone. Sets `lost` (kg/m2 of cell) and `heat` (J/m2 of cell) per zone; returns all that
    was lost.
    """
    lost[:] = 0.0
    heat[:] = 0.0
    total = 0.0
    zones = air_c.shape[0]
    for k in range(count):
        cell = cells[k]
        begin = before_m - cell[CENTRE_M]
        end = begin + moved_m
        if begin < borders_m[0]:
            share = 1.0 if end <= borders_m[0] or moved_m <= 0.0 else (borders_m[0] - begin) / moved_m
            _room(cell, seconds * share, solvent, web)
        for z in range(zones):
            low, high = borders_m[z], borders_m[z + 1]
            if moved_m > 0.0:
                inside = max(0.0, min(end, high) - max(begin, low)) / moved_m * seconds
            else:
                inside = seconds if low <= begin < high else 0.0
            if inside > 0.0:
                less, warm = _dry_cell(cell, inside, air_c[z], h[z], air_kg_m3[z], solvent, web)
                lost[z] += less
                total += less
                heat[z] += warm
                cell[PER_ZONE + z] += inside
                cell[PER_ZONE + zones + z] += inside * air_c[z]
    return total


@helper
def _room(cell: Array, seconds: float, solvent: Array, web: Array) -> None:
    """The web cools to the room's temperature; nothing evaporates there."""
    stored = web[FOIL_J_M2_K] + web[DRY_J_KG_K] * cell[DRY] + solvent[LIQUID_J_KG_K] * cell[SOLVENT]
    share = math.exp(-2.0 * web[ROOM_W_M2_K] * seconds / stored)
    cell[WEB_C] = web[ROOM_C] + (cell[WEB_C] - web[ROOM_C]) * share


def warm_up() -> None:
    """Compiles the kernels."""
    cells = np.zeros((2, PER_ZONE + 2))
    two, one = np.array([0.0, 1.0]), np.ones(1)
    solvent = np.array([0.1, 475.0, 5e5, 1000.0, 2000.0, 1800.0])
    web = np.array([36.0, 900.0, 0.25, 2400.0, 1e-10, 0.1, 23.0, 5.0])
    vapour_kg_m3(20.0, solvent)
    drying_step(cells, 2, 0.5, 0.1, 1.0, two, one * 100.0, one * 40.0, one * 0.0, solvent, web, one.copy(), one.copy())
