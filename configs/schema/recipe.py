"""Recipes: what the controller asks of equipment. A recipe is data; the equipment's own limits still hold."""

from __future__ import annotations

from enum import Enum
from typing import Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Positive, Strict


class StepMode(Enum):
    """Modes of a formation step; `code` is the rack's number for it."""

    CC_CHARGE = "cc_charge"
    CV_CHARGE = "cv_charge"
    REST = "rest"
    CC_DISCHARGE = "cc_discharge"
    PULSE = "pulse"

    @property
    def code(self) -> int:
        """Number in the rack's programme registers."""
        return list(StepMode).index(self) + 1


class FormationStep(Strict):
    """One step. It ends at its voltage limit, end current or duration, whichever comes first."""

    mode: StepMode
    current_a: NonNegative = Field(
        default=0.0, description="Magnitude; the mode gives the sign. For cv_charge: upper bound."
    )
    voltage_limit_v: NonNegative = Field(default=0.0, description="CC: end voltage. CV: held voltage. 0: none.")
    end_current_a: NonNegative = Field(default=0.0, description="CV: ends when the current falls below; 0: none.")
    duration_s: Positive = Field(description="Longest duration; the duration of rest and pulse.")
    cycle: int = Field(default=1, ge=1, le=100, description="Cycle that the step's charge counts for.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode is StepMode.REST:
            if self.current_a:
                raise ValueError("a rest has no current_a")
        elif not self.current_a:
            raise ValueError(f"{self.mode.value} needs current_a")
        if self.mode in {StepMode.CC_CHARGE, StepMode.CV_CHARGE, StepMode.CC_DISCHARGE} and not self.voltage_limit_v:
            raise ValueError(f"{self.mode.value} needs voltage_limit_v")
        return self


class FormationRecipe(Strict):
    """Step programme for a formation rack, the contents of a file under configs/recipes."""

    kind: str = Field(pattern="^formation$", description="formation")
    name: Name = Field(description="Short name of the recipe.")
    title: str = Field(description="What people call it.")
    programme_id: int = Field(ge=1, le=65_535, description="Number that the rack shows while it runs this programme.")
    step: tuple[FormationStep, ...] = Field(min_length=1, max_length=32, description="The steps, in order.")


class UnitRecipe(Strict):
    """Set-points of a station that needs only them and a start, the contents of a file under configs/recipes."""

    kind: str = Field(pattern="^unit$", description="unit")
    name: Name = Field(description="Short name of the recipe.")
    title: str = Field(description="What people call it.")
    setpoint: dict[Name, float] = Field(
        min_length=1, description="Tags of the equipment type that are written before the start, each with its value."
    )


class CoatingRecipe(Strict):
    """Set-points of one coating job, the contents of a file under configs/recipes."""

    kind: str = Field(pattern="^coating$", description="coating")
    name: Name = Field(description="Short name of the recipe.")
    title: str = Field(description="What people call it.")
    web_speed_m_s: Positive = Field(description="Web speed.")
    pump_rate_ml_s: Positive = Field(description="Slurry flow to the die.")
    zone_temperature_c: tuple[float, ...] = Field(
        min_length=1, max_length=16, description="Air temperature of every dryer zone, in the web's direction."
    )
    length_m: Positive = Field(description="Web length to coat; the coater stops by itself after it.")
    target_mass_loading_kg_m2: Positive = Field(description="Dry mass per area and side.")
    tolerance_fraction: Positive = Field(default=0.02, description="Accepted deviation of loading, both ways.")


Recipe = CoatingRecipe | FormationRecipe | UnitRecipe
