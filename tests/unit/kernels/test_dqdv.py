import math

import numpy as np

from kernels import dqdv, dqdv_peaks, status


def slope(x, y, start, h, points, sd=0.0, noise_of_x=True, offsets=None):
    offsets = np.array([0, len(x)]) if offsets is None else np.asarray(offsets)
    n = len(offsets) - 1
    value, value_sd, code = np.empty((n, points)), np.empty((n, points)), np.empty(n, dtype=np.uint8)
    full = [np.full(n, float(a)) if np.ndim(a) == 0 else np.asarray(a, float) for a in (start, h, sd)]
    x, y = np.asarray(x, float), np.asarray(y, float)
    dqdv.slope_batch(x, y, offsets, *full, noise_of_x, value, value_sd, code)
    return value, value_sd, code


def triweight_moment(power):
    u = np.linspace(-1, 1, 20_001)
    return np.trapezoid(u**power * 35 / 32 * (1 - u * u) ** 3, u)


def test_the_kernel_has_unit_mass_and_a_third_of_its_reach_as_standard_deviation() -> None:
    """Wand and Jones: the triweight's second moment is 1/9."""
    assert math.isclose(triweight_moment(0), 1.0, rel_tol=1e-6)
    assert math.isclose(triweight_moment(2), 1 / 9, rel_tol=1e-6)
    for u in (-1.0, -0.3, 0.0, 0.7, 1.0, 2.0):
        t = np.linspace(-1, min(u, 1), 20_001)
        assert math.isclose(dqdv._cumulative(u), np.trapezoid(35 / 32 * (1 - t * t) ** 3, t), abs_tol=1e-6)


def test_worked_example_a_straight_line_keeps_its_slope_to_the_very_ends() -> None:
    """y = 2.5 x over 0 to 1, uneven rows: 2.5 at every grid point, the ends too."""
    x = np.sort(np.concatenate([[0.0, 1.0], np.random.default_rng(1).random(300)]))
    value, _, code = slope(x, 2.5 * x, 0.0, 0.02, 201)
    assert code[0] == status.OK
    np.testing.assert_allclose(value[0], 2.5, rtol=2e-3)
    np.testing.assert_allclose(value[0, 12:-12], 2.5, rtol=1e-9)


def test_worked_example_a_step_of_charge_is_the_kernel_itself() -> None:
    """All of 7 C moved at 0.5 V: 7 K((v - 0.5)/h)/h, height 7 * 35/32 / (3 h), area 7."""
    x = np.concatenate([np.linspace(0, 0.5, 50), np.full(400, 0.5), np.linspace(0.5, 1.0, 50)])
    y = np.concatenate([np.zeros(50), np.linspace(0, 7, 400), np.full(50, 7.0)])
    value, _, _ = slope(x, y, 0.0, 0.02, 201)
    assert math.isclose(value[0].max(), 7 * 35 / 32 / 0.06, rel_tol=0.01)
    assert math.isclose(value[0].sum() * 0.005, 7.0, rel_tol=1e-4)


def test_a_gaussian_peak_widens_as_variances_add() -> None:
    """Peak of SD 30 mV seen at h = 10 mV: SD sqrt(30^2 + 10^2) mV, to a percent."""
    v = np.linspace(3.0, 4.0, 20_000)
    q = np.cumsum(np.exp(-0.5 * ((v - 3.5) / 0.03) ** 2)) * (v[1] - v[0])
    value, _, _ = slope(v, q, 3.0, 0.01, 401)
    grid = 3.0 + 0.0025 * np.arange(401)
    f = np.nan_to_num(value[0])
    assert math.isclose(np.sqrt(((grid - 3.5) ** 2 * f).sum() / f.sum()), math.hypot(0.03, 0.01), rel_tol=0.01)


