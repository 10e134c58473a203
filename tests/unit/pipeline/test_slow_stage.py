"""Slow steps while the line runs: the numbers of `celltwin analyse`, the plant's truth, nothing lost or given twice."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from configs.results import CELL_RESULTS
from controller.analysis.run import Request, analyse
from controller.historian.columns import to_table
from controller.pipeline.stages import slow
from controller.pipeline.stages.curve_queue import CurveQueue
from controller.pipeline.stages.slow import SlowStage, slow_cell
from controller.pipeline.stages.slow_estimates import SOC_PERCENT, Why
from controller.types import Frame, FrameKind
from kernels import status
from tests.unit.pipeline.rack_frames import line
from tests.unit.pipeline.slow_frames import (
    C5,
    C10,
    CHANNELS,
    CHARGE_1,
    CHARGE_2,
    DISCHARGE_1,
    DISCHARGE_2,
    Sample,
    programme,
    samples,
)
from tests.unit.pipeline.test_step_stage import Ready

PERIOD_S = 60
STREAMS = ("cell_dqdv", "cell_esoh", "cell_ocv")
ELECTRODES = (("x", "negative"), ("y", "positive"))
ENDS = ("x_0", "x_100", "y_0", "y_100")
Rows = dict[tuple[str, int, float], dict[str, float]]


def stage(ready: Ready | None = None) -> SlowStage:
    return SlowStage("rack1", CHANNELS, slow_cell(line().cells["rack1"], 0.22), ready or Ready())


def fed(made: SlowStage, given: Iterable[Frame]) -> list[Frame]:
    return [result for frame in given for result in made.process(frame)]


def rows(found: Sequence[Frame]) -> Rows:
    """Columns by stream, channel and step (of a pair: of its discharge)."""
    table: Rows = {}
    for frame in found:
        if frame.stream in STREAMS:
            step = frame.columns["discharge_step" if frame.stream == "cell_ocv" else "step"]
            for at in range(frame.rows):
                key = frame.stream, int(frame.point[at]), float(step[at])
                assert key not in table, "one row for each event"
                table[key] = {name: float(values[at]) for name, values in frame.columns.items()}
    return table


@pytest.fixture(scope="module")
def run() -> list[Sample]:
    return list(samples(PERIOD_S, programme(C10)))


@pytest.fixture(scope="module")
def frames(run: list[Sample]) -> list[Frame]:
    return [sample.frame for sample in run]


@pytest.fixture(scope="module")
def live(frames: list[Frame]) -> list[Frame]:
    return fed(stage(), frames)


def test_every_slow_step_has_its_row_and_says_why_where_it_has_no_numbers(live: list[Frame]) -> None:
    table = rows(live)
    steps = {(stream, step) for stream, _, step in table}
    both = {(s, step) for s in STREAMS[:2] for step in (CHARGE_1, DISCHARGE_1, CHARGE_2, DISCHARGE_2)}
    assert steps == both | {("cell_ocv", DISCHARGE_1), ("cell_ocv", DISCHARGE_2)}
    for frame in live:
        assert set(frame.columns) == CELL_RESULTS[frame.stream], "charts may watch them by these names"
        assert (frame.kind, frame.labels, frame.point_name) == (FrameKind.RESULT, {"lot": "L1"}, "channel")
    for channel in range(1, CHANNELS + 1):
        assert table["cell_dqdv", channel, CHARGE_1]["peaks"] >= 4
        for stream, step in (("cell_esoh", CHARGE_1), ("cell_ocv", DISCHARGE_1)):
            refused = table[stream, channel, step]
            assert (refused["why"], refused["status"]) == (Why.FIRST_CHARGE, status.NOT_IDENTIFIABLE)
            assert np.isnan(refused.get("x_0", np.nan))
            assert np.isnan(refused.get("ocv_050_v", np.nan))
        for step in (DISCHARGE_1, CHARGE_2, DISCHARGE_2):
            assert table["cell_esoh", channel, step]["identifiable"] == 1.0


def test_a_row_has_the_time_of_its_step_s_last_sample(frames: list[Frame], live: list[Frame]) -> None:
    last = {(c + 1, f.columns["step"][c]): int(f.time_ns[c]) for f in frames for c in range(CHANNELS)}
    for frame in live:
        step = frame.columns["discharge_step" if frame.stream == "cell_ocv" else "step"]
        for channel, number, time_ns in zip(frame.point, step, frame.time_ns, strict=True):
            assert time_ns == last[int(channel), float(number)]


def analysed(kind: str, given: Sequence[Frame], folder: Path, settings: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What `celltwin analyse KIND --by channel --json` says of the run's Parquet files."""
    folder.mkdir()
    pq.write_table(to_table(given, None, {}), folder / "part-1-1.parquet")
    printed, said = io.StringIO(), io.StringIO()
    request = Request(kind, [folder], (), None, "charge", ["channel"], True, None, list(settings))
    assert analyse(request, Console(file=printed), Console(file=said)) == 0, said.getvalue()
    found: list[dict[str, Any]] = json.loads(printed.getvalue())
    return found


