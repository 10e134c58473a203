"""OCV over SOC from a slow charge and a slow discharge, several scripts in one record. No arithmetic in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from twin.ocv import POINTS, SlowTest
from twin.ocv import ocv as ocv_twin


class Ocv:
    """One row per point of the SOC grid; one row with the reason where the record holds no OCV."""

    name = "ocv"
    text = "open-circuit voltage over SOC with hysteresis, from a slow charge and discharge"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ("charge_capacity_ah", "discharge_capacity_ah", "script")
    settings = (Setting("points", float(POINTS), "points of the grid from empty to full"),)

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """Rows soc, ocv_v, hysteresis_v (half-width), the capacities between empty and full, the ohmic part."""
        given = record.columns
        test = SlowTest(
            given["time_s"], given["current_a"], given["voltage_v"],
            given.get("charge_capacity_ah"), given.get("discharge_capacity_ah"), script=given.get("script"),
        )  # fmt: skip
        try:
            curve = ocv_twin(test, int(options.values.get("points", POINTS)))
        except (ValueError, OverflowError) as error:
            raise BadInputError(f"{record.source}: {error}") from error
        whole: dict[str, float] = {
            "discharge_ah": curve.discharge_ah, "charge_ah": curve.charge_ah,
            "ohmic_ohm": curve.ohmic_ohm, "ohmic_ohm_sd": curve.ohmic_ohm_sd,
        }  # fmt: skip
        columns = {
            "soc": curve.soc, "ocv_v": curve.ocv_v, "ocv_v_sd": curve.ocv_v_sd,
            "hysteresis_v": curve.hysteresis_v, "hysteresis_v_sd": curve.hysteresis_v_sd,
        }  # fmt: skip
        shared = {name: _known(value) for name, value in whole.items()}
        if math.isnan(curve.ocv_v[0]):
            return [{**dict.fromkeys(columns), **shared, "refused": curve.reason}]
        points = range(len(curve.soc))
        return [
            {**{name: _known(float(column[k])) for name, column in columns.items()}, **shared, "refused": None}
            for k in points
        ]

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """OCV with its 95 % band, and the branches that the half-width gives."""
        good = [row for row in rows if row.get("refused") is None]
        if not good:
            return None
        soc = [row["soc"] for row in good]
        ocv, sd, half = ([float(row[n] or 0.0) for row in good] for n in ("ocv_v", "ocv_v_sd", "hysteresis_v"))

        def line(name: str, sign: float, by: list[float], dash: str) -> dict[str, Any]:
            values = [v + sign * b for v, b in zip(ocv, by, strict=True)]
            return {"type": "scatter", "name": name, "x": soc, "y": values, "line": {"dash": dash}}

        return {
            "data": [
                line("OCV", 0.0, half, "solid"),
                line("charge", 1.0, half, "dash"),
                line("discharge", -1.0, half, "dash"),
                line("95 % high", 1.96, sd, "dot"),
                line("95 % low", -1.96, sd, "dot"),
            ],
            "layout": {"xaxis": {"title": {"text": "SOC"}}, "yaxis": {"title": {"text": "voltage (V)"}}},
        }


def _known(value: float) -> Cell:
    """None for NaN."""
    return None if math.isnan(value) else value


KIND = Ocv()
