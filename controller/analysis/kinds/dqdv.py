"""Peaks of incremental capacity of every slow branch of a record, followed by name. No arithmetic in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from twin.dqdv import BANDWIDTH_V, Peak, Slopes, followed, incremental_capacity, peaks
from twin.ocv import Branch, SlowTest, branches, net_charge

LEAST_SPAN_V = 0.5
REACH_V = 0.05
SAME_CURRENT = 0.1
FIGURES = tuple(f.name for f in fields(Peak) if f.name != "name")


class Dqdv:
    """One row per peak; one row with the reason for a branch, or a record, that has none."""

    name = "dqdv"
    text = "incremental capacity of slow charges and discharges: peaks with position, height, width and charge"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ("charge_capacity_ah", "discharge_capacity_ah", "script")
    settings = (
        Setting("bandwidth_v", BANDWIDTH_V, "standard deviation of the smoothing over voltage"),
        Setting("least_span_v", LEAST_SPAN_V, "least voltage that a branch of constant current crosses"),
        Setting("reach_v", REACH_V, "furthest that a peak moves between two branches under one name"),
    )

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """Peaks in rising voltage, branch by branch; names last over branches of one direction and current."""
        try:
            found, curves = _curves(record, options)
            reach = float(options.values.get("reach_v", REACH_V))
            if not 0.0 < reach < 100.0:
                raise ValueError(f"reach_v {reach:g} is not a voltage")
            if curves is None:
                return [_row({}, None, f"no span of constant current crosses {_span(options):g} V")]
            per_branch: list[Sequence[Peak]] = list(peaks(curves))
        except (ValueError, OverflowError) as error:
            raise BadInputError(f"{record.source}: {error}") from error
        for group in _alike(found):
            for k, named in zip(group, followed([per_branch[k] for k in group], reach), strict=True):
                per_branch[k] = named
        rows: list[Row] = []
        for k, branch in enumerate(found):
            head: Row = {
                "branch": k + 1,
                "direction": "charge" if branch.current_a > 0.0 else "discharge",
                "branch_current_a": branch.current_a,
                "bandwidth_v": float(curves.bandwidth[k]),
                "least_span_v": _span(options),
            }
            reason = curves.reason(k)
            rows += [_row(head, peak, reason or peak.reason or None) for peak in per_branch[k]]
            if not per_branch[k]:
                rows.append(_row(head, None, reason or "no peak stands out of the noise"))
        return rows

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """dQ/dV over voltage, discharges downwards, peaks named."""
        width = next((row["bandwidth_v"] for row in rows if row.get("bandwidth_v") is not None), None)
        if width is None:
            return None
        least = next(v for row in rows if isinstance(v := row.get("least_span_v"), float))
        found, curves = _curves(record, Options({"bandwidth_v": float(width), "least_span_v": least}))
        if curves is None:
            return None
        data: list[dict[str, Any]] = []
        for k, branch in enumerate(found):
            sign = 1.0 if branch.current_a > 0.0 else -1.0
            reached = np.isfinite(curves.value[k])
            data.append(
                {
                    "type": "scatter",
                    "name": f"branch {k + 1}: {branch.current_a:.3g} A",
                    "x": curves.grid(k)[reached].tolist(),
                    "y": (sign * curves.value[k][reached]).tolist(),
                }
            )
        axes = {"xaxis": {"title": {"text": "voltage (V)"}}, "yaxis": {"title": {"text": "dQ/dV (Ah/V)"}}}
        return {"data": data, "layout": axes}


def _span(options: Options) -> float:
    return float(options.values.get("least_span_v", LEAST_SPAN_V))


def _curves(record: Record, options: Options) -> tuple[list[Branch], Slopes | None]:
    """The record's branches and their incremental capacity. Raises ValueError."""
    given = record.columns
    test = SlowTest(
        given["time_s"], given["current_a"], given["voltage_v"],
        given.get("charge_capacity_ah"), given.get("discharge_capacity_ah"), script=given.get("script"),
    )  # fmt: skip
    found = branches(test, _span(options))
    if not found:
        return found, None
    charge_c, _ = net_charge(test)
    spans = [slice(b.first, b.last + 1) for b in found]
    offsets = np.cumsum([0, *(b.last + 1 - b.first for b in found)], dtype=np.int64)
    charge = np.concatenate([charge_c[s] for s in spans])
    voltage = np.concatenate([test.voltage_v[s] for s in spans])
    width = float(options.values.get("bandwidth_v", BANDWIDTH_V))
    return found, incremental_capacity(charge, voltage, offsets, width)


def _alike(found: Sequence[Branch]) -> list[list[int]]:
    """Branches of one direction and nearly one current: only between these is a shift of a peak ageing, not rate."""
    groups: list[list[int]] = []
    for k, branch in enumerate(found):
        for group in groups:
            first = found[group[0]].current_a
            if abs(branch.current_a - first) <= SAME_CURRENT * abs(first):
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def _row(head: Row, peak: Peak | None, refused: str | None) -> Row:
    """One finding; None for what is not known."""
    empty: Row = dict.fromkeys(("branch", "direction", "branch_current_a", "bandwidth_v", "least_span_v"))
    values: dict[str, Cell] = dict.fromkeys(("peak", *FIGURES))
    if peak is not None:
        values = {"peak": peak.name, **{name: _known(getattr(peak, name)) for name in FIGURES}}
    return {**empty, **head, **values, "refused": refused}


def _known(value: float) -> float | None:
    """None for NaN."""
    return None if math.isnan(value) else value


KIND = Dqdv()
