"""Estimates on the steps of a rack's channels, when a step ends: resistance, equivalent circuit, relaxation.

    cell_pulse   a load that follows a rest; at the time of its edge
    cell_ecm     a short load with its rest; at the time of the load's edge, known when the rest has ended
    cell_rest    a rest; at the time of its last sample

What these streams' codes mean: docs/events.md. While the kernels still compile, finished steps wait (waiting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.late import Late
from controller.pipeline.stages.common import channels_result, samples
from controller.pipeline.stages.estimates import Columns, circuits, pulses, relaxations
from controller.pipeline.stages.waiting import Labels, Waiter, Waiting
from controller.pipeline.steps import FinishedStep, StepCutter
from controller.records import event
from controller.types import Float64Array, Frame, Int64Array, TimeSource
from twin.checkpoint import pack, unpack

KERNELS = ("pulse", "ecm", "relaxation")
"""What the stage calls; their families' other modules compile with them."""

REST_PART = 0.02
"""Of a pulse's current: what flows before it is a rest when it is less."""

AT_ONCE = 128
"""Steps of one batch, so that the worker is free again soon: more wait for the next Frame, or call of `catch_up`."""

NOTES = ("soc", "soc_sd")
"""Columns of cell_state that go with a step: what the filter believed when it began."""


@dataclass(frozen=True, slots=True)
class StepStates:
    """What the equipment calls a channel's states, as numbers. `ended`: the programme is over for this channel."""

    rest: frozenset[int]
    pulse: frozenset[int]
    idle: frozenset[int]
    ended: frozenset[int]

    @staticmethod
    def of(meanings: dict[int, str]) -> StepStates:
        """From numbers and words: {3: "rest", 5: "pulse", 6: "done", ...}."""

        def named(*words: str) -> frozenset[int]:
            return frozenset(number for number, word in meanings.items() if word in words)

        return StepStates(named("rest"), named("pulse"), named("idle"), named("done", "complete"))


