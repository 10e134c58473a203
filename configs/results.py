"""Streams that the twins of a line write, for whoever refers to them by name. Tests hold them against the twins."""

from __future__ import annotations

from collections.abc import Mapping

CELL_RESULTS: Mapping[str, frozenset[str]] = {
    "cell_state": frozenset(
        {
            "soc",
            "soc_sd",
            "u1_v",
            "u2_v",
            "r0_ohm",
            "r0_sd_ohm",
            "capacity_ah",
            "capacity_sd_ah",
            "innovation_v",
            "innovation_sd_v",
            "status",
        }
    ),
    "cell_cycle": frozenset(
        {"cycle", "charge_ah", "discharge_ah", "end_voltage_v", "first_cycle_efficiency", "verdict"}
    ),
}
"""Columns by stream, of a device in twin.cells. Points: channels, from 1."""

WEB_RESULTS: Mapping[str, frozenset[str]] = {
    "web_loading": frozenset({"count", "mean_kg_m2", "sd_kg_m2", "cv", "mean_sd_kg_m2", "status"}),
    "web_map": frozenset({"loading_kg_m2", "loading_sd_kg_m2", "noise_sd_kg_m2", "web_position_m", "status"}),
}
"""Columns by stream, of a device in twin.web. Points: 0 the whole web, then its lanes from 1."""
