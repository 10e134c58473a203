import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import esoh, status
from kernels.esoh_descent import PARAMETERS, inverted, model
from kernels.esoh_spread import expected_moments, spread
from kernels.esoh_sweep import even_points, find_sweep
from twin.halfcell import blended_table, load, table

STARTS = np.array([(0.02, 0.80, 0.08), (0.03, 0.92, 0.03)])
TRUE = np.array([0.03, 0.88, 0.90, 0.27, 0.05, 0.0])
BLEND = np.array([0.02, 0.88, 0.90, 0.27, 0.05, 0.09])


@pytest.fixture(scope="module")
def plain():
    return table(load("nmc811_chen2020")), table(load("graphite_siox_chen2020"))


@pytest.fixture(scope="module")
def blend():
    silicon = load("silicon_delithiation_verbrugge2016")
    return table(load("nmc811_chen2020")), blended_table(load("graphite_mohtat2020"), silicon)


def voltage(p, z, tables, current=-0.5, transfer=(0.0, 0.0), ahead=(0.0, 0.0)):
    pos, neg = tables
    out, jac = np.empty(z.size), np.empty((z.size, PARAMETERS))
    seen = np.stack([z + lead for lead in ahead], axis=1)
    model(p, np.array([current, *transfer]), seen, 1, pos.values, pos.grid, neg.values, neg.grid, out, jac)
    return out, jac


def batch(z, v, tables, current=-0.5, starts=STARTS):
    """Fits rows of v (n, m) over one z (m,)."""
    pos, neg = tables
    n, m = v.shape
    rows, cov, codes = np.empty((n, esoh.OUTPUTS)), np.empty((n, 6, 6)), np.empty(n, dtype=np.uint8)
    offsets = np.arange(n + 1) * m
    esoh.esoh_batch(
        np.tile(np.stack((z, z), axis=1), (n, 1)), v.ravel().copy(), offsets, np.tile([current, 0.0, 0.0], (n, 1)),
        starts, pos.values, pos.grid, neg.values, neg.grid, rows, cov, codes,
    )  # fmt: skip
    return rows, cov, codes


def test_worked_example(plain) -> None:
    """At z = 0.5: x = 0.455, y = 0.585, Up - Un - 0.5 A x 0.05 ohm, with the functions of Chen et al. 2020."""
    x, y = 0.455, 0.585
    up = -0.8090 * y + 4.4875 - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
    up += -17.7326 * np.tanh(15.7890 * (y - 0.3117)) + 17.5842 * np.tanh(15.9308 * (y - 0.3120))
    un = 1.9793 * np.exp(-39.3631 * x) + 0.2482 - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
    un += -0.04478 * np.tanh(14.9159 * (x - 0.2769)) - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    out, _ = voltage(TRUE, np.array([0.5]), plain)
    assert out[0] == pytest.approx(up - un - 0.025, abs=2e-6)


def test_charge_transfer_and_lead_of_the_surfaces(plain) -> None:
    """0.5 A: x = 0.455 at 0.502 of the charge, y = 0.585 at 0.49. Half full 0.02 ohm are 10 mV / (2 sqrt(0.455 0.545))
    = 10.0406 mV, asinh 10.0156; 0.004 ohm at 0.585: 2.0296, asinh 2.0295.
    """
    p = np.array([0.455 - 0.502 * 0.8, 0.455 + 0.498 * 0.8, 0.585 + 0.49 * 0.6, 0.585 - 0.51 * 0.6, 0.0, 0.0])
    bare, _ = voltage(np.array([0.455, 0.455, 0.585, 0.585, 0.0, 0.0]), np.array([0.5]), plain, 0.5)
    loaded, _ = voltage(p, np.array([0.5]), plain, 0.5, (0.02, 0.004), (0.002, -0.01))
    two = 2.0 * 0.0256926
    eta = two * np.arcsinh(0.0100406 / two) + two * np.arcsinh(0.0020296 / two)
    assert loaded[0] - bare[0] == pytest.approx(eta, abs=1e-6)
    drawn, _ = voltage(p, np.array([0.5]), plain, -0.5, (0.02, 0.004), (0.002, -0.01))
    assert drawn[0] - bare[0] == pytest.approx(-eta, abs=1e-6)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("kind", ["plain", "blend"])
def test_derivatives_are_those_of_the_model(kind, loaded, request) -> None:
    tables = request.getfixturevalue(kind)
    p, z = (TRUE if kind == "plain" else BLEND), np.linspace(0.03, 0.97, 61)
    own = {"transfer": (0.05, 0.02), "ahead": (-0.002, -0.012)} if loaded else {}
    _, jac = voltage(p, z, tables, **own)
    for j in range(PARAMETERS - (kind == "plain")):
        step = np.zeros(PARAMETERS)
        step[j] = 1e-6
        slope = (voltage(p + step, z, tables, **own)[0] - voltage(p - step, z, tables, **own)[0]) / 2e-6
        np.testing.assert_allclose(jac[:, j], slope, atol=2e-3 * np.abs(slope).max())


