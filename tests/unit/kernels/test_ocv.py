import numpy as np

from kernels import ocv, status


def joined(time, current, counter=None, part=None):
    n = len(time)
    counter = np.full(n, np.nan) if counter is None else np.asarray(counter, float)
    part = np.zeros(n, dtype=np.int64) if part is None else np.asarray(part, dtype=np.int64)
    out = np.empty(n)
    bad = ocv.joined_charge(part, np.asarray(time, float), np.asarray(current, float), counter, out)
    return out, bad


def batch(branches, given, points=11):
    """Branches: discharge and charge of each cell, as (soc, voltage)."""
    offsets = np.cumsum([0, *(len(b[0]) for b in branches)], dtype=np.int64)
    soc, volt = (np.concatenate([np.asarray(b[k], float) for b in branches]) for k in (0, 1))
    n = len(branches) // 2
    out, code = np.empty((n, ocv.OUTPUT_ROWS, points)), np.empty(n, dtype=np.uint8)
    ocv.ocv_batch(soc, volt, offsets, np.asarray(given, float).reshape(n, -1), out, code)
    return out, code


def test_worked_example_of_joining() -> None:
    """1 A for 10 s, a new script whose time and counter start anew, 2 A for 10 s by the counter: 10 C, then 20 C."""
    time, current = [0, 10, 0, 10], [1, 1, 2, 2]
    out, bad = joined(time, current, part=[0, 0, 1, 1])
    np.testing.assert_allclose(out, [0, 10, 10, 30])
    assert bad == 0
    out, _ = joined(time, current, counter=[5, 15.5, 0, 21], part=[0, 0, 1, 1])
    np.testing.assert_allclose(out, [0, 10.5, 10.5, 31.5])


def test_the_counter_sees_what_rows_do_not_and_a_reset_of_it_is_no_charge() -> None:
    out, _ = joined([0, 1, 2, 3], [1, 1, 1, 1], counter=[100, 101.2, 0, 1.1])
    np.testing.assert_allclose(out, [0, 1.2, 2.2, 3.3])
    out, bad = joined([0, 1, 2, 3], [1, np.nan, 1, 1])
    np.testing.assert_allclose(out, [0, 0, 2, 3])
    assert bad == 1
    out, bad = joined([0, 1, 0.5, 2], [1, 1, 1, 1])  # one stamp out of order within a script
    assert bad == 1 and np.isfinite(out).all()


def test_branches() -> None:
    current = np.concatenate([np.zeros(5), np.full(50, -1.0), np.zeros(5), np.full(30, 3.0), np.full(20, 0.5)])
    current[20] = 0.0  # one odd row
    volt = np.concatenate([np.full(5, 4.2), np.linspace(4.1, 3.0, 50), np.full(5, 3.1), np.linspace(3.1, 4.2, 30)])
    volt = np.concatenate([volt, np.full(20, 4.2)])
    span, mean = np.empty((8, 2), dtype=np.int64), np.empty(8)
    part = np.zeros(len(current), dtype=np.int64)
    assert ocv.find_branches(part, current, volt, 0.5, span, mean) == 2
    assert span[:2].tolist() == [[5, 54], [60, 89]]
    np.testing.assert_allclose(mean[:2], [-1, 3])
    part[30:] = 1  # a new script ends a branch
    assert ocv.find_branches(part, current, volt, 0.2, span, mean) == 3
    assert ocv.find_branches(part, current, volt, 0.2, span[:1], mean[:1]) == -1


def test_worked_example_of_the_midpoint() -> None:
    """OCV 3 + z, hysteresis 20 mV, 2 A on 10 mOhm: branches 3 + z -+ 40 mV; both known exactly inside."""
    z = np.linspace(0, 1, 2001)
    pair = [(z[::-1], 3 + z[::-1] - 0.04), (z, 3 + z + 0.04)]
    out, code = batch(pair, [2.0, 2.0, 0.01, 0.0, 0.0])
    grid = np.linspace(0, 1, 11)
    assert code[0] == status.OK
    np.testing.assert_allclose(out[0, ocv.OUT_OCV, 1:-1], 3 + grid[1:-1], atol=1e-9)
    np.testing.assert_allclose(out[0, ocv.OUT_HALF], 0.02, atol=1e-9)
    # At the very ends the branch that starts there at rest, its ohmic part taken off: 3.02 and 3.98.
    np.testing.assert_allclose(out[0, ocv.OUT_OCV, [0, -1]], [3.02, 3.98], atol=1e-9)
    np.testing.assert_allclose(out[0, ocv.OUT_OCV_SD, [0, -1]], 0.02 / 3**0.5, rtol=1e-6)
    np.testing.assert_allclose(out[0, ocv.OUT_OCV_SD, 5], ocv.ASYMMETRY * 0.02 / 3**0.5, rtol=1e-6)