def of_step(frames: Iterable[Frame], *steps: float) -> list[Frame]:
    """Samples of these steps; channels that are elsewhere are cut out."""
    kept = []
    for frame in frames:
        mine = np.isin(frame.columns["step"], steps)
        columns = {name: values[mine] for name, values in frame.columns.items()}
        kept.append(
            replace(frame, time_ns=frame.time_ns[mine], point=frame.point[mine], columns=columns,
                    quality=frame.quality[mine], code=frame.code[mine])
        )  # fmt: skip
    return [frame for frame in kept if frame.rows]


@pytest.mark.parametrize(("step", "direction"), [(DISCHARGE_1, "discharge"), (CHARGE_2, "charge")])
def test_windows_are_those_of_analyse_esoh_on_the_runs_parquet_files(
    frames: list[Frame], live: list[Frame], tmp_path: Path, step: float, direction: str
) -> None:
    table = rows(live)
    known = line().cells["rack1"].half_cells
    assert known is not None
    settings = [f"{key}={value}" for key, value in known.model_dump(exclude_none=True).items()]
    printed = analysed("esoh", of_step(frames, step), tmp_path / "channel", [f"direction={direction}", *settings])
    # Bounds by the fit of surfaces: its SD is that of a model which lacks something, and larger.
    surfaces = analysed("esoh", of_step(frames, step), tmp_path / "surfaces", [f"direction={direction}"])
    assert {row["channel"] for row in printed} == set(range(1, CHANNELS + 1))
    for row, wider in zip(printed, surfaces, strict=True):
        assert (row["windows_of"], wider["windows_of"]) == ("means", "surfaces")
        mine = table["cell_esoh", row["channel"], step]
        for name in (*ENDS, "n_to_p", "resistance_ohm"):
            near = 0.25 * min(wider[f"{name}_sd"], 2.0 * row[f"{name}_sd"])
            assert mine[name] == pytest.approx(row[name], abs=near), name
            assert mine[f"{name}_sd"] == pytest.approx(row[f"{name}_sd"], rel=0.5), name
        assert mine["rmse_v"] == pytest.approx(row["rmse_v"], abs=1e-4)
        assert mine["charge_ah"] == pytest.approx(row["charge_ah"], rel=5e-3)


@pytest.mark.parametrize("step", [DISCHARGE_1, CHARGE_2, DISCHARGE_2])
def test_peaks_are_those_of_analyse_dqdv_on_the_runs_parquet_files(
    frames: list[Frame], live: list[Frame], tmp_path: Path, step: float
) -> None:
    table = rows(live)
    for row in analysed("dqdv", of_step(frames, step), tmp_path / "channel"):
        mine = table["cell_dqdv", row["channel"], step]
        heights = {p: mine[f"p{p}_ah_v"] for p in range(1, 7)}
        near = min(range(1, 7), key=lambda p: abs(np.nan_to_num(mine[f"p{p}_v"], nan=99.0) - row["voltage_v"]))
        if row["height_ah_v"] < 7.0:  # a shoulder: it may stand out in the one and not in the other
            continue
        assert mine[f"p{near}_v"] == pytest.approx(row["voltage_v"], abs=0.001 + 3.0 * row["voltage_v_sd"])
        assert heights[near] == pytest.approx(row["height_ah_v"], abs=3.0 * row["height_ah_v_sd"], rel=0.01)


def test_the_cells_of_a_tray_call_the_same_peak_by_the_same_name(live: list[Frame]) -> None:
    table = rows(live)
    for step in (CHARGE_1, DISCHARGE_1, CHARGE_2, DISCHARGE_2):
        for p in range(1, 7):
            places = [table["cell_dqdv", channel, step][f"p{p}_v"] for channel in range(1, CHANNELS + 1)]
            places = [place for place in places if np.isfinite(place)]
            assert not places or np.ptp(places) < 0.05, (step, p, places)


