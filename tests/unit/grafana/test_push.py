"""`celltwin grafana push` against a server that behaves as Grafana's documentation says: see fake_grafana.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from controller import cli
from controller.errors import BadInputError, CelltwinError, PeerError, ProtocolError
from controller.grafana.api import Grafana
from controller.grafana.push import InfluxSource, contains, push
from tests.unit.grafana.fake_grafana import ADMIN, VIEWER, FakeGrafana

SOURCE = InfluxSource("http://influxdb:8086", "celltwin", "influx-token")


@pytest.fixture
def server() -> Iterator[FakeGrafana]:
    running = FakeGrafana()
    yield running
    running.end()


def pushed(server: FakeGrafana, source: InfluxSource = SOURCE, token: str = ADMIN) -> dict[str, str]:
    with Grafana(server.url, token) as grafana:
        return {item.name: item.outcome for item in push(grafana, source)}


def test_a_second_push_changes_nothing(server: FakeGrafana) -> None:
    assert set(pushed(server).values()) == {"created"}
    assert len(server.writes) == 5
    before = json.dumps([server.folders, server.sources, server.dashboards])
    assert set(pushed(server).values()) == {"unchanged"}
    assert len(server.writes) == 5
    assert json.dumps([server.folders, server.sources, server.dashboards]) == before


def test_what_grafana_gets(server: FakeGrafana) -> None:
    pushed(server)
    source = server.sources["celltwin-influxdb"]
    assert source["url"] == "http://influxdb:8086"
    assert source["jsonData"]["dbName"] == "celltwin"
    assert source["jsonData"]["httpHeaderName1"] == "Authorization"
    assert server.secrets["celltwin-influxdb"] == {"httpHeaderValue1": "Token influx-token"}
    assert "influx-token" not in json.dumps(server.sources)
    assert set(server.dashboards) == {"celltwin-line", "celltwin-coater", "celltwin-rack"}
    assert {d["meta"]["folderUid"] for d in server.dashboards.values()} == {"celltwin"}


def test_only_what_somebody_changed_is_put_right(server: FakeGrafana) -> None:
    pushed(server)
    server.dashboards["celltwin-rack"]["dashboard"]["panels"][1]["title"] = "mine"
    server.folders["celltwin"]["title"] = "ours"
    server.dashboards["celltwin-line"]["dashboard"]["weekStart"] = ""  # what Grafana adds by itself
    changed = {name for name, outcome in pushed(server).items() if outcome == "updated"}
    assert changed == {"celltwin", "celltwin: formation rack"}
    assert server.dashboards["celltwin-rack"]["dashboard"]["version"] == 2
    assert set(pushed(server).values()) == {"unchanged"}


def test_a_dashboard_that_was_moved_goes_back(server: FakeGrafana) -> None:
    pushed(server)
    server.dashboards["celltwin-line"]["meta"]["folderUid"] = "elsewhere"
    assert pushed(server)["celltwin: line"] == "updated"


@pytest.mark.parametrize(
    "source",
    [
        InfluxSource("http://influxdb:8086", "celltwin", "another-token"),
        InfluxSource("http://influxdb:8086", "other", "influx-token"),
        InfluxSource("http://elsewhere:8086", "celltwin", "influx-token"),
        InfluxSource("http://influxdb:8086", "celltwin", ""),
    ],
)
def test_another_address_database_or_token_is_noticed(server: FakeGrafana, source: InfluxSource) -> None:
    pushed(server)
    assert pushed(server, source)["celltwin InfluxDB"] == "updated"
    assert pushed(server, source)["celltwin InfluxDB"] == "unchanged"
    if source.token:
        assert server.secrets["celltwin-influxdb"]["httpHeaderValue1"] == f"Token {source.token}"


def test_provisioned_things_are_left_alone_and_said(server: FakeGrafana) -> None:
    pushed(server)
    server.sources["celltwin-influxdb"].update(readOnly=True, url="http://as-provisioned:8086")
    server.dashboards["celltwin-line"]["meta"]["provisioned"] = True
    server.dashboards["celltwin-line"]["dashboard"]["title"] = "as provisioned"
    outcomes = pushed(server)
    assert outcomes["celltwin InfluxDB"] == "left as provisioned"
    assert outcomes["celltwin: line"] == "left as provisioned"


def test_a_grafana_below_a_path(server: FakeGrafana) -> None:
    below = FakeGrafana("/grafana")
    try:
        assert set(pushed(below).values()) == {"created"}
        with Grafana(below.url + "/", ADMIN) as grafana:
            assert {item.outcome for item in push(grafana, SOURCE)} == {"unchanged"}
    finally:
        below.end()


@pytest.mark.parametrize(
    ("url", "token", "broken", "kind", "text"),
    [
        ("", "wrong", None, BadInputError, "does not accept the token: Invalid API key"),
        ("", VIEWER, None, BadInputError, "the token may not create the folder"),
        ("/elsewhere", ADMIN, None, ProtocolError, "does not speak Grafana's API"),
        ("", ADMIN, (200, b"<html>"), ProtocolError, "does not speak Grafana's API"),
        ("", ADMIN, (200, b"[1]"), ProtocolError, "does not speak Grafana's API"),
        ("", ADMIN, (404, b"nothing here"), ProtocolError, "does not speak Grafana's API"),
        ("", ADMIN, (500, b"7"), ProtocolError, "does not speak Grafana's API"),
        ("", ADMIN, (503, b'{"message": "database is locked"}'), PeerError, "503: database is locked"),
        ("", ADMIN, (400, b'{"message": "bad"}'), BadInputError, "400: bad"),
    ],
)
def test_refusals_say_what_to_do(
    server: FakeGrafana, url: str, token: str, broken: tuple[int, bytes] | None, kind: type[CelltwinError], text: str
) -> None:
    server.broken = broken
    with Grafana(server.url + url, token) as grafana, pytest.raises(kind) as caught:
        list(push(grafana, SOURCE))
    assert text in str(caught.value)
    assert type(caught.value) is kind


def test_nobody_there(free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Grafana(url, ADMIN) as grafana, pytest.raises(PeerError, match=f"Grafana at {url} cannot be reached"):
        list(push(grafana, SOURCE))


@pytest.mark.parametrize(
    "url", ["localhost:3000", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://u:p@x"]
)
def test_no_address(url: str) -> None:
    with pytest.raises(BadInputError):
        Grafana(url, ADMIN)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from controller.grafana import require

    with pytest.raises(BadInputError, match=r"no-such-package is not installed \(pip install 'celltwin\[grafana\]'\)"):
        require("no_such_package")


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [1], False),
        ([{"a": 1, "x": 0}], [{"a": 1}], True),
        (1, True, False),
        (1.0, 1, True),
        (None, {}, False),
        ("1", 1, False),
    ],
)
def test_containment(theirs: Any, ours: Any, same: bool) -> None:
    assert contains(theirs, ours) is same


class TestCommand:
    """The command line: what it prints and how it ends."""

    def run(self, *arguments: str, **environment: str) -> Any:
        return CliRunner().invoke(cli.app, ["grafana", *arguments], env={"GRAFANA_TOKEN": "", **environment})

    def test_it_reports_each_item(self, server: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(cli.out, "print", lambda text, **_: said.append(text))
        arguments = ("push", server.url, "--influx-token-env", "TOKEN")
        first = self.run(*arguments, GRAFANA_TOKEN=ADMIN, TOKEN="t")
        assert first.exit_code == 0, first.exception
        assert set(server.dashboards) == {"celltwin-line", "celltwin-coater", "celltwin-rack"}
        assert (
            self.run("push", server.url, "--influx-token-env", "TOKEN", GRAFANA_TOKEN=ADMIN, TOKEN="t").exit_code == 0
        )
        assert len(server.writes) == 5

    def test_a_missing_token_is_bad_input(self) -> None:
        ended = self.run("push", "http://localhost:3000")
        assert isinstance(ended.exception, BadInputError)
        assert "environment variable GRAFANA_TOKEN is not set" in str(ended.exception)
        ended = self.run("push", "http://localhost:3000", "--influx-token-env", "NONE_SUCH", GRAFANA_TOKEN="x")
        assert "token for InfluxDB is missing: environment variable NONE_SUCH" in str(ended.exception)
        ended = self.run("push", "http://localhost:3000", GRAFANA_TOKEN="two words")
        assert "holds no token" in str(ended.exception)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import controller.grafana

        monkeypatch.setattr(controller.grafana, "find_spec", lambda name: None)
        ended = self.run("push", "http://localhost:3000", GRAFANA_TOKEN="x")
        assert "grafana-api is not installed (pip install 'celltwin[grafana]')" in str(ended.exception)
        ended = self.run("generate", "--check")
        assert "grafana-foundation-sdk is not installed (pip install 'celltwin[grafana]')" in str(ended.exception)
