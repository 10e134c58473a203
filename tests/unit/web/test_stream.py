"""Server-sent events and the server's life: rate, bound, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from controller.errors import BadInputError
from controller.web import LiveView, create_app, serve
from controller.web.events import EventFeed

from . import conftest as line


async def _events(feed: EventFeed, wanted: int) -> list[bytes]:
    got: list[bytes] = []
    async for chunk in feed.client():
        if chunk.startswith(b"event"):
            got.append(chunk)
        if len(got) == wanted:
            break
    return got


@pytest.mark.asyncio
async def test_changes_between_two_events_are_merged() -> None:
    view, rendered = LiveView(line.demo_line()), []

    def render() -> bytes:
        rendered.append(view.revision)
        return str(view.revision).encode()

    feed = EventFeed(view, render, min_interval_s=0.05)
    client = feed.client()
    assert await anext(client) == b"retry: 2000\n\n"
    await anext(client)
    for _ in range(500):
        view.set_spool(True)
    merged = await anext(client)
    assert merged == b"event: state\ndata: 500\n\n"
    assert rendered == [0, 500]
    await client.aclose()
    assert feed.clients == 0


@pytest.mark.asyncio
async def test_nothing_is_sent_when_nothing_changed_but_pings() -> None:
    feed = EventFeed(LiveView(line.demo_line()), lambda: b"{}", min_interval_s=0.01, ping_s=0.03)
    assert await _events(feed, 3) == [b"event: state\ndata: {}\n\n"] + 2 * [b"event: ping\ndata: {}\n\n"]


@pytest.mark.asyncio
async def test_clients_share_one_rendering() -> None:
    calls: list[int] = []
    feed = EventFeed(LiveView(line.demo_line()), lambda: b"%d" % (calls.append(1) or 0), min_interval_s=0.05)  # type: ignore[func-returns-value]
    await asyncio.gather(*(_events(feed, 1) for _ in range(8)))
    assert len(calls) == 1


@pytest.mark.asyncio
async def test_one_client_too_many_gets_503(view: LiveView, clock: line.FixedClock) -> None:
    app = create_app(view, clock, {"max_clients": 1, "min_interval_s": 0.05})
    async with serve(app, "127.0.0.1", 0) as url, httpx.AsyncClient() as client:
        async with client.stream("GET", url + "api/stream") as first:
            assert first.headers["content-type"].startswith("text/event-stream")
            await anext(first.aiter_lines())
            assert (await client.get(url + "api/stream")).status_code == 503
        for _ in range(100):  # the server sees the closed socket at its next write
            view.set_spool(True)
            if app.state.feed.clients == 0:
                break
            await asyncio.sleep(0.02)
        assert app.state.feed.clients == 0


@pytest.mark.asyncio
async def test_stopping_ends_connected_clients_and_frees_the_port(
    view: LiveView, clock: line.FixedClock, free_port: Callable[[], int]
) -> None:
    line.fill(view, 600.0)
    port = free_port()
    tasks_before = asyncio.all_tasks()
    async with httpx.AsyncClient() as client:
        async with serve(create_app(view, clock), "127.0.0.1", port) as url:
            request = client.build_request("GET", url + "api/stream")
            answer = await client.send(request, stream=True)
            lines = answer.aiter_lines()
            data = [await anext(lines) for _ in range(4)][-1]
            assert json.loads(data.removeprefix("data: "))["line"]["name"] == "a_sample"
        assert [text async for text in lines if text] == []  # the stream ended, properly
    assert asyncio.all_tasks() == tasks_before
    async with serve(create_app(view, clock), "127.0.0.1", port):
        pass  # the same port at once


@pytest.mark.asyncio
async def test_an_error_inside_the_block_also_stops_the_server(view: LiveView, clock: line.FixedClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve(create_app(view, clock), "127.0.0.1", 0):
            raise ZeroDivisionError


@pytest.mark.asyncio
async def test_a_port_in_use_is_bad_input_with_a_hint(view: LiveView, clock: line.FixedClock) -> None:
    async with serve(create_app(view, clock), "127.0.0.1", 0) as url:
        port = httpx.URL(url).port
        assert port is not None
        with pytest.raises(BadInputError, match=rf"port is in use: 127\.0\.0\.1:{port}") as caught:
            async with serve(create_app(view, clock), "127.0.0.1", port):
                pass
        assert "web.port" in caught.value.hint


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])
async def test_an_address_that_is_not_ours_is_bad_input(view: LiveView, clock: line.FixedClock, host: str) -> None:
    with pytest.raises(BadInputError):
        async with serve(create_app(view, clock), host, 0):
            pass
