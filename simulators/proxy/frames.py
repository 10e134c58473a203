"""Cuts a stream into Modbus TCP frames, delivers replies twice or late. Pure: time comes as an argument.

Framing: MODBUS Messaging on TCP/IP V1.0b, 3.1.3 (transaction, protocol 0, length of what follows).
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from simulators.proxy.kinds import Begun, Broken, Draws

_HEADER = struct.Struct(">HHH")
_LONGEST = 254
MAX_STRAYS = 16
"""Replies that wait for a next connection; the oldest go first."""

Strays = deque[bytes]


class FrameCutter:
    """Bytes in, whole frames out. What is no Modbus TCP passes as it comes, from there on."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of the frame that has begun
        self._passed = 0  # bytes of it that have been given out
        self._opaque = False

    def feed(self, data: bytes, whole: bool) -> list[tuple[bytes, bool]]:
        """Pieces, and whether each is a complete frame. Without `whole` a part of a frame is not kept back."""
        if self._opaque:
            return [(data, False)]
        self._rest += data
        pieces: list[tuple[bytes, bool]] = []
        while len(self._rest) >= _HEADER.size:
            _, protocol, length = _HEADER.unpack_from(self._rest)
            if protocol != 0 or not 2 <= length <= _LONGEST:
                self._opaque, whole = True, False
                break
            end = _HEADER.size + length
            if len(self._rest) < end:
                break
            pieces.append((bytes(self._rest[self._passed : end]), self._passed == 0))
            del self._rest[:end]
            self._passed = 0
        if not whole and len(self._rest) > self._passed:
            pieces.append((self.flush(), False))
        return pieces

    def flush(self) -> bytes:
        """What has been kept back of a frame that is not complete."""
        part = bytes(self._rest[self._passed :])
        self._passed = len(self._rest)
        if self._opaque:
            self._rest.clear()
            self._passed = 0
        return part


@dataclass(slots=True)
class _Held:
    frame: bytes
    begun: Begun
    due_s: float


@dataclass(slots=True)
class Replies:
    """The replies of one connection on their way to the client."""

    broken: Broken
    draws: Draws
    strays: Strays  # of connections that are gone, shared by all of a proxy
    cutter: FrameCutter = field(default_factory=FrameCutter)
    applied: list[str] = field(default_factory=list)  # kinds of what was done to frames since somebody looked
    _held: list[_Held] = field(default_factory=list)
    _copies: list[bytes] = field(default_factory=list)  # due after the next reply

    @property
    def due_s(self) -> float | None:
        """When `release` has something to give though no reply comes."""
        return min((held.due_s for held in self._held), default=None)

    def take(self, data: bytes, now_s: float) -> list[bytes]:
        """What goes to the client of what has come, in order; pieces of frames when nothing is done to frames."""
        late, twice = self.broken.get("net_late"), self.broken.get("net_duplicate")
        pieces: list[bytes] = []
        for piece, whole in self.cutter.feed(data, late is not None or twice is not None):
            if not whole:
                pieces.append(piece)
            elif late is not None and not self._held and self._chosen(late):
                self._held.append(_Held(piece, late, now_s + late.number("hold_s")))
                self.applied.append("net_late")
            else:
                pieces += self._deliver(piece, twice)
        return pieces

    def _deliver(self, frame: bytes, twice: Begun | None) -> list[bytes]:
        before = [*self.strays, *(h.frame for h in self._held if h.begun.settings["order"] == "before")]
        after = [*self._copies, *(h.frame for h in self._held if h.begun.settings["order"] == "after")]
        self.strays.clear()
        self._held.clear()
        self._copies.clear()
        if twice is not None and self._chosen(twice):
            self.applied.append("net_duplicate")
            if twice.settings["order"] == "at_once":
                after.insert(0, frame)
            else:
                self._copies.append(frame)
        return [*before, frame, *after]

    def release(self, now_s: float) -> list[bytes]:
        """Replies that have been held for as long as they may be."""
        due = [held for held in self._held if held.due_s <= now_s]
        self._held = [held for held in self._held if held.due_s > now_s]
        return [held.frame for held in due]

    def end(self) -> None:
        """The connection is gone: what is held is lost or waits for the next one."""
        for held in self._held:
            if held.begun.settings["connection"] == "next" and self.broken.get("net_late") is not None:
                self.strays.append(held.frame)
        self._held.clear()

    def _chosen(self, begun: Begun) -> bool:
        return self.draws.of(begun).random() < begun.number("share")
