"""Web and gauge: mass on the web, dead time by web length, and the diagonal that a scanning gauge draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulators.machines.coater_gauge import ScanningGauge
from simulators.machines.coater_parameters import CoaterParameters
from simulators.machines.coater_tension import Tension
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


def tension_steps(t: Tension, seconds: int, speed: float, ramp: float = 0.0) -> list[list[float]]:
    found = []
    for _ in range(seconds):
        speed += ramp
        t.step(speed, speed, [0.0] * 3)
        found.append(list(t.tension_n))
    return found


def test_tension_follows_its_equation_between_rollers() -> None:
    """A step of the tension wound into the roll, without controllers, against a fine integration of dT/dt."""
    calm = CoaterParameters(disturbance=0.0)
    t = Tension(calm)
    t.gain = 0.0
    t.wound_n = 20.0
    t._before_m_s = 0.1  # it does not start from rest
    found = np.array(tension_steps(t, 600, 0.1))
    lengths = np.array([calm.unwind_m, calm.gauge_distance_m + 1.0, calm.rewind_m])
    now, dt = np.full(3, 30.0), 0.01
    expected = []
    for k in range(60_000):
        before = np.array([20.0, now[0], now[1]])
        now = now + dt * (0.1 * before - 0.1 * now) / lengths
        if k % 100 == 99:
            expected.append(now.copy())
    assert found == pytest.approx(np.array(expected), abs=0.25)
    # One time constant of the first span is its length over the speed, 30 s.
    assert found[29, 0] == pytest.approx(20.0 + 10.0 / math.e, abs=0.05)


def test_a_drive_that_draws_stretches_the_web_as_its_stiffness_says() -> None:
    t = Tension(CoaterParameters(disturbance=0.0))
    t.gain = 0.0
    # EA of 15 um of aluminium, 0.3 m wide: 315 kN; 1e-5 faster is 3.15 N more.
    t.draw = [0.0, 1e-5, 0.0]
    found = tension_steps(t, 3000, 0.2)[-1]
    assert found == pytest.approx([30.0, 33.15, 33.15], abs=0.01)


@pytest.mark.parametrize("speed", [0.02, 0.1, 1.0])
def test_the_controllers_hold_the_tension_through_ramps_and_a_splice(speed: float) -> None:
    t = Tension(CoaterParameters(disturbance=0.0))
    tension_steps(t, 100, 0.0, speed / 100.0)
    assert t.tension_n == pytest.approx([30.0] * 3, abs=2.0)
    t.splice()
    dip = np.array(tension_steps(t, round(30.0 / speed), speed))
    assert 20.0 < dip[:, 0].min() < 29.5
    # The dip runs down the web and fades.
    assert dip[:, 1].min() > dip[:, 0].min()
    assert dip[-1] == pytest.approx([30.0] * 3, abs=0.3)


def test_an_unround_roll_swings_once_a_turn_and_a_web_at_rest_keeps_its_tension() -> None:
    t = Tension(CoaterParameters(foil_roll_m=6000.0))
    found = np.array(tension_steps(t, 400, 0.1))[100:, 0]
    assert 0.02 < found.std() < 1.0
    spectrum = np.abs(np.fft.rfft(found - found.mean(), 4096))
    turn_s = 2.0 * math.pi * t.roll_radius_m / 0.1
    assert 4096.0 / np.argmax(spectrum) == pytest.approx(turn_s, rel=0.1)
    still = list(t.tension_n)
    assert tension_steps(t, 50, 0.0)[-1] == still


def test_the_wet_gauge_sees_a_pump_step_long_before_the_dry_one() -> None:
    p = CoaterParameters(disturbance=0.0)
    coater = web(disturbance=0.0)
    wet, dry = ScanningGauge(p, wet=True), ScanningGauge(p)
    seen: dict[str, int] = {}
    for k in range(900):
        coater.step(0.1, 3.0 if k < 500 else 3.3, QUIET)
        for name, gauge in (("wet", wet), ("dry", dry)):
            gauge.step(coater, 0.0)
            if k == 499:
                seen[f"{name} before"] = gauge.loading_kg_m2  # type: ignore[assignment]
            if k >= 500 and name not in seen and gauge.loading_kg_m2 > seen[f"{name} before"] * 1.001:
                seen[name] = k - 500
    assert seen["wet"] == pytest.approx(p.die_to_wet_gauge_m / 0.1, abs=2.0)
    assert seen["dry"] == pytest.approx(p.gauge_distance_m / 0.1, abs=2.0)
    # Wet over dry: solids of 65 %.
    assert wet.loading_kg_m2 * p.solids_fraction == pytest.approx(dry.loading_kg_m2, rel=1e-6)


def test_a_gauge_wanders_until_it_standardises() -> None:
    p = CoaterParameters(gauge_noise_fraction=0.0, gauge_drift_fraction=0.01, standardise_every_s=1000.0)
    coater, gauge = web(disturbance=0.0), ScanningGauge(p)
    rng = np.random.default_rng(2)
    errors, pauses, blind = [], 0, 0
    for _ in range(6000):
        coater.step(0.1, 3.25, QUIET)
        was = gauge.standardising
        gauge.step(coater, 0.0, float(rng.standard_normal()))
        pauses += gauge.standardising and not was
        if gauge.standardising:
            blind += 1
            assert math.isnan(gauge.loading_kg_m2)
            assert math.isnan(gauge.web_position_m)
            assert gauge.drift == pytest.approx(0.0, abs=0.01)
        elif coater.position_m > 100.0:
            errors.append(gauge.loading_kg_m2 / 0.169 - 1.0)
    # Every 1,000 s, at the next turn of a scan of 96 s.
    assert pauses == 5
    assert blind == pytest.approx(pauses * p.standardise_s, abs=pauses)
    # A walk that reaches 1 % in an hour, cut short every 18 minutes.
    assert 0.001 < float(np.std(errors)) < 0.006


def test_thin_films_break_into_stripes_and_slow_webs_hold_thinner_ones() -> None:
    slurry = web().slurry
    # Fast and thick: six tenths of a gap of 150 um; at a small capillary number the film may be thinner.
    assert slurry.thinnest_film_m(0.1) == pytest.approx(90e-6)
    assert slurry.thinnest_film_m(1e-4) < 30e-6
    coater = web(disturbance=0.0)
    for pump, striped in ((3.25, False), (2.0, True)):
        for _ in range(100):
            segment = coater.step(0.1, pump, QUIET)
        assert segment is not None
        profile = coater.profile(segment)
        assert segment.striped is striped
        assert bool(profile.std() > 0.1 * profile.mean()) is striped
        assert profile.mean() == pytest.approx(segment.loading_kg_m2, rel=1e-12)


def test_pressure_in_the_die_by_hand() -> None:
    slurry = web(disturbance=0.0).slurry
    # 12 x 3 Pa s x 3.25 mL/s x 30 mm / (0.3 m x 0.5 mm cubed) = 93.6 kPa.
    assert slurry.die_pressure_pa(3.25) == pytest.approx(93_600.0, rel=1e-9)
