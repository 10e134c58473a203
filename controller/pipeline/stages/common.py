"""What the stages share: thinning of results, rows with each point once, a result Frame. No twin in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from controller.types import Float64Array, Frame, FrameKind, Int64Array, Quality, TimeSource

NS_PER_S = 1_000_000_000


class Due:
    """Thins results to one per period of plant time; a period of 0 publishes always."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = int(period_s * NS_PER_S)
        self._next_ns: int | None = None

    def is_due(self, time_ns: Int64Array) -> bool:
        newest = int(time_ns.max())
        if self._next_ns is not None and newest < self._next_ns:
            return False
        self._next_ns = newest + self._period_ns
        return True


def samples(frame: Frame) -> Iterator[NDArray[np.int64]]:
    """Row indices of the Frame such that each part has every point at most once, oldest first."""
    if np.unique(frame.point).size == frame.rows:
        yield np.arange(frame.rows)
        return
    for time_ns in np.unique(frame.time_ns):
        yield np.flatnonzero(frame.time_ns == time_ns)


def result(
    frame: Frame,
    stream: str,
    time_ns: Int64Array,
    point: NDArray[np.int32],
    columns: Mapping[str, Float64Array],
    quality: NDArray[np.uint8],
    point_name: str | None = None,
) -> Frame:
    """A result Frame of the device whose Frame led to it, with that Frame's labels."""
    return Frame(
        device=frame.device,
        stream=stream,
        kind=FrameKind.RESULT,
        time_ns=time_ns,
        point=point,
        point_name=frame.point_name if point_name is None else point_name,
        columns=columns,
        quality=quality,
        code=np.zeros(time_ns.size, dtype=np.uint32),
        time_source=frame.time_source,
        labels=frame.labels,
    )


def channels_result(
    device: str,
    stream: str,
    labels: Mapping[str, str],
    time_ns: Int64Array,
    channels: Sequence[int],
    columns: Mapping[str, Float64Array],
    like: tuple[str, TimeSource],
) -> Frame:
    """A result Frame of events of single channels. `like`: point name and time source of the device's own Frames."""
    point_name, time_source = like
    return Frame(
        device=device,
        stream=stream,
        kind=FrameKind.RESULT,
        time_ns=time_ns,
        point=np.array(channels, dtype=np.int32),
        point_name=point_name,
        columns=columns,
        quality=np.full(time_ns.size, Quality.GOOD, dtype=np.uint8),
        code=np.zeros(time_ns.size, dtype=np.uint32),
        time_source=time_source,
        labels=labels,
    )