def test_the_open_circuit_voltage_is_that_of_analyse_ocv_on_the_runs_parquet_files(
    frames: list[Frame], live: list[Frame], tmp_path: Path
) -> None:
    table = rows(live)
    cycle = of_step(frames, 5.0, CHARGE_2, 7.0, 8.0, DISCHARGE_2, 10.0)
    printed = analysed("ocv", cycle, tmp_path / "channel", ["points=21"])
    for channel in range(1, CHANNELS + 1):
        mine = table["cell_ocv", channel, DISCHARGE_2]
        offline = [row for row in printed if row["channel"] == channel]
        assert (mine["why"], mine["charge_step"], mine["cycle"]) == (0.0, CHARGE_2, 2.0)
        for percent, row in zip(SOC_PERCENT, offline, strict=True):
            near = 0.001 if 10 <= percent <= 90 else 0.004
            assert mine[f"ocv_{percent:03d}_v"] == pytest.approx(row["ocv_v"], abs=near), percent
        for name in ("discharge_ah", "charge_ah"):
            assert mine[name] == pytest.approx(offline[0][name], rel=5e-3)
        assert 0.03 < mine["ohmic_ohm"] == pytest.approx(offline[0]["ohmic_ohm"], rel=0.01)


def test_windows_stand_where_the_plant_s_electrodes_stood(run: list[Sample], live: list[Frame]) -> None:
    """The plant's lithium must diffuse and react, of which the cell file says how much: means, each within its band."""
    table, inside_band = rows(live), []
    step = np.array([sample.frame.columns["step"] for sample in run])
    truth = {name: np.array([sample.truth[name] for sample in run]) for name in ("x", "y")}
    for channel in range(1, CHANNELS + 1):
        for number in (DISCHARGE_1, CHARGE_2, DISCHARGE_2):
            inside = np.flatnonzero(step[:, channel - 1] == number)
            low, high = (inside[0], inside[-1]) if number == CHARGE_2 else (inside[-1], inside[0])
            mine = table["cell_esoh", channel, number]
            assert mine["of_mean"] == 1.0
            for name in ENDS:
                true = truth[name[0]][low if name.endswith("_0") else high, channel - 1]
                away, sd = abs(mine[name] - true), mine[f"{name}_sd"]
                inside_band.append(away < 1.96 * sd)
                assert away < (0.003 if number != DISCHARGE_1 else 0.006), (channel, number, name)
    assert np.mean(inside_band) >= 0.95


def test_losses_are_counted_against_the_cell_s_first_windows_of_that_direction(
    run: list[Sample], live: list[Frame]
) -> None:
    """From a C/5 to a C/10 discharge; between them the film takes 0.6 % of the lithium, as the plant says too."""
    table = rows(live)
    steps = np.array([sample.frame.columns["step"] for sample in run])
    for channel in range(1, CHANNELS + 1):
        for step in (DISCHARGE_1, CHARGE_2):
            assert np.isnan(table["cell_esoh", channel, step]["lli"]), "the first of its direction"
        second = table["cell_esoh", channel, DISCHARGE_2]
        assert second["since_cycle"] == 1.0
        assert second["since_a"] == pytest.approx(-C5, rel=1e-2)
        ends = [int(np.flatnonzero(steps[:, channel - 1] == step)[-1]) for step in (DISCHARGE_1, DISCHARGE_2)]
        held = [sum(second[f"{e}_ah"] * run[k].truth[t][channel - 1] for t, e in ELECTRODES) for k in ends]
        true = 1.0 - held[1] / held[0]
        assert 0.004 < true < 0.008
        for name, value in (("lli", true), ("lam_negative", 0.0), ("lam_positive", 0.0)):
            assert abs(second[name] - value) < 1.96 * second[f"{name}_sd"], name


def test_a_kill_at_any_moment_loses_and_repeats_no_row(frames: list[Frame], live: list[Frame]) -> None:
    """The pipeline saves the state with every Frame that ends a slow step, and between them every few Frames."""
    made = stage()
    results, saved = [], made.checkpoint()
    for n, frame in enumerate(frames):
        results += made.process(frame)
        if made.urgent() or n % 5 == 0:
            saved = made.checkpoint()
        if n % 41 == 40:  # killed: up to 4 samples of the open steps are gone
            made = stage()
            made.restore(saved)
    kept, wanted = rows(results), rows(live)
    assert kept.keys() == wanted.keys()
    for key, row in wanted.items():
        assert kept[key]["status"] == row["status"]
        if key[0] == "cell_esoh" and row["identifiable"]:
            for name in ENDS:
                assert kept[key][name] == pytest.approx(row[name], abs=row[f"{name}_sd"])


def test_a_restart_without_loss_gives_the_same_numbers(frames: list[Frame], live: list[Frame]) -> None:
    made, results = stage(), []
    for n, frame in enumerate(frames):
        results += made.process(frame)
        if n % 97 == 0:
            again = stage()
            again.restore(made.checkpoint())
            made = again
    for key, row in rows(results).items():
        assert row == pytest.approx(rows(live)[key], nan_ok=True), key


