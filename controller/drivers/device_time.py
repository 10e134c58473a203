"""Whose time a row carries: a device's stamps as long as they can be believed, else a time that goes on evenly.

Pure; our own time comes as an argument. Both drivers use it: point by point for Modbus, for a whole group for OPC UA.

Theory of operation (docs/decisions/0014-device-clocks.md). The times of one point's rows only ever grow. A stamp is
believed when it is later than the last row and not in our future. Otherwise the row is *ours*, quality UNCERTAIN:

    clock went back, or into our future    device's stamps minus the size of the jump: intervals stay the device's
    went back by less than the tolerance   half the interval, until the device's own stamps are later again
    same stamp, other values               the clock stands: the last row's time plus what passed here
    no possible stamp                      the same

It is believed again as soon as it is later than the last row and agrees with what it was before, or with our clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.records import CLOCK_SET
from controller.types import Float64Array, Frame, FrameKind, Int64Array, Quality, TimeSource

Rows = NDArray[np.bool_]

TOLERANCE_S = 30.0
"""Plant seconds by which a device's clock may be off without a word; below what people set wrongly, above drift."""

JITTER_S = 1.0
"""Wall seconds that a reading may be old; at a high speed of plant time this is more than the tolerance."""

QUIET_S = 300.0
"""Plant seconds without a trouble before it is over, and may be told anew."""

