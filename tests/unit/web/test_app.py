"""The HTTP surface over a real socket: answers, headers, readiness, metrics."""

from __future__ import annotations

import json

import httpx
import pytest

from controller.types import ConnectionState, SinkCounters
from controller.web import LiveView
from controller.web.app import SECURITY_HEADERS

from . import conftest as line


def test_state_holds_everything_the_page_shows(shared: line.ServerThread) -> None:
    state = httpx.get(shared.url + "api/state").json()
    assert state["line"] == {"name": "a_sample", "title": "A-sample pilot line"}
    assert state["plant_time"] == "2025-10-09T16:53:20.000Z"
    rack = next(d for d in state["devices"] if d["device"] == "rack1")
    assert rack["connection"] == "connected"
    assert rack["stale"] is False
    channel = rack["streams"]["channel"]
    assert channel["point"] == list(range(1, 65))
    assert channel["columns"]["voltage_v"][9] is None
    assert channel["quality"][9] == 2
    assert rack["streams"]["rack"]["point"] == [0]
    assert rack["codes"]["state"]["4"] == "cc discharge"
    assert state["counters"][0] == {
        "sink": "parquet",
        "accepted": 1000,
        "delivered": 990,
        "spooled": 10,
        "rejected": 0,
        "dropped": 0,
        "reconciles": True,
    }
    assert state["commands"][0]["outcome"] == "confirmed"
    assert state["gaps"][0]["duration_s"] == 340.0


def test_a_channel_s_history_has_the_filter_beside_it(shared: line.ServerThread) -> None:
    found = httpx.get(shared.url + "api/channel/5?device=rack1").json()
    assert len(found["raw"]["time"]) == len(found["raw"]["columns"]["voltage_v"]) > 100
    assert len(found["filter"]["time"]) == len(found["filter"]["columns"]["soc_sd"]) > 100


@pytest.mark.parametrize(
    "path",
    [
        "api/channel/0",
        "api/channel/65",
        "api/channel/5?device=nobody",
        "api/channel/5?device=coater1",
        "api/coater?device=rack1",
        "api/coater?device=nobody",
        "static/nothing.js",
        "static/..%2Fapp.py",
        "nothing",
    ],
)
def test_what_is_not_there_is_404(shared: line.ServerThread, path: str) -> None:
    assert httpx.get(shared.url + path).status_code == 404


def test_coater_has_trend_zones_and_profile(shared: line.ServerThread) -> None:
    found = httpx.get(shared.url + "api/coater").json()
    assert found["zones"]["point"] == [1, 2, 3, 4]
    assert len(found["profile"]["point"]) == len(found["profile"]["values"]) == 24
    assert found["web"]["columns"]["mean_kg_m2"][-1] == pytest.approx(0.1688)


@pytest.mark.parametrize("path", ["", "api/state", "metrics", "livez", "nothing", "static/page.js"])
def test_every_answer_carries_the_security_headers(shared: line.ServerThread, path: str) -> None:
    headers = httpx.get(shared.url + path).headers
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "http:" not in headers["content-security-policy"]
    assert "https:" not in headers["content-security-policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["", "api/state", "api/stream", "livez", "static/page.js"])
def test_only_reading_is_possible(shared: line.ServerThread, method: str, path: str) -> None:
    assert httpx.request(method, shared.url + path).status_code == 405


def test_head_is_answered_without_a_body(shared: line.ServerThread) -> None:
    answer = httpx.head(shared.url)
    assert (answer.status_code, answer.content) == (200, b"")


def test_static_files_are_cached_by_etag(shared: line.ServerThread) -> None:
    first = httpx.get(shared.url + "static/plotly.min.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "max-age=86400"
    again = httpx.get(shared.url + "static/plotly.min.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_readyz_follows_the_view(served: line.ServerThread) -> None:
    assert httpx.get(served.url + "livez").json() == {"live": True}
    assert httpx.get(served.url + "readyz").json() == {"ready": True, "not_ready": []}
    served.call(lambda: served.view.set_spool(False, "full"))
    answer = httpx.get(served.url + "readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "not_ready": ["spool: full"]}


def test_metrics_name_streams_and_sinks_and_no_cells(served: line.ServerThread) -> None:
    served.call(lambda: served.view.observe_poll("rack1", 0.004))
    served.call(lambda: served.view.set_counters([SinkCounters("parquet", 10, 8, 1, 0, 0)]))
    served.call(lambda: served.view.set_connection("rack1", ConnectionState.BACKING_OFF))
    text = httpx.get(served.url + "metrics").text
    lines = text.splitlines()
    assert 'celltwin_rows_total{device="rack1",stream="channel"} 15424.0' in lines
    assert 'celltwin_device_connection{device="rack1",state="backing_off"} 1.0' in lines
    assert 'celltwin_sink_rows{fate="delivered",sink="parquet"} 8.0' in lines
    assert 'celltwin_sink_reconciles{sink="parquet"} 0.0' in lines
    assert 'celltwin_poll_duration_seconds_bucket{device="rack1",le="0.005"} 1.0' in lines
    assert "channel=" not in text
    assert "CELL-" not in text


def test_state_is_valid_json_with_nothing_known(clock: line.FixedClock) -> None:
    view = LiveView(line.demo_line())
    with line.ServerThread(lambda: line.create_app(view, clock), 0) as server:
        state = json.loads(httpx.get(server.url + "api/state").content)
        assert [d["age_s"] for d in state["devices"]] == [None, None]
        assert [d["stale"] for d in state["devices"]] == [True, True]
        assert httpx.get(server.url + "readyz").status_code == 503
        assert httpx.get(server.url + "api/coater").status_code == 404
