"""Pictures of docs/plants, drawn by our machines and by foreign models: `python -m docs.pictures_plants [OUT]`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from bench._spm_peer import SingleParticle
from kernels.spm import End, P, S, spm_run
from simulators.machines.cell_chen2020 import FORMATION, potential_tables
from simulators.machines.cell_parameters import fresh, rows

OUT = Path(__file__).parent / "images" / "plants"
BLUE, ORANGE, GREY = "#0072b2", "#c25a00", "#8b959c"
HOUR_S, AH_C = 3600.0, 3600.0


def cell(path: Path) -> None:
    """Two formation cycles of the default cell: ours and PyBaMM's voltage, their difference, the film's charge."""
    programme = np.array(
        [[1, 1, 1.0, 4.2, 0, 1e5], [2, 1, 1.0, 4.2, 0.25, 2e4], [3, 1, 0, 0, 0, 1800], [4, 1, 1.0, 2.5, 0, 1e5],
         [3, 1, 0, 0, 0, 1800], [1, 2, 5 / 3, 4.2, 0, 1e5], [2, 2, 5 / 3, 4.2, 0.25, 2e4], [3, 2, 0, 0, 0, 1800],
         [4, 2, 5 / 3, 2.5, 0, 1e5], [3, 2, 0, 0, 0, 1800]]
    )  # fmt: skip
    p, tables, one = rows(FORMATION), potential_tables(), np.ones(1)
    p[P.LEAK_A] = 0.0  # PyBaMM has no self-discharge
    start = fresh(p, tables, FORMATION.positive_fill * one, FORMATION.fresh_v * one, 25.0 * one)
    theirs = SingleParticle(FORMATION, float(start[S.X, 0]), float(start[S.Y, 0])).run(programme, 20.0)
    volt, current, sei = (np.empty((1, theirs.time_s.size)) for _ in range(3))
    ends, codes = np.empty((1, len(programme), len(End))), np.empty(1, dtype=np.int64)
    spm_run(programme, theirs.time_s, p, start, tables, volt, current, sei, ends, codes)
    hours = theirs.time_s / HOUR_S
    figure, axes = plt.subplots(3, 1, figsize=(7.2, 5.6), sharex=True, layout="constrained", height_ratios=(3, 1, 2))
    above, middle, below = axes
    above.plot(hours, theirs.voltage_v, color=GREY, lw=3.0, label="PyBaMM, SPM, tunnelling-limited SEI")
    above.plot(hours, volt[0], color=BLUE, lw=1.1, label="kernels/spm")
    above.set_ylabel("voltage [V]")
    middle.plot(hours, 1e3 * (volt[0] - theirs.voltage_v), ".", ms=2, color=BLUE)
    middle.set_ylim(-2, 2)
    middle.set_ylabel("difference\n[mV]")
    below.plot(hours, theirs.sei_c / AH_C, color=GREY, lw=3.0, label="PyBaMM")
    below.plot(hours, sei[0] / AH_C, color=ORANGE, lw=1.1, label="kernels/spm")
    below.set_ylabel("lithium in the film [Ah]")
    below.set_xlabel("time since the start of formation [h]")
    for ax in axes:
        ax.grid(color="#e3e8eb", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    above.legend(fontsize=8, frameon=False)
    below.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    cell(out / "cell.png")
