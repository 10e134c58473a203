"""Line file: which devices a line has, what the twin follows, where the data go, and what to simulate."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Port, Positive, Strict
from configs.schema.chart import Chart
from configs.schema.modbus import DeviceTls
from configs.schema.opcua import DeviceSecurity


class Line(Strict):
    """The line itself."""

    name: Name = Field(description="Short name; a tag on every point in InfluxDB.")
    title: str = Field(default="", description="What people call it.")


class Device(Strict):
    """One machine of the line."""

    id: Name = Field(description="Short name of this machine, unique on the line.")
    equipment: str = Field(description="Equipment type: a name under configs/equipment or a path beside the line file.")
    endpoint: str = Field(
        pattern=r"^((modbus\.(tcp|tls|rtu\+tcp)|opc\.tcp)://[^/\s:]+:\d+(/\S*)?|modbus\.rtu:///[^\s?]+(\?\S*)?)$",
        description="modbus.tcp://host:port/unit (or modbus.tls, modbus.rtu+tcp), modbus.rtu:///path?unit=1 "
        "or opc.tcp://host:port/path.",
    )
    tls: DeviceTls | None = Field(default=None, description="For modbus.tls; absent: the system's authorities.")
    security: DeviceSecurity | None = Field(
        default=None, description="For opc.tcp; absent: nothing is signed or encrypted, and nobody signs in."
    )
    recipe: str | None = Field(default=None, description="Recipe to run: a name under configs/recipes or a path.")
    jobs: int = Field(
        default=1,
        ge=0,
        le=1_000_000,
        description="How often the recipe is run, one job after the other; 0: for ever.",
    )
    lot: str = Field(default="", max_length=64, description="Lot on the machine; a tag on its points in InfluxDB.")
    retry_min_s: Positive = Field(default=0.5, description="Wall seconds to the first reconnection attempt.")
    retry_max_s: Positive = Field(default=30.0, description="Longest wall seconds between attempts.")
    heartbeat_timeout_s: Positive = Field(
        default=60.0, description="Wall seconds without us after which the equipment goes to a safe hold."
    )
    stale_after_s: Positive = Field(
        default=10.0, description="Wall seconds without data after which the device is stale."
    )


class CellTwin(Strict):
    """Filter on every channel of a formation rack."""

    device: Name = Field(description="Id of the device whose channels are followed.")
    cell: str = Field(description="Cell model: a name under configs/cells or a path beside the line file.")
    publish_period_s: NonNegative = Field(
        default=0.0, description="Plant seconds between results; 0: with every Frame."
    )
    slow_c_rate: float = Field(
        default=0.22,
        gt=0.0,
        le=1.0,
        description="Mean current over the cell file's capacity, per hour, up to which a step is slow enough for "
        "`cell_dqdv`, `cell_esoh` and `cell_ocv`. The default lets C/5 of a nominal capacity through.",
    )


class WebTwin(Strict):
    """Loading statistics and loading map of a coater's web."""

    device: Name = Field(description="Id of the device whose web is followed.")
    width_m: Positive = Field(default=0.30, description="Coated width that the lanes divide evenly.")
    publish_period_s: NonNegative = Field(default=60.0, description="Plant seconds between results; 0: every sample.")
    loading_map: bool = Field(default=True, description="Whether along and across are told apart, lane by lane.")
    map_step_m: NonNegative = Field(default=10.0, description="Metres of web between two maps; 0: 16 in each scan.")
    foil_kg_m2: NonNegative = Field(
        default=0.0, description="Basis weight of the foil, where the gauge reads coating and foil together."
    )


class Twin(Strict):
    """What is followed live."""

    cells: tuple[CellTwin, ...] = Field(default=(), description="Racks whose cells are followed.")
    web: tuple[WebTwin, ...] = Field(default=(), description="Coaters whose webs are followed.")
    chart: tuple[Chart, ...] = Field(default=(), description="Control charts.")


