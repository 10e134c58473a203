"""Keeps the curve of voltage over charge of each channel's step, small enough to be part of every checkpoint.

For what needs a slow charge or discharge as a whole (OCV, electrode windows, dQ/dV). All channels at once in arrays.
The beginning of a step is kept sample by sample; after it samples are averaged over even shares of charge, so that none
is thrown away; the last sample stands by itself. Current, temperature and time of a step of constant current are
numbers of the step, not of its rows. Pure: no twin, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.types import Float64Array, Frame, Int64Array, Quality
from twin.checkpoint import pack, unpack

SHARES = 512
"""Shares of the cell's capacity: 0.2 %. On a peak of an LG M50's dQ/dV (12 Ah/V) that is 0.8 mV of a 5 mV bandwidth."""
HEAD = 12
"""Samples at a step's beginning that are kept as they are: the ohmic step is read from them."""
ROWS = 1024
"""Rows of one step at most; where they do not suffice, shares are doubled."""
SAME_CURRENT = 0.2
"""Of the mean: a sample further away is no part of the curve (as kernels/esoh_sweep.py has it) ..."""
ODD_SAMPLES = 2
"""... and more than so many of them in a row end it: constant current has passed into constant voltage."""
LEAST_PART = 0.05
"""Of the capacity: a step that moves less leaves no curve."""

STATE, STEP, CYCLE, COUNT, SEEN, IN_BIN, BIN, ODD, CLOSED, WHOLE, BEGUN_NS, TAIL_NS, LAST_NS = range(13)
"""Columns of a channel's book of integers."""
(
    NET, NET_BEGIN, LAST_A, LAST_V, COUNTER, WIDTH, SUM_C, SUM_V, MEAN_A, MEAN_T, WIDEST, TAIL_C, TAIL_V, BEFORE_V,
    BEFORE_A, BEFORE_S,
) = range(16)  # fmt: skip
"""Columns of its book of numbers, in C, A, V, s. NET: all charge so far."""

STEPS_OF_SHARE = 32
LOW_V, STEP_V = -1.0, 1.2e-4
"""A row is two numbers of 16 bits: charge in parts of a share (2,048 shares at most), and voltage up to 6.8 V. Rounding
adds 0.035 mV to the noise of instruments that resolve a millivolt; a checkpoint has a quarter of the bytes."""

COUNTERS = ("charge_ah", "discharge_ah")
C_PER_AH = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One step of nearly constant current of one channel. Charge counts from the last sample before it, positive."""

    channel: int  # 1-based
    state: int
    step: int
    cycle: int
    samples: int
    whole: bool  # its beginning was seen
    begun_ns: int  # first sample
    end_ns: int  # last sample of the curve; the step may go on at another current
    last_ns: int  # last sample of the step
    moved_c: float  # at its last sample
    current_a: float  # signed mean
    temperature_c: float  # mean
    net_c: float  # the channel's net charge when it began: the difference of two curves' is what flowed between them
    widest_c: float  # most charge between two samples
    before_v: float  # last sample of the step before; NaN: not known
    before_a: float
    before_s: float  # how long before the first sample
    after_v: float  # first sample of the next step
    after_a: float
    after_s: float
    after_c: float  # charge until then, from where `charge_c` counts
    share_c: float  # charge of one share
    rows: NDArray[np.uint16]  # (rows, 2) charge and voltage, packed

    @property
    def charge_c(self) -> Float64Array:
        """Charge (rows,) since the step's beginning, rising."""
        charge: Float64Array = self.rows[:, 0].astype(np.float64) * (self.share_c / STEPS_OF_SHARE)
        return charge

    @property
    def voltage_v(self) -> Float64Array:
        """Voltage (rows,)."""
        voltage: Float64Array = self.rows[:, 1].astype(np.float64) * STEP_V + LOW_V
        return voltage

    @property
    def span_v(self) -> float:
        """Voltage that it crosses."""
        return float(np.ptp(self.rows[:, 1].astype(np.int64)) * STEP_V) if len(self.rows) else 0.0


