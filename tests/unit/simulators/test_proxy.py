"""The proxy between a plain socket client and a plain server: what each fault looks like from outside."""

from __future__ import annotations

import asyncio
import struct

import pytest

from simulators.proxy.proxy import FaultProxy
from tests.unit.simulators.proxy_rig import HOST, Echo, begin, client, proxied, until


@pytest.mark.asyncio
async def test_what_passes_is_what_was_sent_and_both_ends_travel() -> None:
    echo = Echo()
    sent = bytes(range(256)) * 8_000
    async with proxied(echo) as proxy, client(proxy) as one, client(proxy) as other:
        assert await other.ask(b"hello") == b"hello"
        answer = asyncio.create_task(one.reader.read(-1))
        one.writer.write(sent)
        await one.writer.drain()
        one.writer.write_eof()
        assert await asyncio.wait_for(answer, 10) == sent
        await until(lambda: echo.open == 1)
        assert proxy.counters.line() == f"connections=2 refused=0 to_target={len(sent) + 5}B to_client={len(sent) + 5}B"
        await until(lambda: proxy.open_connections == 1)
    assert echo.resets == 0


@pytest.mark.asyncio
async def test_a_reset_of_one_side_is_one_of_the_other_and_a_dead_target_is_one_too() -> None:
    echo = Echo()
    async with proxied(echo) as proxy:
        async with client(proxy) as one:
            await one.ask(b"x")
            sock = one.writer.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
        await until(lambda: echo.resets == 1)
    gone = FaultProxy((HOST, 0), (HOST, proxy.port))
    await gone.start()
    async with client(gone) as one:
        assert await one.how_it_ends() == "reset"
        await until(lambda: gone.counters.refused == 1)
    await gone.stop()


@pytest.mark.asyncio
async def test_cut_closes_refuses_and_lets_in_again() -> None:
    echo = Echo()
    async with proxied(echo) as proxy, client(proxy) as one:
        await one.ask(b"x")
        port = proxy.port
        end = begin(proxy, "net_cut")
        assert await one.how_it_ends() == "closed after 0"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        await until(lambda: echo.open == 0)
        also = begin(proxy, "net_cut")
        end()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        also()
        assert proxy.port == port
        async with client(proxy) as again:
            assert await again.ask(b"y") == b"y"
        assert proxy.counters.applied == {"net_cut": 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("after", ["deliver", "reset"])
async def test_black_hole_is_silent_and_then_delivers_or_resets(after: str) -> None:
    echo = Echo()
    async with proxied(echo) as proxy, client(proxy) as one:
        await one.ask(b"x")
        end = begin(proxy, "net_black_hole", after=after)
        one.writer.write(b"abc")
        async with client(proxy) as new:
            new.writer.write(b"new")
            assert await one.hears_nothing()
            assert (echo.connections, echo.took) == (1, b"x")
            end()
            if after == "deliver":
                assert await asyncio.wait_for(one.reader.readexactly(3), 5) == b"abc"
                assert await asyncio.wait_for(new.reader.readexactly(3), 5) == b"new"
            else:
                assert await one.how_it_ends() == "reset"
                assert await new.how_it_ends() == "reset"
                assert echo.took == b"x"


@pytest.mark.asyncio
async def test_a_black_hole_for_answers_lets_questions_through() -> None:
    echo = Echo()
    async with proxied(echo) as proxy, client(proxy) as one:
        await one.ask(b"x")
        end = begin(proxy, "net_black_hole", direction="to_client")
        one.writer.write(b"abc")
        await until(lambda: echo.took == b"xabc")
        assert await one.hears_nothing()
        one.writer.transport.abort()  # nobody waits for the answer any more
        end()
        await until(lambda: echo.open == 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("keeps", ["client", "target"])
async def test_half_open_leaves_one_end_in_its_belief_and_new_connections_work(keeps: str) -> None:
    echo = Echo()
    async with proxied(echo) as proxy, client(proxy) as one:
        await one.ask(b"x")
        end = begin(proxy, "net_half_open", keeps=keeps)
        if keeps == "client":
            await until(lambda: echo.open == 0)
            one.writer.write(b"abc")
            assert await one.hears_nothing()
        else:
            assert await one.how_it_ends() == "reset"
            assert echo.open == 1
        async with client(proxy) as new:
            assert await new.ask(b"new") == b"new"
            end()
            if keeps == "client":
                assert await one.how_it_ends() == "reset"
            assert await new.ask(b"still") == b"still"
            await until(lambda: echo.open == 1)
            assert b"abc" not in echo.took


@pytest.mark.asyncio
async def test_resets_come_at_once_or_after_some_bytes() -> None:
    async with proxied(Echo()) as proxy, client(proxy) as one, client(proxy) as two:
        await one.ask(b"x")
        end = begin(proxy, "net_reset", after_bytes=4)
        one.writer.write(b"abcdefgh")
        assert await asyncio.wait_for(one.reader.readexactly(4), 5) == b"abcd"
        assert await one.how_it_ends() == "reset"
        assert await two.ask(b"ab") == b"ab"
        end()
        end = begin(proxy, "net_reset")
        assert await two.how_it_ends() == "reset"
        with pytest.raises(ConnectionResetError):  # as early as the client can see it
            async with client(proxy) as new:
                await new.reader.read()
        end()
        async with client(proxy) as new:
            assert await new.ask(b"abcdefgh") == b"abcdefgh"
        assert proxy.counters.applied == {"net_reset": 3}


@pytest.mark.asyncio
async def test_delay_keeps_the_order_and_its_least_time() -> None:
    async with proxied(Echo()) as proxy, client(proxy) as one:
        begin(proxy, "net_delay", delay_s=0.1, jitter_s=0.05, direction="to_client")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for k in range(20):
            one.writer.write(bytes([k]))
            await asyncio.sleep(0.002)
        assert await asyncio.wait_for(one.reader.readexactly(20), 5) == bytes(range(20))
        assert loop.time() - began >= 0.05
        assert proxy.counters.applied["net_delay"] >= 1


@pytest.mark.asyncio
async def test_bandwidth_and_fragments_change_no_byte() -> None:
    sent = bytes(range(256)) * 4
    async with proxied(Echo(), seed=4) as proxy, client(proxy) as one:
        begin(proxy, "net_fragment", bytes=5, gap_s=0.0001)
        end = begin(proxy, "net_bandwidth", bytes_per_s=10_000, direction="to_client")
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await one.ask(sent) == sent
        assert loop.time() - began >= 0.09, "the last slice needs no time any more"
        end()
        assert await one.ask(sent) == sent
        applied = proxy.counters.applied
        assert applied["net_fragment"] > 400
        assert applied["net_bandwidth"] > 0
