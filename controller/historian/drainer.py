"""Moves one sink's batches out of the spool, for ever: read, deliver, advance, and back off while the sink is away."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

from controller.errors import CelltwinError, StorageError
from controller.historian.batch import Delivered, Outcome, RetryLater
from controller.historian.sink import Sink, SinkStart
from controller.historian.spool import Spool

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0

_log = logging.getLogger(__name__)


class Drainer:
    """One per sink. `run` is the task; `drain` asks it to hurry and waits. A sink that is away disturbs nobody else."""

    def __init__(
        self, spool: Spool, sink: Sink, backoff_s: tuple[float, float] = (BACKOFF_MIN_S, BACKOFF_MAX_S)
    ) -> None:
        self._spool, self._sink = spool, sink
        self._backoff_min_s, self._backoff_max_s = backoff_s
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()
        self._away: RetryLater | None = None
        self._failures = 0

    @property
    def name(self) -> str:
        """The sink's name."""
        return self._sink.name

    @property
    def trouble(self) -> str:
        """Why the sink takes nothing at present; empty while all is well."""
        return self._away.reason if self._away else ""

    async def run(self) -> None:
        """Runs until cancelled; then the sink is closed. Raises what the sink's start raises, and nothing else."""
        where = SinkStart(self._spool.id, self._spool.cursor(self.name), self._spool.last_seq)
        try:
            await self._sink.start(where)
            unsubscribe = self._spool.subscribe(self._wake.set)
            try:
                while True:
                    await self._until_due()
                    await self._step()
            finally:
                unsubscribe()
        finally:
            await self._sink.close()

    async def drain(self, deadline_s: float) -> bool:
        """Delivers without lingering what is in the spool by now; True when all of it arrived within the deadline."""
        goal = self._spool.last_seq
        self._hurry.set()
        self._wake.set()
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        try:
            while self._spool.cursor(self.name) < goal:
                self._moved.clear()
                await asyncio.wait_for(self._moved.wait(), end - loop.time())
        except TimeoutError:
            pass
        finally:
            self._hurry.clear()
        return self._spool.cursor(self.name) >= goal

    def _waiting_rows(self) -> int:
        return self._spool.counters(self.name).spooled

    async def _until_due(self) -> None:
        """Waits until enough rows wait, or the oldest has waited long enough, or somebody is in a hurry."""
        while not self._waiting_rows():
            self._wake.clear()
            if not self._waiting_rows():
                await self._wake.wait()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._sink.linger_s
        while self._waiting_rows() < self._sink.max_rows and not self._hurry.is_set() and loop.time() < end:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), end - loop.time())
            except TimeoutError:
                return

    async def _step(self) -> None:
        try:
            batches = await self._spool.read(self.name, self._sink.max_rows)
            if not batches:
                return
            outcome: Outcome = await self._sink.deliver(batches)
            if isinstance(outcome, Delivered):
                await self._spool.advance(self.name, batches, outcome.rejected)
                self._recovered(outcome)
                self._moved.set()
                return
        except StorageError as bad:
            outcome = RetryLater(bad.what, bad.hint)
        except CelltwinError as bad:
            outcome = RetryLater(str(bad))
        await self._back_off(outcome)

    async def _back_off(self, outcome: RetryLater) -> None:
        """Waits with growing, jittered pauses. The log tells of a loss once, and again only when its reason changes."""
        if self._away is None or self._away.reason != outcome.reason:
            hint = f" ({outcome.hint})" if outcome.hint else ""
            _log.warning("sink %s takes no data: %s%s; the spool keeps them", self.name, outcome.reason, hint)
        self._away = outcome
        pause_s = min(self._backoff_max_s, self._backoff_min_s * 2.0 ** min(self._failures, 30))
        pause_s *= self._jitter.uniform(0.75, 1.25)
        if outcome.after_s is not None:
            pause_s = max(outcome.after_s, pause_s)
        self._failures += 1
        if self._hurry.is_set():
            await asyncio.sleep(min(pause_s, self._backoff_min_s))
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause_s)

    def _recovered(self, outcome: Delivered) -> None:
        if self._away is not None:
            _log.warning("sink %s takes data again; %d rows wait", self.name, self._waiting_rows())
        self._away, self._failures = None, 0
        if outcome.rejected:
            first = outcome.rejected[0]
            _log.warning(
                "sink %s refused %d rows for good, the first in %s: %s (kept in the spool's quarantine)",
                self.name, len(outcome.rejected), first.stream, first.reason,
            )  # fmt: skip
