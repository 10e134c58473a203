"""The cells in the simulated rack: how those of one batch differ, what the line made of them, and defects.

These are the plant's true parameters. The twin has its own, from its own files, and must never see these. The cell
itself is cell_chen2020.FORMATION; the kernels that move it are kernels/spm. docs/plants/rack.md has the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from kernels.spm import P
from simulators.machine import Values
from simulators.machines.cell_chen2020 import FORMATION, potential_tables
from simulators.machines.cell_parameters import fresh, rows

__all__ = ["Batch", "Spread", "fresh_cells", "places", "potential_tables"]

SPREAD_LIMIT = 2.3  # in SD; a batch has passed incoming inspection
# What of FORMATION's ohmic part is electrolyte in pores and separator; the rest is foils, tabs, welds, pins (ours).
ELECTROLYTE_OHM = 0.7 * FORMATION.contact_ohm
CONTACT_OHM = FORMATION.contact_ohm - ELECTROLYTE_OHM
# The stacking station's design, against which its cells are judged.
DESIGN_NP, DESIGN_POROSITY, DESIGN_CONTACT_OHM = 1.10, 0.335, 1e-3


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations within a batch, relative; normal, cut at SPREAD_LIMIT, but the leak, which is log-normal."""

    loading: float = 0.018  # of either electrode: open-loop coating is 1.2 to 2.3 %
    kinetics: float = 0.04  # exchange currents: wetted surface, porosity
    electrolyte: float = 0.03  # ohmic part in pores and separator: dose, porosity, tortuosity
    contact: float = 0.08  # welds and pins
    sei_area: float = 0.055  # surface of the graphite: efficiency 87.3 +- 0.9 % (Weng et al. 2021, arXiv:2203.14158)
    leak: float = 0.4

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Its fields."""
        return tuple(field.name for field in fields(cls))


class Batch:
    """What the channels' cells are, as factors on FORMATION (1 each but for contact_ohm, which is in ohm)."""

    def __init__(self, rng: np.random.Generator, channels: int, spread: Spread) -> None:
        def normal() -> Values:
            return np.clip(rng.standard_normal(channels), -SPREAD_LIMIT, SPREAD_LIMIT)

        self.positive = 1.0 + spread.loading * normal()
        self.negative = 1.0 + spread.loading * normal()
        self.kinetics = 1.0 + spread.kinetics * normal()
        self.electrolyte_ohm = ELECTROLYTE_OHM * (1.0 + spread.electrolyte * normal())
        self.contact_ohm = CONTACT_OHM * (1.0 + spread.contact * normal())
        self.sei_area = 1.0 + spread.sei_area * normal()
        self.leak = np.exp(spread.leak * normal())
        self.wetted = np.ones(channels)

    def take(self, cell: Mapping[str, float], c: int) -> None:
        """Channel c holds a cell of the line: its loadings, ohmic part and wetting instead of the batch's.

        A thinner pore space conducts worse (Bruggeman, exponent 1.5), here for the half of it that is the cathode's.
        """
        self.positive[c] = cell["loading_factor"]
        self.negative[c] = cell["loading_factor"] * cell["np_ratio"] / DESIGN_NP
        pores = 0.5 + 0.5 * (DESIGN_POROSITY / max(cell["porosity"], 0.05)) ** 1.5
        self.electrolyte_ohm[c] *= pores
        self.contact_ohm[c] += cell["contact_ohm"] - DESIGN_CONTACT_OHM
        self.wetted[c] = min(max(cell["electrolyte_factor"], 0.05), 1.0)

    def rows(self) -> Values:
        """Parameters (len(P), channels). What is not wetted takes no part: it is as if the cell were smaller."""
        p = rows(FORMATION, len(self.positive))
        p[[P.Q_POS_C, P.J0_POS_A]] *= self.positive * self.wetted
        p[[P.Q_NEG_C, P.J0_NEG_A]] *= self.negative * self.wetted
        p[[P.J0_POS_A, P.J0_NEG_A]] *= self.kinetics
        p[P.CONTACT_OHM] = self.electrolyte_ohm / self.wetted + self.contact_ohm
        p[P.LEAK_A] *= self.leak
        # The film's surface goes with the graphite: rate with it, thickness and resistance per charge against it.
        area = self.negative * self.wetted * self.sei_area
        p[P.SEI_RATE_A] *= area
        p[[P.SEI_M_PER_C, P.SEI_OHM_PER_M]] /= area
        return p


def fresh_cells(cell_p: Values, tables: Values, temperature_c: float) -> Values:
    """State of cells that never saw current, filled, soaked and tickled."""
    one = np.ones(cell_p.shape[1])
    return fresh(cell_p, tables, FORMATION.positive_fill * one, FORMATION.fresh_v * one, temperature_c * one)


def places(channels: int) -> Values:
    """Share of the tray's heat per channel, 0.2 to 1.2: warm at the back, and a little in the middle of each row."""
    width = max(1, round(channels**0.5))
    row, column = np.divmod(np.arange(channels), width)
    middle = 1.0 - np.abs(2.0 * column / max(1, width - 1) - 1.0)
    back = row / max(1, -(-channels // width) - 1)
    share: Values = 0.2 + 0.8 * back + 0.2 * middle
    return share
