"""A monitored item's queue as the standard has it: bounded, and marked where it has run over. One function.

asyncua drops the oldest value in silence. Part 4, 5.13.1.5 and 7.39.1: with a queue longer than 1 the value next to the
gap carries the Overflow bit; which end is dropped is the client's wish (asyncua keeps no record of it: the oldest).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asyncua import ua

# InfoType DataValue and Overflow (Part 4, 7.39.1).
OVERFLOW = 0x0480


async def enqueue(subscription: Any, item_id: int, notification: Any, size: int) -> None:
    """Put a data change into `subscription`'s queue of the item, at most `size` long; stands in for asyncua's."""
    queues = subscription._triggered_datachanges
    queue = queues.get(item_id)
    if queue is None:
        queues[item_id] = [notification]
        await subscription._trigger_publish()
        return
    queue.append(notification)
    if len(queue) > size:
        del queue[0]
        if size > 1:
            queue[0] = _overflown(queue[0])


def _overflown(notification: Any) -> Any:
    value = notification.Value
    code = 0 if value.StatusCode is None else value.StatusCode.value
    if code & OVERFLOW == OVERFLOW:
        return notification
    # The same value may stand in another client's queue.
    return replace(notification, Value=ua.DataValue(
        value.Value, ua.StatusCode(code | OVERFLOW), value.SourceTimestamp, value.ServerTimestamp
    ))  # fmt: skip
