"""A device's address in parts. Text only: nothing is resolved and nothing is opened."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

MODBUS_SCHEME = "modbus.tcp"
OPCUA_SCHEME = "opc.tcp"
_MAX_UNIT = (
    255  # 1 to 247 are units on a serial line; 0 and 255 mean the TCP device itself (Modbus messaging guide, 4.4.2.1)
)


class Endpoint(NamedTuple):
    """scheme://host:port/path; for modbus.tcp the path is the unit number."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def unit(self) -> int:
        """Modbus unit; 1 where the endpoint names none. Raises ValueError where it is no unit number."""
        if not self.path:
            return 1
        if not (self.path.isascii() and self.path.isdigit()) or int(self.path) > _MAX_UNIT:
            raise ValueError(f"the unit is a whole number from 0 to {_MAX_UNIT}, not '{self.path}'")
        return int(self.path)


def parse_endpoint(text: str) -> Endpoint:
    """Parts of an endpoint that matches the schema's pattern. Raises ValueError for a port outside 1 to 65535."""
    scheme, _, rest = text.partition("://")
    address, _, path = rest.partition("/")
    host, _, port = address.rpartition(":")
    if len(port) > 5 or not 1 <= int(port) <= 65_535:
        raise ValueError(f"a port is a whole number from 1 to 65535, not {port[:20]}")
    return Endpoint(scheme, host.lower(), int(port), path)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone, or all of its addresses (0.0.0.0 takes loopback's ports too)."""
    if host in {"localhost", "", "::"}:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
