"""A line that was never there: Frames of a rack of 64 and a coater, and a server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from starlette.applications import Starlette

from controller.clock import NS_PER_S, LineClock, TimeBase
from controller.records import record
from controller.types import ConnectionState, Frame, FrameKind, SinkCounters
from controller.web import DeviceInfo, LineInfo, LiveView, create_app, serve

START_NS = 1_760_000_000 * NS_PER_S
SPEED = 960.0
STATE_CODES = {0: "idle", 1: "cc charge", 2: "cv charge", 3: "rest", 4: "cc discharge", 5: "pulse", 6: "done"}
FAULT_CODES = {1: "over-voltage", 2: "under-voltage", 4: "over-temperature", 8: "no contact"}


class FixedClock(LineClock):
    """Plant time that the test sets."""

    def __init__(self, now_ns: int = START_NS, speed: float = SPEED) -> None:
        super().__init__(TimeBase(now_ns, 0, speed))
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now


def frame(
    device: str,
    stream: str,
    t_s: float,
    columns: dict[str, object],
    first: int = 1,
    quality: int = 0,
    point_name: str = "",
) -> Frame:
    """A Frame of one time over consecutive points from `first`; scalars become one row."""
    arrays = {k: np.atleast_1d(np.asarray(v, dtype=np.float64)) for k, v in columns.items()}
    n = next(iter(arrays.values())).shape[0]
    return Frame(
        device=device,
        stream=stream,
        kind=FrameKind.RESULT if stream in {"cell_state", "web_loading"} else FrameKind.RAW,
        time_ns=np.full(n, START_NS + int(t_s * NS_PER_S), dtype=np.int64),
        point=np.arange(first, first + n, dtype=np.int32),
        point_name=point_name,
        columns=arrays,
        quality=np.full(n, quality, dtype=np.uint8),
        code=np.zeros(n, dtype=np.uint32),
    )


def rack_frames(t_s: float, seed: int = 1) -> list[Frame]:
    """One poll of a formation rack that has charged at 1 A for 5 h, rested, and discharges."""
    rng = np.random.default_rng(seed)
    offset, noise = np.linspace(-0.02, 0.02, 64), rng.normal(0, 1, 64)
    hours = t_s / 3600
    up = hours < 5.5
    soc = np.clip((hours - 0.5) / 5 if up else 1.0 - (hours - 6) / 5, 0.02, 1.0) + offset
    soc = np.clip(soc, 0.0, 1.0)
    current = 0.0 if hours < 0.5 or 5.5 <= hours < 6 else (1.0 if up else -1.0)
    state = np.full(64, 3 if current == 0 else 1 if current > 0 else 4)
    state[60:] = 6
    faults = np.zeros(64)
    faults[36] = 4
    voltage = 2.9 + 1.2 * soc + 0.03 * current + 0.002 * noise
    channel = {
        "voltage_v": voltage,
        "current_a": np.full(64, current),
        "temperature_c": 25 + 4 * np.sin(np.arange(64) / 10) + 0.1 * noise,
        "state": state,
        "step": np.full(64, 2),
        "cycle": np.ones(64),
        "fault_bits": faults,
        "charge_ah": np.full(64, min(5.0, max(0.0, hours - 0.5))),
        "discharge_ah": np.full(64, max(0.0, hours - 6)),
    }
    if hours > 3:
        channel["voltage_v"] = np.where(np.arange(64) == 9, np.nan, voltage)
    raw = frame("rack1", "channel", t_s, channel, point_name="channel")
    if hours > 3:
        raw.quality[9] = 2
    sd = np.full(64, 0.02 + 0.2 * np.exp(-hours))
    cells = {"soc": soc + 0.004 * noise, "soc_sd": sd, "r0_ohm": 0.024 + 0.001 * noise, "r0_sd_ohm": np.full(64, 4e-4)}
    rack = {"rack_state": 1.0, "channels_running": 60.0, "ambient_temperature_c": 25.0}
    return [
        raw,
        frame("rack1", "cell_state", t_s, cells, point_name="channel"),
        frame("rack1", "rack", t_s, rack, first=0),
    ]


def coater_frames(t_s: float, seed: int = 1) -> list[Frame]:
    """One notification batch of a coater in execute."""
    rng = np.random.default_rng(seed)
    lanes = 0.169 * (1 + 0.006 * np.sin(np.arange(24) / 3) + rng.normal(0, 0.004, 24))
    coater = {
        "coater_state": 6.0,
        "web_speed_m_s": 0.1,
        "web_position_m": min(2000.0, t_s * 0.1),
        "pump_rate_ml_s": 3.25,
        "gauge_mass_loading_kg_m2": float(lanes[seed % 24]),
        "residual_solvent_fraction": 0.004,
        "web_temperature_c": 71.0,
    }
    zones = np.array([80.0, 105.0, 120.0, 95.0]) * (1 - np.exp(-t_s / 900)) + 20 * np.exp(-t_s / 900)
    web = {"mean_kg_m2": np.full(25, 0.1688), "sd_kg_m2": np.full(25, 0.0012), "cv": np.full(25, 0.0071)}
    return [
        frame("coater1", "coater", t_s, coater, first=0),
        frame("coater1", "coater_zone", t_s, {"zone_temperature_c": zones}, point_name="zone"),
        frame("coater1", "coater_profile", t_s, {"lane_mass_loading_kg_m2": lanes}, point_name="lane"),
        frame("coater1", "web_loading", t_s, web, first=0, point_name="lane"),
    ]


def demo_line() -> LineInfo:
    """The two devices as the application would describe them."""
    coater = DeviceInfo(
        "coater1",
        title="Slot-die coater",
        stale_after_s=120.0,
        lot="WEB-0001",
        recipe="NMC cathode",
        target_mass_loading_kg_m2=0.169,
        tolerance_fraction=0.02,
        zone_setpoint_c=(80.0, 105.0, 120.0, 95.0),
        length_m=2000.0,
        codes={"coater_state": {2: "stopped", 6: "execute"}},
    )
    codes = {"state": STATE_CODES, "fault_bits": FAULT_CODES, "rack_state": {0: "idle", 1: "running"}}
    rack = DeviceInfo("rack1", "Formation rack", "CELL-0001", "A-sample formation", stale_after_s=120.0, codes=codes)
    return LineInfo("a_sample", "A-sample pilot line", (coater, rack), START_NS, 86_400.0)


def fill(view: LiveView, until_s: float = 8 * 3600, step_s: float = 120.0) -> None:
    """Feed a view as the pipeline would, up to plant second `until_s`."""
    for k, t_s in enumerate(np.arange(0.0, until_s + 1, step_s)):
        view.accept([*rack_frames(float(t_s), k), *coater_frames(float(t_s), k)])
    view.set_connection("coater1", ConnectionState.CONNECTED)
    view.set_connection("rack1", ConnectionState.CONNECTED)
    view.set_spool(True)
    view.set_progress(0.33)
    view.set_counters([SinkCounters("parquet", 1000, 990, 10, 0, 0), SinkCounters("influxdb", 1000, 1000, 0, 0, 0)])
    text = {"name": "start", "reason": "recipe formation_a_sample", "outcome": "confirmed", "detail": ""}
    view.accept([record("rack1", "command", START_NS, {}, text)])
    view.accept([record("coater1", "gap", START_NS + 10**12, {"duration_s": 340.0}, {"reason": "connection lost"})])


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START_NS + 8 * 3600 * NS_PER_S)


@pytest.fixture
def view() -> LiveView:
    return LiveView(demo_line())


class ServerThread:
    """The page served from a loop in a thread, for tests that talk to it from outside."""

    def __init__(self, app_of: Callable[[], Starlette], port: int) -> None:
        self._app_of, self._port = app_of, port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self.url = ""
        self.view: LiveView

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self._app_of(), "127.0.0.1", self._port) as self.url:
            self._ready.set()
            await self._stop.wait()

    def call(self, change: Callable[[], object]) -> None:
        """Run `change` on the server's loop, where the view lives."""
        self._loop.call_soon_threadsafe(change)

    def __enter__(self) -> ServerThread:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


def _serve_filled() -> Iterator[ServerThread]:
    view, clock = LiveView(demo_line()), FixedClock(START_NS + 8 * 3600 * NS_PER_S)
    fill(view)
    with ServerThread(lambda: create_app(view, clock), 0) as server:
        server.view = view
        yield server


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerThread]:
    """A filled view behind a real socket, for tests that only read."""
    yield from _serve_filled()


@pytest.fixture
def served() -> Iterator[ServerThread]:
    """The same for a test that changes the view: `served.view`, on the server's loop through `served.call`."""
    yield from _serve_filled()
