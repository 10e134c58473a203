"""Control charts on a stream: nanoseconds per observation against pandas and a Python loop that do the same.

Alone: python bench/spc.py

The EWMA peer is pandas' compiled one, group by group, with its limits; the CUSUM and the Western Electric rules have no
vector form, so their peer is a loop over Python floats of one channel. Equal work: z, sums or rules, and the flags.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from twin.spc import CusumChart, EwmaChart, IndividualsChart

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

CHANNELS, EACH, ROUNDS = 64, 2000, 9
BAR_RATIO = 0.1  # of the peer's time; the issue sets no bar of its own


def loop_cusum(values: list[float]) -> int:
    """Two-sided CUSUM as everybody writes it; signals."""
    upper = lower = 0.0
    signals = 0
    for x in values:
        upper, lower = max(0.0, upper + x - 0.5), max(0.0, lower - x - 0.5)
        signals += upper > 5.0 or lower > 5.0
    return signals


def pandas_rules(frame: pd.DataFrame) -> int:
    """Western Electric's rules and the moving range with rolling windows; signals."""
    z = frame["z"]
    by = z.groupby(frame["channel"])
    found = z.abs() > 3.0
    for side in (1.0, -1.0):
        beyond2, beyond1, off = (side * z > limit for limit in (2.0, 1.0, 0.0))
        for hit, window, least in ((beyond2, 3, 2), (beyond1, 5, 4), (off, 8, 8)):
            inside = hit.astype(float).groupby(frame["channel"]).rolling(window, min_periods=1).sum()
            found |= hit & (inside.to_numpy() >= least)
    found |= by.diff().abs() > 3.686
    return int(found.sum())


def run() -> list[Result]:
    """Three results: nanoseconds per observation, one core."""
    # Freed at once, it makes the C library keep memory, as in a process that has run for a while. In a fresh one each
    # side pays for the pages that the other has just given back: 468 page faults a call, 9 ns per observation.
    np.ones(3_500_000)
    rng = np.random.default_rng(1)
    values = rng.standard_normal(CHANNELS * EACH)
    ends = EACH * np.arange(CHANNELS + 1)
    frame = pd.DataFrame({"channel": np.repeat(np.arange(CHANNELS), EACH), "z": values})
    centre = np.zeros(CHANNELS)
    charts = EwmaChart(centre, 1.0), CusumChart(centre, 1.0), IndividualsChart(centre, 1.0)
    one = values[:EACH].tolist()

    def pandas_ewma() -> None:
        z = frame.groupby("channel")["z"].ewm(alpha=0.2, adjust=False).mean()
        (z.abs() > 2.962 * (0.2 / 1.8) ** 0.5).sum()

    cases = (
        ("spc_ewma", charts[0], pandas_ewma, "pandas group-by ewm", values.size),
        ("spc_cusum", charts[1], lambda: loop_cusum(one), "Python loop", EACH),
        ("spc_imr_rules", charts[2], lambda: pandas_rules(frame), "pandas rolling windows", values.size),
    )
    results = []
    for name, chart, peer, peer_name, peer_count in cases:
        mine, theirs = alternate(lambda chart=chart: chart.update(values, ends), peer, ROUNDS)  # type: ignore[misc]
        mine, theirs = 1e9 * mine / values.size, 1e9 * theirs / peer_count
        ratio = mine / theirs
        results.append(
            Result(
                name=name, ours=mine, peer=theirs, peer_name=peer_name, ratio=ratio, bar=BAR_RATIO * theirs,
                unit="ns per observation", ok=ratio <= BAR_RATIO,
            )
        )  # fmt: skip
    return results


if __name__ == "__main__":
    main(run)
