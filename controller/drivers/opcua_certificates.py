"""Certificates, keys and passwords that a line file names: read, judged, made. No socket, no asyncua.

Whatever a person must correct is a BadInputError that names file and remedy. A password is in no text that leaves here.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from configs.schema import DeviceSecurity, SecurityPolicy
from controller.clock import LineClock
from controller.errors import BadInputError

T = TypeVar("T")

APPLICATION_URI = "urn:celltwin:controller"
MAKE = "celltwin opcua certificate makes one"
SUFFIXES = frozenset({".der", ".pem", ".crt", ".cer"})
_KEY_BITS = 2048  # what every policy of today takes (Basic256Sha256: 2048 to 4096)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    file: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one device's [device.security] comes to."""

    policy: SecurityPolicy
    own: Identity | None
    pinned: Path | None
    trusted: Path | None
    user: str | None
    password: str = field(repr=False)
    password_from: str  # for people: environment variable X, or file X
    user_identity: Identity | None
    plain_password: bool

    @property
    def signs_in_as(self) -> str:
        """Who signs in, for people."""
        if self.user is not None:
            return f"user '{self.user}'"
        return "a user certificate" if self.user_identity is not None else "anonymous"


def load(security: DeviceSecurity, folder: Path, device: str, secret: bool = True) -> Credentials:
    """Everything that the table names, relative to `folder`; all that is wrong at once. `secret` False: no password."""
    problems: list[BadInputError] = []

    def attempt(read: Callable[[], T], instead: T) -> T:
        try:
            return read()
        except BadInputError as bad:
            problems.append(bad)
            return instead

    def identity(certificate: str | None, key: str | None, what: str) -> Identity | None:
        if certificate is None or key is None:
            return None
        return attempt(lambda: read_identity(folder / certificate, folder / key, what), None)

    own = identity(security.certificate, security.key, "our certificate")
    user_identity = identity(security.user_certificate, security.user_key, "the user's certificate")
    pinned = None if security.server_certificate is None else folder / security.server_certificate
    if pinned is not None:
        file = pinned
        attempt(lambda: read_certificate(file, "the server's certificate"), None)
    trusted = None if security.trusted is None else folder / security.trusted
    if trusted is not None and not trusted.is_dir():
        what = f"the folder of trusted certificates {trusted} does not exist"
        problems.append(BadInputError(what, "make it; the first connection says which certificate belongs there"))
    password = attempt(lambda: read_password(security, folder), "") if secret else ""
    if problems:
        hints = dict.fromkeys(bad.hint for bad in problems)
        raise BadInputError(f"device '{device}': " + "; ".join(bad.what for bad in problems), "; ".join(hints))
    return Credentials(
        security.policy, own, pinned, trusted, security.user, password, _source(security, folder), user_identity,
        security.plain_password,
    )  # fmt: skip


def _source(security: DeviceSecurity, folder: Path) -> str:
    if security.password_env is not None:
        return f"environment variable {security.password_env}"
    return f"file {folder / security.password_file}" if security.password_file is not None else ""


def read_password(security: DeviceSecurity, folder: Path) -> str:
    """The user's password from the environment or from a file; empty where no user signs in."""
    if security.password_env is not None:
        password = os.environ.get(security.password_env, "")
        if not password:
            what = f"the password is missing: environment variable {security.password_env} is not set"
            raise BadInputError(what, f"export {security.password_env}=... before the start")
        return password
    if security.password_file is None:
        return ""
    path = folder / security.password_file
    try:
        # One line break at the end is the editor's; blanks may be the password's.
        password = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as bad:
        raise BadInputError(
            f"the password file {path} cannot be read: {_why(bad)}", "write the password into it"
        ) from None
    if not password or "\n" in password:
        what = "has more than one line" if password else "is empty"
        raise BadInputError(f"the password file {path} {what}", "write the password, and nothing else, into it")
    return password


