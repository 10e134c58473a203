"""Signals as an event: every long-running command ends by the same orderly way, whatever asked it to.

Exit codes: 130 for a Ctrl-C before there is anything to end (`controller.__main__` sees to that), 0 for a later one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


def stop_event() -> asyncio.Event:
    """Set by Ctrl-C and by SIGTERM; a second one does not cut the orderly end short.

    Python's own handlers, not the loop's: they stay in force until the process has ended, also after the loop has.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(*_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: so has everything that could be asked to stop
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


async def unless_stopped(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Do `work`, or cancel it when `stop` is set. True when it was done; raises what it raises."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
