"""Panels in our house style around the SDK's builders: unit, description, legend and holes the same everywhere.

Only looks live here. What is asked of the database stands with each dashboard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    dashboard,
    gauge,
    histogram,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from controller.grafana.influxql import InfluxQuery

Steps = Sequence[tuple[float | None, str]]
"""Thresholds: (from this value on, colour); the first has no value."""

NEUTRAL: Steps = ((None, "blue"),)
HOLE_MS = 180_000
"""A line is broken where values are missing for longer than this many milliseconds; a late poll breaks nothing."""
POINTS = 600
"""Points of one series: as many as a half-width panel has pixels, and 64 of them still load at once."""

COLOURED_TEXT: Mapping[str, object] = {"custom_cellOptions": {"type": "color-text"}}
"""Table column whose value mapping colours the words."""

_CODE = re.compile(r"(\d+)\s+([^,;]+)")


def source() -> Any:
    """The data source that the dashboard's variable names."""
    return model.DataSourceRef(type_val="influxdb", uid="${datasource}")


def states_of(text: str, colours: Mapping[int, str]) -> Any:
    """Value mapping from an equipment tag's text, "0 idle, 1 running": numbers become words of the given colours."""
    options = {
        number: model.ValueMappingResult(text=words.strip(), color=colours.get(int(number), "text"), index=i)
        for i, (number, words) in enumerate(_CODE.findall(text))
    }
    return model.ValueMap(options=options)


def words(colours: Mapping[str, str]) -> Any:
    """Value mapping that only colours words."""
    return model.ValueMap(
        options={
            word: model.ValueMappingResult(text=word, color=c, index=i) for i, (word, c) in enumerate(colours.items())
        }
    )


def _basics(panel: Any, title: str, text: str, queries: Sequence[InfluxQuery], size: tuple[int, int]) -> Any:
    panel = panel.title(title).description(text).datasource(source()).span(size[0]).height(size[1])
    for query in queries:
        panel = panel.with_target(query)
    return panel


def _thresholds(steps: Steps) -> Any:
    made = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _colour(mode: str) -> Any:
    return dashboard.FieldColor().mode(model.FieldColorModeId(mode))


def set_by_name(panel: Any, name: str, **properties: object) -> Any:
    """Override for one field; `custom_lineWidth` stands for custom.lineWidth."""
    values = [model.DynamicConfigValue(id_val=k.replace("_", ".", 1), value=v) for k, v in properties.items()]
    return panel.override_by_name(name, values)


def name_query(panel: Any, ref: str, name: str) -> Any:
    """Shows everything of one query under `name`."""
    return panel.override_by_query(ref, [model.DynamicConfigValue(id_val="displayName", value=name)])


