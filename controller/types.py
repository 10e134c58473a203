"""The values that travel through the controller. Data only: no I/O, no clock, no protocol, nothing of the twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


class Quality(IntEnum):
    """OPC's three-way quality, ordered so that the worst of several is their maximum."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class TimeSource(Enum):
    """Whose clock stamped a Frame."""

    DEVICE = "device"
    CONTROLLER = "controller"


class FrameKind(Enum):
    """RAW came from equipment, RESULT from the twin, RECORD from ourselves (commands, gaps, alarms)."""

    RAW = "raw"
    RESULT = "result"
    RECORD = "record"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One poll or one notification batch of one device, as columns of equal length n.

    A row is one point (formation channel, lane, zone) at one time. NaN in a column means "no good value for this tag in
    this row"; `quality` and `code` then say why. `stream` is the table (InfluxDB measurement, Parquet folder) that the
    rows belong to; (stream, device, point, time_ns) identifies a row for ever, so that a repeat changes nothing.
    """

    device: str
    stream: str
    kind: FrameKind
    time_ns: Int64Array  # (n,) UTC nanoseconds since 1970
    point: NDArray[np.int32]  # (n,) 1-based channel, lane or zone; all 0 where the stream has no points
    point_name: str  # "channel", "lane", "zone"; "" where the stream has no points
    columns: Mapping[str, Float64Array]  # each (n,); names carry units
    quality: NDArray[np.uint8]  # (n,) Quality, the worst over the row's tags
    code: NDArray[np.uint32]  # (n,) the protocol's own status of that worst tag; 0 is good
    time_source: TimeSource = TimeSource.DEVICE
    text: Mapping[str, Sequence[str]] = field(default_factory=dict)  # each (n,); for records only
    labels: Mapping[str, str] = field(default_factory=dict)  # constant over the Frame, low cardinality: lot, recipe

    @property
    def rows(self) -> int:
        """Number of rows n."""
        return int(self.time_ns.shape[0])


@dataclass(frozen=True, slots=True)
class Write:
    """One tag's new value on one device: a scalar for a tag without points, else one value per point from the first."""

    tag: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """Something that we want of a device: all writes, in order, or a recorded refusal. `reason` is read by people."""

    device: str
    name: str  # "load programme", "start", "set-points"
    writes: tuple[Write, ...]
    reason: str
    deadline_s: float = 5.0  # wall seconds until the read-back must agree
    expect: tuple[Write, ...] = ()
    """What the read-back must show in place of the written values: for command words that the PLC answers elsewhere.

    The first entry is the acknowledgement; once it agrees, the others must agree too, else the device has refused.
    """


class CommandOutcome(Enum):
    """How a Command ended."""

    CONFIRMED = "confirmed"  # written, and the read-back agrees
    REFUSED_BY_US = "refused_by_us"  # limit, unknown tag, not writable: nothing was sent
    REFUSED_BY_DEVICE = "refused_by_device"
    NOT_CONFIRMED = "not_confirmed"  # written, but the read-back differs or came too late
    LOST = "lost"  # the device went away; what it holds is unknown


class ConnectionState(Enum):
    """Where a device's supervised task stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing_off"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SinkCounters:
    """Rows per sink since the spool was made. Always: accepted = delivered + spooled + rejected + dropped."""

    sink: str
    accepted: int  # rows that became durable in the spool
    delivered: int
    spooled: int  # durable, waiting for this sink
    rejected: int  # refused by the sink's server for good; kept in quarantine with the reason
    dropped: int  # thrown away by the spool's policy when full

    @property
    def reconciles(self) -> bool:
        """True when no row is unaccounted for."""
        return self.accepted == self.delivered + self.spooled + self.rejected + self.dropped
