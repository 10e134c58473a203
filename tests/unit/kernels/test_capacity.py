"""The counting kernel against sums by hand, and with anything that a float can be."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import capacity as c
from kernels import capacity_cycles as cyc
from kernels import status
from kernels.capacity_scale import largest_current, span

NAN = math.nan


def halves(time_s, current_a, voltage_v=None, counter_c=None, space=50, offsets=None, **chosen):
    t, i = np.asarray(time_s, dtype=float), np.asarray(current_a, dtype=float)
    v = np.full(t.size, 3.5) if voltage_v is None else np.asarray(voltage_v, dtype=float)
    counter = np.empty(0) if counter_c is None else np.asarray(counter_c, dtype=float)
    values = {"rest": NAN, "least": NAN, "gap": 300.0, "middle": 0.0, "limit": NAN, "tolerance": 0.01} | chosen
    bounds = np.array([0, t.size] if offsets is None else offsets)
    out, half_offsets = np.full((space, c.HALF_COLUMNS), -7.0), np.empty(bounds.size, dtype=np.int64)
    records, code = np.empty((bounds.size - 1, c.RECORD_COLUMNS)), np.empty(bounds.size - 1, dtype=np.uint8)
    n = c.capacity_halves(t, i, v, counter, bounds, np.array(list(values.values())), out, half_offsets, records, code)
    return out[: min(n, space)], records, code, half_offsets


def test_worked_example_with_uneven_steps() -> None:
    """1 A for 10 s (rows 2, 3 and 5 s apart), a ramp to 0.8 A in 10 s, rest, -0.5 A for 20 s.

    Charge: 10 + 9 = 19 C (trapezoids); energy: 10 x 3.5 + (1 x 3.5 + 0.8 x 3.7)/2 x 10 = 67.3 J. Discharge: the row
    after the rest carries the step, so all 20 s have 0.5 A: 10 C, 34 J at 3.4 V.
    """
    t = [0, 0, 2, 5, 10, 20, 20.01, 40, 50, 60]
    i = [0, 1, 1, 1, 1, 0.8, 0, 0, -0.5, -0.5]
    v = [3.4, 3.5, 3.5, 3.5, 3.5, 3.7, 3.6, 3.6, 3.4, 3.4]
    out, records, code, _ = halves(t, i, v)
    assert code[0] == status.OK and len(out) == 2
    np.testing.assert_allclose(out[:, c.CHARGE_C], [19, 10], rtol=1e-12)
    np.testing.assert_allclose(out[:, c.ENERGY_J], [67.3, 34], rtol=1e-12)
    np.testing.assert_allclose(out[:, c.FLOW_S], [20, 20], rtol=1e-12)
    np.testing.assert_allclose(out[0, [c.BEGIN_V, c.END_V, c.LOW_V, c.HIGH_V]], [3.4, 3.7, 3.5, 3.7])
    np.testing.assert_allclose(out[1, [c.BEGIN_V, c.END_V, c.LOW_V, c.HIGH_V]], [3.6, 3.4, 3.4, 3.4])
    assert list(out[:, c.DIRECTION]) == [1, -1] and list(out[:, c.ENDED]) == [1, 0]
    assert records[0, c.DUPLICATES] == 1 and records[0, c.BAD_ROWS] == 0


def test_range_changes_with_duplicate_stamps_and_a_missing_row() -> None:
    """10 A, 1 A and 0.1 A ranges; the step's row repeats the stamp, or comes late: the new current holds till then."""
    t = [0, 10, 10, 20, 20.5, 30, 40]
    i = [10, 10, 1, 1, 0.1, 0.1, 0.1]
    out, records, _, _ = halves(t, i, [3, 3, 2, 2, 1, 1, 1], least=1.0)
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.ENERGY_J]], [100 + 10 + 2, 300 + 20 + 2], rtol=1e-12)
    assert records[0, c.DUPLICATES] == 1


def test_an_edge_between_polls_is_halved_and_its_deviation_stated() -> None:
    """0 A to 1 A within 6 s: 3 C with 6/sqrt(12) C; then 10 C."""
    out, _, _, _ = halves([0, 6, 16], [0, 1, 1], middle=1.0, least=1.0)
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.EDGE_C2]], [13, 36 / 12])
    out, _, _, _ = halves([0, 6, 16], [0, 1, 1], counter_c=[5, 7.5, 17.5], middle=1.0, least=1.0)
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.EDGE_C2]], [12.5, 0])  # the equipment counted 2.5 C
    out, _, _, _ = halves([0, 6, 16], [0, 1, 1], least=1.0)
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.EDGE_C2]], [16, 0])


