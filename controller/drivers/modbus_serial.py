"""A serial port as an asyncio transport, by termios alone. Bytes only; Linux and other POSIX systems.

8 data bits; without parity two stop bits (MODBUS over serial line V1.02, 2.5.1). The port is locked for us alone: two
masters on one line garble each other.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import termios
import tty
from pathlib import Path

from configs.endpoint import SerialLine

_READ_BYTES = 1024
_PARITY = {"none": termios.CSTOPB, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


def open_serial(path: Path, line: SerialLine, protocol: asyncio.Protocol) -> tuple[SerialTransport, asyncio.Protocol]:
    """Opens and sets up the port; what lay unread in it is thrown away. Raises OSError."""
    speed = getattr(termios, f"B{line.baud}", None)
    if speed is None:
        raise OSError(errno.EINVAL, f"this system knows no serial line of {line.baud} baud", str(path))
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another program has this port open", str(path)) from None
        try:
            tty.setraw(fd)
            settings = termios.tcgetattr(fd)
            settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
            if not os.ttyname(fd).startswith("/dev/pts/"):  # a pseudo-terminal has none, and refuses to be asked twice
                settings[2] |= _PARITY[line.parity]
            settings[4] = settings[5] = speed
            termios.tcsetattr(fd, termios.TCSANOW, settings)
            termios.tcflush(fd, termios.TCIOFLUSH)
        except termios.error as error:
            raise OSError(errno.EINVAL, f"no serial port: {error.args[-1]}", str(path)) from None
    except BaseException:
        os.close(fd)
        raise
    return SerialTransport(fd, protocol), protocol


class SerialTransport(asyncio.Transport):
    """Reads when something has come, writes at once; what the port does not take at once follows."""

    def __init__(self, fd: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._fd, self._protocol = fd, protocol
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._closing = False
        self._loop.call_soon(protocol.connection_made, self)
        self._loop.call_soon(self._listen)

    def _listen(self) -> None:
        if not self._closing:
            self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)  # the line has been taken away

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self._unsent += data
        self._send()

    def _send(self) -> None:
        try:
            sent = os.write(self._fd, self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._end(error)
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._fd, self._send)
        else:
            self._loop.remove_writer(self._fd)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, error: OSError | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._loop.call_soon(self._protocol.connection_lost, error)
