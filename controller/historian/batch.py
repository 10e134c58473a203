"""What the spool hands to sinks and what sinks answer. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.errors import StorageError
from controller.historian.codec import FrameDecoder
from controller.types import Frame


@dataclass(frozen=True, slots=True)
class Batch:
    """One Frame as it lies in the spool."""

    seq: int  # rises by one with every Frame ever accepted; never reused
    stream: str
    rows: int
    payload: bytes = field(repr=False)

    def frame(self) -> Frame:
        """The Frame, decoded anew at each call. StorageError where the payload is damaged."""
        return FrameDecoder().decode(self.payload)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One row that a sink's server refused for good."""

    seq: int
    stream: str
    row: str  # as it was sent
    reason: str  # as the server said it


@dataclass(frozen=True, slots=True)
class Delivered:
    """All batches are durable at the other end, but for the rejected rows, which never will be."""

    rejected: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing may be assumed to have arrived; the same batches come again after `after_s` or the usual back-off."""

    reason: str
    hint: str = ""
    after_s: float | None = None


Outcome = Delivered | RetryLater


def decode_all(batches: Sequence[Batch], decoder: FrameDecoder) -> tuple[list[tuple[Batch, Frame]], list[RejectedRow]]:
    """The batches' Frames; a payload that no longer decodes is rejected, row for row, rather than tried for ever."""
    frames, rejected = [], []
    for batch in batches:
        try:
            frames.append((batch, decoder.decode(batch.payload)))
        except StorageError as bad:
            rejected += [RejectedRow(batch.seq, batch.stream, "", str(bad))] * batch.rows
    return frames, rejected
