"""Web and gauge: mass on the web, dead time by web length, and the diagonal that a scanning gauge draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulators.machines.coater_gauge import ScanningGauge
from simulators.machines.coater_parameters import CoaterParameters
from simulators.machines.coater_web import NORMALS, CoaterWeb

P = CoaterParameters()
QUIET = [0.0] * NORMALS


def web(seed: int = 3, **changes: float) -> CoaterWeb:
    return CoaterWeb(CoaterParameters(**changes), np.random.default_rng(seed))


def test_everything_that_the_pump_delivers_lies_on_the_web() -> None:
    coater, rng = web(), np.random.default_rng(5)
    delivered_kg = laid_kg = 0.0
    for k in range(900):
        speed = 0.0 if 300 <= k < 420 else 0.1
        before = coater.flow_ml_s
        segment = coater.step(speed, 3.25 if k % 400 > 60 else 0.0, rng.standard_normal(NORMALS).tolist())
        delivered_kg += 0.5 * (before + coater.flow_ml_s) * 1e-6 * P.slurry_density_kg_m3
        if segment is not None:
            laid_kg += segment.dry_kg + segment.solvent_kg
            assert segment.dry_kg == pytest.approx(segment.loading_kg_m2 * segment.length_m * P.width_m)
            assert coater.profile(segment).mean() == pytest.approx(segment.loading_kg_m2, rel=1e-12)
    assert laid_kg == pytest.approx(delivered_kg, rel=1e-9)


def test_the_web_follows_its_ramp_and_comes_to_rest() -> None:
    coater = web(disturbance=0.0)
    speeds = []
    for _ in range(60):
        coater.step(0.1, 0.0, QUIET)
        speeds.append(coater.speed_m_s)
    assert np.all(np.diff(speeds) >= 0.0)
    assert max(np.diff(speeds)) <= P.web_acceleration_m_s2 + 1e-12
    assert speeds[-1] == pytest.approx(0.1, rel=1e-6)
    for _ in range(60):
        coater.step(0.0, 0.0, QUIET)
    assert coater.speed_m_s == 0.0
    position = coater.position_m
    assert coater.step(0.0, 0.0, QUIET) is None
    assert coater.position_m == position


def gauge_readings(speed: float, steps: int = 1500) -> tuple[float, list[float]]:
    """Time of a pump step at the die, and the gauge's readings second by second after it."""
    coater, gauge = web(disturbance=0.0), ScanningGauge(CoaterParameters(disturbance=0.0))
    for _ in range(steps):
        coater.step(speed, 3.0, QUIET)
        gauge.step(coater, 0.0)
    readings = []
    for _ in range(steps):
        coater.step(speed, 3.3, QUIET)
        gauge.step(coater, 0.0)
        readings.append(gauge.loading_kg_m2)
    return readings[0], readings


@pytest.mark.parametrize("speed", [0.05, 0.1, 0.2])
def test_a_pump_step_is_seen_one_web_path_later(speed: float) -> None:
    before, readings = gauge_readings(speed)
    changed = next(k for k, value in enumerate(readings) if value > before * 1.001)
    assert changed == pytest.approx(P.gauge_distance_m / speed, abs=2.0)
    assert readings[-1] == pytest.approx(before * 1.1, rel=1e-6)
    # The pump's own lag follows the dead time: 63 % of the step.
    reached = next(k for k, value in enumerate(readings) if value > before * 1.0632)
    assert reached - changed == pytest.approx(P.pump_lag_s, abs=1.5)


def test_the_gauge_draws_diagonals_and_reports_whole_scans() -> None:
    coater, gauge = web(), ScanningGauge(P)
    rng = np.random.default_rng(1)
    across, along, truth = [], [], []
    for _ in range(1200):
        coater.step(0.1, 3.25, QUIET)
        gauge.step(coater, float(rng.standard_normal()))
        across.append(gauge.cross_position_m)
        along.append(gauge.web_position_m)
        segment = coater.under(P.gauge_distance_m)
        truth.append(coater.profile(segment) if segment is not None else np.full(P.lanes, np.nan))
    seen = np.isfinite(along)
    assert np.nanmin(across) >= 0.0
    assert np.nanmax(across) <= P.width_m
    steps = np.abs(np.diff(np.array(across)[seen]))
    assert np.median(steps) == pytest.approx(P.width_m / P.scan_duration_s, rel=1e-6)
    # While it crosses the web once, 96 s, the web moves 9.6 m.
    assert np.diff(np.array(along)[seen]) == pytest.approx(0.1, rel=1e-3)
    assert gauge.scans == pytest.approx(seen.sum() / P.scan_duration_s, abs=1.0)
    # Four readings of 0.5 % per lane, each lane at its own time.
    expected = np.nanmean(np.array(truth)[-192:], axis=0)
    assert gauge.profile_kg_m2 == pytest.approx(expected, rel=0.02)
    assert np.corrcoef(gauge.profile_kg_m2, expected)[0, 1] > 0.7


def test_bare_foil_gives_no_reading_and_parks_the_gauge() -> None:
    coater, gauge = web(), ScanningGauge(P)
    for _ in range(400):
        coater.step(0.1, 0.0, QUIET)
        gauge.step(coater, 0.0)
        assert math.isnan(gauge.loading_kg_m2)
        assert math.isnan(gauge.web_position_m)
    assert gauge.cross_position_m == 0.0
    assert gauge.scans == 0
    assert np.all(np.isnan(gauge.profile_kg_m2))
