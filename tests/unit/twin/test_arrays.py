"""Columns from polars and Arrow are read-only; no kernel may be compiled a second time for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from kernels import _jit, capacity, capacity_cycles, dqdv, dqdv_peaks, ecm, ocv, pulse
from twin.arrays import floats, integers
from twin.capacity import count
from twin.dqdv import differential_voltage, incremental_capacity, peaks
from twin.ecm import fit_ecm, fit_ecms
from twin.ocv import SlowTest
from twin.ocv import ocv as ocv_curve
from twin.pulse import find_pulses, find_pulses_batch


def test_only_what_does_not_fit_is_copied() -> None:
    good, marks = np.arange(4.0), np.arange(4)
    assert floats(good) is good and integers(marks) is marks
    frozen = pl.Series([1.0, 2.0]).to_numpy()
    assert not frozen.flags.writeable and floats(frozen).flags.writeable
    for odd in (np.broadcast_to(np.float64(3.0), (1,)), np.arange(8.0)[::2], [1, 2], np.arange(3, dtype=np.int16), 5.0):
        column = floats(odd)
        assert column.dtype == np.float64 and column.flags.c_contiguous and column.flags.writeable
        np.testing.assert_array_equal(column, odd)
    with pytest.raises(ValueError):
        floats(["much"])


def _cycle() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest, slow discharge, rest, slow charge, rest at one row a minute."""
    current = np.repeat([0.0, -1.0, 0.0, 1.0, 0.0], [10, 600, 10, 600, 10])
    time = 60.0 * np.arange(current.size)
    soc = 1.0 + np.cumsum(current) * 60.0 / 36_000.0
    return time, current, 3.0 + soc + 0.1 * np.sin(9.0 * soc) + 0.02 * current


def _pulse() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    time = np.concatenate([np.arange(-20.0, 0.0), np.arange(0.0, 40.0, 0.1)])
    current = np.where(time >= -1e-9, -5.0, 0.0)
    noise = 1e-4 * np.random.default_rng(1).standard_normal(time.size)
    return time, current, 3.7 + current * (0.03 - 0.01 * np.expm1(-np.maximum(time, 0.0) / 5.0)) + noise


def _capacity(wrap: Callable[[np.ndarray], np.ndarray]) -> None:
    time, current, voltage = (wrap(column) for column in _cycle())
    offsets = wrap(np.array([0, time.size]))
    count(time, current, voltage, offsets, net_charge_ah=wrap(np.arange(float(time.size))))
    count(time, current, voltage, offsets)


def _dqdv(wrap: Callable[[np.ndarray], np.ndarray]) -> None:
    _, current, voltage = _cycle()
    charge, part, offsets = wrap(60.0 * np.cumsum(current)[10:610]), wrap(voltage[10:610]), wrap(np.array([0, 600]))
    peaks(incremental_capacity(charge, part, offsets))
    differential_voltage(charge, part, offsets)


def _ocv(wrap: Callable[[np.ndarray], np.ndarray]) -> None:
    time, current, voltage = (wrap(column) for column in _cycle())
    ocv_curve(SlowTest(time, current, voltage, script=wrap(np.zeros(time.size))))
    ocv_curve(SlowTest(time, current, voltage, net_ah=wrap(np.cumsum(current) / 60.0)))


def _pulses(wrap: Callable[[np.ndarray], np.ndarray]) -> None:
    time, current, voltage = (wrap(column) for column in _pulse())
    find_pulses(time, current, voltage, soc=wrap(np.full(time.size, 0.5)), soc_sd=0.01, dr_dsoc_ohm=-0.3)
    find_pulses_batch(
        time, current, voltage, wrap(np.array([0, time.size])), times_s=wrap(np.array([1.0])),
        dr_dsoc_ohm=wrap(np.zeros(1)),
    )  # fmt: skip


def _ecm(wrap: Callable[[np.ndarray], np.ndarray]) -> None:
    time, current, voltage = (wrap(column) for column in _pulse())
    fit_ecm(time, current, voltage)
    fit_ecms(wrap(np.array([0, time.size])), time, current, voltage, ocv_v=wrap(np.array([3.7])))


@pytest.mark.skipif(not _jit.jit_enabled(), reason="plain Python has no signatures")
@pytest.mark.parametrize(
    ("use", "used"),
    [
        (_capacity, (capacity.capacity_halves, capacity_cycles.capacity_cycles)),
        (_dqdv, (dqdv.slope_batch, dqdv.voltage_noise, dqdv_peaks.peaks_batch)),
        (_ocv, (ocv.joined_charge, ocv.find_branches, ocv.ocv_batch)),
        (_pulses, (pulse.pulses,)),
        (_ecm, (ecm.ecm_fit,)),
    ],
)
def test_a_read_only_column_compiles_nothing(use, used) -> None:
    def frozen(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        out.flags.writeable = False
        return out

    use(np.copy)
    before = [list(function.signatures) for function in used]
    assert all(before)
    use(frozen)
    assert [list(function.signatures) for function in used] == before
