"""A device's address in parts. Text only: nothing is resolved and nothing is opened."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl

MODBUS_SCHEME = "modbus.tcp"
MODBUS_TLS_SCHEME = "modbus.tls"
MODBUS_RTU_TCP_SCHEME = "modbus.rtu+tcp"
MODBUS_RTU_SCHEME = "modbus.rtu"
MODBUS_SCHEMES = (MODBUS_SCHEME, MODBUS_TLS_SCHEME, MODBUS_RTU_TCP_SCHEME, MODBUS_RTU_SCHEME)
OPCUA_SCHEME = "opc.tcp"
# 1 to 247 are units on a serial line; 0 and 255 mean the TCP device itself (Modbus messaging guide, 4.4.2.1).
_MAX_UNIT = 255
_MAX_SERIAL_UNIT = 247
_PARITIES = ("even", "odd", "none")
_MAX_BAUD = 4_000_000


class SerialLine(NamedTuple):
    """How the bytes go over a serial line. Defaults of Modbus over serial line V1.02, 2.5: 19200 baud, even parity."""

    baud: int = 19_200
    parity: str = "even"  # even, odd or none; without parity a second stop bit takes its place

    @property
    def character_s(self) -> float:
        """Seconds of one character: 11 bits in every case."""
        return 11 / self.baud

    @property
    def silence_s(self) -> float:
        """Seconds that end a frame: 3.5 characters, above 19200 baud 1.75 ms (V1.02, 2.5.1.1)."""
        return 1.75e-3 if self.baud > 19_200 else 3.5 * self.character_s


class Endpoint(NamedTuple):
    """scheme://host:port/path; for Modbus the path is the unit number, on a serial line the device's file."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""  # of a serial line only

    @property
    def listens_on(self) -> tuple[str | int, ...]:
        """What only one server can have: host and port, or the serial device."""
        return (self.path,) if self.scheme == MODBUS_RTU_SCHEME else (self.host, self.port)

    @property
    def unit(self) -> int:
        """Modbus unit; 1 where the endpoint names none. Raises ValueError where it is no unit number."""
        serial = self.scheme == MODBUS_RTU_SCHEME
        text = self._settings().get("unit", "") if serial else self.path
        low, high = (1, _MAX_SERIAL_UNIT) if serial else (0, _MAX_UNIT)
        if not text:
            return 1
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise ValueError(f"the unit is a whole number from {low} to {high}, not '{text}'")
        return int(text)

    @property
    def serial(self) -> SerialLine:
        """Settings of a serial line. Raises ValueError for one that does not exist or cannot be."""
        line = SerialLine()
        for key, value in self._settings().items():
            if key == "baud":
                if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:9]) <= _MAX_BAUD:
                    raise ValueError(f"baud is a whole number from 1 to {_MAX_BAUD}, not '{value}'")
                line = line._replace(baud=int(value))
            elif key == "parity":
                if value not in _PARITIES:
                    raise ValueError(f"parity is {', '.join(_PARITIES[:-1])} or {_PARITIES[-1]}, not '{value}'")
                line = line._replace(parity=value)
            elif key != "unit":
                raise ValueError(f"a serial line has no '{key}'; it has baud, parity and unit")
        return line

    def _settings(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


def parse_endpoint(text: str) -> Endpoint:
    """Parts of an endpoint that matches the schema's pattern. Raises ValueError for a port outside 1 to 65535."""
    scheme, _, rest = text.partition("://")
    if scheme == MODBUS_RTU_SCHEME:
        path, _, query = rest.partition("?")
        return Endpoint(scheme, "", 0, path, query)
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
