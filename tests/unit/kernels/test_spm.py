import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from kernels import status
from kernels._jit import jit_enabled
from kernels.spm import (
    STATE_ROWS,
    End,
    P,
    S,
    spm_after,
    spm_check,
    spm_fresh,
    spm_held_current,
    spm_run,
    spm_step,
    spm_time_to_limit,
    spm_voltage,
)
from kernels.spm_layout import DECAY, REMAINDER, SHARE, _roots
from simulators.machines.cell_chen2020 import CHEN2020, FORMATION, potential_tables
from simulators.machines.cell_parameters import CellSet, fresh, rows

RECIPE = Path(configs.__file__).parent / "recipes" / "formation_a_sample.toml"
MODES = {"cc_charge": 1, "cv_charge": 2, "rest": 3, "cc_discharge": 4, "pulse": 5}
TABLES = potential_tables()


def recipe() -> np.ndarray:
    keys = ("cycle", "current_a", "voltage_limit_v", "end_current_a", "duration_s")
    steps = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["step"]
    return np.array([[MODES[s["mode"]], *(s.get(key, 0.0) for key in keys)] for s in steps])


class Batch:
    """Cells of one set, and what spm_run made of them."""

    def __init__(self, cell: CellSet = FORMATION, cells: int = 1, temperature_c: float = 25.0) -> None:
        one = np.ones(cells)
        self.p = rows(cell, cells)
        self.s = fresh(self.p, TABLES, cell.positive_fill * one, cell.fresh_v * one, temperature_c * one)

    def lithium_c(self) -> np.ndarray:
        return self.p[P.Q_NEG_C] * self.s[S.X] + self.p[P.Q_POS_C] * self.s[S.Y] + self.s[S.SEI_C]

    def run(self, programme: np.ndarray, time_s: np.ndarray | None = None) -> "Batch":
        time_s = np.zeros(1) if time_s is None else np.asarray(time_s, dtype=float)
        cells = self.s.shape[1]
        self.volt, self.current, self.sei = (np.empty((cells, time_s.size)) for _ in range(3))
        self.ends = np.empty((cells, len(programme), len(End)))
        self.codes = np.empty(cells, dtype=np.int64)
        self.good = spm_run(
            programme, time_s, self.p, self.s, TABLES, self.volt, self.current, self.sei, self.ends, self.codes
        )
        return self


@pytest.fixture(scope="module")
def formed() -> Batch:
    return Batch().run(recipe(), np.arange(0.0, 80_000.0, 10.0))


def test_lithium_is_conserved_and_charge_is_the_integral_of_current(formed: Batch) -> None:
    assert formed.good == 1
    moved = formed.s[S.CHARGE_C] - formed.s[S.LEAKED_C]
    start = Batch()
    assert formed.lithium_c() == pytest.approx(start.lithium_c(), rel=1e-12)
    assert formed.p[P.Q_POS_C] * (start.s[S.Y] - formed.s[S.Y]) == pytest.approx(moved, rel=1e-10)
    assert formed.ends[0, :, End.CHARGE_C].sum() == pytest.approx(formed.s[S.CHARGE_C, 0], rel=1e-12)
    constant = formed.ends[0, 1]
    assert constant[End.CHARGE_C] == pytest.approx(1.0 * (constant[End.TIME_S] - 1800.0), rel=1e-12)
    ok = np.isfinite(formed.current[0])
    assert np.trapezoid(formed.current[0, ok], dx=10.0) == pytest.approx(moved[0], rel=0.01)


def test_the_first_cycle_loses_what_real_cells_lose_and_the_second_little(formed: Batch) -> None:
    charge = formed.ends[0, :, End.CHARGE_C]
    first, second = -charge[4] / (charge[1] + charge[2]), -charge[9] / (charge[6] + charge[7])
    assert 0.85 < first < 0.90
    assert first == pytest.approx(0.873, abs=0.005)
    assert 0.985 < second < 1.0
    assert -charge[9] / 3600.0 == pytest.approx(5.0, abs=0.05)


def test_steps_end_at_their_limits(formed: Batch) -> None:
    volt, amp = formed.ends[0, :, End.VOLTAGE_V], formed.ends[0, :, End.CURRENT_A]
    assert volt[[1, 2, 6, 7]] == pytest.approx(4.2, abs=1e-6)
    assert volt[[4, 9]] == pytest.approx(2.5, abs=1e-6)
    assert amp[[2, 7]] == pytest.approx(0.25, abs=1e-5)
    seconds = np.diff(formed.ends[0, :, End.TIME_S], prepend=0.0)
    assert seconds[[0, 3, 5, 8, 10, 11, 13]] == pytest.approx([1800, 1800, 1800, 1800, 1800, 5400, 30], abs=1e-6)


