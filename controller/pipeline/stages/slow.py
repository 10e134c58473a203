"""What slow charges and discharges of a rack's channels say, when such a step ends.

    cell_dqdv   every slow step that crosses enough voltage: named peaks of incremental capacity
    cell_esoh   the same steps: electrode windows, and what was lost since the cell's first fit
    cell_ocv    a slow charge and a slow discharge one after the other: open-circuit voltage, hysteresis, ohmic part

One row a channel and step (for cell_ocv: a pair), at the time of the step's last sample. What the codes mean:
docs/events.md. While the kernels still compile, curves wait (curve_queue.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import CellModel
from controller.errors import BadInputError
from controller.pipeline.curves import Curve, CurveKeeper
from controller.pipeline.late import Late
from controller.pipeline.stages.common import channels_result, samples
from controller.pipeline.stages.curve_queue import CurveQueue, Labels, Waiter
from controller.pipeline.stages.slow_estimates import Columns
from controller.pipeline.stages.slow_memory import CellMemory, without_rows
from controller.pipeline.stages.slow_results import SlowCell, results
from controller.records import event
from controller.types import Frame, TimeSource
from twin.checkpoint import pack, unpack
from twin.esoh import Electrodes
from twin.halfcell import HalfCellError, load
from twin.polarisation import Polarisation

KERNELS = ("dqdv", "dqdv_peaks", "ocv")
ESOH_KERNELS = ("esoh_sweep", "esoh")
"""Called only where the cell file names half-cell tables."""

TAGS = frozenset({"state", "step", "cycle", "voltage_v", "current_a"})
"""What a rack must offer for its slow steps to be followed."""

AT_ONCE = 64
"""Curves of one batch, so that the worker is free again soon: more wait for the next Frame, or call of `catch_up`."""


def slow_cell(model: CellModel, slow_c_rate: float) -> SlowCell:
    """What the cell file says, half-cell tables read. BadInputError: one of those is no table."""
    tables = model.half_cells
    charging = discharging = None
    if tables is not None:
        try:
            positive, negative = load(tables.positive), load(tables.negative)
            giving = load(tables.silicon) if tables.silicon is not None else None
            taking = load(tables.silicon_charge) if tables.silicon_charge is not None else None
        except HalfCellError as error:
            raise BadInputError(f"cell '{model.name}': {error}") from error
        known = Polarisation.known(tables)
        discharging = Electrodes(positive, negative, giving, known)
        charging = Electrodes(positive, negative, taking, known) if (giving is None) == (taking is None) else None
    return SlowCell(model.capacity_ah, model.voltage_min_v, model.voltage_max_v, slow_c_rate, charging, discharging)


class SlowStage:
    """OCV, electrode windows and incremental capacity of one rack."""

    def __init__(self, device: str, points: int, cell: SlowCell, late: Late) -> None:
        self._device, self._cell, self._late = device, cell, late
        late.need(*KERNELS, *(ESOH_KERNELS if cell.has_tables else ()))
        self._keeper = CurveKeeper(points, cell.capacity_ah)
        self._waiting = CurveQueue("waiting")
        self._memory = CellMemory(points)
        self._like = "channel", TimeSource.DEVICE
        self._ended = False

    def process(self, frame: Frame) -> list[Frame]:
        """Rows for every slow step that ended with this Frame, or earlier and had to wait."""
        wanted: list[Curve] = []
        for rows in samples(frame):
            for curve in self._keeper.feed(frame, rows):
                if self._cell.is_slow(curve):
                    wanted.append(curve)
                elif self._cell.is_first_charge(curve):
                    wanted.append(without_rows(curve))
        self._like = frame.point_name, frame.time_source
        dropped = self._waiting.add(wanted, frame.labels)
        lost = f"{dropped} slow curves could not wait any longer for their kernels and stay without estimates"
        said = [event(self._device, int(frame.time_ns.max()), "warning", lost)] if dropped else []
        taken = self._waiting.take(AT_ONCE) if self._late.ready else []
        # Also where no row follows: a first charge has changed what is remembered of its cell.
        self._ended = bool(wanted or taken)
        return [*said, *self._estimates(taken)]

    def catch_up(self) -> list[Frame]:
        """Rows for the oldest curves that waited, when the kernels are there."""
        return self._estimates(self._waiting.take(AT_ONCE)) if self.waits() else []

    def waits(self) -> bool:
        """Whether curves wait that can be worked off."""
        return self._late.ready and len(self._waiting) > 0

    def urgent(self) -> bool:
        """Whether a slow step has just ended, or one that waited has got its rows: once only, a restart must know."""
        return self._ended

    def checkpoint(self) -> bytes:
        """Open curves, those that wait, and what is remembered of each cell."""
        parts = {"keeper": self._keeper.checkpoint(), "memory": self._memory.checkpoint()}
        arrays = {name: np.frombuffer(part, dtype=np.uint8) for name, part in parts.items()}
        return pack(self._head, {**arrays, **self._waiting.arrays()})

    def restore(self, saved: bytes) -> None:
        """Continue from it. Raises ValueError."""
        none = np.zeros(0, dtype=np.uint8)
        like: dict[str, NDArray[Any]] = {"keeper": none, "memory": none, **self._waiting.like}
        arrays = unpack(saved, self._head, like, ragged=tuple(like))
        self._waiting.restore(arrays)
        self._memory.restore(arrays["memory"].tobytes())
        self._keeper.restore(arrays["keeper"].tobytes())

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-slow", "version": 1}

    def _estimates(self, waiters: Sequence[Waiter]) -> list[Frame]:
        """All streams of all curves; those of one lot in one call each."""
        frames: list[Frame] = []
        lots: dict[str, Labels] = {json.dumps(sorted(labels.items())): labels for _, labels in waiters}
        for words, labels in lots.items():
            curves = [curve for curve, own in waiters if own == labels]
            self._memory.lot(words)
            for stream, ended, columns in results(self._cell, self._memory, curves):
                frames.append(self._frame(stream, labels, ended, columns))
        return frames

    def _frame(self, stream: str, labels: Labels, curves: Sequence[Curve], columns: Columns) -> Frame:
        time_ns = np.array([curve.last_ns for curve in curves], dtype=np.int64)
        channels = [curve.channel for curve in curves]
        return channels_result(self._device, stream, labels, time_ns, channels, columns, self._like)
