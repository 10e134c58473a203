"""Row "Slow steps" of the rack's dashboard: what slow charges and discharges said of every cell's electrodes.

One row of a stream is one step that has ended (docs/events.md), so tables show the newest of each channel.
"""

from __future__ import annotations

from typing import Any

from controller.grafana import panels
from controller.grafana.influxql import CELL, CHANNEL, DEVICE, LINE, LOT, InfluxQuery, latest, tag, trend

_HERE = (tag(LINE), tag(DEVICE), tag(LOT))
_CHOSEN = (*_HERE, tag(CHANNEL))
_ONE = (*_HERE, tag(CHANNEL, CELL))
_PEAKS = 6
# The code `why` of cell_esoh and cell_ocv.
_WHY = (
    "0 none, 1 first charge, 2 not from limit to limit, 3 samples missing, 4 beginning not seen, 5 no half-cell table"
)
_STATUS = (
    "0 ok, 5 half-cell tables do not describe the cell, 6 bad samples, 10 not told apart by this curve, 11 ok, "
    "12 no half-cell table, 13 too few samples, 14 samples missing"
)
_STATUS_COLOURS = {0: "green", 11: "green", 5: "orange", 6: "red", 14: "orange"}


def build() -> tuple[Any, ...]:
    """The row's panels, in their order."""
    return (_balance(), _windows(), _ratio(), _peaks(), _peaks_by_channel(), _ocv(), _hysteresis())


def _table(title: str, text: str, stream: str, columns: tuple[tuple[str, str, str, int], ...], **how: Any) -> Any:
    """Newest row of each channel. Columns: (expression, heading, unit, decimals)."""
    fields = ", ".join(f'{field} AS "{name}"' for field, name, _, _ in columns)
    query = InfluxQuery(latest(fields, stream, _HERE, ("channel",)), table=True)
    panel = panels.rows(title, text, [query], hide=("Time",), empty="no slow step has ended yet", **how)
    for _, name, unit, digits in columns:
        panel = panels.set_by_name(panel, name, unit=unit, decimals=digits)
    return panel


def _last(field: str, times: str = "") -> str:
    return f'last("{field}"){times}'


def _balance() -> Any:
    percent = "percentunit"
    panel = _table(
        "Electrode balance by channel",
        "How the two electrodes stand to each other in each cell, fitted to its newest slow charge or discharge. N/P: "
        "usable negative over positive capacity. LLI: lithium lost since the cell's first fit; LAM: electrode material "
        "lost since then. ± is one standard deviation: a loss smaller than twice that is not proven. Cause and fit say "
        "why a figure is missing or not to be trusted.",
        "cell_esoh",
        (
            (_last("n_to_p"), "N/P", "none", 3),
            (_last("n_to_p_sd"), "± N/P", "none", 3),
            (_last("lli"), "LLI", percent, 2),
            (_last("lli_sd"), "± LLI", percent, 2),
            (_last("lam_negative"), "LAM negative", percent, 2),
            (_last("lam_positive"), "LAM positive", percent, 2),
            (_last("lithium_ah"), "lithium", "suffix: Ah", 3),
            (_last("rmse_v", " * 1000"), "misfit", "mvolt", 1),
            (_last("cycle"), "cycle", "none", 0),
            (_last("why"), "cause", "none", 0),
            (_last("status"), "fit", "none", 0),
        ),
        size=(24, 10),
        sort="LLI",
    )
    panel = panels.set_by_name(panel, "cause", mappings=[panels.states_of(_WHY, {})])
    return panels.set_by_name(
        panel, "fit", mappings=[panels.states_of(_STATUS, _STATUS_COLOURS)], **panels.COLOURED_TEXT
    )


