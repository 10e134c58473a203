"""Secure OPC UA connections: which endpoint, whom to trust, who signs in, and what to do when the server says no.

Nothing here talks to the server: opcua_requests asks for the endpoints and connects, under its deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto import security_policies
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from configs.schema import SecurityPolicy
from controller.drivers import opcua_certificates as papers
from controller.drivers.opcua_certificates import Credentials
from controller.errors import BadInputError, DeviceRefusedError, PeerError

_CLASSES = {
    "None": security_policies.SecurityPolicyNone,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES = {
    "": ua.MessageSecurityMode.None_,
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
_MODE_NAMES = {mode: name for name, mode in _MODES.items()}
_TOKENS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user name",
    ua.UserTokenType.Certificate: "user certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}
_MAX_REJECTED = 100  # files; who answers with ever new certificates must not fill the disk
_SIGN_IN = frozenset(
    int(code)
    for code in (
        ua.StatusCodes.BadUserAccessDenied,
        ua.StatusCodes.BadIdentityTokenRejected,
        ua.StatusCodes.BadIdentityTokenInvalid,
        ua.StatusCodes.BadUserSignatureInvalid,
    )
)
_UNKNOWN_TO_IT = frozenset(
    int(code)
    for code in (
        ua.StatusCodes.BadSecurityChecksFailed,
        ua.StatusCodes.BadCertificateUntrusted,
        ua.StatusCodes.BadCertificateInvalid,
        ua.StatusCodes.BadCertificateUriInvalid,
        ua.StatusCodes.BadCertificateTimeInvalid,
        ua.StatusCodes.BadCertificateUseNotAllowed,
    )
)


ANONYMOUS = Credentials(SecurityPolicy.NONE, None, None, None, None, "", "", None, False)
"""A device without a table [device.security]."""


class SafeClient(Client):  # type: ignore[misc]
    """asyncua's client, which would send a password in the clear where a server asks for that."""

    plain_password = False

    def _add_user_auth(self, params: Any, username: str | None, password: str | None) -> None:
        policy = self.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri
        readable = not policy or policy == security_policies.SecurityPolicyNone.URI
        encrypted = self.security_policy.Mode is ua.MessageSecurityMode.SignAndEncrypt
        if readable and not encrypted and not self.plain_password:
            raise DeviceRefusedError(
                "the server wants the password unencrypted, and nothing was sent",
                "use a SignAndEncrypt policy, or set plain_password in [device.security]",
            )
        super()._add_user_auth(params, username, password)


def name_of(endpoint: Any) -> str:
    """`Basic256Sha256-SignAndEncrypt`, as line files name it."""
    policy = str(endpoint.SecurityPolicyUri).rpartition("#")[2]
    mode = _MODE_NAMES.get(endpoint.SecurityMode, str(endpoint.SecurityMode))
    return f"{policy}-{mode}" if mode else policy


def tokens_of(endpoint: Any) -> str:
    """Ways to sign in, in words."""
    names = (_TOKENS.get(token.TokenType, str(token.TokenType)) for token in endpoint.UserIdentityTokens or ())
    return ", ".join(dict.fromkeys(names)) or "none"


def choose(endpoints: Sequence[Any], credentials: Credentials, where: str) -> Any:
    """The endpoint that the line file wants; DeviceRefusedError lists what the server offers instead."""
    wanted = credentials.policy.value
    offered = [e for e in endpoints if str(e.EndpointUrl or "").startswith("opc.tcp")]
    found = [e for e in offered if name_of(e) == wanted]
    if not found:
        names = ", ".join(dict.fromkeys(name_of(e) for e in offered)) or "nothing"
        raise DeviceRefusedError(
            f"{where}: policy {wanted} is not offered; the server offers {names}",
            "choose one of these in [device.security], or switch the policy on at the server",
        )
    kind = ua.UserTokenType.Anonymous
    if credentials.user is not None:
        kind = ua.UserTokenType.UserName
    elif credentials.user_identity is not None:
        kind = ua.UserTokenType.Certificate
    able = [e for e in found if any(t.TokenType == kind for t in e.UserIdentityTokens or ())]
    if not able:
        raise DeviceRefusedError(
            f"{where}: nobody signs in as {_TOKENS[kind]} at {wanted}; the server offers {tokens_of(found[0])}",
            "name a user or a user certificate in [device.security], or allow this way at the server",
        )
    return able[0]


def trust(endpoint: Any, credentials: Credentials, where: str) -> x509.Certificate:
    """The server's certificate, when it is known and valid; DeviceRefusedError says what to do where it is not."""
    try:
        shown = papers.parse(_first(bytes(endpoint.ServerCertificate or b"")))
    except ValueError:
        raise DeviceRefusedError(f"{where}: the server shows no certificate", "give it one") from None
    mark = papers.thumbprint(shown)
    what = f"the server's certificate (thumbprint {mark}, {shown.subject.rfc4514_string()})"
    if not _known(shown, credentials):
        raise DeviceRefusedError(f"{where}: {what} is not trusted", _remedy(shown, credentials))
    if trouble := papers.out_of_date(shown):
        raise DeviceRefusedError(f"{where}: {what} {trouble}", "renew it on the server, and trust the new one here")
    told, said = papers.application_uri(shown), str(endpoint.Server.ApplicationUri or "")
    if told != said:
        raise DeviceRefusedError(
            f"{where}: {what} is for the application '{told}', and the server calls itself '{said}'",
            "give the server a certificate with its own application URI",
        )
    return shown


