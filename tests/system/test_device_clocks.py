"""Clocks of devices that jump, stand and drift, over real sockets, both drivers: every row is there, once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.loader import load_line
from configs.schema import Device
from controller.clock import LineClock, TimeBase
from controller.drivers.base import Driver
from controller.drivers.opcua import OpcUaDriver
from controller.parts import make_driver
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.types import Frame, Quality, TimeSource
from tests.system.line import played
from tests.unit.simulators.opcua_rig import START_NS, Rig, S

pytestmark = [pytest.mark.system]

START_S = 1_700_000_000
SPEED = 40.0
BUSY_S = 400.0
"""Plant seconds: ten of the clock, in which a busy machine may not come to poll, or the rack to answer."""
SCENARIO = """
name = "clocks"
title = "Clocks"

[[fault]]
at_s = 200.0
duration_s = 200.0
device = "rack1"
kind = "clock_jump"
by_s = -1800.0

[[fault]]
at_s = 500.0
duration_s = 200.0
device = "rack1"
kind = "clock_jump"
by_s = 3600.0

[[fault]]
at_s = 200.0
duration_s = 200.0
device = "coater1"
kind = "clock_jump"
by_s = -1800.0

[[fault]]
at_s = 500.0
duration_s = 240.0
device = "coater1"
kind = "duplicate_stamps"
step_s = 60.0
"""


def events(frames: list[Frame]) -> list[str]:
    return [text for f in frames if f.stream == "event" for text in f.text["message"]]


def rows(frames: list[Frame], stream: str, point: int) -> list[tuple[float, Quality, TimeSource]]:
    """(second after the start, quality, whose time) of one point, in the order in which they came."""
    found = []
    for f in frames:
        if f.stream == stream:
            for k in np.flatnonzero(f.point == point).tolist():
                found.append((int(f.time_ns[k]) / 1e9, Quality(int(f.quality[k])), f.time_source))
    return found


@asynccontextmanager
async def followed(driver: Driver) -> AsyncIterator[list[Frame]]:
    """What the driver reads meanwhile."""
    frames: list[Frame] = []

    async def follow() -> None:
        while True:
            frames.extend(await driver.read())

    await driver.start()
    reading = asyncio.create_task(follow())
    try:
        yield frames
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await driver.stop()


@pytest.mark.asyncio
async def test_an_opcua_clock_that_goes_back_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)
    speed = 50.0
    async with Rig() as rig:
        device = Device(id="press1", equipment="press", endpoint=rig.endpoint)
        clock = LineClock(TimeBase(START_NS, time.time_ns(), speed))
        driver = OpcUaDriver(device, rig.equipment, clock)
        async with followed(driver) as frames:
            force = 100.0
            for wrong_s in (0, -600, 0):
                for _ in range(30):
                    force += 1.0
                    rig.plant_ns = clock.now_ns() + wrong_s * S
                    await rig.scan(0.0, force_n=force)
                    await asyncio.sleep(1.0 / speed)
            await asyncio.sleep(0.6)
    found = rows(frames, "press", 0)
    seen = {v for f in frames if f.stream == "press" for v in f.columns["force_n"].tolist()}
    assert {100.0 + k for k in range(2, 91)} <= seen, "every scan"
    seconds = [second for second, _, _ in found]
    assert all(a < b for a, b in pairwise(seconds))
    assert seconds[-1] - seconds[0] < 300.0
    wrong = [quality for _, quality, source in found if source is TimeSource.CONTROLLER]
    assert 25 <= len(wrong) <= 40
    assert set(wrong) == {Quality.UNCERTAIN}
    assert found[-1][2] is TimeSource.DEVICE
    told = [text for text in events(frames) if "clock" in text]
    assert len(told) == 2, told
    assert "press1: the device's clock went back by" in told[0]
    assert "clock agrees again" in told[1]


@pytest.mark.parametrize("speed", [10.0, 50.0])
@pytest.mark.asyncio
async def test_an_opcua_clock_that_ntp_steps_back_a_little_costs_no_row(
    monkeypatch: pytest.MonkeyPatch, speed: float
) -> None:
    """By less than values may come late, on stamps that left before; within a publish response and between two."""
    monkeypatch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)
    truth: dict[float, tuple[float, float]] = {}  # force -> (second, stroke)
    async with Rig() as rig:
        device = Device(id="press1", equipment="press", endpoint=rig.endpoint)
        clock = LineClock(TimeBase(START_NS, time.time_ns(), speed))
        driver = OpcUaDriver(device, rig.equipment, clock)
        async with followed(driver) as frames:
            began_ns, wrong_ns = clock.now_ns(), 0
            for k, step_s in enumerate([0.0] * 4 + [-0.2, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -2.0, 0.0, -2.0] + [0.0] * 9):
                wrong_ns += round(step_s * S)
                force, true_ns = 200.0 + k, began_ns + k * S
                truth[force] = (true_ns / 1e9, float(k // 3))
                rig.plant_ns = true_ns + wrong_ns
                await rig.scan(0.0, force_n=force, stroke=truth[force][1])
                await clock.sleep(max(0.0, (true_ns + S - clock.now_ns()) / S))
            await asyncio.sleep(0.6)
    seen = [
        row
        for f in frames
        if f.stream == "press"
        for row in zip(f.columns["force_n"].tolist(), f.columns["stroke"].tolist(), f.time_ns.tolist(), strict=True)
        if row[0] in truth
    ]
    assert [force for force, _, _ in seen] == list(truth), "every scan, once, in its order"
    assert all(a[2] < b[2] for a, b in pairwise(seen))
    for force, stroke, time_ns in seen:
        # An item that shows no turn of its own may be late by the steps of one response, where its stamp came twice.
        assert stroke in {truth[f][1] for f in truth if force - 4.0 <= f <= force}
        assert abs(time_ns / 1e9 - truth[force][0]) < 5.5
    assert seen[-1][1] == truth[seen[-1][0]][1]
    assert [f.time_source for f in frames if f.stream == "press"][-1] is TimeSource.DEVICE
    assert driver.counters["late_folded"] == driver.counters["late_rows"] == driver.counters["coalesced"] == 0


def scenario(line: Path) -> str:
    """The file of SCENARIO, beside the line's."""
    path = line.parent / "clocks.toml"
    path.write_text(SCENARIO)
    return str(path)


