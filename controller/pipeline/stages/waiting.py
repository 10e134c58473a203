"""Finished steps that wait for kernels which still compile. Bounded; part of a checkpoint. No estimate in here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.steps import KEPT, FinishedStep
from controller.types import Int64Array
from twin.checkpoint import pack, unpack

ROWS_MAX = 500_000
"""Rows that may wait, 16 MB: all steps of a rack of 1,000 channels in the minutes that a compiler takes."""

Labels = Mapping[str, str]
Waiter = tuple[FinishedStep, Labels]

_FIELDS = (
    "channel", "state", "step", "cycle", "before_state", "next_state", "before", "begin", "begun_ns",
    "before_begun_ns", "last_ns", "whole",
)  # fmt: skip


class Waiting:
    """A queue of finished steps with the labels of the Frame that ended them, oldest first."""

    def __init__(self, notes: int, rows_max: int = ROWS_MAX) -> None:
        self._notes = notes
        self._rows_max = rows_max
        self._steps: list[Waiter] = []
        self._rows = 0

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, steps: Sequence[FinishedStep], labels: Labels) -> int:
        """Let them wait; how many of the oldest had to be given up for that."""
        self._steps += [(step, labels) for step in steps]
        self._rows += sum(step.time_ns.size for step in steps)
        dropped = 0
        while self._rows > self._rows_max:
            self._rows -= self._steps[dropped][0].time_ns.size
            dropped += 1
        del self._steps[:dropped]
        return dropped

    def take(self, most: int) -> list[Waiter]:
        """The oldest of those that wait, at most so many; they wait no longer."""
        taken, self._steps = self._steps[:most], self._steps[most:]
        self._rows -= sum(step.time_ns.size for step, _ in taken)
        return taken

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        steps = [step for step, _ in self._steps]
        words = json.dumps([dict(labels) for _, labels in self._steps]).encode()
        return pack(
            self._head,
            {
                "labels": np.frombuffer(words, dtype=np.uint8),
                "rows": np.array([step.time_ns.size for step in steps], dtype=np.int64),
                "fields": np.array([[int(getattr(s, f)) for f in _FIELDS] for s in steps], dtype=np.int64).reshape(
                    len(steps), len(_FIELDS)
                ),
                "notes": np.array([step.notes for step in steps]).reshape(len(steps), self._notes),
                "time": _joined([step.time_ns for step in steps]),
                "data": np.concatenate([np.zeros((0, len(KEPT))), *(_table(step) for step in steps)]),
            },
        )

    def restore(self, saved: bytes) -> None:
        """Takes a `checkpoint`. ValueError for anything else, and nothing changed."""
        like: dict[str, NDArray[Any]] = {
            "labels": np.zeros(0, dtype=np.uint8),
            "rows": np.zeros(0, dtype=np.int64),
            "fields": np.zeros((0, len(_FIELDS)), dtype=np.int64),
            "notes": np.zeros((0, self._notes)),
            "time": np.zeros(0, dtype=np.int64),
            "data": np.zeros((0, len(KEPT))),
        }
        arrays = unpack(saved, self._head, like, ragged=tuple(like))
        labels, rows = json.loads(arrays["labels"].tobytes()), arrays["rows"]
        items = {len(labels), rows.size, arrays["fields"].shape[0], arrays["notes"].shape[0]}
        lengths = {int(rows.sum()), arrays["time"].size, arrays["data"].shape[0]}
        if len(items) > 1 or len(lengths) > 1 or (rows < 1).any():
            raise ValueError("checkpoint holds steps of unequal lengths")
        ends = np.cumsum(rows)
        self._steps = [
            (_step(arrays, i, slice(int(end - size), int(end))), labels[i])
            for i, (size, end) in enumerate(zip(rows, ends, strict=True))
        ]
        self._rows = int(rows.sum())

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-waiting-steps", "version": 1}


def _joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _table(step: FinishedStep) -> NDArray[np.float64]:
    return np.stack([step.columns[name] for name in KEPT], axis=1)


def _step(arrays: Mapping[str, NDArray[Any]], i: int, part: slice) -> FinishedStep:
    fields = dict(zip(_FIELDS, arrays["fields"][i].tolist(), strict=True))
    fields["whole"] = bool(fields["whole"])
    columns = {name: arrays["data"][part, j].copy() for j, name in enumerate(KEPT)}
    return FinishedStep(time_ns=arrays["time"][part].copy(), columns=columns, notes=arrays["notes"][i].copy(), **fields)
