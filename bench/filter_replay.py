"""A record of three hours through the filter, against PyBaMM's replay of the same record with the same circuit.

Alone: python -m bench.filter_replay (needs `make peers`)

The peer is what PyBaMM offers for following a cell: its Thevenin model with two RC pairs and our cell's values, solved
(built and compiled before, IDAKLU, its default tolerances) over the record's current and read at the record's stamps.
It predicts only. Ours does more: it corrects state, resistance and capacity with each voltage, and carries the
covariance. A live twin gets its samples one by one, so that ours is fed so: a rack of 1,024 cells, one row of each per
call, and one cell alone, where the call is the cost.
"""

from __future__ import annotations

import importlib.util
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from bench._harness import Result, alternate, main
from configs.schema import CellModel
from twin.ekf import CellFilter

CELL = Path(__file__).parents[1] / "configs" / "cells" / "lgm50_21700.toml"
STEPS_S = [0.0, 60.0, 3660.0, 5460.0, 5520.0, 5550.0, 5610.0, 5640.0, 6240.0, 9840.0, 11_000.0]
CURRENT_A = [0.0, 2.5, 0.0, -5.0, 0.0, 5.0, 0.0, -7.5, 0.0, -2.5]
CELLS, ROUNDS = 1024, 7
BAR_NS = 100.0  # per cell, sample and core, as in bench/filter_update.py


def run() -> list[Result]:
    """CPU time per cell and sample of a rack, and of one cell; without PyBaMM, nothing but a word about it."""
    if importlib.util.find_spec("pybamm") is None:
        print("filter_replay left out: PyBaMM is not installed (make peers)")
        return []
    from bench._thevenin import Thevenin

    model = CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8")))
    rng = np.random.default_rng(1)
    stamps = np.cumsum(rng.uniform(1.0, 20.0, 1500))
    time_s = np.round(np.r_[0.0, stamps[stamps < STEPS_S[-1]]], 3)
    peer = Thevenin(model, STEPS_S, CURRENT_A, tolerance=None)
    record = peer.record(time_s, 0.4)
    samples, inputs = time_s.size, peer.inputs(0.4)

    def replay() -> None:
        _ = peer.solve(time_s, inputs)["Voltage [V]"].entries

    time_ns = 1_700_000_000_000_000_000 + np.rint(1e9 * time_s).astype(np.int64)
    results = []
    for name, cells in (("filter_replay", CELLS), ("filter_replay_one_cell", 1)):
        voltage = record.voltage_v[:, None] + 5e-4 * rng.standard_normal((samples, cells))
        quality = np.zeros(cells, dtype=np.uint8)
        rows = [
            (np.full(cells, at), volts, np.full(cells, amperes), np.full(cells, celsius), quality, None,
             np.full(cells, counted))
            for at, volts, amperes, celsius, counted in zip(
                time_ns, voltage, record.current_a, record.temperature_c, record.net_charge_c, strict=True
            )
        ]  # fmt: skip

        def ours(cells: int = cells, rows: list[tuple[Any, ...]] = rows) -> None:
            twin = CellFilter(model, cells)
            for row in rows:
                twin.update(*row)

        mine, theirs = alternate(ours, replay, ROUNDS, time.thread_time)
        mine, theirs = 1e9 * mine / (cells * samples), 1e9 * theirs / samples
        bar = BAR_NS if cells > 1 else theirs
        results.append(
            Result(
                name=name, ours=mine, peer=theirs, peer_name="PyBaMM Thevenin, prediction only", ratio=mine / theirs,
                bar=bar, unit="ns CPU per cell and sample", ok=mine <= bar,
            )
        )  # fmt: skip
    return results


if __name__ == "__main__":
    main(run)
