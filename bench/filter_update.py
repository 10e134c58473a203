"""One update of 20,000 cells, all different, against the same filter in vectorised NumPy.

Alone: python bench/filter_update.py

Ours is the twin's whole call (checks, conversion, results), one core, one sample per cell with its own time step,
temperature, parameters and charge. The peer does the arithmetic of a good sample alone, in full 6 x 6 matrices.
"""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import numpy as np

from configs.schema import CellModel
from kernels import ekf_layout as k
from twin.ekf import CellFilter

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

CELL = Path(__file__).parents[1] / "configs" / "cells" / "lgm50_21700.toml"
CELLS, ROUNDS = 20_000, 60
BAR_NS = 100.0  # per cell and core


class NumpyFilter:
    """The kernel's formulas for good samples of started cells, with NumPy over all cells."""

    def __init__(self, twin: CellFilter) -> None:
        self.par, self.noise, self.ocv = twin.parameters, twin._noise, twin._ocv[0]
        n = twin.channels
        self.x = np.zeros((n, 5))
        self.x[:, 0], self.x[:, 3], self.x[:, 4] = 0.3, self.par[:, k.PAR_R0], 1.0
        self.p = np.zeros((n, 6, 6))
        self.p[:, 5, 5] = 1.0
        for j, sd in enumerate((0.05, 5e-3, 5e-3, 3e-3, 0.02)):
            self.p[:, j, j] = sd * sd
        self.current = np.zeros(n)

    def table(self, soc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """OCV, slope and curvature; SOC strictly within 0 and 1."""
        cells = len(self.ocv) - 1
        at = soc * cells
        i = at.astype(np.int64)
        t = at - i
        low, high = self.ocv[i], self.ocv[i + 1]
        rise, m0, m1 = high[:, 0] - low[:, 0], low[:, 1] / cells, high[:, 1] / cells
        c2, c3 = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
        value = low[:, 0] + t * (m0 + t * (c2 + t * c3))
        return value, cells * (m0 + t * (2 * c2 + 3 * t * c3)), cells * (high[:, 1] - low[:, 1])

    def update(self, dt: np.ndarray, v: np.ndarray, a: np.ndarray, t_k: np.ndarray, charge: np.ndarray) -> np.ndarray:
        """One good sample of every cell; the new SOC's standard deviation."""
        par, w, x, p = self.par, self.noise, self.x, self.p
        f = np.exp(par[:, k.PAR_EA] * (1 / t_k - 1 / k.REFERENCE_K))
        r1, r2 = f * par[:, k.PAR_R1], f * par[:, k.PAR_R2]
        a1, a2 = np.exp(-dt * par[:, k.PAR_RATE1]), np.exp(-dt * par[:, k.PAR_RATE2])
        mean = charge / dt
        shape2 = (a - self.current) ** 2 / 12 + (mean - 0.5 * (a + self.current)) ** 2
        g = charge / par[:, k.PAR_CAPACITY]
        moved = g * x[:, 4]
        jac = np.zeros_like(p)
        jac[:, 0, 0] = jac[:, 3, 3] = jac[:, 4, 4] = 1
        stay = np.exp(-np.abs(moved) * w[k.N_OCV_RATE])
        jac[:, 1, 1], jac[:, 2, 2], jac[:, 0, 4], jac[:, 5, 5] = a1, a2, g, stay
        x[:, 0] += moved
        x[:, 1] = a1 * x[:, 1] + r1 * (1 - a1) * mean
        x[:, 2] = a2 * x[:, 2] + r2 * (1 - a2) * mean
        p = jac @ p @ jac.transpose(0, 2, 1)
        drive2 = (w[k.N_FRACTION] * mean) ** 2 + shape2
        per_c = x[:, 4] / par[:, k.PAR_CAPACITY]
        p[:, 0, 0] += (w[k.N_COUNTER] * per_c) ** 2 + w[k.N_WALK] ** 2 * np.abs(moved) + w[k.N_WALK_TIME] * dt
        p[:, 1, 1] += (w[k.N_FLOOR1] ** 2 + r1 * r1 * drive2) * (1 - a1 * a1)
        p[:, 2, 2] += (w[k.N_FLOOR2] ** 2 + r2 * r2 * drive2) * (1 - a2 * a2)
        p[:, 3, 3] += ((w[k.N_R0_WALK] ** 2) * np.abs(moved) + k.R0_WALK_TIME * dt) * par[:, k.PAR_R0] ** 2
        p[:, 4, 4] += w[k.N_K_WALK] * dt
        p[:, 5, 5] += 1.0 - stay * stay
        open_v, slope, bend = self.table(np.clip(x[:, 0], 1e-6, 1 - 1e-6))
        h = np.zeros((len(x), 6))
        h[:, 0], h[:, 1], h[:, 2], h[:, 3] = slope, 1, 1, f * a
        h[:, 5] = np.hypot(w[k.N_OCV_V], w[k.N_OCV_SOC] * slope)
        c = np.einsum("nij,nj->ni", p, h)
        s = np.einsum("ni,ni->n", c, h) + w[k.N_VOLTAGE] ** 2 + 0.5 * (bend * p[:, 0, 0]) ** 2
        gain = c / s[:, None]
        gain[:, 5] = 0.0
        x += gain[:, :5] * (v - open_v - x[:, 1] - x[:, 2] - f * a * x[:, 3])[:, None]
        self.p = p - gain[:, :, None] * c[:, None, :]
        self.p[:, 5] = self.p[:, :, 5]
        self.current = a
        sd: np.ndarray = np.sqrt(self.p[:, 0, 0])
        return sd


def run() -> list[Result]:
    """One result: CPU time per cell and update on one core."""
    rng = np.random.default_rng(1)
    twin = CellFilter(CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8"))), CELLS)
    twin.parameters[:, : k.PAR_EA] *= 1 + 0.03 * rng.standard_normal((CELLS, k.PAR_EA))
    peer = NumpyFilter(twin)
    time_ns = np.full(CELLS, 1_700_000_000_000_000_000)
    quality = np.zeros(CELLS, dtype=np.uint8)
    soc = 0.3 + 0.05 * rng.random(CELLS)
    batches = []
    for _ in range(ROUNDS + 1):
        dt_s = np.rint(rng.uniform(1.0, 20.0, CELLS) * 1e3) * 1e-3
        time_ns = time_ns + np.rint(dt_s * 1e9).astype(np.int64)
        a = 1.0 + 0.01 * rng.standard_normal(CELLS)
        charge = a * dt_s
        soc = soc + charge / twin.parameters[:, k.PAR_CAPACITY]
        v = np.interp(soc, np.linspace(0, 1, twin._ocv.shape[1]), twin._ocv[0, :, 0]) + 0.05
        v += 5e-4 * rng.standard_normal(CELLS)
        batches.append((time_ns, v, a, 25.0 + 5.0 * rng.random(CELLS), quality, dt_s, charge))
    ours_next, peer_next = iter(batches), iter(batches)

    def ours() -> None:
        t, v, a, t_c, q, _, charge = next(ours_next)
        twin.update(t, v, a, t_c, q, charge_moved_c=charge)

    def theirs() -> None:
        _, v, a, t_c, _, dt_s, charge = next(peer_next)
        peer.update(dt_s, v, a, t_c + 273.15, charge)

    mine, bare = (1e9 * s / CELLS for s in alternate(ours, theirs, ROUNDS, time.thread_time))
    return [
        Result(
            name="filter_update", ours=mine, peer=bare, peer_name="the same filter in NumPy", ratio=mine / bare,
            bar=BAR_NS, unit="ns CPU per cell", ok=mine <= BAR_NS,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
