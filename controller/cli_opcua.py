"""`celltwin opcua`: a certificate of our own, and a look at what a server offers. For who connects a line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from controller.errors import BadInputError

opcua = typer.Typer(help="Certificates for OPC UA, and what a server offers.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True, markup=False)

LOOK_S = 5.0
"""Wall seconds that a server may take to answer."""


@opcua.command("certificate")
def certificate(
    directory: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where celltwin.der and its key celltwin.pem go.")
    ] = Path("pki"),
    uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Application URI; default: urn:celltwin:controller.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="NAME", help="Host name in it; default: this machine's.")] = "",
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How long it is valid.")] = 3650,
) -> None:
    """Make our own certificate and key. Nothing that is there is overwritten."""
    from controller.drivers.opcua_certificates import APPLICATION_URI, read_certificate, thumbprint, write_pair

    made, key = write_pair(directory, uri or APPLICATION_URI, host, days)
    found = read_certificate(made, "our certificate")
    out.print(f"written: {made} and {key} (only you can read the key)")
    out.print(f"thumbprint {thumbprint(found)}, valid until {found.not_valid_after_utc:%Y-%m-%d}")
    out.print(f"trust {made} on the server, and name both in [device.security] of the line file")


@opcua.command("look")
def look(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Such as opc.tcp://192.0.2.7:4840.")],
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the server's certificate there (DER).")
    ] = None,
) -> None:
    """Print what a server offers and the certificate that it shows. It is not trusted by this."""
    from controller.drivers.opcua_certificates import der, parse
    from controller.drivers.opcua_requests import endpoints

    if not endpoint.startswith("opc.tcp://"):
        raise BadInputError(f"'{endpoint}' is no OPC UA endpoint", "write opc.tcp://host:port/path")
    found = asyncio.run(endpoints(endpoint, LOOK_S, endpoint))
    for line in _lines(found):
        out.print(line)
    shown = next((bytes(e.ServerCertificate) for e in found if e.ServerCertificate), b"")
    if save is None:
        return
    if not shown:
        raise BadInputError(f"{endpoint} shows no certificate", "nothing was written")
    try:
        save.write_bytes(der(parse(shown)))
    except OSError as bad:
        raise BadInputError(f"{save} cannot be written: {bad.strerror}", "choose another file") from bad
    out.print(f"written: {save}; compare the thumbprint with the server's own display before you trust it")


def _lines(found: list[object]) -> Iterator[str]:
    from controller.drivers.opcua_certificates import application_uri, out_of_date, parse, thumbprint
    from controller.drivers.opcua_security import name_of, tokens_of

    seen: set[bytes] = set()
    for each in found:
        yield f"policy {name_of(each)}, sign-in by {tokens_of(each)}"
        seen.add(bytes(getattr(each, "ServerCertificate", None) or b""))
    for content in sorted(seen - {b""}):
        shown = parse(content)
        yield (
            f"certificate {shown.subject.rfc4514_string()}, application {application_uri(shown)}, "
            f"valid until {shown.not_valid_after_utc:%Y-%m-%d}"
        )
        yield f"thumbprint {thumbprint(shown)}" + (f": it {trouble}" if (trouble := out_of_date(shown)) else "")
