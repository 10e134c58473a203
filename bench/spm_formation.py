"""22 h of formation by the single-particle cell, 1,000 cells all different on one core, against PyBaMM's for one cell.

Alone: python -m bench.spm_formation (needs `make peers` for the peer)

Ours: spm_run over configs/recipes/formation_a_sample.toml, voltage, current and film read every 300 s. The peer:
PyBaMM's SPM with the same film and numbers, built before, IDAKLU, its default mesh and tolerances, the same programme,
read as often. The bar of the design is 1 ms of CPU per cell.
"""

from __future__ import annotations

import importlib.util
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._harness import Result, alternate, main
from kernels.spm import End, P, spm_run
from simulators.machines.cell_chen2020 import FORMATION, potential_tables
from simulators.machines.cell_parameters import fresh, rows

RECIPE = Path(__file__).parents[1] / "configs" / "recipes" / "formation_a_sample.toml"
MODES = {"cc_charge": 1, "cv_charge": 2, "rest": 3, "cc_discharge": 4, "pulse": 5}
CELLS, ROUNDS, PERIOD_S = 1000, 5, 300.0
BAR_MS = 1.0


def programme() -> NDArray[np.float64]:
    """The recipe as the rack's rows."""
    keys = ("cycle", "current_a", "voltage_limit_v", "end_current_a", "duration_s")
    steps = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["step"]
    return np.array([[MODES[s["mode"]], *(s.get(key, 0.0) for key in keys)] for s in steps])


def run() -> list[Result]:
    """CPU time per cell; without PyBaMM, nothing but a word about it."""
    if importlib.util.find_spec("pybamm") is None:
        print("spm_formation left out: PyBaMM is not installed (make peers)")
        return []
    from bench._spm_peer import SingleParticle, pybamm

    recipe, tables = programme(), potential_tables()
    rng = np.random.default_rng(1)
    p = rows(FORMATION, CELLS)
    p[: P.LEAK_A] *= 1.0 + 0.02 * np.clip(rng.standard_normal((int(P.LEAK_A), CELLS)), -2.5, 2.5)
    p[P.SEI_DECAY_1_M] *= 1.0 + 0.02 * np.clip(rng.standard_normal(CELLS), -2.5, 2.5)
    one = np.ones(CELLS)
    start = fresh(
        p, tables, FORMATION.positive_fill * one, FORMATION.fresh_v * one, 25.0 + rng.uniform(-4.0, 4.0, CELLS)
    )
    time_s = np.arange(0.0, 22 * 3600.0, PERIOD_S)
    outputs: list[Any] = [np.empty((CELLS, time_s.size)) for _ in range(3)]
    outputs += [np.empty((CELLS, len(recipe), len(End))), np.empty(CELLS, dtype=np.int64)]

    def ours() -> None:
        assert spm_run(recipe, time_s, p, start.copy(), tables, *outputs) == CELLS

    peer = SingleParticle(FORMATION, float(start[1, 0]), float(start[2, 0]), points=20)
    simulation = peer.simulation(recipe, PERIOD_S, pybamm.IDAKLUSolver())

    def theirs() -> None:
        simulation.solve()

    mine, foreign = alternate(ours, theirs, ROUNDS, time.process_time)
    mine, foreign = 1e3 * mine / CELLS, 1e3 * foreign
    return [
        Result(
            name="spm_formation", ours=mine, peer=foreign, peer_name="PyBaMM SPM, IDAKLU, one cell",
            ratio=mine / foreign, bar=BAR_MS, unit="ms CPU per cell and 22 h", ok=mine <= BAR_MS,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
