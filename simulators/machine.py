"""What a machine is: physics and sequence, stepped with time and inputs. No protocol, no socket, no wall clock.

A server binds a machine to a protocol with nothing but the equipment type's tag list, so a new machine needs no new
server and a new protocol no new machine. Values cross this seam in the tags' units, as float64 arrays of one value per
point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Machine(Protocol):
    """One simulated machine. Same seed and same inputs at the same plant times give the same outputs, bit for bit."""

    scan_s: float
    """Plant seconds of one PLC scan."""

    truth_period_s: float
    """Plant seconds between truth records."""

    def advance(self, until_ns: int) -> None:
        """Move physics and sequence to plant time `until_ns`, in inner steps of the machine's own choice."""
        ...

    def write(self, tag: str, values: Values) -> None:
        """Take one written tag, one value per written point from the first; acts at the next advance.

        Raises ValueError where a PLC would refuse (out of hard limits, unknown tag): the server turns it into its
        protocol's refusal.
        """
        ...

    def outputs(self) -> Mapping[str, Values]:
        """Every tag of the equipment type, readable and writable ones, as the PLC holds them now."""
        ...

    def truth(self) -> Mapping[str, Values]:
        """What no instrument shows (true SOC, resistance, loading): columns of equal length, one row per point.

        Always has the column `point` (1-based). For tests and the report only.
        """
        ...


@runtime_checkable
class Retains(Protocol):
    """A machine whose PLC keeps part of its memory without power. One that is not stands still meanwhile, whole."""

    def retained(self) -> Mapping[str, Values]:
        """Retained memory as it is now: recipe and counters, under names of the machine's own choice."""
        ...

    def restore_retained(self, kept: Mapping[str, Values], plant_ns: int) -> None:
        """Power is back at `plant_ns` after having gone at the last advance.

        The PLC boots with `kept` and has forgotten the rest; the physics has gone on meanwhile with all outputs off.
        """
        ...


@runtime_checkable
class KeepsMetres(Protocol):
    """A machine that finishes web metre by metre and keeps each one's history: truth/<device>_metres."""

    def finished_metres(self, reader: str = "truth") -> Mapping[str, Values]:
        """Columns of equal length, a row (its `point`) per metre finished since this reader's last call, or none.

        What nobody reads in time is forgotten.
        """
        ...
