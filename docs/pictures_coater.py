"""Picture of docs/plants/coater.md, drawn by the simulated coater and by other solutions of its equations.

`python -m docs.pictures_coater [OUT]`
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.integrate import solve_ivp

import configs
from configs.schema import Equipment
from kernels import drying as k
from simulators.machines.coater import Coater
from simulators.machines.coater_drying import SOLVENTS, solvent_row, web_row
from simulators.machines.coater_parameters import CoaterParameters
from simulators.machines.coater_tension import Tension

OUT = Path(__file__).parent / "images" / "plants"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#c25a00", "#00705a", "#8b959c"
P = CoaterParameters(disturbance=0.0)
AIR_C = np.array([80.0, 105.0, 120.0, 95.0])
DRY, SOLVENT, SPEED = 0.169, 0.091, 0.1
S = 1_000_000_000


def dried(air_c: np.ndarray, row: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Our kernel: share of the solvent left and web temperature, second by second through zones of `seconds` each."""
    zones = air_c.size
    cells = np.zeros((1, k.PER_ZONE + 2 * zones))
    cells[0, : k.PEAK_FLUX] = (0.0, DRY, SOLVENT, P.ambient_c, 1.0)
    borders, h = SPEED * seconds * np.arange(zones + 1.0), np.full(zones, P.heat_transfer_w_m2_k)
    lost, heat, rows = np.zeros(zones), np.zeros(zones), []
    for t in range(round(seconds * zones)):
        where = (SPEED * t, SPEED, 1.0, borders, air_c, h, np.zeros(zones), row, web_row(P), lost, heat)
        k.drying_step(cells, 1, *where)
        rows.append((cells[0, k.SOLVENT] / SOLVENT, cells[0, k.WEB_C]))
    found = np.array(rows)
    return found[:, 0], found[:, 1]


