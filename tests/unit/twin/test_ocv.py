from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kernels import status
from twin.ocv import OcvCurve, SlowTest, branches, ocv, ocv_batch


def slow_cell(capacity_ah=2.0, half_v=0.015, ohm=0.02, seed=3, top_up=True):
    """A simulated C/25 test: rest, discharge, rest, charge, and the charge finished without rows in between."""
    rng = np.random.default_rng(seed)
    amps, dt = capacity_ah / 25, 20.0
    z = 1.0 - np.arange(0, 25 * 3600, dt) * amps / 3600 / capacity_ah

    def true(soc):
        return 3.0 + 0.8 * soc + 0.1 * np.tanh((soc - 0.4) / 0.05)

    rest = np.full(30, 0.0)
    current = np.concatenate([rest, np.full(len(z), -amps), rest, np.full(len(z), amps), rest])
    voltage = np.concatenate(
        [
            np.full(30, true(1.0) - half_v),
            true(z) - half_v - amps * ohm,
            np.full(30, true(z[-1]) - half_v),
            true(z[::-1]) + half_v + amps * ohm,
            np.full(30, true(1.0) + half_v),
        ]
    )
    time = np.arange(len(current)) * dt
    return SlowTest(time, current, np.round(voltage + 1e-4 * rng.standard_normal(len(time)), 4)), true


def test_a_simulated_cell_comes_back() -> None:
    test, true = slow_cell()
    curve = ocv(test)
    assert curve.status == status.OK and curve.reason == ""
    assert abs(curve.discharge_ah / 2.0 - 1) < 1e-3 and abs(curve.capacity_difference) < 1e-3
    assert abs(curve.ohmic_ohm - 0.02) < 0.003
    inner = slice(25, -25)
    np.testing.assert_allclose(curve.ocv_v[inner], true(curve.soc[inner]), atol=1.5e-3)
    np.testing.assert_allclose(curve.hysteresis_v[inner], 0.015, atol=1.5e-3)
    inside = np.abs(curve.ocv_v - true(curve.soc)) <= 1.96 * curve.ocv_v_sd
    assert inside[inner].mean() > 0.9
    assert (np.diff(curve.ocv_v) > 0).all()


def test_a_row_at_rest_that_carries_the_step_does_not_hide_the_resistance() -> None:
    test, _ = slow_cell(half_v=0.0, ohm=0.1)
    for row in (29, 29 + 4500 + 30):
        test.voltage_v[row] = test.voltage_v[row + 1]
    assert abs(ocv(test).ohmic_ohm - 0.1) < 0.01


