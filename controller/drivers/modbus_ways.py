"""Ways to a Modbus device: TCP, TLS, serial frames over TCP, a serial line. Opens them; knows no request, no deadline.

MODBUS Messaging on TCP/IP V1.0b; MODBUS/TCP Security MB-TCP-Security-v21 (TLS 1.2 or later); MODBUS over serial line
V1.02.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from configs.endpoint import (
    MODBUS_RTU_SCHEME,
    MODBUS_RTU_TCP_SCHEME,
    MODBUS_SCHEME,
    MODBUS_SCHEMES,
    MODBUS_TLS_SCHEME,
    Endpoint,
    parse_endpoint,
)
from configs.schema import Device, DeviceTls
from controller.drivers.modbus_serial import open_serial
from controller.errors import BadInputError

MakeProtocol = Callable[[], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes get to one device and back."""

    endpoint: Endpoint
    tls: DeviceTls | None = None
    folder: Path = Path()  # that certificates are relative to

    @property
    def rtu(self) -> bool:
        """Whether frames are those of a serial line: a checksum, no transaction number."""
        return self.endpoint.scheme in {MODBUS_RTU_SCHEME, MODBUS_RTU_TCP_SCHEME}

    @property
    def silence_s(self) -> float:
        """Wall seconds of silence that the device needs before a request."""
        return self.endpoint.serial.silence_s if self.endpoint.scheme == MODBUS_RTU_SCHEME else 0.0

    async def open(self, make: MakeProtocol) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """A connection that feeds a new protocol. Raises OSError, with the file where it is about one."""
        loop = asyncio.get_running_loop()
        end = self.endpoint
        if end.scheme == MODBUS_RTU_SCHEME:
            return open_serial(Path(end.path), end.serial, cast("asyncio.Protocol", make()))
        secure = self._context() if end.scheme == MODBUS_TLS_SCHEME else None
        return await loop.create_connection(make, end.host, end.port, ssl=secure)

    def _context(self) -> ssl.SSLContext:
        ca = None if self.tls is None else self.folder / self.tls.ca
        if ca is not None and not ca.is_file():
            raise FileNotFoundError(2, "no such certificate file", str(ca))
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.tls is not None and self.tls.certificate is not None and self.tls.key is not None:
            certificate, key = self.folder / self.tls.certificate, self.folder / self.tls.key
            for file in (certificate, key):
                if not file.is_file():
                    raise FileNotFoundError(2, "no such certificate file", str(file))
            context.load_cert_chain(certificate, key)
        return context


def parse_way(device: Device, folder: Path = Path()) -> tuple[Way, int]:
    """Way and unit of a device's endpoint; `folder` is the line file's. Raises BadInputError."""
    scheme = device.endpoint.partition("://")[0]
    try:
        if scheme not in MODBUS_SCHEMES:
            raise ValueError("it is another protocol's")
        parts = parse_endpoint(device.endpoint)
        if scheme != MODBUS_RTU_SCHEME and not parts.path:
            raise ValueError("it names no unit")
        unit, _ = parts.unit, parts.serial
    except ValueError as error:
        form = scheme if scheme in MODBUS_SCHEMES and scheme != MODBUS_RTU_SCHEME else MODBUS_SCHEME
        shape = "modbus.rtu:///path?unit=1" if scheme == MODBUS_RTU_SCHEME else f"{form}://host:port/unit"
        raise BadInputError(
            f"device '{device.id}': endpoint '{device.endpoint}' is not {shape}: {error}",
            "the unit is a number from 0 to 255, for instance modbus.tcp://192.0.2.7:502/1; on a serial line from 1 "
            "to 247, for instance modbus.rtu:///dev/ttyUSB0?baud=19200&unit=1",
        ) from None
    return Way(parts, device.tls, folder), unit
