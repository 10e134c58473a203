from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kernels import status
from twin.dqdv import Peak, differential_voltage, followed, incremental_capacity, peaks
from twin.ocv import SlowTest, branches, net_charge


def cell(centres=(3.5, 3.7, 3.95), areas=(0.5, 1.0, 0.8), sds=(0.02, 0.03, 0.025), rows=2000, falling=False):
    """Charge (C) and voltage of a charge whose dQ/dV is a floor of 0.5 Ah/V and Gaussians."""
    v = np.linspace(3.2, 4.2, 50_000)
    f = 0.5 + sum(
        a / s / np.sqrt(2 * np.pi) * np.exp(-0.5 * ((v - c) / s) ** 2)
        for c, a, s in zip(centres, areas, sds, strict=True)
    )
    q = 3600 * np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(v))])
    charge = np.linspace(0, q[-1], rows)
    voltage = np.interp(charge, q, v)
    return (charge[::-1], voltage[::-1]) if falling else (charge, voltage)


def together(parts):
    charge, voltage = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
    return charge, voltage, np.cumsum([0, *(len(p[0]) for p in parts)])


def test_peaks_of_a_known_cell_in_both_directions_and_ragged() -> None:
    curves = incremental_capacity(*together([cell(), cell(rows=731, falling=True)]), bandwidth_v=0.005)
    assert list(curves.rising) == [True, False] and (curves.status == status.OK).all()
    for found in peaks(curves):
        assert [p.name for p in found] == ["P1", "P2", "P3"]
        np.testing.assert_allclose([p.voltage_v for p in found], [3.5, 3.7, 3.95], atol=1e-3)
        for p, area, sd in zip(found, (0.5, 1.0, 0.8), (0.02, 0.03, 0.025), strict=True):
            seen = np.hypot(sd, 0.005)
            assert abs(p.height_ah_v / (0.5 + area / seen / np.sqrt(2 * np.pi)) - 1) < 0.02
            assert abs(p.width_v / (2.3548 * seen) - 1) < 0.03


def test_an_area_that_a_flat_valley_leaves_open_is_absent_and_the_charge_above_it_stands() -> None:
    (found,) = peaks(incremental_capacity(*together([cell(centres=(3.45, 3.7, 3.95))]), bandwidth_v=0.005))
    absent = [bool(np.isnan(p.area_ah)) for p in found]
    assert absent == [True, False, True] and [p.reason.startswith("area_ah: a flat valley") for p in found] == absent
    np.testing.assert_allclose([p.excess_ah for p in found], [0.5, 1.0, 0.8], rtol=0.01)
    wide = peaks(incremental_capacity(*together([cell(sds=(0.05, 0.06, 0.06))])))[0]
    assert any(p.area_ah > p.excess_ah and p.reason == "" for p in wide)


def test_batch_is_the_same_as_one_by_one() -> None:
    first, second = cell(), cell(centres=(3.52, 3.72, 3.96))
    both = incremental_capacity(*together([first, second]))
    alone = incremental_capacity(*together([second]))
    np.testing.assert_array_equal(both.value[1], alone.value[0])


def test_differential_voltage_is_the_inverse_where_both_are_smooth() -> None:
    """As far as smoothing over charge and over voltage are the same: 5 %."""
    charge, voltage, ends = together([cell(sds=(0.05, 0.05, 0.05))])
    ic, dv = incremental_capacity(charge, voltage, ends, 0.002), differential_voltage(charge, voltage, ends, 0.01)
    at = np.interp(dv.grid(0) * 3600, charge, voltage)
    inverse = 1.0 / np.interp(at, ic.grid(0), ic.value[0])
    inner = slice(60, -60)
    np.testing.assert_allclose(dv.value[0][inner], inverse[inner], rtol=0.05)
    assert (dv.value_sd[0][inner] > 0).all()


