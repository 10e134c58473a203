"""DCIR against truth and against measured pulses; the twin's own checks and words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kernels import status
from tests.unit.kernels.pulse_records import draw
from twin.pulse import TIMES_S, PulseAssumptions, Stamps, find_pulses, find_pulses_batch

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
    assert all("the pulse ended before (it lasted 0." in found.reason(k) for k in short)
    unloaded = [int(np.argmax(np.abs(part.current_a[part.status == "D"]) > 1.0)) for part in groups]
    assert list(found.stale_rows) == unloaded and np.count_nonzero(unloaded) == 68
    assert set(found.temperature_c) == {10.0, 25.0}
    table = rows.drop_duplicates(GROUP)[GROUP].assign(r10=found.at(10.0)[0])
    spread = table.groupby(GROUP[:2]).r10.agg(["mean", "std", "count"])
    for (temperature, level), row in spread.iterrows():
        mean, sd = 1e3 * row["mean"], 1e3 * row["std"]
        print(f"{temperature:g} C, level {level}: {mean:.2f} +- {sd:.2f} mohm, {row['count']:g} cells")
    assert (spread["std"] / spread["mean"]).max() < 0.12


def test_words_for_what_is_absent() -> None:
    time = np.concatenate([np.arange(-5.0, 0.0), np.arange(0.0, 5.0, 0.5)])
    current = np.where(time >= 0.0, -5.0, 0.0)
    voltage = 3.7 + 0.03 * current
    found = find_pulses(time, current, voltage)
    assert found.at(3.0)[0][0] == pytest.approx(0.03)
    assert found.reason(0) == "10, 30 s: the pulse ended before (it lasted 4.5 s)" and found.record_reason(0) == ""
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
