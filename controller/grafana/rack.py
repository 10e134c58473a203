"""Dashboard of a formation rack: every channel at a glance, one channel in depth with the filter's uncertainty."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Row

from controller.grafana import frame, panels, rack_slow
from controller.grafana.influxql import CELL, CHANNEL, DEVICE, LINE, LOT, InfluxQuery, latest, tag, tag_values, trend
from controller.grafana.line import RACK_COLOURS
from twin.grading import GRADE_NUMBERS, WHY_WORDS

_HERE = (tag(LINE), tag(DEVICE), tag(LOT))
_CHOSEN = (*_HERE, tag(CHANNEL))
_ONE = (*_HERE, tag(CHANNEL, CELL))
_AT_FIRST = tuple(str(n) for n in range(1, 9))
_STATE_COLOURS = {0: "text", 1: "green", 2: "semi-dark-green", 3: "blue", 4: "orange", 5: "purple", 6: "dark-blue"}
_GRADES = ", ".join(f"{number} {grade.value}" for grade, number in GRADE_NUMBERS.items())
_CAUSES = ", ".join(f"{why.value} {words or 'none'}" for why, words in WHY_WORDS.items())
_GRADE_COLOURS = {1: "green", 2: "blue", 3: "orange", 4: "red"}
_Z95 = 1.96
"""Standard deviations of a normal distribution to each side that hold 95 % of it."""


def build() -> Any:
    """The dashboard's builder."""
    channels = tag_values("channel", "channel", tag(LINE), tag(DEVICE))
    built = frame.start(
        "rack",
        "celltwin: formation rack",
        "Voltage, current, temperature and estimated state of every channel; worst channels; one channel in depth.",
        [
            *frame.device_variables("channel"),
            frame.choice(CHANNEL, "Channels", channels, several=True, start_with=_AT_FIRST, numbers=True),
            frame.choice(CELL, "Channel in depth", channels, start_with=("1",), numbers=True),
        ],
    )
    built = built.with_row(Row("Now"))
    for panel in _now():
        built = built.with_panel(panel)
    built = built.with_row(Row("Chosen channels"))
    for panel in (*_measured(), _soc(), _states()):
        built = built.with_panel(panel)
    built = built.with_row(Row("Channel $cell in depth"))
    for panel in (_soc_band(), _resistance_band(), _innovation(), _charge()):
        built = built.with_panel(panel)
    built = built.with_row(Row("When steps end"))
    for panel in (_pulses(), _rests(), _newest_pulses(), _grades()):
        built = built.with_panel(panel)
    built = built.with_row(Row("Slow steps"))
    for panel in rack_slow.build():
        built = built.with_panel(panel)
    built = built.with_row(Row("All channels"))
    for panel in (_resistances(), _capacities(), _discharged(), _worst()):
        built = built.with_panel(panel)
    return built


def _now() -> tuple[Any, ...]:
    rack = frame.equipment("formation_rack_64")

    def last(field: str) -> list[InfluxQuery]:
        return [InfluxQuery(latest(f'last("{field}")', "rack", _HERE))]

    return (
        panels.figure(
            "State",
            "State that the rack reports.",
            "none",
            last("rack_state"),
            mapping=panels.states_of(frame.tag_text(rack, "rack_state"), RACK_COLOURS),
        ),
        panels.figure(
            "Channels running", "Channels that are still in the programme.", "none", last("channels_running")
        ),
        panels.figure(
            "Fault bits",
            frame.tag_text(rack, "rack_fault_bits"),
            "none",
            last("rack_fault_bits"),
            steps=((None, "green"), (1, "red")),
        ),
        panels.figure(
            "Heartbeat age",
            "Since the rack last saw the controller's heartbeat change; it holds when this grows too old.",
            "s",
            last("heartbeat_age_s"),
        ),
        panels.figure("Air in the rack", "Ambient temperature.", "celsius", last("ambient_temperature_c"), decimals=1),
        panels.figure(
            "Hottest cell",
            "Highest surface temperature of any channel in the time range.",
            "celsius",
            [InfluxQuery(latest('max("temperature_c")', "channel", _HERE))],
            decimals=1,
            steps=((None, "green"), (45, "orange"), (60, "red")),
        ),
    )