class WhenFull(Enum):
    """What the spool does at its size bound."""

    BLOCK = "block"  # stop reading equipment until a sink has caught up
    DROP_OLDEST = "drop_oldest"  # throw the oldest undelivered batches away, and count their rows


class Spool(Strict):
    """The durable buffer on disk that everything goes to first."""

    max_mb: float = Field(default=4096.0, ge=1, description="Bound on the spool file, in 10^6 bytes.")
    when_full: WhenFull = Field(default=WhenFull.DROP_OLDEST, description="block or drop_oldest.")


class ParquetSink(Strict):
    """Parquet files under the run folder; always on unless turned off."""

    enabled: bool = Field(default=True, description="Whether Parquet files are written.")
    rows_per_file: int = Field(default=50_000, ge=1, description="A file is closed at this many rows ...")
    seconds_per_file: Positive = Field(
        default=60.0, description="... or when its oldest row has waited so many wall seconds."
    )


class InfluxSink(Strict):
    """InfluxDB 1.8 or 2.x. The token comes from the environment or a file, never from the line file."""

    url: str = Field(pattern=r"^https?://\S+$", description="http://host:8086")
    org: str = Field(default="", description="Organisation (2.x); ignored by 1.8.")
    bucket: str = Field(description="Bucket (2.x) or database/retention-policy (1.8).")
    token_env: str | None = Field(default=None, description="Environment variable that holds the token ...")
    token_file: str | None = Field(default=None, description="... or file that holds it, relative to the line file.")
    max_lines_per_write: int = Field(default=5_000, ge=1, description="Lines in one request.")
    timeout_s: Positive = Field(default=10.0, description="Wall seconds that one request may take.")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token_env is None) == (self.token_file is None):
            raise ValueError("give exactly one of token_env and token_file")
        return self


class Sinks(Strict):
    """Where the spool drains to."""

    parquet: ParquetSink = ParquetSink()
    influxdb: InfluxSink | None = Field(default=None, description="InfluxDB; absent: not used.")


class Web(Strict):
    """The live page and the health, readiness and metrics addresses."""

    enabled: bool = Field(default=True, description="Whether the page is served.")
    host: str = Field(default="127.0.0.1", description="Loopback by default: the page has no login.")
    port: Port = Field(default=8377, description="TCP port of the page.")


class Simulation(Strict):
    """What `simulate` and `demo` start instead of real equipment. Present: the line is a simulated one."""

    speed: float = Field(default=1.0, ge=0.1, le=2000, description="Plant seconds per wall second.")
    start: datetime | None = Field(
        default=None, description="Plant time at start, with UTC offset; unset: chosen to end about now."
    )
    duration_s: Positive = Field(default=86_400.0, description="Plant seconds that a demo lasts.")
    seed: int = Field(default=1, ge=0, description="Seed of every random draw.")
    machines: dict[Name, dict[str, int | float | str | bool]] = Field(
        default_factory=dict,
        description="Device id -> the machine that plays it: `machine` names it, further keys are its parameters.",
    )


class LineFile(Strict):
    """One line, the contents of a file under configs/lines."""

    line: Line
    device: tuple[Device, ...] = Field(min_length=1, description="The machines of the line.")
    twin: Twin = Twin()
    spool: Spool = Spool()
    sinks: Sinks = Sinks()
    web: Web = Web()
    simulation: Simulation | None = Field(
        default=None, description="What `simulate` and `demo` start; absent: the line is real."
    )

    @model_validator(mode="after")
    def _references(self) -> Self:
        ids = [d.id for d in self.device]
        wrong = [f"device id '{name}' is used twice" for name in dict.fromkeys(ids) if ids.count(name) > 1]
        wanted = [("twin.cells", c.device) for c in self.twin.cells] + [("twin.web", w.device) for w in self.twin.web]
        wanted += [("simulation.machines", m) for m in (self.simulation.machines if self.simulation else ())]
        for where, name in wanted:
            if name not in ids:
                wrong.append(f"{where} names device '{name}', which the line does not have")
        if wrong:
            raise ValueError("\n".join(wrong))  # one mistake a line: the loader tells them all at once
        return self
