"""Synthetic run folders with a known truth: a rack that runs two cycles and a coater, as Parquet files."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]
START_NS = 1_760_000_000 * 1_000_000_000
TIME = pa.timestamp("ns", tz="UTC")
LIMIT_V = 2.5


def _step(
    mode: str, current_a: float, limit_v: float, end_a: float, duration_s: float, cycle: int
) -> dict[str, object]:
    limits = {"voltage_limit_v": limit_v, "end_current_a": end_a}
    return {"mode": mode, "current_a": current_a, **limits, "duration_s": duration_s, "cycle": cycle}


STEPS = [_step("rest", 0.0, 0.0, 0.0, 1800.0, 1)]
for _cycle in (1, 2):
    STEPS += [
        _step("cc_charge", 1.25, 4.2, 0.0, 28800.0, _cycle),
        _step("cv_charge", 1.25, 4.2, 0.25, 7200.0, _cycle),
        _step("rest", 0.0, 0.0, 0.0, 1800.0, _cycle),
        _step("cc_discharge", 1.25, LIMIT_V, 0.0, 28800.0, _cycle),
        _step("rest", 0.0, 0.0, 0.0, 1800.0, _cycle),
    ]
CODES = {"rest": 3, "cc_charge": 1, "cv_charge": 2, "cc_discharge": 4}
RECIPE = {"kind": "formation", "name": "formation_short", "title": "Two cycles at C/5", "step": STEPS}
CHART_COLUMNS = (
    "observation",
    "value",
    "centre",
    "sigma",
    "z",
    "t2",
    "t2_limit",
    "cpk",
    "cpk_low",
    "cpk_high",
    "flags",
)
COATING = {
    "kind": "coating",
    "name": "coat",
    "title": "NMC cathode",
    "zone_temperature_c": [80.0, 105.0, 120.0, 95.0],
    "target_mass_loading_kg_m2": 0.169,
    "tolerance_fraction": 0.02,
}


@dataclass(frozen=True)
class Rack:
    """True parameters of the synthetic rack."""

    capacity_ah: Array
    efficiency: Array
    r0_ohm: Array


def ocv(soc: Array) -> Array:
    """Rises from 2.5 V; steep at the empty end, as real cells are."""
    return 3.3 + 0.9 * soc - 0.8 * np.exp(-np.clip(soc, -0.02, 1.2) / 0.02)


def write(folder: Path, name: str, columns: Mapping[str, object]) -> None:
    """One Parquet part of a stream, in the historian's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for key, values in columns.items():
        if key == "time":
            arrays[key] = pa.array(np.asarray(values, dtype=np.int64)).cast(TIME)
        elif isinstance(values, np.ndarray) and values.dtype == np.float64:
            arrays[key] = pa.array(values, from_pandas=True)
        else:
            arrays[key] = pa.array(values)
    pq.write_table(pa.table(arrays), folder / name)


