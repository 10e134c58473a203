"""Who may talk to an OPC UA server: endpoints, certificates and users. No session and no socket.

Certificates live in a folder as OPC UA tools lay it out: own/certs, own/private, trusted/certs, rejected/certs. The
server's own is made there when none is found, and in memory when there is no folder. An unknown client's certificate
is kept among the rejected, as PLCs do it: who moves it to the trusted lets the client in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.validator import CertificateValidator
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from configs.schema import OpcUaServerOptions, OpcUaUser, Role, SecurityPolicy

_POLICIES = {
    SecurityPolicy.NONE: ua.SecurityPolicyType.NoSecurity,
    SecurityPolicy.BASIC256SHA256_SIGN: ua.SecurityPolicyType.Basic256Sha256_Sign,
    SecurityPolicy.BASIC256SHA256_ENCRYPT: ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    SecurityPolicy.AES128_SIGN: ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
    SecurityPolicy.AES128_ENCRYPT: ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    SecurityPolicy.AES256_SIGN: ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
    SecurityPolicy.AES256_ENCRYPT: ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}
_DAYS = 3650
_MAX_REJECTED = 100  # files; who knocks with ever new certificates must not fill the disk


@dataclass
class PlcUser(User):  # type: ignore[misc]
    """Somebody who has signed in. asyncua's own role is the same for all: what may be done is decided by ours."""

    may_write: bool = False


class Security:
    """One server's endpoints, certificate store and users."""

    def __init__(self, options: OpcUaServerOptions, uri: str, host: str, folder: Path | None = None) -> None:
        """`uri`: the server's application URI. Raises OSError or ValueError for a store that cannot be read."""
        self._options = options
        self._folder = folder
        self.secured = any(policy is not SecurityPolicy.NONE for policy in options.policies)
        self._passwords = {user.name: user for user in options.user if user.password is not None}
        self._thumbprints = {user.thumbprint.lower(): user for user in options.user if user.thumbprint is not None}
        self._valid = CertificateValidator()
        self.certificate: x509.Certificate | None = None
        self.key: Any = None
        if self.secured:
            self.certificate, self.key = self._own(uri, host)

    @property
    def policies(self) -> list[Any]:
        """asyncua's names of the endpoints."""
        return [_POLICIES[policy] for policy in self._options.policies]

    @property
    def tokens(self) -> list[type]:
        """Ways to sign in that are offered."""
        ways: list[type] = []
        if self._options.anonymous is not Role.NONE:
            ways.append(ua.AnonymousIdentityToken)
        if self._passwords:
            ways.append(ua.UserNameIdentityToken)
        if self._thumbprints:
            ways.append(ua.X509IdentityToken)
        return ways

    def _own(self, uri: str, host: str) -> tuple[x509.Certificate, Any]:
        if self._folder is None:
            return _make(uri, host)
        certificate, key = self._folder / "own/certs/server.der", self._folder / "own/private/server.pem"
        for each in (certificate.parent, key.parent, self._folder / "trusted/certs", self._folder / "rejected/certs"):
            each.mkdir(parents=True, exist_ok=True)
        if certificate.exists() and key.exists():
            loaded = x509.load_der_x509_certificate(certificate.read_bytes())
            return loaded, load_pem_private_key(key.read_bytes(), None)
        made, private = _make(uri, host)
        key.touch(mode=0o600)
        key.write_bytes(dump_private_key_as_pem(private))
        certificate.write_bytes(made.public_bytes(Encoding.DER))
        return made, private

    def check_peer(self, der: bytes) -> None:
        """Raises ServiceError for a client certificate that nobody trusts; it is kept among the rejected.

        The reason is not told to the client (Part 4, 6.1.3: BadSecurityChecksFailed).
        """
        if self._options.trust_any:
            return
        mark = thumbprint(der)
        if mark not in self._trusted():
            self._reject(der, mark)
            raise ServiceError(ua.StatusCodes.BadSecurityChecksFailed)

    def _trusted(self) -> set[str]:
        if self._folder is None:
            return set()
        return {thumbprint(file.read_bytes()) for file in (self._folder / "trusted/certs").glob("*.der")}

    def _reject(self, der: bytes, mark: str) -> None:
        if self._folder is None:
            return
        place = self._folder / "rejected/certs"
        if len(list(place.glob("*.der"))) < _MAX_REJECTED:
            (place / f"{mark}.der").write_bytes(der)

    async def validate(self, certificate: x509.Certificate, description: Any) -> None:
        """asyncua's hook at CreateSession: dates, and the application URI in the certificate against the client's."""
        await self._valid.validate(certificate, description)

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> PlcUser | None:
        """asyncua's hook at ActivateSession; None refuses. `iserver.signing_in` is the kind of token."""
        kind = iserver.signing_in
        found: OpcUaUser | None = None
        if kind is ua.UserNameIdentityToken:
            known = self._passwords.get(username or "")
            if known is not None and hmac.compare_digest(_bytes(known.password), _bytes(password)):
                found = known
        elif kind is ua.X509IdentityToken:
            found = self._thumbprints.get(thumbprint(certificate)) if certificate else None
        elif self._options.anonymous is not Role.NONE:
            return _user("anonymous", self._options.anonymous)
        return None if found is None else _user(found.name, found.role)


def thumbprint(der: bytes) -> str:
    """SHA-1 of a certificate in DER form, hexadecimal, lower case."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


def described(options: OpcUaServerOptions) -> Mapping[str, str]:
    """Endpoints and users in words."""
    return {
        "endpoints": ", ".join(policy.value for policy in options.policies),
        "anonymous": options.anonymous.value,
        "users": ", ".join(f"{user.name} ({user.role.value})" for user in options.user) or "none",
    }


def _bytes(text: str | None) -> bytes:
    return (text or "").encode()


def _user(name: str, role: Role) -> PlcUser:
    return PlcUser(role=UserRole.User, name=name, may_write=role is Role.OPERATOR)


def _make(uri: str, host: str) -> tuple[x509.Certificate, Any]:
    """A self-signed application instance certificate (Part 6, 6.2.2), RSA 2048, and its key."""
    key = generate_private_key()
    try:
        place: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        place = x509.DNSName(host)
    names = [x509.UniformResourceIdentifier(uri), place, x509.DNSName("localhost")]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = generate_self_signed_app_certificate(
        key, "celltwin simulator", {"organizationName": "celltwin"}, names, usage, _DAYS
    )
    return certificate, key
