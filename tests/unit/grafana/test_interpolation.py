"""The tests' own Grafana rules, against the examples of Grafana's documentation of variable syntax."""

from __future__ import annotations

import pytest

from tests.unit.grafana.interpolation import ALL, Variable, in_browser, in_server, interval_s


def of(name: str, value: str | list[str], **more: object) -> dict[str, Variable]:
    return {name: Variable(name, value, **more)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("regex", r"(test\.|test2)"),
        ("raw", "test.,test2"),
        ("csv", "test.,test2"),
        ("pipe", "test.|test2"),
        ("singlequote", "'test.','test2'"),
        ("doublequote", '"test.","test2"'),
    ],
)
def test_formats_as_documented(form: str, expected: str) -> None:
    """docs: Dashboards, Variables, Variable syntax, Advanced variable format options."""
    servers = of("servers", ["test.", "test2"], multi=True)
    assert in_browser(f"${{servers:{form}}}", servers) == expected


def test_one_value_needs_no_brackets() -> None:
    assert in_browser("/^${a:regex}$/", of("a", ["rack.1"], multi=True)) == r"/^rack\.1$/"
    assert in_browser("/^${a:regex}$/", of("a", "x/y (z)")) == r"/^x\/y \(z\)$/"


def test_all_is_the_custom_value_or_every_option() -> None:
    assert in_browser("/^${a:regex}$/", of("a", [ALL], multi=True, all_value=".*")) == "/^.*$/"
    assert in_browser("/^${a:regex}$/", of("a", [ALL], multi=True, options=["1", "2"])) == "/^(1|2)$/"


def test_without_a_format_the_place_decides() -> None:
    assert in_browser("x = '$a'", of("a", "b.c")) == "x = 'b.c'"
    assert in_browser("x =~ /^$a$/", of("a", "b.c")) == r"x =~ /^b\.c$/"
    assert in_browser("x =~ /^$a$/", of("a", ["b.c", "d"], multi=True)) == r"x =~ /^(b\.c|d)$/"
    assert in_browser("[[a]] ${a} $a", of("a", "5")) == "5 5 5"


def test_names_that_are_no_variables_stay_for_the_server() -> None:
    query = 'WHERE $timeFilter AND "a" = $b GROUP BY time($__interval)'
    assert in_browser(query, of("a", "x")) == query


def test_the_server_fills_in_times() -> None:
    assert in_server("$timeFilter", 1000, 2500, 60) == "time >= 1000ms and time <= 2500ms"
    assert in_server("time($__interval) $__interval_ms $interval", 0, 1, 120) == "time(2m) 120000 2m"
    assert in_server("time($__interval)", 0, 1, 90) == "time(90s)"


def test_intervals_are_usual_lengths() -> None:
    day_ms = 86_400_000
    assert interval_s(0, day_ms, 1440) == 60
    assert interval_s(0, day_ms, 600) == 120
    assert interval_s(0, 3_600_000, 600, least_s=20) == 20
