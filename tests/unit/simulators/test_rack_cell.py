"""One cell in the rack: step logic, limits, instrument and heat. The cell itself is held against PyBaMM elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.spm import P as CellP
from kernels.spm import S as Cell
from simulators.machines.cell_chen2020 import negative_v, positive_v
from simulators.machines.formation_cell import Spread, places
from simulators.machines.rack_cells import Cells
from simulators.machines.rack_kernel import P, Phase, S
from simulators.machines.rack_noise import CURRENT_SD_A, VOLTAGE_SD_V, NoiseSource


class Bench:
    """One channel without noise, in a room without a day, its cell at a given stoichiometry; the film has grown."""

    def __init__(self, x: float, y: float, temperature_c: float = 25.0, channels: int = 1) -> None:
        none = Spread(*(0.0 for _ in Spread.names()))
        self.cells = Cells(np.random.default_rng(3), channels, none, "", temperature_c)
        self.s, self.cell = self.cells.s, self.cells.cell_s
        self.cells.p[P.CURRENT_GAIN] = 0.0
        self.cells.cell_p[CellP.LEAK_A] = 0.0
        self.cells.cell_p[CellP.SEI_RATE_A] = 0.0
        self.cell[Cell.SEI_C] = 0.8 * 3600.0
        self.cell[Cell.AT_C] = -1e9  # what was kept for speed holds no more
        self.cell[Cell.X], self.cell[Cell.Y] = x, y
        self.room_c = temperature_c
        self.tick = 0

    def run(self, seconds: int, *steps: tuple[float, ...]) -> int:
        active = bool(steps)
        if active and self.s[S.PHASE, 0] == Phase.IDLE:
            self.s[S.PHASE] = Phase.IN_PROGRAMME
        programme = np.array(steps or [(0.0,) * 6], dtype=float)
        noise = np.zeros((seconds, self.s.shape[1], 2))
        done = self.cells.run(self.tick, seconds, active, programme, noise, self.room_c)
        self.tick += done
        return done

    @property
    def ocv_v(self) -> float:
        return float((positive_v(self.cell[Cell.Y]) - negative_v(self.cell[Cell.X]))[0])

    @property
    def volts(self) -> float:
        return float(self.s[S.SHOWN_VOLTAGE_V, 0])


HALF = (0.46, 0.57)


def test_relaxation_goes_on_for_many_minutes() -> None:
    cell = Bench(*HALF)
    cell.run(1800, (4.0, 1, 1.6667, 2.5, 0, 1e6))
    cell.run(600)
    middle = cell.ocv_v - cell.volts
    cell.run(9000)
    assert middle > 0.001
    assert abs(cell.ocv_v - cell.volts) < 0.0002


def test_resistance_rises_towards_empty_and_cold() -> None:
    def ten_seconds(x: float, y: float, temperature_c: float = 25.0) -> float:
        cell = Bench(x, y, temperature_c)
        ocv = cell.ocv_v
        cell.run(10, (5.0, 1, 5.0, 0, 0, 10))
        return (ocv - cell.volts) / 5.0

    assert 0.032 < ten_seconds(*HALF) < 0.037  # 33 to 36 mOhm measured on LG M50
    assert ten_seconds(0.08, 0.82) > 1.15 * ten_seconds(*HALF)
    assert 1.02 < ten_seconds(*HALF, 20.0) / ten_seconds(*HALF, 26.0) < 1.12


def test_a_limit_is_met_within_the_second_and_the_charge_is_exact() -> None:
    cell = Bench(0.77, 0.365)
    x, y = cell.cell[Cell.X, 0], cell.cell[Cell.Y, 0]
    programme = ((1.0, 1, 2.5, 4.15, 0, 36_000), (3.0, 1, 0, 0, 0, 50))
    seconds = cell.run(7200, *programme)
    assert seconds < 7200
    time_s = seconds - 50
    charged = cell.s[S.CHARGE_AH, 0]
    p = cell.cells.cell_p
    assert (cell.cell[Cell.X, 0] - x) * p[CellP.Q_NEG_C, 0] / 3600 == pytest.approx(charged, abs=1e-12)
    assert (y - cell.cell[Cell.Y, 0]) * p[CellP.Q_POS_C, 0] / 3600 == pytest.approx(charged, abs=1e-12)
    assert cell.cell[Cell.CHARGE_C, 0] / 3600 == pytest.approx(charged, rel=1e-12)
    # The step ended between two whole seconds, and the rest began there.
    assert time_s - 1 < charged / 2.5 * 3600 <= time_s


def test_constant_voltage_holds_it_to_a_microvolt_and_ends_below_its_current() -> None:
    cell = Bench(0.86, 0.305)
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
    cell = Bench(*HALF)
    cell.run(1, (1.0, 1, 1.0, 3.0, 0, 100), (4.0, 1, 1.0, 4.0, 0, 100), (3.0, 1, 0, 0, 0, 100))
    assert cell.s[S.SHOWN_STEP, 0] == 3
    assert cell.s[S.SHOWN_STEP_TIME_S, 0] == 1.0
    assert cell.s[S.CHARGE_AH, 0] == cell.s[S.DISCHARGE_AH, 0] == 0.0


def test_hard_limits_turn_a_channel_off_whatever_the_programme_says() -> None:
    cell = Bench(0.06, 0.83)
    cell.run(3600, (4.0, 1, 5.0, 0.0, 0, 3600))  # no voltage limit: the programme check would not let this through
    assert cell.s[S.FAULT_BITS, 0] == 2
    assert cell.s[S.PHASE, 0] == Phase.FAULT
    cell.run(1, (4.0, 1, 5.0, 0.0, 0, 3600))
    assert cell.s[S.SHOWN_CURRENT_A, 0] == 0.0
    assert cell.s[S.SHOWN_STATE, 0] == 0


def test_heat_settles_where_cooling_balances_it() -> None:
    cell = Bench(*HALF)
    cell.cells.p[P.PLACE] = 0.0
    # Minutes of charge and discharge keep the charge; 2.5 A in about 40 mOhm over 0.09 W/K is 2 to 4 K.
    steps = [(mode, 1, 2.5, limit, 0, 60) for _ in range(60) for mode, limit in ((1.0, 4.2), (4.0, 2.5))]
    cell.run(7000, *steps)
    assert 1.0 < cell.cell[Cell.TEMPERATURE_C, 0] - cell.room_c < 4.0


def test_neighbours_share_heat_and_nothing_is_lost_on_the_way() -> None:
    tray = Bench(*HALF, channels=9)
    tray.cell[Cell.TEMPERATURE_C, 4] = 45.0
    warm = [tray.cell[Cell.TEMPERATURE_C].copy()]
    for _ in range(60):
        tray.run(1)
        warm.append(tray.cell[Cell.TEMPERATURE_C].copy())
    after = warm[-1] - tray.room_c
    assert (after[[1, 3, 5, 7]] > after[[0, 2, 6, 8]]).all()
    assert after[[1, 3, 5, 7]] == pytest.approx(after[1], rel=1e-9)
    # What all cells have over the room decays by cooling alone; the day swings less than 0.01 K meanwhile.
    assert after.sum() == pytest.approx(20.0 * np.exp(-60 * 0.09 / 68.0), abs=0.1)


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
