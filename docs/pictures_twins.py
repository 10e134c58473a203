"""Pictures of the twins that no kind of `celltwin analyse` draws: filter, equivalent circuit, loading map, charts.

Called by docs/pictures.py. What is measured and what is drawn by a seed is said in docs/kernels.md.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import configs
from configs.schema import CellModel
from twin.ecm import fit_ecm
from twin.ekf import CellFilter
from twin.loading import WebLoading
from twin.loading_map import loading_map
from twin.spc import CusumChart, EwmaChart, IndividualsChart

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#c25a00", "#00705a", "#8b959c"
WIDTH_IN = 7.2
DPI = 110


def ecm(data: Path, path: Path) -> None:
    """A measured pulse with its rest, the fitted circuit, and what the circuit leaves."""
    rows = pl.read_parquet(data / "lgm50_pulses.parquet").filter(
        (pl.col("temperature_c") == 25.0) & (pl.col("soc_level") == 4)
    )
    one = rows.filter(pl.col("cell") == rows["cell"][0]).sort("prog_time_s")
    time, current, voltage = (one[name].to_numpy().astype(float) for name in ("prog_time_s", "current_a", "voltage_v"))
    time = time - time[np.argmax(np.abs(current) > 1.0)]
    fit = fit_ecm(time, current, voltage)
    assert fit.ocv_v is not None and fit.r0_ohm is not None and fit.rmse_v is not None, fit.reason
    modelled = fit.ocv_v + fit.r0_ohm * current
    for r_ohm, tau_s in ((fit.r1_ohm, fit.tau1_s), (fit.r2_ohm, fit.tau2_s)):
        if r_ohm is None or tau_s is None:
            continue
        x, pair = 0.0, np.zeros(time.size)
        for k in range(1, time.size):
            a = np.exp(-(time[k] - time[k - 1]) / tau_s)
            x = a * x + (1.0 - a) * current[k]
            pair[k] = r_ohm * x
        modelled += pair
    figure, (above, below) = _rows(2, 4.4, (3, 1))
    above.plot(time, voltage, ".", ms=4, color=GREY, label="LG M50, 25 °C, 7.5 A for 10 s")
    words = [f"R0 {1e3 * fit.r0_ohm:.1f} mΩ"]
    for name, r_ohm, tau_s in (("R1", fit.r1_ohm, fit.tau1_s), ("R2", fit.r2_ohm, fit.tau2_s)):
        if r_ohm is not None and tau_s is not None:
            words.append(f"{name} {1e3 * r_ohm:.1f} mΩ, {tau_s:.1f} s")
    above.plot(time, modelled, color=BLUE, lw=1.3, label="; ".join(words))
    above.set_ylabel("voltage [V]")
    above.legend(fontsize=8, frameon=False)
    below.plot(time, 1e3 * (voltage - modelled), ".", ms=4, color=BLUE)
    below.set_ylim(-3, 3)
    below.set_ylabel("rest [mV]")
    below.set_xlabel("time since the step [s]")
    _save(figure, path)


@dataclass(frozen=True)
class Leg:
    """One slow discharge or charge of the measured LFP cell; `soc` is counted from its full or empty end."""

    time_ns: np.ndarray
    voltage_v: np.ndarray
    current_a: np.ndarray
    soc: np.ndarray


def _leg(rows: pl.DataFrame, script: int, capacity_ah: float) -> Leg:
    part = rows.filter((pl.col("script") == script) & (pl.col("current_a").abs() > 0.02)).sort("time_s")
    charging = part["current_a"][0] > 0.0
    moved = part["charge_capacity_ah" if charging else "discharge_capacity_ah"].to_numpy()
    soc = (moved - moved[0]) / capacity_ah
    volts, amps = part["voltage_v"].to_numpy(), part["current_a"].to_numpy()
    stamps = (part["time_s"].to_numpy() * 1e9).astype(np.int64) + 10**18
    return Leg(stamps, volts, amps, soc if charging else 1.0 - soc)


def _met(model: CellModel, leg: Leg, soc: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True SOC, estimate and SD of a filter that meets the cell at `soc` and knows nothing of its past."""
    keep = np.flatnonzero((leg.soc <= soc) if leg.soc[0] > 0.5 else (leg.soc >= soc))
    twin, found = CellFilter(model, 1), []
    for k in keep:
        one = (leg.time_ns[k : k + 1], leg.voltage_v[k : k + 1], leg.current_a[k : k + 1])
        states = twin.update(*one, np.array([25.0]), np.zeros(1, dtype=np.uint8))
        found.append((states.soc[0], states.soc_sd[0]))
    estimate = np.array(found)
    return leg.soc[keep], estimate[:, 0], estimate[:, 1]


