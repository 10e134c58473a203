"""Drying: rates against hand-made numbers, the shape of the curve, and that no solvent is lost."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.machines.coater_dryer import Dryer, Heaters
from simulators.machines.coater_drying import NMP_EVAPORATION_J_KG, dry, vapour_pressure_pa, wet_film
from simulators.machines.coater_parameters import CoaterParameters
from simulators.machines.coater_web import Segment

P = CoaterParameters(disturbance=0.0)
AIR_C = [80.0, 105.0, 120.0, 95.0]
DRY_KG_M2 = 0.169
SOLVENT_KG_M2 = DRY_KG_M2 * 0.35 / 0.65


def coat(dryer: Dryer, steps: int, speed_m_s: float = 0.1, air_c: list[float] = AIR_C, coated: bool = True) -> None:
    for k in range(steps):
        area = speed_m_s * P.width_m
        mass = DRY_KG_M2 if coated else 0.0
        solvent = SOLVENT_KG_M2 if coated else 0.0
        dryer.step(Segment(k * speed_m_s, speed_m_s, mass * area, solvent * area, mass, 0.0, 0.0), air_c)


def exit_state(speed_m_s: float = 0.1, air_c: list[float] = AIR_C) -> tuple[float, float]:
    dryer = Dryer(P)
    coat(dryer, int(25 / speed_m_s), speed_m_s, air_c)
    return dryer.residual_fraction, dryer.web_c


def test_vapour_pressure_of_nmp() -> None:
    # One atmosphere at the normal boiling point, 202 C.
    assert vapour_pressure_pa(np.array([475.15]))[0] == pytest.approx(101_325.0)
    # Data sheets give 0.3 to 0.4 hPa at 20 C.
    assert 30.0 < vapour_pressure_pa(np.array([293.15]))[0] < 40.0


def test_a_wet_film_takes_as_much_heat_as_it_gives_to_evaporation() -> None:
    air = np.array([333.15, 373.15, 393.15])
    film, rate = wet_film(air, P.heat_transfer_w_m2_k)
    assert np.all(film < air)
    assert np.all(np.diff(rate) > 0.0)
    assert 2.0 * P.heat_transfer_w_m2_k * (air - film) == pytest.approx(rate * NMP_EVAPORATION_J_KG, rel=1e-9)
    # Pilot dryers for NMP run at 0.5 to 3 g/m2/s.
    assert 0.5e-3 < rate[1] < 3e-3


def test_two_periods_of_drying_by_hand() -> None:
    solvent, critical = np.array([0.1, 0.1, 0.02, 0.1]), np.array([0.04, 0.04, 0.04, 0.0])
    left = dry(solvent, critical, np.array([0.03, 0.08, 0.04, 0.08]))
    # Constant rate only; 0.06 constant then exp(-0.02 / 0.04); falling from the start; no coating.
    assert left == pytest.approx([0.07, 0.04 * np.exp(-0.5), 0.02 * np.exp(-1.0), 0.1])
    twice = dry(dry(solvent, critical, np.full(4, 0.037)), critical, np.full(4, 0.043))
    assert twice == pytest.approx(dry(solvent, critical, np.full(4, 0.08)), rel=1e-12)


def test_ninety_percent_of_the_solvent_leaves_in_under_half_the_time() -> None:
    _, rate = wet_film(np.array(AIR_C) + 273.15, P.heat_transfer_w_m2_k)
    times = np.arange(1.0, 161.0)  # 16 m of dryer at 0.1 m/s
    left = np.array([SOLVENT_KG_M2])
    curve = []
    for t in times:
        dose = rate[min(3, int((t - 1) // 40))]
        left = dry(left, np.array([P.critical_solvent_fraction * DRY_KG_M2]), np.array([dose]))
        curve.append(left[0] / SOLVENT_KG_M2)
    assert times[np.argmax(np.array(curve) < 0.1)] < 80.0
    assert curve[-1] > 1e-4
    assert exit_state()[0] == pytest.approx(curve[-1] * 0.35 / 0.65, rel=0.05)


def test_more_heat_or_more_time_leave_less() -> None:
    base, _ = exit_state()
    assert base < 0.005
    for zone in range(4):
        hotter = list(AIR_C)
        hotter[zone] += 10.0
        assert exit_state(air_c=hotter)[0] < base
    assert exit_state(speed_m_s=0.2)[0] > 10.0 * base
    assert exit_state(speed_m_s=0.05)[0] < base


def test_a_wet_web_leaves_colder_than_the_air() -> None:
    _, dry_web_c = exit_state()
    residual, wet_web_c = exit_state(speed_m_s=0.8)
    assert residual > P.critical_solvent_fraction
    film_k, _ = wet_film(np.array([AIR_C[3] + 273.15]), P.heat_transfer_w_m2_k)
    assert wet_web_c == pytest.approx(film_k[0] - 273.15, abs=0.05)
    assert wet_web_c < dry_web_c - 5.0
    assert dry_web_c == pytest.approx(AIR_C[3], abs=0.5)


def test_solvent_in_is_solvent_inside_and_evaporated_and_out() -> None:
    dryer = Dryer(P)
    for speed in (0.1, 0.03, 0.25):
        coat(dryer, 300, speed)
        for _ in range(60):
            dryer.step(None, AIR_C)  # the web stands and goes on drying
        coat(dryer, 200, speed, coated=False)
        total = dryer.solvent_inside_kg + dryer.evaporated_kg + dryer.solvent_out_kg
        assert total == pytest.approx(dryer.solvent_in_kg, rel=1e-9)
    assert dryer.evaporated_kg > 0.5 * dryer.solvent_in_kg


def test_no_coating_no_residual() -> None:
    dryer = Dryer(P)
    assert np.isnan(dryer.residual_fraction)
    coat(dryer, 300)
    assert np.isfinite(dryer.residual_fraction)
    coat(dryer, 300, coated=False)
    assert np.isnan(dryer.residual_fraction)
    assert dryer.web_c == pytest.approx(AIR_C[3])


def test_zones_reach_their_set_points_and_feel_their_neighbours() -> None:
    heaters = Heaters(P, [0.0] * 4)
    for _ in range(3600):
        heaters.step(AIR_C, [0.0] * 4)
    assert heaters.air_c == pytest.approx(AIR_C, abs=1.5)
    assert heaters.air_c[0] > AIR_C[0]
    assert heaters.air_c[2] < AIR_C[2]
    assert heaters.ready(AIR_C)
    for _ in range(7200):
        heaters.step(None, [0.0] * 4)
    assert heaters.air_c == pytest.approx([P.ambient_c] * 4, abs=0.1)
