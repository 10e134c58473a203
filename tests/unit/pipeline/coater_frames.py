"""What a simulated coater's gauge reports, as Frames of its driver: for tests of what follows from them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import configs
from configs.schema import Equipment
from controller.pipeline.late import Late
from controller.types import Frame, FrameKind
from simulators.machines.coater import Coater

S = 1_000_000_000
LANES, WIDTH_M = 24, 0.30
COLUMNS = (
    "pump_rate_ml_s",
    "gauge_mass_loading_kg_m2",
    "gauge_cross_position_m",
    "gauge_web_position_m",
)
JOB = {"web_speed_sp_m_s": 0.1, "pump_rate_sp_ml_s": 3.25, "length_sp_m": 2e4, "coater_command": 1}


def started_coater(seed: int) -> Coater:
    """At time 0, told to coat."""
    equipment = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"
    machine = Coater(Equipment.model_validate(tomllib.loads(equipment.read_text())), 0, seed)
    machine.write("zone_temperature_sp_c", np.array([80.0, 105.0, 120.0, 95.0]))
    for tag, number in (JOB | {"coater_command_seq": 1}).items():
        machine.write(tag, np.array([float(number)]))
    return machine


def gauge_frames(machine: Coater, begin_h: float, end_h: float) -> Iterator[Frame]:
    """A Frame each 10 s of a coater that has come to `begin_h`."""
    for second in range(round(begin_h * 3600) + 10, round(end_h * 3600) + 1, 10):
        machine.advance(second * S)
        outputs = machine.outputs()
        yield frame(second * S, {name: np.asarray(outputs[name], dtype=np.float64) for name in COLUMNS})


def coater_frames(seed: int, hours: float) -> Iterator[Frame]:
    """From the start."""
    return gauge_frames(started_coater(seed), 0.0, hours)


def frame(
    time_ns: int | np.ndarray, columns: dict[str, np.ndarray], lot: str = "WEB-1", stream: str = "coater",
    point: np.ndarray | None = None, point_name: str = "", quality: int = 0, device: str = "coater1",
) -> Frame:  # fmt: skip
    """A raw Frame whose columns have one row each, or as many as there are stamps and points."""
    n = next(iter(columns.values())).size
    return Frame(
        device, stream, FrameKind.RAW, np.broadcast_to(np.asarray(time_ns, dtype=np.int64), (n,)).copy(),
        np.zeros(n, dtype=np.int32) if point is None else point.astype(np.int32), point_name, columns,
        np.full(n, quality, dtype=np.uint8), np.zeros(n, dtype=np.uint32), labels={"lot": lot},
    )  # fmt: skip


class Ready(Late):
    """Kernels that are there, or will be when `come` is called."""

    def __init__(self, *, ready: bool = True) -> None:
        super().__init__()
        if ready:
            self.come()

    def come(self) -> None:
        self._ready.set()

    @property
    def names(self) -> list[str]:
        return self._names
