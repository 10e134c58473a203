"""What happens to the bytes of one connection in one direction, apart from silence. Pure: time comes as an argument.

Order, from the sender on: frames (twice, late), delay, then piece by piece on the way out: fragment and bandwidth. So a
duplicated reply is delayed too, and a delayed one still comes in pieces.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from simulators.proxy.frames import Replies, Strays
from simulators.proxy.kinds import Broken, Direction, Draws

_SLICE_S = 0.05  # of a limited bandwidth goes out at once: smooth, and a wake-up costs little


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that may leave at `due_s`; without bytes: the sender has ended (`reset`: abruptly)."""

    due_s: float
    data: bytes
    reset: bool = False


class Lane:
    """One direction of one connection."""

    def __init__(self, broken: Broken, connection: int, way: Direction, strays: Strays | None = None) -> None:
        """`strays`: late replies of earlier connections, where this is the way of Modbus replies."""
        self.applied: Counter[str] = Counter()
        self._broken, self._way = broken, way
        self._draws = Draws(broken.seed, connection, way)
        self._replies = None if strays is None else Replies(broken, self._draws, strays)
        self._due_s = 0.0
        self._fragment_left = 0
        self._reset: tuple[int, float] = (0, 0.0)  # count of the net_reset, bytes left until then

    @property
    def due_s(self) -> float | None:
        """When `release` is to be called though nothing comes."""
        return self._replies.due_s if self._replies is not None else None

    def take(self, data: bytes, now_s: float) -> list[Piece]:
        """What has come from the sender -> what goes on, and when."""
        if self._replies is None:
            return self._timed([data], now_s)
        pieces = self._timed(self._replies.take(data, now_s), now_s)
        self._count_frames()
        return pieces

    def release(self, now_s: float) -> list[Piece]:
        """Replies that were held and go on now."""
        return self._timed(self._replies.release(now_s), now_s) if self._replies is not None else []

    def end(self, reset: bool, now_s: float) -> list[Piece]:
        """The sender has ended: what there is, then the end."""
        rest = self._replies.cutter.flush() if self._replies is not None else b""
        last = self._timed([rest], now_s) if rest else []
        return [*last, Piece(max(self._due_s, now_s), b"", reset)]

    def gone(self) -> None:
        """The connection is no more."""
        if self._replies is not None:
            self._replies.end()

    def step(self, size: int) -> tuple[int, float]:
        """How many of `size` bytes leave at once, and seconds of pause after them. Nothing leaves: time for a reset."""
        count, pause_s = size, 0.0
        if (reset := self._reset_left()) is not None:
            count = min(count, int(reset))
        if (fragment := self._broken.get("net_fragment", self._way)) is not None:
            if not self._fragment_left:
                self._fragment_left = self._draws.of(fragment).randint(1, int(fragment.number("bytes")))
            count = min(count, self._fragment_left)
            self._fragment_left -= count
            pause_s = fragment.number("gap_s")
            self.applied["net_fragment"] += 1
        if (limit := self._broken.get("net_bandwidth", self._way)) is not None:
            rate = limit.number("bytes_per_s")
            slice_bytes = max(1, int(rate * _SLICE_S))
            self._fragment_left += max(0, count - slice_bytes) if fragment is not None else 0
            count = min(count, slice_bytes)
            pause_s = max(pause_s, count / rate)
            self.applied["net_bandwidth"] += 1
        if reset is not None:
            self._reset = self._reset[0], reset - count
        return count, pause_s

    def _reset_left(self) -> float | None:
        """Bytes until this connection is reset; None when it is not."""
        begun = self._broken.get("net_reset") if self._way is Direction.TO_CLIENT else None
        if begun is None:
            return None
        if self._reset[0] != begun.count:
            self._reset = begun.count, begun.number("after_bytes")
        return self._reset[1]

    def _timed(self, pieces: list[bytes], now_s: float) -> list[Piece]:
        """In order, each with the moment at which it may leave."""
        begun = self._broken.get("net_delay", self._way)
        timed = []
        for data in pieces:
            due_s = now_s
            if begun is not None:
                spread_s = begun.number("jitter_s") * self._draws.of(begun).uniform(-1.0, 1.0)
                due_s += max(0.0, begun.number("delay_s") + spread_s)
                self.applied["net_delay"] += 1
            self._due_s = max(self._due_s, due_s)
            timed.append(Piece(self._due_s, data))
        return timed

    def _count_frames(self) -> None:
        if self._replies is not None and self._replies.applied:
            self.applied.update(self._replies.applied)
            self._replies.applied.clear()
