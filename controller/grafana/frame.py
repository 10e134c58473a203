"""What the three dashboards have in common: data source and variables at the top, links between them, time and refresh.

Also what they take from the packaged equipment and recipes, so that a renamed state changes the dashboards with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from configs.loader import packaged
from configs.schema import CoatingRecipe, Equipment
from controller.grafana import DATASOURCE_NAME, DATASOURCE_UID
from controller.grafana.influxql import DEVICE, LINE, LOT, tag, tag_values

UIDS = {"line": "celltwin-line", "coater": "celltwin-coater", "rack": "celltwin-rack"}
TAGS = ["celltwin"]

_ALL = "$__all"


def equipment(name: str) -> Equipment:
    """A packaged equipment type."""
    return Equipment.model_validate(tomllib.loads(packaged("equipment")[name].read_text(encoding="utf-8")))


def coating_recipe() -> CoatingRecipe:
    """The packaged coating recipe; its target and tolerance are where the coater's dashboard starts from."""
    text = packaged("recipes")["coat_nmc_cathode"].read_text(encoding="utf-8")
    return CoatingRecipe.model_validate(tomllib.loads(text))


def tag_text(kind: Equipment, name: str) -> str:
    """What the equipment file says of a tag; KeyError for a tag it does not have."""
    found = kind.find(name)
    if found is None:
        raise KeyError(name)
    return found[1].text


def start(key: str, title: str, text: str, variables: Sequence[Any]) -> Any:
    """An empty dashboard in our style. `variables` follow data source and line."""
    built = (
        dashboard.Dashboard(title)
        .uid(UIDS[key])
        .description(text)
        .tags(TAGS)
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("10s")
        .timepicker(dashboard.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m", "15m"]))
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(
            dashboard.DashboardLink("celltwin")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(TAGS)
            .as_dropdown(False)
            .include_vars(False)
            .keep_time(True)
            .tooltip("The other dashboards of this line, same time range")
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource")
            .label("Data source")
            .type("influxdb")
            .current(option(DATASOURCE_NAME, DATASOURCE_UID))
        )
        .with_variable(choice(LINE, "Line", tag_values("line")))
    )
    for variable in variables:
        built = built.with_variable(variable)
    return built


def option(text: str | list[str], value: str | list[str]) -> Any:
    """A variable's current value."""
    return model.VariableOption(selected=True, text=text, value=value)


def choice(
    name: str,
    label: str,
    query: str,
    *,
    several: bool = False,
    start_with: Sequence[str] = (),
    numbers: bool = False,
) -> Any:
    """A variable filled by a query. `several`: any number of values, at first all or `start_with`."""
    order = model.VariableSort.NUMERICAL_ASC if numbers else model.VariableSort.ALPHABETICAL_ASC
    built = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(model.DataSourceRef(type_val="influxdb", uid="${datasource}"))
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(order)
        .multi(several)
        .include_all(several)
    )
    chosen = list(start_with)
    if several:
        # ".*" also matches what has no such tag at all: a device without a lot.
        built = built.all_value(".*")
        chosen = chosen or ["All"]
        return built.current(option(chosen, [_ALL] if chosen == ["All"] else chosen))
    return built.current(option(chosen[0], chosen[0])) if chosen else built


def number_box(name: str, label: str, text: str, value: float) -> Any:
    """A variable that a person types."""
    shown = f"{value:g}"
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .description(text)
        .default_value(shown)
        .current(option(shown, shown))
    )


def gap_marks() -> dict[str, object]:
    """Annotation that marks where data went missing, in the shape of the InfluxDB data source (the SDK has none)."""
    query = f'SELECT "reason", "of_stream" FROM "gap" WHERE $timeFilter AND {tag(LINE)} AND {tag(DEVICE)}'  # noqa: S608
    return {
        "name": "Gaps",
        "datasource": {"type": "influxdb", "uid": "${datasource}"},
        "enable": True,
        "hide": False,
        "iconColor": "orange",
        "target": {
            "refId": "Gaps",
            "name": "Gaps",
            "query": query,
            "rawQuery": True,
            "fromAnnotations": True,
            "textColumn": "reason",
            "tagsColumn": "of_stream",
        },
    }


def device_variables(stream: str) -> list[Any]:
    """Which machine, and which of its lots."""
    return [
        choice(DEVICE, "Device", tag_values("device", stream, tag(LINE))),
        choice(LOT, "Lot", tag_values("lot", stream, tag(LINE), tag(DEVICE)), several=True),
    ]
