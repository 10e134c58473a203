"""LG M50 (5 Ah, 21700, NMC811 against graphite-SiOx) after Chen et al. 2020, J. Electrochem. Soc. 167 080534.

Two sets: CHEN2020 as published, with the film of Yang et al. 2017; FORMATION, the same cell before its first charge,
with a film that passivates it. Which numbers of FORMATION are ours is said at each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.spm_layout import FARADAY, Table
from simulators.machine import Values
from simulators.machines.cell_parameters import CellSet, Electrode, Film

TABLE_POINTS = 4001  # linear interpolation errs by less than 0.03 mV where graphite is steepest

_NEGATIVE = Electrode(
    thickness_m=85.2e-6,  # Chen et al. 2020, table VII, as are all numbers of both electrodes but where said
    active_fraction=0.75,
    radius_m=5.86e-6,
    diffusivity_m2_s=3.3e-14,  # tuned by the authors against discharge curves (their table IX)
    diffusion_activation_j_mol=30_300.0,  # Ecker et al. 2015, as in O'Kane et al. 2022, Phys. Chem. Chem. Phys. 24 7909
    full_mol_m3=33_133.0,
    rate=6.48e-7,
    rate_activation_j_mol=35_000.0,
)
_POSITIVE = Electrode(
    thickness_m=75.6e-6,
    active_fraction=0.665,
    radius_m=5.22e-6,
    diffusivity_m2_s=4.0e-15,
    diffusion_activation_j_mol=25_000.0,  # O'Kane et al. 2022, after Cabanero et al. 2018
    full_mol_m3=63_104.0,
    rate=3.42e-6,
    rate_activation_j_mol=17_800.0,
)
_YANG = Film(  # Yang et al. 2017, J. Power Sources 360 28: reaction and diffusion of ethylene carbonate in series
    area_ratio=1.0,
    rate_a_m2=FARADAY * 4541.0 * 1e-12,  # F c k
    transfer=0.5,
    potential_v=0.4,
    decay_1_m=0.0,
    diffusion_mol_m_s=2e-18 * 4541.0,
    behind_film=True,
    start_m=5e-9,
    molar_volume_m3_mol=9.585e-5,  # Safari and Delacourt 2008
    lithium_per_mol=2.0,
    resistivity_ohm_m=2e5,  # Ramadass et al. 2004
    activation_j_mol=38_000.0,  # O'Kane et al. 2022
)

CHEN2020 = CellSet(
    plane_m2=0.065 * 1.58,
    negative=_NEGATIVE,
    positive=_POSITIVE,
    electrolyte_mol_m3=1000.0,
    film=_YANG,
    contact_ohm=0.0,
    leak_a=0.0,
    positive_fill=0.854,  # the published cell, empty (PyBaMM's ElectrodeSOHSolver at 2.5 V)
    fresh_v=2.5,
)

FORMATION = replace(
    CHEN2020,
    # Electrons tunnel through the film (Tang, Lu and Newman 2012, J. Electrochem. Soc. 159 A1775, eq. 25): growth falls
    # tenfold with 6 nm and rises tenfold with 0.12 V less potential, so that the film is made in the first charge.
    film=replace(
        _YANG,
        area_ratio=10.0,  # ours: graphite of 2 m2/g by gas adsorption, against 0.2 of smooth spheres of 5.86 um
        rate_a_m2=3e4,  # fitted by us: reduction takes a C/5 current at 0.7 V on bare graphite
        potential_v=0.0,
        decay_1_m=4e8,  # fitted by us: first-cycle efficiency of 87.3 % (Weng et al. 2021, arXiv:2203.14158)
        diffusion_mol_m_s=0.0,
        behind_film=False,
        start_m=1e-9,
    ),
    contact_ohm=0.010,  # ours: 10 s resistance of 33 to 36 mOhm at mid charge (PyBOP's LGM50_5Ah_Pulse)
    leak_a=30e-6,  # ours: 0.005 Ah a week
    # What comes back in the first discharge of the published cell, 0.854, and what the film takes.
    positive_fill=0.936,
    fresh_v=2.75,  # filled, soaked and tickled, before the first charge
)


def positive_v(y: Values) -> Values:
    """NMC811 against lithium (Chen et al. 2020, eq. 8)."""
    v: Values = (
        -0.8090 * y
        + 4.4875
        - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (y - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (y - 0.3120))
    )
    return v


def negative_v(x: Values) -> Values:
    """Graphite-SiOx against lithium (Chen et al. 2020, eq. 9)."""
    v: Values = (
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )
    return v


def potential_tables() -> Values:
    """Tables (len(Table), n) of half-cell potentials; the set has no entropies.

    As in PyBaMM, potentials run off where a lattice is full or empty (1 V at the end, 1 mV at 0.001 from it), so that
    an electrode that is too small ends a charge instead of taking more than it can hold.
    """
    grid = np.linspace(0.0, 1.0, TABLE_POINTS)
    ends = 1e-3 ** (grid / 1e-3) - 1e-3 ** ((1.0 - grid) / 1e-3)
    tables = np.zeros((len(Table), TABLE_POINTS))
    tables[Table.U_NEG_V], tables[Table.U_POS_V] = negative_v(grid) + ends, positive_v(grid) + ends
    return tables
