"""Capacity, efficiency and filter quality: right where the data support them, refused by name where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.report.cells import Cell, analyse, at_times
from controller.report.data import Rows, no_rows
from controller.report.ranking import rank
from controller.report.summary import analyse_run

from . import conftest as synthetic

PERIOD_S = 60.0


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """One channel of a synthetic rack, as columns of one dimension."""
    rack = synthetic.Rack(np.array([5.0]), np.array([0.87]), np.array([0.024]))
    return {name: values[:, 0] for name, values in synthetic.simulate(rack, PERIOD_S, 86_400.0).items()}


def rows_of(shown: dict[str, Any], keep: Any = slice(None), **changed: Any) -> Rows:
    columns = {
        **shown,
        "fault_bits": np.zeros(shown["step"].shape),
        "quality": np.zeros(shown["step"].shape),
        **changed,
    }
    n = columns["step"].shape[0]
    time_ns = np.arange(n) * int(PERIOD_S * 1e9)
    return Rows(time_ns, np.ones(n, dtype=np.int32), columns).cut(keep)


def cell_of(rows: Rows, steps: Any = synthetic.STEPS) -> Cell:
    (cell,) = analyse("rack1", rows, no_rows(""), no_rows(""), steps)
    return cell


def test_a_whole_run_gives_capacity_and_efficiency(shown: dict[str, Any]) -> None:
    cell = cell_of(rows_of(shown))
    assert [d.refused for d in cell.discharges] == ["", ""]
    assert cell.capacity_ah == pytest.approx(4.98, abs=0.03)
    assert cell.capacity_cycle == 2
    assert cell.first_cycle_efficiency == pytest.approx(0.87, abs=0.005)
    assert cell.completed


def during_first_discharge(shown: dict[str, Any]) -> Any:
    return np.flatnonzero(shown["step"] == 5)


def test_a_run_that_ends_in_the_discharge_has_no_efficiency(shown: dict[str, Any]) -> None:
    cell = cell_of(rows_of(shown, slice(0, int(during_first_discharge(shown)[-1]) - 20)))
    assert cell.first_cycle_efficiency is None
    assert cell.efficiency_refused == "discharge had not ended"
    assert cell.capacity_ah is None


def test_a_discharge_ended_by_time_is_refused_with_its_voltage(shown: dict[str, Any]) -> None:
    where = during_first_discharge(shown)
    keep = np.ones(shown["step"].shape, dtype=bool)
    keep[where[60:]] = False  # as if the step had ended after an hour
    jump = rows_of(shown, keep)
    moved = Rows(np.arange(jump.count) * int(PERIOD_S * 1e9), jump.point, jump.columns)
    cell = cell_of(moved)
    assert cell.first_cycle_efficiency is None
    assert "not at its limit of 2.50 V" in cell.efficiency_refused
    assert cell.capacity_cycle == 2  # the second discharge is still good


def test_an_end_inside_a_gap_is_refused(shown: dict[str, Any]) -> None:
    keep = np.ones(shown["step"].shape, dtype=bool)
    last = int(during_first_discharge(shown)[-1])
    keep[last - 10 : last + 5] = False
    assert cell_of(rows_of(shown, keep)).efficiency_refused == "its end was not recorded (gap of 16 min)"


def test_a_gap_elsewhere_changes_nothing(shown: dict[str, Any]) -> None:
    keep = np.ones(shown["step"].shape, dtype=bool)
    keep[during_first_discharge(shown)[20:90]] = False
    whole, holed = cell_of(rows_of(shown)), cell_of(rows_of(shown, keep))
    assert holed.first_cycle_efficiency == pytest.approx(whole.first_cycle_efficiency, rel=1e-12)


def test_a_fault_in_the_discharge_refuses_it(shown: dict[str, Any]) -> None:
    bits = np.where(shown["step"] == 5, 2.0, 0.0)
    cell = cell_of(rows_of(shown, fault_bits=bits))
    assert cell.efficiency_refused == "fault during the discharge"
    assert cell.fault_bits == 2


def test_without_a_recipe_the_limit_is_unknown(shown: dict[str, Any]) -> None:
    assert cell_of(rows_of(shown), []).efficiency_refused == "voltage limit of the discharge unknown"


def test_a_stopped_programme_is_not_an_end_at_the_limit(shown: dict[str, Any]) -> None:
    where = int(during_first_discharge(shown)[-1])
    step, state = shown["step"].copy(), shown["state"].copy()
    step[where:], state[where:] = 0.0, 0.0
    assert (
        cell_of(rows_of(shown, step=step, state=state)).efficiency_refused == "programme was stopped in the discharge"
    )


def test_only_the_last_programme_counts(shown: dict[str, Any]) -> None:
    twice = {name: np.concatenate([values[:500], values]) for name, values in shown.items()}
    once, again = cell_of(rows_of(shown)), cell_of(rows_of(twice))
    assert again.capacity_ah == once.capacity_ah
    assert len(again.discharges) == 2


def test_rows_that_could_not_be_read_do_not_matter(shown: dict[str, Any]) -> None:
    step = shown["step"].copy()
    step[::7] = np.nan
    assert cell_of(rows_of(shown, step=step)).completed
    assert cell_of(rows_of(shown, step=np.full(step.shape, np.nan))).efficiency_refused == "no good rows"


def test_filter_quality_is_that_of_the_noise_put_in(whole: tuple[Path, synthetic.Rack]) -> None:
    (rack,) = analyse_run(whole[0]).racks
    for cell in rack.cells:
        assert cell.quality is not None
        assert cell.quality.rms_soc == pytest.approx(0.006, rel=0.1)
        assert 0.92 < cell.quality.coverage_95 < 0.98


def test_truth_is_not_bridged_over_holes() -> None:
    truth = Rows(np.array([0, 10, 20, 100, 110]), np.ones(5, dtype=np.int32), {"soc": np.arange(5.0)})
    wanted = Rows(np.array([-1, 5, 15, 60, 105, 120]), np.ones(6, dtype=np.int32), {})
    np.testing.assert_equal(at_times(truth, "soc", wanted), [np.nan, 0.5, 1.5, np.nan, 3.5, np.nan])


def test_worst_come_first_with_their_reasons(made: Callable[..., tuple[Path, synthetic.Rack]]) -> None:
    (rack,) = analyse_run(made(coater=False)[0]).racks
    assert [c.channel for c in rack.ranked[:2]] == [5, 3]
    assert rack.ranked[0].reasons[0] == "fault: over-temperature"
    assert rack.ranked[1].reasons[0].startswith("low capacity: ")


def test_a_run_that_ended_early_blames_no_channel() -> None:
    cells = [Cell("rack1", n, completed=n == 1) for n in range(1, 9)]
    assert all(not c.reasons for c in rank(cells, {}))
    cells = [Cell("rack1", n, completed=n != 1) for n in range(1, 9)]
    assert rank(cells, {})[0].reasons == ["did not finish the programme"]
