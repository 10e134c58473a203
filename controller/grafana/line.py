"""Dashboard of a whole line: what runs, how old its data are, what we did and noticed. For whoever is on shift."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Row

from controller.grafana import frame, panels
from controller.grafana.influxql import DEVICE, LINE, InfluxQuery, latest, records, tag, tag_values, trend

_ON_LINE = (tag(LINE),)
_ON_DEVICES = (tag(LINE), tag(DEVICE))
_COUNTED = (
    ("channel", "step"),
    ("rack", "rack_state"),
    ("coater", "web_speed_m_s"),
    ("coater_zone", "zone_temperature_c"),
    ("coater_profile", "lane_mass_loading_kg_m2"),
    ("cell_state", "soc"),
    ("web_loading", "count"),
)
"""Streams, each with a field that every good row has."""
RACK_COLOURS = {0: "text", 1: "green", 2: "orange", 3: "blue", 4: "purple", 5: "red", 6: "red"}
COATER_COLOURS = {
    2: "purple",
    3: "yellow",
    4: "text",
    5: "orange",
    6: "green",
    7: "yellow",
    9: "red",
    11: "orange",
    17: "blue",
}
_OUTCOMES = {
    "confirmed": "green",
    "refused_by_us": "red",
    "refused_by_device": "red",
    "not_confirmed": "orange",
    "lost": "orange",
}
_SEVERITIES = {"info": "text", "warning": "orange", "error": "red"}


def build() -> Any:
    """The dashboard's builder."""
    built = frame.start(
        "line",
        "celltwin: line",
        "What the line does, how old its data are, what was commanded and what went missing.",
        # Equipment and the controller itself ("line" in events) alike, hence no stream.
        [frame.choice(DEVICE, "Devices", tag_values("device", "", tag(LINE)), several=True)],
    )
    built = built.with_row(Row("Now"))
    for panel in (*_states(), _age(), *_figures()):
        built = built.with_panel(panel)
    built = built.with_row(Row("What we did and noticed"))
    for panel in (_commands(), _events(), _gaps(), _rows_over_time()):
        built = built.with_panel(panel)
    return built


def _states() -> tuple[Any, ...]:
    rack, coater = frame.equipment("formation_rack_64"), frame.equipment("slot_die_coater")
    rack_states = panels.states_of(frame.tag_text(rack, "rack_state"), RACK_COLOURS)
    coater_states = panels.states_of(frame.tag_text(coater, "coater_state"), COATER_COLOURS)
    return (
        panels.states(
            "Coaters",
            "PackML state of each coater over time. Held means that its watchdog or a person stopped it.",
            [_state_by_device("coater_state", "coater")],
            coater_states,
            (12, 6),
        ),
        panels.states(
            "Formation racks",
            "State of each rack over time. Held: the controller's heartbeat stayed away or a person stopped it.",
            [_state_by_device("rack_state", "rack")],
            rack_states,
            (12, 6),
        ),
    )


def _state_by_device(field: str, stream: str) -> InfluxQuery:
    return InfluxQuery(trend(f'last("{field}")', stream, _ON_DEVICES, ("device",), "none"), alias="$tag_device")


def _age() -> Any:
    """Age of data by stream. The database knows stamps only; the browser says how long ago they are."""
    queries = [
        InfluxQuery(latest(f'last("{field}")', stream, _ON_DEVICES), ref, table=True)
        for ref, (stream, field) in zip("ABCDEFG", _COUNTED, strict=True)
    ]
    text = (
        "When each stream's newest row was stamped, in plant time. A stream that stands still while its machine runs is"
        " a lost connection: see gaps and events below."
    )
    panel = panels.figure("Age of data", text, "dateTimeFromNow", queries, (24, 4), fields="/.*/", calc="max")
    # Only stamps are left, before names are given: a panel's choice of fields goes by the names that it shows.
    panel = panel.with_transformation(panels.only("Time"))
    for query, (stream, _) in zip(queries, _COUNTED, strict=True):
        panel = panels.name_query(panel, query.ref, stream)
    return panel


def _figures() -> tuple[Any, ...]:
    last_speed = latest('last("web_speed_m_s") * 60', "coater", _ON_DEVICES)
    loading = (*_ON_DEVICES, "\"lane\" = '0'")
    return (
        panels.figure("Web speed", "Of the coater, measured.", "suffix: m/min", [InfluxQuery(last_speed)], decimals=1),
        panels.figure(
            "Web coated",
            "Web that has passed the die since the coater's counter began.",
            "lengthm",
            [InfluxQuery(latest('last("web_position_m")', "coater", _ON_DEVICES))],
            decimals=0,
        ),
        panels.figure(
            "Mass loading",
            "Running mean of the whole web, dry, one side.",
            "suffix: g/m²",
            [InfluxQuery(latest('last("mean_kg_m2") * 1000', "web_loading", loading))],
            decimals=1,
        ),
        panels.figure(
            "Channels running",
            "Formation channels that are still in the programme.",
            "none",
            [InfluxQuery(latest('last("channels_running")', "rack", _ON_DEVICES))],
        ),
        panels.figure(
            "Gaps",
            "Times that data of a stream went missing, in the time range.",
            "none",
            [InfluxQuery(latest('count("duration_s")', "gap", _ON_DEVICES))],
            steps=((None, "green"), (1, "orange")),
            empty="0",
        ),
        panels.figure(
            "Missing in total",
            "Plant time without data, summed over streams and gaps in the time range.",
            "s",
            [InfluxQuery(latest('sum("duration_s")', "gap", _ON_DEVICES))],
            steps=((None, "green"), (60, "orange"), (3600, "red")),
            empty="0",
        ),
    )


def _commands() -> Any:
    fields = '"name", "outcome", "reason", "detail", "duration_s"'
    text = "Everything that celltwin asked of equipment, why, and what the read-back said. Newest first."
    query = InfluxQuery(records(fields, "command", _ON_DEVICES, ("device",)), table=True)
    panel = panels.rows("Commands", text, [query], (24, 8), sort="Time")
    panel = panels.set_by_name(panel, "outcome", mappings=[panels.words(_OUTCOMES)], **panels.COLOURED_TEXT)
    return panels.set_by_name(panel, "duration_s", unit="s", displayName="took (plant time)")


def _events() -> Any:
    text = (
        "What the controller says of itself and its devices: starts, stops, connections lost and found. Newest first."
    )
    query = InfluxQuery(records('"severity", "message"', "event", _ON_LINE, ("device",)), table=True)
    panel = panels.rows("Events", text, [query], (12, 9), sort="Time")
    return panels.set_by_name(panel, "severity", mappings=[panels.words(_SEVERITIES)], **panels.COLOURED_TEXT)


def _gaps() -> Any:
    text = "Where data are missing: from which stamp, how long in plant time, in which stream, why. Longest first."
    fields = '"duration_s", "reason"'
    query = InfluxQuery(records(fields, "gap", _ON_DEVICES, ("device", "of_stream")), table=True)
    panel = panels.rows("Gaps", text, [query], (12, 9), sort="duration_s")
    return panels.set_by_name(panel, "duration_s", unit="s", displayName="duration_s")


def _rows_over_time() -> Any:
    queries = [
        InfluxQuery(trend(f'count("{field}")', stream, _ON_DEVICES, fill="0"), ref, alias=stream)
        for ref, (stream, field) in zip("ABCDEFG", _COUNTED, strict=True)
    ]
    text = "Rows that reached the database, by stream. A step down is a device, a tag or a sink that fell silent."
    return panels.trend("Rows per interval", text, "short", queries, (24, 8), interval="5m")
