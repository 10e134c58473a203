"""Builds record Frames: what celltwin itself did or noticed, in the same unit of transport as everything else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controller.types import Frame, FrameKind, Quality, TimeSource

CONNECTION = "connection"
"""Source of an event that says that a device's connection was interrupted: its streams may have a gap there."""

CLOCK_SET = "clock set"
"""Source of an event that says that a device's clock was set forward: the hole in its stamps is no loss of data."""


def event(device: str, time_ns: int, severity: str, message: str) -> Frame:
    """One line for people: `severity` is info, warning or error; `device` is a device id or "line"."""
    return record(device, "event", time_ns, {}, {"severity": severity, "source": "controller", "message": message})


def record(
    device: str,
    stream: str,
    time_ns: int,
    columns: Mapping[str, float],
    text: Mapping[str, str],
    quality: Quality = Quality.GOOD,
) -> Frame:
    """A record Frame of one row, stamped by our own clock."""
    return Frame(
        device=device,
        stream=stream,
        kind=FrameKind.RECORD,
        time_ns=np.array([time_ns], dtype=np.int64),
        point=np.zeros(1, dtype=np.int32),
        point_name="",
        columns={name: np.array([value], dtype=np.float64) for name, value in columns.items()},
        quality=np.array([quality], dtype=np.uint8),
        code=np.zeros(1, dtype=np.uint32),
        time_source=TimeSource.CONTROLLER,
        text={name: (value,) for name, value in text.items()},
    )
