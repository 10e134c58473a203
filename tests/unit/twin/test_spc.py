import math

import numpy as np
import pytest

from kernels import spc as layout
from kernels import status
from kernels._jit import jit_enabled
from kernels.spc import imr_update
from twin.spc import (
    CapabilityIndex,
    CusumChart,
    EwmaChart,
    IndividualsChart,
    individuals_limits,
    words,
)
from twin.spc_t2 import HotellingChart

CHARTS = [IndividualsChart, EwmaChart, CusumChart]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_stream_of_channels_is_a_batch(chart) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((50, 3)) + np.array([0.0, 1.0, 2.0])
    stream, batch = chart([0.0, 1.0, 1.0], 1.0), chart([0.0, 1.0, 1.0], 1.0)
    points = [stream.update(row) for row in values]
    whole = batch.update(values.T.ravel(), 50 * np.arange(4))
    np.testing.assert_array_equal(np.array([p.value for p in points]).T.ravel(), whole.value)
    np.testing.assert_array_equal(np.array([p.flags for p in points]).T.ravel(), whole.flags)
    assert whole.signals[100:].any()


@pytest.mark.parametrize("chart", CHARTS)
def test_a_checkpoint_goes_on_where_it_was(chart) -> None:
    rng = np.random.default_rng(2)
    first, second = chart(0.0, 1.0), chart(0.0, 1.0)
    first.update(rng.standard_normal(7) + 0.5, np.array([0, 7]))
    second.restore(first.checkpoint())
    x = np.array([0.7])
    assert second.update(x).value[0] == first.update(x).value[0]
    with pytest.raises(ValueError, match=r"channels|format|checkpoint"):
        chart([0.0, 0.0], 1.0).restore(first.checkpoint())
    first.reset()
    assert first.update(x).value[0] == chart(0.0, 1.0).update(x).value[0]


def test_flags_have_words_and_a_missing_value_is_no_signal() -> None:
    chart = IndividualsChart(3.65, 0.001)
    points = chart.update(np.array([3.65, np.nan, 3.66]), np.array([0, 3]))
    assert list(points.signals) == [False, False, True]
    assert words(int(points.flags[1])) == ["no usable value, centre or sigma"]
    said = words(int(points.flags[2]))
    assert said == ["one point beyond 3 sigma", "moving range above its limit", "above the limit"]
    assert words(0) == []


def test_limits_from_values_in_control() -> None:
    rng = np.random.default_rng(3)
    centre, sigma = individuals_limits(5.0 + 0.2 * rng.standard_normal(5000))
    assert centre[0] == pytest.approx(5.0, abs=0.02) and sigma[0] == pytest.approx(0.2, rel=0.05)
    centre, sigma = individuals_limits(np.array([1.0, 1.0, 2.0]), np.array([0, 2, 3]))
    assert np.isnan(sigma).all()


def test_capability() -> None:
    rng = np.random.default_rng(4)
    index = CapabilityIndex(-4.0, math.inf, channels=2)
    assert (index.update(np.zeros(2)).status == status.WAITING).all()
    found = index.update(rng.standard_normal(2000), np.array([0, 1000, 2000]))
    assert (found.low < 4.0 / 3.0).all() and (found.high > 4.0 / 3.0).all()
    assert (found.count == 1001).all()


def test_hotelling_sees_what_single_charts_do_not() -> None:
    """Two variables correlated 0.95: (+2, -2) is within 3 sigma of each and far from both."""
    rng = np.random.default_rng(5)
    normal = rng.standard_normal((500, 2)) @ np.linalg.cholesky(np.array([[1.0, 0.95], [0.95, 1.0]])).T
    chart = HotellingChart(2)
    assert chart.update(normal[:1]).flags[0] == layout.BAD
    assert chart.learn(normal)[0] == status.OK
    points = chart.update(np.array([[2.0, -2.0], [2.0, 2.0]]), np.array([0, 2]))
    assert list(points.signals) == [True, False]
    assert points.other[0] == pytest.approx(11.83, rel=0.05)  # chi-square, two degrees, 0.27 %


def test_what_was_learnt_and_counted_survives_a_restart() -> None:
    rng = np.random.default_rng(4)
    learnt, seen = rng.standard_normal((40, 2)), rng.standard_normal((5, 2))
    before, after = HotellingChart(2), HotellingChart(2)
    before.learn(learnt)
    after.restore(before.checkpoint())
    np.testing.assert_array_equal(
        after.update(seen, np.array([0, 5])).value, before.update(seen, np.array([0, 5])).value
    )
    first, second = CapabilityIndex(-3.0, 3.0), CapabilityIndex(-3.0, 3.0)
    first.update(learnt[:, 0].copy(), np.array([0, 40]))
    second.restore(first.checkpoint())
    assert second.update(np.ones(1)).cpk == first.update(np.ones(1)).cpk
    first.reset()
    assert np.isnan(first.update(np.ones(1)).cpk)
    for chart, other in ((before, HotellingChart(3)), (before, HotellingChart(2, alpha=0.01)), (first, before)):
        with pytest.raises(ValueError, match="checkpoint"):
            chart.restore(other.checkpoint())


def test_a_cusum_with_a_ceiling_comes_back_soon_after_the_process_did() -> None:
    free, held = CusumChart(0.0, 1.0), CusumChart(0.0, 1.0, ceiling=10.0)
    far, home = np.full(1, 3.0), np.zeros(1)
    for _ in range(200):
        free.update(far)
        held.update(far)
    back = [bool(held.update(home).signals[0]) for _ in range(20)]
    assert back[:9] == [True] * 9
    assert not any(back[11:])
    assert all(free.update(home).signals[0] for _ in range(20))
    with pytest.raises(ValueError, match="ceiling"):
        CusumChart(0.0, 1.0, ceiling=5.0)


def test_what_makes_no_sense_is_said() -> None:
    for call in (
        lambda: EwmaChart(0.0, 1.0, weight=0.0),
        lambda: CusumChart(0.0, 1.0, limit=0.0),
        lambda: CapabilityIndex(1.0, 0.0),
        lambda: HotellingChart(0),
        lambda: HotellingChart(2).update(np.zeros((1, 3))),
        lambda: IndividualsChart(0.0, 1.0).update(np.zeros(2)),
        lambda: IndividualsChart(0.0, 1.0).update(np.zeros(2), np.array([0, 3])),
        lambda: IndividualsChart(np.zeros((2, 2)), 1.0),
    ):
        with pytest.raises(ValueError, match=r"weight|limit|variables|observations|values|shape"):
            call()


def test_read_only_columns_need_no_second_compilation() -> None:
    values = np.zeros(3)
    values.flags.writeable = False
    before = len(imr_update.signatures) if jit_enabled() else 0
    IndividualsChart(np.zeros(3), 1.0).update(values)
    assert not jit_enabled() or len(imr_update.signatures) <= max(before, 1)
