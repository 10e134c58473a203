"""One process per spool: a lock that the kernel takes back when its holder dies, kill -9 included."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from controller.errors import StorageError


class FolderLock:
    """An flock on a file of its own beside the spool. On the database file itself, closing ours would drop SQLite's."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StorageError(
                f"another controller (process {holder}) has the spool in {path.parent} open",
                "stop it, or choose another folder with --out",
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # the number is for people; a full disk must not keep us from draining the spool

    def release(self) -> None:
        """Gives the folder free. The file stays: removing it would race with the next holder."""
        os.close(self._fd)
