"""Coulomb counting of a million rows: cycles found, charge, energy and efficiencies; pandas group-by does the sums.

Ours finds the half-cycles itself and checks gaps, times and limits; the peer gets the cycle of each row for nothing and
sums charge and energy by cycle and sign. Alone: python bench/capacity.py
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from twin.capacity import CountSettings, count_one

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

ROWS, CYCLES = 1_000_000, 50
BAR_MS = 10.0


def record() -> dict[str, np.ndarray]:
    """50 cycles of charge, rest, discharge, rest at 1 Hz, 5,000 rows each, with noise of 1e-4."""
    rng = np.random.default_rng(1)
    at = np.arange(ROWS)
    phase = (at // 5000) % 4
    x = (at % 5000) / 5000.0
    current = np.choose(phase, [1.0, 0.0, -1.0, 0.0]) * (1.0 + 1e-4 * rng.standard_normal(ROWS))
    voltage = np.choose(phase, [3.1 + 1.1 * x, 4.15 + 0 * x, 4.1 - 0.6 * x - 0.5 * x**20, 3.1 + 0 * x])
    return {"time_s": at * 1.0, "current_a": current, "voltage_v": voltage, "cycle": at // 20_000}


def peer(frame: pd.DataFrame) -> pd.DataFrame:
    """The same sums."""
    current, power = frame["current_a"], frame["current_a"] * frame["voltage_v"]
    step = frame["time_s"].diff()
    work = pd.DataFrame(
        {
            "cycle": frame["cycle"],
            "sign": np.sign(current),
            "charge_c": 0.5 * (current + current.shift()) * step,
            "energy_j": 0.5 * (power + power.shift()) * step,
        }
    )
    return work.groupby(["cycle", "sign"])[["charge_c", "energy_j"]].sum()


def run() -> list[Result]:
    """One result: milliseconds of CPU of one thread for the whole record."""
    columns = record()
    frame, settings = pd.DataFrame(columns), CountSettings()
    time_s, current_a, voltage_v = (columns[name] for name in ("time_s", "current_a", "voltage_v"))
    counts, sums = count_one(time_s, current_a, voltage_v, settings=settings), peer(frame)
    charges = sums.xs(1.0, level="sign")["charge_c"].to_numpy() / 3600.0
    if len(counts.cycle) != CYCLES or not np.allclose(counts.charge_ah, charges, rtol=1e-3):
        raise RuntimeError("ours and the peer disagree")
    ours_s, peer_s = alternate(
        lambda: count_one(time_s, current_a, voltage_v, settings=settings), lambda: peer(frame), 15, time.thread_time
    )
    mine, theirs = 1e3 * ours_s, 1e3 * peer_s
    return [
        Result(
            name="capacity", ours=mine, peer=theirs, peer_name="pandas group-by, cycles given", ratio=mine / theirs,
            bar=BAR_MS, unit="ms CPU per million rows", ok=mine <= BAR_MS,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
