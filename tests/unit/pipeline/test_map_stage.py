"""The live loading map as a stage: a map each few metres, one web after the other, the same late, cut or restarted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from controller.pipeline.stages import maps
from controller.pipeline.stages.maps import MapStage
from controller.types import Frame
from kernels import status
from tests.unit.pipeline.coater_frames import LANES, WIDTH_M, Ready, S, coater_frames, frame
from twin.loading_map_live import LiveLoadingMap


@cache
def web() -> tuple[Frame, ...]:
    return tuple(coater_frames(1, 2.0))


def stage(step_m: float = 10.0, late: Ready | None = None) -> MapStage:
    return MapStage(LiveLoadingMap(LANES, WIDTH_M, step_m=step_m), late or Ready())


def same(found: list[Frame], wanted: list[Frame]) -> None:
    assert len(found) == len(wanted) > 0
    for a, b in zip(found, wanted, strict=True):
        assert a.time_ns.tolist() == b.time_ns.tolist()
        for name, column in b.columns.items():
            np.testing.assert_array_equal(a.columns[name], column)


def test_a_map_of_all_lanes_each_few_metres() -> None:
    made = stage()
    found = [one for given in web() for one in made.process(given)]
    places = np.array([one.columns["web_position_m"][0] for one in found])
    assert len(found) == pytest.approx((places[-1] - places[0]) / 10.0, abs=1.5)
    assert ((np.diff(places) > 9.0) & (np.diff(places) < 12.0)).all()
    stood = np.array([one.columns["gauge_web_position_m"][0] for one in web()])
    stamps = np.array([one.time_ns[0] for one in web()])
    for one in found:  # the place is where the gauge stood `lag_m` before
        gauge = stood[np.searchsorted(stamps, one.time_ns[0])]
        assert one.columns["web_position_m"][0] + one.columns["lag_m"][0] == pytest.approx(gauge)
        assert 8.0 < one.columns["lag_m"][0] < 15.0
    last = found[-1]
    assert (last.device, last.stream, last.point_name) == ("coater1", "web_map", "lane")
    assert last.point.tolist() == list(range(LANES + 1))
    assert last.labels["lot"] == "WEB-1"
    loading, sd = last.columns["loading_kg_m2"], last.columns["loading_sd_kg_m2"]
    assert loading[0] == pytest.approx(loading[1:].mean())
    assert loading[0] == pytest.approx(0.169, rel=0.03)
    assert (sd[1:] < 0.006 * 0.169).all()
    assert sd[0] < sd[1:].min()
    assert last.columns["noise_sd_kg_m2"][0] == pytest.approx(0.0052 * 0.169, rel=0.2)
    assert set(last.columns["status"]) == {float(status.OK)}


def test_late_kernels_a_restart_meanwhile_and_one_frame_of_many_rows_change_nothing() -> None:
    straight = stage()
    wanted = [one for given in web() for one in straight.process(given)]
    kernels = Ready(ready=False)
    late = stage(late=kernels)
    assert kernels.names == ["loading_map", "loading_map_lag", "loading_map_tune"]
    half = len(web()) // 2
    assert not [one for given in web()[:half] for one in late.process(given)]
    again = stage(late=kernels)
    again.restore(late.checkpoint())
    rows = web()[half:]
    many = frame(
        np.concatenate([f.time_ns for f in rows]),
        {name: np.concatenate([f.columns[name] for f in rows]) for name in rows[0].columns},
    )
    again.process(many)
    kernels.come()
    found: list[Frame] = []
    while again.waits():
        found += again.catch_up()
        if len(found) < 40:  # killed between two parts; the state is durable with what it gave
            known, again = again.checkpoint(), stage(late=kernels)
            again.restore(known)
    same(found, wanted)
    assert again.catch_up() == []


def test_a_restart_while_it_runs_changes_nothing_and_old_rows_are_taken_once() -> None:
    straight, first = stage(), stage()
    wanted, found = [], []
    for k, given in enumerate(web()):
        wanted += straight.process(given)
        if k % 200 == 0:
            again = stage()
            again.restore(first.checkpoint())
            first = again
        found += first.process(given)
        assert first.process(given) == [], "the server repeats itself"
    same(found, wanted)


def test_a_new_web_begins_anew() -> None:
    made, fresh = stage(0.0), stage(0.0)
    later = [frame(int(f.time_ns[0]) + 7200 * S, dict(f.columns)) for f in web()]
    other = [frame(int(f.time_ns[0]) + 7200 * S, dict(f.columns), lot="WEB-2") for f in web()]
    wanted = [one for given in web() for one in fresh.process(given)]
    for second in (later, other):
        made = stage(0.0)
        for given in web():
            made.process(given)
        found = [one for given in second for one in made.process(given)]
        assert len(found) == len(wanted)
        np.testing.assert_array_equal(found[-1].columns["loading_kg_m2"], wanted[-1].columns["loading_kg_m2"])


def test_memory_is_bounded_while_kernels_compile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maps, "WAITING_MOST", 300)
    kernels = Ready(ready=False)
    late = stage(late=kernels)
    for given in web():
        late.process(given)
    assert len(late.checkpoint()) < 30_000
    assert [r.message for r in caplog.records] == [
        "loading map: kernels are not there yet; what waits for them is given up, oldest first"
    ]
    kernels.come()
    places = [one.columns["web_position_m"][0] for one in late._maps(None)]
    assert places[0] > 100.0


def test_a_checkpoint_of_another_web_is_refused() -> None:
    other = MapStage(LiveLoadingMap(12, WIDTH_M), Ready())
    for bad in (other.checkpoint(), b"nothing"):
        with pytest.raises(ValueError, match="checkpoint"):
            stage().restore(bad)
