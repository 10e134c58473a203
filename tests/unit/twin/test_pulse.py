"""DCIR against truth and against measured pulses; the twin's own checks and words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kernels import pulse_clock as clock
from kernels import status
from tests.unit.kernels.pulse_records import draw
from twin.pulse import TIMES_S, PulseAssumptions, Pulses, Stamps, find_pulses, find_pulses_batch

GROUP = ["temperature_c", "soc_level", "cell"]


@pytest.mark.parametrize("stamps", list(Stamps))
@pytest.mark.parametrize("soc_ohm_sd", [0.0, 3e-4])
def test_stated_band_holds_the_truth(stamps: Stamps, soc_ohm_sd: float) -> None:
    """2,000 draws each: noise, converter steps, uneven stamps, stale rows, unknown SOC; 95 % within 1.96 sd."""
    drawn = draw(2000, 7, times_s=TIMES_S, polled=stamps is Stamps.POLLED, soc_ohm_sd=soc_ohm_sd)
    found = find_pulses_batch(
        drawn.time_s, drawn.current_a, drawn.voltage_v, drawn.offsets,
        soc_sd=0.01 if soc_ohm_sd else None, dr_dsoc_ohm=-soc_ohm_sd / 0.01 if soc_ohm_sd else None,
        assumed=PulseAssumptions(stamps=stamps),
    )  # fmt: skip
    assert len(found) == 2000 and (found.status == status.OK).all()
    inside = (np.abs(found.r_ohm - drawn.truth_ohm) <= 1.96 * found.r_sd_ohm).mean(axis=0)
    print(f"{stamps.value}, SOC {soc_ohm_sd:g} ohm: inside the band at {TIMES_S} s: {np.round(inside, 4)}")
    assert ((inside >= 0.93) & (inside <= 0.97)).all(), inside


def _reference(pulse: pd.DataFrame, seconds: float) -> float:
    """From the cycler's own steps, which the kernel never sees: rest before step D, D's loaded rows on its clock."""
    first = int(np.flatnonzero(pulse.status == "D")[0])
    rest = pulse.iloc[first - 1]
    load = pulse[(pulse.status == "D") & (pulse.current_a < -1.0)]
    if load.step_time_s.iloc[-1] < seconds:
        return float("nan")
    voltage = np.interp(seconds, load.step_time_s, load.voltage_v)
    return float((voltage - rest.voltage_v) / np.interp(seconds, load.step_time_s, load.current_a))


@pytest.mark.data
def test_measured_pulses_agree_with_the_last_true_rest(measured_data) -> None:
    """All 108 LG M50 pulses in one call; 6 at 10 C and the lowest SOC hit the voltage limit after 0.7 to 0.9 s."""
    data = pd.read_parquet(measured_data / "lgm50_pulses.parquet")
    groups = [part for _, part in data.groupby(GROUP, sort=False)]
    rows = pd.concat(groups)
    found = find_pulses_batch(
        rows.prog_time_s, rows.current_a, rows.voltage_v, np.cumsum([0] + [len(part) for part in groups]),
        temperature_c=rows.temperature_c,
    )  # fmt: skip
    assert len(found) == len(groups) == 108 and list(found.record) == list(range(108))
    for seconds in (1.0, 3.0, 10.0):
        reference = np.array([_reference(part, seconds) for part in groups])
        r, sd = found.at(seconds)
        assert np.array_equal(np.isnan(r), np.isnan(reference)) and np.isnan(r).sum() == 6
        away = np.nanmax(np.abs(r / reference - 1.0))
        print(
            f"{seconds:g} s: furthest {1e2 * away:.3f} % of the reference; median sd {1e3 * np.nanmedian(sd):.4f} mohm"
        )
        assert away < 0.02
    short = np.flatnonzero(np.isnan(found.at(10.0)[0]))
    assert {(groups[k].temperature_c.iloc[0], groups[k].soc_level.iloc[0]) for k in short} == {(10.0, 1)}
    assert all("s: the pulse ended 0." in found.reason(k) and ", at 2.4" in found.reason(k) for k in short)
    end_v = np.array([part.voltage_v[part.current_a < -1.0].iloc[-1] for part in groups])  # below the limit of 2.5 V
    np.testing.assert_array_equal(found.end_v, end_v)
    assert ((found.duration_s[short] > 0.66) & (found.duration_s[short] < 0.86) & (end_v[short] < 2.45)).all()
    assert ((found.r_end_ohm[short] > 0.079) & (found.r_end_ohm[short] < 0.085)).all()
    assert (end_v < 2.5).sum() == 6 and np.isfinite(found.r_end_sd_ohm[short]).sum() == 5  # one has too few rows
    whole = np.isfinite(found.at(10.0)[0])
    np.testing.assert_allclose(found.r_end_ohm[whole], found.at(10.0)[0][whole], rtol=0.015)  # 10.0 to 10.2 s
    assert [found.stamps_code.tolist().count(code) for code in (clock.AT_STEP, clock.UNTOLD)] == [106, 2]
    unloaded = [int(np.argmax(np.abs(part.current_a[part.status == "D"]) > 1.0)) for part in groups]
    assert list(found.stale_rows) == unloaded and np.count_nonzero(unloaded) == 68
    assert set(found.temperature_c) == {10.0, 25.0}
    table = rows.drop_duplicates(GROUP)[GROUP].assign(r10=found.at(10.0)[0])
    spread = table.groupby(GROUP[:2]).r10.agg(["mean", "std", "count"])
    for (temperature, level), row in spread.iterrows():
        mean, sd = 1e3 * row["mean"], 1e3 * row["std"]
        print(f"{temperature:g} C, level {level}: {mean:.2f} +- {sd:.2f} mohm, {row['count']:g} cells")
    assert (spread["std"] / spread["mean"]).max() < 0.12


@pytest.mark.parametrize("polled", [True, False])
def test_the_stamps_themselves_show_whether_they_were_polled(polled: bool) -> None:
    """2,000 pulses at one pace: nothing is said, 98 % are told, and the stated band holds the truth."""
    drawn = draw(2000, 9, times_s=(1.0, 3.0), polled=polled, one_pace=True)
    found = find_pulses_batch(drawn.time_s, drawn.current_a, drawn.voltage_v, drawn.offsets, times_s=(1.0, 3.0))
    told = found.stamps_code == (clock.POLLED if polled else clock.AT_STEP)
    inside = (np.abs(found.r_ohm - drawn.truth_ohm) <= 1.96 * found.r_sd_ohm).mean(axis=0)
    print(f"polled {polled}: told {told.mean():.4f}, inside the band at 1 and 3 s: {np.round(inside, 4)}")
    assert len(found) == 2000 and told.mean() > (0.98 if polled else 0.85)
    assert ((inside >= 0.93) & (inside <= 0.97)).all()


def test_pulses_of_one_record_are_told_together_and_what_is_said_counts() -> None:
    """Five pulses begin between polls of 1 s; of a cycler's, one begins on the pace by chance and is outvoted."""
    time = np.arange(500.0)
    current = np.where(time % 100.0 < 50.0, 0.0, -5.0)
    voltage = 3.7 + 0.03 * current
    polled = find_pulses(time, current, voltage)
    assert set(polled.stamps_code) == {clock.POLLED} and list(polled.time_s) == [49.5, 149.5, 249.5, 349.5, 449.5]
    assert polled.stamps(0).startswith("polled") and np.allclose(polled.duration_s, 49.5)
    said = find_pulses(time, current, voltage, assumed=PulseAssumptions(stamps=Stamps.AT_STEP))
    assert set(said.stamps_code) == {clock.GIVEN} and list(said.time_s) == [50.0, 150.0, 250.0, 350.0, 450.0]
    late = time + np.cumsum(np.where((time % 100.0 == 50.0) & (time > 100.0), 0.4, 0.0))
    cycler = find_pulses(late, current, voltage)
    assert set(cycler.stamps_code) == {clock.AT_STEP} and cycler.time_s[1] == pytest.approx(150.4)
    missing = np.delete(np.arange(500), [47, 52, 55, 148])  # polls that were lost
    polled = find_pulses(time[missing], current[missing], voltage[missing])
    assert set(polled.stamps_code) == {clock.POLLED}


