"""Fixtures for every suite: a test that leaves a thread, a child process, a port or an asyncio task behind fails."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _children() -> set[int]:
    """Process ids of our direct children, from /proc (Linux)."""
    me = os.getpid()
    found = set()
    for task in Path(f"/proc/{me}/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in task.read_text().split())
        except OSError:
            continue
    return found


def _listening() -> set[str]:
    """Local addresses of our listening TCP sockets, from /proc/self (Linux)."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = [row.split() for row in rows]
    return {f[1] for f in fields if f[3] == "0A" and f[9] in inodes}


def _threads(loop_is_shared: bool) -> set[int]:
    """Those of a loop that outlives the test are the loop's: its executor keeps them until it is closed."""
    alive = (t for t in threading.enumerate() if t.ident is not None and not t.daemon)
    return {t.ident for t in alive if t.ident is not None and not (loop_is_shared and t.name.startswith("asyncio_"))}


def _loop_is_shared(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("asyncio")
    return marker is not None and marker.kwargs.get("loop_scope", "function") != "function"


def _settle(excess: Callable[[], object], seconds: float = 3.0) -> object:
    """What is still left over after at most `seconds` of waiting for it to go."""
    if not excess():
        return None
    gc.collect()  # only now: a full collection beside a loaded compiler takes longer than most tests
    deadline = time.monotonic() + seconds
    while (left := excess()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaks a thread, a child process, a listening port or a pending task."""
    shared = _loop_is_shared(request.node)
    threads, children, ports = _threads(shared), _children(), _listening()
    yield
    for what, excess in (
        ("threads", lambda: _threads(shared) - threads),
        ("child processes", lambda: _children() - children),
        ("listening ports", lambda: _listening() - ports),
    ):
        left = _settle(excess)
        assert not left, f"the test left {what} behind: {left}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Async tests also answer for the asyncio tasks that they started; those of their fixtures are not theirs."""
    body = getattr(item, "obj", None)
    # A connection shared by a module's tests keeps its tasks from one test to the next.
    if inspect.iscoroutinefunction(body) and not _loop_is_shared(item):
        item.obj = _without_task_leaks(body)  # type: ignore[attr-defined]


def _without_task_leaks(body: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(body)
    async def checked(*args: object, **kwargs: object) -> None:
        before = asyncio.all_tasks()
        await body(*args, **kwargs)
        for _ in range(50):
            left = asyncio.all_tasks() - before
            if not left:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the test left tasks behind: {[t.get_name() for t in left]}")

    return checked


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a loopback TCP port nobody listens on just now."""

    def pick() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return pick


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of the measured data; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the measured data (../shared/data) are not on this machine")
    return DATA
