"""Nodes whose identifiers or namespace index have changed, over real sockets: found again by path and URI, and told."""

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from asyncua import Client

from configs.loader import load_line
from configs.schema import Device, Equipment
from configs.schema import Spool as SpoolOptions
from controller.clock import LineClock
from controller.drivers.opcua import OpcUaDriver
from controller.errors import DeviceLostError
from controller.historian import Spool
from controller.parts import make_driver
from controller.types import Frame, Write
from simulators.servers.opcua import OpcUaServer
from tests.unit.simulators.opcua_rig import PRESS, Rig, some_port

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

S_FORCE = 's=Press.Force", '


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.drivers.opcua_subscription.KEEP_ALIVE_S", 0.2)


def driver_of(rig: Rig, text: str = PRESS) -> OpcUaDriver:
    kind = Equipment.model_validate(tomllib.loads(text))
    device = Device(id="press1", equipment="press", endpoint=rig.endpoint)
    return OpcUaDriver(device, kind, LineClock(), item_retry_s=0.2)


def told(frames: list[Frame]) -> str:
    return "\n".join(text for f in frames if f.stream == "event" for text in f.text["message"])


async def collect(driver: OpcUaDriver, enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    frames: list[Frame] = []
    async with asyncio.timeout(10.0):
        while not enough(frames):
            frames += await driver.read()
    return frames


def force_of(frames: list[Frame]) -> list[float]:
    return [v for f in frames if f.stream == "press" for v in f.columns["force_n"].tolist()]


async def learnt(driver: OpcUaDriver) -> None:
    assert driver._learning is not None
    await driver._learning


async def restarted(rig: Rig, driver: OpcUaDriver, fault: str, on: bool = True) -> None:
    """The server restarts with the fault, and the driver as its supervisor does it."""
    rig.fault(fault, on=on, down_s=0.0)
    await rig.scan()
    with pytest.raises(DeviceLostError):
        await collect(driver, lambda _: False)
    await driver.start()


async def test_learnt_paths_find_renamed_nodes_and_a_moved_namespace() -> None:
    async with Rig() as rig:
        driver = driver_of(rig)
        await driver.start()
        try:
            await collect(driver, lambda f: bool(force_of(f)))
            await learnt(driver)
            assert driver._addresses.paths["force_n"] == (("urn:test:press", "Press"), ("urn:test:press", "Force"))
            assert driver._addresses.paths["serial"] == (("urn:test:press", "77"),)
            for fault, word in (
                ("node_ids_changed", "15 of 16 tags have another node id now and were found by their browse path"),
                ("namespace_index_changed", "namespace 'urn:test:press' has index 3 now (was 2)"),
            ):
                await restarted(rig, driver, fault)
                force = 300.0 + len(word)
                await rig.scan(force_n=force)
                frames = await collect(driver, lambda f, force=force: force in force_of(f))
                assert word in told(frames)
                assert driver.counters["items_missing"] == 0
                await driver.write([Write("force_sp_n", (float(len(word)),))])
                assert rig.machine.held["force_sp_n"][0] == float(len(word))
                assert (await driver.read_back(["force_sp_n"]))["force_sp_n"].tolist() == [float(len(word))]
        finally:
            await driver.stop()


async def test_a_path_of_the_equipment_file_finds_a_node_never_seen_before() -> None:
    async with Rig() as rig:
        rig.fault("node_ids_changed", down_s=0.0)
        await rig.scan()
        driver = driver_of(rig, PRESS.replace(S_FORCE, 's=Press.Force", path = "Press/Force", '))
        await driver.start()
        try:
            await rig.scan(force_n=321.0)
            frames = await collect(driver, lambda f: 321.0 in force_of(f))
            assert "1 of 16 tags have another node id now" in told(frames)
            assert "tag 'stroke' (s=Press.Stroke) cannot be read: BadNodeIdUnknown" in told(frames)
        finally:
            await driver.stop()


async def test_an_identifier_that_now_means_another_node_is_not_believed() -> None:
    """Numbered nodes change places: the number is still there, and what it reads is wrong."""
    async with Rig() as rig:
        swapped = PRESS.replace(S_FORCE, 's=Press.Stroke", path = "Press/Force", ')
        swapped = swapped.replace('"stroke", address = "s=Press.Stroke"', '"stroke", address = "s=Press.Force"')
        driver = driver_of(rig, swapped)
        await driver.start()
        try:
            await rig.scan(force_n=322.0)
            frames = await collect(driver, lambda f: 322.0 in force_of(f))
            assert "'force_n' ns=2;s=Press.Stroke is ns=2;s=Press.Force" in told(frames)
        finally:
            await driver.stop()


async def test_a_namespace_of_its_own_is_named_by_its_uri() -> None:
    async with Rig() as rig:
        text = PRESS.replace('s=Press.Force"', 'nsu=urn:test:press;s=Press.Force"')
        driver = driver_of(rig, text.replace("s=Press.Stroke", "ns=2;s=Press.Stroke"))
        await driver.start()
        try:
            await collect(driver, lambda f: bool(force_of(f)))
            await restarted(rig, driver, "namespace_index_changed")
            await rig.scan(force_n=323.0, stroke=4.5)
            frames = await collect(driver, lambda f: 323.0 in force_of(f))
            assert 4.5 in [v for f in frames if f.stream == "press" for v in f.columns["stroke"].tolist()]
            assert driver.counters["items_missing"] == 0
        finally:
            await driver.stop()


LINE = """
[line]
name = "pressing"

[[device]]
id = "press1"
equipment = "press.toml"
endpoint = "{endpoint}"
"""


async def first_rows(line: Path, folder: Path, rig: Rig, force: float) -> str:
    """One process of the controller with this run folder, from start to stop; what it told."""
    spool = Spool.open(folder / "spool.sqlite3", SpoolOptions(), ["parquet"])
    try:
        driver = make_driver(load_line(line), "press1", LineClock(), lambda _: None, spool=spool)
        assert isinstance(driver, OpcUaDriver)
        await driver.start()
        try:
            await rig.scan(force_n=force)
            frames = await collect(driver, lambda f: force in force_of(f))
            await learnt(driver)
        finally:
            await driver.stop()
        return told(frames)
    finally:
        await spool.close()


async def test_a_later_process_finds_nodes_by_the_paths_that_an_earlier_one_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = tmp_path / "line.toml"
    async with Rig() as rig:
        line.write_text(LINE.format(endpoint=rig.endpoint))
        (tmp_path / "press.toml").write_text(PRESS)
        assert "node id" not in await first_rows(line, tmp_path, rig, 301.0)
        rig.fault("node_ids_changed", down_s=0.0)
        await rig.scan()
        assert "15 of 16 tags have another node id now" in await first_rows(line, tmp_path, rig, 302.0)
        assert not [r for r in caplog.records if r.name.startswith("controller")]
        # The equipment file is corrected, one tag after its new identifier, one wrongly: no path speaks against it.
        corrected = PRESS.replace('s=Press.Force"', 's=PLC_2.Press.Force"').replace("s=Press.Stroke", "s=Nowhere")
        (tmp_path / "press.toml").write_text(corrected)
        with caplog.at_level(logging.WARNING, "controller.drivers.opcua"):
            text = await first_rows(line, tmp_path, rig, 303.0)
        assert "13 of 16 tags have another node id now" in text
        assert "tag 'stroke' (s=Nowhere) cannot be read" in text
        assert "press1: not used of the browse paths learnt earlier: tags of other addresses, or gone" in caplog.text


EQUIPMENT = Path(__file__).parents[2] / "configs" / "equipment"


SHIPPED = [path.stem for path in sorted(EQUIPMENT.glob("*.toml")) if "[opcua]" in path.read_text()]


@pytest.mark.parametrize("name", SHIPPED)
async def test_the_paths_of_a_shipped_type_lead_to_its_nodes_also_when_they_have_moved(name: str) -> None:
    kind = Equipment.model_validate(tomllib.loads((EQUIPMENT / f"{name}.toml").read_text()))
    assert kind.opcua is not None
    tags = [(group, tag) for group in kind.group for tag in group.tag]
    endpoint = f"opc.tcp://127.0.0.1:{some_port()}/{name}"
    server = OpcUaServer(kind, endpoint, lambda _tag, _values: None)
    values = {tag.name: np.zeros(group.points) for group, tag in tags}
    await server.publish(values, 1_760_000_000 * 10**9)
    await server.start()
    try:
        async with Client(endpoint, timeout=5) as client:
            index = await client.get_namespace_index(kind.opcua.namespace)
            for _, tag in tags:
                node = await client.nodes.objects.get_child([f"{index}:{step}" for step in tag.path.split("/")])
                assert node.nodeid.to_string() == f"ns={index};{tag.address}"
        fault = server.faults["node_ids_changed"]
        server.fault("node_ids_changed", True, fault.complete("node_ids_changed", {"down_s": 0.0}))
        await server.publish(values, 1_760_000_001 * 10**9)
        driver = OpcUaDriver(Device(id="one", equipment=name, endpoint=endpoint), kind, LineClock())
        await driver.start()
        try:
            frames = await collect(driver, lambda f: "by their browse path" in told(f))
            assert f"{len(tags)} of {len(tags)} tags have another node id now" in told(frames)
            assert driver.counters["items_missing"] == 0
        finally:
            await driver.stop()
    finally:
        await server.stop()
