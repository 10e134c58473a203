"""DCIR from the current pulses of a record: one row a pulse. The arithmetic is in kernels/pulse.py, not here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from twin.pulse import TIMES_S, PulseAssumptions, Pulses, Stamps, find_pulses

FIGURE_ROWS = 20_000
_FIGURES = [f"r_{t:g}s_ohm" for t in TIMES_S]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _setting(options: Options, name: str) -> float | None:
    """The number that was set, None where it was not. BadInputError: no number."""
    value = options.values.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise BadInputError(f"--set {name}={value}: not a number") from error


def _stamps(options: Options) -> Stamps | None:
    value = options.values.get("stamps")
    if value is None:
        return None
    try:
        return Stamps(str(value))
    except ValueError as error:
        choices = " or ".join(choice.value for choice in Stamps)
        raise BadInputError(f"--set stamps={value}: {choices}") from error


class PulsesKind:
    """`celltwin analyse pulses`."""

    name = "pulses"
    text = "direct-current resistance 1, 3, 10 and 30 s into each current pulse"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ("temperature_c", "soc", "soc_sd", "step_time_s")
    settings = (
        Setting("rest_current_a", None, "largest current that is rest; by itself 2 % of the record's largest"),
        Setting("voltage_sd_v", None, "noise of one voltage sample; by itself from rest and pulse"),
        Setting("resolution_v", None, "least step of the voltage; by itself from the data"),
        Setting("soc_sd", None, "standard deviation of soc (0 to 1), where no column gives it"),
        Setting("dr_dsoc_ohm", None, "slope of the resistance, ohm per unit of soc: soc_sd then widens the spread"),
        Setting("step_time_resolution_s", None, "what step_time_s is counted in; by itself from the counts"),
        Setting(
            "stamps",
            None,
            "at_step: a row is written as the step begins; polled: at any time within an interval; by itself from the "
            "stamps",
        ),
    )

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """One row a pulse; one that says why for a record without any. BadInputError: a setting makes no sense."""
        columns = record.columns
        soc_sd = columns.get("soc_sd")
        try:
            assumed = PulseAssumptions(
                rest_current_a=_setting(options, "rest_current_a"),
                voltage_sd_v=_setting(options, "voltage_sd_v"),
                resolution_v=_setting(options, "resolution_v"),
                step_time_resolution_s=_setting(options, "step_time_resolution_s"),
                stamps=_stamps(options),
            )
            found = find_pulses(
                columns["time_s"],
                columns["current_a"],
                columns["voltage_v"],
                soc=columns.get("soc"),
                soc_sd=_setting(options, "soc_sd") if soc_sd is None else soc_sd,
                dr_dsoc_ohm=_setting(options, "dr_dsoc_ohm"),
                temperature_c=columns.get("temperature_c"),
                step_time_s=columns.get("step_time_s"),
                assumed=assumed,
            )
        except ValueError as error:
            raise BadInputError(f"{record.source}: {error}") from error
        if not len(found):
            empty: Row = dict.fromkeys(("time_s", "current_a", "soc", *_FIGURES, "direction"))
            return [{**empty, "refused": found.record_reason(0)}]
        return [self._row(found, k, record) for k in range(len(found))]

    @staticmethod
    def _row(found: Pulses, k: int, record: Record) -> Row:
        row: dict[str, Cell] = {
            "time_s": _number(found.time_s[k]),
            "current_a": _number(found.current_a[k]),
            "soc": _number(found.soc[k]),
            "soc_sd": _number(found.soc_sd[k]),
        }
        for name, r, sd in zip(_FIGURES, found.r_ohm[k], found.r_sd_ohm[k], strict=True):
            row[name], row[f"{name}_sd"] = _number(r), _number(sd)
        row["r_end_ohm"], row["r_end_ohm_sd"] = _number(found.r_end_ohm[k]), _number(found.r_end_sd_ohm[k])
        row["duration_s"], row["end_v"] = _number(found.duration_s[k]), _number(found.end_v[k])
        row["direction"] = "charge" if found.current_a[k] > 0.0 else "discharge"
        row["temperature_c"] = _number(found.temperature_c[k])
        row["stale_rows"] = int(found.stale_rows[k])
        row["stamps"] = found.stamps(k)
        row["refused"] = found.reason(k) or None
        unknown = {"soc_sd": "soc_sd", "temperature_c": "temperature_c"}
        for name, column in unknown.items():
            if row[name] is None and column not in record.columns:
                del row[name]
        return {name: value for name, value in row.items() if name not in record.keys}

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """The voltage over time with every step, and what was read from it."""
        steps = [row for row in rows if row.get("time_s") is not None]
        time, voltage = record.columns["time_s"], record.columns["voltage_v"]
        usable = np.flatnonzero(np.isfinite(time) & np.isfinite(voltage))
        if not steps or not usable.size:
            return None
        shown = usable[:: 1 + usable.size // FIGURE_ROWS]
        at = [float(str(row["time_s"])) for row in steps]
        nearest = usable[[int(np.argmin(np.abs(time[usable] - t))) for t in at]]
        words = [
            "<br>".join(f"{name[2:-4]}: {1e3 * float(str(row[name])):.2f} mohm" for name in _FIGURES if row[name])
            for row in steps
        ]
        return {
            "data": [
                {"x": time[shown].tolist(), "y": voltage[shown].tolist(), "mode": "lines", "name": "voltage"},
                {"x": at, "y": voltage[nearest].tolist(), "mode": "markers", "name": "step", "text": words},
            ],
            "layout": {"xaxis": {"title": {"text": "time [s]"}}, "yaxis": {"title": {"text": "voltage [V]"}}},
        }


KIND = PulsesKind()
