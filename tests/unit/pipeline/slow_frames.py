"""A small simulated rack through slow charges and discharges, with what is true of its cells. No wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from controller.types import Float64Array, Frame
from tests.unit.pipeline.rack_frames import (
    CC_CHARGE,
    CC_DISCHARGE,
    CV_CHARGE,
    NS,
    REST,
    START_S,
    channel_group,
    line,
    polled,
    started,
)

CHANNELS = 3
C5, C10 = 1.0, 0.5
CHARGE_1, DISCHARGE_1, CHARGE_2, DISCHARGE_2 = 1.0, 4.0, 6.0, 9.0
"""Steps of `programme`."""


class Sample(NamedTuple):
    """One poll, and the true mean stoichiometries (channels,) at its time."""

    frame: Frame
    truth: Mapping[str, Float64Array]


def programme(second_a: float, first_a: float = C5) -> tuple[tuple[float, ...], ...]:
    """Formation at `first_a`, then a cycle at `second_a`: charge, hold, rest, discharge."""
    return tuple(
        step
        for cycle, amps, end_a in ((1, first_a, 0.25), (2, second_a, 0.05))
        for step in (
            (CC_CHARGE, cycle, amps, 4.2, 0, 90_000),
            (CV_CHARGE, cycle, amps, 4.2, end_a, 14_400),
            (REST, cycle, 0, 0, 0, 3600),
            (CC_DISCHARGE, cycle, amps, 2.5, 0, 90_000),
            (REST, cycle, 0, 0, 0, 3600),
        )
    )


def samples(
    period_s: int, steps: Sequence[Sequence[float]], channels: int = CHANNELS, lot: str = "L1", seed: int = 1
) -> Iterator[Sample]:
    """From the start of the programme until every channel has ended it."""
    equipment = line().equipment["rack1"]
    groups = tuple(
        group.model_copy(update={"points": channels}) if group.name == "channel" else group for group in equipment.group
    )
    rack = started(equipment.model_copy(update={"group": groups}), steps, seed)
    names = [tag.name for tag in channel_group(line()).tag]
    now_s, running = START_S, True
    while running:
        now_s += period_s
        rack.advance(now_s * NS)
        shown, truth = rack.outputs(), rack.truth()
        running = bool((np.array(shown["state"]) != 6.0).any())
        yield Sample(
            polled(shown, names, now_s, channels, lot),
            {name: np.array(truth[name][:channels]) for name in ("x", "y")},
        )
