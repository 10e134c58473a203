"""Cell model: the parameters that the twin believes for one cell design, with unit and source."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Positive, Strict

POLARISATION_SD = 0.3
"""Relative SD of diffusion and charge transfer where nobody says better; cells, 10 K and ageing differ by as much."""


class HalfCells(Strict):
    """Half-cell tables of both electrodes: names under configs/halfcells, or CSV files beside the cell file."""

    positive: str = Field(min_length=1, description="Potential of the positive electrode over its stoichiometry.")
    negative: str = Field(min_length=1, description="The same of the negative electrode; with silicon its graphite.")
    silicon: str | None = Field(
        default=None, description="Silicon of the negative electrode as it gives lithium: makes that electrode a blend."
    )
    silicon_charge: str | None = Field(
        default=None,
        description="Silicon as it takes lithium. With `silicon` and without this, charges are not fitted.",
    )
    negative_diffusion_s: Positive | None = Field(
        default=None,
        description="R^2/(15 D) of the negative electrode's particles: times its stoichiometry's rate, by how much "
        "their surface is ahead of their mean. With both, windows are of mean stoichiometries; without, of surfaces.",
    )
    positive_diffusion_s: Positive | None = Field(default=None, description="The same of the positive electrode.")
    diffusion_sd: float = Field(
        default=POLARISATION_SD, ge=0.0, le=1.0, description="Relative SD of both, carried into the windows' SD."
    )
    negative_transfer_ohm: NonNegative = Field(
        default=0.0,
        description="Charge-transfer resistance of the negative electrode, half full, 25 C. It grows towards empty and "
        "full, which else moves the windows. 0: not taken out.",
    )
    positive_transfer_ohm: NonNegative = Field(default=0.0, description="The same of the positive electrode.")
    transfer_sd: float = Field(
        default=POLARISATION_SD, ge=0.0, le=1.0, description="Relative SD of both, carried into the windows' SD."
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.negative_diffusion_s is None) != (self.positive_diffusion_s is None):
            raise ValueError("negative_diffusion_s and positive_diffusion_s belong together: one alone is no mean")
        return self


class CellModel(Strict):
    """Two-RC equivalent circuit of one cell design, the contents of a file under configs/cells."""

    name: Name = Field(description="Short name of the cell design.")
    title: str = Field(description="What people call it.")
    source: str = Field(description="Where the numbers come from.")
    capacity_ah: Positive = Field(description="Usable capacity after formation, between the voltage limits.")
    capacity_sd_ah: Positive = Field(description="Cell-to-cell standard deviation of it that the twin assumes.")
    first_cycle_efficiency: float = Field(gt=0.5, le=1.0, description="Discharge over charge of the first full cycle.")
    voltage_min_v: Positive = Field(description="Lowest voltage in use.")
    voltage_max_v: Positive = Field(description="Highest voltage in use; a recipe may not charge beyond it.")
    r0_ohm: Positive = Field(description="Ohmic resistance at 25 C.")
    r0_sd_ohm: Positive = Field(description="Cell-to-cell standard deviation of it.")
    r1_ohm: Positive = Field(description="Resistance of the fast RC pair at 25 C.")
    tau1_s: Positive = Field(description="Time constant of the fast RC pair.")
    r2_ohm: Positive = Field(description="Resistance of the slow RC pair at 25 C.")
    tau2_s: Positive = Field(description="Time constant of the slow RC pair.")
    activation_energy_j_mol: NonNegative = Field(description="Arrhenius energy of all three resistances.")
    ocv_soc: tuple[float, ...] = Field(min_length=3, description="State of charge grid, uniform from 0 to 1.")
    ocv_v: tuple[float, ...] = Field(min_length=3, description="Open-circuit voltage on that grid, 25 C, increasing.")
    ocv_sd_v: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="SD of that voltage's lasting error: half the hysteresis gap, wrong table.",
    )
    ocv_sd_soc: float = Field(
        default=0.01,
        ge=0.0,
        le=0.2,
        description="SD of the curve's shift along the state of charge, for the steep ends.",
    )
    ocv_correlation_soc: float = Field(
        default=0.1, ge=0.001, le=10.0, description="Charge throughput over which that error becomes another one."
    )

    half_cells: HalfCells | None = Field(
        default=None, description="For electrode windows from slow steps (`cell_esoh`); absent: they are not fitted."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.voltage_min_v >= self.voltage_max_v:
            raise ValueError(f"voltage_min_v {self.voltage_min_v:g} is not below voltage_max_v {self.voltage_max_v:g}")
        n = len(self.ocv_soc)
        if len(self.ocv_v) != n:
            raise ValueError(f"ocv_soc has {n} values and ocv_v has {len(self.ocv_v)}")
        if any(abs(s - k / (n - 1)) > 1e-6 for k, s in enumerate(self.ocv_soc)):
            raise ValueError("ocv_soc is not a uniform grid from 0 to 1")
        if any(b <= a for a, b in pairwise(self.ocv_v)):
            raise ValueError("ocv_v does not increase with state of charge")
        return self
