"""DCIR from the current pulses of measured records: checks, units, reasons in words. No file, no plot, no pooling.

    found = find_pulses(time_s, current_a, voltage_v)          # one record
    found.at(10.0), found.reason(0)

Current is positive in charge. Each pulse keeps its own temperature and state of charge; nothing is averaged here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels import pulse as layout
from kernels import pulse_clock as clock
from kernels import status
from kernels.pulse import pulses as pulses_kernel
from twin.arrays import floats, integers

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]

TIMES_S = (1.0, 3.0, 10.0, 30.0)
REASONS = {
    status.OK: "",
    status.BAD_INPUT: "the voltage moved against the current: check the current's sign",
    status.BAD_TIME: "time runs backwards at the step",
    status.TOO_SHORT: "the pulse ended",
    status.NOT_SAMPLED: "no samples near that time",
    status.NO_REST: "no true rest sample before the step",
    status.NOT_HELD: "the current was not held",
    status.SPREAD_UNKNOWN: "too few samples to know the noise: no standard deviation",
}
RECORD_REASONS = {
    status.OK: "",
    status.BAD_INPUT: "no row has a finite time, current and voltage",
    status.NOT_FOUND: "no step from rest to a load",
    status.OUT_OF_SPACE: "more pulses than there is space for",
}


class Stamps(Enum):
    """What the first row after a step says about the step's instant."""

    AT_STEP = "at_step"  # a cycler, which writes a row when its step begins
    POLLED = "polled"  # a clock that knows nothing of the step: anywhere in one sampling interval


STAMPS_WORDS = {
    clock.GIVEN: "as said",
    clock.AT_STEP: "at_step: the stamps show that rows were written at the steps",
    clock.POLLED: "polled: the stamps go on evenly through the steps",
    clock.COUNTED: "counted: by the equipment's own count of the step's time",
    clock.UNTOLD: "at_step: assumed, the stamps do not show it",
}


@dataclass(frozen=True, slots=True)
class PulseAssumptions:
    """What the person knows better than the data; None: taken from the data."""

    rest_current_a: float | None = None  # largest current that is rest; else 2 % of the record's largest
    voltage_sd_v: float | None = None  # noise of one voltage sample
    resolution_v: float | None = None
    step_time_resolution_s: float | None = None  # what a step's time is counted in; else as the counts show it
    stamps: Stamps | None = None  # as the stamps show it, record by record; where they do not, at the step