class Newest:
    """Newest values of some columns of a result stream, for a stage of another stream of the same device."""

    def __init__(self, columns: Sequence[str], points: int) -> None:
        self._columns = tuple(columns)
        self.values: Float64Array = np.full((len(columns), points), np.nan)

    def process(self, frame: Frame) -> list[Frame]:
        """Take them over; nothing follows."""
        for i, name in enumerate(self._columns):
            self.values[i, frame.point - 1] = frame.columns[name]
        return []

    def catch_up(self) -> list[Frame]:
        """Nothing waits here."""
        return []

    def checkpoint(self) -> bytes:
        """The values."""
        return pack(self._head, {"values": self.values})

    def restore(self, saved: bytes) -> None:
        """Continue from them. Raises ValueError."""
        self.values = unpack(saved, self._head, {"values": self.values})["values"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-newest", "version": 1, "columns": ",".join(self._columns)}


class StepStage:
    """Pulses, circuits and relaxations of one rack. `newest` gives NOTES per channel, `step_time_resolution_s` is what
    the rack counts a step's time in, where that is known.
    """

    def __init__(
        self, device: str, points: int, states: StepStates, newest: Newest, late: Late,
        step_time_resolution_s: float | None = None,
    ) -> None:  # fmt: skip
        self._pulses = partial(pulses, step_time_resolution_s=step_time_resolution_s)
        self._device = device
        self._states = states
        self._newest = newest
        self._late = late
        late.need(*KERNELS)
        self._cutter = StepCutter(points, states.rest, len(NOTES))
        self._waiting = Waiting(len(NOTES))
        self._notes = newest.values.copy()
        self._like = "channel", TimeSource.DEVICE
        self._ended = False

    def process(self, frame: Frame) -> list[Frame]:
        """Rows for every step that ended with this Frame, or later."""
        finished: list[FinishedStep] = []
        for rows in samples(frame):
            finished += self._cutter.feed(frame, rows, self._notes)
        # The filter has seen this Frame already; a step that begins with the next shall have what it believed before.
        self._notes = self._newest.values.copy()
        self._like = frame.point_name, frame.time_source
        wanted = [step for step in finished if self._is_rest(step) or self._is_edge(step)]
        dropped = self._waiting.add(wanted, frame.labels)
        lost = f"{dropped} finished steps could not wait any longer for their kernels and stay without estimates"
        said = [event(self._device, int(frame.time_ns.max()), "warning", lost)] if dropped else []
        late = self.catch_up()
        self._ended = bool(finished or late)
        return [*said, *late]

    def catch_up(self) -> list[Frame]:
        """Rows for the oldest steps that waited, when the kernels are there."""
        return self._estimates(self._waiting.take(AT_ONCE)) if self.waits() else []

    def waits(self) -> bool:
        """Whether steps wait that can be worked off."""
        return self._late.ready and len(self._waiting) > 0

    def is_behind(self) -> bool:
        """Whether a step has ended that has no rows yet."""
        return len(self._waiting) > 0

    def urgent(self) -> bool:
        """Whether a step has just ended, or one that waited has got its rows: once only, a restart must know."""
        return self._ended

    def checkpoint(self) -> bytes:
        """Open steps, those that wait, and what the filter last said."""
        parts = {"cutter": self._cutter.checkpoint(), "waiting": self._waiting.checkpoint()}
        arrays = {name: np.frombuffer(part, dtype=np.uint8) for name, part in parts.items()}
        return pack(self._head, {**arrays, "notes": self._notes})

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        none = np.zeros(0, dtype=np.uint8)
        like: dict[str, NDArray[Any]] = {"cutter": none, "waiting": none, "notes": self._notes}
        arrays = unpack(saved, self._head, like, ragged=("cutter", "waiting"))
        self._waiting.restore(arrays["waiting"].tobytes())
        self._cutter.restore(arrays["cutter"].tobytes())
        self._notes = arrays["notes"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-steps", "version": 1}

    def _is_rest(self, step: FinishedStep) -> bool:
        return step.state in self._states.rest

    def _is_edge(self, step: FinishedStep) -> bool:
        """A pulse, or any other load out of a rest."""
        load = step.state not in self._states.rest | self._states.idle | self._states.ended
        return step.state in self._states.pulse or (load and step.before_state in self._states.rest)

    def _has_circuit(self, step: FinishedStep) -> bool:
        """A rest with the whole of a pulse and some of the rest before that in front."""
        if step.before == 0 or not step.whole or step.before_state not in self._states.pulse:
            return False
        current = np.abs(step.columns["current_a"])
        return bool(current[step.before - 1] <= REST_PART * np.nanmax(current[step.before : step.begin]))

    def _estimates(self, waiters: Sequence[Waiter]) -> list[Frame]:
        """All streams of all steps; those of one lot in one call each."""
        frames: list[Frame] = []
        for labels in {tuple(sorted(labels.items())): labels for _, labels in waiters}.values():
            steps = [step for step, own in waiters if own == labels]
            rests = [step for step in steps if self._is_rest(step)]
            for stream, chosen, estimate in (
                ("cell_pulse", [step for step in steps if self._is_edge(step)], self._pulses),
                ("cell_ecm", [step for step in rests if self._has_circuit(step)], circuits),
                ("cell_rest", rests, relaxations),
            ):
                if chosen:
                    frames.append(self._frame(stream, labels, chosen, estimate))
        return frames

    def _frame(
        self,
        stream: str,
        labels: Labels,
        steps: Sequence[FinishedStep],
        estimate: Callable[[Sequence[FinishedStep]], tuple[Int64Array, Columns]],
    ) -> Frame:
        time_ns, columns = estimate(steps)
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
        channels = [step.channel for step in steps]
        return channels_result(self._device, stream, labels, time_ns, channels, columns, self._like)
