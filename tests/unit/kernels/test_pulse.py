"""Edges, stale rows, interpolation, spread and any floats, on the kernel itself."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import pulse, pulse_edges, status

TAU = (1.0, 3.0, 10.0, 30.0)
NAN = float("nan")


def call(time, current, voltage, offsets=None, *, extra=None, slope=NAN, settings=(), tau=TAU, space=8):
    """Number, found, places, r, sd, code (pulses first), record codes."""
    time, current, voltage = (np.asarray(a, dtype=np.float64) for a in (time, current, voltage))
    edges = np.array([0, time.size] if offsets is None else offsets, dtype=np.int64)
    beside = np.full((4, time.size), NAN) if extra is None else np.asarray(extra, dtype=np.float64)
    chosen = np.array([NAN, NAN, NAN, 0.0])
    for at, value in settings:
        chosen[at] = value
    found, places = np.empty((space, pulse.FOUND_COLUMNS)), np.empty((space, pulse.PLACE_COLUMNS), dtype=np.int64)
    r, sd = np.empty((space, len(tau))), np.empty((space, len(tau)))
    code, record = np.empty((space, len(tau)), dtype=np.uint8), np.empty(edges.size - 1, dtype=np.uint8)
    slopes = np.full(edges.size - 1, slope)
    n = pulse.pulses(
        time, current, voltage, beside, edges, slopes, np.array(tau), chosen, found, places, r, sd, code, record
    )
    m = min(n, space)
    return n, found[:m], places[:m], r[:m], sd[:m], code[:m], record


def step(amps=-5.0, ohm=0.03, seconds=40.0, every=0.5, rest_rows=5, after=5):
    """Rest, a load of constant resistance, rest: time, current, voltage."""
    load = np.arange(0.0, seconds, every)
    time = np.concatenate([np.arange(-rest_rows, 0.0), load, seconds + np.arange(after)])
    current = np.concatenate([np.zeros(rest_rows), np.full(load.size, amps), np.zeros(after)])
    return time, current, 3.7 + ohm * current


def test_worked_example() -> None:
    """3.700 V at rest; 3.520 V and 3.490 V at 9.5 and 10.5 s under -5 A: 3.505 V at 10 s, 195 mV / 5 A = 39 mohm.

    Noise 1 mV given: weights 1/2 and 1/2 make sqrt(1/4 + 1/4 + 1) = 1.2247 mV, a line between them adds
    0.5 * 0.5 / 20 s of the slope over 7.5 to 12.5 s, which is -30 mV/s: 0.375 mV. Together 1.281 mV,
    0.2562 mohm at 5 A.
    """
    time = [-2.0, -1.0, 0.0, 1.0, 3.0, 9.5, 10.5, 12.0]
    current = [0.0, 0.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0]
    voltage = [3.7, 3.7, 3.57, 3.56, 3.55, 3.52, 3.49, 3.445]
    settings = [(pulse.S_NOISE, 1e-3), (pulse.S_RESOLUTION, 0.0)]
    n, found, places, r, sd, code, record = call(time, current, voltage, settings=settings)
    assert (n, list(record), list(code[0])) == (1, [status.OK], [0, 0, 0, status.TOO_SHORT])
    np.testing.assert_allclose(r[0, :3], [0.028, 0.03, 0.039], rtol=1e-12)
    assert sd[0, 2] == pytest.approx(np.hypot(np.sqrt(1.5) * 1e-3, 0.03 * 0.25 / 20.0) / 5.0, rel=1e-12)
    assert sd[0, 2] == pytest.approx(0.2562e-3, rel=1e-3)
    assert np.isnan(r[0, 3]) and np.isnan(sd[0, 3])
    assert list(places[0, :5]) == [0, 1, 2, 2, 7] and found[0, pulse.CURRENT_STEP] == -5.0


def test_variance_of_the_soc_comes_in_through_the_slope() -> None:
    """dR/dSOC = -0.3 ohm with 1 % of SOC is 3 mohm, beside 0.2562 mohm of noise."""
    time, current, voltage = step(every=0.5)
    plain = call(time, current, voltage, settings=[(pulse.S_NOISE, 1e-3)])
    extra = np.stack(
        [np.full(time.size, 0.5), np.full(time.size, 0.01), np.full(time.size, 25.5), np.full(time.size, NAN)]
    )
    with_soc = call(time, current, voltage, extra=extra, slope=-0.3, settings=[(pulse.S_NOISE, 1e-3)])
    np.testing.assert_allclose(with_soc[4], np.hypot(plain[4], 3e-3), rtol=1e-12)
    assert list(with_soc[1][0, [pulse.SOC, pulse.SOC_SD, pulse.TEMPERATURE]]) == [0.5, 0.01, 25.5]
    np.testing.assert_array_equal(with_soc[3], plain[3])


@pytest.mark.parametrize("amps", [-5.0, 5.0])
@pytest.mark.parametrize("stale", [1, 2, 3])
@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("rest_rows", [1, 6])
def test_zero_current_rows_with_the_loaded_voltage_are_no_rest(amps, stale, repeated, rest_rows) -> None:
    time, current, voltage = step(amps=amps, rest_rows=rest_rows)
    load_v = voltage[rest_rows] - 0.002 * np.sign(amps)
    stamps = np.full(stale, time[rest_rows]) if repeated else time[rest_rows] - 0.05 * np.arange(stale, 0, -1)
    time = np.insert(time, rest_rows, stamps)
    current = np.insert(current, rest_rows, np.zeros(stale))
    voltage = np.insert(voltage, rest_rows, np.full(stale, load_v))
    _, found, places, r, _, code, _ = call(time, current, voltage)
    assert list(places[0, 1:4]) == [rest_rows - 1, rest_rows, rest_rows + stale]
    assert (code == status.OK).all() and found[0, pulse.TIME] == stamps[0]
    np.testing.assert_allclose(r[0], 0.03, rtol=1e-9)


def test_a_rest_whose_only_row_is_stale_is_refused() -> None:
    time, current, voltage = step(rest_rows=1)
    voltage[0] = voltage[1] + 0.01  # 2 mohm instead of 30
    time[0] = time[1] - 0.02
    _, _, places, r, _, code, _ = call(time, current, voltage)
    assert (code == status.NO_REST).all() and np.isnan(r).all() and places[0, pulse.REST_ROW] == 0


def test_relaxation_and_noise_at_rest_are_not_taken_for_a_stale_row() -> None:
    time, current, voltage = step(ohm=1e-3, rest_rows=30)  # a step of 5 mV
    rng = np.random.default_rng(2)
    voltage = voltage + 5e-4 * rng.standard_normal(time.size)
    voltage[:30] += 0.05 * np.exp(-np.arange(30) / 10.0)  # still falling by 5 mV in ten seconds, towards the load
    _, _, places, _, _, _, _ = call(time, current, voltage)
    assert places[0, pulse.REST_ROW] == 29


def test_several_pulses_both_ways_with_stale_rows_after_the_load() -> None:
    one, two = step(amps=-5.0, ohm=0.03, after=60), step(amps=3.0, ohm=0.04, after=60)
    for record in (one, two):  # zero current with the loaded voltage, then a loaded row of the same stamp, then rest
        at = np.flatnonzero(record[1])[-1] + 1
        record[2][at] = record[2][at - 1]
    time, current, voltage = (np.concatenate([a, b]) for a, b in zip(one, two, strict=True))
    time[one[0].size :] += 200.0
    at = np.flatnonzero(current == -5.0)[-1] + 2
    time, current = np.insert(time, at, time[at - 1]), np.insert(current, at, -5.0)
    voltage = np.insert(voltage, at, voltage[at - 1])
    n, found, places, r, _, code, _ = call(time, current, voltage)
    assert n == 2 and list(np.sign(found[:, pulse.CURRENT_STEP])) == [-1.0, 1.0]
    np.testing.assert_allclose(r, [[0.03] * 4, [0.04] * 4], rtol=1e-9)
    assert places[0, pulse.LAST_ROW] == at and (code == status.OK).all()


def test_noise_around_the_limit_of_rest_is_no_pulse_unless_asked_for() -> None:
    """The held voltage of a CV phase leaves a current that dithers around 2 % of the largest."""
    time, current, voltage = step(after=60)
    current[-30:] = -0.11 * (np.arange(30) % 4 < 2)
    assert call(time, current, voltage)[0] == 1
    assert call(time, current, voltage, settings=[(pulse.S_REST, 0.1)], space=30)[0] == 9


def test_swings_of_a_drive_cycle_are_no_pulses() -> None:
    time = np.arange(600.0)
    current = np.where(time < 5.0, 0.0, 5.0 * np.sin(time))
    n, *_, record = call(time, current, 3.7 + 0.03 * current, space=200)
    assert n == 0 and list(record) == [status.NOT_FOUND]


def test_each_refusal() -> None:
    time, current, voltage = step(seconds=5.0)
    assert list(call(time, current, voltage)[5][0]) == [0, 0, status.TOO_SHORT, status.TOO_SHORT]
    far = [-1.0, 0.0, 8.0, 40.0]
    assert list(call(far, [0, -5, -5, -5], [3.7, 3.6, 3.5, 3.4])[5][0, :3]) == [status.NOT_SAMPLED] * 3
    assert (call(time[5:], current[5:], voltage[5:])[5] == status.NO_REST).all()
    assert (call(time, current, 7.4 - voltage)[5][0, :2] == status.BAD_INPUT).all()
    ramp = np.where(current != 0.0, current * (1.0 + 0.5 * time), 0.0)
    assert (call(time, ramp, 3.7 + 0.03 * ramp)[5][0, :2] == status.NOT_HELD).all()
    back = time.copy()
    back[:5] += 100.0
    assert (call(back, current, voltage)[5] == status.BAD_TIME).all()
    few = call([-1.0, 0.0, 1.0, 3.0], [0, -5, -5, -5], [3.7, 3.57, 3.56, 3.55])
    assert list(few[5][0, :2]) == [status.SPREAD_UNKNOWN] * 2 and np.isnan(few[4]).all()
    assert few[3][0, 1] == pytest.approx(0.03)
    for empty in (call([], [], []), call([NAN] * 4, [1.0] * 4, [NAN] * 4)):
        assert empty[0] == 0 and list(empty[6]) == [status.BAD_INPUT]
    assert list(call(time, 0.0 * current, voltage)[6]) == [status.NOT_FOUND]


def test_the_last_interval_may_be_bridged_and_no_more() -> None:
    """1 Hz over a 10 s pulse ends at row 9 s: 10 s is read from there, 12 s is not."""
    time, current, voltage = step(seconds=10.0, every=1.0)
    code, r = (call(time, current, voltage, tau=(10.0, 12.0))[k][0] for k in (5, 3))
    assert list(code) == [status.OK, status.TOO_SHORT] and r[0] == pytest.approx(0.03, rel=1e-9)


def test_repeated_stamps_inside_a_pulse_change_nothing() -> None:
    time, current, voltage = step(every=0.5)
    again = np.repeat(np.arange(time.size), 1 + (np.arange(time.size) % 3 == 0))
    np.testing.assert_allclose(call(time[again], current[again], voltage[again])[3], 0.03, rtol=1e-9)


def test_records_of_a_batch_do_not_see_each_other_and_space_is_asked_for() -> None:
    parts = [step(), ([], [], []), step(amps=4.0, ohm=0.05, rest_rows=2), step(seconds=5.0)]
    time, current, voltage = (np.concatenate([part[k] for part in parts]) for k in range(3))
    edges = np.cumsum([0] + [len(part[0]) for part in parts])
    n, _, places, r, sd, code, record = call(time, current, voltage, edges)
    assert n == 3 and list(places[:, pulse.RECORD]) == [0, 2, 3]
    assert list(record) == [status.OK, status.BAD_INPUT, status.OK, status.OK]
    for row, k in enumerate((0, 2, 3)):
        alone = call(*parts[k])
        for got, own in zip((r, sd, code), alone[3:6], strict=True):
            np.testing.assert_array_equal(got[row], own[0])
    n, *_, record = call(time, current, voltage, edges, space=1)
    assert n == 3 and list(record) == [status.OK, status.BAD_INPUT, status.OUT_OF_SPACE, status.OUT_OF_SPACE]


def test_noise_and_resolution_are_found() -> None:
    rng = np.random.default_rng(5)
    time = np.cumsum(rng.uniform(0.05, 0.15, 4000))
    rows = np.arange(time.size)
    values = 3.0 + 0.01 * time + 2e-4 * rng.standard_normal(time.size)
    noise, freedom = pulse_edges.noise_of(time, values, rows, 0, -1, 0, time.size - 1)
    assert noise == pytest.approx(2e-4, rel=0.05) and freedom == pytest.approx(4000 / 1.944, rel=0.02)
    assert pulse_edges.resolution_of(values, rows, rows.size) < 1e-6
    assert pulse_edges.resolution_of(np.rint(values / 1e-4) * 1e-4, rows, rows.size) == pytest.approx(1e-4)


def test_any_floats_give_a_status() -> None:
    """NaN, inf, 1e30, equal and decreasing stamps: codes only, and a value exactly where the code says so."""
    rng = np.random.default_rng(11)
    odd = np.array([NAN, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-300, 1e15, 1e308, 1.0, -1.0])
    known = {
        status.OK, status.BAD_INPUT, status.BAD_TIME, status.TOO_SHORT, status.NOT_SAMPLED, status.NO_REST,
        status.NOT_HELD, status.SPREAD_UNKNOWN,
    }  # fmt: skip
    good = 0
    for _ in range(1500):
        time, current, voltage = (np.array(a) for a in step(seconds=rng.choice([5.0, 40.0]), rest_rows=3))
        for column in (time, current, voltage):
            spoiled = rng.random(column.size) < rng.choice([0.0, 0.02, 0.3, 1.0])
            column[spoiled] = rng.choice(odd, spoiled.sum())
        if rng.random() < 0.3:
            time = rng.permutation(time)
        setting = [(int(rng.integers(0, 3)), float(rng.choice([0.0, 1e-300, 1e-3, 1e30])))]
        setting.append((pulse.S_BACK, float(rng.choice([0.0, 0.5, NAN]))))
        n, found, places, r, sd, code, _ = call(time, current, voltage, settings=setting, space=time.size)
        assert n <= time.size and set(code.ravel()) <= known
        usable = (code == status.OK) | (code == status.SPREAD_UNKNOWN)
        assert np.isfinite(r[usable]).all() and np.isnan(r[~usable]).all()
        assert np.isfinite(sd[code == status.OK]).all() and np.isnan(sd[code != status.OK]).all()
        last = np.isfinite(found[:, pulse.END_OHM])
        assert (last == np.isin(places[:, pulse.END_CODE], [status.OK, status.SPREAD_UNKNOWN])).all()
        assert set(places[:, pulse.STAMPS]) <= set(range(4)) and np.isfinite(found[:, pulse.END_V]).all()
        assert (places >= -1).all() and (places < max(time.size, 1)).all() and np.isfinite(found[:, pulse.TIME]).all()
        good += int((code == status.OK).sum())
    assert good > 300
