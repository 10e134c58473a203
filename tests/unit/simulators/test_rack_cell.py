"""Physics of one simulated cell against published numbers and exact solutions."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.machines.formation_cell import (
    FRESH_V,
    X_EMPTY,
    X_FULL,
    Y_EMPTY,
    Y_FULL,
    draw_parameters,
    fresh_state,
    negative_v,
    places,
    positive_v,
    potential_tables,
)
from simulators.machines.rack_kernel import P, Phase, S, resistances_kernel, run_kernel
from simulators.machines.rack_noise import CURRENT_SD_A, VOLTAGE_SD_V, NoiseSource


class Cell:
    """One channel without noise, in a room without a day, at a given state of charge."""

    def __init__(self, soc: float, temperature_c: float = 25.0) -> None:
        self.p, loss = draw_parameters(np.random.default_rng(3), 1)
        self.p[P.LEAK_A] = 0.0
        self.p[P.CURRENT_GAIN] = 0.0
        self.s = fresh_state(self.p, loss, temperature_c)
        self.s[S.LOSS_LEFT_AH] = 0.0
        self.s[S.X] = X_EMPTY + soc * (X_FULL - X_EMPTY)
        self.s[S.Y] = Y_EMPTY + soc * (Y_FULL - Y_EMPTY)
        self.room_c = temperature_c
        self.tray = np.zeros(1)
        self.tick = 0

    def run(self, seconds: int, *steps: tuple[float, ...]) -> int:
        active = bool(steps)
        if active and self.s[S.PHASE, 0] == Phase.IDLE:
            self.s[S.PHASE] = Phase.IN_PROGRAMME
        programme = np.array(steps or [(0.0,) * 6], dtype=float)
        noise = np.zeros((seconds, 1, 2))
        done = run_kernel(
            self.tick, seconds, active, programme, noise, self.room_c, self.tray, self.p, self.s, *potential_tables()
        )
        self.tick += int(done)
        return int(done)

    @property
    def ocv_v(self) -> float:
        return float((positive_v(self.s[S.Y]) - negative_v(self.s[S.X]))[0])

    @property
    def volts(self) -> float:
        return float(self.s[S.SHOWN_VOLTAGE_V, 0])


def test_windows_of_chen_2020_end_at_the_voltage_limits() -> None:
    empty = positive_v(np.array([Y_EMPTY])) - negative_v(np.array([X_EMPTY]))
    full = positive_v(np.array([Y_FULL])) - negative_v(np.array([X_FULL]))
    assert empty[0] == pytest.approx(2.5, abs=0.003)
    assert full[0] == pytest.approx(4.2, abs=0.003)


def test_tables_interpolate_within_a_tenth_of_a_millivolt() -> None:
    positive, negative = potential_tables()
    grid = np.linspace(0, 1, len(positive))
    at = np.linspace(0.011, 0.989, 7001)
    assert np.abs(np.interp(at, grid, positive) - positive_v(at)).max() < 1e-4
    assert np.abs(np.interp(at, grid, negative) - negative_v(at)).max() < 1e-4


def test_fresh_cells_start_at_their_voltage_and_hold_the_lithium_that_formation_takes() -> None:
    p, loss = draw_parameters(np.random.default_rng(1), 64)
    s = fresh_state(p, loss, 24.0)
    assert positive_v(s[S.Y]) - negative_v(s[S.X]) == pytest.approx(FRESH_V, abs=1e-6)
    after_loss = s[S.Y] * p[P.Q_POS_AH] + s[S.X] * p[P.Q_NEG_AH] - s[S.LOSS_LEFT_AH]
    assert after_loss == pytest.approx(Y_EMPTY * p[P.Q_POS_AH] + X_EMPTY * p[P.Q_NEG_AH])
    assert (s[S.Y] < 1.0).all()


def test_the_step_response_is_the_exact_solution_of_two_rc_pairs() -> None:
    cell = Cell(0.5)
    cell.p[P.TAU2_S] = 900.0
    r0, r1, r2 = resistances_kernel(0, cell.p, cell.s)
    before = cell.ocv_v
    cell.run(1, (5.0, 1, 5.0, 0, 0, 100))
    tau1, tau2 = cell.p[P.TAU1_S, 0], cell.p[P.TAU2_S, 0]
    drop = 5.0 * (r0 + r1 * (1 - np.exp(-1 / tau1)) + r2 * (1 - np.exp(-1 / tau2)))
    assert cell.volts == pytest.approx(cell.ocv_v - drop, abs=3e-5)
    assert cell.ocv_v < before


def test_relaxation_goes_on_for_many_minutes() -> None:
    cell = Cell(0.5)
    cell.run(1800, (4.0, 1, 1.6667, 2.5, 0, 1e6))
    cell.run(600)
    middle = cell.ocv_v - cell.volts
    cell.run(6000)
    assert middle > 0.005
    assert abs(cell.ocv_v - cell.volts) < 0.001


def test_resistance_rises_towards_empty_and_cold() -> None:
    def ten_seconds(soc: float, temperature_c: float = 25.0) -> float:
        cell = Cell(soc, temperature_c)
        ocv = cell.ocv_v
        cell.run(10, (5.0, 1, 0.5, 0, 0, 10))
        return (ocv - cell.volts) / 0.5

    # 57 to 25 mOhm from 0 to 10 % on LG M50; the slope of the OCV adds to it as in a real pulse.
    assert 1.8 < ten_seconds(0.005) / ten_seconds(0.10) < 2.8
    assert 0.031 < ten_seconds(0.5) < 0.038  # 33 to 36 measured on LG M50
    assert 1.03 < ten_seconds(0.5, 20.0) / ten_seconds(0.5, 26.0) < 1.08


def test_a_limit_is_met_within_the_second_and_the_charge_is_exact() -> None:
    cell = Cell(0.90)
    x = cell.s[S.X, 0]
    programme = ((1.0, 1, 2.5, 4.15, 0, 36_000), (3.0, 1, 0, 0, 0, 50))
    seconds = cell.run(7200, *programme)
    assert seconds < 7200
    time_s = seconds - 50
    charged = cell.s[S.CHARGE_AH, 0]
    assert (cell.s[S.X, 0] - x) * cell.p[P.Q_NEG_AH, 0] == pytest.approx(charged, abs=1e-12)
    # The step ended between two whole seconds, and the rest began there.
    assert time_s - 1 < charged / 2.5 * 3600 <= time_s


def test_constant_voltage_holds_it_to_a_microvolt_and_ends_below_its_current() -> None:
    cell = Cell(0.97)
    shown = []
    programme = ((1.0, 1, 1.6667, 4.2, 0, 36_000), (2.0, 1, 1.6667, 4.2, 0.25, 36_000))
    while cell.run(1, *programme) and cell.s[S.PHASE, 0] == Phase.IN_PROGRAMME:
        if cell.s[S.SHOWN_STATE, 0] == 2 and cell.s[S.SHOWN_STEP_TIME_S, 0] > 1:
            shown.append((cell.volts, cell.s[S.SHOWN_CURRENT_A, 0]))
    volts, amps = np.array(shown).T
    assert np.abs(volts - 4.2).max() < 1e-6
    assert (np.diff(amps) < 1e-6).all()
    assert 0.24 < amps[-1] < 0.26


def test_a_step_whose_limit_is_passed_already_takes_no_time() -> None:
    cell = Cell(0.5)
    cell.run(1, (1.0, 1, 1.0, 3.0, 0, 100), (4.0, 1, 1.0, 4.0, 0, 100), (3.0, 1, 0, 0, 0, 100))
    assert cell.s[S.SHOWN_STEP, 0] == 3
    assert cell.s[S.SHOWN_STEP_TIME_S, 0] == 1.0
    assert cell.s[S.CHARGE_AH, 0] == cell.s[S.DISCHARGE_AH, 0] == 0.0


def test_hard_limits_turn_a_channel_off_whatever_the_programme_says() -> None:
    cell = Cell(0.05)
    cell.run(3600, (4.0, 1, 5.0, 0.0, 0, 3600))  # no voltage limit: the programme check would not let this through
    assert cell.s[S.FAULT_BITS, 0] == 2
    assert cell.s[S.PHASE, 0] == Phase.FAULT
    cell.run(1, (4.0, 1, 5.0, 0.0, 0, 3600))
    assert cell.s[S.SHOWN_CURRENT_A, 0] == 0.0
    assert cell.s[S.SHOWN_STATE, 0] == 0


def test_heat_settles_where_cooling_balances_it() -> None:
    cell = Cell(0.5)
    cell.p[P.PLACE] = 0.0
    # Minutes of charge and discharge keep the charge; 2.5 A in about 45 mOhm over 0.09 W/K is 2 to 4 K.
    steps = [(mode, 1, 2.5, limit, 0, 60) for _ in range(60) for mode, limit in ((1.0, 4.2), (4.0, 2.5))]
    cell.run(7000, *steps)
    assert 1.0 < cell.s[S.TEMPERATURE_C, 0] - cell.room_c < 4.0


def test_places_cover_the_rack() -> None:
    share = places(64)
    assert share.shape == (64,)
    assert share.min() == pytest.approx(0.2)
    assert 1.0 < share.max() < 1.3
    assert places(1).shape == (1,)


def test_noise_has_its_size_and_depends_on_the_second_only() -> None:
    source = NoiseSource(42, 64)
    noise = source.draw(1_700_000_000, 2000)
    assert noise.std(axis=(0, 1)) == pytest.approx([VOLTAGE_SD_V, CURRENT_SD_A], rel=0.02)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 1e-5
    assert np.array_equal(noise[500:600], source.draw(1_700_000_500, 100))
    assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 1, 0])[0, 1]) < 0.1
    assert abs(np.corrcoef(noise[:-1, 0, 0], noise[1:, 0, 0])[0, 1]) < 0.1
