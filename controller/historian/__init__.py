"""Historian: every Frame goes to the spool on disk first, and from there to the sinks. See docs/decisions/0002."""

from controller.historian.batch import Batch, Delivered, Outcome, RejectedRow, RetryLater
from controller.historian.drainer import Drainer
from controller.historian.sink import Sink, SinkStart
from controller.historian.spool import Spool

__all__ = [
    "Batch",
    "Delivered",
    "Drainer",
    "Outcome",
    "RejectedRow",
    "RetryLater",
    "Sink",
    "SinkStart",
    "Spool",
]