def trend(
    title: str,
    text: str,
    unit: str,
    queries: Sequence[InfluxQuery],
    size: tuple[int, int] = (12, 8),
    *,
    decimals: int | None = None,
    legend: bool = True,
    interval: str = "20s",
) -> Any:
    """Lines over time. `interval`: the plant does not report oftener, so no shorter one is asked for."""
    panel = (
        _basics(timeseries.Panel(), title, text, queries, size)
        .unit(unit)
        .interval(interval)
        .max_data_points(POINTS)
        .line_width(1)
        .show_points(looks.VisibilityMode.AUTO)
        .point_size(3)
        .span_nulls(HOLE_MS)
        .color_scheme(_colour("palette-classic"))
        .legend(
            common.VizLegendOptions()
            .show_legend(legend)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    )
    return panel if decimals is None else panel.decimals(decimals)


def band(panel: Any, lower: str, upper: str, colour: str) -> Any:
    """Shades between two series of a trend and draws neither of them."""
    quiet = {"custom_lineWidth": 0, "custom_showPoints": "never", "color": {"mode": "fixed", "fixedColor": colour}}
    hide: dict[str, object] = {"custom_hideFrom": {"legend": True, "tooltip": False, "viz": False}}
    panel = set_by_name(panel, lower, **quiet, **hide)
    return set_by_name(panel, upper, custom_fillBelowTo=lower, custom_fillOpacity=18, **quiet)


def figure(
    title: str,
    text: str,
    unit: str,
    queries: Sequence[InfluxQuery],
    size: tuple[int, int] = (4, 4),
    *,
    steps: Steps = NEUTRAL,
    decimals: int | None = None,
    mapping: Any = None,
    fields: str = "",
    calc: str = "lastNotNull",
    empty: str = "no data",
    spark: bool = False,
) -> Any:
    """One big number or word (for each series)."""
    panel = (
        _basics(stat.Panel(), title, text, queries, size)
        .unit(unit)
        .no_value(empty)
        .thresholds(_thresholds(steps))
        .color_scheme(_colour("thresholds"))
        .color_mode(looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.AREA if spark else looks.BigValueGraphMode.NONE)
        .justify_mode(looks.BigValueJustifyMode.AUTO)
        .text_mode(looks.BigValueTextMode.AUTO)
        .orientation(looks.VizOrientation.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs([calc]).fields(fields).values(False))
    )
    panel = panel if mapping is None else panel.mappings([mapping])
    return panel if decimals is None else panel.decimals(decimals)


def dial(
    title: str,
    text: str,
    unit: str,
    queries: Sequence[InfluxQuery],
    limits: tuple[float, float],
    steps: Steps,
    size: tuple[int, int] = (4, 6),
    decimals: int = 2,
) -> Any:
    """A gauge whose coloured ring shows where the good range lies."""
    return (
        _basics(gauge.Panel(), title, text, queries, size)
        .unit(unit)
        .decimals(decimals)
        .no_value("no data")
        .min(limits[0])
        .max(limits[1])
        .thresholds(_thresholds(steps))
        .color_scheme(_colour("thresholds"))
        .show_threshold_markers(True)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )


def states(title: str, text: str, queries: Sequence[InfluxQuery], mapping: Any, size: tuple[int, int]) -> Any:
    """Which state when, one row for each series."""
    return (
        _basics(statetimeline.Panel(), title, text, queries, size)
        .mappings([mapping])
        .interval("20s")
        .max_data_points(POINTS)
        .color_scheme(_colour("fixed"))
        .fill_opacity(75)
        .line_width(0)
        .row_height(0.85)
        .merge_values(True)
        .show_value(looks.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.SINGLE).sort(looks.SortOrder.NONE))
    )


def rows(
    title: str,
    text: str,
    queries: Sequence[InfluxQuery],
    size: tuple[int, int] = (12, 8),
    *,
    sort: str = "",
    hide: Sequence[str] = (),
    empty: str = "none in this time range",
) -> Any:
    """A table; `sort`: column, largest first."""
    panel = _basics(table.Panel(), title, text, queries, size).no_value(empty).show_header(True)
    panel = panel.cell_height(looks.TableCellHeight.SM)
    if hide:
        panel = panel.with_transformation(organize(hide))
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel


def bars(
    title: str, text: str, unit: str, queries: Sequence[InfluxQuery], by: str, size: tuple[int, int] = (12, 8)
) -> Any:
    """One bar for each point of a machine, in the points' order (InfluxDB sorts tag values as words: 1, 10, 11, 2)."""
    panel = (
        _basics(barchart.Panel(), title, text, queries, size)
        .unit(unit)
        .no_value("no data")
        .x_field(by)
        .show_value(looks.VisibilityMode.NEVER)
        .x_tick_label_spacing(60)
        .color_scheme(_colour("palette-classic"))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.SINGLE).sort(looks.SortOrder.NONE))
    )
    panel = panel.with_transformation(organize(("Time",)))
    for step in by_number(by):
        panel = panel.with_transformation(step)
    return panel.with_transformation(_convert(by, "string"))


def distribution(title: str, text: str, unit: str, queries: Sequence[InfluxQuery], size: tuple[int, int]) -> Any:
    """Histogram over everything that the queries return."""
    return (
        _basics(histogram.Panel(), title, text, queries, size)
        .unit(unit)
        .fill_opacity(70)
        .line_width(1)
        .combine(False)
        .color_scheme(_colour("palette-classic"))
        .with_transformation(organize(("Time", "channel")))
    )


def organize(hide: Sequence[str]) -> Any:
    """Leaves columns out."""
    return model.DataTransformerConfig(id_val="organize", options={"excludeByName": dict.fromkeys(hide, True)})


def only(column: str) -> Any:
    """Leaves out all columns but one."""
    return model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": [column]}})


def by_number(column: str) -> tuple[Any, Any]:
    """Transformations that sort rows by a column that holds numbers as words."""
    sort = model.DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": [{"field": column}]})
    return _convert(column, "number"), sort


def _convert(column: str, to: str) -> Any:
    options = {"fields": {}, "conversions": [{"targetField": column, "destinationType": to}]}
    return model.DataTransformerConfig(id_val="convertFieldType", options=options)
