"""Finds holes in a device's data and says so as data. Pure: stamps in, gap records out; no clock, no I/O.

A polled stream is gap-free when consecutive stamps lie within GAP_PERIODS periods, or within JITTER_S wall seconds when
plant time runs fast: a busy host is no fault of the plant. A subscribed stream may be silent for as long as nothing
changes, so silence alone is no gap there: only a silence across a lost connection, or across a restart of ourselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from controller.types import Frame, FrameKind, Quality, TimeSource

GAP_PERIODS = 3.5
"""A skipped poll or two is jitter of a busy box and visible in the stamps; more than that is a hole worth a record."""

JITTER_S = 0.5
"""Wall seconds that a busy host may lose. Against real equipment, at a period of 1 s, GAP_PERIODS is what counts."""


@dataclass(frozen=True, slots=True)
class StreamRule:
    """What a stream's regular distance between stamps is, and whether silence alone counts."""

    period_s: float
    polled: bool


class GapDetector:
    """Last stamp of every stream of one line; survives a restart through `checkpoint` and `restore`."""

    def __init__(self, rules: Mapping[tuple[str, str], StreamRule], speed: float = 1.0) -> None:
        self._rules = rules
        self._jitter_s = JITTER_S * speed
        self._last_ns: dict[tuple[str, str], int] = {}
        self._broken: dict[tuple[str, str], tuple[str, int]] = {}

    def broken(self, device: str, reason: str, at_ns: int) -> None:
        """The connection of `device` was found interrupted at plant time `at_ns`: its streams may have a gap there.

        A server that comes back may first repeat old values, so the suspicion lasts until data newer than `at_ns` came.
        """
        for key in self._last_ns:
            if key[0] == device:
                self._broken.setdefault(key, (reason, at_ns))

    def observe(self, frame: Frame) -> Frame | None:
        """Take a Frame into account; returns a gap record when data are missing before it."""
        key = (frame.device, frame.stream)
        rule = self._rules.get(key)
        if rule is None or frame.rows == 0:
            return None
        newest = int(frame.time_ns.max())
        last = self._last_ns.get(key)
        self._last_ns[key] = newest if last is None else max(last, newest)
        reason, at_ns = self._broken.get(key, (None, 0))
        if reason is not None and newest > at_ns:
            del self._broken[key]
        if last is None or newest <= last or (reason is None and not rule.polled):
            return None
        stamps = np.unique(np.append(frame.time_ns[frame.time_ns > last], last))
        longest = int(np.argmax(np.diff(stamps)))
        silence_s = float(stamps[longest + 1] - stamps[longest]) / 1e9
        if silence_s <= max(GAP_PERIODS * rule.period_s, self._jitter_s):
            return None
        why = reason or "device did not keep its period, or polls were late"
        return _record(frame, int(stamps[longest]), silence_s, why)

    def newest(self, device: str) -> dict[str, int]:
        """Last stamp of each of the device's streams, as far as known."""
        return {stream: ns for (owner, stream), ns in self._last_ns.items() if owner == device}

    def checkpoint(self) -> bytes:
        """Last stamps, for the durable state of the run folder."""
        return json.dumps([[device, stream, ns] for (device, stream), ns in self._last_ns.items()]).encode()

    def restore(self, saved: bytes, reason: str) -> None:
        """Continue from an earlier process's stamps; what lies between is a gap with this `reason`."""
        for device, stream, ns in json.loads(saved):
            self._last_ns[(device, stream)] = ns
            self._broken[(device, stream)] = (reason, ns)


def _record(frame: Frame, from_ns: int, silence_s: float, reason: str) -> Frame:
    return Frame(
        device=frame.device,
        stream="gap",
        kind=FrameKind.RECORD,
        time_ns=np.array([from_ns], dtype=np.int64),
        point=np.zeros(1, dtype=np.int32),
        point_name="",
        columns={"duration_s": np.array([silence_s])},
        quality=np.array([Quality.BAD], dtype=np.uint8),
        code=np.zeros(1, dtype=np.uint32),
        time_source=TimeSource.DEVICE,
        text={"reason": (reason,)},
        # A label, not a text: two streams of one device may break off at the same stamp and must stay two points.
        labels={**frame.labels, "of_stream": frame.stream},
    )
