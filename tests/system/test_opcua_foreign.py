"""The simulated OPC UA server before a client that is not ours: node-opcua, a program of its own.

Skipped where Node or the package is absent: `npm ci --ignore-scripts` in tests/foreign/opcua installs it in seconds.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tomllib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

import configs
from configs.schema import Access, Equipment, ValueType
from simulators.servers.opcua import OpcUaServer
from simulators.servers.opcua_units import unit_id
from tests.unit.simulators.opcua_rig import NAMESPACE, START_NS, Rig, S, some_port

FOREIGN = Path(__file__).parents[1] / "foreign" / "opcua"
pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (FOREIGN / "node_modules").is_dir(), reason="node-opcua is not installed: npm ci in tests/foreign/opcua"
    ),
]
TYPES = {
    ValueType.BOOL: "Boolean",
    ValueType.INT16: "Int16",
    ValueType.UINT16: "UInt16",
    ValueType.INT32: "Int32",
    ValueType.UINT32: "UInt32",
    ValueType.INT64: "Int64",
    ValueType.UINT64: "UInt64",
    ValueType.FLOAT32: "Float",
    ValueType.FLOAT64: "Double",
}
USERS = [
    {"name": "operator", "password": "turn-the-knob", "role": "operator"},
    {"name": "visitor", "password": "look", "role": "observer"},
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """A press that is scanned all the time: its force rises from scan to scan, over the alarm's limit and back."""
    folder = tmp_path_factory.mktemp("pki")
    policies = [
        "None",
        "Basic256Sha256-SignAndEncrypt",
        "Aes128_Sha256_RsaOaep-Sign",
        "Aes256_Sha256_RsaPss-SignAndEncrypt",
    ]
    async with Rig(folder, policies=policies, user=USERS, history_values=5000) as served:
        scanning = asyncio.create_task(_scan(served))
        yield served
        scanning.cancel()
        with suppress(asyncio.CancelledError):
            await scanning


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stranger keeps its certificate: making one takes a second."""
    return tmp_path_factory.mktemp("stranger")


async def _scan(rig: Rig) -> None:
    count = 0
    while True:
        count += 1
        force = 850.0 + count % 100 / 10 if count % 50 < 10 else float(count % 500)
        await rig.scan(force_n=force, parts=count)
        await asyncio.sleep(0.02)


async def stranger(endpoint: str, folder: Path, *steps: tuple[str, Any], **how: Any) -> dict[str, Any]:
    """What node-opcua saw."""
    asked = {"endpoint": endpoint, "folder": str(folder), "namespace": NAMESPACE, "steps": steps} | how
    process = await asyncio.create_subprocess_exec(
        "node", str(FOREIGN / "client.mjs"), cwd=folder, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            told, complaints = await process.communicate(json.dumps(asked).encode())
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    text = told.decode()
    assert "{" in text, complaints.decode()
    found: dict[str, Any] = json.loads(text[text.index('{"') if '{"' in text else text.index("{") :])
    return found


def check_types(equipment: Equipment, seen: dict[str, Any]) -> None:
    """Hold what the stranger saw against the equipment file."""
    assert equipment.opcua is not None
    kept = equipment.opcua.server.history
    for group in equipment.group:
        for tag in group.tag:
            path = str(tag.address)[2:]
            told = seen[path]
            assert told["dataType"] == told["variant"] == TYPES[tag.type], path
            array = group.points > 1
            assert (told["rank"], told["dimensions"]) == ((1, [group.points]) if array else (-1, [])), path
            assert told["length"] == (group.points if array else None), path
            assert told["access"] & 0b11 == (0b01 if tag.access is Access.READ else 0b11), path
            assert told["historizing"] == (tag.name in kept), path
            assert (told["access"] & 0b100 > 0) == told["historizing"], path
            assert (told["status"], told["nodeClass"]) == ("Good", 2), path
            assert told["source"].startswith("2025"), path  # plant time
            assert told["server"] > "2026", path


def paths(equipment: Equipment) -> list[str]:
    """Browse paths of all tags below Objects, with dots."""
    return [str(tag.address)[2:] for group in equipment.group for tag in group.tag]


async def test_every_tag_has_the_type_that_the_equipment_file_says(rig: Rig, folder: Path) -> None:
    seen = await stranger(rig.endpoint, folder, ("conformance", paths(rig.equipment)))
    check_types(rig.equipment, seen["conformance"])


async def test_the_coater_has_the_types_that_its_file_says(folder: Path) -> None:
    file = Path(configs.__file__).parent / "equipment" / "slot_die_coater.toml"
    coater = Equipment.model_validate(tomllib.loads(file.read_text()))
    assert coater.opcua is not None
    outputs = {tag.name: np.zeros(group.points) for group in coater.group for tag in group.tag}
    endpoint = f"opc.tcp://127.0.0.1:{some_port()}/coater1"
    server = OpcUaServer(coater, endpoint, lambda *_: None)
    await server.publish(outputs, START_NS)
    await server.start()
    try:
        step = ("conformance", paths(coater))
        seen = await stranger(endpoint, folder, step, namespace=coater.opcua.namespace)
    finally:
        await server.stop()
    check_types(coater, seen["conformance"])


async def test_reading_writing_browsing_and_limits(rig: Rig, folder: Path) -> None:
    seen = await stranger(
        rig.endpoint,
        folder,
        ("analog", "Press.Force"),
        ("write", ["Press.ForceSetpoint", "Double", 250.0]),
        ("value", "Press.ForceSetpoint"),
        ("write", ["Press.ForceSetpoint", "Double", 950.0]),
        ("write", ["Press.ForceSetpoint", "Float", 100.0]),
        ("write", ["Press.Force", "Double", 1.0]),
        ("write", ["Press.Nothing", "Double", 1.0]),
        ("browse", "Press"),
        ("paged", ["Press", 6]),
        ("tooMany", 20),
        ("tooMany", 21),
    )
    steps = list(seen.values())
    assert steps[0] == {"low": 0, "high": 1000, "unit": "N", "unitId": unit_id("NEW")}
    assert steps[1] == "Good"
    assert steps[2] == {"value": 250, "status": "Good"}
    assert steps[3:7] == ["BadOutOfRange", "BadTypeMismatch", "BadNotWritable", "BadNodeIdUnknown"]
    assert rig.machine.held["force_sp_n"][0] == 250.0
    assert {"Force", "Zone", "Start", "Acknowledge", "force", "zone_2"} <= set(steps[7])
    assert sum(steps[8]) == len(steps[7])
    assert set(steps[8][:-1]) == {6}
    assert steps[9] is None
    assert "BadTooManyOperations" in steps[10]["error"]


async def test_a_subscription_misses_nothing(rig: Rig, folder: Path) -> None:
    rows = (await stranger(rig.endpoint, folder, ("subscription", ["Press.Parts", 60])))["subscription"]
    counts = [row[0] for row in rows]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    times = [datetime.fromisoformat(row[1]) for row in rows]
    assert {b - a for a, b in pairwise(times)} == {timedelta(seconds=1)}
    assert {row[2] for row in rows} == {"Good"}


async def test_methods_alarms_and_the_past(rig: Rig, folder: Path) -> None:
    start = datetime.fromtimestamp(START_NS / S, UTC)
    rig.machine.set(press_state=4)
    seen = await stranger(
        rig.endpoint,
        folder,
        ("call", ["Press", "Start"]),
        ("call", ["Press", "Start"]),
        ("call", ["Press", "Stop"]),
        ("alarm", "Press.Force"),
        ("history", ["Press.Force", start.isoformat(), (start + timedelta(days=1)).isoformat(), 30]),
        ("history", ["Press.Stroke", start.isoformat(), (start + timedelta(days=1)).isoformat(), 30]),
    )
    first, again, stop, alarm, past, no_past = seen.values()
    assert [call["status"] for call in (first, again, stop)] == ["Good"] * 3
    assert [call["outputs"][1] for call in (first, again, stop)] == [["UInt16", 1], ["UInt16", 2], ["UInt16", 1]]
    sequences = [call["outputs"][0][1] for call in (first, again, stop)]
    assert sequences == list(range(sequences[0], sequences[0] + 3))
    assert alarm["first"]["Severity"] == 700
    assert alarm["first"]["Message"].startswith("Force: High at 85")
    assert (alarm["first"]["AckedState.Id"], alarm["first"]["Retain"]) == (False, True)
    assert alarm["first"]["EventType"] == "ns=0;i=9482"
    assert (alarm["wrong"], alarm["right"], alarm["refresh"]) == ("BadEventIdUnknown", "Good", "Good")
    assert alarm["acked"]["AckedState.Id"] is True
    assert len(past["rows"]) == 30
    assert past["rows"][0] == [100, start.isoformat(timespec="milliseconds").replace("+00:00", "Z")]
    assert [row[1] for row in past["rows"]] == sorted(row[1] for row in past["rows"])
    assert no_past["status"] == "BadHistoryOperationUnsupported"


@pytest.mark.parametrize(
    ("mode", "policy", "user", "password", "seen"),
    [
        ("SignAndEncrypt", "Basic256Sha256", "operator", "turn-the-knob", ["Good", 3]),
        ("Sign", "Aes128_Sha256_RsaOaep", "visitor", "look", ["BadUserAccessDenied", 1]),
        ("SignAndEncrypt", "Aes256_Sha256_RsaPss", "operator", "turn-the-knob", ["Good", 3]),
        ("SignAndEncrypt", "Basic256Sha256", "operator", "guess", None),
    ],
)
async def test_users_over_secured_channels(
    rig: Rig, folder: Path, mode: str, policy: str, user: str, password: str, seen: list[Any] | None
) -> None:
    steps = (("write", ["Press.ForceSetpoint", "Double", 300.0]), ("userAccess", "Press.ForceSetpoint"))
    identity = {"userName": user, "password": password}
    found = await stranger(rig.endpoint, folder, *steps, user=identity, mode=mode, policy=policy)
    if seen is None:
        assert "BadUserAccessDenied" in found["error"] or "BadIdentityToken" in found["error"]
    else:
        assert list(found.values()) == seen


async def while_subscribed(rig: Rig, *faults: tuple[str, dict[str, float]]) -> None:
    """Break something for half a second as soon as the stranger listens."""
    assert rig.server._server is not None
    service = rig.server._server.iserver.subscription_service
    while not any(  # noqa: ASYNC110 - another program decides when
        sub.monitored_item_srv._monitored_items for sub in service.subscriptions.values()
    ):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    for name, settings in faults:
        rig.fault(name, **settings)
    await asyncio.sleep(0.5)
    for name, settings in faults:
        rig.fault(name, on=False, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "whole"),
    [
        ("cut", {}, True),
        ("black_hole", {}, True),
        ("slow", {"delay_s": 0.2}, True),
        ("restart", {"down_s": 10.0}, False),  # what it forgot cannot be asked for again
    ],
)
async def test_a_stranger_reads_on_after_a_fault(
    rig: Rig, folder: Path, name: str, settings: dict[str, float], whole: bool
) -> None:
    step = ("subscription", ["Press.Parts", 100])
    seen, _ = await asyncio.gather(
        stranger(rig.endpoint, folder, step, retries=50), while_subscribed(rig, (name, settings))
    )
    rows = seen["subscription"]
    assert "error" not in rows, rows
    counts = [row[0] for row in rows]
    assert counts == sorted(set(counts))
    if whole:
        assert counts == list(range(counts[0], counts[0] + len(counts)))
