"""What the live page shows, in memory and bounded: latest values, decimated history, connections, counters, records.

Fed by the application on the event loop, read by the endpoints on the same loop; hence no locks. It keeps no reference
to a Frame and nothing that grows with the length of a run. No JSON, no HTTP, no wall clock of its own.
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from controller.clock import NS_PER_S
from controller.types import ConnectionState, Frame, FrameKind, SinkCounters
from controller.web.describe import DeviceInfo, LineInfo
from controller.web.latest import History, StreamLatest

HISTORY_COLUMNS: dict[str, tuple[str, ...]] = {
    "channel": ("voltage_v", "current_a", "temperature_c"),
    "cell_state": ("soc", "soc_sd"),
    "coater": ("gauge_mass_loading_kg_m2", "web_speed_m_s", "pump_rate_ml_s", "residual_solvent_fraction"),
    "coater_zone": ("zone_temperature_c",),
    "coater_profile": ("lane_mass_loading_kg_m2",),
    "web_loading": ("mean_kg_m2", "sd_kg_m2", "cv"),
}
CHART = "chart"
"""Label of a control chart's rows: which chart."""
HISTORY_SAMPLES = 600
HISTORY_MIN_PERIOD_S = 60.0
DEFAULT_SPAN_S = 86_400.0
RECORDS_KEPT = 50
POLL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Record:
    """One command, gap or event, ready for people. `values` are the record's own columns (duration_s of a gap)."""

    time_ns: int
    device: str
    text: dict[str, str]
    values: dict[str, float]


@dataclass(slots=True)
class PollTimes:
    """Histogram of wall seconds that polls of one device took."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(POLL_BUCKETS_S) + 1))
    total_s: float = 0.0
    last_s: float = 0.0

    def observe(self, wall_s: float) -> None:
        """Count one poll."""
        self.counts[bisect.bisect_left(POLL_BUCKETS_S, wall_s)] += 1
        self.total_s += wall_s
        self.last_s = wall_s


@dataclass(slots=True)
class DeviceView:
    """What is known of one device."""

    info: DeviceInfo
    connection: ConnectionState = ConnectionState.CONNECTING
    detail: str = ""
    connected_once: bool = False
    losses: int = 0
    streams: dict[str, StreamLatest] = field(default_factory=dict)
    polls: PollTimes = field(default_factory=PollTimes)

    def received_s(self) -> float | None:
        """Wall time (monotonic) of the newest raw data; None before the first."""
        return max((s.received_s for s in self.streams.values() if s.frames), default=None)

    def newest_ns(self) -> int | None:
        """Newest plant-time stamp of its data; None before the first."""
        return max((s.newest_ns for s in self.streams.values() if s.newest_ns), default=None)


class LiveView:
    """The model behind the live page. `monotonic` gives wall seconds for the age of data and nothing else."""

    def __init__(self, line: LineInfo, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.line = line
        self.revision = 0
        self.devices: dict[str, DeviceView] = {d.device: DeviceView(d) for d in line.devices}
        self.commands: deque[Record] = deque(maxlen=RECORDS_KEPT)
        self.gaps: deque[Record] = deque(maxlen=RECORDS_KEPT)
        self.events: deque[Record] = deque(maxlen=RECORDS_KEPT)
        self.counters: tuple[SinkCounters, ...] = ()
        self.gap_count = 0
        self.status = "starting"
        self.progress: float | None = None
        self.spool_accepts = False
        self.spool_detail = "not opened yet"
        self._monotonic = monotonic
        span_s = line.duration_s or DEFAULT_SPAN_S
        self._period_ns = int(max(HISTORY_MIN_PERIOD_S, span_s / HISTORY_SAMPLES) * NS_PER_S)

    def now_s(self) -> float:
        """Wall seconds on the clock that the ages are measured with."""
        return self._monotonic()

    def accept(self, frames: Iterable[Frame]) -> None:
        """Take over raw, result and record Frames, in the order they came."""
        now_s = self._monotonic()
        for frame in frames:
            if frame.kind is FrameKind.RECORD:
                self._accept_record(frame)
            else:
                self._stream(frame).accept(frame, now_s)
        self.revision += 1

    def set_connection(self, device: str, state: ConnectionState, detail: str = "") -> None:
        """Where the device's supervised task stands; `detail` says why (last error), in one line."""
        view = self._device(device)
        if view.connection is ConnectionState.CONNECTED and state is not ConnectionState.CONNECTED:
            view.losses += 1
        view.connection = state
        view.detail = detail
        view.connected_once = view.connected_once or state is ConnectionState.CONNECTED
        self.revision += 1

    def set_counters(self, counters: Sequence[SinkCounters]) -> None:
        """Counters of every sink of the spool."""
        self.counters = tuple(counters)
        self.revision += 1

    def set_spool(self, accepts: bool, detail: str = "") -> None:
        """Whether the spool takes Frames; part of readiness."""
        self.spool_accepts = accepts
        self.spool_detail = detail
        self.revision += 1

    def set_progress(self, fraction: float | None = None, status: str = "running") -> None:
        """How far the run is, 0 to 1 (None: it has no end), and its status: starting, running, complete, ..."""
        self.progress = None if fraction is None else min(1.0, max(0.0, fraction))
        self.status = status
        self.revision += 1

    def observe_poll(self, device: str, wall_s: float) -> None:
        """Count the wall seconds of one poll; shown under /metrics only."""
        self._device(device).polls.observe(wall_s)

    def not_ready(self) -> list[str]:
        """Why the controller is not ready, one line each; empty when it is."""
        missing = [] if self.spool_accepts else [f"spool: {self.spool_detail or 'does not accept'}"]
        missing += [
            f"{name}: never connected ({view.detail or view.connection.value})"
            for name, view in self.devices.items()
            if not view.connected_once
        ]
        return missing

    def _device(self, name: str) -> DeviceView:
        view = self.devices.get(name)
        if view is None:
            view = self.devices[name] = DeviceView(DeviceInfo(name))
        return view

    def _stream(self, frame: Frame) -> StreamLatest:
        streams = self._device(frame.device).streams
        # Charts write to one stream; the page needs each chart's own newest values.
        chart = frame.labels.get(CHART)
        name = frame.stream if chart is None else f"{frame.stream}/{chart}"
        stream = streams.get(name)
        if stream is None:
            columns = HISTORY_COLUMNS.get(frame.stream)
            history = History(columns, self._period_ns, HISTORY_SAMPLES) if columns else None
            stream = streams[name] = StreamLatest(frame.point_name, history)
        return stream

    def _accept_record(self, frame: Frame) -> None:
        kept = {"command": self.commands, "gap": self.gaps, "event": self.events}.get(frame.stream)
        if kept is None:
            return
        for row in range(frame.rows):
            text = {name: str(values[row]) for name, values in frame.text.items()}
            values = {name: float(column[row]) for name, column in frame.columns.items()}
            kept.append(Record(int(frame.time_ns[row]), frame.device, text, values))
        if kept is self.gaps:
            self.gap_count += frame.rows