class CurveKeeper:
    """Follows the channels of one rack whose cells hold about `capacity_ah`."""

    def __init__(self, channels: int, capacity_ah: float) -> None:
        self._capacity_c = capacity_ah * C_PER_AH
        self._book = np.zeros((channels, LAST_NS + 1), dtype=np.int64)
        self._book[:, [STATE, STEP, CYCLE]] = -1
        self._real = np.full((channels, BEFORE_S + 1), np.nan)
        self._real[:, NET] = 0.0
        self._rows = np.zeros((channels, ROWS, 2), dtype=np.uint16)

    def feed(self, frame: Frame, rows: Int64Array | None = None) -> list[Curve]:
        """Take one sample of each of the Frame's channels (or of its `rows`); the curves of steps that ended."""
        chosen, at, now = self._usable(frame, np.arange(frame.rows) if rows is None else rows)
        book, real = self._book, self._real
        time_ns = frame.time_ns[chosen]
        current, voltage = frame.columns["current_a"][chosen], frame.columns["voltage_v"][chosen]
        known = book[at, LAST_NS] > 0
        since_s = np.where(known, (time_ns - book[at, LAST_NS]) / 1e9, 0.0)
        counter = _net_counter(frame, chosen)
        moved = np.where(known, self._moved(at, current, counter, since_s), 0.0)
        changed = (now[:, :2] != book[at][:, [STATE, STEP]]).any(axis=1)
        finished = [
            curve
            for j in np.flatnonzero(changed & (book[at, SEEN] > 0))
            if (curve := self._finish(int(at[j]), voltage[j], current[j], since_s[j], moved[j])) is not None
        ]
        # A row at rest that already carries the next step's number belongs to what was before.
        late = ~changed & (book[at, SEEN] == 1) & (np.abs(current) > 5.0 * np.abs(real[at, MEAN_A]))
        fresh = changed | late
        self._begin(at[fresh], now[fresh], since_s[fresh], known[fresh])
        book[at, CYCLE] = now[:, 2]
        real[at, NET] += moved
        begins = fresh | (book[at, SEEN] == 0)
        temperature = frame.columns.get("temperature_c", np.full(frame.rows, np.nan))[chosen]
        self._add(at, time_ns, current, voltage, temperature, moved, begins)
        book[at, LAST_NS] = time_ns
        real[at, LAST_A], real[at, LAST_V], real[at, COUNTER] = current, voltage, counter
        return finished

    def checkpoint(self) -> bytes:
        """Everything that a restart needs: the rows that are in use, no more."""
        used = [rows[:count] for rows, count in zip(self._rows, self._book[:, COUNT].tolist(), strict=True)]
        return pack(self._head, {"book": self._book, "real": self._real, "rows": np.concatenate(used)})

    def restore(self, saved: bytes) -> None:
        """Takes a `checkpoint` of a rack of as many channels. ValueError otherwise, and nothing changed."""
        like: dict[str, NDArray[Any]] = {
            "book": self._book,
            "real": self._real,
            "rows": np.zeros((0, 2), dtype=np.uint16),
        }
        arrays = unpack(saved, self._head, like, ragged=("rows",))
        count = arrays["book"][:, COUNT]
        if (count < 0).any() or (count > ROWS).any() or arrays["rows"].shape[0] != int(count.sum()):
            raise ValueError("checkpoint holds curves that no keeper keeps")
        self._book, self._real = arrays["book"], arrays["real"]
        self._rows[np.arange(ROWS) < count[:, None]] = arrays["rows"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-curves", "version": 1, "channels": self._book.shape[0]}

    def _usable(self, frame: Frame, rows: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Rows that say what the channel does and measures, later than what is known; their channels and numbers."""
        columns = frame.columns
        seen = np.stack([columns[name][rows] for name in ("state", "step", "cycle")], axis=1)
        measured = np.stack([columns[name][rows] for name in ("voltage_v", "current_a")], axis=1)
        good = (frame.quality[rows] < Quality.BAD) & np.isfinite(seen).all(axis=1)
        good &= (np.abs(measured) < 1e6).all(axis=1) & (
            frame.time_ns[rows] > self._book[frame.point[rows] - 1, LAST_NS]
        )
        rows = rows[good]
        return rows, frame.point[rows].astype(np.int64) - 1, seen[good].astype(np.int64)

    def _moved(
        self, at: Int64Array, current: Float64Array, counter: Float64Array, since_s: Float64Array
    ) -> Float64Array:
        """Charge since the last sample: by the equipment's counters where that is possible, else by the currents."""
        last_a = self._real[at, LAST_A]
        counted = counter - self._real[at, COUNTER]
        most = np.maximum(np.abs(current), np.abs(last_a))
        # The bound of kernels/ocv.py: a counter that was reset jumps further.
        possible = np.abs(counted) <= 2.0 * most * (since_s + 10.0) + 1.0
        moved: Float64Array = np.where(possible, counted, 0.5 * (current + last_a) * since_s)
        return moved

    def _begin(self, at: Int64Array, now: Int64Array, since_s: Float64Array, known: NDArray[np.bool_]) -> None:
        book, real = self._book, self._real
        book[at, STATE], book[at, STEP] = now[:, 0], now[:, 1]
        book[at[:, None], [COUNT, SEEN, IN_BIN, ODD, CLOSED]] = 0
        book[at, BIN], book[at, WHOLE] = -1, known
        real[at, NET_BEGIN] = real[at, NET]
        real[at, BEFORE_V], real[at, BEFORE_A] = real[at, LAST_V], real[at, LAST_A]
        real[at, BEFORE_S] = np.where(known, since_s, np.nan)
        real[at, WIDTH] = self._capacity_c / SHARES
        real[at[:, None], [SUM_C, SUM_V, WIDEST, MEAN_A, MEAN_T]] = 0.0

    def _add(
        self, at: Int64Array, time_ns: Int64Array, current: Float64Array, voltage: Float64Array,
        temperature: Float64Array, moved: Float64Array, begins: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """One more sample of each channel that is still in its constant current."""
        book, real = self._book, self._real
        odd = ~begins & (np.abs(current - real[at, MEAN_A]) > SAME_CURRENT * np.abs(real[at, MEAN_A]))
        book[at, ODD] = np.where(odd, book[at, ODD] + 1, 0)
        book[at, CLOSED] |= book[at, ODD] > ODD_SAMPLES
        use = ~odd & (book[at, CLOSED] == 0)
        real[at[use], WIDEST] = np.maximum(real[at[use], WIDEST], np.abs(moved[use]))
        k, time_ns, current, voltage = at[use], time_ns[use], current[use], voltage[use]
        charge = np.abs(real[k, NET] - real[k, NET_BEGIN])
        book[k[begins[use]], BEGUN_NS] = time_ns[begins[use]]
        seen = book[k, SEEN]
        real[k, MEAN_A] += (current - real[k, MEAN_A]) / (seen + 1)
        real[k, MEAN_T] += (temperature[use] - real[k, MEAN_T]) / (seen + 1)
        share = np.where(seen < HEAD, -1, (charge / real[k, WIDTH]).astype(np.int64))
        closes = (book[k, IN_BIN] > 0) & ((share != book[k, BIN]) | (seen < HEAD))
        self._flush(k[closes])
        real[k, SUM_C] += charge
        real[k, SUM_V] += voltage
        book[k, IN_BIN] += 1
        book[k, SEEN], book[k, BIN], book[k, TAIL_NS] = seen + 1, share, time_ns
        real[k, TAIL_C], real[k, TAIL_V] = charge, voltage

    def _flush(self, k: Int64Array) -> None:
        """Close the open shares of channels: their means become rows."""
        book, real = self._book, self._real
        for full in k[book[k, COUNT] >= ROWS].tolist():
            self._double(full)
        n = book[k, IN_BIN]
        self._rows[k, book[k, COUNT]] = _packed(real[k, SUM_C] / n, real[k, SUM_V] / n, real[k, WIDTH])
        book[k, COUNT] += 1
        book[k, IN_BIN] = 0
        real[k[:, None], [SUM_C, SUM_V]] = 0.0

    def _double(self, k: int) -> None:
        """Average the rows of a channel two by two, those of its beginning not."""
        self._real[k, WIDTH] *= 2.0
        pairs = self._rows[k, HEAD:].reshape(-1, 2, 2).mean(axis=1)
        self._rows[k, HEAD : HEAD + len(pairs)] = np.rint(pairs)
        self._rows[k, :, 0] //= 2
        self._book[k, COUNT] = HEAD + len(pairs)

    def _finish(self, k: int, after_v: float, after_a: float, after_s: float, moved: float) -> Curve | None:
        """The curve of channel k, None where the step moved next to nothing."""
        book, real = self._book[k], self._real[k]
        begun_c = real[NET_BEGIN]
        if real[TAIL_C] < LEAST_PART * self._capacity_c:
            return None
        inner = int(book[IN_BIN]) - 1  # of the open share, without the last sample, which stands by itself
        ends = np.array([[real[SUM_C], real[SUM_V]], [real[TAIL_C], real[TAIL_V]]])
        ends[0] = (ends[0] - ends[1]) / max(inner, 1)
        ends = ends if inner else ends[1:]
        rows = np.concatenate([self._rows[k, : book[COUNT]], _packed(ends[:, 0], ends[:, 1], real[WIDTH])])
        return Curve(
            channel=k + 1,
            state=int(book[STATE]),
            step=int(book[STEP]),
            cycle=int(book[CYCLE]),
            samples=int(book[SEEN]),
            whole=bool(book[WHOLE]),
            begun_ns=int(book[BEGUN_NS]),
            end_ns=int(book[TAIL_NS]),
            last_ns=int(book[LAST_NS]),
            moved_c=float(real[TAIL_C]),
            current_a=float(real[MEAN_A]),
            temperature_c=float(real[MEAN_T]),
            net_c=float(begun_c),
            widest_c=float(real[WIDEST]),
            before_v=float(real[BEFORE_V]),
            before_a=float(real[BEFORE_A]),
            before_s=float(real[BEFORE_S]),
            after_v=float(after_v),
            after_a=float(after_a),
            after_s=float(after_s),
            after_c=abs(float(real[NET] + moved - begun_c)),
            share_c=float(real[WIDTH]),
            rows=rows,
        )


def _packed(charge_c: Float64Array, voltage_v: Float64Array, share_c: Float64Array | float) -> NDArray[np.uint16]:
    """Rows (n, 2) as they are kept."""
    scaled = np.stack([charge_c / share_c * STEPS_OF_SHARE, (voltage_v - LOW_V) / STEP_V], axis=1)
    return np.clip(np.rint(scaled), 0.0, 65535.0).astype(np.uint16)


def _net_counter(frame: Frame, rows: Int64Array) -> Float64Array:
    """Net charge by the equipment's own counters, NaN where it has none."""
    columns: Mapping[str, Float64Array] = frame.columns
    if not all(name in columns for name in COUNTERS):
        return np.full(rows.size, np.nan)
    charged, discharged = (columns[name][rows] for name in COUNTERS)
    return (charged - discharged) * C_PER_AH