def simulate(rack: Rack, period_s: float, span_s: float) -> dict[str, Array]:
    """Columns (times, channels) of a day at one period: what the rack shows, and the true SOC."""
    n = rack.capacity_ah.shape[0]
    times = np.arange(0.0, span_s + 1e-9, period_s)
    soc, step, left_ah = np.zeros(n), np.zeros(n, dtype=int), rack.capacity_ah * (1 / rack.efficiency - 1)
    began, charged, discharged = np.zeros(n), np.zeros(n), np.zeros(n)
    names = ("voltage_v", "current_a", "state", "step", "cycle", "charge_ah", "discharge_ah", "step_time_s", "soc")
    out = {name: np.zeros((times.shape[0], n)) for name in names}
    limit, amps, ends, longest = (
        np.array([s[k] for s in STEPS] + [0.0]) for k in ("voltage_limit_v", "current_a", "end_current_a", "duration_s")
    )
    mode = np.array([CODES[str(s["mode"])] for s in STEPS] + [6])
    cycle = np.array([s["cycle"] for s in STEPS] + [2.0])
    for k, t in enumerate(times):
        state, rest_v = mode[step], ocv(soc)
        held = np.clip((limit[step] - rest_v) / rack.r0_ohm, 0.0, amps[step])
        current = np.select([state == 1, state == 2, state == 4], [amps[step], held, -amps[step]], 0.0)
        voltage = rest_v + current * rack.r0_ohm
        row = (voltage, current, state, step + (state != 6), cycle[step], charged, discharged, t - began, soc)
        for name, values in zip(names, row, strict=True):
            out[name][k] = values
        moved_ah = current * period_s / 3600
        loss = np.where(current > 0, np.minimum(left_ah, moved_ah * (1 / rack.efficiency - 1)), 0.0)
        left_ah = left_ah - loss
        soc = soc + (moved_ah - loss) / rack.capacity_ah
        charged, discharged = charged + np.maximum(moved_ah, 0), discharged + np.maximum(-moved_ah, 0)
        at_limit = ((state == 1) & (voltage >= limit[step])) | ((state == 4) & (voltage <= limit[step]))
        over = (state != 6) & (
            at_limit | ((state == 2) & (current <= ends[step])) | (t - began + period_s >= longest[step])
        )
        began = np.where(over, t + period_s, began)
        step = np.minimum(step + over, len(STEPS))
    return out


def rack_rows(shown: Mapping[str, Array], period_s: float, device: str) -> tuple[int, dict[str, object]]:
    """Long columns shared by all streams of the rack."""
    rows, n = shown["soc"].shape
    time_ns = START_NS + np.repeat(np.arange(rows), n) * int(period_s * 1e9)
    points = np.tile(np.arange(1, n + 1, dtype=np.int32), rows)
    return rows * n, {"time": time_ns, "device": [device] * (rows * n), "point": points}


