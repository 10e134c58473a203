"""Curves of steps as part of a checkpoint: those that wait for kernels, and those kept for their counterpart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.pipeline.curves import Curve

ROWS_MAX = 1_000_000
"""Rows that may wait, 4 MB: a charge and a discharge of a rack of 1,000 channels."""

Labels = Mapping[str, str]
Waiter = tuple[Curve, Labels]

_INTS = tuple(f.name for f in fields(Curve) if f.type in {"int", "bool"})
_REALS = tuple(f.name for f in fields(Curve) if f.type == "float")
PARTS = ("labels", "rows", "ints", "reals", "data")


class CurveQueue:
    """Curves in the order they came, each with the labels of the Frame that ended it."""

    def __init__(self, name: str, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._waiters: list[Waiter] = []
        self._name = name

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, curves: Sequence[Curve], labels: Labels) -> int:
        """Let them wait; how many of the oldest had to be given up for that."""
        self._waiters += [(curve, labels) for curve in curves]
        rows = sum(len(curve.rows) for curve, _ in self._waiters)
        dropped = 0
        while rows > self._rows_max:
            rows -= len(self._waiters[dropped][0].rows)
            dropped += 1
        del self._waiters[:dropped]
        return dropped

    def take(self, most: int) -> list[Waiter]:
        """The oldest of those that wait, at most so many; they wait no longer."""
        taken, self._waiters = self._waiters[:most], self._waiters[most:]
        return taken

    @property
    def like(self) -> dict[str, NDArray[Any]]:
        """Shapes and types of its arrays, every one ragged."""
        kinds: tuple[NDArray[Any], ...] = (
            np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64), np.zeros((0, len(_INTS)), dtype=np.int64),
            np.zeros((0, len(_REALS))), np.zeros((0, 2), dtype=np.uint16),
        )  # fmt: skip
        return {f"{self._name}_{part}": kind for part, kind in zip(PARTS, kinds, strict=True)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a checkpoint."""
        curves = [curve for curve, _ in self._waiters]
        words = json.dumps([dict(labels) for _, labels in self._waiters]).encode()
        n = len(curves)
        parts: tuple[NDArray[Any], ...] = (
            np.frombuffer(words, dtype=np.uint8),
            np.array([len(curve.rows) for curve in curves], dtype=np.int64),
            np.array([[int(getattr(c, f)) for f in _INTS] for c in curves], dtype=np.int64).reshape(n, len(_INTS)),
            np.array([[getattr(c, f) for f in _REALS] for c in curves], dtype=np.float64).reshape(n, len(_REALS)),
            np.concatenate([np.zeros((0, 2), dtype=np.uint16), *(curve.rows for curve in curves)]),
        )
        return {f"{self._name}_{part}": array for part, array in zip(PARTS, parts, strict=True)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over those. Raises ValueError."""
        words, rows, ints, reals, data = (arrays[f"{self._name}_{part}"] for part in PARTS)
        labels = json.loads(words.tobytes())
        if (
            {len(labels), rows.size, len(ints), len(reals)} != {rows.size}
            or (rows < 0).any()
            or rows.sum() != len(data)
        ):
            raise ValueError("checkpoint holds curves that do not add up")
        self._waiters = []
        for i, end in enumerate(np.cumsum(rows).tolist()):
            numbers: dict[str, Any] = dict(zip(_INTS, ints[i].tolist(), strict=True))
            numbers |= dict(zip(_REALS, reals[i].tolist(), strict=True)) | {"whole": bool(numbers["whole"])}
            self._waiters.append((Curve(**numbers, rows=data[end - rows[i] : end].copy()), labels[i]))