def _first(chain: bytes) -> bytes:
    """The leading certificate of a chain: the length of the outer DER sequence is in its second to fourth byte."""
    return chain[: int.from_bytes(chain[2:4], "big") + 4] if len(chain) > 4 and chain[1] == 0x82 else chain


def _known(shown: x509.Certificate, credentials: Credentials) -> bool:
    if credentials.pinned is not None:
        return papers.der(papers.read_certificate(credentials.pinned, "the server's certificate")) == papers.der(shown)
    for file in sorted(credentials.trusted.iterdir()) if credentials.trusted is not None else ():
        if file.suffix.lower() not in papers.SUFFIXES:
            continue
        with suppress(OSError, ValueError, InvalidSignature, TypeError):
            one = papers.parse(file.read_bytes())
            if papers.der(one) == papers.der(shown):
                return True
            if papers.is_authority(one) and not papers.out_of_date(one):
                shown.verify_directly_issued_by(one)  # raises where it did not
                return True
    return False


def _remedy(shown: x509.Certificate, credentials: Credentials) -> str:
    """What to do about a certificate that is not known. It is kept beside the folder where that can be written."""
    look = "compare the thumbprint with the one that the server's own display or tool shows"
    if credentials.pinned is not None:
        return (
            f"{look}; if the server has a new one, put it in place of {credentials.pinned}: celltwin opcua look --save"
        )
    assert credentials.trusted is not None
    kept = _keep(shown, credentials.trusted.parent / "rejected")
    if kept is None:
        return f"{look}; then put it into {credentials.trusted}: celltwin opcua look --save"
    return f"{look}; then move {kept} to {credentials.trusted}"


def _keep(shown: x509.Certificate, folder: Path) -> Path | None:
    file = folder / f"{papers.thumbprint(shown)}.der"
    try:
        folder.mkdir(exist_ok=True)
        if not file.exists():
            if len(list(folder.iterdir())) >= _MAX_REJECTED:
                return None
            file.write_bytes(papers.der(shown))
    except OSError:
        return None
    return file


def prepare(client: SafeClient, credentials: Credentials, server: x509.Certificate | None) -> None:
    """Give a client that is not connected yet its policy and its user. `server`: whom alone it will talk to."""
    policy, _, mode = credentials.policy.value.partition("-")
    own = credentials.own
    if own is not None and server is not None:
        client.application_uri = papers.application_uri(own.certificate) or client.application_uri
        client.security_policy = _CLASSES[policy](server, own.certificate, own.key, _MODES[mode], host_cert_chain=[])
        client.uaclient.set_security(client.security_policy)
    client.plain_password = credentials.plain_password
    if credentials.user is not None:
        client.set_user(credentials.user)
        client.set_password(credentials.password)
    elif credentials.user_identity is not None:
        client.user_certificate = credentials.user_identity.certificate
        client.user_private_key = credentials.user_identity.key


def explain(problem: PeerError, credentials: Credentials | None, where: str) -> PeerError:
    """A refusal at the door, with what to do about it."""
    code = problem.code & 0xFFFF0000 if isinstance(problem, DeviceRefusedError) else 0
    if code in _SIGN_IN:
        who = "anonymous" if credentials is None else credentials.signs_in_as
        if credentials is None or who == "anonymous":
            hint = "the server wants a user: name one in [device.security]"
        elif credentials.user is not None:
            hint = f"correct the user's name, or the password in {credentials.password_from}"
        else:
            hint = "make the user's certificate known to the server"
        return DeviceRefusedError(f"{where}: the server does not let {who} sign in ({_name(code)})", hint, code)
    if credentials is not None and credentials.own is not None and (code in _UNKNOWN_TO_IT):
        own = credentials.own
        return DeviceRefusedError(
            f"{where}: the server refuses our certificate {own.file} (thumbprint {papers.thumbprint(own.certificate)}, "
            f"application '{papers.application_uri(own.certificate)}'): {_name(code)}",
            "trust it on the server, where it often lies among the rejected ones already",
            code,
        )
    return problem


def _name(code: int) -> str:
    return str(ua.status_codes.get_name_and_doc(code)[0])


def unreadable(problem: BadInputError, where: str) -> DeviceRefusedError:
    """A file that has changed since the start: retried like a device that refuses, for a person may put it right."""
    return DeviceRefusedError(f"{where}: {problem.what}", problem.hint)


def insecure(policy: SecurityPolicy) -> bool:
    """Whether nothing is signed."""
    return policy is SecurityPolicy.NONE
