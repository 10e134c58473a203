"""What Grafana does to a raw InfluxQL query before the database sees it, re-told in Python for tests.

Two steps, as in Grafana 10 to 12 with server-side InfluxQL: the browser replaces template variables by their values in
the format that the query names (or the data source's own default format), and leaves names that it does not know; the
server then replaces $timeFilter, $interval, $__interval_ms and $__interval, in this order. Written from Grafana's
documentation of variable syntax and from the observed behaviour of its InfluxDB data source; it takes no code of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALL = "$__all"
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.[^:}]+)?(?::([^}]+))?\}")
_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}/]")
_NICE_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True)
class Variable:
    """A template variable and what a person has chosen: one text, or several."""

    name: str
    value: str | Sequence[str]
    multi: bool = False
    all_value: str = ""
    options: Sequence[str] = ()

    @classmethod
    def of(
        cls, model: Mapping[str, Any], options: Sequence[str] = (), value: str | Sequence[str] | None = None
    ) -> Variable:
        """From a dashboard's JSON; `options` are its query's answers, `value` overrules the saved choice."""
        saved = (model.get("current") or {}).get("value", "")
        if model["type"] == "textbox":
            saved = saved or model["query"]
        chosen = saved if value is None else value
        if model["type"] == "query" and not chosen and options:
            chosen = options[0]  # Grafana takes the first answer where nothing is saved
        return cls(model["name"], chosen, bool(model.get("multi")), model.get("allValue") or "", options)

    @property
    def is_all(self) -> bool:
        return self.value == ALL or (not isinstance(self.value, str) and list(self.value) == [ALL])


def escape_regex(text: str) -> str:
    """Backslash before everything special in a regular expression, the slash included."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def _regex(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return escape_regex(value)
    parts = [escape_regex(v) for v in value]
    return parts[0] if len(parts) == 1 else f"({'|'.join(parts)})"


def _joined(separator: str) -> Callable[[str | Sequence[str]], str]:
    return lambda value: value if isinstance(value, str) else separator.join(value)


FORMATS: Mapping[str, Callable[[str | Sequence[str]], str]] = {
    "regex": _regex,
    "raw": _joined(","),
    "csv": _joined(","),
    "pipe": _joined("|"),
    "singlequote": lambda v: ",".join(f"'{x}'" for x in ([v] if isinstance(v, str) else v)),
    "doublequote": lambda v: ",".join(f'"{x}"' for x in ([v] if isinstance(v, str) else v)),
}


def _default(variable: Variable, value: str | Sequence[str], query: str) -> str:
    """The data source's own format: escaped where several may be chosen or the name stands in a regular expression."""
    if variable.multi:
        return value if isinstance(value, str) and _is_number(value) else _in_brackets(value)
    in_regex = re.search(rf"/\^?.*\${variable.name}.*\$?/", query)
    text = value if isinstance(value, str) else ",".join(value)
    return escape_regex(text) if in_regex else text


def _in_brackets(value: str | Sequence[str]) -> str:
    return escape_regex(value) if isinstance(value, str) else f"({'|'.join(escape_regex(v) for v in value)})"


def _is_number(text: str) -> bool:
    return re.match(r"\s*[+-]?(\d|\.\d)", text) is not None


def in_browser(query: str, variables: Mapping[str, Variable]) -> str:
    """The query with template variables replaced; names that are none stay. KeyError for a format not told here."""

    def replace(found: re.Match[str]) -> str:
        name, form = found[1] or found[2] or found[4], found[3] or found[5]
        variable = variables.get(name)
        if variable is None:
            return found[0]
        value: str | Sequence[str] = variable.value
        if variable.is_all:
            if variable.all_value:
                return in_browser(variable.all_value, variables)  # a custom all value is taken as it is
            value = list(variable.options)
        return FORMATS[form](value) if form else _default(variable, value, query)

    return _VARIABLE.sub(replace, query)


def interval_s(from_ms: int, to_ms: int, max_points: int, least_s: int = 1) -> int:
    """Seconds of $__interval: the time range over the points, rounded to a usual length, at least `least_s`."""
    wanted = (to_ms - from_ms) / 1000 / max_points
    nearest = min(_NICE_S, key=lambda s: max(s / wanted, wanted / s))
    return max(nearest, least_s)


def in_server(query: str, from_ms: int, to_ms: int, interval: int) -> str:
    """The query as it goes to the database."""
    text = f"{interval}s"
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if interval % length == 0:
            text = f"{interval // length}{unit}"
            break
    query = query.replace("$timeFilter", f"time >= {from_ms}ms and time <= {to_ms}ms")
    query = query.replace("$interval", text)
    query = query.replace("$__interval_ms", str(interval * 1000))
    return query.replace("$__interval", text)


def duration_s(text: str) -> int:
    """Seconds of a panel's minimal interval such as 20s or 5m."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[text[-1]]


def panels_of(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every panel, those inside collapsed rows too."""
    found = []
    for panel in dashboard["panels"]:
        found += [panel, *panel.get("panels", ())]
    return [p for p in found if p["type"] != "row"]
