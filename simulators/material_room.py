"""Room between machines: who takes material tells how much has left its buffer, who makes it stops while that is full.

Theory of operation. `buffer` in a machine's table of the line file is how many items may stand in front of it; without
one there is no end. The taker adds a row to material/taken.parquet with every cart: items of a maker that have left
the buffer since the run began. The maker reads it by the rule of all material, no sooner than HANDOVER_S later, so a
line is the same bit for bit however its processes are out of step; that half hour until a place is known to be free is
on the safe side: what is made, in work or on the cart counts as in the buffer. Several makers share it evenly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from configs.schema import LineFile
from simulators.material import Material

TAKES: Mapping[str, str] = {
    "coater": "batch",
    "calender_slitter": "metre",
    "stacking": "sheet",
    "filling": "stack",
    "formation_rack": "cell",
    "ageing": "formed",
}
"""What each machine of a line file takes."""


def rooms_of(line: LineFile, makers: Mapping[str, list[str]]) -> dict[str, int]:
    """Places for each kind of material and maker; a kind for which nobody sets a buffer is not there."""
    rooms: dict[str, int] = {}
    for settings in (line.simulation.machines if line.simulation else {}).values():
        kind = TAKES.get(str(settings.get("machine")), "")
        places = int(settings.get("buffer", 0))
        if kind in makers and places:
            rooms[kind] = rooms.get(kind, 0) + places
    return {kind: max(1, places // len(makers[kind])) for kind, places in rooms.items()}


def only_takers(line: LineFile, makers: Mapping[str, list[str]]) -> None:
    """Raises ValueError where two machines would take the same items: nothing says which of them gets what."""
    takers: dict[str, list[str]] = {}
    for device, settings in (line.simulation.machines if line.simulation else {}).items():
        takers.setdefault(TAKES.get(str(settings.get("machine")), ""), []).append(device)
    for kind, devices in takers.items():
        if kind in makers and len(devices) > 1:
            raise ValueError(f"{' and '.join(devices)} would take the same {kind}s: a line has one taker of each kind")


def _maker(item: str) -> str:
    return item.rpartition(":")[0]


class Room:
    """One machine's view: the buffer behind it, which may be full, and the one in front of it, of which it tells."""

    def __init__(self, material: Material, makes: str, takes: str | None) -> None:
        """Raises OSError when an earlier process's reports cannot be read."""
        self._material = material
        self._makes, self._takes = makes, takes
        self._places = material.rooms.get(makes)
        self._tells = takes is not None and takes in material.rooms
        self._made_before = sum(not row["scrap"] for row in material.own(makes)) if self._places else 0
        self._left: dict[str, float] = {}  # by taker: of ours, from its buffer
        self._received: dict[str, float] = {}  # by maker
        self._told: dict[str, float] = {}
        for row in material.own("taken") if self._tells else ():
            self._told[row["maker"]] = row["items"]
        # What an earlier process had in front of it, and not in hand, it gets again.
        self._received.update(self._told)

    def free(self, made: int) -> float:
        """Places that are certainly free behind a machine that has made so many good items, those in work included."""
        if self._places is None:
            return math.inf
        return self._places + sum(self._left.values()) - self._made_before - made

    def received(self, items: Iterable[str]) -> None:
        """Items of these names have come into the buffer in front."""
        for maker, count in Counter(map(_maker, items)).items():
            self._received[maker] = self._received.get(maker, 0.0) + count

    def tell(self, plant_ns: int, in_front: Iterable[str]) -> None:
        """Note what has left the buffer in front, where `in_front` still are. Written with the next flush."""
        if not self._tells:
            return
        there = Counter(map(_maker, in_front))
        for maker, count in self._received.items():
            left = count - there[maker]
            if left > self._told.get(maker, 0.0):
                self._told[maker] = left
                row = {"id": f"{self._material.device}:{maker}:{plant_ns}", "time_ns": plant_ns, "scrap": ""}
                self._material.add("taken", row | {"kind": self._takes, "maker": maker, "items": left})

    def listen(self, plant_ns: int) -> None:
        """What those behind have told by now. Raises OSError."""
        if self._places is None:
            return
        for row in self._material.take("taken", plant_ns):
            if row["kind"] == self._makes and row["maker"] == self._material.device:
                self._left[row["device"]] = max(row["items"], self._left.get(row["device"], 0.0))
