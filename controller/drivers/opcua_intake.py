"""Publish responses on their way from asyncua's publish loop to read(): in order, gaps repaired, bounded. No items.

The hook is the callback of the plain CreateSubscription service, once per publish response. asyncua's handlers cost a
task or a queue entry per notification, which is a third of a client's CPU; see bench/opcua_notifications.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua

from controller.drivers.opcua_status import status_name
from controller.errors import PeerError

_MAX_QUEUED = 50_000  # notifications held for read(), about 50 MB of asyncua objects; then the server has to queue
_SEQUENCE_MAX = 0xFFFF_FFFF
_MAX_REPUBLISH = 1000


@dataclass(slots=True)
class Traffic:
    """Counters of one driver, over all its connections."""

    notifications: int = 0
    republished_messages: int = 0
    lost_messages: int = 0
    interruptions: int = 0
    held_back: int = 0  # times that we let the server queue because read() did not keep up


@dataclass(frozen=True, slots=True)
class Response:
    """One publish response: MonitoredItemNotifications, and whether the server has more of them ready."""

    notifications: list[Any]
    more: bool


@dataclass(slots=True)
class Mailbox:
    """What read() wakes up for. `lost` is set once and for all."""

    responses: deque[Response] = field(default_factory=deque)
    changed: list[tuple[int, int]] = field(default_factory=list)  # (client handle, status); 0: item just made
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # (severity, source, text) for people
    lost: PeerError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, severity: str, text: str, source: str = "opcua") -> None:
        """Something that people should know; `source` CONNECTION also tells the pipeline to look for a gap."""
        self.notes.append((severity, source, text))
        self.news.set()

    def lose(self, problem: PeerError) -> None:
        """The first loss counts."""
        self.lost = problem if self.lost is None else self.lost
        self.news.set()


class Intake:
    """Takes publish responses of one subscription. `republish` asks the server for one message again."""

    def __init__(
        self,
        box: Mailbox,
        traffic: Traffic,
        republish: Callable[[int], Awaitable[Any]],
        ended: Callable[[str], None],
        max_queued: int = _MAX_QUEUED,
    ) -> None:
        self._box, self._traffic = box, traffic
        self._republish, self._ended = republish, ended
        self._max_queued = max_queued
        self._expected = 1  # sequence number of the next notification message
        self._queued = 0
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self.heard = asyncio.get_running_loop().time()

    @property
    def blocked(self) -> bool:
        """True while read() is behind and the server has to queue; then silence is our own doing."""
        return not self._room.is_set()

    def touch(self) -> None:
        """The connection was verified just now; silence counts from here."""
        self.heard = asyncio.get_running_loop().time()

    def drain(self) -> list[Response]:
        """All publish responses since the last call, in order."""
        taken = list(self._box.responses)
        self._box.responses.clear()
        self._queued = 0
        self._room.set()
        return taken

    def close(self) -> None:
        """Let go of the publish loop."""
        self._closing = True
        self._room.set()

    async def on_publish(self, result: Any) -> None:
        """asyncua's publish loop calls this per response; it acknowledges and asks for the next when this returns.

        So waiting here for room makes the server queue: bounded memory, nothing dropped on our side.
        """
        self.touch()
        message = result.NotificationMessage
        data = message.NotificationData or ()
        if message.SequenceNumber != self._expected and not await self._fill_gap(message.SequenceNumber, bool(data)):
            return
        if data:
            self._expected = message.SequenceNumber % _SEQUENCE_MAX + 1
        self._put(data, bool(result.MoreNotifications))
        if self._queued >= self._max_queued:
            self._traffic.held_back += 1
            self._room.clear()
        while not self._room.is_set() and not self._closing:
            await self._room.wait()
            self.touch()

    def _put(self, data: Sequence[Any], more: bool) -> None:
        found: list[Any] = []
        for notification in data:
            if isinstance(notification, ua.DataChangeNotification):
                found.extend(notification.MonitoredItems)
            elif isinstance(notification, ua.StatusChangeNotification):
                code = int(notification.Status.value)
                if code >> 31:
                    self._ended(f"the server ended the subscription: {status_name(code)}")
        self._queued += len(found)
        self._traffic.notifications += len(found)
        self._box.responses.append(Response(found, more))
        self._box.news.set()

    async def _fill_gap(self, sequence: int, with_data: bool) -> bool:
        """Fetch messages that were sent while the connection broke. False: this message was seen before.

        A keep-alive carries the number of the next message (OPC 10000-4, 5.14.1.1), so it shows a gap as well.
        """
        missing = (sequence - self._expected) % _SEQUENCE_MAX
        if missing > _SEQUENCE_MAX // 2:  # older than expected; some servers' keep-alives repeat the last number
            return not with_data
        if missing > _MAX_REPUBLISH:
            self._traffic.lost_messages += missing
            self._box.note("error", f"{missing} notification messages are missing, too many to ask for again")
        else:
            for _ in range(missing):
                await self._fetch(self._expected)
                self._expected = self._expected % _SEQUENCE_MAX + 1
        self._expected = sequence
        return True

    async def _fetch(self, sequence: int) -> None:
        try:
            message = await self._republish(sequence)
        except PeerError as problem:
            message, why = None, str(problem)
        else:
            why = "the server no longer has it"
        # asyncua's server answers with an empty message where the standard wants BadMessageNotAvailable.
        if message is None or message.SequenceNumber != sequence:
            self._traffic.lost_messages += 1
            self._box.note("error", f"notification message {sequence} is lost: {why}")
            return
        self._traffic.republished_messages += 1
        self._put(message.NotificationData or (), more=True)