async def read_until(driver: Driver, clock: LineClock, second: float) -> tuple[list[Frame], list[float]]:
    """What came, and at which second after the start each Frame did."""
    frames: list[Frame] = []
    came: list[float] = []
    await driver.start()
    try:
        while clock.now_ns() < (START_S + second) * 10**9:
            frames += await driver.read()
            came += [clock.now_ns() / 1e9 - START_S] * (len(frames) - len(came))
    finally:
        await driver.stop()
    return frames, came


def check(frames: list[Frame], rule: dict[tuple[str, str], StreamRule], stream: str, point: int) -> list[Any]:
    """Rows of the point. Gaps where a busy machine was late for seconds are honest; a jump's would be half an hour."""
    gaps = GapDetector(rule, SPEED)
    found_gaps = [gap for f in frames if (gap := gaps.observe(f)) is not None]
    assert [gap.text["reason"] for gap in found_gaps if gap.columns["duration_s"][0] > BUSY_S] == []
    found = rows(frames, stream, point)
    seconds = [second - START_S for second, _, _ in found]
    assert all(a < b for a, b in pairwise(seconds)), "in order, none twice"
    assert all(-60.0 < second < 900.0 for second in seconds)
    return [(s, quality, source) for s, (_, quality, source) in zip(seconds, found, strict=True)]


@pytest.mark.long
@pytest.mark.asyncio
async def test_the_racks_clock_jumps_back_and_forward(line: Path) -> None:
    loaded = load_line(line)
    kind = loaded.equipment["rack1"]
    assert kind.modbus is not None
    patient = kind.modbus.model_copy(update={"timeout_s": BUSY_S / SPEED})
    loaded.equipment["rack1"] = kind.model_copy(update={"modbus": patient})
    with played("rack1", line, scenario(line), START_S, SPEED) as base:
        clock = LineClock(base)
        driver = make_driver(loaded, "rack1", clock, lambda _: None)
        frames, came = await read_until(driver, clock, 840.0)
    found = check(frames, {("rack1", "channel"): StreamRule(20.0, polled=True)}, "channel", 7)
    for begin, end in ((230.0, 400.0), (530.0, 700.0)):
        wrong = [(quality, source) for s, quality, source in found if begin < s < end]
        polls = [at_s for f, at_s in zip(frames, came, strict=True) if f.stream == "channel" and begin < at_s < end]
        assert len(wrong) >= len(polls) - 1 > 0, "a row for each poll"
        assert {source for _, source in wrong} == {TimeSource.CONTROLLER}
        assert min(quality for quality, _ in wrong) >= Quality.UNCERTAIN
    assert found[-1][2] is TimeSource.DEVICE
    told = "\n".join(events(frames))
    assert re.search(r"rack1: the device's clock went back by 1[78].. s \(64 of 64 points\)", told), told
    assert re.search(r"rack1: the device's clock went forward by 3[56].. s \(64 of 64 points\)", told), told
    assert told.count("(stream channel)") == 4


@pytest.mark.long
@pytest.mark.asyncio
async def test_the_coaters_clock_jumps_and_stands_in_steps(line: Path) -> None:
    loaded = load_line(line)
    with played("coater1", line, scenario(line), START_S, SPEED) as base:
        clock = LineClock(base)
        driver = make_driver(loaded, "coater1", clock, lambda _: None)
        frames, _ = await read_until(driver, clock, 840.0)
    found = check(frames, {("coater1", "coater"): StreamRule(10.0, polled=True)}, "coater", 0)
    assert len(found) >= 70
    told = "\n".join(events(frames))
    assert re.search(r"went back by 1[78].. s", told), told
    assert "stands still" in told
    assert found[-1][2] is TimeSource.DEVICE