def test_sd_of_noise_and_of_soc() -> None:
    """2,000 cells, 1 mV of noise and no hysteresis: the scatter is the stated sd; a slope of 1 V takes SOC's sd."""
    rng = np.random.default_rng(2)
    z = np.linspace(0, 1, 400)
    pairs = []
    for _ in range(2000):
        pairs += [
            (z[::-1], 3 + z[::-1] + 1e-3 * rng.standard_normal(400)),
            (z, 3 + z + 1e-3 * rng.standard_normal(400)),
        ]
    out, _ = batch(pairs, np.tile([1.0, 1.0, 0.0, 0.0, 0.0], (2000, 1)))
    ratio = out[:, 0, 2:-2].std(axis=0) / np.sqrt((out[:, 1, 2:-2] ** 2).mean(axis=0))
    assert 0.9 < ratio.mean() < 1.1
    inside = np.abs(out[:, 0, 2:-2] - 3 - np.linspace(0, 1, 11)[2:-2]) <= 1.96 * out[:, 1, 2:-2]
    assert 0.92 < inside.mean() < 0.97
    out, _ = batch(pairs[:2], [1.0, 1.0, 0.0, 0.0, 0.01])
    np.testing.assert_allclose(out[0, 1, 2:-2], 0.01, rtol=0.02)


def test_monotone_is_the_weighted_least_squares_answer() -> None:
    """1, 3, 2, 4 with equal weights pools 3 and 2 (Barlow et al.); with weights 1 and 4 their mean is 2.2."""
    curve, sd = np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)
    ocv._monotone(curve, sd)
    np.testing.assert_allclose(curve, [1, 2.5, 2.5, 4], atol=1e-3)
    assert (np.diff(curve) > 0).all()
    curve = np.array([1.0, 3.0, 2.0, 4.0])
    ocv._monotone(curve, np.array([1.0, 1.0, 0.5, 1.0]))
    np.testing.assert_allclose(curve, [1, 2.2, 2.2, 4], atol=1e-3)


def test_branch_that_stops_short_takes_its_partner_and_the_last_half_width() -> None:
    z = np.linspace(0, 1, 2001)
    short = z[z <= 0.93]
    out, code = batch([(z[::-1], 3 + z[::-1] - 0.02), (short, 3 + short + 0.02)], [1.0, 1.0, 0.0, 0.0, 0.0], 21)
    assert code[0] == status.OK
    np.testing.assert_allclose(out[0, ocv.OUT_OCV, 2:19], 3 + np.linspace(0, 1, 21)[2:19], atol=1e-9)
    assert (np.diff(out[0, ocv.OUT_OCV]) > 0).all()


def test_domain() -> None:
    z = np.linspace(0, 1, 200)
    given = [1.0, 1.0, 0.0, 0.0, 0.0]
    assert batch([(z, 3 + z), ([], [])], given)[1][0] == status.NOT_IDENTIFIABLE
    assert batch([(z, 3 + z), (z[:60], 3 + z[:60])], given)[1][0] == status.NOT_IDENTIFIABLE
    out, code = batch([(z, 3 + z), (z, 3 + z)], [1.0, np.nan, 0.0, 0.0, 0.0])
    assert code[0] == status.BAD_INPUT and np.isnan(out).all()


@np.errstate(all="ignore")  # uncompiled, the same arithmetic warns
def test_any_floats_give_a_status() -> None:
    rng = np.random.default_rng(8)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 1e-310, 0.5, 0.5, 0.7, 3.7])
    for _ in range(300):
        pair = []
        for _ in range(2):
            n = int(rng.integers(0, 60))
            pair.append((rng.choice(odd, n) if rng.random() < 0.3 else np.linspace(0, 1, n), rng.choice(odd, n)))
        out, code = batch(pair, rng.choice([0.0, 1.0, 1e-3], 5))
        assert code[0] in {status.OK, status.NOT_IDENTIFIABLE, status.BAD_INPUT}
        assert np.isfinite(out).all() if code[0] == status.OK else np.isnan(out).all()
        n = int(rng.integers(0, 60))
        charge, bad = joined(rng.choice(odd, n), rng.choice(odd, n), rng.choice(odd, n), rng.integers(0, 3, n))
        assert np.isfinite(charge).all() and bad >= 0
        span, mean = np.empty((8, 2), dtype=np.int64), np.empty(8)
        ocv.find_branches(np.zeros(n, dtype=np.int64), rng.choice(odd, n), rng.choice(odd, n), 0.1, span, mean)
