"""Control charts of a line: which stream is watched, what it should be, and which charts judge it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Positive, Strict


class ChartKind(Enum):
    """What a chart looks for."""

    INDIVIDUALS = "individuals"  # single values, by the Western Electric rules: large and sudden changes
    MOVING_RANGE = "moving_range"  # jumps between neighbours
    EWMA = "ewma"  # small lasting shifts
    CUSUM = "cusum"  # small lasting shifts, with the time of their beginning


class SigmaFrom(Enum):
    """Which spread sigma is."""

    MOVING_RANGE = "moving_range"  # between neighbours: for observations that do not depend on each other
    OVERALL = "overall"  # of all: for a process that wanders slowly and may


Rule = Annotated[int, Field(ge=1, le=4)]


class Chart(Strict):
    """A control chart on one stream. Phase I: centre and sigma, given or learnt. Phase II: every observation judged."""

    name: Name = Field(description="Short name, unique on the line; a tag on its points in InfluxDB.")
    title: str = Field(default="", description="What is watched, for events and reports; unset: the name.")
    device: Name = Field(description="Id of the device that the stream is of.")
    stream: Name = Field(description="Raw stream (a group of the equipment) or result (web_map, cell_cycle, ...).")
    column: Name | None = Field(default=None, description="Column that is watched ...")
    columns: tuple[Name, ...] = Field(
        default=(), max_length=32, description="... or two and more that are watched together, by Hotelling's T2."
    )
    points: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="Points that are watched, each on a chart of its own (web: 0 is the whole); unset: all."
    )
    across_points: bool = Field(
        default=False, description="All points on one chart, one observation after the other: unit to unit."
    )
    gather_s: NonNegative = Field(
        default=0.0,
        description="With across_points: plant seconds within which the units of one tray come. They are taken in "
        "order of their points when all are there or the time is over; in order of ending, the smallest come first.",
    )
    where: dict[Name, float] = Field(
        default_factory=dict, description="Only rows with exactly these values of other columns: { cycle = 1 }."
    )
    skip: int = Field(default=0, ge=0, description="First observations that are left out: the machine's run-in.")
    subgroup: int = Field(default=1, ge=1, le=10_000, description="Values whose mean is one observation.")
    centre: float | None = Field(default=None, description="Centre line, in the column's unit ...")
    sigma: Positive | None = Field(default=None, description="... and standard deviation of an observation ...")
    learn: int | None = Field(
        default=None, ge=2, le=10_000, description="... or the number of first good observations that set both."
    )
    learn_sigma: SigmaFrom = Field(
        default=SigmaFrom.MOVING_RANGE,
        description="Learnt sigma: moving_range (mean of it / 1.128) or overall (standard deviation).",
    )
    charts: tuple[ChartKind, ...] = Field(
        default=(ChartKind.INDIVIDUALS,), min_length=1, description="Charts that judge it, any of these."
    )
    rules: tuple[Rule, ...] = Field(
        default=(1, 2, 3, 4),
        description="Western Electric rules of the individuals chart: 1 a point beyond 3 sigma, 2 two of three beyond "
        "2 sigma, 3 four of five beyond 1 sigma, 4 eight on one side.",
    )
    ewma_lambda: float = Field(default=0.2, gt=0, le=1, description="EWMA: weight of the newest observation.")
    ewma_l: Positive = Field(default=2.962, description="EWMA: width of the limits, L, in its own sigmas.")
    cusum_k: float = Field(default=0.5, ge=0, description="CUSUM: slack k, half the shift looked for, in sigmas.")
    cusum_h: Positive = Field(default=5.0, description="CUSUM: decision limit h, in sigmas.")
    t2_alpha: float = Field(default=0.0027, ge=1e-12, lt=1, description="T2: chance of a false signal.")
    low: float | None = Field(default=None, description="Lower specification limit; with it or `high`: Cpk.")
    high: float | None = Field(default=None, description="Upper specification limit.")
    cpk_window: int = Field(default=100, ge=2, le=10_000, description="Newest observations that Cpk is of.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = []
        if (self.column is None) == (not self.columns):
            wrong.append("give exactly one of column and columns")
        if self.columns:
            wrong += self._t2_faults()
        elif self.learn is None and (self.centre is None or self.sigma is None):
            wrong.append("give centre and sigma, or learn")
        elif self.learn is not None and (self.centre is not None or self.sigma is not None):
            wrong.append("centre and sigma are given: learn has nothing to set")
        if self.gather_s > 0 and not self.across_points:
            wrong.append("gather_s belongs to across_points = true")
        if self.low is not None and self.high is not None and self.low >= self.high:
            wrong.append(f"low {self.low:g} is not below high {self.high:g}")
        if wrong:
            raise ValueError("\n".join(wrong))  # one mistake a line: the loader tells them all at once
        return self

    def _t2_faults(self) -> list[str]:
        wrong = []
        if len(set(self.columns)) < 2 or len(set(self.columns)) < len(self.columns):
            wrong.append("columns of a T2 chart are two or more, each once")
        single = {"centre", "sigma", "charts", "rules", "learn_sigma", "low", "high"} & self.model_fields_set
        if single:
            wrong.append(f"{', '.join(sorted(single))} belong to a chart of one column")
        if self.learn is None or self.learn < 2 * len(self.columns) + 2:
            wrong.append(
                f"a T2 chart of {len(self.columns)} columns needs learn of {2 * len(self.columns) + 2} or more"
            )
        return wrong