@dataclass(frozen=True, slots=True, eq=False)
class Pulses:
    """n pulses of one or many records, in their order. Arrays (n,) or, per time in `times_s`, (n, times).

    `r_ohm` is nan where `status` refuses it; 1.96 `r_sd_ohm` are the 95 % band (kernels/pulse.py: what is in it).
    """

    times_s: tuple[float, ...]
    record: Int64Array
    time_s: Float64Array  # of the step
    current_a: Float64Array  # the step's size, positive in charge
    rest_v: Float64Array
    duration_s: Float64Array
    rest_s: Float64Array  # rest seen before, at most 64 rows of it
    noise_v: Float64Array
    resolution_v: Float64Array  # 0: none seen
    soc: Float64Array
    soc_sd: Float64Array
    temperature_c: Float64Array
    rest_row: Int64Array  # last row of true rest, -1: none; rows count through all records
    step_row: Int64Array  # first row with the load's voltage; before load_row where rows were stale
    load_row: Int64Array
    last_row: Int64Array
    r_ohm: Float64Array
    r_sd_ohm: Float64Array
    status: UInt8Array
    record_status: UInt8Array  # (records,)
    end_v: Float64Array  # the voltage at the last loaded row, `duration_s` into the pulse
    r_end_ohm: Float64Array  # there
    r_end_sd_ohm: Float64Array
    end_status: UInt8Array
    stamps_code: Int64Array  # a key of STAMPS_WORDS

    def __len__(self) -> int:
        return int(self.time_s.shape[0])

    @property
    def stale_rows(self) -> Int64Array:
        """Zero-current rows before each pulse that already carry its voltage."""
        return np.where(self.rest_row >= 0, self.load_row - self.step_row, 0)

    def at(self, seconds: float) -> tuple[Float64Array, Float64Array]:
        """DCIR [ohm] and its standard deviation that many seconds into the pulses. ValueError: not one of times_s."""
        m = self.times_s.index(seconds)
        return self.r_ohm[:, m], self.r_sd_ohm[:, m]

    def reason(self, pulse: int) -> str:
        """Why figures of that pulse are absent, in words; empty where none is."""
        codes = [int(code) for code in self.status[pulse]]
        if len(set(codes)) == 1 and codes[0] not in {status.TOO_SHORT, status.NOT_SAMPLED, status.NOT_HELD}:
            return REASONS[codes[0]]
        parts = []
        for code in dict.fromkeys(c for c in codes if c != status.OK):
            times = ", ".join(f"{t:g}" for t, c in zip(self.times_s, codes, strict=True) if c == code)
            ended = ""
            if code == status.TOO_SHORT:
                ended = f" {self.duration_s[pulse]:.3g} s into it, at {self.end_v[pulse]:.4g} V"
            parts.append(f"{times} s: {REASONS[code]}{ended}")
        end = int(self.end_status[pulse])
        if end not in {status.OK, *codes}:
            parts.append(f"at its end: {REASONS[end]}")
        return "; ".join(parts)

    def stamps(self, pulse: int) -> str:
        """How that pulse's stamps were read, in words."""
        return STAMPS_WORDS[int(self.stamps_code[pulse])]

    def record_reason(self, record: int) -> str:
        """Why that record has no pulses, in words; empty where it has."""
        return RECORD_REASONS[int(self.record_status[record])]


def _rows(name: str, values: ArrayLike | None, length: int) -> Float64Array:
    """`values` as (length,); one number stands for all, None for unknown. ValueError: another shape."""
    array = floats(math.nan if values is None else values)
    if array.ndim == 0:
        return np.full(length, float(array))
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}, not ({length},)")
    return array


def _settings(assumed: PulseAssumptions) -> Float64Array:
    """For the kernel. ValueError: a value that nothing can have."""
    out = np.full(layout.SETTINGS, math.nan)
    for at, name in (
        (layout.S_REST, "rest_current_a"), (layout.S_NOISE, "voltage_sd_v"), (layout.S_RESOLUTION, "resolution_v"),
        (layout.S_GRAIN, "step_time_resolution_s"),
    ):  # fmt: skip
        value = getattr(assumed, name)
        if value is None:
            continue
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} {value:g} is not a magnitude")
        out[at] = value
    if assumed.stamps is not None:
        out[layout.S_BACK] = 0.5 if assumed.stamps is Stamps.POLLED else 0.0
    return out


def _offsets(offsets: ArrayLike, length: int) -> Int64Array:
    """`offsets` (records + 1,). ValueError: they do not cover the rows in order."""
    edges = integers(offsets)
    if edges.ndim != 1 or edges.size < 1 or edges[0] != 0 or edges[-1] != length or (np.diff(edges) < 0).any():
        raise ValueError(f"offsets must rise from 0 to {length}, the number of rows")
    return edges


