"""Electrode windows from a slow charge or discharge of a record. No arithmetic in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from controller.analysis.base import Cell, Options, Record, Row, Setting
from controller.errors import BadInputError
from twin.esoh import Electrodes, SlowCurve, Windows, fit_curve, fitted_voltage, slow_curve
from twin.halfcell import load, shipped
from twin.polarisation import Polarisation

POSITIVE, NEGATIVE = "nmc811_chen2020", "graphite_siox_chen2020"
FIGURES = (
    "x_0", "x_0_sd", "x_100", "x_100_sd", "y_0", "y_0_sd", "y_100", "y_100_sd", "rmse_v", "n_to_p", "n_to_p_sd",
    "resistance_ohm", "resistance_ohm_sd", "silicon_fraction", "silicon_fraction_sd", "negative_ah", "negative_ah_sd",
    "positive_ah", "positive_ah_sd", "lithium_ah", "lithium_ah_sd", "charge_ah",
)  # fmt: skip
_OWN = Polarisation()
POLARISATION = (
    Setting("negative_diffusion_s", _OWN.negative_diffusion_s, "R^2/(15 D) of its particles; 0: windows of surfaces"),
    Setting("positive_diffusion_s", _OWN.positive_diffusion_s, "the same of the positive electrode"),
    Setting("diffusion_sd", _OWN.diffusion_sd, "relative SD of both"),
    Setting("negative_transfer_ohm", _OWN.negative_transfer_ohm, "its charge-transfer resistance, half full; 0: none"),
    Setting("positive_transfer_ohm", _OWN.positive_transfer_ohm, "the same of the positive electrode"),
    Setting("transfer_sd", _OWN.transfer_sd, "relative SD of both"),
)


class Esoh:
    """One row per record: the windows of both electrodes, or the reason why there are none."""

    name = "esoh"
    text = "electrode windows from a slow curve: half-cell stoichiometry fit"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ()
    settings = (
        Setting("positive", POSITIVE, f"half-cell CSV (stoichiometry,potential_v) or one of {', '.join(shipped())}"),
        Setting("negative", NEGATIVE, "the same for the negative electrode; with silicon its graphite"),
        Setting("silicon", "none", "silicon, which makes the negative electrode a blend; none: no blend"),
        *POLARISATION,
        Setting("direction", "discharge", "charge or discharge: the slow step that is fitted"),
    )

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        """Row x_0, x_100, y_0, y_100, rmse_v, n_to_p with _sd, resistance_ohm, capacities, identifiable, refused."""
        names = {s.name: str(options.values.get(s.name, s.default)) for s in self.settings}
        _, fit, _ = _fit(record, names)
        row: Row = {name: _known(getattr(fit, name)) for name in FIGURES}
        row["windows_of"] = "means" if fit.of_mean else "surfaces"
        return [{**row, "identifiable": fit.identifiable, "refused": fit.reason or None, **names}]

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        """Measured and fitted voltage over charge; nothing for a refused curve."""
        if not rows or not rows[0].get("identifiable"):
            return None
        curve, fit, electrodes = _fit(record, {s.name: str(rows[0][s.name]) for s in self.settings})
        charge = (curve.z * fit.charge_ah).tolist()
        fitted = fitted_voltage(curve, fit, electrodes)
        return {
            "data": [
                {"type": "scatter", "mode": "lines", "name": "measured", "x": charge, "y": curve.voltage_v.tolist()},
                {"type": "scatter", "mode": "lines", "name": "fitted", "x": charge, "y": fitted.tolist()},
            ],
            "layout": {
                "title": {"text": f"Half-cell fit, {record.source}, {1e3 * fit.rmse_v:.1f} mV RMSE"},
                "xaxis": {"title": {"text": "Ah above the discharged end"}},
                "yaxis": {"title": {"text": "V"}},
            },
        }


def _fit(record: Record, names: Mapping[str, str]) -> tuple[SlowCurve, Windows, Electrodes]:
    """The record's slow curve and its fit. Raises BadInputError for a file or a direction that cannot be."""
    given, silicon = record.columns, names["silicon"]
    try:
        electrodes = Electrodes(
            load(names["positive"]),
            load(names["negative"]),
            None if silicon == "none" else load(silicon),
            Polarisation(**{setting.name: _number(names, setting.name) for setting in POLARISATION}),
        )
        curve = slow_curve(given["time_s"], given["current_a"], given["voltage_v"], names["direction"])
        return curve, fit_curve(curve, electrodes), electrodes
    except ValueError as error:
        raise BadInputError(f"{record.source}: {error}") from error


def _number(names: Mapping[str, str], name: str) -> float:
    """A setting that is a number. Raises ValueError in words."""
    try:
        return float(names[name])
    except ValueError:
        raise ValueError(f"{name} is a number, not {names[name]!r}") from None


def _known(value: float) -> Cell:
    return value if math.isfinite(value) else None


KIND = Esoh()
