"""What the simulated formation cells are made of: one parameter set per chemistry, each number with its source.

`rows` turns a set into the columns of kernels/spm_layout.P, `fresh` puts cells at rest at a voltage. No kernel here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.spm import spm_fresh
from kernels.spm_layout import FARADAY, STATE_ROWS, P, Table
from simulators.machine import Values


@dataclass(frozen=True, slots=True)
class Electrode:
    """One porous electrode as equal spheres."""

    thickness_m: float
    active_fraction: float
    radius_m: float
    diffusivity_m2_s: float
    diffusion_activation_j_mol: float
    full_mol_m3: float
    rate: float  # exchange current density over sqrt(c_e c (c_max - c)), A/m2 (m3/mol)^1.5
    rate_activation_j_mol: float

    @property
    def area_1_m(self) -> float:
        """Surface of the particles per volume of electrode."""
        return 3.0 * self.active_fraction / self.radius_m

    def surface_m2(self, plane_m2: float) -> float:
        """Surface of all particles."""
        return self.area_1_m * self.thickness_m * plane_m2

    def charge_c(self, plane_m2: float) -> float:
        """Charge from stoichiometry 0 to 1."""
        return FARADAY * self.active_fraction * self.thickness_m * plane_m2 * self.full_mol_m3


@dataclass(frozen=True, slots=True)
class Film:
    """The SEI on the negative particles. Rates per area of film, which is `area_ratio` times that of smooth spheres."""

    area_ratio: float
    rate_a_m2: float  # growth at no film and no driving overpotential
    transfer: float
    potential_v: float
    decay_1_m: float  # tunnelling barrier; 0: none
    diffusion_mol_m_s: float  # D c of what diffuses through the film; 0: no limit
    behind_film: bool
    start_m: float
    molar_volume_m3_mol: float
    lithium_per_mol: float
    resistivity_ohm_m: float
    activation_j_mol: float


@dataclass(frozen=True, slots=True)
class CellSet:
    """A cell: two electrodes, a film, what is ohmic, and how it was delivered."""

    plane_m2: float
    negative: Electrode
    positive: Electrode
    electrolyte_mol_m3: float
    film: Film
    contact_ohm: float
    leak_a: float
    positive_fill: float  # stoichiometry of the positive electrode as delivered
    fresh_v: float  # at rest, as delivered; the negative electrode follows


def rows(cell: CellSet, cells: int = 1) -> Values:
    """Parameters (len(P), cells), all alike."""
    n, q, film = cell.negative, cell.positive, cell.film
    area = n.surface_m2(cell.plane_m2)
    p = np.zeros((len(P), cells))
    p[P.Q_NEG_C], p[P.Q_POS_C] = n.charge_c(cell.plane_m2), q.charge_c(cell.plane_m2)
    p[P.DIFFUSION_NEG_1_S] = n.diffusivity_m2_s / n.radius_m**2
    p[P.DIFFUSION_POS_1_S] = q.diffusivity_m2_s / q.radius_m**2
    p[P.EA_DIFFUSION_NEG], p[P.EA_DIFFUSION_POS] = n.diffusion_activation_j_mol, q.diffusion_activation_j_mol
    salt = cell.electrolyte_mol_m3**0.5
    p[P.J0_NEG_A] = n.rate * salt * n.full_mol_m3 * area
    p[P.J0_POS_A] = q.rate * salt * q.full_mol_m3 * q.surface_m2(cell.plane_m2)
    p[P.EA_J0_NEG], p[P.EA_J0_POS] = n.rate_activation_j_mol, q.rate_activation_j_mol
    p[P.CONTACT_OHM], p[P.LEAK_A] = cell.contact_ohm, cell.leak_a
    area *= film.area_ratio
    p[P.SEI_RATE_A], p[P.SEI_ALPHA], p[P.SEI_U_V] = film.rate_a_m2 * area, film.transfer, film.potential_v
    p[P.SEI_DECAY_1_M] = film.decay_1_m
    if film.diffusion_mol_m_s > 0.0:
        p[P.SEI_BLOCK_1_A_M] = 1.0 / (FARADAY * film.diffusion_mol_m_s * area)
    p[P.SEI_BEHIND_FILM] = film.behind_film
    p[P.SEI_START_M] = film.start_m
    p[P.SEI_M_PER_C] = film.molar_volume_m3_mol / (FARADAY * film.lithium_per_mol * area)
    p[P.SEI_OHM_PER_M] = film.resistivity_ohm_m / area
    p[P.EA_SEI] = film.activation_j_mol
    return p


def fresh(p: Values, tables: Values, positive_fill: Values, fresh_v: Values, temperature_c: Values) -> Values:
    """State (STATE_ROWS, cells) of cells that never saw current, at rest at `fresh_v`; arguments (cells,).

    The positive electrode comes from its maker at `positive_fill`; the negative one's share follows from the voltage
    (bisection), so that the lithium of a cell goes with its loading.
    """
    cells = p.shape[1]
    state = np.zeros((STATE_ROWS, cells))
    grid = np.linspace(0.0, 1.0, tables.shape[1])
    positive_v = np.interp(positive_fill, grid, tables[Table.U_POS_V])
    low, high = np.full(cells, 1e-6), np.full(cells, 1.0 - 1e-6)
    for _ in range(60):
        x = 0.5 * (low + high)
        below = positive_v - np.interp(x, grid, tables[Table.U_NEG_V]) < fresh_v
        low, high = np.where(below, x, low), np.where(below, high, x)
    for c in range(cells):
        spm_fresh(c, float(x[c]), float(positive_fill[c]), float(temperature_c[c]), p, state, tables)
    return state
