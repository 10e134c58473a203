"""Certificates and the TLS settings of a Modbus server. No Modbus in here.

MODBUS/TCP Security Protocol Specification (MB-TCP-Security-v21): TLS 1.2 or later, both sides show a certificate. The
client's carries a role (extension 1.3.6.1.4.1.50316.802.1); rights by role are the equipment's and are not modelled.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_ROLE = ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
# Simulated plants live in any plant time and clients check against today's, so both ends are far away and fixed.
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID = timedelta(days=365 * 40)

CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY = "ca.pem", "server.pem", "server_key.pem", "client.pem", "client_key.pem"
"""Files of a folder of certificates. Who puts his own server.pem, server_key.pem and ca.pem there has them used."""


def server_context(folder: Path | None, host: str) -> ssl.SSLContext:
    """TLS 1.2 or later, a client must show a certificate of the folder's authority. Makes what the folder lacks.

    Raises OSError or ssl.SSLError (which is one) for files that cannot be read or written.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="celltwin-tls-") as made:
            return server_context(Path(made), host)
    if not all((folder / name).is_file() for name in (CA, SERVER, SERVER_KEY)):
        make_certificates(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / CA)
    context.load_cert_chain(folder / SERVER, folder / SERVER_KEY)
    return context


def make_certificates(folder: Path, host: str) -> None:
    """An authority, a server certificate for `host` and a client certificate with the role Operator, as PEM files."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = _name("celltwin simulated authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(name, name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    role = x509.UnrecognizedExtension(_ROLE, b"\x0c\x08Operator")  # DER: UTF8String
    for file, key_file, subject, more, use in (
        (SERVER, SERVER_KEY, "celltwin simulated equipment", _names(host), ExtendedKeyUsageOID.SERVER_AUTH),
        (CLIENT, CLIENT_KEY, "celltwin client", role, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(subject), name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .add_extension(more, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        (folder / file).write_bytes(certificate.public_bytes(Encoding.PEM))
        _write_key(folder / key_file, key)
    (folder / CA).write_bytes(authority.public_bytes(Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(host: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    try:
        names.append(x509.IPAddress(ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(list(dict.fromkeys(names)))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_FROM + _VALID)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates, key_cert_sign=sign_certificates, crl_sign=sign_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