def test_held_voltage_is_held_within_the_step_too(formed: Batch) -> None:
    t = np.arange(0.0, 80_000.0, 10.0)
    held = (t > formed.ends[0, 1, End.TIME_S] + 5.0) & (t < formed.ends[0, 2, End.TIME_S])
    assert np.abs(formed.volt[0, held] - 4.2).max() < 3e-4


def test_ticks_of_a_second_and_long_steps_are_the_same_cell() -> None:
    """The runner takes a few hundred steps, the rack one a second with a current held constant."""
    programme = np.array([[1, 1, 2.5, 4.0, 0.0, 20_000.0], [2, 1, 2.5, 4.0, 0.5, 600.0], [3, 1, 0, 0, 0, 300.0]])
    long = Batch().run(programme)
    short = Batch()
    p, s = short.p, short.s
    now, reached = 0.0, spm_time_to_limit(0, 2.5, 4.0, 1.0, p, s, TABLES)
    while reached > 1.0:
        spm_step(0, 2.5, 1.0, p, s, TABLES)
        now += 1.0
        reached = spm_time_to_limit(0, 2.5, 4.0, 1.0, p, s, TABLES)
    volt, _ = spm_step(0, 2.5, reached, p, s, TABLES)
    assert volt == pytest.approx(4.0, abs=1e-6)
    assert now + reached == pytest.approx(long.ends[0, 0, End.TIME_S], abs=1.0)
    for _ in range(600):
        amp = spm_held_current(0, 4.0, 2.5, 1.0, p, s, TABLES)
        assert spm_after(0, amp, 1.0, p, s, TABLES) == pytest.approx(4.0, abs=1e-6)
        spm_step(0, amp, 1.0, p, s, TABLES)
    assert amp == pytest.approx(long.ends[0, 1, End.CURRENT_A], rel=3e-3)
    for _ in range(300):
        spm_step(0, 0.0, 1.0, p, s, TABLES)
    assert s[S.VOLTAGE_V, 0] == pytest.approx(long.ends[0, 2, End.VOLTAGE_V], abs=3e-4)
    assert s[S.SEI_C, 0] == pytest.approx(long.s[S.SEI_C, 0], rel=2e-3)


def test_a_trial_moves_nothing_and_tells_what_the_step_will_give() -> None:
    b = Batch()
    before = b.lithium_c(), b.s[S.X, 0], b.s[S.X_MODES : S.AT_C].copy()
    volt = spm_after(0, 1.0, 60.0, b.p, b.s, TABLES)
    spm_voltage(0, 2.0, b.p, b.s, TABLES)
    assert b.lithium_c() == before[0]
    assert b.s[S.X, 0] == before[1]
    assert (b.s[S.X_MODES : S.AT_C] == before[2]).all()
    assert spm_step(0, 1.0, 60.0, b.p, b.s, TABLES)[0] == volt
    assert spm_voltage(0, 1.0, b.p, b.s, TABLES) == pytest.approx(volt, abs=1e-9)
    assert spm_step(0, 1.0, 0.0, b.p, b.s, TABLES)[0] == pytest.approx(volt, abs=1e-9)
    assert spm_held_current(0, volt - 1.0, 2.0, 1.0, b.p, b.s, TABLES) == 0.0
    assert spm_held_current(0, volt + 1.0, 2.0, 1.0, b.p, b.s, TABLES) == 2.0
    assert spm_time_to_limit(0, 1.0, volt - 1e-3, 1.0, b.p, b.s, TABLES) == 0.0
    assert spm_time_to_limit(0, 1.0, volt + 1.0, 1.0, b.p, b.s, TABLES) > 1.0


def test_the_sphere_answers_a_step_of_flux_as_its_series_does() -> None:
    """Crank 1975, eq. 6.45: surface - mean = g (1/5 - 2 sum exp(-mu^2 t) / mu^2), here with 3,000 terms."""
    mu2 = _roots(3000) ** 2
    for tau, within in ((1e-4, 0.04), (3e-4, 0.01), (1e-3, 0.002), (1e-2, 0.001), (1.0, 1e-3)):
        exact = np.sum((1.0 - np.exp(-mu2 * tau)) / mu2)
        ours = np.sum(SHARE * (1.0 - np.exp(-DECAY * tau))) + REMAINDER
        assert ours == pytest.approx(exact, rel=within)
    assert np.sum(SHARE) + REMAINDER == pytest.approx(0.1, rel=1e-12)


