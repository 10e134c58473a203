"""The OPC UA driver with certificates and users, against the simulated PLC over real sockets: who gets in, and what
people are told when somebody does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from configs.schema import Device, DeviceSecurity
from controller.clock import LineClock
from controller.drivers import opcua_certificates as papers
from controller.drivers.opcua import OpcUaDriver
from controller.errors import BadInputError, DeviceRefusedError
from controller.types import Frame, Write
from tests.unit.simulators.opcua_rig import Rig

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

ENCRYPT = "Basic256Sha256-SignAndEncrypt"
SECRET = "correct horse"
POLICIES = [ENCRYPT, "Basic256Sha256-Sign", "Aes128_Sha256_RsaOaep-SignAndEncrypt"]
POLICIES += ["Aes256_Sha256_RsaPss-SignAndEncrypt"]


@dataclass
class Place:
    """A guarded PLC with its store of certificates, and the folder of a line file that wants to talk to it."""

    rig: Rig
    pki: Path
    folder: Path

    def security(self, **changes: Any) -> DeviceSecurity:
        """A table that works, with changes; None takes a key away."""
        table: dict[str, Any] = {
            "policy": ENCRYPT,
            "certificate": "own/celltwin.der",
            "key": "own/celltwin.pem",
            "trusted": "trusted",
            "user": "anna",
            "password_file": "password",
        }
        table |= changes
        return DeviceSecurity.model_validate({k: v for k, v in table.items() if v is not None})

    def driver(self, **changes: Any) -> OpcUaDriver:
        device = Device(id="press1", equipment="press", endpoint=self.rig.endpoint, security=self.security(**changes))
        return OpcUaDriver(device, self.rig.equipment, LineClock(), folder=self.folder)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder, pki = tmp_path_factory.mktemp("line"), tmp_path_factory.mktemp("pki")
    certificate, _ = papers.write_pair(folder / "own")
    user, _ = papers.write_pair(folder / "robot", "urn:test:robot")
    mark = papers.thumbprint(papers.parse(user.read_bytes()))
    (folder / "password").write_text(SECRET + "\n")
    (folder / "trusted").mkdir()
    users = [{"name": "anna", "password": SECRET}, {"name": "robot", "thumbprint": mark}]
    async with Rig(pki, policies=POLICIES, anonymous="none", user=users, trust_any=False) as rig:
        (pki / "trusted/certs/celltwin.der").write_bytes(certificate.read_bytes())
        (folder / "trusted/press.der").write_bytes((pki / "own/certs/server.der").read_bytes())
        yield Place(rig, pki, folder)


async def first_rows(driver: OpcUaDriver) -> list[Frame]:
    frames: list[Frame] = []
    async with asyncio.timeout(10.0):
        while not any(f.stream == "press" for f in frames):
            frames += await driver.read()
    return frames


async def refusal(driver: OpcUaDriver) -> str:
    """What a person is told; nothing of the secret, and no task left."""
    before = asyncio.all_tasks()
    with pytest.raises(DeviceRefusedError) as caught:
        await driver.start()
    await driver.stop()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before
    text = str(caught.value)
    assert text.startswith("press1 at opc.tcp://")
    assert SECRET not in text
    return text


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_user_reads_and_writes_under_every_policy(
    place: Place, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    driver = place.driver(policy=policy)
    await driver.start()
    try:
        await first_rows(driver)
        await driver.write([Write("force_sp_n", (12.5,))])
        assert (await driver.read_back(["force_sp_n"]))["force_sp_n"].tolist() == [12.5]
    finally:
        await driver.stop()
    assert SECRET not in caplog.text


async def test_a_certificate_signs_in_and_the_server_may_be_pinned(place: Place) -> None:
    driver = place.driver(
        user=None, password_file=None, user_certificate="robot/celltwin.der", user_key="robot/celltwin.pem",
        trusted=None, server_certificate="trusted/press.der",
    )  # fmt: skip
    await driver.start()
    try:
        await driver.write([Write("force_sp_n", (13.5,))])
    finally:
        await driver.stop()
    assert place.rig.machine.held["force_sp_n"][0] == 13.5


async def test_an_unknown_server_is_kept_and_let_in_when_somebody_trusts_it(place: Place) -> None:
    certificate = papers.parse((place.pki / "own/certs/server.der").read_bytes())
    mark = papers.thumbprint(certificate)
    (place.folder / "store/trusted").mkdir(parents=True)
    driver = place.driver(trusted="store/trusted")
    text = await refusal(driver)
    rejected = place.folder / f"store/rejected/{mark}.der"
    assert f"the server's certificate (thumbprint {mark}," in text
    assert f"then move {rejected} to {place.folder / 'store/trusted'}" in text
    rejected.rename(place.folder / "store/trusted" / rejected.name)
    await driver.start()
    await driver.stop()


async def test_another_certificate_than_the_pinned_one(place: Place) -> None:
    text = await refusal(place.driver(trusted=None, server_certificate="own/celltwin.der"))
    assert "is not trusted" in text
    assert "in place of" in text


async def test_a_policy_that_is_not_offered_lists_what_is(place: Place) -> None:
    text = await refusal(place.driver(policy="Aes256_Sha256_RsaPss-Sign"))
    assert "policy Aes256_Sha256_RsaPss-Sign is not offered; the server offers " + ", ".join(POLICIES) in text


async def test_a_wrong_password_says_where_it_is_from(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESS_PASSWORD", "wrong horse")
    text = await refusal(place.driver(password_file=None, password_env="PRESS_PASSWORD"))
    assert "does not let user 'anna' sign in (BadUserAccessDenied)" in text
    assert "the password in environment variable PRESS_PASSWORD" in text
    assert "horse" not in text


async def test_a_password_that_was_put_right_needs_no_restart(place: Place) -> None:
    (place.folder / "changing").write_text("old")
    driver = place.driver(password_file="changing")
    await refusal(driver)
    (place.folder / "changing").write_text(SECRET)
    await driver.start()
    await driver.stop()


async def test_a_server_that_does_not_know_us(place: Place) -> None:
    certificate, _ = papers.write_pair(place.folder / "stranger")
    mark = papers.thumbprint(papers.parse(certificate.read_bytes()))
    text = await refusal(place.driver(certificate="stranger/celltwin.der", key="stranger/celltwin.pem"))
    assert f"refuses our certificate {certificate} (thumbprint {mark}, application 'urn:celltwin:controller')" in text
    assert (place.pki / f"rejected/certs/{mark}.der").exists()


async def test_anonymous_where_a_user_is_wanted(place: Place) -> None:
    text = await refusal(place.driver(user=None, password_file=None))
    assert "nobody signs in as anonymous" in text
    assert "the server offers user " in text
    device = Device(id="press1", equipment="press", endpoint=place.rig.endpoint)
    text = await refusal(OpcUaDriver(device, place.rig.equipment, LineClock()))
    assert f"policy None is not offered; the server offers {ENCRYPT}" in text


async def test_a_cut_connection_comes_back_secured_without_loss(place: Place) -> None:
    rig, driver = place.rig, place.driver()
    await driver.start()
    try:
        await first_rows(driver)
        rig.fault("cut")
        for force in (201.0, 202.0, 203.0):
            await asyncio.sleep(0.2)
            await rig.scan(force_n=force)
        rig.fault("cut", on=False)
        seen: list[float] = []
        async with asyncio.timeout(15.0):
            while not {201.0, 202.0, 203.0} <= set(seen):
                seen += [v for f in await driver.read() if f.stream == "press" for v in f.columns["force_n"].tolist()]
    finally:
        await driver.stop()


async def test_files_are_complained_about_before_anything_is_opened(place: Place) -> None:
    with pytest.raises(BadInputError) as caught:
        place.driver(key="own/none.pem", trusted="nowhere", password_file="nothing")
    text = str(caught.value)
    assert "device 'press1'" in text
    for part in ("own/none.pem cannot be read: No such file", "nowhere does not exist", "nothing cannot be read"):
        assert part in text
