"""Cycle figures from counters: exact sums, a first-cycle efficiency only where the data support it."""

from __future__ import annotations

import math
import tomllib

import numpy as np
import pytest

from configs.loader import packaged
from configs.schema import CellModel
from twin.cycles import CycleBook, CycleResults, Verdict

MODEL = CellModel.model_validate(tomllib.loads(packaged("cells")["lgm50_21700"].read_text()))

REST, CHARGE, DISCHARGE = 0.0, 1.0, -1.0
FIRST_CYCLE = [  # step, cycle, voltage, current, charge, discharge
    (1, 1, 2.80, REST, 0.0, 0.0),
    (2, 1, 3.60, CHARGE, 2.0, 0.0),
    (2, 1, 4.19, CHARGE, 5.6, 0.0),
    (3, 1, 4.20, CHARGE, 5.7, 0.0),
    (4, 1, 4.18, REST, 5.75, 0.0),
    (5, 1, 4.10, DISCHARGE, 5.75, 0.01),
    (5, 1, 3.60, DISCHARGE, 5.75, 2.0),
    (5, 1, 2.56, DISCHARGE, 5.75, 4.98),
    (6, 1, 2.90, REST, 5.75, 5.0),
    (7, 2, 3.60, CHARGE, 7.0, 5.0),
]


def feed(book: CycleBook, rows: list[tuple[float, ...]], channel: int = 1) -> list[CycleResults]:
    found = []
    for row in rows:
        columns = [np.array([float(v)]) for v in row]
        result = book.update(np.array([channel]), *columns)
        if result.channel.size:
            found.append(result)
    return found


def test_a_whole_first_cycle_gives_its_efficiency_at_the_rest_that_follows() -> None:
    (result,) = feed(CycleBook(MODEL, 64), FIRST_CYCLE, channel=7)
    assert result.channel.tolist() == [7]
    assert result.charge_ah.tolist() == [5.75]
    assert result.discharge_ah.tolist() == [5.0]
    assert result.first_cycle_efficiency[0] == pytest.approx(5.0 / 5.75)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (FIRST_CYCLE[1:], Verdict.BEGINNING_NOT_SEEN),
        ([*FIRST_CYCLE[:7], (6, 1, 3.65, REST, 5.75, 2.0)], Verdict.NOT_AT_LIMIT),
        ([(s, 2, *rest) for s, _, *rest in FIRST_CYCLE], Verdict.NOT_FIRST_CYCLE),
    ],
)
def test_otherwise_it_is_refused_by_name(rows: list[tuple[float, ...]], verdict: Verdict) -> None:
    (result,) = feed(CycleBook(MODEL, 1), rows)
    assert result.verdict.tolist() == [float(verdict)]
    assert math.isnan(result.first_cycle_efficiency[0])


def test_pulses_are_no_capacity_and_cycles_do_not_mix() -> None:
    later = [
        (8, 2, 4.18, REST, 10.8, 5.0),
        (9, 2, 4.10, DISCHARGE, 10.8, 5.01),
        (9, 2, 2.55, DISCHARGE, 10.8, 9.9),
        (10, 2, 2.90, REST, 10.8, 9.95),
        (11, 3, 3.60, CHARGE, 12.0, 9.95),
        (12, 3, 3.50, DISCHARGE, 12.0, 9.99),
        (13, 3, 3.60, REST, 12.0, 9.99),
    ]
    _, second = feed(CycleBook(MODEL, 1), [*FIRST_CYCLE, *later])
    assert second.cycle.tolist() == [2.0]
    assert second.charge_ah[0] == pytest.approx(10.8 - 5.75)
    assert second.discharge_ah[0] == pytest.approx(4.95)


def test_a_restart_continues_and_steps_that_passed_unseen_spoil_the_efficiency() -> None:
    before = CycleBook(MODEL, 1)
    feed(before, FIRST_CYCLE[:7])
    after, outage = CycleBook(MODEL, 1), CycleBook(MODEL, 1)
    after.restore(before.checkpoint())
    (result,) = feed(after, FIRST_CYCLE[7:])
    assert result.verdict.tolist() == [float(Verdict.GIVEN)]
    feed(outage, FIRST_CYCLE[:3])
    (refused,) = feed(outage, FIRST_CYCLE[5:])
    assert refused.verdict.tolist() == [float(Verdict.BEGINNING_NOT_SEEN)]


def test_counters_that_begin_anew_and_bad_numbers_start_a_new_book() -> None:
    book = CycleBook(MODEL, 1)
    feed(book, FIRST_CYCLE[:4])
    assert feed(book, [(math.nan, 1, 3.0, 0.0, 0.0, 0.0), (5, 1, 3.0, 0.0, math.inf, 0.0)]) == []
    (result,) = feed(book, FIRST_CYCLE)
    assert result.first_cycle_efficiency[0] == pytest.approx(5.0 / 5.75)
    with pytest.raises(ValueError, match="not a checkpoint"):
        book.restore(b"garbage")