def test_steady_flux_stands_g_over_five_above_the_mean() -> None:
    b = Batch(replace(FORMATION, film=replace(FORMATION.film, rate_a_m2=0.0), leak_a=0.0))
    p, s = b.p, b.s
    spm_fresh(0, 0.3, 0.8, 25.0, p, s, TABLES)
    for _ in range(3):
        spm_step(0, 0.2, 5000.0, p, s, TABLES)
    g = 0.2 / p[P.Q_NEG_C, 0] / (3.0 * p[P.DIFFUSION_NEG_1_S, 0])
    assert s[S.X_MODES : S.Y_MODES, 0].sum() == pytest.approx(2.0 * g * (0.1 - REMAINDER), rel=1e-9)
    assert s[S.X, 0] == pytest.approx(0.3 + 0.2 * 15_000.0 / p[P.Q_NEG_C, 0], rel=1e-12)


def test_energy_in_is_heat_and_what_the_particles_store() -> None:
    b = Batch(replace(FORMATION, film=replace(FORMATION.film, rate_a_m2=0.0), leak_a=0.0))
    p, s = b.p, b.s
    spm_fresh(0, 0.3, 0.7, 25.0, p, s, TABLES)
    electric, heat = 0.0, 0.0
    for amp in (2.5, -2.5):
        for _ in range(3000):
            volt, joule = spm_step(0, amp, 1.0, p, s, TABLES)
            electric, heat = electric + amp * volt, heat + joule
            assert joule >= 0.0
    assert electric == pytest.approx(heat, rel=2e-3)  # back at the same charge, so nothing is stored


def test_a_warm_cell_has_less_resistance_and_grows_more_film() -> None:
    cold, warm = (Batch(temperature_c=t).run(recipe()[:2]) for t in (10.0, 40.0))
    drop = [spm_voltage(0, 1.0, b.p, b.s, TABLES) - spm_voltage(0, 0.0, b.p, b.s, TABLES) for b in (cold, warm)]
    assert drop[1] < 0.6 * drop[0]
    assert warm.s[S.SEI_C, 0] > 1.05 * cold.s[S.SEI_C, 0]


def test_leak_and_soft_short_discharge_a_resting_cell() -> None:
    b = Batch(cells=3).run(recipe()[:4])
    b.p[P.LEAK_A] = 0.0, 1e-3, 0.0
    b.p[P.SHORT_S] = 0.0, 0.0, 1.0 / 100.0
    before = b.s.copy()
    b.run(np.array([[3, 1, 0, 0, 0, 86_400.0]]))
    assert b.s[S.LEAKED_C] - before[S.LEAKED_C] == pytest.approx([0.0, 86.4, 86_400.0 * 0.0410], rel=0.01)
    assert b.s[S.CHARGE_C] == pytest.approx(before[S.CHARGE_C])
    assert (np.diff(b.s[S.VOLTAGE_V]) < -5e-3).all()


def test_same_numbers_same_bits_whatever_stands_beside() -> None:
    many, one = Batch(cells=3), Batch()
    many.p[P.CONTACT_OHM, 1:] = 0.02, 0.03
    many.run(recipe())
    one.run(recipe())
    assert (many.s[:, 0] == one.s[:, 0]).all()
    assert (many.ends[0] == one.ends[0]).all()
    assert many.ends[2, 1, End.TIME_S] < many.ends[0, 1, End.TIME_S]


def test_film_of_ethylene_carbonate_grows_with_the_root_of_time() -> None:
    """Reaction and diffusion in series tend to L = sqrt(2 D c V t / z) (Yang et al. 2017, eqs. 10 and 11)."""
    grown = replace(CHEN2020.film, rate_a_m2=1e3, start_m=1e-12)
    b = Batch(replace(CHEN2020, film=grown, positive_fill=0.3, fresh_v=4.1))
    b.run(np.array([[3.0, 1.0, 0.0, 0.0, 0.0, 86_400.0]]))
    film = CHEN2020.film
    root = (2.0 * film.diffusion_mol_m_s * film.molar_volume_m3_mol / film.lithium_per_mol * 86_400.0) ** 0.5
    assert b.p[P.SEI_M_PER_C, 0] * b.s[S.SEI_C, 0] == pytest.approx(root, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300])
