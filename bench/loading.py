"""A day of a scanning gauge's samples through the map's filter, against the same filter in NumPy; also with a place
that waits one scan behind the gauge, as the line has one open at ten metres a map; and the whole map.

Alone: python bench/loading.py

8,640 samples, 24 lanes, ripple and drift on. The peer is a straightforward Kalman filter of the same model with one
NumPy expression per step; it takes a tenth of the samples. The map is the twin's whole call: checks, model found from
the samples, smoothing at 8,640 metres.
"""

from __future__ import annotations

import time

import numpy as np

from kernels import loading_map as k
from kernels import loading_map_lag as lag
from twin.loading_map import loading_map
from twin.loading_map_model import coupling, prior

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

LANES, WIDTH_M, SAMPLES, PEER_SAMPLES, ROUNDS = 24, 0.3, 8640, 864, 7
BAR_NS = 1000.0  # per sample: a day's search for the model stays well below a second
BAR_DAY_S = 1.0


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Web position, cross position and loading of a day at 0.1 m/s, every 10 s."""
    rng = np.random.default_rng(1)
    along = np.arange(float(SAMPLES))
    phase = along / 9.6 % 2
    cross = WIDTH_M * np.where(phase < 1, phase, 2 - phase)
    md = (
        0.01 * np.sin(along / 150)
        + 0.003 * np.sin(2 * np.pi * along / 3.7)
        + 2e-4 * np.cumsum(rng.normal(size=SAMPLES))
    )
    mass = 0.169 * (1 + md + 0.02 * np.cos(12 * cross / WIDTH_M)) * (1 + 0.005 * rng.standard_normal(SAMPLES))
    return along, cross, mass


def numpy_filter(par: np.ndarray, couple: np.ndarray, where: np.ndarray, lane: np.ndarray, value: np.ndarray) -> float:
    """Steps of one metre; returns the last estimate of the width's mean."""
    n = k.LANE + LANES
    x, p = np.zeros(n), np.zeros((n, n))
    x[0] = par[k.P_MEAN]
    first = (par[k.P_MEAN_SD], par[k.P_DRIFT_SD], par[k.P_RIPPLE_SD], par[k.P_RIPPLE_SD], par[k.P_WET_SD])
    p[: k.LANE, : k.LANE] = np.diag(np.square(first))
    p[k.LANE :, k.LANE :] = par[k.P_LANE_SD] ** 2 * (np.eye(LANES) - 1 / LANES)
    distance = where[1] - where[0]
    f, q = np.eye(n), np.zeros((n, n))
    drift, keep = np.exp(-distance / par[k.P_DRIFT_M]), np.exp(-distance / par[k.P_KEEP_M])
    turn = 2 * np.pi * distance / par[k.P_RIPPLE_M]
    f[1, 1], f[4, 4] = drift, np.exp(-distance / par[k.P_WET_M])
    f[2:4, 2:4] = keep * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    q[1, 1] = par[k.P_DRIFT_SD] ** 2 * (1 - drift**2)
    q[2, 2] = q[3, 3] = par[k.P_RIPPLE_SD] ** 2 * (1 - keep**2)
    q[k.LANE :, k.LANE :] = par[k.P_WALK] ** 2 * distance * couple
    for i in range(where.size):
        if i:
            x, p = f @ x, f @ p @ f.T + q
        h = np.zeros(n)
        h[:3] = h[k.LANE + lane[i]] = 1.0
        c = p @ h
        s = h @ c + par[k.P_NOISE] ** 2
        x += c * ((value[i] - h @ x) / s)
        p -= np.outer(c, c / s)
    return float(x[:3].sum())


def run() -> list[Result]:
    """Nanoseconds per sample of the filter, and seconds for a day's map."""
    along, cross, mass = samples()
    lane = np.minimum((cross / WIDTH_M * LANES).astype(np.int64), LANES - 1)
    par, couple = prior(0.169, wet=False), coupling(LANES)
    par[k.P_RIPPLE_SD], par[k.P_RIPPLE_M] = 4e-4, 3.7
    n = k.LANE + LANES
    x, p, memory = np.empty(n), np.empty((n, n)), np.empty(k.M_LANE + LANES)
    nu, var, code, gauge = (
        np.empty(SAMPLES),
        np.empty(SAMPLES),
        np.empty(SAMPLES, np.uint8),
        np.zeros(SAMPLES, np.int64),
    )

    def filtered(count: int) -> float:
        k.loading_map_start(par, x, p, memory)
        k.loading_map_filter(par, couple, along, lane, gauge, mass, 0, count, x, p, memory, nu, var, code)
        return float(x[:3].sum())

    def behind() -> float:
        k.loading_map_start(par, x, p, memory)
        node = np.zeros((1, 1 + LANES, n + 2))
        lag.loading_map_open(x, p, node[0])
        lag.loading_map_follow(par, couple, along, lane, gauge, mass, 0, SAMPLES, x, p, memory, node, 1, code)
        return float(x[:3].sum())

    def theirs() -> float:
        return numpy_filter(par, couple, along[:PEER_SAMPLES], lane, mass)

    assert abs(filtered(PEER_SAMPLES) - theirs()) < 1e-9
    ours, peer = alternate(lambda: filtered(SAMPLES), theirs, ROUNDS, time.thread_time)
    ours, peer = 1e9 * ours / SAMPLES, 1e9 * peer / PEER_SAMPLES
    assert abs(behind() - filtered(SAMPLES)) < 1e-12
    live, its_peer = alternate(behind, theirs, ROUNDS, time.thread_time)
    live, its_peer = 1e9 * live / SAMPLES, 1e9 * its_peer / PEER_SAMPLES
    day, again = alternate(lambda: loading_map(along, cross, mass, LANES, WIDTH_M), theirs, 3, time.thread_time)
    again *= SAMPLES / PEER_SAMPLES
    return [
        Result(
            name="loading_filter", ours=ours, peer=peer, peer_name="the same filter in NumPy", ratio=ours / peer,
            bar=BAR_NS, unit="ns CPU per sample", ok=ours <= BAR_NS,
        ),
        Result(
            name="loading_one_scan_behind", ours=live, peer=its_peer, peer_name="the same filter in NumPy, no place",
            ratio=live / its_peer, bar=BAR_NS, unit="ns CPU per sample", ok=live <= BAR_NS,
        ),
        Result(
            name="loading_map_of_a_day", ours=day, peer=again, peer_name="one pass of the filter in NumPy",
            ratio=day / again, bar=BAR_DAY_S, unit="s CPU", ok=day <= BAR_DAY_S,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
