"""DCIR of the 108 LG M50 pulses in one call, against the same reading pulse by pulse with pandas and NumPy.

Alone: python bench/pulse.py

Ours is the twin's whole call: checks, edges, stale rows, noise, four times each with its standard deviation. The peer
is told by the cycler's status column where rest ends and load begins, reads the four values, and gives no uncertainty.
Without the measured data both get synthetic pulses of the same number and length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from twin.pulse import TIMES_S, Pulses, find_pulses_batch

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "lgm50_pulses.parquet"
GROUP = ["temperature_c", "soc_level", "cell"]
ROUNDS = 30
BAR_MS = 5.0


def records() -> list[pd.DataFrame]:
    """The measured pulses, or as many that look like them."""
    if DATA.is_file():
        return [part.reset_index(drop=True) for _, part in pd.read_parquet(DATA).groupby(GROUP, sort=False)]
    rng, made = np.random.default_rng(1), []
    for _ in range(108):
        load = np.cumsum(rng.uniform(0.04, 0.16, 105))
        time = np.concatenate([[0.0], 0.05 + load, 0.05 + load[-1] + np.arange(1.0, 12.0)])
        on = (np.arange(time.size) > 0) & (np.arange(time.size) <= 105)
        current = np.where(on, -7.5, 0.0)
        voltage = 3.7 + current * (0.033 + 5e-4 * time) + 2e-4 * rng.standard_normal(time.size)
        status = np.where(on, "D", "P")
        made.append(pd.DataFrame({"prog_time_s": time, "current_a": current, "voltage_v": voltage, "status": status}))
    return made


def read_by_status(pulse: pd.DataFrame) -> list[float]:
    """DCIR at the four times of one pulse, its edges given by the status column."""
    step = pulse[pulse.status == "D"]
    rest_v = pulse.voltage_v.iloc[step.index[0] - 1]
    load = step[step.current_a.abs() > 1.0]
    time = load.prog_time_s.to_numpy() - step.prog_time_s.iloc[0]
    out = []
    for seconds in TIMES_S:
        volt, ampere = (np.interp(seconds, time, load[name]) for name in ("voltage_v", "current_a"))
        out.append(float((volt - rest_v) / ampere) if time[-1] >= seconds else float("nan"))
    return out


def run() -> list[Result]:
    """One result: milliseconds for all 108, one core."""
    parts = records()
    rows = pd.concat(parts)
    time, current, voltage = (rows[name].to_numpy() for name in ("prog_time_s", "current_a", "voltage_v"))
    offsets = np.cumsum([0] + [len(part) for part in parts])

    def ours() -> Pulses:
        return find_pulses_batch(time, current, voltage, offsets)

    def theirs() -> list[list[float]]:
        return [read_by_status(part) for part in parts]

    np.testing.assert_allclose(ours().at(10.0)[0], np.array(theirs())[:, 2], rtol=0.02)
    mine, peer = (1e3 * seconds for seconds in alternate(ours, theirs, ROUNDS))
    return [
        Result(
            name="pulse", ours=mine, peer=peer, peer_name="pandas, told where the steps are", ratio=mine / peer,
            bar=BAR_MS, unit="ms per 108 pulses", ok=mine <= BAR_MS,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
