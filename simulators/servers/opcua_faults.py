"""What can break at an OPC UA server, and what of it is broken now. No socket here: the server acts on it.

Times are plant seconds where the PLC is concerned and wall seconds where the wire is. A restart is one of the
communication side: the machine behind it runs on, its values and alarms are kept, every session is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from asyncua import ua

from configs.schema import Equipment
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.servers.opcua_nodes import Rename

_DOWN = FaultSetting("Plant seconds in which nothing listens", "s", 30.0)

FAULTS: Mapping[str, FaultKind] = {
    "restart": FaultKind("The server closes, listens again later, and has forgotten every session", {"down_s": _DOWN}),
    "node_ids_changed": FaultKind(
        "A restart after which every node has another identifier; browse paths stay",
        {"down_s": _DOWN, "prefix": FaultSetting("What identifiers begin with then", "", "PLC_2.")},
    ),
    "namespace_index_changed": FaultKind(
        "A restart after which the namespace has another index; its URI stays", {"down_s": _DOWN}
    ),
    "cut": FaultKind("Every connection is reset, and every new one too, as long as it lasts; sessions live on"),
    "black_hole": FaultKind("Connections stay open and nothing is answered; what has queued up comes at the end"),
    "slow": FaultKind(
        "Every message comes late", {"delay_s": FaultSetting("Wall seconds before every message", "s", 1.0)}
    ),
    "bad_status": FaultKind(
        "A tag has this status; with a bad one it has no value either",
        {
            "tag": FaultSetting("The tag's name"),
            "status": FaultSetting("Name of an OPC UA status code", "", "BadSensorFailure"),
        },
    ),
    "server_clock_skew": FaultKind(
        "The server's own time is wrong; source times stay", {"skew_s": FaultSetting("Ahead of true", "s", 60.0)}
    ),
}
RESTARTS = frozenset({"restart", "node_ids_changed", "namespace_index_changed"})


@dataclass(slots=True)
class Broken:
    """What is broken now. The server looks at it with every publish."""

    status: dict[str, ua.StatusCode] = field(default_factory=dict)  # by tag
    skew_ns: int = 0
    down_s: float | None = None  # a restart is asked for
    prefix: str = ""  # before every identifier
    shifted: bool = False  # whether the namespace has another index

    @property
    def rename(self) -> Rename:
        """What identifiers are called now."""
        return _prefixed(self.prefix)

    def ask(self, name: str, on: bool, settings: Settings) -> None:
        """Note a restart, or a status that is switched. ValueError is raised by `check` before."""
        if name == "bad_status":
            if on:
                self.status[str(settings["tag"])] = status_code(str(settings["status"]))
            else:
                self.status.pop(str(settings["tag"]), None)
        elif name == "server_clock_skew":
            self.skew_ns = round(float(settings["skew_s"]) * 1e9) if on else 0
        elif name == "node_ids_changed":
            self.prefix = str(settings["prefix"]) if on else ""
        elif name == "namespace_index_changed":
            self.shifted = on
        if name in RESTARTS and (on or name != "restart"):
            self.down_s = float(settings["down_s"])


def check(equipment: Equipment, name: str, settings: Settings) -> None:
    """Raises ValueError for a fault or settings that this server cannot take."""
    if name not in FAULTS:
        raise ValueError(f"no fault is called '{name}'; there are: {', '.join(sorted(FAULTS))}")
    if name == "bad_status":
        if equipment.find(str(settings["tag"])) is None:
            raise ValueError(f"fault '{name}': equipment '{equipment.name}' has no tag '{settings['tag']}'")
        status_code(str(settings["status"]))
    for key in ("down_s", "delay_s"):
        if key in settings and float(settings[key]) < 0:
            raise ValueError(f"fault '{name}': '{key}' is negative")


def status_code(name: str) -> ua.StatusCode:
    """By its name in Part 6, A.2. Raises ValueError for a name that there is not."""
    code = getattr(ua.StatusCodes, name, None) if name.startswith(("Bad", "Uncertain", "Good")) else None
    if code is None:
        raise ValueError(f"no status code is called '{name}'")
    return ua.StatusCode(code)


def _prefixed(prefix: str) -> Rename:
    rename: Callable[[str], str] = lambda identifier: prefix + identifier  # noqa: E731 - a closure and no more
    return rename
