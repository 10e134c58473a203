"""The InfluxDB sink against real servers, 1.8 and 2.7 alike: exact values, idempotent repeats, outages, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from configs.schema import InfluxSink as InfluxOptions
from configs.schema import Spool as SpoolOptions
from controller.historian import Drainer, Spool
from controller.historian.influx import InfluxSink
from controller.types import Frame, FrameKind
from tests.influx_servers import ORG, TOKEN, VERSIONS, InfluxServer, binary

pytestmark = [pytest.mark.influx, pytest.mark.system]

T0_NS = 1_760_000_000_000_000_000


def make_server(version: str, folder: Path, free_port: Callable[[], int]) -> InfluxServer:
    if not binary(version).exists():
        pytest.skip(f"InfluxDB {version} is not built here (.ci/influxdb {version})")
    return InfluxServer(version, folder, (free_port(), free_port()))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """One server per version for the whole file; each test has a bucket of its own."""
    found = make_server(request.param, tmp_path_factory.mktemp(f"influx{request.param}"), _free_port)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def bucket(server: InfluxServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a fresh database or bucket; the token is in the environment."""
    monkeypatch.setenv("TEST_INFLUX_TOKEN", TOKEN)
    name: str = request.node.originalname
    server.create(name)
    return name


def options(server: InfluxServer, name: str, **more: object) -> InfluxOptions:
    bucket = f"{name}/autogen" if server.version == "1" else name
    fields = {"url": server.url, "org": ORG, "bucket": bucket, "token_env": "TEST_INFLUX_TOKEN"}
    return InfluxOptions.model_validate(fields | more)


def frame(k: int, rows: int = 64, **more: object) -> Frame:
    rng = np.random.default_rng(k)
    fields: dict[str, object] = {
        "device": "rack1",
        "stream": "channel",
        "kind": FrameKind.RAW,
        "time_ns": np.full(rows, T0_NS + k * 1_000_000_007, np.int64),
        "point": np.arange(1, rows + 1, dtype=np.int32),
        "point_name": "channel",
        "columns": {
            "voltage_v": rng.normal(3.7, 0.1, rows).astype(np.float32).astype(np.float64),
            "soc": rng.uniform(0, 1, rows) * 10.0 ** rng.integers(-300, 300, rows),
            "current_a": np.where(np.arange(rows) % 3 == 0, np.nan, -1.0),
        },
        "quality": np.zeros(rows, np.uint8),
        "code": np.zeros(rows, np.uint32),
        "labels": {"lot": "CELL 0001, a=b"},
    }
    return Frame(**(fields | more))  # type: ignore[arg-type]


Running = tuple[Spool, Drainer]


@asynccontextmanager
async def running(folder: Path, where: InfluxOptions):
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


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, "never came true"
        await asyncio.sleep(0.01)


def expect(frames: list[Frame]) -> list[dict[str, object]]:
    """What a query gives back for the Frames."""
    rows = []
    for f in frames:
        for i in range(f.rows):
            row: dict[str, object] = {"time": int(f.time_ns[i]), "channel": str(f.point[i]), "device": f.device}
            row |= {"line": "a_sample", "lot": f.labels["lot"]}
            row |= {k: None if np.isnan(v[i]) else float(v[i]) for k, v in f.columns.items()}
            rows.append(row)
    return sorted(rows, key=lambda r: (r["time"], int(str(r["channel"]))))


def found(server: InfluxServer, name: str, stream: str = "channel") -> list[dict[str, object]]:
    rows = server.query(name, f"SELECT * FROM {stream}")
    for row in rows:
        assert row.pop("measurement") == stream
        # JSON writes a large whole float without a point; a field of ours is a float either way.
        row |= {k: float(v) for k, v in row.items() if isinstance(v, int) and k != "time"}
    return sorted(rows, key=lambda r: (r["time"], int(r.get("channel", 0))))


@pytest.mark.asyncio
async def test_values_come_back_exactly_and_repeats_change_nothing(
    server: InfluxServer, bucket: str, tmp_path: Path
) -> None:
    frames = [frame(k) for k in range(40)]
    where = options(server, bucket, max_lines_per_write=500)
    async with running(tmp_path, where) as (spool, drainer):
        await spool.append(frames)
        assert await drainer.drain(30.0)
        counted = spool.counters("influxdb")
        assert (counted.delivered, counted.spooled, counted.rejected) == (40 * 64, 0, 0)
    assert found(server, bucket) == expect(frames)
    (tmp_path / "again").mkdir()
    async with running(tmp_path / "again", where) as (spool, drainer):
        await spool.append(frames)
        assert await drainer.drain(30.0)
    assert found(server, bucket) == expect(frames)


