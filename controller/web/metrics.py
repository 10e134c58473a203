"""What /metrics says, read from the view at the moment of the scrape. Labels are devices, streams and sinks only.

Never a channel's values, never a serial number: those belong in the historian, and their cardinality would not.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from controller.clock import NS_PER_S, Clock
from controller.types import ConnectionState
from controller.web.view import POLL_BUCKETS_S, LiveView

CONTENT_TYPE = CONTENT_TYPE_LATEST


class ViewCollector:
    """Prometheus collector over a LiveView; no state of its own, so a scrape is the only cost."""

    def __init__(self, view: LiveView, clock: Clock) -> None:
        self._view = view
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield from self._line()
        yield from self._devices()
        yield from self._streams()
        yield from self._sinks()

    def _line(self) -> Iterator[Metric]:
        view = self._view
        ready = GaugeMetricFamily("celltwin_ready", "1 when the spool accepts and every device has been connected once")
        ready.add_metric([], float(not view.not_ready()))
        yield ready
        spool = GaugeMetricFamily("celltwin_spool_accepts", "1 when the spool takes Frames")
        spool.add_metric([], float(view.spool_accepts))
        yield spool
        plant = GaugeMetricFamily("celltwin_plant_time_seconds", "Plant time, seconds since 1970 UTC")
        plant.add_metric([], self._clock.now_ns() / NS_PER_S)
        yield plant
        speed = GaugeMetricFamily("celltwin_plant_speed", "Plant seconds per wall second")
        speed.add_metric([], self._clock.speed)
        yield speed
        gaps = CounterMetricFamily("celltwin_gaps", "Gaps recorded since start")
        gaps.add_metric([], view.gap_count)
        yield gaps

    def _devices(self) -> Iterator[Metric]:
        now_s, now_ns, speed = self._view.now_s(), self._clock.now_ns(), self._clock.speed
        state = GaugeMetricFamily("celltwin_device_connection", "1 for the state it is in", labels=["device", "state"])
        losses = CounterMetricFamily("celltwin_device_losses", "Connections lost since start", labels=["device"])
        age = GaugeMetricFamily("celltwin_device_data_age_seconds", "Wall seconds since data came", labels=["device"])
        lag = GaugeMetricFamily(
            "celltwin_device_stamp_lag_seconds", "Newest stamp behind plant time, in wall seconds", labels=["device"]
        )
        polls = HistogramMetricFamily("celltwin_poll_duration_seconds", "Wall seconds of one poll", labels=["device"])
        for name, device in self._view.devices.items():
            for each in ConnectionState:
                state.add_metric([name, each.value], float(device.connection is each))
            losses.add_metric([name], device.losses)
            if (received_s := device.received_s()) is not None:
                age.add_metric([name], now_s - received_s)
            if (newest_ns := device.newest_ns()) is not None:
                lag.add_metric([name], (now_ns - newest_ns) / NS_PER_S / speed)
            if any(device.polls.counts):
                polls.add_metric([name], _buckets(device.polls.counts), device.polls.total_s)
        yield from (state, losses, age, lag, polls)

    def _streams(self) -> Iterator[Metric]:
        labels = ["device", "stream"]
        rows = CounterMetricFamily("celltwin_rows", "Rows seen since start", labels=labels)
        bad = CounterMetricFamily("celltwin_rows_not_good", "Rows whose quality was uncertain or bad", labels=labels)
        frames = CounterMetricFamily("celltwin_frames", "Frames seen since start", labels=labels)
        for name, device in self._view.devices.items():
            for stream, latest in device.streams.items():
                rows.add_metric([name, stream], latest.rows)
                bad.add_metric([name, stream], latest.bad_rows)
                frames.add_metric([name, stream], latest.frames)
        yield from (rows, bad, frames)

    def _sinks(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(
            "celltwin_sink_rows", "Rows of the spool per sink since the spool was made", labels=["sink", "fate"]
        )
        agree = GaugeMetricFamily("celltwin_sink_reconciles", "1 when no row is unaccounted for", labels=["sink"])
        for c in self._view.counters:
            for fate in ("accepted", "delivered", "spooled", "rejected", "dropped"):
                rows.add_metric([c.sink, fate], getattr(c, fate))
            agree.add_metric([c.sink], float(c.reconciles))
        yield from (rows, agree)


def registry_of(view: LiveView, clock: Clock) -> CollectorRegistry:
    """A registry of our own: the library's global one would carry over from test to test."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ViewCollector(view, clock))
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    total, out = 0, []
    for bound, count in zip((*map(str, POLL_BUCKETS_S), "+Inf"), counts, strict=True):
        total += count
        out.append((bound, float(total)))
    return out