def _windows() -> Any:
    fields = (
        f'{_last("x_0")} AS "negative, empty", {_last("x_100")} AS "negative, full", '
        f'{_last("y_0")} AS "positive, empty", {_last("y_100")} AS "positive, full"'
    )
    query = InfluxQuery(latest(fields, "cell_esoh", _HERE, ("channel",)), table=True)
    text = (
        "How full of lithium each electrode is when the cell is empty and when it is full (its window). Cells of one "
        "tray look alike; one that stands out was built with other electrodes, or formed differently."
    )
    return panels.bars("Electrode windows", text, "percentunit", [query], "channel")


def _ratio() -> Any:
    query = InfluxQuery(trend(_last("n_to_p"), "cell_esoh", _CHOSEN, ("channel",), fill="none"), alias="$tag_channel")
    text = (
        "Usable negative over positive capacity after each slow step of the chosen channels. Near or under 1 lithium "
        "may plate on the negative electrode."
    )
    return panels.trend("N/P ratio", text, "none", [query], decimals=3)


def _peaks() -> Any:
    fields = ", ".join(f'last("p{n}_v") AS "P{n}"' for n in range(1, _PEAKS + 1))
    query = InfluxQuery(trend(fields, "cell_dqdv", _ONE, fill="none"), alias="$col")
    text = (
        "Voltages at which channel $cell takes or gives most charge (peaks of dQ/dV), after each slow step. A peak "
        "keeps its name from step to step of one direction; one that moves between equal steps says that an "
        "electrode ages or that resistance grows. Charge and discharge have peaks of their own."
    )
    return panels.trend("dQ/dV peaks of channel $cell", text, "volt", [query], (12, 9), decimals=3)


def _peaks_by_channel() -> Any:
    columns: list[tuple[str, str, str, int]] = [(_last("step"), "step", "none", 0)]
    for n in range(1, 5):
        columns.append((_last(f"p{n}_v"), f"P{n}", "volt", 3))
        columns.append((_last(f"p{n}_ah_v"), f"height P{n}", "suffix: Ah/V", 1))
    columns.append((_last("charge_ah"), "moved", "suffix: Ah", 3))
    text = (
        "Newest slow step of each channel: place and height of its first four peaks of dQ/dV, and the charge that it "
        "moved. Compare channels whose step is the same."
    )
    return _table("dQ/dV peaks by channel", text, "cell_dqdv", tuple(columns), size=(12, 9))


def _ocv() -> Any:
    columns = [(_last(f"ocv_{percent:03d}_v"), f"OCV {percent} %", "volt", 3) for percent in (10, 30, 50, 70, 90)]
    columns += [
        (_last("hysteresis_050_v", " * 1000"), "hysteresis 50 %", "mvolt", 1),
        (_last("hysteresis_050_v_sd", " * 1000"), "± hysteresis", "mvolt", 1),
        (_last("ohmic_ohm", " * 1000"), "ohmic mΩ", "none", 1),
        (_last("cycle"), "cycle", "none", 0),
        (_last("why"), "cause", "none", 0),
    ]
    panel = _table(
        "Open-circuit voltage by channel",
        "From a slow charge and a slow discharge of one cycle: the voltage that the cell would rest at, by state of "
        "charge, half of the gap between charge and discharge (hysteresis, with what slow polarisation is left), and "
        "the ohmic part that was taken out. Cause says why there is none: after a first charge there cannot be one.",
        "cell_ocv",
        tuple(columns),
        size=(16, 9),
    )
    return panels.set_by_name(panel, "cause", mappings=[panels.states_of(_WHY, {})])


def _hysteresis() -> Any:
    fields = ", ".join(f'last("hysteresis_{percent:03d}_v") * 1000 AS "{percent} %"' for percent in (10, 50, 90))
    query = InfluxQuery(latest(fields, "cell_ocv", _HERE, ("channel",)), table=True)
    text = "Half of the gap between slow charge and slow discharge, without the ohmic part, at three states of charge."
    return panels.bars("Hysteresis", text, "mvolt", [query], "channel", (8, 9))
