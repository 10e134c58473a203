import math

import numpy as np
import polars as pl
import pytest

from kernels import relaxation_search as layout
from kernels import status
from twin.relaxation import REASONS, V_S_PER_MV_H, fit_relaxation, fit_relaxations


def rest(rng, hours=6.0, k_mv_h=0.1, amplitude=-0.02, tau=2000.0, noise=5e-5):
    t = np.arange(10.0, 3600.0 * hours + 1.0, 10.0)
    v = 3.6 - amplitude * np.exp(-((t / tau) ** 0.8)) - k_mv_h * V_S_PER_MV_H * t
    return t, v + noise * rng.standard_normal(t.size)


def test_one_record_and_its_units() -> None:
    t, v = rest(np.random.default_rng(1))
    found = fit_relaxation(t, v, 0.0)
    assert found.status[0] == status.OK and found.reason(0) == ""
    assert abs(found.k_mv_h[0] - 0.1) < 4.0 * found.k_sd_mv_h[0] < 0.1
    assert found.k_v_s[0] == pytest.approx(found.k_mv_h[0] / 3.6e6)
    assert found.tau_s[0] == pytest.approx(2000.0, rel=0.02) and found.beta[0] == pytest.approx(0.8, rel=0.02)
    np.testing.assert_allclose(found.voltage_v(0, t), v, atol=3e-4)
    assert (found.samples[0], found.duration_s[0]) == (t.size, t[-1])


def test_a_batch_is_its_records_and_a_short_one_is_refused_by_name() -> None:
    rng = np.random.default_rng(2)
    parts = [rest(rng), rest(rng, hours=0.4), (np.empty(0), np.empty(0))]
    ends = np.concatenate([[0], np.cumsum([t.size for t, _ in parts])])
    flat = [np.concatenate([part[column] for part in parts]) for column in (0, 1)]
    found = fit_relaxations(*flat, ends, np.zeros(3))
    assert found.k_v_s[0] == fit_relaxation(*parts[0], 0.0).k_v_s[0]
    assert list(found.status) == [status.OK, status.NOT_IDENTIFIABLE, status.WAITING]
    assert found.reason(1).startswith("K not identifiable") and "fewer than" in found.reason(2)
    assert math.isnan(found.k_v_s[1]) and math.isnan(found.v_inf_v[1])
    assert math.isfinite(found.end_slope_v_s[1])


def test_the_rest_began_before_the_record_does() -> None:
    t, v = rest(np.random.default_rng(3))
    late = t > 600.0
    found = fit_relaxation(t[late] + 1e5, v[late], 1e5)
    assert found.tau_s[0] == pytest.approx(2000.0, rel=0.1)


def test_warming_by_a_kelvin_is_no_leak() -> None:
    """0.3 mV/K over 1 K in six hours is 0.05 mV/h; the coefficient takes it out."""
    t, v = rest(np.random.default_rng(4))
    warm = 25.0 + t / t[-1]
    raw = fit_relaxation(t, v + 3e-4 * warm, 0.0)
    told = fit_relaxation(t, v + 3e-4 * warm, 0.0, temperature_c=warm, entropic_v_k=3e-4)
    assert raw.k_mv_h[0] < 0.07
    assert abs(told.k_mv_h[0] - 0.1) < 4.0 * told.k_sd_mv_h[0]


def test_relaxed_cells() -> None:
    rng = np.random.default_rng(5)
    t = 60.0 * np.arange(1000.0)
    found = fit_relaxation(t, 3.6 - 0.02 * V_S_PER_MV_H * t + 1e-4 * rng.standard_normal(t.size), relaxed=True)
    assert abs(found.k_mv_h[0] - 0.02) < 4.0 * found.k_sd_mv_h[0]
    assert math.isnan(found.tau_s[0])
    assert np.isfinite(found.voltage_v(0, t)).all()


def test_every_reason_has_words() -> None:
    assert sorted(REASONS) == list(range(layout.WHY_DRIFTS + 1))


def test_shapes_and_limits_are_checked() -> None:
    t = np.arange(30.0)
    for call in (
        lambda: fit_relaxation(t, t[:-1]),
        lambda: fit_relaxations(t, t, np.array([0, 10])),
        lambda: fit_relaxations(t, t, np.array([0, 20, 10, 30])),
        lambda: fit_relaxations(t, t, np.array([0, 30]), np.zeros(2)),
        lambda: fit_relaxation(t.reshape(2, 15), t),
        lambda: fit_relaxation(t, t, k_sd_max_mv_h=math.nan),
        lambda: fit_relaxation(t, t, temperature_c=t[:-1], entropic_v_k=1e-4),
    ):
        with pytest.raises(ValueError, match=r"samples|offsets|start_s|flat|k_sd_max"):
            call()


@pytest.mark.data
def test_no_measured_rest_is_given_a_leak_that_is_relaxation(measured_data) -> None:
    """Six hours of rest of a fresh coin cell and of an LG M50 after C/10: still relaxing, so no K, but a slope."""
    coin = pl.read_parquet(measured_data / "coin_formation.parquet").filter(pl.col("step") == 1)
    found = fit_relaxation(coin["time_s"].to_numpy(), coin["voltage_v"].to_numpy(), 0.0)
    assert found.status[0] == status.NOT_IDENTIFIABLE
    assert "first half" in found.reason(0)
    slope = 24.0 * found.end_slope_v_s[0] / V_S_PER_MV_H
    print(f"coin cell: {slope:.1f} mV/day at the end of the rest, noise {1e3 * found.noise_v[0]:.2f} mV")
    assert -25.0 < slope < -12.0
    c10 = pl.read_parquet(measured_data / "lgm50_c10.parquet")
    start = c10.filter(pl.col("step") == 5)["time_s"].max()
    after = c10.filter(pl.col("step") == 6)
    found = fit_relaxation(after["time_s"].to_numpy(), after["voltage_v"].to_numpy(), start)
    assert found.status[0] == status.NOT_IDENTIFIABLE
    assert found.end_slope_v_s[0] > 0.0
