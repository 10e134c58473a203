"""The cell that the pilot line makes, and the few relations between what a station does and what comes of it. Pure, SI.

An A-sample after the LG M50 of Chen et al., J. Electrochem. Soc. 167 (2020) 080534, as a stack: 5 Ah, NMC811 on 15 um
aluminium, one side coated. Anode, separator and electrolyte are bought in. What is assumed is said.
"""

from __future__ import annotations

import math

import numpy as np

from simulators.machine import Values

LOADING_KG_M2 = 0.169  # dry, per side; the coating recipe's target
FOIL_KG_M2 = 15e-6 * 2700.0
WIDTH_M = 0.30
LANES = 24
STRIPS = 2  # slit from a web whose outermost lanes are trimmed
SHEETS_A_METRE = 8
SHEETS_A_CELL = 10  # 0.172 m2 of 29 Ah/m2: 5 Ah
CELLS_A_METRE = STRIPS * SHEETS_A_METRE / SHEETS_A_CELL
POROSITY = 0.335  # of the calendered cathode; Chen 2020, table II
NP_RATIO = 1.10  # design; 1.05 to 1.2 is usual

# 95 % NMC811 of 4,780 kg/m3, 2.5 % carbon black and 2.5 % PVDF of about 1,800 each.
SOLID_KG_M3 = 4_400.0
SOLVENT_KG_M3 = 1_028.0  # NMP
DRIED_POROSITY = 0.50  # after drying, before the calender; assumed
LEAST_POROSITY = 0.22  # what no load goes below; assumed
LINE_LOAD_N_M = 300e3
_RESISTANCE_N_M = LINE_LOAD_N_M / math.log((DRIED_POROSITY - LEAST_POROSITY) / (POROSITY - LEAST_POROSITY))


def calendered_porosity(line_load_n_m: float, loading_kg_m2: Values) -> Values:
    """Porosity after the calender.

    Meyer et al., J. Mater. Process. Technol. 249 (2017) 172: density approaches its highest value exponentially with
    line load over a compaction resistance, which grows with loading; here in proportion, and such that the design's
    load and loading give the design's porosity. Springing back and the rolls' bending are not modelled.
    """
    resistance = _RESISTANCE_N_M * loading_kg_m2 / LOADING_KG_M2
    return np.asarray(LEAST_POROSITY + (DRIED_POROSITY - LEAST_POROSITY) * np.exp(-line_load_n_m / resistance))


def coating_thickness_m(loading_kg_m2: Values, porosity: Values) -> Values:
    """Thickness of the coating without its foil."""
    return np.asarray(loading_kg_m2 / (SOLID_KG_M3 * (1.0 - porosity)))


def slurry_density_kg_m3(solids_fraction: float) -> float:
    """Volumes add up."""
    return 1.0 / (solids_fraction / SOLID_KG_M3 + (1.0 - solids_fraction) / SOLVENT_KG_M3)


def slurry_viscosity_pa_s(solids_fraction: float) -> float:
    """Krieger and Dougherty, Trans. Soc. Rheol. 3 (1959) 137, at the shear rate of a slot die.

    Closest packing 0.60 and 1 Pa s for the binder solution are assumed; they give 3 Pa s at 65 % solids.
    """
    volume = solids_fraction / SOLID_KG_M3 * slurry_density_kg_m3(solids_fraction)
    closest = 0.60
    return float((1.0 - min(volume, 0.99 * closest) / closest) ** (-2.5 * closest))


def np_ratio(anode_factor: float, loading_factor: float) -> float:
    """Areal capacity of the anode over the cathode's; the factors are 1 as designed."""
    return NP_RATIO * anode_factor / loading_factor