def test_names_last_when_peaks_move_vanish_and_return() -> None:
    shifts = [0.0, 0.01, 0.02, 0.03]
    parts = [cell(centres=(3.5 + s, 3.7 + s, 3.95 + s)) for s in shifts]
    parts[2] = cell(centres=(3.52, 3.97), areas=(0.5, 0.8), sds=(0.02, 0.025))
    curves = incremental_capacity(*together(parts))
    named = followed(peaks(curves), names=("graphite 1", "graphite 2", "nickel"))
    assert [[p.name for p in found] for found in named] == [
        ["graphite 1", "graphite 2", "nickel"],
        ["graphite 1", "graphite 2", "nickel"],
        ["graphite 1", "nickel"],
        ["graphite 1", "graphite 2", "nickel"],
    ]
    assert all(isinstance(p, Peak) for found in named for p in found)
    far = incremental_capacity(*together([cell(), cell(centres=(3.5, 3.82, 3.95))]))
    assert [p.name for p in followed(peaks(far))[1]] == ["P1", "P4", "P3"]
    assert followed([]) == [] and followed([(), ()]) == [(), ()]


def test_wrong_arguments_are_refused() -> None:
    charge, voltage, ends = together([cell()])
    with pytest.raises(ValueError, match="bandwidth_v"):
        incremental_capacity(charge, voltage, ends, 0.0)
    with pytest.raises(ValueError, match="differ"):
        incremental_capacity(charge[1:], voltage, ends)
    with pytest.raises(ValueError, match="offsets"):
        incremental_capacity(charge, voltage, np.array([0, 5]))
    with pytest.raises(ValueError, match="bandwidth_ah"):
        differential_voltage(charge, voltage, ends, -1.0)


def test_any_floats_give_a_status_with_words() -> None:
    rng = np.random.default_rng(4)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 1e-310, 1.0, 1.0, 3.7])
    for _ in range(300):
        n = int(rng.integers(0, 60))
        charge, voltage = (rng.choice(odd, n) if rng.random() < 0.6 else np.linspace(0, 1, n) for _ in range(2))
        ends = np.array([0, n // 2, n])
        for curves in (incremental_capacity(charge, voltage, ends), differential_voltage(charge, voltage, ends)):
            assert not np.isinf(curves.value).any()
            followed(peaks(curves))
            for r in range(2):
                assert curves.reason(r) or np.isfinite(curves.value[r]).any()


@pytest.mark.data
def test_lgm50_peaks_and_areas(measured_data: Path) -> None:
    """The area under dQ/dV of each branch is the charge that it moved, and each has the four peaks of NMC/graphite."""
    table = pl.read_parquet(measured_data / "lgm50_c10.parquet")
    test = SlowTest(*(table[n].to_numpy() for n in ("time_s", "current_a", "voltage_v")))
    charge, _ = net_charge(test)
    slow = branches(test, 1.0)
    spans = [slice(b.first, b.last + 1) for b in slow]
    curves = incremental_capacity(*together([(charge[s], test.voltage_v[s]) for s in spans]))
    for r, span in enumerate(spans):
        moved = np.ptp(charge[span]) / 3600
        area = np.nansum(curves.value[r]) * (curves.grid(r)[1] - curves.grid(r)[0])
        assert abs(area / moved - 1) < 2e-3
    for found in peaks(curves):
        assert len(found) == 4
        assert all(p.voltage_v_sd < 1e-3 and p.height_ah_v_sd < 0.01 for p in found)
        print([f"{p.name} {p.voltage_v:.4f} V {p.height_ah_v:.2f} Ah/V {p.area_ah:.3f} Ah" for p in found])


@pytest.mark.data
def test_a_plateau_of_repeated_voltages_stays_finite(measured_data: Path) -> None:
    """A123 at a bandwidth of 2 mV, near the resolution: the two graphite stages of LFP stand out in charge."""
    table = pl.read_parquet(measured_data / "a123_ocv_25c.parquet").filter(pl.col("script") == 3)
    test = SlowTest(*(table[n].to_numpy() for n in ("time_s", "current_a", "voltage_v")))
    charge, _ = net_charge(test)
    (slow,) = branches(test, 1.0)
    span = slice(slow.first, slow.last + 1)
    curves = incremental_capacity(*together([(charge[span], test.voltage_v[span])]), bandwidth_v=0.002)
    assert (np.diff(test.voltage_v[span]) == 0).sum() > 1000
    (found,) = peaks(curves)
    np.testing.assert_allclose([p.voltage_v for p in found[-2:]], [3.3214, 3.3597], atol=1e-3)
    assert all(20 < p.height_ah_v < 100 for p in found[-2:])
