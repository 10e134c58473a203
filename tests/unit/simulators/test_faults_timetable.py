"""The timetable: pure plant time in, what begins and ends out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from simulators.faults.timetable import Entry, Place, next_switches, switches
from simulators.timebase import NS_PER_S

S = NS_PER_S
START = 1_700_000_000 * S


def _entry(number: int, at_s: float, duration_s: float | None = None, repeat_every_s: float | None = None) -> Entry:
    return Entry(number, Place.MACHINE, f"kind{number}", {}, at_s, duration_s, repeat_every_s)


def _all(entries: list[Entry], until_s: float, after_s: float = -1.0) -> list[tuple[float, bool, int]]:
    found = switches(entries, START, START + round(after_s * S), START + round(until_s * S))
    return [((s.plant_ns - START) / S, s.on, s.entry.number) for s in found]


def test_an_entry_begins_and_ends_once() -> None:
    assert _all([_entry(1, 10.0, 5.0)], 100.0) == [(10.0, True, 1), (15.0, False, 1)]


def test_without_a_duration_it_lasts_to_the_end() -> None:
    assert _all([_entry(1, 0.0)], 1e6) == [(0.0, True, 1)]


def test_it_repeats_for_ever() -> None:
    times = [time for time, on, _ in _all([_entry(1, 5.0, 1.0, 10.0)], 1000.0) if on]
    assert times == [5.0 + 10.0 * k for k in range(100)]


def test_what_ends_comes_before_what_begins_and_then_the_file_decides() -> None:
    entries = [_entry(1, 20.0), _entry(2, 10.0, 10.0), _entry(3, 20.0)]
    assert [(on, number) for time, on, number in _all(entries, 30.0) if time == 20.0] == [
        (False, 2),
        (True, 1),
        (True, 3),
    ]


def test_however_time_is_cut_the_same_switches_come() -> None:
    entries = [_entry(1, 0.0, 3.3, 7.7), _entry(2, 12.5, 40.0, 41.0), _entry(3, 99.9)]
    whole = _all(entries, 500.0)
    rng = np.random.default_rng(1)
    cuts = [-1.0, *np.sort(rng.uniform(0.0, 500.0, 200)).round(1).tolist(), 500.0]
    pieces = [one for after, until in pairwise(cuts) for one in _all(entries, until, after)]
    assert pieces == whole
    assert len(whole) == 65 + 65 + 12 + 11 + 1


def test_far_from_the_start_it_is_as_quick_and_exact() -> None:
    found = next_switches([_entry(1, 0.1, 0.2, 0.7)], START, START + 10**9 * S)
    assert (found[0].plant_ns - START - 100_000_000) % 700_000_000 == 0 or not found[0].on


def test_when_nothing_comes_any_more() -> None:
    assert next_switches([_entry(1, 1.0, 1.0)], START, START + 2 * S) == []
    assert next_switches([], START, START) == []