def test_discharge_gives_the_same_positive_curve_and_differential_voltage_the_inverse() -> None:
    v = 3.0 + np.linspace(0, 1, 3000) ** 1.5
    q = np.linspace(0, 3600, 3000)
    up, _, _ = slope(v, q, 3.0, 0.01, 401)
    down, _, _ = slope(v[::-1], q[::-1], 3.0, 0.01, 401)
    assert (up[0] > 0).all()
    np.testing.assert_allclose(up[0], down[0], rtol=1e-9)
    dv, _, _ = slope(q, v, 0.0, 36.0, 401, noise_of_x=False)
    dv_down, _, _ = slope(q[::-1], v[::-1], 0.0, 36.0, 401, noise_of_x=False)
    np.testing.assert_allclose(dv, dv_down, rtol=1e-9)
    np.testing.assert_allclose(dv[0, 200], 1.5 * 0.5**0.5 / 3600, rtol=2e-3)


def test_repeats_duplicates_and_quantisation_change_little() -> None:
    q = np.linspace(0, 100, 8000)
    v = 3.0 + 0.01 * q + 0.05 * np.tanh((q - 50) / 5)
    clean, _, _ = slope(v, q, 3.0, 0.01, 401)
    rough = np.round(np.repeat(v, 3), 3)
    value, _, code = slope(rough, np.repeat(q, 3), 3.0, 0.01, 401)
    assert code[0] == status.OK
    np.testing.assert_allclose(value[0, 20:400], clean[0, 20:400], rtol=0.03)


def test_stated_sd_is_that_of_the_noise() -> None:
    """2,000 draws of readings with 0.5 mV of noise: the scatter of dQ/dV is the stated one within 10 %."""
    rng = np.random.default_rng(7)
    q = np.linspace(0, 100, 400)
    v = 3.0 + 0.01 * q
    n = 2000
    x = (v + 5e-4 * rng.standard_normal((n, 400))).ravel()
    offsets = np.arange(n + 1) * 400
    ic, ic_sd, _ = slope(x, np.tile(q, n), 3.0, 0.02, 201, 5e-4, True, offsets)
    dv, dv_sd, _ = slope(np.tile(q, n), x, 0.0, 2.0, 201, 5e-4, False, offsets)
    for value, sd in ((ic, ic_sd), (dv, dv_sd)):
        inner = slice(30, 170)
        ratio = value[:, inner].std(axis=0) / sd[:, inner].mean(axis=0)
        assert 0.9 < ratio.mean() < 1.1
    estimated = np.empty(n)
    dqdv.voltage_noise(x, np.tile(q, n), offsets, estimated)
    assert 0.95 < np.median(estimated) / 5e-4 < 1.05


def test_domain() -> None:
    good = np.linspace(0, 1, 50)
    assert slope(np.full(50, np.nan), good, 0, 0.01, 50)[2][0] == status.BAD_INPUT
    assert slope([], [], 0, 0.01, 50)[2][0] == status.BAD_INPUT
    assert slope(good, good, 0, 0.0, 50)[2][0] == status.BAD_INPUT
    assert slope(good[:9], good[:9], 0, 0.01, 50)[2][0] == status.NOT_IDENTIFIABLE
    assert slope(np.full(50, 0.1), good, 0, 0.01, 101)[2][0] == status.NOT_IDENTIFIABLE
    holed = good.copy()
    holed[20] = np.nan
    value, _, code = slope(holed, good, 0, 0.02, 201)
    assert code[0] == status.DEGRADED
    np.testing.assert_allclose(value[0, 30:170], 1.0, rtol=1e-6)


@np.errstate(all="ignore")  # uncompiled, the same arithmetic warns
def test_any_floats_give_a_status() -> None:
    rng = np.random.default_rng(5)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-310, 3.7, 3.7, 1e308])
    for _ in range(300):
        n = int(rng.integers(0, 40))
        x, y = (rng.choice(odd, n) if rng.random() < 0.7 else rng.random(n) for _ in range(2))
        value, sd, code = slope(x, y, rng.choice([0.0, 3.0, np.nan, 1e30]), rng.choice([0.01, 0.0, np.nan, 1e30]), 60)
        assert code[0] <= status.DEGRADED
        assert (not np.isinf(value).any()) and not np.isinf(sd).any()
        noise = np.empty(1)
        dqdv.voltage_noise(x, y, np.array([0, n]), noise)


