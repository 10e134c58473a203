"""Signals as an event: every long-running command ends by the same orderly way, whatever asked it to."""

from __future__ import annotations

import asyncio
import signal


def stop_event() -> asyncio.Event:
    """Set by Ctrl-C and by SIGTERM; a second Ctrl-C does not cut the orderly end short."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
