"""A serial line for a Modbus server: a pseudo-terminal whose other end has a name that a client opens as its port.

Framing is by time (MODBUS over serial line V1.02, 2.5.1.1): 3.5 characters of silence end a frame, above 19200 baud
1.75 ms. Every byte takes 11 bits of the line's time in both directions, so a slow line is slow here too. Not modelled:
the 1.5 characters that no gap within a frame may exceed (an event loop cannot tell them), parity and framing errors,
collisions. A pseudo-terminal takes any baud rate and parity that a client sets; the endpoint's is the one that counts.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tty
from collections.abc import Callable
from pathlib import Path

from configs.endpoint import SerialLine
from simulators.servers.modbus_connection import Connection
from simulators.servers.modbus_frames import RtuFramer

_READ_BYTES = 4096


class SerialPort:
    """One end of the line. The name is a symbolic link, taken away again at the end."""

    lasting = True
    """A line stays plugged in when the device behind it goes down: it is only silent."""

    def __init__(self, path: Path, line: SerialLine, connect: Callable[[RtuFramer], Connection]) -> None:
        self._path, self._line, self._connect = path, line, connect
        self._transport: _PtyTransport | None = None

    async def open(self) -> None:
        """Raises OSError when the name is taken by something that is no link, or cannot be made."""
        ours, theirs = os.openpty()
        try:
            tty.setraw(theirs)
            os.set_blocking(ours, False)
            if self._path.is_symlink():
                self._path.unlink()  # left behind by a process that was killed
            try:
                self._path.symlink_to(os.ttyname(theirs))
            except OSError as error:
                raise OSError(error.errno or errno.EIO, error.strerror, str(self._path)) from None
        except BaseException:
            os.close(ours)
            os.close(theirs)
            raise
        framer = RtuFramer()
        connection = self._connect(framer)
        self._transport = _PtyTransport(ours, theirs, connection, framer, self._line.silence_s)
        connection.connection_made(self._transport)

    def close(self) -> None:
        """Take the name away; who has the line open reads nothing any more."""
        transport, self._transport = self._transport, None
        if transport is not None:
            if self._path.is_symlink():
                self._path.unlink()
            transport.unplug()


class _PtyTransport(asyncio.Transport):
    """The line as its connection sees it: whole frames in, bytes out."""

    def __init__(self, ours: int, theirs: int, connection: Connection, framer: RtuFramer, silence_s: float) -> None:
        """`theirs` is kept open: the line is there whether a client has it open or not."""
        super().__init__()
        self._ours, self._theirs = ours, theirs
        self._connection, self._framer, self._silence_s = connection, framer, silence_s
        self._loop = asyncio.get_running_loop()
        self._heard = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._loop.add_reader(ours, self._read)

    def _read(self) -> None:
        try:
            self._heard += os.read(self._ours, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.unplug()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._silence_s, self._silent)

    def _silent(self) -> None:
        self._timer = None
        heard = bytes(self._heard)
        self._heard.clear()
        self._connection.data_received(heard)
        self._framer.drop()  # what silence has ended and is no frame

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            os.write(self._ours, data)
        except (BlockingIOError, OSError):
            return  # nobody reads and the line's buffer is full: bytes are lost, as on a wire

    def pause_reading(self) -> None:
        """A wire cannot be told to wait."""

    def resume_reading(self) -> None:
        """A wire cannot be told to go on."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """A wire cannot be hung up."""

    def abort(self) -> None:
        """A wire cannot be hung up."""

    def unplug(self) -> None:
        """The end of the line."""
        if self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)
        self._loop.call_soon(self._connection.connection_lost, None)
