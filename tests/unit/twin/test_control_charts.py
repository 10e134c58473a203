"""Charts put together: phase I, subgroups, flags, alarms that begin and end, Cpk of a window, and run lengths."""

from __future__ import annotations

import numpy as np
import pytest

from configs.schema import Chart
from kernels import spc as layout
from twin import control_charts as spc
from twin.control_charts import ControlCharts, Judged

BASE = {"name": "c", "device": "d", "stream": "s", "column": "x"}
KNOWN = BASE | {"centre": 10.0, "sigma": 2.0}


def charts(sources: int = 1, **settings: object) -> ControlCharts:
    return ControlCharts(Chart.model_validate(settings), sources)


def feed(made: ControlCharts, values: object) -> list[Judged]:
    return [made.observe(np.reshape(v, (made.sources, made.variables)).astype(float)) for v in values]


def test_every_chart_gives_its_figure_and_only_those_asked_for_its_flag() -> None:
    kinds = ["individuals", "moving_range", "ewma", "cusum"]
    (_, one) = feed(charts(**KNOWN, charts=kinds), [10.0, 18.0])
    figures = {name: float(column[0]) for name, column in one.figures.items()}
    assert figures["z"] == 4.0
    assert figures["moving_range"] == 8.0
    assert figures["ewma"] == pytest.approx(0.8)
    assert figures["cusum_high"] == 3.5
    assert figures["centre"] == 10.0
    # 8 = 4 sigma is above 3.267 * 1.128 sigma; 0.8 sigma is below 2.962 / 3.
    assert one.flags[0] == layout.BEYOND_3_SIGMA + layout.MOVING_RANGE
    (two,) = feed(charts(**KNOWN, charts=["cusum", "ewma"]), [40.0])
    assert two.flags[0] == spc.EWMA_ABOVE + spc.CUSUM_ABOVE
    (three,) = feed(charts(**KNOWN, charts=["cusum", "ewma"]), [-20.0])
    assert three.flags[0] == spc.EWMA_BELOW + spc.CUSUM_BELOW


def test_rules_that_are_not_asked_for_do_not_signal() -> None:
    values = [15.0, 15.0, 15.0, *[11.0] * 9]
    every, first = feed(charts(**KNOWN), values), feed(charts(**KNOWN, rules=[1]), values)
    assert [int(j.flags[0]) for j in every][:3] == [0, 2, 2]
    assert every[7].flags[0] == layout.EIGHT_OF_ONE_SIDE
    assert not any(j.flags[0] for j in first)


def test_phase_1_sets_centre_and_sigma_for_each_source_by_its_own_values() -> None:
    made = charts(2, **BASE, learn=4)
    feed(made, [[1.0, np.nan], [3.0, 5.0], [1.0, 5.0]])
    (end,) = feed(made, [[3.0, 9.0]])
    assert end.learnt.tolist() == [True, False]
    assert not end.judged.any()
    (now,) = feed(made, [[2.0, 5.0]])
    assert now.learnt.tolist() == [False, True]
    assert now.figures["centre"][0] == 2.0
    assert now.figures["sigma"][0] == pytest.approx(2.0 / 1.128379)
    assert now.judged.tolist() == [True, False]
    overall = charts(**BASE, learn=4, learn_sigma="overall")
    feed(overall, [1.0, 1.0, 3.0, 3.0])
    assert feed(overall, [2.0])[0].figures["sigma"][0] == pytest.approx(np.std([1, 1, 3, 3], ddof=1))


def test_values_without_spread_teach_nothing_and_are_not_judged() -> None:
    made = charts(**BASE, learn=3)
    assert not any(j.judged[0] for j in feed(made, [5.0] * 10))
    assert feed(made, [5.0, 6.0, 5.0, 6.0])[-1].judged[0]


def test_subgroups_and_run_in() -> None:
    made = charts(**KNOWN, subgroup=3, skip=1)
    told = feed(made, [99.0, 99.0, 99.0, 9.0, np.nan, 10.0, 14.0, 1.0])
    assert [bool(j.judged[0]) for j in told] == [False] * 6 + [True, False]
    assert told[6].figures["value"][0] == 11.0


