"""Server-sent events: one JSON snapshot per change, at most twice a second, shared by all clients.

A slow client costs its own socket buffer only: each gets the newest snapshot when it is ready for one, never a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from controller.web.view import LiveView

MIN_INTERVAL_S = 0.5
PING_S = 5.0
MAX_CLIENTS = 32


class EventFeed:
    """Hands snapshots to clients. Open until `close`, which ends every client's stream."""

    def __init__(
        self,
        view: LiveView,
        render: Callable[[], bytes],
        min_interval_s: float = MIN_INTERVAL_S,
        ping_s: float = PING_S,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._view = view
        self._render = render
        self._min_interval_s = min_interval_s
        self._ping_s = ping_s
        self._max_clients = max_clients
        self._closing = asyncio.Event()
        self._cached: tuple[int, float, bytes] | None = None
        self.clients = 0

    @property
    def full(self) -> bool:
        """True when one more client would be too many, or when the feed is closing."""
        return self.clients >= self._max_clients or self._closing.is_set()

    def close(self) -> None:
        """End all streams; safe to call twice."""
        self._closing.set()

    async def client(self) -> AsyncIterator[bytes]:
        """Chunks for one client. It counts as a client from its first chunk until its end."""
        self.clients += 1
        try:
            yield b"retry: 2000\n\n"
            sent_revision, quiet_s = -1, 0.0
            while not self._closing.is_set():
                if self._view.revision != sent_revision:
                    sent_revision, quiet_s = self._view.revision, 0.0
                    yield self._event()
                elif quiet_s >= self._ping_s:
                    quiet_s = 0.0
                    yield b"event: ping\ndata: {}\n\n"
                await self._pause()
                quiet_s += self._min_interval_s
        finally:
            self.clients -= 1

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), self._min_interval_s)
        except TimeoutError:
            return

    def _event(self) -> bytes:
        # Clients that wake in the same half second share one rendering.
        revision, now_s = self._view.revision, self._view.now_s()
        cached = self._cached
        if cached is None or cached[0] != revision or now_s - cached[1] > self._min_interval_s:
            cached = self._cached = (revision, now_s, b"event: state\ndata: " + self._render() + b"\n\n")
        return cached[2]