def read_certificate(path: Path, what: str) -> x509.Certificate:
    """A certificate in DER or PEM."""
    content = _bytes(path, what, MAKE if what.startswith("our") else "save it from the server: celltwin opcua look")
    try:
        return parse(content)
    except ValueError:
        raise BadInputError(f"{what} {path} is no certificate", "it must be X.509 in DER or PEM form") from None


def read_identity(certificate: Path, key: Path, what: str) -> Identity:
    """Certificate and key, which belong together and are valid now."""
    found = read_certificate(certificate, what)
    content = _bytes(key, f"the key of {what}", MAKE)
    try:
        loader = load_pem_private_key if b"-----BEGIN" in content else load_der_private_key
        private = loader(content, None)
    except TypeError:
        raise BadInputError(f"the key {key} has a passphrase", "openssl pkey -in KEY -out NEW takes it away") from None
    except ValueError:
        raise BadInputError(f"the key {key} is no private key", "it must be RSA in PEM or DER form") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise BadInputError(f"the key {key} is not RSA", "OPC UA's policies here use RSA keys")
    if private.public_key() != found.public_key():
        raise BadInputError(f"{what} {certificate} and the key {key} do not belong together", "name the matching pair")
    if trouble := out_of_date(found):
        raise BadInputError(f"{what} {certificate} {trouble}", f"{MAKE}; then trust it on the server")
    return Identity(found, private, certificate)


def _bytes(path: Path, what: str, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as bad:
        raise BadInputError(f"{what} {path} cannot be read: {_why(bad)}", hint) from None


def _why(bad: OSError | UnicodeDecodeError) -> str:
    return str(bad.strerror) if isinstance(bad, OSError) else "it is not text"


def parse(content: bytes) -> x509.Certificate:
    """DER or PEM; ValueError for anything else."""
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def now() -> datetime:
    """Certificates are valid in wall time, whatever plant time is."""
    return datetime.fromtimestamp(LineClock().now_ns() / 1e9, UTC)


def out_of_date(certificate: x509.Certificate) -> str:
    """Why it is not valid now; empty where it is."""
    at = now()
    if at > certificate.not_valid_after_utc:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if at < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC (this machine's clock?)"
    return ""


def der(certificate: x509.Certificate) -> bytes:
    """As OPC UA sends it."""
    return certificate.public_bytes(Encoding.DER)


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 of the DER form, as OPC UA names certificates (Part 6, 6.2.2); lower-case hexadecimal."""
    return hashlib.sha1(der(certificate), usedforsecurity=False).hexdigest()


def application_uri(certificate: x509.Certificate) -> str:
    """Who the certificate says that it is; empty where it does not."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others'. An application's own, though self-signed, may not: it says what it is used for."""
    extensions = certificate.extensions
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    applications = any(isinstance(e.value, x509.ExtendedKeyUsage) for e in extensions)
    return basic.ca and usage.key_cert_sign and not applications


def make(uri: str, host: str, days: int) -> tuple[bytes, bytes]:
    """A self-signed application instance certificate (Part 6, 6.2.2) in DER form, and its key in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "celltwin"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "celltwin")]
    )
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    at = now()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))  # a PLC's clock may be behind
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return der(certificate), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_pair(folder: Path, uri: str = APPLICATION_URI, host: str = "", days: int = 3650) -> tuple[Path, Path]:
    """Make `celltwin.der` and `celltwin.pem` in `folder`. BadInputError where one is there already."""
    certificate, key = folder / "celltwin.der", folder / "celltwin.pem"
    for path in (certificate, key):
        if path.exists():
            raise BadInputError(
                f"{path} is there already", "servers trust it: move it away first, or use another folder"
            )
    made, private = make(uri, host or socket.gethostname(), days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            sink.write(private)
        certificate.write_bytes(made)
    except OSError as bad:
        raise BadInputError(f"{bad.filename} cannot be written: {bad.strerror}", "choose another folder") from bad
    return certificate, key
