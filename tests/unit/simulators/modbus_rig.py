"""What the Modbus server's tests hold it with: a PLC that keeps what is written, and a client's end of a connection."""

from __future__ import annotations

import asyncio

from simulators.machine import Values
from simulators.servers.modbus import ModbusServer
from simulators.servers.modbus_connection import Connection
from simulators.servers.modbus_frames import TcpFramer


class Plc:
    """Keeps what is written; refuses 666."""

    def __init__(self) -> None:
        self.written: list[tuple[str, list[float]]] = []

    def write(self, tag: str, values: Values) -> None:
        if 666 in values:
            raise ValueError(f"{tag}: not this number")
        self.written.append((tag, values.tolist()))


class Wire(asyncio.Transport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


def connect(to: ModbusServer) -> tuple[Connection, Wire]:
    connection, wire = Connection(to, TcpFramer()), Wire()
    connection.connection_made(wire)
    return connection, wire
