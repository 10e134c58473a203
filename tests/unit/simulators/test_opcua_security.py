"""Who may talk to the OPC UA server: endpoints, certificates, users and what they may do."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from configs.schema import OpcUaServerOptions
from simulators.servers.opcua_security import Security, described, thumbprint
from tests.unit.simulators.opcua_rig import Rig, node

in_module_loop = pytest.mark.asyncio(loop_scope="module")
CLIENT_URI = "urn:test:client"
ENCRYPT = ua.MessageSecurityMode.SignAndEncrypt
ALL = ["None", "Basic256Sha256-Sign", "Basic256Sha256-SignAndEncrypt", "Aes128_Sha256_RsaOaep-SignAndEncrypt"]
ALL += ["Aes256_Sha256_RsaPss-SignAndEncrypt"]


class Papers:
    """A client's certificate and key, as files."""

    def __init__(self, folder: Path, name: str) -> None:
        key = generate_private_key()
        made = generate_self_signed_app_certificate(
            key, name, {}, [x509.UniformResourceIdentifier(CLIENT_URI)], [ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        self.certificate, self.key = folder / f"{name}.der", folder / f"{name}.pem"
        self.certificate.write_bytes(made.public_bytes(Encoding.DER))
        self.key.write_bytes(dump_private_key_as_pem(key))
        self.thumbprint = thumbprint(self.certificate.read_bytes())


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("client"), "client")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guarded(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rig, Path]]:
    """A server that lets nobody in without a name, and no program that it does not know."""
    users = [
        {"name": "anna", "password": "secret", "role": "operator"},
        {"name": "otto", "password": "look", "role": "observer"},
        {"name": "robot", "thumbprint": papers.thumbprint, "role": "operator"},
    ]
    folder = tmp_path_factory.mktemp("pki")
    async with Rig(folder, policies=ALL, anonymous="none", user=users, trust_any=False) as rig:
        yield rig, folder


async def secured(rig: Rig, papers: Papers, policy: Any = SecurityPolicyBasic256Sha256, mode: Any = ENCRYPT) -> Client:
    client = rig.client()
    client.application_uri = CLIENT_URI
    await client.set_security(policy, papers.certificate, papers.key, mode=mode)
    return client


@in_module_loop
async def test_an_unknown_certificate_is_rejected_kept_and_let_in_when_somebody_trusts_it(
    guarded: tuple[Rig, Path], papers: Papers
) -> None:
    rig, folder = guarded
    client = await secured(rig, papers)
    client.set_user("anna")
    client.set_password("secret")
    with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
        await client.connect()
    rejected = folder / "rejected/certs" / f"{papers.thumbprint}.der"
    assert rejected.read_bytes() == papers.certificate.read_bytes()
    rejected.rename(folder / "trusted/certs" / rejected.name)
    async with client:
        assert await (await node(client, "Press.State")).read_value() == 4


@in_module_loop
@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        (SecurityPolicyBasic256Sha256, ua.MessageSecurityMode.Sign),
        (SecurityPolicyAes128Sha256RsaOaep, ENCRYPT),
        (SecurityPolicyAes256Sha256RsaPss, ENCRYPT),
    ],
)
async def test_every_policy_that_is_offered(guarded: tuple[Rig, Path], papers: Papers, policy: Any, mode: Any) -> None:
    rig, folder = guarded
    (folder / "trusted/certs" / "client.der").write_bytes(papers.certificate.read_bytes())
    client = await secured(rig, papers, policy, mode)
    client.set_user("anna")
    client.set_password("secret")
    async with client:
        await (await node(client, "Press.ForceSetpoint")).write_value(5.0, ua.VariantType.Double)
    assert rig.machine.held["force_sp_n"][0] == 5.0


@in_module_loop
async def test_a_certificate_that_is_a_user(guarded: tuple[Rig, Path], papers: Papers, tmp_path: Path) -> None:
    rig, folder = guarded
    (folder / "trusted/certs" / "client.der").write_bytes(papers.certificate.read_bytes())
    client = await secured(rig, papers)
    await client.load_client_certificate(papers.certificate)
    await client.load_private_key(papers.key)
    async with client:
        await (await node(client, "Press.ForceSetpoint")).write_value(6.0, ua.VariantType.Double)
    stranger = Papers(tmp_path, "stranger")
    client = await secured(rig, papers)
    await client.load_client_certificate(stranger.certificate)
    await client.load_private_key(stranger.key)
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await client.connect()
    assert refused.value.code == ua.StatusCodes.BadUserAccessDenied


@in_module_loop
async def test_nobody_comes_in_without_a_name(guarded: tuple[Rig, Path]) -> None:
    rig, _ = guarded
    for user, password in ((None, None), ("anna", "wrong"), ("berta", "secret")):
        client = rig.client()
        if user is not None:
            client.set_user(user)
            client.set_password(password)
        with pytest.raises(ua.UaError):
            await client.connect()


@in_module_loop
async def test_an_observer_only_looks(guarded: tuple[Rig, Path]) -> None:
    rig, _ = guarded
    client = rig.client()
    client.set_user("otto")
    client.set_password("look")
    async with client:
        setpoint = await node(client, "Press.ForceSetpoint")
        assert await setpoint.read_value() >= 0.0
        assert ua.AccessLevel.CurrentWrite not in await setpoint.get_user_access_level()
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await setpoint.write_value(1.0, ua.VariantType.Double)
        assert refused.value.code == ua.StatusCodes.BadUserAccessDenied
        machine = await node(client, "Press")
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await machine.call_method(f"{machine.nodeid.NamespaceIndex}:Start")
        assert refused.value.code == ua.StatusCodes.BadUserAccessDenied


@in_module_loop
async def test_endpoints_say_what_is_offered(guarded: tuple[Rig, Path]) -> None:
    rig, _ = guarded
    endpoints = await rig.client().connect_and_get_server_endpoints()
    assert len(endpoints) == len(ALL)
    for endpoint in endpoints:
        kinds = {token.TokenType for token in endpoint.UserIdentityTokens}
        assert kinds == {ua.UserTokenType.UserName, ua.UserTokenType.Certificate}
        assert endpoint.Server.ApplicationUri == "urn:celltwin:simulator:press"


def test_the_servers_own_certificate_is_made_once(tmp_path: Path) -> None:
    options = OpcUaServerOptions.model_validate({"policies": ["None", "Basic256Sha256-SignAndEncrypt"]})
    first = Security(options, "urn:a", "127.0.0.1", tmp_path)
    again = Security(options, "urn:a", "127.0.0.1", tmp_path)
    assert first.certificate == again.certificate
    key = tmp_path / "own/private/server.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert described(options)["anonymous"] == "operator"


def test_without_security_there_is_no_file(tmp_path: Path) -> None:
    Security(OpcUaServerOptions(), "urn:a", "127.0.0.1", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"anonymous": "none"}, "nobody may sign in"),
        ({"user": [{"name": "a"}]}, "exactly one"),
        ({"user": [{"name": "a", "thumbprint": "0" * 40}]}, "an endpoint that signs"),
        ({"alarm": [{"name": "a", "tag": "t", "text": "", "bits": 1}] * 2}, "defined twice"),
    ],
)
def test_options_that_contradict_themselves(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        OpcUaServerOptions.model_validate(options)
