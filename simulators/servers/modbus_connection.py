"""One client of a Modbus server: requests in, answers out, in order and in their time. Knows no registers.

Answers that take no time leave at once, all of one segment in one piece. Others wait in a queue: each leaves its delay
after the one before it, as from a device that does one thing at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from configs.schema import Pipelined
from simulators.servers.modbus_frames import Framer, FramingError, Request
from simulators.servers.modbus_pdu import BUSY, exception


class Desk(Protocol):
    """What a connection asks of its server."""

    pipelined: Pipelined

    def opened(self, connection: Connection) -> bool:
        """A client has come; False: it shall go."""
        ...

    def closed(self, connection: Connection) -> None:
        """A client has gone."""
        ...

    def answer(self, request: Request, broadcasts: bool) -> bytes | None:
        """The PDU of an answer; None for silence."""
        ...

    @property
    def delay_s(self) -> float:
        """Wall seconds that the next answer takes."""
        ...


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, desk: Desk, framer: Framer, character_s: float = 0.0) -> None:
        """`character_s`: wall seconds that one byte takes on the line, both ways."""
        self._desk = desk
        self._framer = framer
        self._character_s = character_s
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._full = False  # the client does not read
        self._held = False  # the client is not served yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._desk.opened(self):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._transport = None
        self._desk.closed(self)

    def pause_writing(self) -> None:
        # A client that asks and does not read is not asked again until it has read.
        self._full = True
        self._throttle()

    def resume_writing(self) -> None:
        self._full = False
        self._throttle()

    def hold(self, on: bool) -> None:
        """Leave the client open and unheard, or hear it."""
        self._held = on
        self._throttle()

    def _throttle(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._full or self._held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """Hang up; what has been answered is dropped with the socket."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            requests = self._framer.feed(data)
        except FramingError:
            self.close()
            return
        at_once = []
        for number, request in enumerate(requests):
            if (number or self._waiting) and self._desk.pipelined is not Pipelined.IN_ORDER:
                if self._desk.pipelined is Pipelined.REFUSED:
                    at_once.append(self._framer.wrap(request, exception(request.pdu[0], BUSY)))
                continue
            pdu = self._desk.answer(request, self._framer.broadcasts)
            if pdu is None:
                continue
            reply = self._framer.wrap(request, pdu)
            # On a slow line the answer is there when its last byte is; the request's bytes came at once, so add them.
            delay_s = self._desk.delay_s + self._character_s * (len(request.pdu) + 3 + len(reply))
            if delay_s or self._waiting:
                self._later(reply, delay_s)
            else:
                at_once.append(reply)
        if at_once and self._transport is not None:
            self._transport.write(b"".join(at_once))

    def _later(self, reply: bytes, delay_s: float) -> None:
        now = asyncio.get_running_loop().time()
        begins = self._waiting[-1][0] if self._waiting else now
        self._waiting.append((begins + delay_s, reply))
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self._due) if self._waiting else None

    def _due(self) -> None:
        _, reply = self._waiting.popleft()
        self._arm()
        if self._transport is not None:
            self._transport.write(reply)
