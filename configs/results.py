"""Streams that the twins of a line write, for whoever refers to them by name. Tests hold them against the twins."""

from __future__ import annotations

from collections.abc import Mapping

_OF_A_SLOW_STEP = {
    "begin_v",
    "charge_ah",
    "current_a",
    "cycle",
    "duration_s",
    "end_v",
    "samples",
    "state",
    "status",
    "step",
    "temperature_c",
    "widest_ah",
}

SLOW_RESULTS: Mapping[str, frozenset[str]] = {
    "cell_dqdv": frozenset(
        _OF_A_SLOW_STEP
        | {"peaks"}
        | {f"p{peak}_{what}" for peak in range(1, 7) for what in ("v", "v_sd", "ah_v", "ah_v_sd")}
    ),
    "cell_esoh": frozenset(
        _OF_A_SLOW_STEP
        | {"identifiable", "of_mean", "why", "rmse_v", "since_a", "since_cycle"}
        | {
            f"{name}{sd}"
            for name in (
                "x_0",
                "x_100",
                "y_0",
                "y_100",
                "resistance_ohm",
                "silicon_fraction",
                "n_to_p",
                "negative_ah",
                "positive_ah",
                "lithium_ah",
                "lli",
                "lam_negative",
                "lam_positive",
            )
            for sd in ("", "_sd")
        }
    ),
    "cell_ocv": frozenset(
        {"charge_a", "charge_ah", "charge_step", "cycle", "discharge_a", "discharge_ah", "discharge_step"}
        | {"ohmic_ohm", "ohmic_ohm_sd", "status", "temperature_c", "why"}
        | {f"ocv_{percent:03d}_v" for percent in range(0, 101, 5)}
        | {
            f"{name}_{percent:03d}_{what}"
            for percent in (10, 30, 50, 70, 90)
            for name, what in (("ocv", "v_sd"), ("hysteresis", "v"), ("hysteresis", "v_sd"))
        }
    ),
}
"""Columns of the three streams that slow steps give."""

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
    "cell_pulse": frozenset(
        {
            "current_a",
            "cycle",
            "duration_s",
            "r_10s_ohm",
            "r_10s_ohm_sd",
            "r_1s_ohm",
            "r_1s_ohm_sd",
            "r_30s_ohm",
            "r_30s_ohm_sd",
            "r_3s_ohm",
            "r_3s_ohm_sd",
            "rest_v",
            "soc",
            "soc_sd",
            "state",
            "status",
            "status_10s",
            "status_1s",
            "status_30s",
            "status_3s",
            "step",
            "temperature_c",
        }
    ),
    "cell_ecm": frozenset(
        {
            "cause",
            "cycle",
            "hold_s",
            "inflation",
            "ocv_sd_v",
            "ocv_v",
            "pairs",
            "r0_ohm",
            "r0_sd_ohm",
            "r1_ohm",
            "r1_sd_ohm",
            "r2_ohm",
            "r2_sd_ohm",
            "rmse_v",
            "rows",
            "soc",
            "soc_sd",
            "state",
            "status",
            "step",
            "tau1_s",
            "tau1_sd_s",
            "tau2_s",
            "tau2_sd_s",
            "temperature_c",
            "total_ohm",
            "total_sd_ohm",
        }
    ),
    "cell_rest": frozenset(
        {
            "amplitude_v",
            "beta",
            "cycle",
            "duration_s",
            "end_slope_mv_h",
            "end_v",
            "k_mv_h",
            "k_mv_h_sd",
            "noise_v",
            "reach",
            "rows",
            "state",
            "status",
            "step",
            "tau_s",
            "temperature_c",
            "v_inf_v",
            "v_inf_v_sd",
            "why",
        }
    ),
    "cell_grade": frozenset(
        {
            "grade",
            "why",
            "rest_why",
            "k_mv_h",
            "k_mv_h_sd",
            "k_z",
            "ocv_v",
            "ocv_away_v",
            "temperature_c",
            "step",
        }
    ),
    **SLOW_RESULTS,
}
"""Columns by stream, of a device in twin.cells. Points: channels, from 1."""

WEB_RESULTS: Mapping[str, frozenset[str]] = {
    "web_loading": frozenset({"count", "mean_kg_m2", "sd_kg_m2", "cv", "mean_sd_kg_m2", "status"}),
    "web_map": frozenset({"loading_kg_m2", "loading_sd_kg_m2", "noise_sd_kg_m2", "web_position_m", "lag_m", "status"}),
}
"""Columns by stream, of a device in twin.web. Points: 0 the whole web, then its lanes from 1."""
