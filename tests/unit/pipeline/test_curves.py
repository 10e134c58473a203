"""Curves of steps as they are kept: nothing of the ends lost, bounded, and windows within their stated deviation.

The cells here are the fit's own model, half-cell tables and a resistance, so that the truth is known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from configs.schema.cell import HalfCells
from controller.pipeline.curves import ROWS, Curve, CurveKeeper
from controller.pipeline.stages.slow import SlowStage, slow_cell
from controller.types import Float64Array, Frame, FrameKind
from tests.unit.pipeline.rack_frames import line
from tests.unit.pipeline.test_step_stage import Ready
from twin.halfcell import load

CAPACITY_AH, OHM, NOISE_V = 5.0, 0.03, 3e-3
TRUTH = {"x_0": 0.03, "x_100": 0.88, "y_0": 0.86, "y_100": 0.28}
REST, DISCHARGE = 3.0, 4.0
PERIOD_S = 36.0
START_NS = 1_700_000_000_000_000_000


def frame(time_s: float, columns: dict[str, Float64Array]) -> Frame:
    n = columns["voltage_v"].size
    return Frame(
        "rack1", "channel", FrameKind.RAW, np.full(n, START_NS + int(time_s * 1e9)),
        np.arange(1, n + 1, dtype=np.int32), "channel", columns, np.zeros(n, dtype=np.uint8),
        np.zeros(n, dtype=np.uint32),
    )  # fmt: skip


def discharges(
    channels: int, cycles: int = 1, lithium_loss: float = 0.0, period_s: float = PERIOD_S
) -> Iterator[Frame]:
    """Rest, C/10 discharge and rest, cycle after cycle from 2; then `lithium_loss` of the lithium is gone each time.

    Lithium lost shifts the windows against each other: at the same y_0 and y_100 less is left in the negative.
    """
    rng = np.random.default_rng(5)
    positive, negative = load("nmc811_chen2020"), load("graphite_siox_chen2020")
    negative_ah = CAPACITY_AH / (TRUTH["x_100"] - TRUTH["x_0"])
    positive_ah = CAPACITY_AH / (TRUTH["y_0"] - TRUTH["y_100"])
    lithium_ah = TRUTH["x_0"] * negative_ah + TRUTH["y_0"] * positive_ah
    now_s = 0.0

    def sample(state: float, step: int, cycle: int, current_a: float, volt: float) -> Frame:
        names = {"state": state, "step": step, "cycle": cycle, "current_a": current_a}
        columns = {name: np.full(channels, float(value)) for name, value in names.items()}
        return frame(now_s, {**columns, "voltage_v": volt + NOISE_V * rng.standard_normal(channels)})

    for cycle in range(2, 2 + cycles):
        left_ah = lithium_ah * (1.0 - lithium_loss) ** (cycle - 2)
        amps = 0.1 * CAPACITY_AH
        begun_s = now_s
        for phase, state in ((0, REST), (1, DISCHARGE), (2, REST)):
            phase_s = now_s
            while now_s - phase_s < (3600.0 if phase != 1 else 1e9):
                now_s += period_s
                moved = 0.0 if phase == 0 else min(now_s - phase_s, 36_000.0) / 36_000.0
                x = TRUTH["x_100"] + (TRUTH["x_0"] - TRUTH["x_100"]) * (moved if phase < 2 else 1.0)
                y = (left_ah - x * negative_ah) / positive_ah
                volt = np.interp(y, positive.stoichiometry, positive.potential_v)
                volt -= np.interp(x, negative.stoichiometry, negative.potential_v)
                loaded = phase == 1
                if loaded and (moved >= 1.0 or volt - OHM * amps < 2.5):
                    break
                yield sample(state, 3 * cycle + phase, cycle, -amps if loaded else 0.0, volt - OHM * amps * loaded)
        assert now_s > begun_s
    now_s += period_s
    yield sample(6.0, 99, 9, 0.0, 3.0)


def esoh(given: Iterator[Frame], channels: int) -> list[Frame]:
    """Windows of cells without diffusion and charge transfer, by a cell file that says nothing of them."""
    shipped = line().cells["rack1"]
    assert shipped.half_cells is not None
    tables = HalfCells(positive=shipped.half_cells.positive, negative=shipped.half_cells.negative)
    made = SlowStage("rack1", channels, slow_cell(shipped.model_copy(update={"half_cells": tables}), 0.22), Ready())
    return [found for one in given for found in made.process(one) if found.stream == "cell_esoh"]


def test_windows_of_cells_of_the_fit_s_own_model_are_the_truth_within_their_stated_deviation() -> None:
    channels = 40
    (found,) = esoh(discharges(channels), channels)
    assert (found.columns["identifiable"] == 1.0).all()
    # The windows are those of the first and the last sample: one period after full, and at the lower limit.
    samples = found.columns["samples"]
    assert (samples == samples[0]).all()
    first, last = PERIOD_S / 36_000.0, samples[0] * PERIOD_S / 36_000.0
    along = {name: (TRUTH[f"{name}_100"], TRUTH[f"{name}_0"] - TRUTH[f"{name}_100"]) for name in "xy"}
    true = {f"{name}_{end}": full + moved * way for name, (full, way) in along.items() for end, moved in
            (("100", first), ("0", last))}  # fmt: skip
    inside = [np.abs(found.columns[name] - value) < 1.96 * found.columns[f"{name}_sd"] for name, value in true.items()]
    assert 0.9 < np.mean(inside) <= 1.0
    assert found.columns["resistance_ohm"] == pytest.approx(OHM, abs=0.02)


def test_lost_lithium_is_found_within_its_stated_deviation() -> None:
    channels = 8
    first, second = esoh(discharges(channels, cycles=2, lithium_loss=0.04), channels)
    assert np.isnan(first.columns["lli"]).all()
    error = second.columns["lli"] - 0.04
    assert (np.abs(error) < 3.5 * second.columns["lli_sd"]).all()
    assert (second.columns["lli"] > 2.0 * second.columns["lli_sd"]).all()
    for name in ("lam_negative", "lam_positive"):
        assert (np.abs(second.columns[name]) < 3.5 * second.columns[f"{name}_sd"]).all()


def ramp(keeper: CurveKeeper, samples: int, amps: float = 1.0, period_s: float = 10.0) -> tuple[Curve, Float64Array]:
    """One channel through a rest, a charge of so many samples from 3 to 4 V, and a rest; the curve and its voltages."""
    volts = np.linspace(3.0, 4.0, samples)
    shown = [(REST, 1, 0.0, 2.9), *((1.0, 2, amps, v) for v in volts), (REST, 3, 0.0, 3.95)]
    curves: list[Curve] = []
    for k, row in enumerate(shown):
        state, step, current, volt = row
        columns = {"state": state, "step": step, "cycle": 2.0, "current_a": current, "voltage_v": volt}
        curves += keeper.feed(frame(k * period_s, {name: np.array([float(v)]) for name, v in columns.items()}))
    (curve,) = curves
    return curve, volts


@pytest.mark.parametrize("samples", [40, 900, 3000])
def test_both_ends_are_kept_and_rows_are_bounded(samples: int) -> None:
    curve, volts = ramp(CurveKeeper(1, CAPACITY_AH), samples, amps=CAPACITY_AH * 360.0 / samples)
    assert curve.rows.shape[0] <= min(samples, ROWS + 2)
    assert curve.voltage_v[[0, 1, 2, -1]] == pytest.approx(volts[[0, 1, 2, -1]], abs=1e-4)
    assert curve.span_v == pytest.approx(1.0, abs=2e-4)
    assert curve.moved_c == pytest.approx(CAPACITY_AH * 3600.0, rel=0.02)
    assert (np.diff(curve.charge_c) >= 0.0).all()
    # Means over shares lie on the line that the samples make.
    expected = np.interp(curve.charge_c, [curve.charge_c[0], curve.moved_c], [3.0, 4.0])
    assert np.abs(curve.voltage_v - expected).max() < 2e-3
    assert (curve.before_v, curve.after_v, curve.before_a) == (2.9, 3.95, 0.0)


def test_a_cell_file_of_a_much_smaller_cell_costs_resolution_not_the_curve() -> None:
    curve, _ = ramp(CurveKeeper(1, CAPACITY_AH / 8.0), 3000, amps=0.6)
    assert 256 < curve.rows.shape[0] <= ROWS + 2
    expected = np.interp(curve.charge_c, [curve.charge_c[0], curve.moved_c], [3.0, 4.0])
    assert np.abs(curve.voltage_v - expected).max() < 2e-3


def test_constant_voltage_in_the_same_step_ends_the_curve_and_a_spike_does_not() -> None:
    keeper = CurveKeeper(1, CAPACITY_AH)
    volts, curves = np.linspace(3.0, 4.0, 500), []
    currents = [1.0] * 500
    currents[200] = 3.0
    shown = [(REST, 1, 0.0, 2.9), *((1.0, 2, a, v) for a, v in zip(currents, volts, strict=True))]
    shown += [(1.0, 2, 1.0 * 0.99**k, 4.0) for k in range(200)]
    shown += [(REST, 3, 0.0, 3.95)]
    for k, (state, step, current, volt) in enumerate(shown):
        columns = {"state": state, "step": step, "cycle": 2.0, "current_a": current, "voltage_v": volt}
        curves += keeper.feed(frame(k * 10.0, {name: np.array([float(v)]) for name, v in columns.items()}))
    (curve,) = curves
    assert curve.current_a == pytest.approx(1.0, abs=0.01)
    assert 5000.0 < curve.moved_c < 5300.0, "the current had fallen by a fifth"
    assert curve.last_ns > curve.end_ns
