"""Dashboard of a coater: loading against its target, across and along the web, and the dryer. For process engineers."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Row

from controller.grafana import frame, panels
from controller.grafana.influxql import DEVICE, LINE, LOT, InfluxQuery, latest, tag, trend
from controller.grafana.line import COATER_COLOURS

_HERE = (tag(LINE), tag(DEVICE), tag(LOT))
_WHOLE_WEB = (*_HERE, "\"lane\" = '0'")
_LANES = (*_HERE, "\"lane\" != '0'")
_AREAL = "suffix: g/m²"
_TARGET = "${target_g_m2:raw}"
_BAND = "${tolerance_percent:raw}"


def build() -> Any:
    """The dashboard's builder."""
    recipe = frame.coating_recipe()
    target_g_m2, tolerance = recipe.target_mass_loading_kg_m2 * 1000, recipe.tolerance_fraction * 100
    boxes = [
        frame.number_box("target_g_m2", "Target g/m²", "Dry mass per area and side; draws the band", target_g_m2),
        frame.number_box("tolerance_percent", "± %", "Accepted deviation; draws the band", tolerance),
    ]
    built = frame.start(
        "coater",
        "celltwin: coater",
        "Mass loading against its target, lane by lane and over time; web, pump and dryer.",
        [*frame.device_variables("coater"), *boxes],
    )
    built = built.with_row(Row("Now"))
    for panel in _now(tolerance):
        built = built.with_panel(panel)
    built = built.with_row(Row("Mass loading"))
    for panel in (_loading(), _variation(), _lanes(), _last_scan(), _map(), _map_place(), _charts()):
        built = built.with_panel(panel)
    built = built.with_row(Row("Web and pump"))
    for panel in (_speed(), _pump()):
        built = built.with_panel(panel)
    built = built.with_row(Row("Dryer"))
    for panel in (_zones(), _solvent()):
        built = built.with_panel(panel)
    return built


def _now(tolerance: float) -> tuple[Any, ...]:
    states = panels.states_of(frame.tag_text(frame.equipment("slot_die_coater"), "coater_state"), COATER_COLOURS)
    deviation = f'last("mean_kg_m2") * 100000 / {_TARGET} - 100'
    edges = (
        (None, "red"),
        (-2 * tolerance, "orange"),
        (-tolerance, "green"),
        (tolerance, "orange"),
        (2 * tolerance, "red"),
    )
    dial_text = (
        f"Running mean of the whole web against the target above. Green: the packaged recipe's ±{tolerance:g} %."
    )
    return (
        panels.figure(
            "State",
            "PackML state that the coater reports.",
            "none",
            [InfluxQuery(latest('last("coater_state")', "coater", _HERE))],
            (4, 6),
            mapping=states,
        ),
        panels.dial(
            "Deviation from target",
            dial_text,
            "percent",
            [InfluxQuery(latest(deviation, "web_loading", _WHOLE_WEB))],
            (-4 * tolerance, 4 * tolerance),
            edges,
        ),
        panels.figure(
            "Mean loading",
            "Running mean of the whole web, dry, one side.",
            _AREAL,
            [InfluxQuery(latest('last("mean_kg_m2") * 1000', "web_loading", _WHOLE_WEB))],
            (4, 6),
            decimals=2,
        ),
        panels.figure(
            "Variation (CV)",
            "Standard deviation over mean of all gauge samples; industry asks for 1 to 2 %.",
            "percentunit",
            [InfluxQuery(latest('last("cv")', "web_loading", _WHOLE_WEB))],
            (4, 6),
            decimals=2,
            steps=((None, "green"), (0.01, "yellow"), (0.02, "red")),
        ),
        panels.figure(
            "Residual solvent",
            "Solvent per dry mass at the dryer's exit.",
            "percentunit",
            [InfluxQuery(latest('last("residual_solvent_fraction")', "coater", _HERE))],
            (4, 6),
            decimals=2,
        ),
        panels.figure(
            "Web coated",
            "Web that has passed the die.",
            "lengthm",
            [InfluxQuery(latest('last("web_position_m")', "coater", _HERE))],
            (4, 6),
            decimals=0,
        ),
    )


