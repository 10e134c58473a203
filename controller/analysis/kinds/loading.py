"""Loading of a web from a scanning gauge: a row a lane and one for the whole web. No arithmetic in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from kernels import status
from twin.loading_map import LoadingMap, loading_map

FIGURE_METRES = 600
ROWS = ("lanes", "metres")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _setting(options: Options, name: str, default: float | None) -> float | None:
    """The number that was set, else the default. BadInputError: no number."""
    value = options.values.get(name)
    if value is None:
        return default
    try:
        return float(value)
    except ValueError as error:
        raise BadInputError(f"--set {name}={value}: not a number") from error


class LoadingKind:
    """`celltwin analyse loading`."""

    name = "loading"
    text = "web loading from a scanning gauge: along and across apart"
    needs = ("web_position_m", "cross_position_m", "mass_loading_kg_m2")
    takes = ("wet_mass_loading_kg_m2", "foil_kg_m2", "quality")
    settings = (
        Setting("lanes", 24.0, "lanes of equal width"),
        Setting("width_m", None, "width of the web; by itself the furthest that the gauge went across"),
        Setting("step_m", 1.0, "step of the map along the web"),
        Setting("foil_kg_m2", 0.0, "basis weight of the foil where the gauge reads gross and no column gives it"),
        Setting("foil_sd_kg_m2", 0.0, "uncertainty of the foil's basis weight"),
        Setting("solids_fraction", None, "dry over wet mass for a wet gauge; by itself the ratio of both gauges"),
        Setting("rows", "lanes", "lanes: a row a lane, 0 the whole web; metres: a row a step along the web"),
    )

    def __init__(self) -> None:
        self._last: tuple[Record, LoadingMap] | None = None

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """BadInputError: a setting makes no sense."""
        found = self._map(record, options)
        rows = str(options.values.get("rows") or "lanes")
        if rows not in ROWS:
            raise BadInputError(f"--set rows={rows}: {' or '.join(ROWS)}")
        self._last = (record, found)
        made = self._lanes(found) if rows == "lanes" else self._metres(found)
        return [{name: value for name, value in row.items() if name not in record.keys} for row in made]

    @staticmethod
    def _map(record: Record, options: Options) -> LoadingMap:
        columns = record.columns
        cross = columns["cross_position_m"]
        furthest = float(np.max(cross, where=np.isfinite(cross), initial=0.0)) or 1.0
        lanes = _setting(options, "lanes", 24.0) or 0.0
        if lanes != math.floor(lanes):
            raise BadInputError(f"--set lanes={lanes:g}: not a whole number")
        foil = columns.get("foil_kg_m2")
        try:
            return loading_map(
                columns["web_position_m"],
                cross,
                columns["mass_loading_kg_m2"],
                int(lanes),
                _setting(options, "width_m", furthest) or 0.0,
                step_m=_setting(options, "step_m", 1.0) or 0.0,
                quality=columns.get("quality"),
                foil_kg_m2=(_setting(options, "foil_kg_m2", 0.0) or 0.0) if foil is None else foil,
                foil_sd_kg_m2=_setting(options, "foil_sd_kg_m2", 0.0) or 0.0,
                wet_kg_m2=columns.get("wet_mass_loading_kg_m2"),
                solids_fraction=_setting(options, "solids_fraction", None),
            )
        except ValueError as error:
            raise BadInputError(f"{record.source}: {error}") from error

    @staticmethod
    def _lanes(found: LoadingMap) -> list[Row]:
        """`sd_kg_m2` is what the gauge saw; `map_sd_kg_m2` how well a metre of that lane is known."""
        rows: list[Row] = []
        for lane, (samples, mean, sd, cv, without) in enumerate(found.statistics):
            known: float | None = None
            refused: str | None = found.reason
            if found.code == status.OK:
                sds = found.loading_sd_kg_m2 if lane == 0 else found.loading_sd_kg_m2[:, lane - 1]
                known, refused = _number(float(sds.mean())), None if samples > 1 else "fewer than two samples"
            row: dict[str, Cell] = {
                "lane": lane,
                "samples": int(samples) if math.isfinite(samples) else 0,
                "mean_kg_m2": _number(mean),
                "sd_kg_m2": _number(sd),
                "cv": _number(cv),
                "cv_without_gauge_noise": _number(without),
                "map_sd_kg_m2": known,
            }
            model = found.model if lane == 0 else None
            row["gauge_noise_kg_m2"] = None if model is None else _number(model.noise_sd_kg_m2)
            row["ripple_wavelength_m"] = None if model is None else _number(model.ripple_wavelength_m)
            row["refused"] = refused
            rows.append(row)
            if found.code != status.OK:
                break
        return rows

    @staticmethod
    def _metres(found: LoadingMap) -> list[Row]:
        if found.code != status.OK:
            return [{"web_position_m": None, "md_kg_m2": None, "md_kg_m2_sd": None, "refused": found.reason}]
        rows: list[Row] = []
        for k, place in enumerate(found.web_position_m):
            row: dict[str, Cell] = {
                "web_position_m": float(place),
                "md_kg_m2": float(found.md_kg_m2[k]),
                "md_kg_m2_sd": float(found.md_sd_kg_m2[k]),
            }
            for lane, (value, sd) in enumerate(zip(found.loading_kg_m2[k], found.loading_sd_kg_m2[k], strict=True), 1):
                row[f"lane_{lane}_kg_m2"], row[f"lane_{lane}_kg_m2_sd"] = float(value), float(sd)
            row["seen"] = bool(found.status[k] == status.OK)
            row["refused"] = None
            rows.append(row)
        return rows

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """The map of the record that was analysed last, metres along, lanes across."""
        if self._last is None or self._last[0] is not record or self._last[1].code != status.OK:
            return None
        found = self._last[1]
        every = 1 + found.web_position_m.size // FIGURE_METRES
        trace = {
            "type": "heatmap",
            "x": found.web_position_m[::every].tolist(),
            "y": found.cross_position_m.tolist(),
            "z": found.loading_kg_m2[::every].T.tolist(),
            "colorbar": {"title": {"text": "kg/m2"}},
        }
        axes = {"xaxis": {"title": {"text": "along the web [m]"}}, "yaxis": {"title": {"text": "across the web [m]"}}}
        return {"data": [trace], "layout": axes}


KIND = LoadingKind()
