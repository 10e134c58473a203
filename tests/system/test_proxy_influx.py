"""The historian's InfluxDB sink behind the fault proxy: a broken network costs time and no row, and doubles none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from configs.schema import InfluxSink as InfluxOptions
from configs.schema import Spool as SpoolOptions
from controller.historian import Drainer, Spool
from controller.historian.influx import InfluxSink
from controller.types import Frame, FrameKind
from simulators.proxy.kinds import NETWORK_FAULTS
from simulators.proxy.proxy import FaultProxy
from tests.influx_servers import ORG, TOKEN, VERSIONS, InfluxServer, binary

pytestmark = [pytest.mark.long, pytest.mark.influx, pytest.mark.system]

T0_NS = 1_760_000_000_000_000_000
ROWS = 64
FRAMES = 40


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """One server per version for the whole file."""
    import socket

    if not binary(request.param).exists():
        pytest.skip(f"InfluxDB {request.param} is not built here (.ci/influxdb {request.param})")
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = (int(one.getsockname()[1]), int(two.getsockname()[1]))
    found = InfluxServer(request.param, tmp_path_factory.mktemp(f"influx{request.param}"), ports)
    found.start()
    yield found
    found.kill()


def frame(k: int) -> Frame:
    return Frame(
        device="rack1",
        stream="channel",
        kind=FrameKind.RAW,
        time_ns=np.full(ROWS, T0_NS + k * 1_000_000_007, np.int64),
        point=np.arange(1, ROWS + 1, dtype=np.int32),
        point_name="channel",
        columns={"count": np.arange(ROWS, dtype=np.float64) + 1000.0 * k},
        quality=np.zeros(ROWS, np.uint8),
        code=np.zeros(ROWS, np.uint32),
    )


async def until(what: str, true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, what
        await asyncio.sleep(0.01)


@asynccontextmanager
async def draining(folder: Path, where: InfluxOptions) -> AsyncIterator[tuple[Spool, Drainer]]:
    """A spool and the sink that drains it."""
    spool = Spool.open(folder / "spool.sqlite3", SpoolOptions(), ["influxdb"])
    drainer = Drainer(spool, InfluxSink(where, "a_sample", folder), backoff_s=(0.05, 0.2))
    task = asyncio.create_task(drainer.run())
    try:
        yield spool, drainer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("net_cut", {}),
        ("net_black_hole", {}),
        ("net_black_hole", {"direction": "to_client", "after": "reset"}),  # written, and nobody says so
        ("net_half_open", {}),
        ("net_reset", {"after_bytes": 20.0}),
        ("net_fragment", {"bytes": 700.0, "gap_s": 0.0002}),
    ],
)
async def test_nothing_is_lost_and_nothing_doubled(
    server: InfluxServer,
    kind: str,
    settings: dict[str, float | str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_INFLUX_TOKEN", TOKEN)
    name = tmp_path.name
    bucket = server.create(name)
    target = urlsplit(server.url)
    assert target.hostname and target.port
    proxy = FaultProxy(("127.0.0.1", 0), (target.hostname, target.port))
    await proxy.start()
    where = InfluxOptions.model_validate(
        {
            "url": f"http://127.0.0.1:{proxy.port}",
            "org": ORG,
            "bucket": bucket,
            "token_env": "TEST_INFLUX_TOKEN",
            "max_lines_per_write": 300,
            "timeout_s": 1.0,
        }
    )
    full = NETWORK_FAULTS[kind].complete(kind, settings)
    breaks_off = kind not in ("net_fragment", "net_half_open")  # a new connection works at once in a half-open one
    try:
        async with draining(tmp_path, where) as (spool, drainer):
            for k in range(FRAMES):
                await spool.append([frame(k)])
                if k == FRAMES // 3:
                    await until("something has come", lambda: spool.counters("influxdb").delivered > 0)
                    proxy.fault(kind, True, full)
                if k == 2 * FRAMES // 3:
                    if breaks_off:
                        await until("the sink has seen it", lambda: bool(drainer.trouble))
                        assert spool.counters("influxdb").spooled > 0
                    proxy.fault(kind, False, full)
            assert await drainer.drain(30.0)
            counted = spool.counters("influxdb")
            assert (counted.delivered, counted.dropped, counted.rejected) == (FRAMES * ROWS, 0, 0)
            assert counted.reconciles
    finally:
        await proxy.stop()
    found = server.query(name, "SELECT count FROM channel GROUP BY channel")
    got = sorted((int(row["time"]), float(row["count"])) for row in found)
    assert got == sorted(
        (int(f.time_ns[i]), float(f.columns["count"][i])) for f in map(frame, range(FRAMES)) for i in range(ROWS)
    )