_OURS = "rows carry a time of ours, quality uncertain"
_DRIFT = 1000  # a device's clock that loses more than a thousandth is out of order
_NEVER = np.iinfo(np.int64).min // 4
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be told of a clock."""

    severity: str
    text: str
    source: str = "clock"


class DeviceTime:
    """Memory of the stamps of one group's points. Outlives connections."""

    def __init__(
        self, points: int, period_s: float, speed: float = 1.0, floor_ns: int = 0, resolution_s: float = 0.0
    ) -> None:
        """`floor_ns`: the newest row that an earlier process has left of this stream; 0: none.

        `resolution_s`: a clock that counts whole seconds shows the same one to two readings, and does not stand.
        """
        self._points = points
        self._period_ns = max(1, int(period_s * _NS))
        self._tolerance_ns = int(max(TOLERANCE_S, 3 * period_s, JITTER_S * speed) * _NS)
        self._stands_ns = max(self._period_ns // 2, int(resolution_s * _NS))
        self._raw = np.full(points, floor_ns, dtype=np.int64)  # last possible stamp
        self._out = np.full(points, floor_ns, dtype=np.int64)  # time of the last row
        self._here = np.zeros(points, dtype=np.int64)  # our time then
        self._heard = np.zeros(points, dtype=np.int64)  # our time when it had been read: its stamp is no later
        self._ref = np.full(points, _NEVER, dtype=np.int64)  # device minus ours while believed; delays make it less
        self._moved = np.full(points, _NEVER, dtype=np.int64)  # the same while it is not believed
        self._shift = np.zeros(points, dtype=np.int64)  # what is taken off its stamps then
        self._off = np.zeros(points, dtype=np.bool_)
        self._told = np.zeros(points, dtype=np.bool_)
        self._sound = False  # nothing is off at any point
        self._troubles: dict[str, int] = {}  # trouble -> our time when it was last seen
        self._notes: list[Note] = []
        self.jumps = 0

    def notes(self) -> list[Note]:
        """What is to be told since the last call."""
        taken, self._notes = self._notes, []
        return taken

    def repeats(self, raw_ns: Int64Array) -> bool:
        """Whether any point shows the stamp again that it had; only then does `changed` matter to `judge`."""
        return bool((raw_ns == self._raw).any())

    def judge(
        self, raw_ns: Int64Array, now_ns: int, changed: Rows | None = None, heard_ns: int | None = None
    ) -> tuple[Int64Array, Rows, Rows]:
        """(time, believed, dropped) per point. `raw_ns` 0: no possible stamp; `changed`: values differ from the last.

        Our time: `now_ns` before the device was asked, `heard_ns` when it had answered; None: it came by itself.
        A dropped row is the one before again. What is neither believed nor dropped carries a time of ours.
        """
        off = raw_ns - now_ns
        if self._sound and (raw_ns > self._out).all() and (off <= self._ref + self._tolerance_ns).all():
            self._ref = np.maximum(off, self._ref - (now_ns - self._here) // _DRIFT)
            self._raw = self._out = raw_ns
            self._here = np.full(self._points, now_ns, dtype=np.int64)
            self._heard = np.full(self._points, now_ns if heard_ns is None else heard_ns, dtype=np.int64)
            if self._troubles:
                self._troubles_now(now_ns)
            whole = np.ones(self._points, dtype=np.bool_)
            return raw_ns, whole, ~whole
        found = self._look_closely(raw_ns, off, now_ns, np.ones_like(self._off) if changed is None else changed)
        self._heard = np.where(found[2], self._heard, now_ns if heard_ns is None else heard_ns)
        return found

    def _look_closely(
        self, raw: Int64Array, off: Int64Array, now_ns: int, changed: Rows
    ) -> tuple[Int64Array, Rows, Rows]:
        tolerance = self._tolerance_ns
        self._forget_impossible_floor(now_ns)
        known, possible = self._ref > _NEVER, raw > 0
        repeated = possible & (raw == self._raw)
        future = off > np.maximum(self._ref, 0) + tolerance
        agrees = (np.abs(off) <= tolerance) | (known & (np.abs(off - self._ref) <= tolerance))
        sound = possible & ~repeated & ~future
        believed = sound & (raw > self._out) & (~self._off | agrees)
        # From the last answer to this question: an answer on its way for long says nothing of the device's clock.
        stands = repeated & changed & (now_ns - self._heard >= self._stands_ns) & (self._here > 0)
        # The first reading after a restart of ours may be of before it.
        before = sound & ~known & ~self._off & (raw <= self._out) & (self._out - raw <= tolerance) & (self._here == 0)
        dropped = (repeated & ~stands) | before
        ours = ~believed & ~dropped

        passed = np.maximum(now_ns - self._here, 0)
        step = np.where(passed < self._period_ns // 2, self._period_ns, passed)
        expected = np.where(self._here > 0, self._out + step, np.maximum(now_ns, self._out + 1))
        slow = ours & sound & agrees
        again = (raw < self._raw) | (off > self._moved + tolerance)
        jumped = ours & possible & ~repeated & ~slow & (~self._off | again)
        size = np.where(self._off, off - self._moved, np.where(known, off - self._ref, off))
        self._shift = np.where(jumped, raw - expected, self._shift)
        time = np.where(ours & possible & ~repeated, raw - self._shift, expected)
        time = np.where(slow, self._out + np.maximum(step // 2, 1), time)
        time = np.where(believed, raw, np.maximum(time, self._out + 1))

        begun = jumped | (slow & ~self._off & known & (size < -_NS))
        self._tell(begun, size, believed & self._told, believed & ~self._off, off, known)
        self._told = (self._told | begun) & ~believed
        seen = (("stands still", stands), ("has no time", ours & ~possible))
        self._troubles_now(now_ns, *(name for name, rows in seen if rows.any()))
        first = believed & (self._off | ~known | (off > self._ref + tolerance))
        drifted = np.maximum(off, self._ref - passed // _DRIFT)
        self._ref = np.where(first, off, np.where(believed, drifted, self._ref))
        self._off = (self._off & ~believed) | jumped | slow
        self._moved = np.where(jumped, off, np.where(self._off & possible, np.maximum(off, self._moved), _NEVER))
        self._raw = np.where(possible, raw, self._raw)
        self._out = np.where(dropped, self._out, time)
        self._here = np.where(dropped, self._here, now_ns)
        self._sound = bool((~self._off & (self._ref > _NEVER)).all())
        return time, believed, dropped

    def _forget_impossible_floor(self, now_ns: int) -> None:
        """Rows of an earlier process that are in our future: plant time began anew, and they bound nothing."""
        if not self._here.any() and (self._out > now_ns + self._tolerance_ns).any():
            self._raw = np.zeros_like(self._raw)
            self._out = np.zeros_like(self._out)

    def _tell(self, jumped: Rows, size: Int64Array, back: Rows, sound: Rows, off: Int64Array, known: Rows) -> None:
        if jumped.any():
            self.jumps += 1
            by_s, begun = _typical(size[jumped]), not known[jumped].any() and not self._here[jumped].any()
            what = f"is {by_s:.0f} s ahead of ours" if begun and by_s > 0 else f"went {_way(by_s)}"
            self._notes.append(Note("warning", f"clock {what}{self._where(jumped)}; {_OURS}, until it agrees again"))
        if back.any():
            self._notes.append(Note("info", f"clock agrees again{self._where(back)}"))
        ahead = sound & known & (off > self._ref + self._tolerance_ns)
        if ahead.any():
            text = (
                f"clock was set {_way(_typical((off - self._ref)[ahead]))}{self._where(ahead)}; its stamps are believed"
            )
            self._notes.append(Note("warning", text, CLOCK_SET))
        behind = sound & ~known & (off < -self._tolerance_ns)
        if behind.any():
            text = f"clock is {-_typical(off[behind]):.0f} s behind ours{self._where(behind)}; its stamps are believed"
            self._notes.append(Note("info", text))

    def _troubles_now(self, now_ns: int, *seen: str) -> None:
        """Tell a trouble when it begins, and not again before it has been gone for a while."""
        for name in seen:
            if name not in self._troubles:
                self._notes.append(Note("warning", f"clock {name}; {_OURS}"))
            self._troubles[name] = now_ns
        for name in [name for name in self._troubles if name not in seen]:
            if now_ns - self._troubles[name] >= QUIET_S * _NS:
                del self._troubles[name]
                self._notes.append(Note("info", f"clock no longer {name}"))

    def _where(self, rows: Rows) -> str:
        n = int(np.count_nonzero(rows))
        return f" ({n} of {self._points} points)" if self._points > 1 else ""


def _typical(sizes_ns: Int64Array) -> float:
    return float(np.median(sizes_ns)) / _NS


def _way(by_s: float) -> str:
    return f"back by {-by_s:.0f} s" if by_s < 0 else f"forward by {by_s:.0f} s"


def clock_events(device: str, stream: str, notes: Sequence[Note], time_ns: int) -> list[Frame]:
    """Notes as one Frame of stream `event`, stamped from `time_ns` on; none: no Frame."""
    n = len(notes)
    if not n:
        return []
    none: dict[str, Float64Array] = {}
    return [
        Frame(
            device=device,
            stream="event",
            kind=FrameKind.RECORD,
            time_ns=np.arange(time_ns, time_ns + n, dtype=np.int64),
            point=np.zeros(n, dtype=np.int32),
            point_name="",
            columns=none,
            quality=np.full(n, Quality.GOOD, dtype=np.uint8),
            code=np.zeros(n, dtype=np.uint32),
            time_source=TimeSource.CONTROLLER,
            text={
                "severity": [note.severity for note in notes],
                "source": [note.source for note in notes],
                "message": [f"{device}: the device's {note.text} (stream {stream})" for note in notes],
            },
        )
    ]
