import numpy as np
import pyarrow.parquet as pq
import pytest

from kernels import status
from twin import halfcell
from twin.esoh import Electrodes, SlowCurve, ageing, fit_curve, fit_curves, fitted_voltage, slow_curve

NMC, GRAPHITE_SIOX, GRAPHITE = "nmc811_chen2020", "graphite_siox_chen2020", "graphite_ai2020"
SILICON, SILICON_LITHIATED = "silicon_delithiation_verbrugge2016", "silicon_lithiation_verbrugge2016"


def electrodes(blend: bool = False, graphite: str = GRAPHITE, silicon: str = SILICON) -> Electrodes:
    if blend:
        return Electrodes(halfcell.load(NMC), halfcell.load(graphite), halfcell.load(silicon))
    return Electrodes(halfcell.load(NMC), halfcell.load(GRAPHITE_SIOX))


def chen_negative(x):
    u = 1.9793 * np.exp(-39.3631 * x) + 0.2482 - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
    return u - 0.04478 * np.tanh(14.9159 * (x - 0.2769)) - 0.0205 * np.tanh(30.4444 * (x - 0.6103))


def chen_positive(y):
    u = -0.8090 * y + 4.4875 - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
    return u - 17.7326 * np.tanh(15.7890 * (y - 0.3117)) + 17.5842 * np.tanh(15.9308 * (y - 0.3120))


def record(x_0, x_100, y_0, y_100, hours=10.0, charge_ah=5.0, resistance=0.05, seed=1):
    """A whole discharge at constant current with 0.5 mV of noise and a converter of 0.1 mV, every 5 s."""
    rng = np.random.default_rng(seed)
    t = np.arange(0.0, hours * 3600.0 + 1.0, 5.0)
    z, current = 1.0 - t / t[-1], -charge_ah / hours
    v = chen_positive(y_0 + z * (y_100 - y_0)) - chen_negative(x_0 + z * (x_100 - x_0)) + current * resistance
    v = np.rint((v + 0.5e-3 * rng.standard_normal(t.size)) * 1e4) * 1e-4
    return t, np.full(t.size, current), v


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (NMC, chen_positive),
        (GRAPHITE_SIOX, chen_negative),
        (SILICON, lambda z: np.polyval([-51.02, 161.3, -205.7, 140.2, -58.76, 16.87, -3.792, 0.9937], z)),
        (
            "silicon_lithiation_verbrugge2016",
            lambda z: np.polyval([-96.63, 372.6, -587.6, 489.9, -232.8, 62.99, -9.286, 0.8633], z),
        ),
    ],
)
def test_shipped_tables_are_the_published_functions(name, function) -> None:
    cell = halfcell.load(name)
    np.testing.assert_allclose(cell.potential_v, function(cell.stoichiometry), atol=1e-7)
    values = halfcell.table(cell)
    at = values.grid[0] + values.grid[1] * np.arange(len(values.values))
    np.testing.assert_allclose(values.values[:, 0], function(at), atol=5e-5)
    assert len(halfcell.shipped()) == 6 and name in halfcell.shipped()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "first line"),
        ("a,b\n0,1\n", "first line"),
        ("stoichiometry,potential_v\n0,1\n0.5,x\n", "line 3"),
        ("stoichiometry,potential_v\n0,1\n0.5\n", "line 3"),
        ("stoichiometry,potential_v\n0,1\n1,0.5\n", "three rows"),
        ("stoichiometry,potential_v\n0,1\n0.5,nan\n1,0\n", "no number"),
        ("stoichiometry,potential_v\n0,1\n50,0.5\n100,0\n", "not percent"),
        ("stoichiometry,potential_v\n0,1\n0.5,1.2\n1,0\n", "must fall"),
    ],
)
def test_a_bad_file_says_what_is_wrong(content, words, tmp_path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(halfcell.HalfCellError, match=words):
        halfcell.load(path)


def test_an_absent_file_names_the_shipped_ones(tmp_path) -> None:
    with pytest.raises(halfcell.HalfCellError, match=NMC):
        halfcell.load(tmp_path / "none.csv")


def test_known_windows_and_losses_come_back() -> None:
    """From 5.0 Ah over 0.03..0.80 and 0.90..0.27 to a cell with 6 % less negative electrode and less lithium."""
    fresh, aged = (0.03, 0.80, 0.90, 0.27), (0.02, 0.78, 0.91, 0.33)
    first = fit_curve(slow_curve(*record(*fresh)), electrodes())
    second = fit_curve(slow_curve(*record(*aged, charge_ah=4.639, seed=2)), electrodes())
    for fit, true, charge in ((first, fresh, 5.0), (second, aged, 4.639)):
        assert fit.identifiable and fit.reason == ""
        assert fit.charge_ah == pytest.approx(charge, rel=1e-3)
        for name, value in zip(("x_0", "x_100", "y_0", "y_100"), true, strict=True):
            assert abs(getattr(fit, name) - value) < 3 * getattr(fit, name + "_sd") + 2e-4
    assert first.n_to_p == pytest.approx(1 + 0.20 / 0.77, abs=3 * first.n_to_p_sd)
    loss = ageing(first, second)
    negative = 1 - (4.639 / 0.76) / (5.0 / 0.77)
    lithium = 1 - 4.639 * (0.02 / 0.76 + 0.91 / 0.58) / (5.0 * (0.03 / 0.77 + 0.90 / 0.63))
    assert loss.negative_loss == pytest.approx(negative, abs=3 * loss.negative_loss_sd)
    assert loss.lithium_loss == pytest.approx(lithium, abs=3 * loss.lithium_loss_sd)
    assert loss.positive_loss == pytest.approx(1 - (4.639 / 0.58) / (5.0 / 0.63), abs=3 * loss.positive_loss_sd)


def test_a_curve_without_points_is_a_refusal_among_good_ones() -> None:
    good = slow_curve(*record(0.03, 0.8, 0.9, 0.27))
    none = slow_curve(*record(0.03, 0.8, 0.9, 0.27), "charge")
    assert none.status == status.NOT_FOUND and "no run" in none.reason
    fits = fit_curves([none, good, SlowCurve(np.empty(0), np.empty(0), 1.0, 1.0)], electrodes())
    assert [f.identifiable for f in fits] == [False, True, False]
    assert "no run" in fits[0].reason and np.isnan(fits[0].x_0) and np.isnan(fits[0].n_to_p)
    with pytest.raises(ValueError, match="no windows"):
        ageing(fits[0], fits[1])
    with pytest.raises(ValueError, match="no windows"):
        fitted_voltage(none, fits[0], electrodes())
    assert fit_curves([], electrodes()) == []


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="direction"):
        slow_curve(np.zeros(3), np.zeros(3), np.zeros(3), "down")
    with pytest.raises(ValueError, match="too few"):
        slow_curve(np.zeros(3), np.zeros(3), np.zeros(3), points=3)
    with pytest.raises(ValueError, match="differ"):
        slow_curve(np.zeros(3), np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="starts"):
        fit_curves([], electrodes(), np.zeros((2, 2)))