def _measured() -> tuple[Any, ...]:
    def one(title: str, text: str, unit: str, field: str, decimals: int) -> Any:
        query = InfluxQuery(trend(f'mean("{field}")', "channel", _CHOSEN, ("channel",)), alias="$tag_channel")
        return panels.trend(title, text, unit, [query], (12, 8), decimals=decimals)

    return (
        one("Voltage", "Terminal voltage.", "volt", "voltage_v", 3),
        one("Current", "Positive charges.", "amp", "current_a", 3),
        one("Temperature", "Cell surface. Neighbours differ by the rack's gradient.", "celsius", "temperature_c", 1),
    )


def _soc() -> Any:
    query = InfluxQuery(trend('mean("soc")', "cell_state", _CHOSEN, ("channel",)), alias="$tag_channel")
    text = "The filter's estimate. One channel with its uncertainty: below."
    return panels.trend("State of charge", text, "percentunit", [query], (12, 8), decimals=1)


def _states() -> Any:
    states = panels.states_of(frame.tag_text(frame.equipment("formation_rack_64"), "state"), _STATE_COLOURS)
    query = InfluxQuery(trend('last("state")', "channel", _CHOSEN, ("channel",), fill="none"), alias="$tag_channel")
    return panels.states("Steps", "What each channel is doing.", [query], states, (24, 9))


def _soc_band() -> Any:
    sd = f'{_Z95} * mean("soc_sd")'
    queries = [
        InfluxQuery(trend('mean("soc")', "cell_state", _ONE), "A", "SOC"),
        InfluxQuery(trend(f'mean("soc") - {sd}', "cell_state", _ONE), "B", "lower"),
        InfluxQuery(trend(f'mean("soc") + {sd}', "cell_state", _ONE), "C", "upper"),
    ]
    text = "Estimate with its 95 % band (±1.96 standard deviations of the filter, model error included)."
    panel = panels.trend("State of charge with 95 % band", text, "percentunit", queries, decimals=1)
    return panels.band(panel, "lower", "upper", "blue")


def _resistance_band() -> Any:
    sd = f'{_Z95} * mean("r0_sd_ohm")'
    queries = [
        InfluxQuery(trend('mean("r0_ohm") * 1000', "cell_state", _ONE), "A", "R0"),
        InfluxQuery(trend(f'(mean("r0_ohm") - {sd}) * 1000', "cell_state", _ONE), "B", "lower"),
        InfluxQuery(trend(f'(mean("r0_ohm") + {sd}) * 1000', "cell_state", _ONE), "C", "upper"),
    ]
    text = "Ohmic resistance at 25 °C with its 95 % band. It narrows where the current changes and widens in rest."
    panel = panels.trend("Ohmic resistance with 95 % band", text, "suffix: mΩ", queries, decimals=2)
    return panels.band(panel, "lower", "upper", "blue")


def _innovation() -> Any:
    spread = f'{_Z95} * mean("innovation_sd_v")'
    queries = [
        InfluxQuery(trend('mean("innovation_v") * 1000', "cell_state", _ONE), "A", "measured - predicted"),
        InfluxQuery(trend(f"{spread} * -1000", "cell_state", _ONE), "B", "lower"),
        InfluxQuery(trend(f"{spread} * 1000", "cell_state", _ONE), "C", "upper"),
    ]
    text = (
        "What the filter did not foresee, against what it expects to miss (95 %). Staying outside: the model is wrong."
    )
    panel = panels.trend("Voltage innovation", text, "mvolt", queries, decimals=1)
    return panels.band(panel, "lower", "upper", "blue")


def _charge() -> Any:
    queries = [
        InfluxQuery(trend('last("charge_ah")', "channel", _ONE), "A", "charged"),
        InfluxQuery(trend('last("discharge_ah")', "channel", _ONE), "B", "discharged"),
    ]
    text = "The rack's own counters since the programme began."
    return panels.trend("Charge counters", text, "suffix: Ah", queries, decimals=3)


def _pulses() -> Any:
    query = InfluxQuery(
        trend('last("r_30s_ohm") * 1000', "cell_pulse", _CHOSEN, ("channel",), fill="none"), alias="$tag_channel"
    )
    text = (
        "Direct-current resistance 30 s into every load that follows a rest, at the time of its edge. It depends on "
        "charge and temperature: compare a step with the same step."
    )
    return panels.trend("Resistance at 30 s", text, "suffix: mΩ", [query], decimals=1)


def _rests() -> Any:
    query = InfluxQuery(
        trend('last("end_slope_mv_h")', "cell_rest", _CHOSEN, ("channel",), fill="none"), alias="$tag_channel"
    )
    text = (
        "Slope of the voltage at the end of every rest: relaxation and self-discharge together. Self-discharge alone "
        "is K, below, where a rest was long enough to tell them apart."
    )
    return panels.trend("Voltage slope at the end of rests", text, "suffix: mV/h", [query], decimals=2)


