import numpy as np
import pytest
from scipy.stats import chi2

from kernels import ekf_layout as k
from kernels import status
from kernels.ekf import ekf_update, ocv_at, soc_at
from tests.unit.kernels.ekf_reference import Plant, Reference, hermite, matrix
from twin.parameters import ocv_levels

OCV = np.stack([3.0 + 1.2 * np.linspace(0, 1, 21) ** 1.5, 1.8 * np.linspace(0, 1, 21) ** 0.5 + 0.1], axis=1)
LEVELS = ocv_levels(OCV)
START_NS = 1_700_000_000_000_000_000


def parameters(n: int, seed: int = 1) -> np.ndarray:
    row = np.array([18_000.0, 0.03, 0.006, 1 / 6.2, 0.02, 1 / 800.0, 960.0, 0.87, 0.003, 0.02])
    return row * (1.0 + 0.05 * np.random.default_rng(seed).uniform(-1, 1, (n, row.size)))


def noise() -> np.ndarray:
    w = np.zeros(k.NOISE_ENTRIES)
    w[[k.N_VOLTAGE, k.N_UNCERTAIN, k.N_FLOOR1, k.N_FLOOR2, k.N_FRACTION]] = 1e-3, 2e-2, 2e-3, 4e-3, 0.3
    w[[k.N_WALK, k.N_WALK_RAW, k.N_R0_WALK, k.N_K_WALK, k.N_COUNTER]] = 3e-3, 5e-2, 0.3, 5e-11, 0.05
    w[[k.N_GAP, k.N_GAP_RATE, k.N_GATE, k.N_RAW_SD, k.N_UPPER, k.N_WALK_TIME]] = 120, 0.25, 8, 0.02, 4.18, 5e-11
    w[[k.N_RAW_SOC, k.N_FLOOR_RAW, k.N_OCV_V, k.N_OCV_SOC, k.N_OCV_RATE]] = 0.05, 0.06, 5e-3, 4e-3, 10.0
    return w


class Bank:
    """A kernel's arrays for n cells."""

    def __init__(self, n: int, par: np.ndarray | None = None) -> None:
        self.n, self.par, self.noise = n, parameters(n) if par is None else par, noise()
        self.state, self.last = np.zeros((n, k.STATE_COLUMNS)), np.zeros(n, dtype=np.int64)
        self.state[:, [k.SOC, k.R0, k.K, k.TEMPERATURE]] = 0.5, 0.03, 1.0, 298.15
        self.state[:, [k.P00, k.P11, k.P22, k.P33, k.P44]] = 0.09, 1e-4, 1e-4, 1e-5, 4e-4
        self.state[:, k.PHASE] = k.UNSEEN
        self.now = np.full(n, START_NS)
        self.out, self.code = np.empty((k.OUTPUT_ROWS, n)), np.empty(n, dtype=np.uint8)

    def sample(self, dt_s, voltage, current=0.0, t_k=298.15, quality=0, charge=np.nan) -> np.ndarray:
        n = self.n
        self.now = self.now + np.rint(np.broadcast_to(dt_s, n) * 1e9).astype(np.int64)
        full = [np.array(np.broadcast_to(a, n), dtype=np.float64) for a in (voltage, current, t_k, charge)]
        grade = np.array(np.broadcast_to(quality, n), dtype=np.uint8)
        ekf_update(
            self.state,
            self.last,
            self.par,
            self.noise,
            LEVELS,
            self.now,
            *full[:3],
            grade,
            full[3],
            self.out,
            self.code,
        )
        return self.code


def assert_sound(state: np.ndarray) -> None:
    assert np.isfinite(state).all()
    for row in state:
        p = matrix(row)
        scale = 1 / np.sqrt(np.diag(p))
        assert np.linalg.eigvalsh(p * np.outer(scale, scale)).min() > 0.0


def test_ocv_on_and_between_knots() -> None:
    """Between (0, 0) with slope 0 and (1, 1) with slope 0 the cubic is 3t^2 - 2t^3: 0.5 at the middle, slope 1.5."""
    table = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert ocv_at(table, 0.5) == pytest.approx((0.5, 1.5, 0.0))
    assert ocv_at(table, 0.25)[0] == pytest.approx(0.15625)
    for s in (-0.1, 0.0, 0.013, 0.5, 0.777, 1.0, 1.1):
        np.testing.assert_allclose(ocv_at(OCV, s), hermite(OCV, s), rtol=1e-12, atol=1e-12)
    assert soc_at(OCV, ocv_at(OCV, 0.3)[0]) == pytest.approx(0.3, abs=1e-9)
    assert soc_at(OCV, 0.2) < 1e-9 and soc_at(OCV, 5.0) > 1 - 1e-9


