"""Compiles every kernel into the disk cache before the tests start: `python tests/warm.py`.

A cold clone would else compile each kernel in several workers at once, while lines under test wait for theirs.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor

from configs.loader import load_line, packaged
from kernels.warm_up import kernel_modules, warm_up
from simulators.machines import build_machine

LONGEST = ("esoh", "relaxation", "capacity", "ecm", "loading_map_tune", "ekf", "spm", "pulse")
"""Cold seconds of these are in two figures: first, so that no core waits for a last one."""


RACK = "of the simulated rack"
"""Not in `kernels`: no machine's own physics is. Three programmes would else compile it at once."""


def compile_module(name: str) -> float:
    """Wall seconds that it took."""
    began = time.perf_counter()
    if name == RACK:
        _compile_rack()
    else:
        warm_up(only=(name,))
    return time.perf_counter() - began


def _compile_rack() -> None:
    line = load_line(packaged("lines")["a_sample"])
    rack = build_machine("formation_rack", line.equipment["rack1"], 0, 1, {})
    rack.advance(2 * 10**9)
    rack.truth()


def main() -> None:
    """All modules, on all cores."""
    began = time.perf_counter()
    modules = kernel_modules()
    order = [RACK, *(name for name in LONGEST if name in modules), *(name for name in modules if name not in LONGEST)]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, seconds in zip(order, pool.map(compile_module, order), strict=True):
            if seconds > 5.0:
                print(f"compiled kernel {name} in {seconds:.0f} s", flush=True)
    print(f"kernels are ready after {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
