"""What the benchmarks share: the result, interleaved timing, the table. No benchmark of its own.

Ours and the peer alternate in one run, so that a busy machine slows both; figures are medians over the rounds. A missed
bar is printed and written as such and is no failure: a number that nobody dares to publish helps nobody.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Result:
    """One line of bench/results.json. `ratio` is ours / peer; `ok` says whether the bar was reached."""

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    bar: float
    unit: str
    ok: bool


def alternate(
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Median seconds of one call of each by `clock`, alternating; one unmeasured call of each first.

    Wall time by default; time.thread_time for work of one thread whose bar is per core.
    """
    ours()
    peer()
    mine, theirs = [], []
    for _ in range(rounds):
        for call, spent in ((ours, mine), (peer, theirs)):
            began = clock()
            call()
            spent.append(clock() - began)
    return statistics.median(mine), statistics.median(theirs)


def table(results: list[Result]) -> Table:
    """The results for people."""
    out = Table(title="Benchmarks: medians, ours and peer interleaved")
    for name in ("benchmark", "ours", "peer", "ratio", "bar", "unit", "against", ""):
        out.add_column(name, justify="left" if name in {"benchmark", "unit", "against"} else "right")
    for r in results:
        verdict = "[green]ok[/]" if r.ok else "[bold red]MISSED[/]"
        numbers = (f"{r.ours:,.4g}", f"{r.peer:,.4g}", f"{r.ratio:.3g}", f"{r.bar:,.4g}")
        out.add_row(r.name, *numbers, r.unit, r.peer_name, verdict)
    return out


def main(run: Callable[[], list[Result]]) -> None:
    """One benchmark alone: run it and print its table."""
    Console(width=150).print(table(run()))