def test_an_alarm_begins_once_and_ends_after_eight_in_control() -> None:
    told = feed(charts(**KNOWN, rules=[1]), [10, 17, 17, 10, 10, 17, *[10] * 8, 10])
    assert [i for i, j in enumerate(told) if j.began[0]] == [1]
    assert [i for i, j in enumerate(told) if j.ended[0]] == [13]
    assert told[13].since[0] == 13


def test_cpk_is_of_the_newest_values() -> None:
    rng = np.random.default_rng(5)
    made = charts(**KNOWN, low=4.0, high=16.0, cpk_window=50)
    feed(made, rng.normal(10.0, 10.0, 60))
    last = feed(made, rng.normal(10.0, 1.0, 50))[-1].figures
    assert last["cpk"][0] == pytest.approx(2.0, rel=0.25)
    assert last["cpk_low"][0] < last["cpk"][0] < last["cpk_high"][0]
    assert np.isnan(feed(charts(**KNOWN), [10.0])[0].figures["cpk"][0])


def test_t2_sees_a_pair_that_does_not_go_together() -> None:
    rng = np.random.default_rng(6)
    common = rng.standard_normal(60)
    pairs = np.column_stack([common, common + 0.1 * rng.standard_normal(60)])
    made = charts(**{k: v for k, v in BASE.items() if k != "column"}, columns=["x", "y"], learn=50)
    told = feed(made, pairs)
    assert told[49].learnt[0]
    assert sum(j.flags[0] != 0 for j in told) == 0
    (apart,) = feed(made, [[1.5, -1.5]])
    assert apart.flags[0] == spc.T2_ABOVE
    assert apart.figures["t2"][0] > apart.figures["t2_limit"][0] > 0.0
    assert apart.began[0]


@pytest.mark.parametrize(
    "settings",
    [
        KNOWN | {"charts": ["individuals", "moving_range", "ewma", "cusum"], "low": 0.0, "subgroup": 2},
        BASE | {"learn": 20, "skip": 3, "high": 12.0, "cpk_window": 7},
        {k: v for k, v in BASE.items() if k != "column"} | {"columns": ["x", "y"], "learn": 20},
    ],
    ids=["known", "learnt", "t2"],
)
def test_a_checkpoint_goes_on_where_it_was(settings: dict[str, object]) -> None:
    rng = np.random.default_rng(7)
    straight, cut = charts(3, **settings), charts(3, **settings)
    for values in 10.0 + 3.0 * rng.standard_normal((80, 3, straight.variables)):
        again = charts(3, **settings)
        again.restore(cut.checkpoint())
        cut = again
        a, b = straight.observe(values), cut.observe(values)
        np.testing.assert_array_equal(a.flags, b.flags)
        for name, column in a.figures.items():
            np.testing.assert_array_equal(column, b.figures[name])
        np.testing.assert_array_equal([a.began, a.ended, a.learnt], [b.began, b.ended, b.learnt])
    for other in (charts(2, **settings), charts(3, **settings | {"subgroup": 5})):
        with pytest.raises(ValueError, match="checkpoint"):
            other.restore(cut.checkpoint())


@pytest.mark.parametrize(
    ("settings", "shift", "published"),
    [
        ({"rules": [1]}, 0.0, 370.4),
        ({"rules": [1]}, 1.0, 43.9),
        ({}, 0.0, 91.75),
        ({"charts": ["ewma"]}, 0.0, 500.0),
        ({"charts": ["ewma"]}, 1.0, 10.5),
        ({"charts": ["cusum"]}, 0.0, 465.0),
        ({"charts": ["cusum"]}, 1.0, 10.4),
    ],
)
def test_first_alarms_come_after_the_published_run_lengths(
    settings: dict[str, object], shift: float, published: float
) -> None:
    """1,500 sources at once, each until its first alarm, at most ten times the mean (5e-5 of them go on longer)."""
    sources, rng = 1500, np.random.default_rng(8)
    made = charts(sources, **KNOWN | settings)
    first = np.zeros(sources)
    for n in range(1, round(10 * published)):
        began = made.observe(10.0 + 2.0 * (shift + rng.standard_normal((sources, 1)))).began
        first[began & (first == 0)] = n
        if first.all():
            break
    assert (first > 0).all()
    assert first.mean() == pytest.approx(published, abs=4.0 * first.std() / np.sqrt(sources) + 0.01 * published)
