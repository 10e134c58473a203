"""The InfluxDB sink's decisions, with the wire replaced: split, bisect, wait, give up only what the server blames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError
from influxdb_client.client.exceptions import InfluxDBError

from configs.schema import InfluxSink as InfluxOptions
from controller.errors import BadInputError
from controller.historian import Batch, Delivered, Outcome, RetryLater
from controller.historian.codec import FrameEncoder
from controller.historian.influx import InfluxSink, read_token

URL = "http://user:secret@127.0.0.1:8086"
Answer = Callable[[list[str]], None]


class Refusal(InfluxDBError):  # noqa: N818
    """What the client raises when a server says no."""

    def __init__(self, status: int, message: str = "no", retry_after: str | None = None) -> None:
        super().__init__(message=message)
        self.status, self.retry_after = status, retry_after


def options(**more: object) -> InfluxOptions:
    return InfluxOptions.model_validate({"url": URL, "bucket": "b", "token_env": "TEST_INFLUX_TOKEN"} | more)


async def deliver(monkeypatch, frames, answer: Answer, **more: object) -> tuple[Outcome, list[list[str]]]:
    """The outcome, and the bodies that the server took."""
    monkeypatch.setenv("TEST_INFLUX_TOKEN", "t")
    sink = InfluxSink(options(**more), "a_sample", Path())
    taken: list[list[str]] = []

    async def write(body: bytes) -> None:
        lines = body.decode().splitlines()
        answer(lines)
        taken.append(lines)

    monkeypatch.setattr(sink, "_write", write)
    encoder = FrameEncoder()
    batches = [Batch(k + 1, f.stream, f.rows, encoder.encode(f)) for k, f in enumerate(frames)]
    try:
        return await sink.deliver(batches), taken
    finally:
        await sink.close()


def fine(lines: list[str]) -> None:
    """A server that takes everything."""


@pytest.mark.asyncio
async def test_frames_are_grouped_into_requests_of_bounded_size(monkeypatch, frame) -> None:
    outcome, taken = await deliver(monkeypatch, [frame(k) for k in range(5)], fine, max_lines_per_write=9)
    assert outcome == Delivered()
    assert [len(lines) for lines in taken] == [8, 8, 4]


@pytest.mark.asyncio
async def test_a_body_too_large_is_halved_until_it_fits(monkeypatch, frame) -> None:
    def at_most_three(lines: list[str]) -> None:
        if len(lines) > 3:
            raise Refusal(413, "too large")

    outcome, taken = await deliver(monkeypatch, [frame(0, rows=16)], at_most_three)
    assert outcome == Delivered()
    assert sum(map(len, taken)) == 16


@pytest.mark.asyncio
async def test_a_single_line_too_large_is_rejected(monkeypatch, frame) -> None:
    def nothing(lines: list[str]) -> None:
        raise Refusal(413, "too large")

    outcome, _ = await deliver(monkeypatch, [frame(0, rows=2)], nothing)
    assert isinstance(outcome, Delivered)
    assert [r.reason for r in outcome.rejected] == ["too large", "too large"]


@pytest.mark.asyncio
@pytest.mark.parametrize("message", ["unable to parse 'x': bad number", "partial write: y dropped=3"])
async def test_bad_lines_are_found_and_the_rest_delivered(monkeypatch, frame, message: str) -> None:
    bad = {"channel=3 ", "channel=11 ", "channel=12 "}

    def picky(lines: list[str]) -> None:
        if any(b in line for b in bad for line in lines):
            raise Refusal(400, message)

    outcome, taken = await deliver(monkeypatch, [frame(0, rows=16), frame(1, rows=2)], picky)
    assert isinstance(outcome, Delivered)
    assert [r.row.split("channel=")[1].split()[0] for r in outcome.rejected] == ["3", "11", "12"]
    assert {r.seq for r in outcome.rejected} == {1}
    assert sum(map(len, taken)) == 15


@pytest.mark.asyncio
async def test_a_server_that_blames_all_lines_is_asked_once(monkeypatch, frame) -> None:
    asked = 0

    def conflict(lines: list[str]) -> None:
        nonlocal asked
        asked += 1
        raise Refusal(422, f"failure writing points: partial write: field type conflict dropped={len(lines)}")

    outcome, _ = await deliver(monkeypatch, [frame(0, rows=64)], conflict)
    assert isinstance(outcome, Delivered)
    assert (len(outcome.rejected), asked) == (64, 1)


@pytest.mark.asyncio
async def test_an_unknown_400_never_empties_the_spool(monkeypatch, frame) -> None:
    def confused(lines: list[str]) -> None:
        raise Refusal(400, "bucket name is odd")

    outcome, taken = await deliver(monkeypatch, [frame(0, rows=64)], confused)
    assert isinstance(outcome, RetryLater)
    assert outcome.reason == "InfluxDB at http://127.0.0.1:8086 answers 400: bucket name is odd"
    assert not taken


@pytest.mark.asyncio
async def test_an_unknown_400_about_one_line_is_settled_by_trying(monkeypatch, frame) -> None:
    def odd(lines: list[str]) -> None:
        if any("channel=3 " in line for line in lines):
            raise Refusal(400, "I do not like it")

    outcome, _ = await deliver(monkeypatch, [frame(0, rows=8)], odd)
    assert isinstance(outcome, Delivered)
    assert len(outcome.rejected) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "retry_after", "after_s", "hint"),
    [
        (429, "7", 7.0, ""),
        (503, "100000", 3600.0, ""),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", None, ""),
        (500, None, None, ""),
        (401, None, None, "the token is wrong or missing"),
        (403, None, None, "may not write to this bucket"),
        (404, None, None, "does not exist"),
    ],
)
async def test_other_refusals_keep_everything(monkeypatch, frame, status, retry_after, after_s, hint) -> None:
    def refuse(lines: list[str]) -> None:
        raise Refusal(status, "because", retry_after)

    outcome, _ = await deliver(monkeypatch, [frame(0)], refuse)
    assert isinstance(outcome, RetryLater)
    assert outcome.after_s == after_s
    assert hint in outcome.hint
    assert "secret" not in outcome.reason


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", [ClientConnectionError("refused"), TimeoutError(), ConnectionResetError("reset")])
async def test_a_lost_connection_keeps_everything(monkeypatch, frame, bad: Exception) -> None:
    def lose(lines: list[str]) -> None:
        raise bad

    outcome, _ = await deliver(monkeypatch, [frame(0)], lose)
    assert isinstance(outcome, RetryLater)
    assert outcome.hint == "is the server running?"


@pytest.mark.asyncio
async def test_rows_that_cannot_be_read_any_more_are_rejected(monkeypatch, frame) -> None:
    monkeypatch.setenv("TEST_INFLUX_TOKEN", "t")
    sink = InfluxSink(options(), "a_sample", Path())
    outcome = await sink.deliver([Batch(1, "channel", 3, b"rubbish")])
    await sink.close()
    assert isinstance(outcome, Delivered)
    assert len(outcome.rejected) == 3


def test_a_missing_token_names_the_variable_or_the_file(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TEST_INFLUX_TOKEN", raising=False)
    with pytest.raises(BadInputError, match="environment variable TEST_INFLUX_TOKEN is not set"):
        read_token(options(), tmp_path)
    from_file = options(token_env=None, token_file="token.txt")
    with pytest.raises(BadInputError, match=r"token\.txt cannot be read: No such file"):
        read_token(from_file, tmp_path)
    (tmp_path / "token.txt").write_text(" \n")
    with pytest.raises(BadInputError, match="is empty"):
        read_token(from_file, tmp_path)
    (tmp_path / "token.txt").write_text("one\ntwo\n")
    with pytest.raises(BadInputError, match="has blanks or line breaks") as bad:
        read_token(from_file, tmp_path)
    assert "two" not in str(bad.value)
    (tmp_path / "token.txt").write_text("right\n")
    assert read_token(from_file, tmp_path) == "right"
