"""The deadline around asyncua: its own kind of CancelledError is a timeout like any other; it never ends the caller."""

from __future__ import annotations

import asyncio

import pytest

from controller.drivers.opcua_requests import deadline


class LibraryCancelled(asyncio.CancelledError):
    """Stands for wait_for2's CancelledWithResultError."""


async def answers_its_cancellation_in_its_own_way() -> None:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        raise LibraryCancelled("connection lost") from None


@pytest.mark.asyncio
async def test_a_deadline_is_a_timeout_whatever_the_library_makes_of_the_cancellation() -> None:
    with pytest.raises(TimeoutError):
        async with deadline(0.01):
            await answers_its_cancellation_in_its_own_way()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.asyncio
async def test_a_real_cancellation_still_cancels() -> None:
    async def work() -> None:
        async with deadline(30):
            await answers_its_cancellation_in_its_own_way()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
