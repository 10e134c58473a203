"""InfluxQL query texts, as Grafana's InfluxDB data source takes them in raw mode. Strings only; no panel, no I/O.

Tags are always compared with a regular expression and an explicit format, `"device" =~ /^${device:regex}$/`: Grafana's
default format for a bare $variable changed between versions (escaped everywhere, or only inside a regular expression),
an explicit one means the same in all of them. For the same reason numbers from text boxes are `${name:raw}`. The parts
of a query are names in this package; what a person chooses comes in through Grafana, which does the escaping (S608).
"""

from __future__ import annotations

from dataclasses import dataclass

LINE, DEVICE, LOT, CHANNEL, CELL = "line", "device", "lot", "channel", "cell"


@dataclass(frozen=True, slots=True)
class InfluxQuery:
    """One target of a panel, in the shape of the SDK's queries (the SDK has no builder for InfluxDB)."""

    text: str
    ref: str = "A"
    alias: str = ""
    table: bool = False

    def build(self) -> InfluxQuery:
        """The SDK's panels ask a builder for its result; this is its own."""
        return self

    def to_json(self) -> dict[str, object]:
        """The target as the data source reads it. Raw mode: only `query`, `alias` and `resultFormat` count."""
        target: dict[str, object] = {
            "refId": self.ref,
            "datasource": {"type": "influxdb", "uid": "${datasource}"},
            "query": self.text,
            "rawQuery": True,
            "resultFormat": "table" if self.table else "time_series",
        }
        return target | ({"alias": self.alias} if self.alias else {})


def tag(name: str, variable: str = "") -> str:
    """Condition that the tag equals the dashboard variable (of the same name), whatever characters are in it."""
    return f'"{name}" =~ /^${{{variable or name}:regex}}$/'


def where(*conditions: str) -> str:
    """WHERE clause with the dashboard's time range first."""
    return "WHERE " + " AND ".join(("$timeFilter", *conditions))


def trend(fields: str, stream: str, conditions: tuple[str, ...], by: tuple[str, ...] = (), fill: str = "null") -> str:
    """Values over time, one for each interval. An empty interval is a null, so that a hole is seen (panels.trend)."""
    groups = ", ".join(("time($__interval)", *(f'"{b}"' for b in by)))
    return f'SELECT {fields} FROM "{stream}" {where(*conditions)} GROUP BY {groups} fill({fill})'  # noqa: S608


def latest(fields: str, stream: str, conditions: tuple[str, ...], by: tuple[str, ...] = ()) -> str:
    """One row for each group: the newest values in the time range."""
    groups = " GROUP BY " + ", ".join(f'"{b}"' for b in by) if by else ""
    return f'SELECT {fields} FROM "{stream}" {where(*conditions)}{groups}'  # noqa: S608


def records(fields: str, stream: str, conditions: tuple[str, ...], by: tuple[str, ...], limit: int = 200) -> str:
    """Newest records first, at most `limit` for each group."""
    groups = ", ".join(f'"{b}"' for b in by)
    return f'SELECT {fields} FROM "{stream}" {where(*conditions)} GROUP BY {groups} ORDER BY time DESC LIMIT {limit}'  # noqa: S608


def tag_values(key: str, stream: str = "", *conditions: str) -> str:
    """Query of a template variable."""
    source = f' FROM "{stream}"' if stream else ""
    condition = " WHERE " + " AND ".join(conditions) if conditions else ""
    return f'SHOW TAG VALUES{source} WITH KEY = "{key}"{condition}'