@pytest.mark.parametrize("row", list(P))
def test_a_cell_that_is_none_is_refused_alone(row: P, value: float) -> None:
    b = Batch(cells=2)
    b.p[row, 1] = value
    before = b.s[:, 1].copy()
    b.run(recipe()[:2])
    assert b.codes[0] == status.OK
    if b.codes[1] == status.OK:
        assert value == -1.0
        assert np.isfinite(b.ends[1]).all()
    else:
        assert np.array_equal(b.s[:, 1], before, equal_nan=True)
        assert np.isnan(b.ends[1]).all()


@pytest.mark.parametrize("column", [0, 2, 3, 4, 5])
def test_a_programme_that_is_none_is_refused(column: int) -> None:
    programme = recipe()
    programme[3, column] = np.nan
    b = Batch().run(programme)
    assert b.codes[0] == status.BAD_INPUT
    assert np.isnan(b.volt).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    b = Batch(cells=2)
    b.run(recipe()[:1])
    outputs = [b.volt, b.current, b.sei, b.ends, b.codes]
    for k in range(5):
        wrong = [a[:1] if j == k else a for j, a in enumerate(outputs)]
        assert spm_run(recipe()[:1], np.zeros(1), b.p, b.s, TABLES, *wrong) == -1
    assert spm_run(recipe()[:1], np.zeros(1), b.p[:5], b.s, TABLES, *outputs) == -1


@np.errstate(all="ignore")  # without the compiler, NumPy's scalars warn
def test_a_moment_that_is_none_is_no_number_and_no_end() -> None:
    for bad in (np.nan, np.inf, -np.inf, 1e300):
        b = Batch()
        assert not abs(spm_voltage(0, bad, b.p, b.s, TABLES)) < 1e3
        assert not abs(spm_after(0, bad, 1.0, b.p, b.s, TABLES)) < 1e3
        spm_time_to_limit(0, 1.0, bad, 1.0, b.p, b.s, TABLES)
        spm_held_current(0, bad, 1.0, 1.0, b.p, b.s, TABLES)
        spm_held_current(0, 4.2, bad, 1.0, b.p, b.s, TABLES)
        b.s[S.TEMPERATURE_C] = bad
        spm_step(0, 1.0, 1.0, b.p, b.s, TABLES)
        assert spm_check(0, b.p, b.s) == status.BAD_INPUT


@np.errstate(all="ignore")
@settings(max_examples=40 if jit_enabled() else 4, deadline=None, derandomize=True)
@given(st.lists(st.floats(-3.0, 3.0), min_size=len(P), max_size=len(P)), st.floats(0.1, 10.0))
def test_strange_cells_come_through_or_say_so(decades: list[float], rate: float) -> None:
    b = Batch()
    b.p[:, 0] *= 10.0 ** (0.5 * np.array(decades))
    b.p[[P.SHORT_S, P.SEI_BLOCK_1_A_M], 0] = 10.0 ** decades[0], 10.0 ** (3.0 * decades[1])
    before = b.lithium_c()
    programme = recipe()
    programme[:, [2, 4]] *= rate
    b.run(programme)
    if b.codes[0] == status.OK:
        assert np.isfinite(b.ends).all()
        assert b.lithium_c() == pytest.approx(before, rel=1e-9)


NUMBERS = st.one_of(st.floats(), st.floats(-10.0, 10.0), st.floats(1e-6, 1e6))


@np.errstate(all="ignore")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(NUMBERS, min_size=len(P), max_size=len(P)),
    st.lists(st.booleans(), min_size=len(P), max_size=len(P)),
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 6), st.just(1.0), NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4),
)
def test_any_floats_give_a_status(values: list[float], swapped: list[bool], start: list[float], steps: list) -> None:
    b = Batch()
    b.p[np.array(swapped), 0] = np.array(values)[swapped]
    spm_fresh(0, *start, b.p, b.s, TABLES)
    b.run(np.array(steps, dtype=float), np.array([0.0, 10.0, 1e5]))
    assert b.codes[0] in {status.OK, status.BAD_INPUT, status.OUT_OF_SPACE}
    if b.codes[0] == status.OK:
        assert np.isfinite(b.s[: S.AT_C]).all()
        assert np.isfinite(b.ends).all()
    assert b.s.shape == (STATE_ROWS, 1)