def reference(row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same equations by SciPy's LSODA: seconds, share left, web temperature."""
    web, h = web_row(P), P.heat_transfer_w_m2_k

    def slope(t: float, y: np.ndarray) -> list[float]:
        air = AIR_C[min(3, int(t / 40.0))]
        wet = min(1.0, y[0] / (P.critical_solvent_fraction * DRY))
        flux = h / row[k.AIR_J_M3_K] * k.vapour_kg_m3(y[1], row) * max(0.0, wet)
        stored = web[k.FOIL_J_M2_K] + web[k.DRY_J_KG_K] * DRY + row[k.LIQUID_J_KG_K] * y[0]
        return [-flux, (2.0 * h * (air - y[1]) - row[k.EVAPORATION_J_KG] * flux) / stored]

    at = np.arange(4.0, 160.0, 4.0)
    solved = solve_ivp(slope, (0.0, 160.0), [SOLVENT, P.ambient_c], "LSODA", at, max_step=0.2, rtol=1e-8, atol=1e-12)
    return at, solved.y[0] / SOLVENT, solved.y[1]


def drying(left: Axes) -> None:
    """Solvent and temperature of a metre on its way through the demo's dryer."""
    row = solvent_row(SOLVENTS["nmp"])
    share, web_c = dried(AIR_C, row, 40.0)
    metres = SPEED * np.arange(1.0, 161.0)
    at, expected, expected_c = reference(row)
    left.plot(metres, 100.0 * share, color=BLUE, lw=1.4, label="solvent left")
    left.plot(SPEED * at, 100.0 * expected, "o", ms=2.5, color=BLUE, mfc="none", label="the same by LSODA")
    left.plot(metres, web_c, color=ORANGE, lw=1.4, label="web [°C]")
    left.plot(SPEED * at, expected_c, "o", ms=2.5, color=ORANGE, mfc="none")
    left.step(4.0 * np.arange(5.0), [*AIR_C, AIR_C[-1]], where="post", color=GREY, lw=1.0, label="air [°C]")
    done = metres[np.argmax(share < 0.1)]
    left.annotate("90 % gone", (done, 10.0), (done + 1.0, 45.0), fontsize=8, arrowprops={"arrowstyle": "->"})
    left.set_xlabel("way in the dryer [m]")
    left.set_ylabel("solvent left [%], temperature [°C]")


def solvents(ax: Axes) -> None:
    """Time until 0.3 % of the solvent is left, NMP over water."""
    air_c = np.arange(55.0, 125.0, 5.0)
    ratio = []
    for t in air_c:
        nmp, water = (
            int(np.argmax(dried(np.array([t]), solvent_row(SOLVENTS[name]), 1500.0)[0] < 0.003))
            for name in ("nmp", "water")
        )
        ratio.append(nmp / water)
    ax.plot(air_c, ratio, color=BLUE, lw=1.4, label="drying time of NMP over that of water")
    ax.axhline(4.5, color=GREY, lw=1.0, ls="--", label="published: 4.5")
    ax.set_xlabel("air temperature [°C]")
    ax.set_ylabel("ratio")


def loading(ax: Axes) -> None:
    """Loading along the web of four runs, metre by metre."""
    file = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"
    equipment = Equipment.model_validate(tomllib.loads(file.read_text()))
    for seed, color in zip((1, 2, 3, 4), (BLUE, ORANGE, GREEN, GREY), strict=True):
        machine = Coater(equipment, 0, seed)
        job = {"web_speed_sp_m_s": 0.1, "pump_rate_sp_ml_s": 3.25, "length_sp_m": 2000.0, "coater_command": 1.0}
        machine.write("zone_temperature_sp_c", AIR_C)
        for tag, number in (job | {"coater_command_seq": 1.0}).items():
            machine.write(tag, np.array([number]))
        machine.advance(22_000 * S)
        metres = machine.finished_metres()
        lanes = np.array([metres[f"lane_{lane:02d}_kg_m2"] for lane in range(1, 25)])[:, 5:-5]
        label = f"run {seed}: CV {100.0 * lanes.std() / lanes.mean():.1f} % over lanes and metres"
        ax.plot(metres["web_position_m"][5:-5], 1e3 * lanes.mean(axis=0), color=color, lw=0.7, label=label)
    ax.set_ylim(164.0, 180.0)
    ax.set_xlabel("web position [m]")
    ax.set_ylabel("loading of the whole web [g/m²]")


def tension(ax: Axes) -> None:
    """The wound-in tension falls from 30 to 20 N, drives without controllers."""
    calm = Tension(P)
    calm.gain, calm.wound_n = 0.0, 20.0
    lengths = np.array([P.unwind_m, P.gauge_distance_m + 1.0, P.rewind_m])
    calm.step(SPEED, SPEED, [0.0] * 3)
    now, times = np.array(calm.tension_n), np.arange(1.0, 601.0)
    solved = solve_ivp(
        lambda _, t: SPEED * (np.array([20.0, t[0], t[1]]) - t) / lengths, (0.0, 600.0), now, t_eval=times[::20]
    )
    found = []
    for _ in times:
        calm.step(SPEED, SPEED, [0.0] * 3)
        found.append(list(calm.tension_n))
    for i, (name, color) in enumerate((("unwind", BLUE), ("dryer", ORANGE), ("rewind", GREEN))):
        ax.plot(times, np.array(found)[:, i], color=color, lw=1.4, label=name)
        ax.plot(times[::20], solved.y[i], "o", ms=2.5, mfc="none", color=color)
    ax.plot([], [], "o", ms=2.5, mfc="none", color=GREY, label="by SciPy")
    ax.set_xlabel("time [s]")
    ax.set_ylabel("web tension [N]")


def coater(path: Path) -> None:
    """Drying, solvents, loading and tension."""
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 6.4), layout="constrained")
    for draw, ax in zip((drying, solvents, loading, tension), axes.flat, strict=True):
        draw(ax)
        ax.grid(color="#e3e8eb", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=7.5, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    coater(out / "coater.png")
