"""Frames to store, and spools that are closed again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controller.types import Frame, FrameKind, TimeSource

T0_NS = 1_760_000_000_000_000_000

MakeFrame = Callable[..., Frame]


def make_frame(k: int = 0, rows: int = 4, stream: str = "channel", device: str = "rack1", **more: object) -> Frame:
    """Frame number k of a device; every value differs from every other Frame's."""
    n = np.arange(rows)
    fields: dict[str, object] = {
        "device": device,
        "stream": stream,
        "kind": FrameKind.RAW,
        "time_ns": np.full(rows, T0_NS + k * 1_000_000_000, np.int64),
        "point": (n + 1).astype(np.int32),
        "point_name": "channel",
        "columns": {"voltage_v": 3.0 + k + n / 1000, "current_a": np.where(n == 1, np.nan, -0.5 * k)},
        "quality": np.zeros(rows, np.uint8),
        "code": np.zeros(rows, np.uint32),
        "labels": {"lot": "CELL-0001"},
    }
    return Frame(**(fields | more))  # type: ignore[arg-type]


def make_record(k: int = 0) -> Frame:
    """A Frame with text, without points and without columns."""
    return make_frame(
        k,
        rows=1,
        stream="command",
        kind=FrameKind.RECORD,
        point=np.zeros(1, np.int32),
        point_name="",
        columns={},
        time_source=TimeSource.CONTROLLER,
        text={"name": ("start",), "reason": (f'an "order", no. {k}\nsecond line',)},
    )


@pytest.fixture
def frame() -> MakeFrame:
    """`make_frame`."""
    return make_frame


@pytest.fixture
def record() -> MakeFrame:
    """`make_record`."""
    return make_record