def make_run(
    folder: Path,
    channels: int = 12,
    period_s: float = 60.0,
    span_s: float = 86_400.0,
    coater: bool = True,
    seed: int = 1,
) -> Rack:
    """A finished run folder; channel 3 has little capacity, channel 5 an over-temperature fault."""
    rng = np.random.default_rng(1)
    rack = Rack(
        capacity_ah=rng.normal(5.0, 0.03, channels),
        efficiency=rng.normal(0.87, 0.004, channels),
        r0_ohm=rng.normal(0.024, 0.0004, channels),
    )
    rack.capacity_ah[2] = 4.5
    shown = simulate(rack, period_s, span_s)
    n, keys = rack_rows(shown, period_s, "rack1")
    head = {"time": keys["time"], "device": keys["device"], "channel": keys["point"]}
    raw = {name: shown[name].ravel() for name in shown if name != "soc"}
    raw["fault_bits"] = np.where((head["channel"] == 5) & (np.arange(n) > n * 0.95), 4.0, 0.0)
    raw["temperature_c"] = 25.0 + rng.normal(0, 0.1, n)
    quality = {"quality": np.zeros(n, dtype=np.uint8)}
    half = n // 2 // channels * channels
    for part, cut in (("part-1.parquet", slice(0, half)), ("part-2.parquet", slice(half, n))):
        write(folder / "parquet/channel", part, {k: v[cut] for k, v in (head | raw | quality).items()})  # type: ignore[index]
    sd = 0.006
    states = {
        "soc": shown["soc"].ravel() + rng.normal(0, sd, n),
        "soc_sd": np.full(n, sd),
        "r0_ohm": np.tile(rack.r0_ohm, n // channels),
        "r0_sd_ohm": np.full(n, 3e-4),
    }
    write(folder / "parquet/cell_state", "part-1.parquet", head | states)
    truth = {
        "soc": shown["soc"].ravel(),
        "capacity_ah": np.tile(rack.capacity_ah, n // channels),
        "r0_ohm": np.tile(rack.r0_ohm, n // channels),
        "first_cycle_efficiency": np.tile(rack.efficiency, n // channels),
    }
    write(folder / "truth/rack1", "part-00001.parquet", {**keys, **truth})
    ledger = {"channel": n, "cell_state": n, **make_estimates(folder, rack.r0_ohm)}
    if coater:
        ledger |= make_coater(folder, rng)
    make_records(folder)
    ledger |= {"command": 2, "gap": 1}
    make_run_json(folder, ledger, coater)
    return rack


def make_estimates(folder: Path, r0_ohm: Array) -> dict[str, int]:
    """A pulse, its circuit, its rest and a grade of every channel; sampled too slowly for the resistance at 1 s.

    Channel 1 leaks and is rejected, channel 2 rested without a K, channel 3 was graded twice.
    """
    n = r0_ohm.size
    time_ns = np.full(n, START_NS + 80_000_000_000_000, dtype=np.int64)
    none = np.full(n, np.nan)
    head = {"time": time_ns, "device": ["rack1"] * n, "channel": np.arange(1, n + 1, dtype=np.int32)}
    step = {"step": np.full(n, 14.0)}
    pulse = {"current_a": np.full(n, -5.0), "soc": np.full(n, 0.5), "temperature_c": np.full(n, 27.0)}
    late = {"r_10s_ohm": r0_ohm + 0.006, "r_30s_ohm": r0_ohm + 0.008}
    write(folder / "parquet/cell_pulse", "part-1.parquet", head | step | pulse | {"r_1s_ohm": none} | late)
    split = {"pairs": np.where(np.arange(n) < 2, 0.0, 1.0), "r1_ohm": np.full(n, 0.006), "tau1_s": np.full(n, 9.0)}
    circuit = {"r0_ohm": r0_ohm, "total_ohm": r0_ohm + 0.007}
    write(folder / "parquet/cell_ecm", "part-1.parquet", head | step | split | circuit)
    k = np.full(n, 0.03)
    k[0], k[1] = 0.21, np.nan
    why = np.where(np.isfinite(k), 0.0, 4.0)
    rest = {"duration_s": np.full(n, 21600.0), "k_mv_h": k, "end_slope_mv_h": -k, "why": why}
    write(folder / "parquet/cell_rest", "part-1.parquet", head | step | rest)
    grade = np.ones(n)
    grade[0], grade[1] = 4.0, 3.0
    causes = np.where(grade == 4.0, 2.0, np.where(grade == 3.0, 1.0, 0.0))
    found = {"grade": grade, "why": causes, "rest_why": why, "k_mv_h": k, "k_mv_h_sd": np.full(n, 0.004)}
    write(folder / "parquet/cell_grade", "part-1.parquet", head | found)
    early = {name: values[2:3] for name, values in {**head, **found}.items()}
    early |= {"time": time_ns[2:3] - 1_000_000_000, "grade": np.array([3.0]), "why": np.array([1.0])}
    write(folder / "parquet/cell_grade", "part-2.parquet", early)
    return {"cell_pulse": n, "cell_ecm": n, "cell_rest": n, "cell_grade": n + 1} | make_slow(folder, head)


def make_slow(folder: Path, head: Mapping[str, Any]) -> dict[str, int]:
    """A slow first charge without windows and a slow discharge of every channel, the last one's not settled."""
    n = len(head["device"])
    late = {**head, "time": head["time"] + 1_000_000_000}
    none, one = np.full(n, np.nan), np.ones(n)
    fitted = np.arange(n) < n - 1

    def ends(x_0: float, x_100: float, y_0: float, y_100: float) -> dict[str, Any]:
        spread = np.linspace(-0.002, 0.002, n)
        return {
            name: np.where(fitted, value + spread, np.nan)
            for name, value in (("x_0", x_0), ("x_100", x_100), ("y_0", y_0), ("y_100", y_100), ("n_to_p", 1.1))
        }

    charge = {"step": 2.0 * one, "cycle": one, "current_a": one}
    discharge = {"step": 5.0 * one, "cycle": one, "current_a": -one}
    refused = {"why": one, "status": 10.0 * one, "rmse_v": none, "lli": none}
    good = {"why": 0.0 * one, "status": np.where(fitted, 0.0, 10.0), "rmse_v": 0.003 * one, "lli": none}
    unknown = dict.fromkeys(ends(0, 0, 0, 0), none)
    write(folder / "parquet/cell_esoh", "part-1.parquet", head | charge | unknown | refused)
    write(folder / "parquet/cell_esoh", "part-2.parquet", late | discharge | ends(0.027, 0.9, 0.855, 0.282) | good)
    peaks = {"p1_v": 3.43 * one, "p1_ah_v": 6.2 * one, "p2_v": none, "p2_ah_v": none}
    write(folder / "parquet/cell_dqdv", "part-1.parquet", late | discharge | peaks)
    return {"cell_esoh": 2 * n, "cell_dqdv": n}


def make_coater(folder: Path, rng: np.random.Generator, rows: int = 400, period_s: float = 20.0) -> dict[str, int]:
    """A coater at 0.1 m/s with a slow wave along and a bend across the web; the gauge sees it 30 m behind the die."""
    t = np.arange(rows) * period_s
    time_ns = START_NS + (t * 1e9).astype(np.int64)
    device = ["coater1"] * rows
    position = t * 0.1
    behind = position - 30.0
    line = {
        "web_position_m": position,
        "gauge_web_position_m": np.where(behind > 0, behind, np.nan),
        "web_speed_m_s": np.full(rows, 0.1),
        "gauge_mass_loading_kg_m2": np.full(rows, 0.169),
    }
    write(folder / "parquet/coater", "part-1.parquet", {"time": time_ns, "device": device, **line})

    def loading(at_m: Array) -> Array:
        return 0.169 * (1 + 0.01 * np.sin(at_m / 60)[:, None] + 0.008 * np.cos(np.arange(24) / 4)[None, :])

    def long(per_point: Array, name: str, column: str) -> dict[str, object]:
        n = per_point.shape[1]
        point = np.tile(np.arange(1, n + 1, dtype=np.int32), rows)
        return {
            "time": np.repeat(time_ns, n),
            "device": ["coater1"] * (rows * n),
            name: point,
            column: per_point.ravel(),
        }

    seen = loading(behind) + rng.normal(0, 2e-4, (rows, 24))
    seen[behind <= 0] = 0.0
    write(folder / "parquet/coater_profile", "part-1.parquet", long(seen, "lane", "lane_mass_loading_kg_m2"))
    true = long(loading(position), "point", "mass_loading_kg_m2") | {"web_position_m": np.repeat(position, 24)}
    write(folder / "truth/coater1", "part-00001.parquet", true)
    zones = np.array(COATING["zone_temperature_c"]) * (1 - 0.8 * np.exp(-t / 900))[:, None]
    write(folder / "parquet/coater_zone", "part-1.parquet", long(zones, "zone", "zone_temperature_c"))
    known = loading(behind)
    known[behind <= 0] = np.nan
    mapped = long(known, "lane", "loading_kg_m2") | {
        "web_position_m": np.repeat(np.where(behind > 0, behind, np.nan), 24)
    }
    write(folder / "parquet/web_map", "part-1.parquet", mapped)
    web = {"count": np.arange(rows) * 1.0, "mean_kg_m2": np.full(rows, 0.1691), "cv": np.full(rows, 0.0091)}
    lane = {"lane": np.zeros(rows, dtype=np.int32)}
    write(folder / "parquet/web_loading", "part-1.parquet", {"time": time_ns, "device": device, **lane, **web})
    ledger = {"coater": rows, "coater_profile": rows * 24, "coater_zone": rows * 4, "web_loading": rows}
    return ledger | {"web_map": rows * 24} | make_charts(folder, rng)


def make_charts(folder: Path, rng: np.random.Generator) -> dict[str, int]:
    """A chart over time with three observations out of control, one cell by cell, and a T2 chart of four lanes."""
    parts = []

    def chart(name: str, device: str, point: list[int], **figures: Array | float) -> None:
        n = len(point)
        blank = {c: np.full(n, np.nan) for c in CHART_COLUMNS}
        values = {c: np.broadcast_to(np.asarray(v, dtype=float), (n,)).copy() for c, v in figures.items()}
        time_ns = START_NS + np.arange(n) * 60 * 10**9
        parts.append(
            {"time": time_ns, "device": [device] * n, "point": np.array(point, dtype=np.int32)} | blank | values
        )
        parts[-1]["chart"] = [name] * n

    z = rng.standard_normal(50).clip(-2.5, 2.5)
    z[[20, 21, 30]] = 4.0
    weight = {"value": 0.169 + 0.0017 * z, "centre": 0.169, "sigma": 0.0017, "z": z, "flags": z > 3.0}
    chart("coating_weight", "coater1", [0] * 50, **weight, cpk=1.1, cpk_low=0.9, cpk_high=1.3)
    order = rng.permutation(12)
    cells = {"value": 5.0 + 0.01 * order, "centre": 5.05, "sigma": 0.05, "flags": 0.0, "observation": order + 1.0}
    chart("capacity", "rack1", [int(k) + 1 for k in order], **cells)
    lanes = np.tile(np.arange(1, 5), 10)
    chart(
        "lanes",
        "coater1",
        lanes.tolist(),
        t2=np.where(lanes == 3, 20.0, 2.0),
        t2_limit=12.0,
        flags=512.0 * (lanes == 3),
    )
    for k, part in enumerate(parts):
        write(folder / "parquet/spc", f"part-{k}.parquet", part)
    return {"spc": 50 + 12 + 40}


def make_records(folder: Path) -> None:
    """Two commands, one of them hostile to HTML, and one gap."""
    time_ns = [START_NS, START_NS + 10**9]
    text = {
        "name": ["start", "set-points"],
        "reason": ["recipe formation_short", "</script><script>alert(1)</script>"],
        "outcome": ["confirmed", "not_confirmed"],
        "detail": ["", "read back 3.1 of 3.25"],
    }
    write(folder / "parquet/command", "part-1.parquet", {"time": time_ns, "device": ["rack1", "coater1"], **text})
    gap = {"duration_s": np.array([340.0]), "reason": ["connection lost"]}
    write(folder / "parquet/gap", "part-1.parquet", {"time": time_ns[:1], "device": ["coater1"], **gap})


def make_run_json(folder: Path, ledger: Mapping[str, int], coater: bool) -> None:
    """run.json and the ledger in the spool."""
    total = sum(ledger.values())
    counters = {"sink": "parquet", "accepted": total, "delivered": total, "spooled": 0, "rejected": 0, "dropped": 0}
    run = {
        "line": "a_sample",
        "title": "A-sample pilot line",
        "status": "complete",
        "started_wall": "2025-10-09T09:00:00+00:00",
        "ended_wall": "2025-10-09T09:01:31+00:00",
        "plant_start": "2025-10-08T09:00:00+00:00",
        "plant_end": "2025-10-09T09:00:00+00:00",
        "speed": 960.0,
        "seed": 1,
        "versions": {"celltwin": "0.1.0", "python": "3.11"},
        "recipes": {"rack1": RECIPE, **({"coater1": COATING} if coater else {})},
        "devices": [{"id": "rack1", "equipment": "formation_rack_64", "endpoint": "modbus.tcp://127.0.0.1:1502/1"}],
        "counters": [counters],
        "ledger": {},
    }
    (folder / "run.json").write_text(json.dumps(run))
    with contextlib.closing(sqlite3.connect(folder / "spool.sqlite3")) as spool:
        spool.execute("CREATE TABLE ledger(stream TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID")
        spool.executemany("INSERT INTO ledger VALUES(?,?)", ledger.items())
        spool.commit()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rack]:
    """A finished run, made once; tests only read it (and write its report)."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    folder.mkdir()
    return folder, make_run(folder)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Path, Rack]]:
    """A function that makes a run folder of one's own."""

    def make(**options: object) -> tuple[Path, Rack]:
        folder = tmp_path / "run"
        folder.mkdir()
        return folder, make_run(folder, **options)  # type: ignore[arg-type]

    return make