@pytest.fixture(scope="module")
def lgm50(measured_data):
    columns = pq.read_table(measured_data / "lgm50_c10.parquet", columns=["time_s", "current_a", "voltage_v"])
    return [c.to_numpy() for c in columns.columns]


@pytest.mark.data
def test_lgm50_discharge(lgm50) -> None:
    """The bar is 8 mV with the tables of Chen et al. 2020 and the goal 5 mV, with graphite and silicon apart 4.8 mV."""
    curve = slow_curve(*lgm50)
    plain, blend = (fit_curve(curve, electrodes(b)) for b in (False, True))
    print(f"RMSE {1e3 * plain.rmse_v:.2f} and {1e3 * blend.rmse_v:.2f} mV, silicon {blend.silicon_fraction:.3f}")
    assert plain.identifiable and plain.rmse_v < 8.0e-3
    assert blend.identifiable and blend.rmse_v < 5.0e-3
    assert blend.n_to_p == pytest.approx(1.01, abs=2 * blend.n_to_p_sd)  # 1.00 to 1.02 in practice
    away = curve.voltage_v - fitted_voltage(curve, plain, electrodes())
    assert np.sqrt(np.mean(away**2)) == pytest.approx(plain.rmse_v, rel=1e-6)


@pytest.mark.data
@pytest.mark.parametrize(("graphite", "bar_mv"), [(GRAPHITE, 6.0), ("graphite_mohtat2020", 5.5)])
def test_lgm50_charge_is_fitted_with_the_other_branch_of_silicon(lgm50, graphite, bar_mv) -> None:
    curve = slow_curve(*lgm50, "charge")
    fit = fit_curve(curve, electrodes(True, graphite, SILICON_LITHIATED))
    assert fit.identifiable and 1e3 * fit.rmse_v < bar_mv
    other = fit_curve(curve, electrodes(True, graphite, SILICON))
    assert not other.identifiable or other.rmse_v > 1.2 * fit.rmse_v


@pytest.mark.data
@pytest.mark.parametrize(("blend", "graphite"), [(False, ""), (True, GRAPHITE), (True, "graphite_mohtat2020")])
def test_lgm50_from_other_starts_is_the_same_within_its_sd(lgm50, blend, graphite) -> None:
    curve, cell, rng = slow_curve(*lgm50), electrodes(blend, graphite), np.random.default_rng(3)
    known = fit_curve(curve, cell)
    for _ in range(8):
        low, high = (0.0, 0.70, 0.04), (0.06, 0.95, 0.15)
        starts = rng.uniform(low, high, (3, 3)) * ([1, 1, 1] if blend else [1, 1, 0])
        fit = fit_curve(curve, cell, starts)
        for name in ("x_0", "x_100", "y_0", "y_100", "resistance_ohm"):
            assert abs(getattr(fit, name) - getattr(known, name)) < getattr(known, name + "_sd"), name