def test_a_blend_shares_the_charge_at_one_potential(blend) -> None:
    """Half of the charge at f = 0.1: graphite and silicon at U hold 0.9 G(U) + 0.1 S(U) = x."""
    out, _ = voltage(np.array([0.02, 0.88, 0.5, 0.5, 0.0, 0.1]), np.array([0.5]), blend)
    up = np.interp(0.5, load("nmc811_chen2020").stoichiometry, load("nmc811_chen2020").potential_v)
    held = 0.0
    for share, name in ((0.9, "graphite_mohtat2020"), (0.1, "silicon_delithiation_verbrugge2016")):
        cell = load(name)
        held += share * np.interp(up - out[0], cell.potential_v[::-1], cell.stoichiometry[::-1])
    assert held == pytest.approx(0.45, abs=1e-4)


@pytest.mark.parametrize("f", [0.03, 0.1, 0.4])
def test_a_blend_is_the_published_functions_at_equal_potential(blend, f) -> None:
    """Against a plain interpolation of both functions at 200,000 places, up to 0.93 V, where graphite is empty."""
    t = np.linspace(0.0, 1.0, 200_001)
    u = 0.063 + 0.8 * np.exp(-75 * (t + 0.001))
    steps = ((0.012, 0.127, 0.016), (0.0118, 0.155, 0.016), (0.0035, 0.22, 0.02), (0.0095, 0.19, 0.013))
    for height, at, width in (*steps, (0.0145, 0.49, 0.02), (0.08, 1.03, 0.055)):
        u -= height * np.tanh((t - at) / width)
    u_silicon = np.polyval([-51.02, 161.3, -205.7, 140.2, -58.76, 16.87, -3.792, 0.9937], t)
    held = (1.0 - f) * t + f * np.interp(u, u_silicon[::-1], t[::-1])
    x = np.linspace(held[0], 0.99, 500)  # below, graphite is empty
    p = np.array([x[0], x[-1], 0.5, 0.5, 0.0, f])
    out, _ = voltage(p, np.linspace(0.0, 1.0, 500), blend)
    up, _ = voltage(np.array([0.5, 0.5, 0.5, 0.5, 0.0, f]), np.array([0.5]), blend)
    up = up + np.interp(0.5, held, u)
    np.testing.assert_allclose(up - out, np.interp(x, held, u), atol=1e-4)


def test_moments_equal_their_definition_by_whole_matrices() -> None:
    rng = np.random.default_rng(5)
    n, rho = 40, 0.7
    jac = np.cumsum(rng.standard_normal((n, PARAMETERS)), axis=0)
    free = np.array([True, True, True, True, True, False])
    used = jac[:, :5]
    inverse = np.zeros((6, 6))
    inverse[:5, :5] = np.linalg.inv(used.T @ used)
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    correlation, neighbour = rho**far, 0.5 * (far == 1)
    left = np.eye(n) - used @ inverse[:5, :5] @ used.T
    level, product = expected_moments(jac, free, inverse, rho)
    assert level == pytest.approx(np.trace(left @ correlation), rel=1e-9)
    assert product == pytest.approx(np.trace(neighbour @ left @ correlation @ left), rel=1e-9)
    covariance, residual = np.empty((6, 6)), left @ rng.standard_normal(n)
    found, degrees = spread(jac, residual, free, inverse, 0.98, covariance)
    assert 0.0 <= found < 0.98 and degrees >= 4.0 and covariance[5, 5] == 0
    correlation = found**far
    bread = inverse[:5, :5] @ (used.T @ correlation @ used) @ inverse[:5, :5]
    by_definition = bread * (residual @ residual) / np.trace(left @ correlation)
    wide = covariance[0, 0] / by_definition[0, 0]
    assert 1.0 < wide < 2.0
    np.testing.assert_allclose(covariance[:5, :5], wide * by_definition, rtol=1e-9)


def test_inverse() -> None:
    rng = np.random.default_rng(2)
    b = rng.standard_normal((9, 6)) * 10.0 ** np.arange(-3, 3)
    a, out = b.T @ b, np.empty((6, 6))
    assert inverted(a, np.ones(6, dtype=bool), out, np.empty((6, 6)))
    np.testing.assert_allclose(a @ out, np.eye(6), atol=1e-6)
    a[:, 1] = a[:, 0]
    a[1] = a[0]
    assert not inverted(a, np.ones(6, dtype=bool), out, np.empty((6, 6)))


