"""Kernels for events: compiled by another process into the cache, then loaded; a failing compiler costs only time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from controller.pipeline.late import NICE, Late

AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.asyncio
async def test_what_is_needed_is_there_before_the_others_are_told() -> None:
    late = Late()
    late.need("loading", "loading")
    told: list[bool] = []

    async def then() -> None:
        told.append(late.ready)

    assert not late.ready
    await late.prepare(then)
    assert told == [True]


@pytest.mark.asyncio
async def test_a_compiler_that_fails_is_said_and_not_fatal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("controller.pipeline.late.PROGRAM", "raise SystemExit('no compiler here')")
    late = Late()
    late.need("loading")

    async def then() -> None:
        assert late.ready

    with caplog.at_level(logging.WARNING):
        await late.prepare(then)
    assert caplog.messages == ["kernels loading did not compile apart: no compiler here"]


@pytest.mark.asyncio
@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this Linux does not group sessions")
async def test_the_compiler_yields_to_the_line_although_it_is_a_session_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("controller.pipeline.late.PROGRAM", f"raise SystemExit(open('{AUTOGROUP}').read())")
    late = Late()
    late.need("loading")

    async def then() -> None:
        pass

    with caplog.at_level(logging.WARNING):
        await late.prepare(then)
    assert caplog.messages[0].endswith(f"nice {NICE}")