def test_noise_spikes_pulses_rests_and_tails_do_not_split() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(8000.0)
    i = np.zeros(t.size)
    i[100:3000] = 1.0
    i[3000:4000] = np.exp(-np.arange(1000) / 200.0)  # a CV tail, down to 0.7 %
    i[5000:8000] = -1.0
    clean = i.copy()
    i[1000:1010] = -1.0  # a pulse
    i[2000] = -3.0  # a misreading
    out, _, _, _ = halves(t, i + 1e-3 * rng.standard_normal(t.size))
    assert list(out[:, c.DIRECTION]) == [1, -1]
    truth = np.sum(0.5 * (clean[1:4000] + clean[:3999])) + 0.5
    assert abs(out[0, c.CHARGE_C] - (truth - 20.0 - 4.0)) < 1.0
    assert abs(out[1, c.CHARGE_C] - 3000.0) < 1.0
    assert out[0, c.END_S] == pytest.approx(3999, abs=150)


def test_a_gap_is_not_integrated_unless_the_equipment_counted() -> None:
    t = np.r_[np.arange(1000.0), np.arange(2000.0, 3000.0)]
    i = np.ones(t.size)
    out, _, code, _ = halves(t, i)
    assert code[0] == status.AFTER_GAP
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.GAPS, c.LOST_S, c.BRIDGED]], [999 + 999, 1, 1001, 0])
    out, _, code, _ = halves(t, i, counter_c=t * 1.0)
    assert code[0] == status.OK
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.GAPS, c.LOST_S, c.BRIDGED]], [2999, 0, 0, 1])
    reset = np.where(t < 1500, 50_000 + t, 0.0)  # the counter began anew in the gap: it is no witness
    assert halves(t, i, counter_c=reset)[2][0] == status.AFTER_GAP
    out, _, code, _ = halves(t, i, gap=2000.0)
    assert code[0] == status.OK and out[0, c.CHARGE_C] == pytest.approx(2999)


def test_sparse_rows_in_rest_are_no_gap_but_a_moved_voltage_is() -> None:
    t, i = [0, 100, 200, 5000, 5100, 5200], [1, 1, 0, 0, -1, -1]
    assert halves(t, i, [3.5, 3.6, 3.55, 3.5, 3.4, 3.3])[2][0] == status.OK
    assert halves(t, i, [3.5, 3.6, 3.55, 3.1, 3.0, 2.9])[2][0] == status.AFTER_GAP


