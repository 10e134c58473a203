"""A line's control chart on many sources: subgroups, phase I, every chart asked for, and when control is lost.

Composes twin/spc.py and twin/spc_t2.py as a line file's [[twin.chart]] says. Numbers in, numbers out: no words, no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import Chart, ChartKind, SigmaFrom
from kernels import spc as layout
from kernels import status
from twin.checkpoint import pack, unpack
from twin.spc import CapabilityIndex, CusumChart, EwmaChart, IndividualsChart, individuals_limits
from twin.spc_t2 import HotellingChart

Float64Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Flags of an observation, beside those of kernels/spc.py for single values (1 to 16). Stored in data: never changed.
EWMA_ABOVE, EWMA_BELOW, CUSUM_ABOVE, CUSUM_BELOW, T2_ABOVE = 32, 64, 128, 256, 512
RULES = (layout.BEYOND_3_SIGMA, layout.TWO_OF_THREE, layout.FOUR_OF_FIVE, layout.EIGHT_OF_ONE_SIDE)

IN_CONTROL_AGAIN = 8
"""Observations in a row without a signal that end an alarm: as long as the longest of the rules looks back."""

CEILING = 2.0
"""CUSUM's sums stop at this many times their limit, so that the alarm ends soon after its cause."""

FIGURES = (
    "observation", "value", "centre", "sigma", "z", "moving_range", "ewma", "ewma_limit", "cusum_high", "cusum_low",
    "t2", "t2_limit", "cpk", "cpk_low", "cpk_high",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What the charts say, arrays (sources,). Figures are nan where a chart was not asked for or has none."""

    # FIGURES. observation counts from 1, phase I among them; z, EWMA and CUSUM in sigmas; value is nan on a T2 chart.
    figures: dict[str, Float64Array]
    flags: NDArray[np.int64]
    judged: Bools  # an observation of phase II was made
    learnt: Bools  # phase I has just ended
    began: Bools  # control has just been lost
    ended: Bools  # ... and is back
    since: NDArray[np.int64]  # observations since it was lost, as of now


class ControlCharts:
    """The charts of `sources` sources with one setting, and their memory."""

    def __init__(self, chart: Chart, sources: int) -> None:
        self.chart, self.sources = chart, sources
        self.variables = max(1, len(chart.columns))
        centre = np.full(sources, math.nan if chart.centre is None else chart.centre)
        sigma = np.full(sources, math.nan if chart.sigma is None else chart.sigma)
        self._individuals = IndividualsChart(centre, sigma)
        self._ewma = EwmaChart(centre, sigma, chart.ewma_lambda, chart.ewma_l)
        self._cusum = CusumChart(centre, sigma, chart.cusum_k, chart.cusum_h, ceiling=CEILING * chart.cusum_h)
        self._t2 = HotellingChart(self.variables, sources, chart.t2_alpha)
        limits = (-math.inf if chart.low is None else chart.low, math.inf if chart.high is None else chart.high)
        self._cpk = CapabilityIndex(*limits, channels=sources) if limits != (-math.inf, math.inf) else None
        kept = 0 if self._cpk is None else chart.cpk_window
        self._memory: dict[str, NDArray[Any]] = {
            "sum": np.zeros((sources, self.variables)),
            "in_sum": np.zeros(sources, dtype=np.int64),
            "to_skip": np.full(sources, chart.skip, dtype=np.int64),
            "phase_1": np.zeros((sources, chart.learn or 0, self.variables)),
            "learning": np.zeros(sources, dtype=np.int64),  # observations so far; -1: phase I is over
            "window": np.zeros((sources, kept)),
            "windowed": np.zeros(sources, dtype=np.int64),
            "lost": np.zeros(sources, dtype=bool),
            "count": np.zeros(sources, dtype=np.int64),
            "calm": np.zeros(sources, dtype=np.int64),
            "since": np.zeros(sources, dtype=np.int64),
            "centre": centre.copy(),
            "sigma": sigma.copy(),
        }
        if chart.learn is None:
            self._memory["learning"][:] = -1

    def observe(self, values: Float64Array) -> Judged:
        """One value of each source and variable, (sources, variables); nan is none."""
        m = self._memory
        made, observed = self._subgroups(values)
        known = m["learning"] < 0
        learnt = np.zeros(self.sources, dtype=bool)
        for i in np.flatnonzero(made & ~known):
            learnt[i] = self._learn(int(i), observed[i])
        judged = made & known
        x = np.where(judged[:, None], observed, math.nan)
        figures = {name: np.full(self.sources, math.nan) for name in FIGURES}
        flags = self._t2_chart(x, figures) if self.variables > 1 else self._charts(x[:, 0].copy(), figures)
        m["count"] += made
        figures["observation"] = np.where(judged, m["count"], math.nan)
        flags[~judged] = 0
        if self._cpk is not None:
            self._capability(made, observed[:, 0], figures)
        began, ended = self._alarms(judged, flags != 0)
        return Judged(figures, flags, judged, learnt, began, ended, m["since"].copy())

    def _subgroups(self, values: Float64Array) -> tuple[Bools, Float64Array]:
        """Which sources have an observation now, and it."""
        m = self._memory
        good = np.isfinite(values).all(axis=1)
        m["sum"][good] += values[good]
        m["in_sum"][good] += 1
        made = m["in_sum"] >= self.chart.subgroup
        observed = np.full_like(m["sum"], math.nan)
        observed[made] = m["sum"][made] / m["in_sum"][made, None]
        m["sum"][made], m["in_sum"][made] = 0.0, 0
        counts = made & (m["to_skip"] == 0)
        m["to_skip"] -= made & ~counts
        return counts, observed

    def _learn(self, i: int, observed: Float64Array) -> bool:
        """Phase I of one source; True when it has just ended. Values that say nothing of the spread are forgotten."""
        m = self._memory
        m["phase_1"][i, m["learning"][i]] = observed
        m["learning"][i] += 1
        if m["learning"][i] < m["phase_1"].shape[1]:
            return False
        m["learning"][i] = 0
        values = m["phase_1"][i]
        if self.variables > 1:
            ends = np.where(np.arange(self.sources + 1) > i, len(values), 0)
            if self._t2.learn(values.copy(), ends)[i] != status.OK:
                return False
        else:
            centre, sigma = (float(v[0]) for v in individuals_limits(values[:, 0].copy()))
            if self.chart.learn_sigma is SigmaFrom.OVERALL:
                sigma = float(values[:, 0].std(ddof=1))
            if not (math.isfinite(sigma) and sigma > 1e-12 * abs(centre)):
                return False
            m["centre"][i], m["sigma"][i] = centre, sigma
            self._set_limits()
        m["learning"][i] = -1
        return True

    def _set_limits(self) -> None:
        for chart in (self._individuals, self._ewma, self._cusum):
            chart.parameters[:, layout.CENTRE] = self._memory["centre"]
            chart.parameters[:, layout.SIGMA] = self._memory["sigma"]

    def _charts(self, x: Float64Array, figures: dict[str, Float64Array]) -> NDArray[np.int64]:
        kinds = self.chart.charts
        figures["value"], figures["centre"], figures["sigma"] = (
            x,
            *(self._memory[k].copy() for k in ("centre", "sigma")),
        )
        points = self._individuals.update(x)
        figures["z"], figures["moving_range"] = points.value, points.other
        wanted = sum(RULES[rule - 1] for rule in set(self.chart.rules)) if ChartKind.INDIVIDUALS in kinds else 0
        wanted += layout.MOVING_RANGE if ChartKind.MOVING_RANGE in kinds else 0
        flags = points.flags.astype(np.int64) & wanted
        if ChartKind.EWMA in kinds:
            points = self._ewma.update(x)
            figures["ewma"], figures["ewma_limit"] = points.value, points.other
            flags |= _moved(points.flags, EWMA_ABOVE, EWMA_BELOW)
        if ChartKind.CUSUM in kinds:
            points = self._cusum.update(x)
            figures["cusum_high"], figures["cusum_low"] = points.value, points.other
            flags |= _moved(points.flags, CUSUM_ABOVE, CUSUM_BELOW)
        return flags

    def _t2_chart(self, x: Float64Array, figures: dict[str, Float64Array]) -> NDArray[np.int64]:
        points = self._t2.update(x)
        figures["t2"], figures["t2_limit"] = points.value, points.other
        return _moved(points.flags, T2_ABOVE, 0)

    def _capability(self, made: Bools, observed: Float64Array, figures: dict[str, Float64Array]) -> None:
        """Of the newest observations, phase I among them, of the sources that have a new one."""
        assert self._cpk is not None
        window, count = self._memory["window"], self._memory["windowed"]
        rows = np.flatnonzero(made)
        window[rows, count[rows] % window.shape[1]] = observed[rows]
        count[rows] += 1
        sizes = np.where(made, np.minimum(count, window.shape[1]), 0)
        flat = np.concatenate([np.zeros(0), *(window[i, : sizes[i]] for i in rows)])
        self._cpk.reset()
        found = self._cpk.update(flat, np.concatenate([[0], np.cumsum(sizes)]))
        figures["cpk"], figures["cpk_low"], figures["cpk_high"] = found.cpk, found.low, found.high

    def _alarms(self, judged: Bools, signal: Bools) -> tuple[Bools, Bools]:
        m = self._memory
        signal = signal & judged
        began = signal & ~m["lost"]
        m["since"][began] = 0
        m["lost"] |= signal
        m["since"] += m["lost"] & judged
        m["calm"] = np.where(signal, 0, m["calm"] + judged)
        ended = m["lost"] & judged & (m["calm"] >= IN_CONTROL_AGAIN)
        m["lost"] &= ~ended
        return began, ended

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        return pack(self._head, self._arrays())

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same settings and sources. ValueError otherwise; then it must not be used on."""
        parts = self._parts()
        found = unpack(data, self._head, self._arrays(), ragged=tuple(parts))
        for name, part in parts.items():
            part.restore(found[name].tobytes())
        m = {name: found[name] for name in self._memory}
        if (m["learning"] >= max(1, m["phase_1"].shape[1])).any() or any(
            (m[k] < 0).any() for k in ("in_sum", "windowed")
        ):
            raise ValueError("checkpoint holds counts that no chart writes")
        self._memory = m
        self._set_limits()

    def _parts(self) -> dict[str, IndividualsChart | EwmaChart | CusumChart | HotellingChart]:
        return {"individuals": self._individuals, "ewma_chart": self._ewma, "cusum": self._cusum, "t2_chart": self._t2}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        parts = {k: np.frombuffer(part.checkpoint(), dtype=np.uint8) for k, part in self._parts().items()}
        return self._memory | parts

    @property
    def _head(self) -> dict[str, str | int | float]:
        settings = self.chart.model_dump_json(exclude={"title"})
        return {"format": "celltwin-control-charts", "version": 1, "sources": self.sources, "settings": settings}


def _moved(flags: NDArray[np.uint8], above: int, below: int) -> NDArray[np.int64]:
    up, down = (flags & layout.ABOVE) != 0, (flags & layout.BELOW) != 0
    return np.asarray(up * above + down * below, dtype=np.int64)
