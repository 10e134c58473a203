"""Ageing shelf: formed cells rest, their voltage is read twice, and how fast it falls gives the grade.

After formation the voltage relaxes as a stretched exponential, by 21 to 24 mV in the first six hours of measured cells;
leakage falls on top of it, evenly. Sorting by K = dOCV/dt against the median of the cells before: vendors accept about
0.08 mV/h. Formation, calendar ageing and temperature are not modelled here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from simulators.faults import FaultKind, FaultSetting
from simulators.machine import Values
from simulators.machines.line_machine import LineMachine
from simulators.machines.line_states import State
from simulators.material import Row
from simulators.timebase import NS_PER_S

_RELAX_V, _RELAX_S, _STRETCH = 0.024, 5400.0, 0.6
_FULL_V = 3.72
_MEDIAN_OF = 64
_LOOK_NS = 60 * NS_PER_S
_WORKING = frozenset({State.EXECUTE, State.SUSPENDED, State.SUSPENDING, State.UNSUSPENDING})


class Ageing(LineMachine):
    """Parameters: hours on the shelf, limit on K over the median, noise of the voltmeter."""

    NAME = "ageing"
    TAKES = "formed"
    MAKES = "aged"
    DEFAULTS: ClassVar[Mapping[str, float]] = {"loss_limit_v_h": 0.08e-3, "meter_spread_v": 20e-6, "relax_spread": 0.02}
    faults: Mapping[str, FaultKind] = MappingProxyType(
        {
            "meter_offset": FaultKind(
                "the voltmeter reads low at the second reading",
                {"volt": FaultSetting("offset", "V", -1e-3)},
            )
        }
    )
    RATED_ITEM_S = 30.0
    CELLS_AN_ITEM = 1.0

    def own_setpoints(self) -> Mapping[str, float]:
        return {"ageing_time_sp_s": 43_200.0}

    def begin(self) -> None:
        found = self._equipment.find("shelf_voltage_v")
        self._places = found[0].points if found else 0
        self._cells: list[Row | None] = [None] * self._places
        self._since_ns = np.zeros(self._places, np.int64)
        self._relax_v = np.zeros(self._places)
        self._begin_v = np.full(self._places, np.nan)
        self._volt = np.full(self._places, np.nan)
        self._losses: deque[float] = deque(maxlen=_MEDIAN_OF)
        self._first_ns = 0

    @property
    def _taken(self) -> int:
        return sum(cell is not None for cell in self._cells)

    def has_work(self) -> bool:
        return bool(self.inbox) or self._taken > 0

    def work(self, now_ns: int) -> float:
        for place, cell in enumerate(self._cells):
            if cell is None and self.inbox:
                row = self.inbox.popleft()
                self._cells[place], self._since_ns[place] = row, now_ns
                self._relax_v[place] = _RELAX_V * (1.0 + self.p["relax_spread"] * float(self.rng.standard_normal()))
                self._begin_v[place] = np.nan
        return max(self._taken / self._places, 0.1)

    def rest(self, now_ns: int) -> None:
        if now_ns % _LOOK_NS:
            return
        half_ns = round(self.setpoints["ageing_time_sp_s"] / 2.0) * NS_PER_S
        leak = np.array([0.0 if c is None else c["leak_v_h"] for c in self._cells])
        hours = (now_ns - self._since_ns) / NS_PER_S / 3600.0
        relaxed = self._relax_v * (1.0 - np.exp(-((np.maximum(hours, 0.0) * 3600.0 / _RELAX_S) ** _STRETCH)))
        there = np.array([c is not None for c in self._cells])
        self._volt = np.where(there, _FULL_V - relaxed - leak * hours, np.nan)
        if self.unit.state not in _WORKING:
            return
        for place in np.flatnonzero(there & (now_ns - self._since_ns >= half_ns)):
            if np.isnan(self._begin_v[place]):
                self._begin_v[place] = self._reading(int(place))
            elif now_ns - self._since_ns[place] >= 2 * half_ns:
                self._grade(int(place), now_ns, half_ns / NS_PER_S / 3600.0)

    def _reading(self, place: int) -> float:
        return float(self._volt[place] + self.p["meter_spread_v"] * self.rng.standard_normal())

    def _grade(self, place: int, now_ns: int, hours: float) -> None:
        cell = self._cells[place]
        assert cell is not None
        end_v = self._reading(place) + self.setting("meter_offset", "volt", 0.0)
        loss = (float(self._begin_v[place]) - end_v) / hours
        usual = float(np.median(self._losses)) if self._losses else loss
        leaks = loss - usual > self.p["loss_limit_v_h"]
        self._losses.append(loss)
        row: Row = {
            "cell": cell["cell"],
            "grade": "C" if leaks else "A",
            "defects": list(cell["defects"]),
            "position": place + 1.0,
            "ocv_begin_v": float(self._begin_v[place]),
            "ocv_end_v": end_v,
            "ocv_loss_v_h": loss,
        }
        self._cells[place] = None
        self._volt[place] = np.nan
        self.finish(row, now_ns, "self-discharge" if leaks else "")

    def own_values(self) -> Mapping[str, float | Values]:
        median = float(np.median(self._losses)) if self._losses else 0.0
        return {"shelf_taken": self._taken, "shelf_median_loss_v_h": median, "shelf_voltage_v": self._volt}

    def own_truth(self) -> Mapping[str, float]:
        return {"on_the_shelf": self._taken}
