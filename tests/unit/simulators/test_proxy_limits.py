"""The proxy at its limits: who does not read, too many at once, stop in the middle of it all, a port that is taken."""

from __future__ import annotations

import asyncio

import pytest

from simulators.proxy.proxy import FaultProxy
from tests.unit.simulators.proxy_rig import HOST, Echo, begin, client, proxied, until


@pytest.mark.asyncio
async def test_who_does_not_read_fills_no_memory_and_holds_up_nobody_else() -> None:
    given = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal given
        try:
            first = await reader.read(1)
            while first == b"p":
                writer.write(bytes(65_536))
                await writer.drain()
                given += 65_536
            writer.write(first)
        except ConnectionError:
            pass
        writer.close()

    async with proxied(pour) as proxy, client(proxy) as lazy, client(proxy) as brisk:
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        lazy.writer.write(b"p")
        await until(lambda: given > 0)
        before = -1
        while before != given:
            before = given
            await asyncio.sleep(0.1)
        # Between the two: buffers of the kernel (up to 6 MB a socket by default) and at most some 300 kB of ours.
        inside = given - proxy.counters.bytes.total()
        assert given < 64e6
        assert inside < 16e6
        assert await brisk.ask(b"b") == b"b"
        begin(proxy, "net_black_hole")
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_stop_ends_all_whatever_is_broken_and_start_may_follow() -> None:
    echo = Echo()
    async with proxied(echo) as proxy, client(proxy) as one:
        await one.ask(b"x")
        ends = [
            begin(proxy, "net_half_open"),
            begin(proxy, "net_delay", delay_s=100),
            begin(proxy, "net_bandwidth", bytes_per_s=1),
        ]
        async with client(proxy) as two:
            two.writer.write(b"abc")
            begin(proxy, "net_black_hole")
            async with client(proxy) as three:
                three.writer.write(b"abc")
                await until(lambda: proxy.counters.connections == 3)
                port = proxy.port
                await proxy.stop()
                assert await one.how_it_ends() == "closed after 0"
                assert (await three.how_it_ends()) in ("reset", "closed after 0")
        await proxy.stop()
        for end in ends:
            end()
        assert port > 0
        await proxy.start()
        assert proxy.open_connections == 0


@pytest.mark.asyncio
async def test_a_taken_port_and_a_wrong_setting_are_said() -> None:
    async with proxied(Echo()) as proxy:
        second = FaultProxy((HOST, proxy.port), (HOST, 1))
        with pytest.raises(OSError, match="in use"):
            await second.start()
        with pytest.raises(ValueError, match="needs Modbus TCP"):
            begin(proxy, "net_late")
        proxy.fault("net_cut", False, {})  # nothing to end
        async with client(proxy) as one:
            assert await one.ask(b"x") == b"x"


@pytest.mark.asyncio
async def test_who_comes_when_it_is_full_waits_until_somebody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulators.proxy.proxy.MAX_CONNECTIONS", 2)
    monkeypatch.setattr("simulators.proxy.proxy._FULL_PAUSE_S", 0.02)
    async with proxied(Echo()) as proxy, client(proxy) as one, client(proxy) as two:
        assert (await one.ask(b"x"), await two.ask(b"y")) == (b"x", b"y")
        async with client(proxy) as three:
            three.writer.write(b"z")
            assert await three.hears_nothing()
            assert proxy.open_connections == 2
            one.writer.transport.abort()
            assert await asyncio.wait_for(three.reader.readexactly(1), 5) == b"z"
            begin(proxy, "net_cut")()  # while it waits with accepting
            async with client(proxy) as four:
                assert await four.ask(b"f") == b"f"