def test_worked_prediction() -> None:
    """1800 C into 18000 C in 3600 s is a tenth; the pairs settle at R I = 3 and 10 mV; a bad sample stores nothing."""
    bank = Bank(1, np.array([[18_000.0, 0.03, 0.006, 1 / 6.2, 0.02, 1 / 400.0, 0.0, 0.87, 0.003, 0.02]]))
    bank.noise[k.N_GAP] = 1e9
    bank.sample(0.0, OCV[10, 0] + 0.015, 0.5)
    bank.state[0, [k.SOC, k.U1, k.U2]] = 0.4, 0.0, 0.0
    before = bank.state.copy()
    assert bank.sample(3600.0, np.nan, quality=2) == status.PREDICTED
    np.testing.assert_array_equal(bank.state, before)
    decay = np.exp(-9.0)
    np.testing.assert_allclose(bank.out[:3, 0], [0.5, bank.out[1, 0], 0.003], rtol=1e-9)
    assert bank.out[k.OUT_U2, 0] == pytest.approx(0.01 * (1 - decay), rel=1e-9)
    assert np.isnan(bank.out[k.OUT_INNOVATION, 0])


def test_a_jump_of_temperature_is_bounded() -> None:
    """50 K between two samples: the pairs count half of it, within 1 %; the ohmic part all of it."""
    bank = Bank(1)
    bank.sample(0.0, 3.6, 0.0, 283.15)
    par = bank.par[0]
    bank.sample(10.0, 9.0, 1.0, 333.15, charge=10.0)
    mean = np.exp(par[k.PAR_EA] * (0.5 / 333.15 + 0.5 / 283.15 - 1 / 298.15))
    decay = np.exp(-10.0 * par[k.PAR_RATE1])
    assert bank.out[k.OUT_U1, 0] == pytest.approx(mean * par[k.PAR_R1] * (1 - decay), rel=0.01)


