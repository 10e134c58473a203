"""What the historian asks of a sink. A sink moves batches to one place; it keeps no cursor and no retry policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.historian.batch import Batch, Outcome


@dataclass(frozen=True, slots=True)
class SinkStart:
    """Where a sink stands when it starts: everything up to `cursor` was booked before."""

    spool_id: str
    cursor: int
    last_seq: int


class Sink(Protocol):
    """One place that data go to. Construction checks arguments (BadInputError) and opens nothing."""

    @property
    def name(self) -> str:
        """Name of its account in the spool: "parquet", "influxdb"."""
        ...

    @property
    def max_rows(self) -> int:
        """Deliver as soon as so many rows wait ..."""
        ...

    @property
    def linger_s(self) -> float:
        """... or when the oldest has waited so many wall seconds."""
        ...

    async def start(self, where: SinkStart) -> None:
        """Called once before the first delivery. StorageError or BadInputError where it can never work."""
        ...

    async def deliver(self, batches: Sequence[Batch]) -> Outcome:
        """Moves the batches, oldest first and never empty. The same batches may come again, also after a restart.

        StorageError for what a person must repair; the drainer says so once and tries again.
        """
        ...

    async def close(self) -> None:
        """Closes what is open. Safe at any time; never raises."""
        ...
