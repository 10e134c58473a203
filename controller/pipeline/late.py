"""Kernels that may come late: compiled apart while the line already runs, then loaded here. No twin, no Frame.

A first start compiles for minutes what only the end of a step, a rest or a metre of web needs. That is done by a
process of its own at a low priority, whose result is Numba's cache on disk; loading from there takes a fraction of
a second. What needs these kernels keeps its inputs until `ready`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

COMPILE_LIMIT_S = 900.0
"""Wall seconds after which the other process is ended, and the kernels are compiled here instead."""

NICE = 10
"""A tenth of a busy processor. The lowest priority would wait for ever on a box that other programs keep busy."""

PROGRAM = "import sys; from kernels.warm_up import warm_up; warm_up(only=sys.argv[1:])"


class Late:
    """Whether the kernels that stages need on events can be called without a wait."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._ready = threading.Event()

    def need(self, *names: str) -> None:
        """A stage says, as it is built, which modules of `kernels` it calls."""
        self._names += [name for name in names if name not in self._names]

    @property
    def ready(self) -> bool:
        """May be read from any thread."""
        return self._ready.is_set()

    async def prepare(self, then: Callable[[], Awaitable[None]]) -> None:
        """Compile apart, load here, call `then`. A compiler that fails is said once; the kernels then compile here."""
        if self._names:
            await self._compile()
            await asyncio.to_thread(_load, self._names)
        self._ready.set()
        await then()

    async def _compile(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, *self._names,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            start_new_session=True, preexec_fn=_be_nice,
        )  # fmt: skip
        try:
            async with asyncio.timeout(COMPILE_LIMIT_S):
                _, errors = await process.communicate()
            if process.returncode:
                last = errors.decode(errors="replace").strip().splitlines()[-1:]
                log.warning("kernels %s did not compile apart: %s", ", ".join(self._names), "".join(last))
        except TimeoutError:
            log.warning("kernels %s were not compiled within %.0f s", ", ".join(self._names), COMPILE_LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _be_nice() -> None:
    os.nice(NICE)
    # Linux shares the processor among sessions first (sched_autogroup): nice alone says nothing outside our own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))


def _load(names: Sequence[str]) -> None:
    from kernels.warm_up import warm_up

    warm_up(only=names)