def ekf(data: Path, path: Path) -> None:
    """Two filters on the plateau of a measured LFP cell: one knows how wrong its OCV may be, one takes it for exact."""
    folder = Path(configs.__file__).parent / "cells"
    honest = CellModel.model_validate(tomllib.loads((folder / "a123_26650.toml").read_text(encoding="utf-8")))
    sure = honest.model_copy(update={"ocv_sd_v": 0.0, "ocv_sd_soc": 0.0})
    rows = pl.read_parquet(data / "a123_ocv_25c.parquet")
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH_IN, 3.6), sharey=True, layout="constrained")
    for ax, script, met, title in zip(axes, (1, 3), (0.65, 0.35), ("discharge", "charge"), strict=True):
        leg = _leg(rows, script, honest.capacity_ah)
        true, soc, sd = _met(honest, leg, met)
        ax.fill_between(true, soc - 1.96 * sd, soc + 1.96 * sd, color=BLUE, alpha=0.2, lw=0, label="95 % band")
        ax.plot(true, soc, color=BLUE, lw=1.3, label="estimate")
        true, soc, _ = _met(sure, leg, met)
        ax.plot(true, soc, color=ORANGE, lw=1.0, label="OCV taken for exact (its band is thinner than the line)")
        ax.plot([0, 1], [0, 1], "--", color=GREY, lw=0.8, label="truth")
        ax.set_title(f"C/30 {title}, met at {met:.0%} SOC", fontsize=9, loc="left")
        ax.set_xlabel("true SOC")
        ax.set_xlim((0.0, met) if script == 1 else (met, 1.0))
        ax.set_ylim(0, 1)
        ax.grid(color="#e3e8eb", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("SOC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    _save(figure, path)


def web(seed: int, metres: int = 600, lanes: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Samples (n, 3: along, across, mass) of a scanning gauge, and the truth (metres, lanes) of a web by a seed."""
    rng = np.random.default_rng(seed)
    along, across = np.arange(metres) + 0.5, (np.arange(lanes) + 0.5) / lanes
    machine = 0.008 * np.convolve(rng.standard_normal(metres + 60), np.ones(61) / np.sqrt(61.0), "valid")
    profile = 0.02 * np.interp(across, [0, 0.06, 0.5, 0.94, 1], [2, -1, 0.3, -1, 1])
    wander = 0.008 * np.sin(2 * np.pi * along / 420.0)[:, None] * np.cos(np.pi * 2 * across)
    truth = 0.169 * (1 + machine[:, None]) * (1 + profile + wander)
    read = np.arange(0.0, metres, 0.73)
    phase = read / 17 % 2
    cross = 0.30 * np.where(phase < 1, phase, 2 - phase)
    lane = np.minimum((cross / 0.30 * lanes).astype(int), lanes - 1)
    mass = truth[read.astype(int), lane] * (1 + 0.007 * rng.standard_normal(read.size))
    return np.column_stack([read, cross, mass]), truth


def loading(_: Path, path: Path) -> None:
    """The truth of a simulated web, what the gauge's diagonal says by running means, and the map."""
    rows, truth = web(7)
    found = loading_map(rows[:, 0], rows[:, 1], rows[:, 2], truth.shape[1], 0.30)
    running, means = WebLoading(truth.shape[1], 0.30), np.full_like(truth, np.nan)
    for along, cross, mass in rows:
        one = (np.array([mass]), np.array([cross]), np.array([along]))
        means[int(along)] = running.update(np.zeros(1, dtype=np.int64), *one, np.zeros(1, dtype=np.uint8)).mean_kg_m2[
            1:
        ]
    at = np.floor(found.web_position_m).astype(int)
    ours = np.full_like(truth, np.nan)
    ours[at[at < len(truth)]] = found.loading_kg_m2[at < len(truth)]
    figure, axes = _rows(3, 5.2, (1, 1, 1))
    extent = (0.0, float(len(truth)), 0.0, 300.0)
    for ax, name, values in zip(axes, ("truth", "running means", "map"), (truth, means, ours), strict=True):
        error = 1e3 * np.sqrt(np.nanmean((values - truth) ** 2))
        shown = ax.imshow(1e3 * values.T, extent=extent, vmin=164.0, vmax=174.5, aspect="auto", origin="lower")
        ax.set_title(name if name == "truth" else f"{name}: RMSE {error:.2f} g/m²", fontsize=9, loc="left")
        ax.set_ylabel("across [mm]")
        ax.grid(visible=False)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(rows[:, 1])))) + 1
    axes[0].plot(rows[turns, 0], 1e3 * rows[turns, 1], color="white", lw=0.5, alpha=0.6)
    axes[-1].set_xlabel("along the web [m]")
    figure.colorbar(shown, ax=list(axes), label="loading [g/m²]")
    _save(figure, path)


def spc(_: Path, path: Path) -> None:
    """Three charts on one series that shifts by one sigma halfway."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal(120) + np.where(np.arange(120) >= 60, 1.0, 0.0)
    single, ewma, cusum = IndividualsChart(0.0, 1.0), EwmaChart(0.0, 1.0, 0.2, 2.962), CusumChart(0.0, 1.0)
    ends = np.array([0, values.size])
    found = (single.update(values, ends), ewma.update(values, ends), cusum.update(values, ends))
    figure, axes = _rows(3, 5.2, (1, 1, 1))
    for ax, name, points, limit in zip(axes, ("individual", "EWMA", "CUSUM"), found, (3.0, None, 5.0), strict=True):
        bound = points.other if limit is None else np.full(values.size, limit)
        ax.plot(points.value, ".-", ms=4, lw=0.8, color=BLUE)
        ax.plot(bound, "--", lw=0.8, color=GREY)
        if name == "CUSUM":
            ax.plot(points.other, ".-", ms=3, lw=0.6, color=GREEN)
        else:
            ax.plot(-bound, "--", lw=0.8, color=GREY)
        out = np.flatnonzero(points.signals)
        ax.plot(out, points.value[out], "o", ms=6, mfc="none", color=ORANGE)
        ax.axvline(60, color=GREY, lw=0.6)
        first = out[out >= 60]
        after = f"first signal {first[0] - 60 + 1} samples after the shift" if first.size else "no signal"
        ax.set_title(f"{name}: {after}", fontsize=9, loc="left")
        ax.set_ylabel("sigmas")
    axes[-1].set_xlabel("sample; the mean shifts by one sigma at 60")
    _save(figure, path)


def _rows(n: int, height_in: float, ratios: tuple[int, ...]) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        n, 1, figsize=(WIDTH_IN, height_in), sharex=True, layout="constrained", height_ratios=ratios
    )
    for ax in axes:
        ax.grid(color="#e3e8eb", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