def _newest_pulses() -> Any:
    fields = ", ".join(
        (
            'last("r_10s_ohm") * 1000 AS "10 s mΩ"',
            'last("r_30s_ohm") * 1000 AS "30 s mΩ"',
            'last("r_30s_ohm_sd") * 1000 AS "± 30 s mΩ"',
            'last("temperature_c") AS "cell"',
            'last("step") AS "newest step"',
        )
    )
    query = InfluxQuery(latest(fields, "cell_pulse", _HERE, ("channel",)), table=True)
    text = "Newest resistance of each channel at each time into a step. Polls that are far apart give only late ones."
    panel = panels.rows("Resistance by channel", text, [query], (12, 10), sort="30 s mΩ", hide=("Time",))
    for name, unit, digits in (
        ("10 s mΩ", "none", 1),
        ("30 s mΩ", "none", 1),
        ("± 30 s mΩ", "none", 1),
        ("cell", "celsius", 1),
        ("newest step", "none", 0),
    ):
        panel = panels.set_by_name(panel, name, unit=unit, decimals=digits)
    return panel


def _grades() -> Any:
    fields = ", ".join(
        (
            'last("grade") AS "grade"',
            'last("why") AS "cause"',
            'last("k_mv_h") AS "K"',
            'last("k_mv_h_sd") AS "± K"',
            'last("ocv_away_v") AS "OCV from tray"',
        )
    )
    query = InfluxQuery(latest(fields, "cell_grade", _HERE, ("channel",)), table=True)
    text = "Grade of each channel, given when all that ran have ended. The event says the tray in words."
    panel = panels.rows("Grades", text, [query], (12, 10), sort="grade", hide=("Time",), empty="not graded yet")
    panel = panels.set_by_name(
        panel, "grade", mappings=[panels.states_of(_GRADES, _GRADE_COLOURS)], **panels.COLOURED_TEXT
    )
    panel = panels.set_by_name(panel, "cause", mappings=[panels.states_of(_CAUSES, {})])
    for name in ("K", "± K"):
        panel = panels.set_by_name(panel, name, unit="suffix: mV/h", decimals=3)
    return panels.set_by_name(panel, "OCV from tray", unit="volt", decimals=4)


def _resistances() -> Any:
    query = InfluxQuery(latest('last("r0_ohm") * 1000 AS "R0 at 25 °C"', "cell_state", _HERE, ("channel",)), table=True)
    text = "Newest ohmic resistance of all channels. A second hump or a lone bar at the right is a reason to look."
    return panels.distribution("Distribution of R0", text, "suffix: mΩ", [query], (8, 9))


def _capacities() -> Any:
    fields = 'last("capacity_ah") AS "capacity"'
    query = InfluxQuery(latest(fields, "cell_state", _HERE, ("channel",)), table=True)
    text = "Capacity that the filter believes each channel to have; before a full discharge that is the cell type's."
    return panels.bars("Capacity", text, "suffix: Ah", [query], "channel", (8, 9))


def _discharged() -> Any:
    fields = 'last("charge_ah") AS "charged", last("discharge_ah") AS "discharged"'
    query = InfluxQuery(latest(fields, "channel", _HERE, ("channel",)), table=True)
    text = "Counters of all channels since the programme began. The difference is first-cycle loss and what is inside."
    return panels.bars("Charged and discharged", text, "suffix: Ah", [query], "channel", (8, 9))


def _worst() -> Any:
    fields = ", ".join(
        (
            'last("r0_ohm") * 1000 AS "R0 mΩ"',
            'last("r0_sd_ohm") * 1000 AS "± R0 mΩ"',
            'last("capacity_ah") AS "capacity Ah"',
            'last("soc") AS "SOC"',
            'last("soc_sd") AS "± SOC"',
        )
    )
    query = InfluxQuery(latest(fields, "cell_state", _HERE, ("channel",)), table=True)
    text = "All channels, highest resistance first; click a heading for another order. ± is one standard deviation."
    panel = panels.rows("Worst channels", text, [query], (24, 10), sort="R0 mΩ", hide=("Time",))
    for name, unit, digits in (
        ("R0 mΩ", "none", 2),
        ("± R0 mΩ", "none", 2),
        ("capacity Ah", "none", 3),
        ("SOC", "percentunit", 1),
        ("± SOC", "percentunit", 2),
    ):
        panel = panels.set_by_name(panel, name, unit=unit, decimals=digits)
    return panel
