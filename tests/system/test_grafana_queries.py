"""Every query of every dashboard, as Grafana would send it, returns values from real InfluxDB servers, 1.8 and 2.7.

The data come from a simulated line whose controller is stopped and started again in between, so that there are gaps,
commands and events too. The InfluxDB sink delivers to a letter box that keeps its requests; each server then gets the
same bytes. Queries and variables are read from the JSON files that Grafana is provisioned with.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controller.grafana.frame import coating_recipe
from tests.influx_servers import VERSIONS, InfluxServer, binary
from tests.system.line import line_file, own_formation, programs, until
from tests.unit.grafana.interpolation import Variable, duration_s, in_browser, in_server, interval_s, panels_of

pytestmark = [pytest.mark.system, pytest.mark.influx]

DASHBOARDS = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
NAME = "celltwin"
RUNS = (
    (2.0, (b"cell_state", b"web_loading", b"coater_profile")),
    (1.0, (b"gap", b"cell_grade", b"cell_dqdv", b"cell_esoh", b"cell_ocv")),
)
"""Wall seconds that each run of the controller lasts after these streams have reached the sink."""
MAX_POINTS = 600
FORMATION = """kind = "formation"
name = "short"
title = "A charge, then a cycle at 1 C from limit to limit in three hours: steps end, and the tray is graded"
programme_id = 7
step = [
  { mode = "rest", duration_s = 2400, cycle = 1 },
  { mode = "cc_charge", current_a = 5.0, voltage_limit_v = 4.2, duration_s = 1500, cycle = 1 },
  { mode = "cc_discharge", current_a = 5.0, voltage_limit_v = 2.5, duration_s = 1500, cycle = 1 },
  { mode = "cc_charge", current_a = 5.0, voltage_limit_v = 4.2, duration_s = 4000, cycle = 2 },
  { mode = "rest", duration_s = 300, cycle = 2 },
  { mode = "cc_discharge", current_a = 5.0, voltage_limit_v = 2.5, duration_s = 4000, cycle = 2 },
  { mode = "rest", duration_s = 600, cycle = 2 },
]
"""
CELLS = 'cell = "lgm50_21700"'
# The controller's pause falls into the rest, the charge or the discharge of cycle 1: cycle 2 must be seen whole.
SLOW_CELLS = f"{CELLS}, slow_c_rate = 1.0"
"""So that a step counts as slow which ends within the test."""
GRADED_S = 180.0
"""Wall seconds for the whole programme, also where the kernels of the events still compile."""
SPEED = "360"
"""A third of the sample line's: a busy machine still polls often enough for the resistance at 30 s."""


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LetterBox(ThreadingHTTPServer):
    """Takes what the sink writes, and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.bodies: list[bytes] = []
        self.awaited: dict[bytes, bool] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Taker(BaseHTTPRequestHandler):
    server: LetterBox

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        assert query["bucket"] == [NAME]
        self.server.bodies.append(body)
        for stream in self.server.awaited:
            self.server.awaited[stream] |= body.startswith(stream + b",") or b"\n" + stream + b"," in body
        self._answer()

    def _answer(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Request bodies of the InfluxDB sink from some hours of plant time."""
    if not any(binary(v).exists() for v in VERSIONS):
        pytest.skip("no InfluxDB is built here (.ci/influxdb)")
    folder = tmp_path_factory.mktemp("line")
    box = LetterBox()
    sink = f'url = "http://127.0.0.1:{box.server_port}"\nbucket = "{NAME}"\norg = "x"\ntoken_env = "TEST_TOKEN"'
    line = line_file(folder, _free_port, **{"sinks.influxdb": sink})
    own_formation(line, FORMATION)
    assert line.read_text().count(CELLS) == 1
    line.write_text(line.read_text().replace(CELLS, SLOW_CELLS))
    token = {"TEST_TOKEN": "any"}
    try:
        with programs(folder) as started:
            started.start("simulate", str(line), "--speed", SPEED, "--out", str(folder / "run")).wait_for(
                "plant time runs"
            )
            for seconds, streams in RUNS:
                box.awaited = dict.fromkeys(streams, False)
                run = started.start("run", str(line), "--out", str(folder / "run"), environment=token)
                until(f"rows of {streams}", lambda: all(box.awaited.values()), GRADED_S)
                time.sleep(seconds)
                assert run.stop() == 0, run.text()
    finally:
        box.end()
    return box.bodies


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    request: pytest.FixtureRequest, written: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InfluxServer]:
    """One server of each version with all that was written."""
    if not binary(request.param).exists():
        pytest.skip(f"InfluxDB {request.param} is not built here (.ci/influxdb {request.param})")
    found = InfluxServer(request.param, tmp_path_factory.mktemp("influx"), (_free_port(), _free_port()))
    found.start()
    try:
        bucket = found.create(NAME)
        for body in written:
            found.write(bucket, body.decode())
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def span_ms(server: InfluxServer) -> tuple[int, int]:
    """First and last stamp."""
    first = server.query(NAME, 'SELECT first("voltage_v") FROM "channel"')[0]["time"]
    last = server.query(NAME, 'SELECT last("voltage_v") FROM "channel"')[0]["time"]
    return first // 1_000_000 - 1, last // 1_000_000 + 1


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def choose(server: InfluxServer, dashboard: dict[str, Any]) -> dict[str, Variable]:
    """All variables as a fresh browser would have them, each filled by its own query. None may be empty."""
    chosen: dict[str, Variable] = {}
    for model in dashboard["templating"]["list"]:
        options: list[str] = []
        if model["type"] == "query":
            rows = server.query(NAME, in_browser(model["query"], chosen))
            options = [row["value"] for row in rows]
            assert options, f"variable {model['name']} has no values"
        chosen[model["name"]] = Variable.of(model, options)
    return chosen


