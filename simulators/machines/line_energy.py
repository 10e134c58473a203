"""Energy meters: what a machine draws by its state, and a counter that only goes up. Pure; kWh as on a meter.

Sources. 41.5 kWh per kWh of cells for the whole of a factory, half of it gas for dryers and dry rooms, and less than 2
for every other step: Degen and Schütte, J. Clean. Prod. 330 (2022) 129798; 20 to 38 today: Degen et al., Nature Energy
8 (2023) 1284; 44.6: Jinasena et al., Batteries 7 (2021) 14. None of them tells the steps below apart in a way that fits
this line: their shares are assumed, within those bounds, and a test holds their sum against the totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulators.machines.line_states import State

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Share:
    """kWh per kWh of cells of one station, at its rated throughput."""

    process: float  # drawn while it works
    room: float  # drawn all the time: dry room, vacuum, heating


SHARES: Mapping[str, Share] = MappingProxyType(
    {
        "mixer": Share(0.8, 0.1),
        "coater": Share(14.0, 1.0),  # with the dryer and the recovery of the solvent, for both electrodes
        "calender_slitter": Share(0.5, 0.1),
        "stacking": Share(0.6, 5.0),  # stands in the dry room, as filling does
        "filling": Share(0.5, 5.0),
        "formation": Share(1.8, 0.2),
        "ageing": Share(0.1, 1.0),
    }
)
"""By machine. Formation counts the losses in cells, supplies and cabling; discharged energy is not recovered."""

TOTAL_KWH_PER_KWH = (20.0, 45.0)
"""Between which the sum over the line lies."""

_WORKING = {State.STARTING: 0.7, State.EXECUTE: 1.0, State.COMPLETING: 0.5, State.UNHOLDING: 0.7}
_WORKING |= {State.UNSUSPENDING: 0.7, State.SUSPENDED: 0.2, State.HELD: 0.2, State.HOLDING: 0.4, State.SUSPENDING: 0.4}
_IDLE = 0.1
_OFF = frozenset({State.ABORTED, State.ABORTING})


class EnergyMeter:
    """Power now and energy since the meter was fitted."""

    def __init__(self, share: Share, rated_cells_w: float) -> None:
        """`rated_cells_w`: energy of the cells that pass in an hour at rated throughput, Wh/h."""
        self._process_w = share.process * rated_cells_w
        self._room_w = share.room * rated_cells_w
        self.joule = 0.0
        self.power_w = self._room_w

    @property
    def energy_kwh(self) -> float:
        """The counter."""
        return self.joule / J_PER_KWH

    def step(self, state: State, duration_s: float, load: float = 1.0) -> None:
        """`duration_s` in that state; `load` scales the process power (1: rated)."""
        working = 0.0 if state in _OFF else _WORKING.get(state, _IDLE)
        self.power_w = self._room_w + self._process_w * working * (load if state is State.EXECUTE else 1.0)
        self.joule += self.power_w * duration_s