def test_curves_wait_for_their_kernels_over_a_restart_and_come_once(frames: list[Frame], live: list[Frame]) -> None:
    made = stage(Ready(now=False))
    middle = next(n for n, f in enumerate(frames) if (f.columns["step"] > CHARGE_2).all())
    assert fed(made, frames[:middle]) == []
    assert made.catch_up() == []
    late = Ready(now=False)
    again = stage(late)
    again.restore(made.checkpoint())
    late.come()
    # A sample comes before `catch_up`: what it brings must be saved with it.
    caught_up = again.process(frames[middle])
    assert again.urgent()
    third = stage()
    third.restore(again.checkpoint())
    assert third.catch_up() == []
    assert not third.process(frames[middle + 1])
    assert not third.urgent()
    found = rows([*caught_up, *fed(third, frames[middle + 2 :])])
    wanted = rows(live)
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        for name in ("x_0", "p1_v", "ocv_050_v", "lli"):
            if name in row:
                assert found[key][name] == pytest.approx(row[name], nan_ok=True, abs=2e-3), (key, name)


def test_curves_that_waited_come_in_parts_and_once_though_killed_between_any_two(
    frames: list[Frame], live: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "AT_ONCE", 1)
    late = Ready(now=False)
    made = stage(late)
    assert fed(made, frames) == []
    late.come()
    found: list[Frame] = []
    while made.waits():
        found += made.catch_up()
        again = stage(late)
        again.restore(made.checkpoint())
        made = again
    assert made.catch_up() == []
    given, wanted = rows(found), rows(live)
    assert given.keys() == wanted.keys()
    for key, row in wanted.items():
        assert given[key] == pytest.approx(row, nan_ok=True, rel=1e-6, abs=1e-9), key


def test_samples_that_are_missing_and_beginnings_that_were_not_seen_are_said(frames: list[Frame]) -> None:
    inside = [n for n, f in enumerate(frames) if (f.columns["step"] == DISCHARGE_1).all()]
    holed = rows(fed(stage(), [*frames[: inside[100]], *frames[inside[160] :]]))
    peak = next(n for n in inside if frames[n].columns["voltage_v"].max() < 4.06)  # P4: 4.05 V
    short = rows(fed(stage(), [*frames[: peak - 8], *frames[peak + 8 :]]))
    whole = rows(fed(stage(), frames))
    late = rows(fed(stage(), frames[inside[100] :]))
    for channel in range(1, CHANNELS + 1):
        assert holed["cell_esoh", channel, DISCHARGE_1]["why"] == Why.HOLE
        assert holed["cell_dqdv", channel, DISCHARGE_1]["status"] == status.NOT_SAMPLED
        assert np.isnan(holed["cell_dqdv", channel, DISCHARGE_1]["p1_v"])
        assert late["cell_esoh", channel, DISCHARGE_1]["why"] == Why.BEGINNING
        fitted, best = (found["cell_esoh", channel, DISCHARGE_1] for found in (short, whole))
        assert fitted["widest_ah"] > 0.02 * fitted["charge_ah"]
        assert fitted["x_100"] == pytest.approx(best["x_100"], abs=best["x_100_sd"]), "the windows bear a short gap"
        seen, best = (found["cell_dqdv", channel, DISCHARGE_1] for found in (short, whole))
        in_gap = [[v for n, v in row.items() if n[2:] == "_v" and 4.03 < v < 4.07] for row in (best, seen)]
        assert [len(places) for places in in_gap] == [1, 0]
        assert seen["p1_v"] == pytest.approx(best["p1_v"], abs=0.003)
        assert np.isfinite(late["cell_dqdv", channel, DISCHARGE_1]["p1_v"]), "the peaks that were seen are there"
        assert ("cell_ocv", channel, DISCHARGE_1) not in late


def test_cells_of_another_lot_are_other_cells(frames: list[Frame]) -> None:
    begins = next(n for n, f in enumerate(frames) if (f.columns["step"] > 5.0).all())
    second = [replace(f, labels={"lot": "L2"}) for f in frames[begins:]]
    table = rows(fed(stage(), [*frames[:begins], *second]))
    assert np.isnan(table["cell_esoh", 1, DISCHARGE_2]["lli"])


def test_what_waits_is_bounded_and_what_is_given_up_is_said(frames: list[Frame]) -> None:
    made = stage(Ready(now=False))
    made._waiting = CurveQueue("waiting", rows_max=1500)
    said = [f for frame in frames for f in made.process(frame) if f.stream == "event"]
    assert said
    assert "slow curves could not wait any longer" in said[0].text["message"][0]


def test_a_checkpoint_of_another_kind_is_refused(frames: list[Frame]) -> None:
    made = stage()
    for foreign in (b"", b"no", made._keeper.checkpoint(), made._memory.checkpoint()):
        with pytest.raises(ValueError, match="checkpoint"):
            made.restore(foreign)