def has_value(rows: list[dict[str, Any]], tags: set[str]) -> bool:
    """At least one row with more in it than its time and tags."""
    return any(v is not None for row in rows for k, v in row.items() if k not in {"time", "measurement", *tags})


@pytest.mark.parametrize("name", ["line", "coater", "rack"])
def test_every_query_returns_values(server: InfluxServer, span_ms: tuple[int, int], name: str) -> None:
    dashboard = load(name)
    variables = choose(server, dashboard)
    empty = []
    for panel in panels_of(dashboard):
        least = duration_s(panel.get("interval") or "1s")
        interval = interval_s(*span_ms, int(panel.get("maxDataPoints") or MAX_POINTS), least)
        for target in panel["targets"]:
            sent = in_server(in_browser(target["query"], variables), *span_ms, interval)
            assert "$" not in sent.replace("$/", ""), sent
            if not has_value(server.query(NAME, sent), {"device", "channel", "lane", "zone", "of_stream"}):
                empty.append(f"{panel['title']}: {sent}")
    for annotation in dashboard["annotations"]["list"]:
        sent = in_server(in_browser(annotation["target"]["query"], variables), *span_ms, 60)
        if not has_value(server.query(NAME, sent), set()):
            empty.append(f"{annotation['name']}: {sent}")
    assert not empty, "\n".join(empty)


def test_all_values_of_a_variable_also_match_what_lacks_the_tag(server: InfluxServer) -> None:
    """A device without a lot has no lot tag; the dashboards' "All" must not hide it."""
    server.write(NAME if server.version == "2" else f"{NAME}/autogen", "rack,device=rack9,line=other rack_state=1 1\n")
    rows = server.query(NAME, 'SELECT last("rack_state") FROM "rack" WHERE "device" = \'rack9\' AND "lot" =~ /^.*$/')
    assert [row["last"] for row in rows] == [1.0]


def test_the_target_band_is_where_the_text_boxes_say(server: InfluxServer, span_ms: tuple[int, int]) -> None:
    """Arithmetic in the queries, checked on values: text boxes and aliases do what the panel's text says."""
    coater = load("coater")
    variables = choose(server, coater)
    (panel,) = [p for p in panels_of(coater) if p["title"] == "Loading and target band"]
    values = {
        t["alias"]: server.query(NAME, in_server(in_browser(t["query"], variables), *span_ms, 300))
        for t in panel["targets"]
    }

    def numbers(alias: str) -> list[float]:
        fields = [v for row in values[alias] for k, v in row.items() if k not in {"time", "measurement"}]
        return [v for v in fields if v is not None]

    recipe = coating_recipe()
    target, tolerance = recipe.target_mass_loading_kg_m2 * 1000, recipe.tolerance_fraction
    assert numbers("lower limit") == pytest.approx([target * (1 - tolerance)] * len(numbers("lower limit")))
    assert numbers("upper limit") == pytest.approx([target * (1 + tolerance)] * len(numbers("upper limit")))
    assert numbers("running mean")[-1] == pytest.approx(target, rel=0.3)