@pytest.mark.asyncio
async def test_texts_bad_quality_and_records_come_back(server: InfluxServer, bucket: str, tmp_path: Path) -> None:
    reason = 'he said "go", then\nC:\\path\\ end'
    record = frame(
        0, 1, stream="command", kind=FrameKind.RECORD, columns={"took_s": np.array([0.5])}, point_name="",
        point=np.zeros(1, np.int32), text={"name": ("start",), "reason": (reason,)}, labels={},
    )  # fmt: skip
    bad = frame(1, 2, columns={"voltage_v": np.array([np.nan, 3.5])}, quality=np.array([2, 0], np.uint8))
    bad.code[0] = 0x80050000
    async with running(tmp_path, options(server, bucket)) as (spool, drainer):
        await spool.append([record, bad])
        assert await drainer.drain(30.0)
    (row,) = found(server, bucket, "command")
    assert (row["name"], row["reason"], row["took_s"]) == ("start", reason, 0.5)
    rows = found(server, bucket)
    assert [(r["voltage_v"], r["quality"], r["code"]) for r in rows] == [(None, 2, 0x80050000), (3.5, None, None)]


@pytest.mark.asyncio
async def test_rows_with_a_type_conflict_go_to_quarantine_and_the_rest_arrives(
    server: InfluxServer, bucket: str, tmp_path: Path
) -> None:
    other = [frame(k, stream="rack") for k in range(5)]
    where = options(server, bucket)
    server.write(where.bucket, f'channel,device=x voltage_v="a text" {T0_NS}\n')
    fine = frame(3, columns={"current_a": np.ones(64)})
    async with running(tmp_path, where) as (spool, drainer):
        await spool.append([frame(0), *other, frame(1), fine])
        assert await drainer.drain(30.0)
        counted = spool.counters("influxdb")
        assert (counted.rejected, counted.delivered, counted.spooled) == (128, 5 * 64 + 64, 0)
        assert counted.reconciles
        kept = await spool._submit(lambda store: store.db.execute("SELECT row, reason FROM quarantine").fetchall())
    assert isinstance(kept, list)
    assert len(kept) == 128
    assert kept[0][0].startswith("channel,device=rack1,line=a_sample,lot=CELL\\ 0001\\,\\ a\\=b,channel=1 voltage_v=")
    assert "field type conflict" in kept[0][1]
    assert len(found(server, bucket, "rack")) == 5 * 64
    assert len(server.query(bucket, "SELECT current_a FROM channel WHERE device = 'rack1'")) == 64


@pytest.mark.asyncio
async def test_a_missing_bucket_keeps_the_data_and_says_what_to_do(
    server: InfluxServer, bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, options(server, "not_yet")) as (spool, drainer):
        await spool.append([frame(0)])
        await until(lambda: bool(drainer.trouble))
        await spool.append([frame(1)])
        await asyncio.sleep(0.5)
        assert spool.counters("influxdb").spooled == 128
        assert "404" in drainer.trouble
        server.create("not_yet")
        await until(lambda: spool.counters("influxdb").delivered == 128)
        assert drainer.trouble == ""
    told = [r.getMessage() for r in caplog.records if r.name.startswith("controller")]
    assert len(told) == 2
    assert "organisation or bucket (1.8: database) does not exist: create it or correct the line file" in told[0]
    assert "takes data again" in told[1]
    assert TOKEN not in caplog.text


@pytest.mark.asyncio
async def test_a_wrong_token_keeps_the_data(
    server: InfluxServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.version == "1":
        pytest.skip("1.8 takes any token unless authentication is on")
    monkeypatch.setenv("TEST_INFLUX_TOKEN", "wrong")
    async with running(tmp_path, options(server, bucket)) as (spool, drainer):
        await spool.append([frame(0)])
        await until(lambda: bool(drainer.trouble))
        assert "401" in drainer.trouble
        assert not await drainer.drain(0.2)
        assert spool.counters("influxdb").spooled == 64


OnOff = Callable[[], Awaitable[None]]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_that_is_killed_and_comes_back_has_everything(
    version: str, tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_INFLUX_TOKEN", TOKEN)
    server = make_server(version, tmp_path / "influx", free_port)
    try:
        server.start()
        server.create("outage")
        frames = [frame(k) for k in range(60)]
        async with running(tmp_path, options(server, "outage", max_lines_per_write=300)) as (spool, drainer):
            for k, f in enumerate(frames):
                await spool.append([f])
                if k == 20:
                    await until(lambda: spool.counters("influxdb").delivered > 0)
                    server.kill()
                    await until(lambda: bool(drainer.trouble))
                if k == 40:
                    await asyncio.to_thread(server.start)
            assert await drainer.drain(60.0)
            counted = spool.counters("influxdb")
            assert (counted.delivered, counted.dropped, counted.reconciles) == (60 * 64, 0, True)
        assert found(server, "outage") == expect(frames)
    finally:
        server.kill()
