"""How the cell filter scales: slowest ticks of 20,000 channels, cost over rack sizes, threads, compile time.

Alone: python bench/filter_scaling.py

A tick is one whole `CellFilter.update` of all channels. Peer of the tick is the same filter in vectorised NumPy (its
median tick); of the sizes, the cost at 20,000 channels; of two threads, one thread; of a cold start, a warm one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from configs.schema import CellModel
from twin.ekf import CellFilter

if __package__:
    from bench._harness import Result, main
    from bench.filter_update import CELL, NumpyFilter
else:
    from _harness import Result, main
    from filter_update import CELL, NumpyFilter

TICKS = 300
BAR_TICK_MS = 10.0
BAR_CHANNEL_NS = 100.0
SIZES = (64, 1_000, 100_000)
WARM_UP = "from kernels.warm_up import warm_up; warm_up()"


def run() -> list[Result]:
    """Ticks, sizes, threads, compile time."""
    return [*_ticks(), *_sizes(), _threads(), _compile()]


def _ticks() -> list[Result]:
    ours, peer = _twin_tick(20_000), _numpy_tick(20_000)
    spent = sorted(_seconds(ours) for _ in range(TICKS))
    numpy_s = float(np.median([_seconds(peer) for _ in range(5)]))
    p99_ms = 1e3 * spent[int(0.99 * TICKS)]
    name = "the same filter in NumPy, median tick"
    return [
        Result("filter_tick_p99", p99_ms, 1e3 * numpy_s, name, p99_ms / (1e3 * numpy_s), BAR_TICK_MS, "ms per tick",
               p99_ms <= BAR_TICK_MS)
    ]  # fmt: skip


def _sizes() -> list[Result]:
    reference_ns = _per_channel_ns(20_000)
    found = []
    for size in SIZES:
        ns = _per_channel_ns(size)
        bar = 5 * BAR_CHANNEL_NS if size == 64 else BAR_CHANNEL_NS  # one rack pays the call's fixed cost
        found.append(
            Result(
                f"filter_{size}",
                ns,
                reference_ns,
                "20,000 channels",
                ns / reference_ns,
                bar,
                "ns CPU per channel",
                ns <= bar,
            )
        )
    return found


def _threads() -> Result:
    """Two filters of 20,000 channels on two threads against the same two one after the other."""
    ticks = (_twin_tick(20_000), _twin_tick(20_000))
    one, two = [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(30):
            one.append(_seconds(lambda: [tick() for tick in ticks]))
            two.append(_seconds(lambda: list(pool.map(lambda tick: tick(), ticks))))
    single_ms, double_ms = 1e3 * float(np.median(one)), 1e3 * float(np.median(two))
    ratio = double_ms / single_ms
    return Result(
        "filter_two_threads", double_ms, single_ms, "one thread", ratio, 0.7, "ms per 40,000 channels", ratio <= 0.7
    )


def _compile() -> Result:
    """All kernels: a start with an empty cache against one with a full cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}

        def start() -> None:
            subprocess.run([sys.executable, "-c", WARM_UP], check=True, env=environment)

        cold_s = _seconds(start)
        warm_s = min(_seconds(start) for _ in range(3))
    return Result(
        "kernels_cold_start", cold_s, warm_s, "start from the cache", cold_s / warm_s, 60.0, "s", cold_s <= 60.0
    )


def _per_channel_ns(channels: int) -> float:
    tick = _twin_tick(channels)
    repeats = max(10, 200_000 // channels)
    tick()
    began = time.thread_time()
    for _ in range(repeats):
        tick()
    return 1e9 * (time.thread_time() - began) / repeats / channels


def _twin_tick(channels: int) -> Callable[[], None]:
    """One more sample of every channel, all different, 1 s after the last."""
    rng = np.random.default_rng(2)
    twin = CellFilter(CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8"))), channels)
    twin.parameters[:, :6] *= 1 + 0.03 * rng.standard_normal((channels, 6))
    stamps = np.full(channels, 1_700_000_000_000_000_000)
    voltage, current = 3.6 + 0.1 * rng.random(channels), 1.0 + 0.01 * rng.standard_normal(channels)
    temperature, quality = 25.0 + rng.random(channels), np.zeros(channels, dtype=np.uint8)

    def tick() -> None:
        nonlocal stamps
        stamps = stamps + 1_000_000_000
        twin.update(stamps, voltage, current, temperature, quality)

    tick()
    return tick


def _numpy_tick(channels: int) -> Callable[[], None]:
    rng = np.random.default_rng(2)
    peer = NumpyFilter(CellFilter(CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8"))), channels))
    voltage, current = 3.6 + 0.1 * rng.random(channels), np.ones(channels)
    step_s, temperature_k = np.ones(channels), np.full(channels, 298.15)

    def tick() -> None:
        peer.update(step_s, voltage, current, temperature_k, current)

    return tick


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(run)
