"""Compiles every kernel before the line goes live, so that no first sample waits for a compiler. Nothing else.

A kernel module takes part by having a function `warm_up()` that calls its kernels once, on tiny arrays, with the types
that production uses. The disk cache makes the second start quick.
"""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable, Sequence
from importlib import import_module

import kernels


def kernel_modules() -> list[str]:
    """Names of the modules of this package that hold kernels, in order."""
    return [
        m.name for m in pkgutil.iter_modules(kernels.__path__) if not m.name.startswith("_") and m.name != "warm_up"
    ]


def warm_up(
    progress: Callable[[str, float], None] | None = None, only: Sequence[str] | None = None
) -> dict[str, float]:
    """Compiles, or loads from the cache, every kernel (or those of the modules `only`); wall seconds by module name.

    `progress(name, seconds)` is called after each module. KeyError: `only` names a module without kernels.
    """
    seconds: dict[str, float] = {}
    names = kernel_modules()
    for name in names if only is None else only:
        if name not in names:
            raise KeyError(f"kernels has no module '{name}'; it has: {', '.join(names)}")
        began = time.perf_counter()
        run = getattr(import_module(f"kernels.{name}"), "warm_up", None)
        if run is None:
            continue
        run()
        seconds[name] = time.perf_counter() - began
        if progress is not None:
            progress(name, seconds[name])
    return seconds