def _counted(at: np.ndarray, **more: object) -> Pulses:
    """-5 A from 1000.3 s on, 30 mohm and 1 mohm for each root of a second, read at `at`."""
    since = at - 1000.3
    current = np.where(since >= 0.0, -5.0, 0.0)
    voltage = 3.7 + current * (0.03 + 1e-3 * np.sqrt(np.maximum(since, 0.0)))
    given = {"step_time_s": np.where(since >= 0.0, np.floor(10.0 * since) / 10.0, at - 500.0)} | more
    return find_pulses(at, current, voltage, assumed=PulseAssumptions(voltage_sd_v=1e-4), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("age_s", [3.0, 9.0, 14.0, 16.0])
def test_an_edge_that_the_equipment_counts_is_taken_from_its_count(age_s: float) -> None:
    """Polled every 20 s; at the root of t the law is exact. R at tau is known from a tenth of tau, if the first
    loaded row is no later than one and a half tau."""
    at = 1000.3 + age_s + 20.0 * np.arange(-30, 4)
    found = _counted(at)
    assert found.time_s[0] == pytest.approx(1000.3, abs=0.1) and found.stamps(0).startswith("counted")
    wanted = 0.03 + 1e-3 * np.sqrt(TIMES_S)
    for m, one in enumerate(found.r_ohm[0]):
        by_age = age_s <= 1.5 * TIMES_S[m]
        assert np.isfinite(one) == by_age, TIMES_S[m]
        if by_age:
            assert abs(one - wanted[m]) < found.r_sd_ohm[0, m] < 1e-3
    assert found.duration_s[0] == pytest.approx(60.0 + age_s, abs=0.1)


def test_counts_that_are_no_steps_are_left_alone_and_coarse_ones_widen_the_band() -> None:
    at = 1009.65 + 20.0 * np.arange(-30, 4)
    since = at - 1000.3
    plain = _counted(at, step_time_s=None)
    assert plain.stamps(0).startswith("polled")
    for counts in (at * 0.0, at * np.nan, at - 900.0, -since, since + 1e30):
        found = _counted(at, step_time_s=counts)
        np.testing.assert_array_equal(found.r_ohm, plain.r_ohm)
        np.testing.assert_array_equal(found.stamps_code, plain.stamps_code)
    fine, coarse = _counted(at), _counted(at, step_time_s=np.floor(np.maximum(since, 0.0)))
    assert coarse.r_sd_ohm[0, 2] > fine.r_sd_ohm[0, 2]
    with pytest.raises(ValueError, match="step_time_resolution_s"):
        find_pulses(at, at, at, assumed=PulseAssumptions(step_time_resolution_s=-1.0))


@pytest.mark.data
@pytest.mark.parametrize(("seconds", "period"), [(1.0, 2.0), (1.0, 4.0), (2.0, 4.0), (3.0, 6.0)])
def test_measured_pulses_of_which_few_rows_are_left_keep_their_resistance(
    measured_data, seconds: float, period: float
) -> None:
    """The LG M50 pulses with a row every `period`, the cycler's count of the step kept: against all their rows."""
    data = pd.read_parquet(measured_data / "lgm50_pulses.parquet")
    rng, kept, sizes, wanted = np.random.default_rng(1), [], [0], []
    columns = ["prog_time_s", "current_a", "voltage_v", "step_time_s"]
    for _, part in data.groupby(GROUP, sort=False):
        load = part[(part.status == "D") & (part.current_a < -1.0)]
        if load.step_time_s.iloc[-1] < 9.5:
            continue
        first = int(np.flatnonzero(part.status == "D")[0])
        rest, all_rows = part[columns].to_numpy()[max(0, first - 20) : first], load[columns].to_numpy()
        for begin in rng.uniform(0.1, 1.4, 8) * seconds:
            at = np.arange(begin, load.step_time_s.iloc[-1], period)
            left = np.unique(np.minimum(np.searchsorted(all_rows[:, 3], at), len(all_rows) - 1))
            kept += [rest, all_rows[left]]
            sizes.append(len(rest) + len(left))
            wanted.append(_reference(part, seconds))
    time, current, voltage, since = np.concatenate(kept).T
    found = find_pulses_batch(
        time, current, voltage, np.cumsum(sizes), step_time_s=since, times_s=[seconds],
        assumed=PulseAssumptions(voltage_sd_v=2e-4),
    )  # fmt: skip
    known = np.isfinite(found.r_ohm[:, 0])
    error = found.r_ohm[known, 0] - np.array(wanted)[found.record[known]]
    inside = (np.abs(error) < 1.96 * found.r_sd_ohm[known, 0]).mean()
    print(f"R{seconds:g} every {period:g} s: bias {1e3 * error.mean():.3f} mohm, inside {inside:.1%} of {known.sum()}")
    assert known.mean() > 0.95 and abs(error.mean()) < 5e-5
    assert 0.90 < inside < 0.98


def test_a_pulse_cut_short_gives_its_resistance_at_the_end() -> None:
    """50 mohm and 0.1 ohm/s: after 0.6 s at -5 A the voltage is 3.7 - 5 x 0.11 = 3.15 V."""
    time = np.concatenate([np.arange(-20.0, 0.0), np.arange(0.0, 0.65, 0.05), 0.62 + np.arange(3.0)])
    load = (time >= 0.0) & (time <= 0.61)
    current = np.where(load, -5.0, 0.0)
    voltage = 3.7 + np.where(load, current * (0.05 + 0.1 * time), 0.0)
    found = find_pulses(time, current, voltage, assumed=PulseAssumptions(voltage_sd_v=1e-3, resolution_v=0.0))
    assert np.isnan(found.r_ohm).all() and found.reason(0) == "1, 3, 10, 30 s: the pulse ended 0.6 s into it, at 3.15 V"
    assert found.r_end_ohm[0] == pytest.approx(0.11) and found.duration_s[0] == pytest.approx(0.6)
    assert found.r_end_sd_ohm[0] == pytest.approx(np.sqrt(2.0) * 1e-3 / 5.0, rel=1e-3)  # two readings of 1 mV


def test_words_for_what_is_absent() -> None:
    time = np.concatenate([np.arange(-5.0, 0.0), np.arange(0.0, 5.0, 0.5)])
    current = np.where(time >= 0.0, -5.0, 0.0)
    voltage = 3.7 + 0.03 * current
    found = find_pulses(time, current, voltage)
    assert found.at(3.0)[0][0] == pytest.approx(0.03)
    assert found.reason(0) == "10, 30 s: the pulse ended 4.5 s into it, at 3.55 V" and found.record_reason(0) == ""
    assert "current's sign" in find_pulses(time, -current, voltage, times_s=[1.0]).reason(0)
    assert "no true rest" in find_pulses(time[5:], current[5:], voltage[5:]).reason(0)
    assert "no step" in find_pulses(time, 0.0 * current, voltage).record_reason(0)
    assert "finite" in find_pulses([], [], []).record_reason(0)


def test_many_pulses_in_one_record_find_space() -> None:
    one = np.arange(20.0)
    current = np.tile(np.where(one < 10.0, 0.0, 2.0), 100)
    found = find_pulses(np.arange(2000.0), current, 3.0 + 0.05 * current, times_s=[1.0])
    assert len(found) == 100 and found.status.max() == status.OK
    np.testing.assert_allclose(found.r_ohm, 0.05, rtol=1e-9)


def test_what_makes_no_sense_is_refused() -> None:
    three = np.arange(3.0)
    with pytest.raises(ValueError, match="current_a has shape"):
        find_pulses(three, np.zeros(2), three)
    with pytest.raises(ValueError, match="one dimension"):
        find_pulses(np.zeros((2, 2)), three, three)
    with pytest.raises(ValueError, match="offsets"):
        find_pulses_batch(three, three, three, [0, 2])
    for times in ([], [0.0, 1.0], [3.0, 1.0], [float("nan")]):
        with pytest.raises(ValueError, match="times_s"):
            find_pulses(three, three, three, times_s=times)
    for value in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="voltage_sd_v"):
            find_pulses(three, three, three, assumed=PulseAssumptions(voltage_sd_v=value))