def polled(dt, ohm=0.05, capacity_ah=5.0, counted=True):
    """A C/10 discharge and charge (its last tenth C/20) seen every `dt` seconds: R and a slow part, 30 mOhm, 300 s."""
    time, amps = np.arange(-3600.0, 25 * 3600.0, 1.0), capacity_ah / 10
    ends = [time < end for end in (0, 36_000, 40_000, 72_400, 79_600)]
    current = np.select(ends, [0.0, -amps, 0.0, amps, 0.5 * amps], 0.0)
    net = np.concatenate([[0.0], np.cumsum(current[:-1])])
    soc = 1.0 + net / 3600 / capacity_ah
    slow = np.zeros(len(time))
    for k in range(1, len(time)):
        slow[k] = slow[k - 1] + (0.03 * current[k] - slow[k - 1]) / 300.0
    # At empty the voltage turns steeply, as a cell's does: in a minute by more than the resistance makes.
    true = (
        3.3 + 0.6 * soc - 0.6 * np.exp(-np.maximum(soc, 0.0) / 0.02) + 0.02 * np.exp(-np.maximum(1.0 - soc, 0.0) / 0.01)
    )
    rows = slice(2 * dt // 3, None, dt)
    seen = true + slow + ohm * current
    return SlowTest(time[rows], current[rows], seen[rows], net_ah=net[rows] / 3600 if counted else None)


@pytest.mark.parametrize("dt", [20, 60, 100])
@pytest.mark.parametrize("counted", [True, False])
def test_slow_polls_leave_no_end_without_a_voltage_and_their_ends_no_resistance(dt, counted) -> None:
    fine, curve = ocv(polled(1)), ocv(polled(dt, counted=counted))
    assert curve.reason == "" and np.isfinite(curve.ocv_v).all()
    # By the first row after the discharge's edge: the slow part, and what the open-circuit voltage has fallen.
    most = 0.05 + 0.03 * (1.0 - np.exp(-dt / 300.0)) + 2.6 * dt / 18_000.0
    assert 0.05 <= curve.ohmic_ohm < most
    away, inner = np.abs(curve.ocv_v - fine.ocv_v), slice(20, -20)
    assert away[inner].max() < 0.004
    # Without a counter the edge lies anywhere between two rows, which the deviation at empty does not hold.
    assert (away < 1.96 * curve.ocv_v_sd)[0 if counted else 4 :].all()
    assert abs(fine.ohmic_ohm - 0.05) < 0.002


def test_a_row_long_after_a_discharges_end_is_no_step() -> None:
    """The last row of the load is a minute old when it ends, and by then the voltage has fallen on by more."""
    test = polled(60)
    last = np.flatnonzero(test.current_a < 0.0)[-1]
    step = (test.voltage_v[last + 1] - test.voltage_v[last]) / 0.5
    assert step < 0.03 < 0.05 <= ocv(test).ohmic_ohm


def test_a_beginning_that_was_missed_is_still_refused() -> None:
    test = polled(60)
    first = np.flatnonzero(test.current_a < 0.0)[0]
    keep = np.ones(len(test.time_s), dtype=bool)
    keep[first : first + 10] = False  # 1.6 % of the charge
    time, current, voltage, net = (c[keep] for c in (test.time_s, test.current_a, test.voltage_v, test.net_ah))
    assert ocv(SlowTest(time, current, voltage, net_ah=net)).status == status.NOT_IDENTIFIABLE


def test_batch_equals_one_by_one_and_refuses_in_words() -> None:
    good, _ = slow_cell()
    only = SlowTest(good.time_s[:4500], good.current_a[:4500], good.voltage_v[:4500])
    empty = SlowTest(np.empty(0), np.empty(0), np.empty(0))
    results = ocv_batch([only, good, empty])
    assert "no slow charge and slow discharge" in results[0].reason and np.isnan(results[0].ocv_v).all()
    assert results[2].status == status.BAD_INPUT
    np.testing.assert_array_equal(results[1].ocv_v, ocv(good).ocv_v)
    holed = SlowTest(good.time_s, np.where(np.arange(len(good.time_s)) == 900, np.nan, good.current_a), good.voltage_v)
    assert ocv(holed).status == status.DEGRADED and abs(ocv(holed).discharge_ah - 2.0) < 2e-3


def test_a_coarse_grid_is_a_thinned_fine_one() -> None:
    test, _ = slow_cell()
    fine, coarse = ocv(test), ocv(test, points=11)
    np.testing.assert_allclose(coarse.ocv_v, fine.ocv_v[::20], rtol=1e-12)
    assert len(ocv(test, points=401).ocv_v) == 401 and len(ocv(test, points=7).soc) == 7


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        ocv(SlowTest(np.zeros(3), np.zeros(2), np.zeros(3)))
    with pytest.raises(ValueError, match="5 to"):
        ocv(slow_cell()[0], points=3)


def test_any_floats_give_a_result() -> None:
    rng = np.random.default_rng(4)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 1e-310, 1.0, 1.0, 3.7])
    for _ in range(300):
        n = int(rng.integers(0, 60))
        columns = [rng.choice(odd, n) if rng.random() < 0.5 else np.linspace(-1, 1, n) for _ in range(5)]
        curve = ocv(SlowTest(columns[0], columns[1], columns[2], columns[3], columns[4]))
        assert isinstance(curve, OcvCurve)
        assert np.isfinite(curve.ocv_v).all() or curve.reason


def measured(path: Path, *counters: str, script: str | None = None) -> SlowTest:
    table = pl.read_parquet(path)
    columns = [table[n].cast(pl.Float64).to_numpy() for n in ("time_s", "current_a", "voltage_v", *counters)]
    return SlowTest(*columns, script=None if script is None else table[script].cast(pl.Float64).to_numpy())


@pytest.mark.data
def test_a123_capacities_agree_and_the_curve_rises(measured_data: Path) -> None:
    """Four scripts by Plett: within 0.5 %; the plateau of LFP at mid-charge 3.29 to 3.32 V."""
    counters = ("charge_capacity_ah", "discharge_capacity_ah")
    test = measured(measured_data / "a123_ocv_25c.parquet", *counters, script="script")
    curve = ocv(test)
    print(f"A123: {curve.discharge_ah:.5f} / {curve.charge_ah:.5f} Ah, {curve.capacity_difference:.3%}")
    assert curve.reason == "" and abs(curve.capacity_difference) < 0.005
    # The counters' own sums, script by script (net of the top-ups).
    assert abs(curve.discharge_ah - 2.072543) < 5e-4 and abs(curve.charge_ah - 2.081009) < 5e-4
    assert (np.diff(curve.ocv_v) > 0).all()
    middle = (curve.soc > 0.45) & (curve.soc < 0.55)
    assert ((curve.ocv_v > 3.29) & (curve.ocv_v < 3.32))[middle].all()
    assert ((curve.hysteresis_v > 0.008) & (curve.hysteresis_v < 0.025))[middle].all()
    assert (curve.ocv_v_sd[middle] < 0.004).all()


@pytest.mark.data
def test_lgm50_takes_the_slow_pair_and_ends_at_its_rests(measured_data: Path) -> None:
    test = measured(measured_data / "lgm50_c10.parquet")
    assert [round(b.current_a, 2) for b in branches(test, 0.4)] == [1.5, -0.5, 0.5]
    curve = ocv(test)
    assert curve.reason == "" and (np.diff(curve.ocv_v) > 0).all()
    assert abs(curve.discharge_ah - 4.8137) < 1e-3
    assert 0.025 < curve.ohmic_ohm < 0.035
    # Two hours of rest before the discharge ended at 4.1838 V, six hours after it at 2.9123 V.
    assert abs(curve.ocv_v[-1] - 4.1838) < 1.96 * curve.ocv_v_sd[-1]
    assert abs(curve.ocv_v[0] - 2.9123) < 1.96 * curve.ocv_v_sd[0]
