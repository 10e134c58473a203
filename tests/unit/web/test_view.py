"""The model behind the live page: latest values, history, connections, records."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from controller.records import record
from controller.types import ConnectionState, Quality
from controller.web import LineInfo, LiveView
from controller.web.describe import codes_of
from controller.web.latest import History, StreamLatest
from controller.web.view import HISTORY_SAMPLES, RECORDS_KEPT

from . import conftest as line


def test_a_partial_frame_leaves_other_points_alone(view: LiveView) -> None:
    view.accept([line.frame("rack1", "channel", 0, {"voltage_v": [3.0, 3.1, 3.2]})])
    view.accept([line.frame("rack1", "channel", 20, {"voltage_v": [3.5]}, first=2)])
    assert view.devices["rack1"].streams["channel"].values["voltage_v"][1:].tolist() == [3.0, 3.5, 3.2]


@pytest.mark.parametrize(("quality", "expected"), [(Quality.BAD, np.nan), (Quality.GOOD, 3.1)])
def test_an_unknown_value_hides_the_old_one_only_when_its_row_is_bad(quality: Quality, expected: float) -> None:
    latest = StreamLatest("channel", None)
    latest.accept(line.frame("rack1", "channel", 0, {"voltage_v": [3.0, 3.1]}), 0.0)
    latest.accept(line.frame("rack1", "channel", 1, {"voltage_v": [3.4, np.nan]}, quality=quality), 1.0)
    np.testing.assert_equal(latest.values["voltage_v"][1:], [3.4, expected])


def test_rows_of_several_times_in_one_frame_end_with_the_newest() -> None:
    latest = StreamLatest("", None)
    batch = line.frame("coater1", "coater", 0, {"web_speed_m_s": [0.1, 0.2, 0.3]}, first=0)
    batch.point[:] = 0
    latest.accept(batch, 0.0)
    assert latest.values["web_speed_m_s"].tolist() == [0.3]
    assert latest.rows == 3


def test_each_control_chart_keeps_its_own_newest_values(view: LiveView) -> None:
    rows = line.frame("coater1", "spc", 0, {"z": [0.1], "flags": [0.0]}, first=0)
    view.accept([replace(rows, labels={"chart": "weight"})])
    view.accept([replace(rows, labels={"chart": "speed"}, columns={"z": np.array([4.0]), "flags": np.array([1.0])})])
    streams = view.devices["coater1"].streams
    assert streams["spc/weight"].values["z"].tolist() == [0.1]
    assert streams["spc/speed"].values["flags"].tolist() == [1.0]
    assert "spc" not in streams


def test_points_outside_the_schema_are_counted_and_not_kept() -> None:
    latest = StreamLatest("channel", None)
    latest.accept(line.frame("rack1", "channel", 0, {"voltage_v": [3.0]}, first=50_000), 0.0)
    assert latest.rows == 1
    assert latest.values == {}


def test_history_is_decimated_bounded_and_in_order() -> None:
    history = History(("soc",), period_ns=60, capacity=5)
    for t in range(0, 1000, 10):
        history.offer(t, {"soc": np.array([np.nan, float(t)])})
    assert history.times_ns().tolist() == [720, 780, 840, 900, 960]
    assert history.series("soc", 1).tolist() == [720, 780, 840, 900, 960]
    assert history.series("soc", 7).size == history.series("other", 1).size == 0


def test_history_widens_when_a_higher_point_appears() -> None:
    history = History(("soc",), period_ns=1, capacity=4)
    history.offer(0, {"soc": np.array([0.1])})
    history.offer(1, {"soc": np.array([0.2, 0.3])})
    np.testing.assert_equal(history.series("soc", 1), np.array([np.nan, 0.3], dtype=np.float32).astype(float))


def test_a_day_of_polls_fits_the_ring(view: LiveView) -> None:
    line.fill(view, 86_400.0, 600.0)
    history = view.devices["rack1"].streams["channel"].history
    assert history is not None
    assert 100 < history.times_ns().size <= HISTORY_SAMPLES


def test_records_are_kept_newest_and_bounded(view: LiveView) -> None:
    for k in range(RECORDS_KEPT + 10):
        view.accept([record("rack1", "gap", k, {"duration_s": float(k)}, {"reason": "away"})])
    assert len(view.gaps) == RECORDS_KEPT
    assert view.gaps[-1].values == {"duration_s": RECORDS_KEPT + 9.0}
    assert view.gap_count == RECORDS_KEPT + 10


def test_readiness_names_what_is_missing(view: LiveView) -> None:
    assert view.not_ready() == [
        "spool: not opened yet",
        "coater1: never connected (connecting)",
        "rack1: never connected (connecting)",
    ]
    view.set_spool(True)
    view.set_connection("coater1", ConnectionState.CONNECTED)
    view.set_connection("rack1", ConnectionState.BACKING_OFF, "connection refused")
    assert view.not_ready() == ["rack1: never connected (connection refused)"]
    view.set_connection("rack1", ConnectionState.CONNECTED)
    view.set_connection("rack1", ConnectionState.BACKING_OFF, "silent")
    assert view.not_ready() == []
    assert view.devices["rack1"].losses == 1


def test_a_device_that_no_line_file_names_is_still_shown() -> None:
    view = LiveView(LineInfo("x"))
    view.accept(line.rack_frames(0.0))
    assert list(view.devices) == ["rack1"]


def test_codes_come_from_the_equipment_s_own_text() -> None:
    assert codes_of("PackML: 2 stopped, 6 execute") == {2: "stopped", 6: "execute"}
    assert codes_of("Web length that has passed the die") == {}


def test_taking_a_poll_costs_little(view: LiveView) -> None:
    """Not a benchmark: two orders above the cost that was measured, so that only a change of complexity fails."""
    frames = line.rack_frames(100.0)
    start = time.process_time()
    for _ in range(100):
        view.accept(frames)
    assert (time.process_time() - start) / 300 < 5e-3
