"""Scenario: what breaks on a simulated line, and when. A fault's own settings are known to whoever plays the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from configs.schema.base import Name, NonNegative, Positive, Strict


class Fault(Strict):
    """One thing that breaks. Further keys are settings of its kind: `celltwin simulate --list` names them."""

    # Typed extras: what is no setting of the kind is refused by the simulators, which alone know the kinds.
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, float | str | tuple[float | str, ...]]

    at_s: NonNegative = Field(description="Plant seconds from the start to the first time.")
    duration_s: Positive | None = Field(default=None, description="Plant seconds that it lasts; absent: to the end.")
    repeat_every_s: Positive | None = Field(
        default=None, description="Plant seconds from one beginning to the next; absent: once."
    )
    device: Name = Field(description="Id of the device on the line.")
    kind: Name = Field(description="What breaks: a fault of its machine, its instruments, its server or its network.")
    text: str = Field(default="", description="One line for people.")

    @model_validator(mode="after")
    def _repeats(self) -> Self:
        lasts_s = self.duration_s if self.duration_s is not None else self.settings.get("down_s")
        if self.repeat_every_s is not None and lasts_s is None:
            raise ValueError("repeat_every_s needs a duration_s: what never ends cannot begin again")
        if self.repeat_every_s is not None and isinstance(lasts_s, float) and self.repeat_every_s <= lasts_s:
            raise ValueError(f"repeat_every_s {self.repeat_every_s:g} is not above duration_s {lasts_s:g}")
        return self

    @property
    def settings(self) -> Mapping[str, float | str]:
        """The kind's own settings; a list is the text of its elements with commas."""
        return {key: _setting(value) for key, value in (self.__pydantic_extra__ or {}).items()}


class Scenario(Strict):
    """A timetable of faults, the contents of a file under configs/scenarios."""

    name: Name = Field(description="Short name of the scenario; part of the seed of what is random in it.")
    title: str = Field(description="What people call it: one line.")
    text: str = Field(default="", description="What happens and what should be seen, in a few lines.")
    fault: tuple[Fault, ...] = Field(default=(), description="What breaks; none: a good day.")


def _setting(value: float | str | tuple[float | str, ...]) -> float | str:
    if isinstance(value, tuple):
        return ", ".join(each if isinstance(each, str) else f"{each:.12g}" for each in value)
    return value if isinstance(value, str) else float(value)
