"""Cycle figures: worked examples, deviations against draws, and the measured cells against their cyclers' counters."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kernels import status
from twin.capacity import CountSettings, CycleCounts, count, count_one


def cell(out=0.87, limit=3.0, cycles=2):
    """Rows of charge to 4.2 V, rest, discharge to `limit`, rest: 1 Ah in at 0.5 A, `out` Ah out."""
    t, i, v, at = [0.0], [0.0], [2.9], 0.0
    for _ in range(cycles):
        for amount, sign, low, high in ((1.0, 1.0, 3.1, 4.2), (out, -1.0, limit, 4.15)):
            seconds = amount / 0.5 * 3600.0
            x = np.linspace(0.0, 1.0, 400)
            t += [*(at + 0.01 + x * seconds), at + seconds + 1.0, at + seconds + 600.0]
            i += [sign * 0.5] * x.size + [0.0, 0.0]
            # Linear, and steep in the last tenth of a discharge.
            shape = low + (high - low) * x if sign > 0 else high - (high - low) * (0.5 * x + 0.5 * x**20)
            v += [*shape, shape[-1] - 0.05 * sign, shape[-1] - 0.06 * sign]
            at += seconds + 600.0
    return np.array(t), np.array(i), np.array(v)


def test_worked_example() -> None:
    counts = count_one(*cell())
    assert list(counts.cycle) == [1, 2] and counts.refused == (None, None)
    np.testing.assert_allclose(counts.charge_ah, 1.0, rtol=1e-4)
    np.testing.assert_allclose(counts.discharge_ah, 0.87, rtol=1e-4)
    assert counts.first_cycle_efficiency() == pytest.approx(0.87, rel=1e-4)
    assert counts.charge_mean_v[0] == pytest.approx(3.65, abs=1e-3)
    np.testing.assert_allclose(counts.charge_wh, counts.charge_ah * counts.charge_mean_v)
    np.testing.assert_allclose(
        counts.energy_efficiency, counts.coulombic_efficiency * counts.discharge_mean_v / counts.charge_mean_v
    )
    assert counts.limit_v[0] == 3.0 and "several" in counts.limit_source[0]
    assert counts.status[0] == status.OK and counts.reason == ("all rows count",)
    assert np.isnan(counts.charge_sd_ah).all()  # nobody said how good the instrument is


def refusal(counts: CycleCounts) -> str:
    assert counts.first_cycle_efficiency() is None
    words = counts.first_cycle_refused()
    assert words is not None
    return words.split(":", maxsplit=1)[0]


def test_refusals_have_names() -> None:
    t, i, v = cell(cycles=1)
    begins = int(np.flatnonzero(i < 0)[0])
    cut = begins + 200
    assert refusal(count_one(t[:cut], i[:cut], v[:cut])) == "discharge_not_ended"
    assert refusal(count_one(t[:begins], i[:begins], v[:begins])) == "no_discharge"
    assert refusal(count_one(t[begins:], i[begins:], v[begins:])) == "no_charge"
    rested = np.r_[0:cut, i.size - 1]  # stopped half way, then a rest
    assert refusal(count_one(t[rested], i[rested], v[rested])) == "limit_unknown"
    limit = CountSettings(limit_v=3.0)
    assert refusal(count_one(t[rested], i[rested], v[rested], settings=limit)) == "limit_not_reached"
    hole = np.r_[0:100, 200 : i.size]
    assert refusal(count_one(t[hole], i[hole], v[hole])) == "gap"
    late = slice(200, None)
    assert refusal(count_one(t[late], i[late], v[late])) == "not_from_empty"
    assert refusal(count_one(*cell(out=1.1))) == "more_out_than_in"
    assert refusal(count_one([], [], [])) == "no_charge"
    # A file that ends with the discharge's last row ends there; the limit must then be given.
    end = i.size - 2
    assert refusal(count_one(t[:end], i[:end], v[:end])) == "discharge_not_ended"
    assert count_one(t[:end], i[:end], v[:end], settings=limit).first_cycle_efficiency() is not None


def test_a_misread_voltage_is_no_limit() -> None:
    t, i, v = cell(cycles=1)
    at = int(np.flatnonzero(i < 0)[150])
    for rows in (1, 3):
        v[at : at + rows] = 0.0
        for settings in (None, CountSettings(limit_v=3.0)):
            whole = count_one(t, i, v, settings=settings)
            assert whole.first_cycle_efficiency() == pytest.approx(0.87, rel=1e-4) and whole.limit_v[0] == 3.0
            part = np.r_[0 : at + 60, i.size - 1]
            assert refusal(count_one(t[part], i[part], v[part], settings=settings)).startswith("limit_")


def test_a_counter_of_the_equipment_closes_a_gap() -> None:
    t, i, v = cell(cycles=1)
    counter = np.r_[0.0, np.cumsum(0.5 * (i[1:] + i[:-1]) * np.diff(t))] / 3600.0
    hole = np.r_[0:100, 200 : i.size]
    counts = count_one(t[hole], i[hole], v[hole], counter[hole])
    assert counts.first_cycle_efficiency() == pytest.approx(0.87, rel=2e-3)
    assert counts.bridged[0] == 1 and counts.status[0] == status.OK


def test_deviations_against_draws() -> None:
    """Gain and offset drawn for 2,000 instruments: the spread of the figures is the stated one."""
    rng = np.random.default_rng(4)
    t, i, v = (column[::8] for column in cell(cycles=1))
    n, gain, offset, volts = 2000, 2e-3, 4e-4, 3e-3
    read = i * (1 + gain * rng.standard_normal((n, 1))) + offset * rng.standard_normal((n, 1)) * (i != 0.0)
    off = v + volts * rng.standard_normal((n, 1))
    stated = CountSettings(
        limit_v=3.0, tolerance_v=0.1, current_gain_sd=gain, current_offset_sd_a=offset, voltage_offset_sd_v=volts,
        gap_limit_s=1000.0,
    )  # fmt: skip
    counts = count(np.tile(t, n), read.ravel(), off.ravel(), np.arange(n + 1) * t.size, settings=stated)
    assert counts.refused == (None,) * n
    for value, sd in (
        (counts.charge_ah, counts.charge_sd_ah), (counts.discharge_ah, counts.discharge_sd_ah),
        (counts.charge_wh, counts.charge_sd_wh), (counts.discharge_wh, counts.discharge_sd_wh),
        (counts.coulombic_efficiency, counts.coulombic_efficiency_sd),
    ):  # fmt: skip
        assert value.std(ddof=1) == pytest.approx(np.median(sd), rel=0.06)
    # Worked example: 1 Ah in 2 h, 0.2 % gain and 0.4 mA: sqrt(2^2 + 0.8^2) mAh.
    assert np.median(counts.charge_sd_ah) == pytest.approx(math.hypot(2e-3, 8e-4), rel=0.01)


def test_polled_rack_in_a_batch_with_quality() -> None:
    """64 channels read every 20 s, one row of each bad: charges within their stated deviation of the truth."""
    t, i, v = cell(cycles=1)
    rng = np.random.default_rng(5)
    times = [np.arange(rng.uniform(0, 20), t[-1], 20.0) for _ in range(64)]
    rows = [(at, i[np.searchsorted(t, at, "right") - 1], np.interp(at, t, v)) for at in times]
    offsets = np.r_[0, np.cumsum([len(at) for at in times])]
    time_s, current_a, voltage_v = (np.concatenate([row[k] for row in rows]) for k in range(3))
    quality = np.zeros(time_s.size, dtype=np.uint8)
    quality[offsets[:-1] + 100] = 2
    current_a[offsets[:-1] + 100] = 1e5
    settings = CountSettings(limit_v=3.0, tolerance_v=0.05, polled=True, current_offset_sd_a=1e-6)
    counts = count(time_s, current_a, voltage_v, offsets, quality=quality, settings=settings)
    assert list(counts.record) == list(range(64)) and counts.refused == (None,) * 64
    away = (counts.charge_ah - 1.0) / counts.charge_sd_ah
    assert np.abs(away).max() < 2.5 and 0.5 < away.std() < 1.3
    assert list(counts.bad_rows) == [1] * 64
    alone = count_one(*(c[offsets[7] : offsets[8]] for c in (time_s, current_a, voltage_v)), settings=settings)
    assert alone.discharge_ah[0] == counts.discharge_ah[7]  # 1e5 A beside 0.5 A is no current, graded or not


def test_arguments() -> None:
    with pytest.raises(ValueError, match="length"):
        count_one([0, 1], [1, 1], [3])
    with pytest.raises(ValueError, match="length"):
        count_one([0, 1], [1, 1], [3, 3], [1])
    with pytest.raises(ValueError, match="offsets"):
        count([0, 1], [1, 1], [3, 3], [0, 1])
    for wrong in ({"gap_limit_s": 0.0}, {"tolerance_v": math.nan}, {"current_gain_sd": -1.0}):
        with pytest.raises(ValueError, match="not possible"):
            CountSettings(**wrong)


def read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    return pd.read_parquet(path)


def counted(rows: pd.DataFrame, settings: CountSettings | None = None) -> CycleCounts:
    return count_one(rows["time_s"], rows["current_a"], rows["voltage_v"], settings=settings)


@pytest.mark.data
def test_coin_cell_formation(measured_data) -> None:
    rows = read(measured_data, "coin_formation")
    counts = counted(rows)
    assert counts.first_cycle_efficiency() == pytest.approx(0.870, abs=0.01)
    for k, number in enumerate((1, 2)):
        own = rows[rows["cycle"] == number]
        assert counts.charge_ah[k] == pytest.approx(own["charge_capacity_ah"].max(), rel=1e-3)
        assert counts.discharge_ah[k] == pytest.approx(own["discharge_capacity_ah"].max(), rel=1e-3)
    assert counts.limit_v[0] == pytest.approx(3.0, abs=1e-3)
    alone = counted(rows[rows["cycle"] == 1])
    assert alone.first_cycle_efficiency() == pytest.approx(counts.first_cycle_efficiency(), rel=1e-6)
    assert "round" in alone.limit_source[0]


@pytest.mark.data
def test_coin_cell_cut_before_the_discharge_ended(measured_data) -> None:
    rows = read(measured_data, "coin_formation")
    begins, ends = 102_810.0, 173_428.6
    for until in np.linspace(begins + 100.0, ends - 1.0, 60):
        whole = rows[rows["time_s"] < until]
        assert refusal(counted(whole)) in {"discharge_not_ended", "no_discharge"}
    for until in np.linspace(begins + 5000.0, 166_000.0, 30):  # the discharge stops there and the cell rests
        rest = pd.concat([rows[rows["time_s"] < until], rows[(rows["time_s"] > ends + 0.1) & (rows["cycle"] == 1)]])
        for settings in (None, CountSettings(limit_v=3.0)):
            assert refusal(counted(rest, settings)) in {"gap", "limit_unknown", "limit_not_reached"}


@pytest.mark.data
def test_other_cells_against_their_counters(measured_data) -> None:
    rows = read(measured_data, "lgm50_c10")
    counts, own = counted(rows), rows.groupby("step")["capacity_ah"].last()
    truth = [own[2] - own[0], own[4] - own[5], own[8] - own[6]]
    np.testing.assert_allclose([*counts.charge_ah[:1], *counts.discharge_ah[:1], counts.charge_ah[1]], truth, rtol=1e-3)
    assert refusal(counts) == "not_from_empty"  # the first charge is a top-up
    rows = read(measured_data, "a123_ocv_25c")
    for script, column in ((1, "discharge_ah"), (3, "charge_ah")):
        own = rows[rows["script"] == script]
        cycler = own[column.replace("_ah", "_capacity_ah")].max()
        assert getattr(counted(own), column)[0] == pytest.approx(cycler, rel=1e-4)