def _loading() -> Any:
    gauge = 'mean("gauge_mass_loading_kg_m2")'
    line = f'mean("web_position_m") * 0 + {_TARGET}'
    queries = [
        InfluxQuery(trend(f"{gauge} * 1000", "coater", _HERE), "A", "gauge"),
        InfluxQuery(trend('last("mean_kg_m2") * 1000', "web_loading", _WHOLE_WEB), "B", "running mean"),
        InfluxQuery(trend(f"{line} * (1 - {_BAND} / 100)", "coater", _HERE), "C", "lower limit"),
        InfluxQuery(trend(f"{line} * (1 + {_BAND} / 100)", "coater", _HERE), "D", "upper limit"),
    ]
    text = "Scanning gauge (across and along the web mixed), running mean, and the band around the target typed above."
    panel = panels.trend("Loading and target band", text, _AREAL, queries, (16, 9), decimals=1)
    panel = panels.band(panel, "lower limit", "upper limit", "green")
    return panels.set_by_name(panel, "running mean", custom_lineWidth=2)


def _variation() -> Any:
    queries = [InfluxQuery(trend('last("cv")', "web_loading", _WHOLE_WEB), alias="whole web")]
    text = "Coefficient of variation of all samples so far. It settles; a late rise is a change of the process."
    return panels.trend("Variation (CV)", text, "percentunit", queries, (8, 9), decimals=2)


def _lanes() -> Any:
    fields = 'last("mean_kg_m2") * 1000 AS "mean g/m²"'
    queries = [InfluxQuery(latest(fields, "web_loading", _LANES, ("lane",)), table=True)]
    text = "Mean loading of each lane since the job began, from the operator's side. A slope is a die out of level."
    return panels.bars("Lane profile, mean", text, _AREAL, queries, "lane")


def _last_scan() -> Any:
    fields = 'last("lane_mass_loading_kg_m2") * 1000 AS "last scan g/m²"'
    queries = [InfluxQuery(latest(fields, "coater_profile", _HERE, ("lane",)), table=True)]
    text = "Cross-web profile of the last completed scan, as the coater reports it."
    return panels.bars("Lane profile, last scan", text, _AREAL, queries, "lane")


def _map() -> Any:
    fields = 'last("loading_kg_m2") * 1000 AS "g/m²"'
    queries = [InfluxQuery(latest(fields, "web_map", _LANES, ("lane",)), table=True)]
    text = "Newest place known from both sides, a scan behind the gauge; along and across told apart by the twin."
    return panels.bars("Lane profile, by the twin", text, _AREAL, queries, "lane", (9, 8))


def _map_place() -> Any:
    query = InfluxQuery(latest('last("web_position_m")', "web_map", _WHOLE_WEB))
    text = "Web position of the lane profile by the twin: a scan behind the gauge."
    return panels.figure("Profile is of", text, "lengthm", [query], (3, 8), decimals=0)


def _charts() -> Any:
    query = InfluxQuery(trend('mean("z")', "spc", _HERE, ("chart",)), alias="$tag_chart")
    text = "Control charts of this coater, in sigmas from the centre line; beyond 3 is out of control."
    return panels.trend("Control charts", text, "suffix: sigma", [query], decimals=1)


def _speed() -> Any:
    query = InfluxQuery(trend('mean("web_speed_m_s") * 60', "coater", _HERE), alias="web speed")
    return panels.trend("Web speed", "Measured; loading is pump rate over speed.", "suffix: m/min", [query], decimals=2)


def _pump() -> Any:
    query = InfluxQuery(trend('mean("pump_rate_ml_s")', "coater", _HERE), alias="pump rate")
    return panels.trend("Pump rate", "Slurry flow to the die.", "suffix: mL/s", [query], decimals=3)


def _zones() -> Any:
    query = InfluxQuery(trend('mean("zone_temperature_c")', "coater_zone", _HERE, ("zone",)), "A", "zone $tag_zone")
    web = InfluxQuery(trend('mean("web_temperature_c")', "coater", _HERE), "B", "web at the exit")
    text = "Air in each zone, in the web's direction, and the web where it leaves the dryer."
    return panels.trend("Temperatures", text, "celsius", [query, web], decimals=1)


def _solvent() -> Any:
    query = InfluxQuery(trend('mean("residual_solvent_fraction")', "coater", _HERE), alias="residual solvent")
    text = "Solvent per dry mass at the dryer's exit. It rises with speed and loading, falls with zone temperature."
    return panels.trend("Residual solvent", text, "percentunit", [query], decimals=2)