def test_agrees_with_full_matrices() -> None:
    """Uneven steps, steps of current, counters present or not, gaps, temperatures, a raw and a formed cell."""
    rng = np.random.default_rng(7)
    bank = Bank(24)
    bank.sample(0.0, np.where(np.arange(24) < 4, 3.012, 3.5), 0.2)
    assert set(bank.state[:, k.PHASE]) == {k.RAW, k.FORMED}
    cells = [Reference(bank.state[i], bank.par[i], bank.noise, LEVELS) for i in range(24)]
    current = np.full(24, 0.2)
    t_k = 298.15 + np.linspace(-10, 20, 24)
    for _ in range(150):
        dt = np.round(rng.choice([1.0, 20.0, 19.5, 600.0], 24, p=[0.4, 0.3, 0.2, 0.1]), 3)
        current = np.where(rng.random(24) < 0.2, rng.uniform(-1, 1, 24), current)
        current[:4] = np.abs(current[:4])  # raw cells are charged: below the table is no voltage to compare with
        t_k = t_k + rng.uniform(-2, 2, 24)
        charge = np.where(rng.random(24) < 0.5, current * dt * rng.uniform(0.9, 1.1, 24), np.nan)
        grade = (rng.random(24) < 0.1).astype(np.uint8)
        nu = np.empty((2, 24))
        voltage = np.empty(24)
        for i, cell in enumerate(cells):
            cell.predict(dt[i], current[i], charge[i], t_k[i])
            open_v = hermite(OCV, cell.x[0])[0] + cell.x[1] + cell.x[2] + cell.factor(t_k[i]) * current[i] * cell.x[3]
            wrong = 0.004 * rng.standard_normal()
            voltage[i] = open_v + (abs(wrong) if i < 4 else wrong)
            nu[:, i] = cell.measure(voltage[i], current[i], t_k[i], 2e-2 if grade[i] else 1e-3)
        code = bank.sample(dt, voltage, current, t_k, grade, charge)
        assert set(code) <= {status.OK, status.AFTER_GAP}
        np.testing.assert_array_equal(code == status.AFTER_GAP, dt > 120)
        np.testing.assert_allclose(bank.out[[k.OUT_INNOVATION, k.OUT_INNOVATION_SD]], nu, rtol=1e-9, atol=1e-12)
        for i, cell in enumerate(cells):
            np.testing.assert_allclose(bank.state[i, :5], cell.x, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(matrix(bank.state[i]), cell.p, rtol=1e-9, atol=1e-14)
            cell.x, cell.p = bank.state[i, :5].copy(), matrix(bank.state[i])


def test_covariance_stays_positive_definite_over_long_and_rough_runs() -> None:
    rng = np.random.default_rng(2)
    bank = Bank(16)
    bank.noise[[k.N_VOLTAGE, k.N_K_WALK, k.N_WALK_TIME]] = 1e-9, 0.0, 0.0  # nearly exact, nearly static: the hard case
    bank.sample(0.0, rng.uniform(3.0, 4.2, 16))
    for step in range(6000):
        current = rng.uniform(-20, 20, 16) * (step % 3 > 0)
        bank.sample(
            rng.choice([1e-3, 1.0, 20.0, 1e5], 16), rng.uniform(2.9, 4.3, 16), current, rng.uniform(260, 330, 16)
        )
        if step % 500 == 0:
            assert_sound(bank.state)
    assert_sound(bank.state)


def test_the_considered_error_keeps_the_band_open_however_long_it_rests() -> None:
    """At rest nothing decorrelates: 10 mV of OCV error on 1.37 V per SOC is 0.0073, after an hour as after a day."""
    bank = Bank(1)
    bank.noise[[k.N_OCV_V, k.N_OCV_SOC, k.N_WALK_TIME]] = 0.01, 0.0, 0.0
    voltage, slope, _ = ocv_at(OCV, 0.5)
    widths = []
    for _ in range(4000):
        bank.sample(20.0, voltage, charge=0.0)
        widths.append(bank.out[k.OUT_SOC_SD, 0])
    assert widths[-1] > 0.01 / slope
    assert widths[-1] == pytest.approx(0.01 / slope, rel=0.1)
    assert matrix(bank.state[0])[5, 0] / widths[-1] == pytest.approx(-1.0, abs=0.1)  # it knows what is to blame


def test_a_gap_widens_the_band_and_the_counter_bridges_it() -> None:
    blind, counted = Bank(1), Bank(1)
    for bank in (blind, counted):
        bank.sample(0.0, 3.5)
        for _ in range(300):
            bank.sample(20.0, 3.5, charge=0.0)
    sd = blind.out[k.OUT_SOC_SD, 0]
    widths = []
    for _ in range(5):
        blind.sample(600.0, np.nan, quality=2)
        widths.append(blind.out[k.OUT_SOC_SD, 0])
    assert sd < widths[0] and (np.diff(widths) > 0).all() and widths[-1] > 5 * sd
    assert counted.sample(3000.0, 3.5, charge=0.0) == status.AFTER_GAP
    blind.sample(0.5, 3.5)
    assert counted.out[k.OUT_SOC_SD, 0] < blind.out[k.OUT_SOC_SD, 0]


def test_bad_inputs_change_nothing_and_say_so() -> None:
    bank = Bank(1)
    assert bank.sample(20.0, 3.5, quality=2) == status.WAITING
    assert bank.sample(20.0, 3.5) == status.STARTED
    bank.sample(20.0, 3.5)
    before = bank.state.copy(), bank.last.copy()
    for voltage, current in ((np.nan, 0), (np.inf, 0), (3.5, np.nan), (3.5, -np.inf), (1e300, 0), (3.5, 1e6)):
        assert bank.sample(1.0, voltage, current) == status.BAD_INPUT
    assert bank.sample(1.0, 3.5, quality=2) == status.PREDICTED
    assert bank.sample(-100.0, 3.5) == status.BAD_TIME
    bank.now = np.array([np.iinfo(np.int64).min])
    assert bank.sample(0.0, 3.5) == status.BAD_TIME
    bank.now = np.array([np.iinfo(np.int64).max])
    assert bank.sample(0.0, 3.5) == status.BAD_TIME
    np.testing.assert_array_equal(bank.state, before[0])
    np.testing.assert_array_equal(bank.last, before[1])
    bank.now = before[1] + 10**9
    assert bank.sample(1.0, 3.5, t_k=np.nan) == status.DEGRADED


def test_one_wild_sample_is_refused_and_a_changed_cell_is_followed() -> None:
    bank = Bank(1)
    bank.sample(0.0, 3.5)
    for _ in range(100):
        bank.sample(20.0, 3.5)
    soc = bank.out[k.OUT_SOC, 0]
    assert bank.sample(20.0, 4.1) == status.OUTLIER
    assert bank.out[k.OUT_SOC, 0] == pytest.approx(soc, abs=1e-3)
    assert bank.sample(20.0, 3.5) == status.OK
    for _ in range(200):
        bank.sample(20.0, 4.1)
    assert bank.out[k.OUT_SOC, 0] == pytest.approx(soc_at(OCV, 4.1), abs=0.05)
    assert_sound(bank.state)


def test_a_ruined_state_is_replaced() -> None:
    bank = Bank(2)
    bank.sample(0.0, 3.5)
    bank.state[0, k.P00] = -1.0
    bank.state[1, k.U1] = np.nan
    bank.sample(20.0, 3.5)
    assert (bank.code == status.RESET).all()
    assert (bank.sample(20.0, 3.5) == status.STARTED).all()
    assert_sound(bank.state)


def test_a_raw_cell_is_formed_when_its_first_charge_ends() -> None:
    bank = Bank(1)
    bank.sample(0.0, 3.0)
    assert bank.state[0, k.PHASE] == k.RAW
    bank.sample(20.0, 4.19, 1.0)
    assert bank.state[0, k.PHASE] == k.TOPPED
    bank.sample(20.0, 4.15, 0.0)
    assert bank.state[0, k.PHASE] == k.FORMED


@pytest.mark.parametrize("ocv_sd", [(0.0, 0.0), (5e-3, 4e-3), (2e-2, 1e-2)])
def test_innovations_and_errors_are_of_the_promised_size_on_data_of_the_same_model(ocv_sd: tuple[float, float]) -> None:
    """Cells drawn from the filter's own priors and moved with its own noise, the OCV's error with them.

    Normalised innovation squared (one degree of freedom) and normalised estimation error squared (five), means over
    cells, inside the 99.9 % bounds of chi-square (Bar-Shalom, Li and Kirubarajan 2001, section 5.4). The bounds are
    those of one instant with n cells, because instants of one cell are not independent.
    """
    n = 2000
    bank = Bank(n)
    bank.noise[[k.N_OCV_V, k.N_OCV_SOC]] = ocv_sd
    plant = Plant(bank.par, bank.noise, OCV, seed=5)
    bank.sample(0.0, plant.voltage(0.0))
    innovations, white, errors, inside, last = [], [], [], [], None
    for step in range(1, 301):
        current = 1.0 if step % 100 < 60 else 0.0
        plant.move(20.0, current)
        bank.sample(20.0, plant.voltage(current), current, charge=current * 20.0)
        z = bank.out[k.OUT_INNOVATION] / bank.out[k.OUT_INNOVATION_SD]
        if step > 20 and step % 100 not in {0, 60}:  # at a step of current the filter doubts more than this plant does
            innovations.append(np.mean(z * z))
            white.append(np.mean(z * last))
        if step % 20 == 10:
            wrong = plant.x.T - bank.state[:, :5]
            p = np.array([matrix(row)[:5, :5] for row in bank.state])
            errors.append(np.mean(np.einsum("ni,ni->n", wrong, np.linalg.solve(p, wrong[..., None])[..., 0])))
            inside.append(np.mean(np.abs(wrong[:, 0]) <= 1.96 * bank.out[k.OUT_SOC_SD]))
        last = z
    low, high = chi2.ppf([0.0005, 0.9995], n) / n
    assert low < np.mean(innovations) < high
    low, high = chi2.ppf([0.0005, 0.9995], 5 * n) / n
    assert low < np.mean(errors) < high
    assert 0.93 < np.mean(inside) < 0.97
    if not any(ocv_sd):  # an error that is considered and not estimated stays in the innovations
        assert abs(np.mean(white)) < 0.05