def find(value, sd, h=0.01, least=0.03, sigmas=5.0, most=8):
    n = len(value)
    table, found = np.empty((n, most, dqdv_peaks.PEAK_COLUMNS)), np.empty(n, dtype=np.int64)
    code = np.empty(n, dtype=np.uint8)
    dqdv_peaks.peaks_batch(value, sd, np.full(n, 3.0), np.full(n, h), least, sigmas, table, found, code)
    return table, found, code


def test_worked_example_of_peaks() -> None:
    """Two Gaussians 12 and 8 SD apart from the ends: position, height, FWHM 2.355 SD, area SD sqrt(2 pi) height."""
    grid = 3.0 + 0.0025 * np.arange(401)
    curve = 10 * np.exp(-0.5 * ((grid - 3.301) / 0.02) ** 2) + 4 * np.exp(-0.5 * ((grid - 3.7) / 0.03) ** 2)
    table, found, code = find(curve[None], np.full((1, 401), 1e-6))
    assert found[0] == 2 and code[0] == status.OK
    np.testing.assert_allclose(table[0, :2, 0], [3.301, 3.7], atol=2e-5)
    np.testing.assert_allclose(table[0, :2, 1], [10, 4], rtol=1e-3)
    np.testing.assert_allclose(table[0, :2, 2], 2.3548 * np.array([0.02, 0.03]), rtol=5e-3)
    np.testing.assert_allclose(table[0, :2, 3], math.sqrt(2 * math.pi) * np.array([0.2, 0.12]), rtol=1e-4)
    np.testing.assert_allclose(table[0, :2, 4], math.sqrt(2 * math.pi) * np.array([0.2, 0.12]), rtol=1e-4)


def test_area_above_the_higher_valley() -> None:
    """A background of 3 that steps to 4 under the first peak: both stand on 4. That valleys are flat does no harm."""
    grid = 3.0 + 0.0025 * np.arange(401)
    curve = 3.0 + 10 * np.exp(-0.5 * ((grid - 3.3) / 0.02) ** 2) + 4 * np.exp(-0.5 * ((grid - 3.7) / 0.03) ** 2)
    table, _, _ = find(curve[None], np.full((1, 401), 1e-6))
    np.testing.assert_allclose(table[0, :2, 4], math.sqrt(2 * math.pi) * np.array([0.2, 0.12]), rtol=1e-3)
    assert np.isnan(table[0, :2, 3]).all() and (table[0, :2, 9] < 1e-5).all()
    stepped = curve + 1.0 * (grid > 3.3)
    table, _, _ = find(stepped[None], np.full((1, 401), 1e-6))
    x = np.linspace(0.0, 0.2, 200_001)
    left = np.trapezoid(np.maximum(10.0 * np.exp(-0.5 * (x / 0.02) ** 2) - 1.0, 0.0), x)
    halves = math.sqrt(math.pi / 2) * 0.2 + left
    np.testing.assert_allclose(table[0, :2, 4], [halves, math.sqrt(2 * math.pi) * 0.12], rtol=6e-3)


def test_the_higher_of_two_uncertain_levels() -> None:
    """Clark 1961: of two standard normals 1/sqrt(pi) and sqrt(1 - 1/pi); far apart, the higher alone."""
    np.testing.assert_allclose(
        dqdv_peaks._higher(0.0, 1.0, 0.0, 1.0), (1 / math.sqrt(math.pi), math.sqrt(1 - 1 / math.pi))
    )
    np.testing.assert_allclose(dqdv_peaks._higher(7.0, 0.1, 3.0, 0.2), (7.0, 0.1), rtol=1e-9)
    np.testing.assert_allclose(dqdv_peaks._higher(3.0, 0.2, 7.0, 0.1), (7.0, 0.1), rtol=1e-9)
    assert dqdv_peaks._higher(3.0, 0.0, 7.0, 0.0) == (7.0, 0.0)