def noise(rng, shape, kind):
    """White 0.5 mV and a converter of 1 mV, or a first-order autoregression of 3 mV with correlation 0.8."""
    if kind == "white":
        return 0.5e-3 * rng.standard_normal(shape)
    e = np.empty(shape)
    e[:, 0] = rng.standard_normal(shape[0])
    for k in range(1, shape[1]):
        e[:, k] = 0.8 * e[:, k - 1] + 0.6 * rng.standard_normal(shape[0])
    return 3e-3 * e


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("model_kind", ["plain", "blend"])
def test_the_95_percent_band_is_true_in_2000_draws(kind, model_kind, request) -> None:
    tables = request.getfixturevalue(model_kind)
    # x_100 low enough that Chen's flat table still says something about it.
    p = np.array([0.03, 0.80, 0.90, 0.27, 0.05, 0.0]) if model_kind == "plain" else BLEND
    rng, z = np.random.default_rng(11), (np.arange(150) + 0.5) / 150
    v = voltage(p, z, tables)[0] + noise(rng, (2000, z.size), kind)
    if kind == "white":
        v = np.rint(v / 1e-3) * 1e-3
    rows, cov, codes = batch(z, v, tables, starts=STARTS[:1])
    good = codes == status.OK
    assert good.mean() > 0.995
    count = PARAMETERS - (model_kind == "plain")
    sd = np.sqrt(np.array([np.diag(c) for c in cov[good]]))[:, :count]
    inside = (np.abs(rows[good, :count] - p[:count]) <= 1.96 * sd).mean(axis=0)
    print(kind, model_kind, inside)
    assert ((inside > 0.93) & (inside < 0.97)).all(), inside


def test_part_of_a_curve_is_refused(plain) -> None:
    rng, z = np.random.default_rng(4), np.linspace(0.0, 1.0, 200)
    v = voltage(np.array([0.66, 0.72, 0.42, 0.37, 0.05, 0.0]), z, plain)[0] + 1e-3 * rng.standard_normal(200)
    rows, _, codes = batch(z, v[None, :], plain, starts=np.array([(0.02, 0.8, 0.0), (0.3, 0.8, 0.0)]))
    assert codes[0] == status.NOT_IDENTIFIABLE and np.isnan(rows[0, :6]).all()


def test_other_tables_are_told(plain) -> None:
    z = np.linspace(0.0, 1.0, 100)
    _, _, codes = batch(z, (2.0 + 1.5 * np.sin(9 * z))[None, :], plain)
    assert codes[0] == status.OUTLIER


floats = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=60)
@given(st.lists(floats, max_size=40), st.lists(floats, max_size=40), floats, st.booleans())
def test_any_floats_give_a_code(zs, vs, current, sorted_z) -> None:
    tables = table(load("nmc811_chen2020")), table(load("graphite_siox_chen2020"))
    n = min(len(zs), len(vs))
    z = np.linspace(0, 1, n) if sorted_z else np.array(zs[:n])
    rows, _, codes = batch(z, np.array(vs[:n])[None, :], tables, current)
    assert (codes[0] == status.OK) == bool(np.isfinite(rows[0, :4]).all())


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(floats, floats, floats), max_size=60), st.sampled_from([1.0, -1.0]))
def test_any_record_gives_a_code_or_a_curve(samples, sign) -> None:
    t, i, v = (np.array([s[k] for s in samples], dtype=np.float64) for k in range(3))
    span = np.zeros(2, dtype=np.int64)
    charge, current, code = find_sweep(t, i, v, sign, span)
    assert code in {status.OK, status.NOT_FOUND, status.BAD_INPUT}
    assert (code == status.OK) == bool(np.isfinite(charge) and np.isfinite(current))
    z, volts = np.empty(50), np.empty(50)
    count = even_points(t, i, v, sign, span, charge, z, volts)
    assert 0 <= count <= 50 and np.isfinite(z[:count]).all() and (np.diff(z[:count]) >= 0).all()


def test_sweep_is_the_longest_run_and_points_lie_evenly() -> None:
    t = np.arange(2000.0)
    i = np.where(t < 300, 2.0, np.where(t < 500, 0.0, np.where(t < 1800, -1.0, -0.3)))
    v = np.where(i < 0, 4.0 - 0.001 * (t - 500), 3.0)
    v[700] = np.nan
    t[701] = t[699]
    span = np.zeros(2, dtype=np.int64)
    charge, current, code = find_sweep(t, i, v, -1.0, span)
    assert code == status.OK and list(span) == [500, 1800]
    assert charge == pytest.approx(-1299.0) and current == pytest.approx(-1.0)
    z, volts = np.empty(100), np.empty(100)
    assert even_points(t, i, v, -1.0, span, charge, z, volts) == 100
    assert (np.diff(z) > 0).all() and abs(z - (np.arange(100) + 0.5) / 100).max() < 0.003
    np.testing.assert_allclose(volts, 4.0 - 1.299 * (1.0 - z), atol=1e-9)
