"""What is wrong with a rack's cells from the start, what can break in it later, and what each does. No timetable here.

Channels count from 1, as the tags do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kernels.spm import P as CellP
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.machine import Values
from simulators.machines.rack_kernel import NO_CONTACT, REVERSED, TRIPPED, P

_CHANNEL = FaultSetting("which channel, from 1")
_OHM = FaultSetting("of the short", "Ohm", 20.0)
_LOOSE = FaultSetting("what the contact adds", "Ohm", 0.05)
_SHARE = FaultSetting("share of the electrolyte that is there", "1", 0.7)

DEFECTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "soft_short": FaultKind("a short inside the cell", {"channel": _CHANNEL, "ohm": _OHM}),
        "dry_cell": FaultKind(
            "too little electrolyte: the dry part takes no charge", {"channel": _CHANNEL, "factor": _SHARE}
        ),
        "loose_contact": FaultKind("a bad contact at the pins", {"channel": _CHANNEL, "ohm": _LOOSE}),
        "wrong_polarity": FaultKind("the cell is in the wrong way round", {"channel": _CHANNEL}),
        "high_loading": FaultKind(
            "too much on the cathode",
            {"channel": _CHANNEL, "factor": FaultSetting("loading over that of the design", "1", 1.08)},
        ),
    }
)

FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "soft_short": FaultKind("a dendrite bridges the separator of one cell", dict(DEFECTS["soft_short"].settings)),
        "dry_cell": FaultKind(
            "gas drives electrolyte out of one cell: slower kinetics, higher resistance",
            dict(DEFECTS["dry_cell"].settings),
        ),
        "loose_contact": FaultKind("a pin loses its grip on one cell", dict(DEFECTS["loose_contact"].settings)),
        "wrong_polarity": FaultKind(
            "someone puts one cell back the wrong way round: no current until reset", {"channel": _CHANNEL}
        ),
        "hot_tray": FaultKind(
            "the tray's fans fail: its air grows warmer",
            {"kelvin": FaultSetting("by how much in the end", "K", 8.0)},
        ),
        "channel_trip": FaultKind("one channel's own protection trips: no current until reset", {"channel": _CHANNEL}),
        "estop": FaultKind("someone presses the emergency stop; reset once it is pulled out"),
    }
)

_BOUNDS: Mapping[str, tuple[float, float]] = {"ohm": (1e-4, 1e6), "factor": (0.05, 2.0), "kelvin": (-10.0, 60.0)}
SHORTEST_OHM = 1.0  # what a cell's step of one second can follow
_BLOCKS = {"wrong_polarity": REVERSED, "channel_trip": TRIPPED}


def checked(kind: FaultKind, name: str, given: Settings, channels: int) -> tuple[int, float]:
    """Channel from 0 (-1: the whole tray) and value of a defect or fault. Raises ValueError."""
    channel, value = -1, 0.0
    for key, setting in kind.complete(name, given).items():
        low, high = (1.0, float(channels)) if key == "channel" else _BOUNDS[key]
        low = SHORTEST_OHM if (name, key) == ("soft_short", "ohm") else low
        if isinstance(setting, str) or not low <= setting <= high:
            raise ValueError(f"{name}: {key} is a number from {low:g} to {high:g}, not {setting!r}")
        if key != "channel":
            value = float(setting)
        elif setting != int(setting):
            raise ValueError(f"{name}: channel is a whole number, not {setting:g}")
        else:
            channel = int(setting) - 1
    return channel, value


def parse_defects(text: str, channels: int) -> list[tuple[str, int, float]]:
    """Name, channel from 0 and value of each in `soft_short:17:20, dry_cell:3`. Raises ValueError."""
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, *numbers = (each.strip() for each in part.split(":"))
        if name not in DEFECTS:
            raise ValueError(f"formation_rack: no defect is called '{name}'; there are: {', '.join(DEFECTS)}")
        keys = tuple(DEFECTS[name].settings)
        try:
            given = dict(zip(keys, map(float, numbers), strict=len(numbers) > len(keys)))
        except ValueError:
            raise ValueError(f"formation_rack: a defect is written {':'.join((name, *keys))}, not '{part}'") from None
        found.append((name, *checked(DEFECTS[name], name, given, channels)))
    return found


def make_defect(name: str, c: int, value: float, cell_p: Values, p: Values) -> None:
    """A defect that the cell of channel c was made with."""
    if name == "dry_cell":
        share = min(value, 1.0)
        cell_p[[CellP.Q_POS_C, CellP.Q_NEG_C, CellP.SEI_RATE_A], c] *= share
        cell_p[[CellP.SEI_M_PER_C, CellP.SEI_OHM_PER_M], c] /= share
    if name == "high_loading":
        cell_p[[CellP.Q_POS_C, CellP.J0_POS_A], c] *= value
    act(name, c, value, cell_p, p)


def act(name: str, c: int, value: float, cell_p: Values, p: Values) -> None:
    """What a fault does to a channel and its cell, which keeps its lithium."""
    if name == "soft_short":
        cell_p[CellP.SHORT_S, c] += 1.0 / value
    if name == "dry_cell":
        cell_p[[CellP.J0_POS_A, CellP.J0_NEG_A], c] *= min(value, 1.0)
        cell_p[CellP.CONTACT_OHM, c] /= min(value, 1.0)
    if name == "loose_contact":
        cell_p[CellP.CONTACT_OHM, c] += value
    if name == "wrong_polarity":
        p[P.POLARITY, c] = -1.0
    if name in _BLOCKS:
        p[P.BLOCKED, c] = float(int(p[P.BLOCKED, c]) | int(_BLOCKS[name]))


def make_empty(c: int, p: Values) -> None:
    """There is no cell in channel c."""
    p[P.POLARITY, c], p[P.BLOCKED, c] = 0.0, NO_CONTACT