def find_pulses_batch(
    time_s: ArrayLike,
    current_a: ArrayLike,
    voltage_v: ArrayLike,
    offsets: ArrayLike,
    *,
    soc: ArrayLike | None = None,
    soc_sd: ArrayLike | None = None,
    dr_dsoc_ohm: ArrayLike | None = None,
    temperature_c: ArrayLike | None = None,
    step_time_s: ArrayLike | None = None,
    times_s: Sequence[float] = TIMES_S,
    assumed: PulseAssumptions | None = None,
) -> Pulses:
    """All pulses of many records, which lie one behind the other: record k in rows offsets[k]..offsets[k + 1].

    `soc` (0..1), its `soc_sd` and `temperature_c` are per row or one number; `dr_dsoc_ohm` (per unit of SOC) per record
    or one number. With both of the latter known, the SOC's variance goes into `r_sd_ohm`. `step_time_s`, per row, is
    for how long the row's step has run by the equipment's own count; it goes before what stamps show or `assumed` says.
    Any float is accepted in the columns. ValueError: shapes differ, times_s does not rise from above 0, an assumption
    makes no sense.
    """
    time = floats(time_s)
    if time.ndim != 1:
        raise ValueError(f"time_s has shape {time.shape}, not one dimension")
    current, voltage = _rows("current_a", current_a, time.size), _rows("voltage_v", voltage_v, time.size)
    edges = _offsets(offsets, time.size)
    records = edges.size - 1
    tau = floats(times_s)
    if tau.ndim != 1 or tau.size == 0 or not (np.isfinite(tau).all() and tau[0] > 0.0 and (np.diff(tau) > 0.0).all()):
        raise ValueError(f"times_s must rise from above 0, not {list(times_s)}")
    beside = (("soc", soc), ("soc_sd", soc_sd), ("temperature_c", temperature_c), ("step_time_s", step_time_s))
    extra = np.stack([_rows(name, values, time.size) for name, values in beside])
    slope = _rows("dr_dsoc_ohm", dr_dsoc_ohm, records)
    settings = _settings(assumed or PulseAssumptions())
    record_code = np.empty(records, dtype=np.uint8)
    space = 4 * records + 16
    while True:
        found, places = np.empty((space, layout.FOUND_COLUMNS)), np.empty((space, layout.PLACE_COLUMNS), dtype=np.int64)
        r, sd = np.empty((space, tau.size)), np.empty((space, tau.size))
        code = np.empty((space, tau.size), dtype=np.uint8)
        number = pulses_kernel(
            time, current, voltage, extra, edges, slope, tau, settings, found, places, r, sd, code, record_code
        )
        if number <= space:
            break
        space = number
    found, places = found[:number], places[:number]
    return Pulses(
        times_s=tuple(float(t) for t in tau), record=places[:, layout.RECORD],
        time_s=found[:, layout.TIME], current_a=found[:, layout.CURRENT_STEP], rest_v=found[:, layout.REST_V],
        duration_s=found[:, layout.DURATION], rest_s=found[:, layout.REST_DURATION], noise_v=found[:, layout.NOISE_V],
        resolution_v=found[:, layout.RESOLUTION_V], soc=found[:, layout.SOC], soc_sd=found[:, layout.SOC_SD],
        temperature_c=found[:, layout.TEMPERATURE], rest_row=places[:, layout.REST_ROW],
        step_row=places[:, layout.EDGE_ROW], load_row=places[:, layout.LOAD_ROW], last_row=places[:, layout.LAST_ROW],
        r_ohm=r[:number], r_sd_ohm=sd[:number], status=code[:number], record_status=record_code,
        end_v=found[:, layout.END_V], r_end_ohm=found[:, layout.END_OHM], r_end_sd_ohm=found[:, layout.END_SD],
        end_status=places[:, layout.END_CODE].astype(np.uint8), stamps_code=places[:, layout.STAMPS],
    )  # fmt: skip


def find_pulses(
    time_s: ArrayLike,
    current_a: ArrayLike,
    voltage_v: ArrayLike,
    *,
    soc: ArrayLike | None = None,
    soc_sd: ArrayLike | None = None,
    dr_dsoc_ohm: float | None = None,
    temperature_c: ArrayLike | None = None,
    step_time_s: ArrayLike | None = None,
    times_s: Sequence[float] = TIMES_S,
    assumed: PulseAssumptions | None = None,
) -> Pulses:
    """`find_pulses_batch` of one record."""
    return find_pulses_batch(
        time_s, current_a, voltage_v, [0, np.size(time_s)], soc=soc, soc_sd=soc_sd, dr_dsoc_ohm=dr_dsoc_ohm,
        temperature_c=temperature_c, step_time_s=step_time_s, times_s=times_s, assumed=assumed,
    )  # fmt: skip