def test_what_is_no_peak() -> None:
    grid = np.arange(401.0)
    ripple = 5 + 0.01 * np.sin(grid / 5)
    assert find(ripple[None], np.full((1, 401), 1e-6))[1][0] == 0  # below 3 % of the highest
    bump = 5 + 0.5 * np.exp(-0.5 * ((grid - 200) / 20) ** 2)
    assert find(bump[None], np.full((1, 401), 0.2))[1][0] == 0  # within its noise
    assert find(bump[None], np.full((1, 401), 0.01))[1][0] == 1
    assert find(grid[None], np.full((1, 401), 0.01))[1][0] == 0
    _, found, code = find(np.full((1, 401), np.nan), np.full((1, 401), np.nan))
    assert found[0] == 0 and code[0] == status.NOT_IDENTIFIABLE
    comb = 1 + np.sin(grid / 3)
    assert find(comb[None], np.full((1, 401), 1e-3))[2][0] == status.OUT_OF_SPACE


def draws(background, widths, area=True, rows=600, n=2000, noise=3e-4):
    """Peaks of n noisy copies of a record with two peaks; part with two found, part inside 1.96 sd of the truth."""
    rng = np.random.default_rng(11)
    v = np.linspace(3.0, 4.0, 20_000)
    density = background + 10 * np.exp(-0.5 * ((v - 3.4) / widths[0]) ** 2)
    density += 6 * np.exp(-0.5 * ((v - 3.7) / widths[1]) ** 2)
    charge = np.cumsum(density) * (v[1] - v[0])
    q = np.linspace(charge[0], charge[-1], rows)
    exact = np.interp(q, charge, v)
    offsets = np.arange(n + 1) * rows
    x = (exact + noise * rng.standard_normal((n, rows))).ravel()
    value, sd, _ = slope(x, np.tile(q, n), 3.0, 0.01, 401, noise, True, offsets)
    clean, _, _ = slope(exact, q, 3.0, 0.01, 401, noise)
    truth = find(clean, np.nanmean(sd, axis=0)[None])[0][0, :2, : dqdv_peaks.SD]
    table, found, _ = find(value, sd)
    assert np.isfinite(table[:, :2, 3]).mean() > 0.9 if area else np.isnan(table[:, :2, 3]).mean() > 0.95
    return (found == 2).mean(), (
        np.abs(table[:, :2, : dqdv_peaks.SD] - truth) <= 1.96 * table[:, :2, dqdv_peaks.SD :]
    ).mean(axis=0)


def test_peak_sds_hold_in_2000_draws() -> None:
    """Noise on the readings: position, height, width and area lie inside 1.96 stated sd in about 95 % of draws."""
    both, inside = draws(0.2, (0.09, 0.07))
    assert both == 1.0
    assert (inside[:, :3] > 0.90).all() and (inside[:, :3] < 0.98).all() and (inside[:, 3] > 0.88).all(), inside
    assert (inside[:, 4] > 0.91).all() and (inside[:, 4] < 0.97).all(), inside


def test_where_a_flat_valley_leaves_a_peak_without_an_end_the_area_is_absent() -> None:
    """Between peaks on a flat background nothing says where one ends; position, height and width hold all the same."""
    both, inside = draws(1.0, (0.03, 0.04), area=False)
    assert both == 1.0
    assert (inside[:, :3] > 0.90).all() and (inside[:, 3] < 0.05).all(), inside
    assert (inside[:, 4] > 0.85).all(), inside  # the charge above the valley is there, its sd a little short


def test_peaks_are_followed_in_order() -> None:
    match = np.empty(3, dtype=np.int64)
    before = np.array([3.40, 3.60, 3.90])
    one = np.ones(3)
    dqdv_peaks.follow(np.array([3.42, 3.61, 3.93]), one, before, one, 0.05, match)
    assert list(match) == [0, 1, 2]
    dqdv_peaks.follow(np.array([3.42, 3.50, 3.61]), one, before, one, 0.05, match)
    assert list(match) == [0, -1, 1]  # a new one between, the last gone
    two = np.empty(2, dtype=np.int64)
    dqdv_peaks.follow(np.array([3.42, 3.44]), np.array([0.02, 1.1]), before, one, 0.05, two)
    assert list(two) == [-1, 0]  # the charge decides between two near ones
    dqdv_peaks.follow(np.array([np.nan, 1e30]), np.array([np.nan, np.inf]), before, one, 0.05, two)
    assert list(two) == [-1, -1]