def test_bad_rows_and_times() -> None:
    good, _, _, _ = halves([0, 10, 20, 30, 40], [1, 1, 1, 1, 1])
    out, records, code, _ = halves([0, 10, 15, 20, 12, 20, 30, 40], [1, 1, NAN, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(out[0, c.CHARGE_C], good[0, c.CHARGE_C])
    assert list(records[0, [c.BAD_ROWS, c.BAD_TIMES, c.DUPLICATES]]) == [1, 1, 1] and code[0] == status.OK
    # A clock that begins anew (two scripts in one file) ends what is known, and both parts count.
    out, _, code, _ = halves([0, 10, 20, 0, 10, 20], [1, 1, 1, 1, 1, 1])
    assert code[0] == status.AFTER_GAP
    np.testing.assert_allclose(out[0, [c.CHARGE_C, c.GAPS]], [40, 1])
    assert halves([NAN, 1], [1, NAN])[2][0] == status.BAD_INPUT
    assert halves([], [])[2][0] == status.BAD_INPUT
    assert halves([0, 1], [0, 0])[2][0] == status.WAITING


def test_blocks_of_rows_give_what_single_rows_give() -> None:
    """A row without a time after every forty leaves no block of ordinary rows, and changes nothing else."""
    rng = np.random.default_rng(4)
    for seed in range(40):
        n = 3000
        at, x = np.arange(n) // (100 + 17 * seed) % 4, (np.arange(n) % (100 + 17 * seed)) / (100 + 17 * seed)
        i = np.choose(at, [np.minimum(1.0, np.exp(4.0 - 8.0 * x)), 0.0, -1.0, 0.0])
        i = i + (seed % 3) * 1e-3 * rng.standard_normal(n)
        v = np.choose(at, [3.1 + 1.1 * x, 4.15, 4.1 - x, 3.1]) + (seed % 2) * 0.02 * rng.standard_normal(n)
        t = np.cumsum(rng.uniform(0.5, 1.5, n))
        t[1:] = np.where(rng.random(n - 1) < 0.2 * (seed % 3 == 1), t[:-1], t[1:])  # repeated stamps
        odd = rng.integers(0, n, 3)
        i[odd], v[odd[::-1]], t[odd[0]] = 3.0, 2.0, t[odd[0] - 1]
        t[odd[1] :] += 500.0 * (seed % 4 == 0)
        counter = np.r_[0.0, np.cumsum(i[1:] * np.diff(t))] if seed % 5 == 0 else None
        blocks, record, _, _ = halves(t, i, v, counter, middle=float(seed % 2))
        places = np.arange(40, n, 40)
        t, i, v = np.insert(t, places, NAN), np.insert(i, places, 1.0), np.insert(v, places, 3.5)
        counter = None if counter is None else np.insert(counter, places, 0.0)
        rows, record_by_row, _, _ = halves(t, i, v, counter, middle=float(seed % 2))
        for column in (c.BEGIN_ROW, c.END_ROW, c.LOW_ROW):
            rows[:, column] -= (rows[:, column] // 41).astype(int)
        np.testing.assert_allclose(blocks, rows, rtol=1e-11, atol=1e-11)
        record_by_row[:, [c.ROWS, c.BAD_ROWS]] -= places.size
        np.testing.assert_allclose(record, record_by_row, rtol=1e-12)


def test_records_are_independent_and_space_is_reported() -> None:
    t, i = [0, 10, 20, 30], [1, 1, -1, -1]
    out, _, code, half_offsets = halves(t * 2, i + [-x for x in i], offsets=[0, 4, 4, 8])
    assert list(half_offsets) == [0, 2, 2, 4]
    assert list(code) == [status.OK, status.BAD_INPUT, status.OK]
    np.testing.assert_allclose(out[:2, c.CHARGE_C], out[2:, c.CHARGE_C])
    out, _, code, half_offsets = halves(t * 2, i * 2, offsets=[0, 4, 8], space=3)
    assert half_offsets[-1] == 4 and list(code) == [status.OK, status.OUT_OF_SPACE] and (out[2] != -7.0).all()


def test_scales() -> None:
    current = np.full(10_000, 1.5)
    current[17] = 900.0
    assert largest_current(current, 0, current.size) == 2.0
    assert largest_current(np.zeros(5), 0, 5) == 0.0
    t = np.arange(4.0)
    assert span(t, np.array([0.0, 1.0, 1.0, -1.0]), 0, 4, 300.0, 1e3, math.inf) == 2.0
    assert span(t, np.array([0.0, -1.0, -1.0, 1.0]), 0, 4, 300.0, 1e3, 1.5) == -2.0


floats = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, -1.0, 2.0, 1e30, 3.5, 20.0])
)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(floats, floats, floats, floats), max_size=30), st.booleans(), st.booleans())
def test_any_floats(rows, polled, counted) -> None:
    columns = [np.array([r[k] for r in rows], dtype=float) for k in range(4)]
    t, i, v, counter = columns
    out, records, code, half_offsets = halves(
        t, i, v, counter if counted else None, middle=float(polled), space=len(rows) + 1
    )
    assert len(out) <= len(rows) and code[0] != status.OUT_OF_SPACE
    assert np.isfinite(out).all() and (out[:, c.CHARGE_C] > 0).all()
    cycles, offsets = np.empty((len(out) + 1, cyc.CYCLE_COLUMNS)), np.empty(2, dtype=np.int64)
    vector = np.array([NAN, NAN, 300.0, float(polled), NAN, 0.01])
    n = cyc.capacity_cycles(t, i, v, vector, out, half_offsets, records, cycles, offsets)
    assert n <= len(out)
    given_ones = cycles[:n, cyc.REFUSED] == cyc.GIVEN
    assert np.isfinite(cycles[:n][given_ones][:, cyc.EFFICIENCY]).all()
    assert np.isnan(cycles[:n][~given_ones][:, cyc.EFFICIENCY]).all()
