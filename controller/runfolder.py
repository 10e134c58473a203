"""The folder of one run: where everything lies, and the two small files that say what ran and on which time base.

run.json         what ran, versions, counters; rewritten whole at each change     (controller)
simulation.json  time base of the simulated equipment, addresses, process ids     (celltwin simulate)
line.toml        copy of the line file                                            (controller)
spool.sqlite3    durable buffer, ledger, cursors, states                          (historian)
parquet/         one folder per stream                                            (historian)
truth/           what no instrument shows; for tests and the report only          (simulators)
log/             one text file per process
report.html
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from controller.clock import TimeBase
from controller.errors import BadInputError, StorageError


class RunFolder:
    """Paths and small files of one run folder. Construction touches nothing; `prepare` makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool = path / "spool.sqlite3"
        self.parquet = path / "parquet"
        self.truth = path / "truth"
        self.log = path / "log"
        self.report = path / "report.html"
        self.line = path / "line.toml"
        self._run = path / "run.json"
        self._simulation = path / "simulation.json"

    def prepare(self) -> None:
        """Make the folder and prove that it can be written. Raises BadInputError, or StorageError for a full disk."""
        hint = "choose another folder with --out, or give this user the right to write there"
        try:
            self.log.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"probe")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageError(f"{self.path}: no space left on its disk", "free some disk space") from error
            where = error.filename or self.path
            raise BadInputError(f"{where}: cannot write to the output folder: {error.strerror}", hint) from error

    def write_run(self, content: Mapping[str, Any]) -> None:
        """Replace run.json. Raises StorageError."""
        _write_json(self._run, content)

    def keep_line_file(self, path: Path) -> None:
        """Copy the line file, so that the folder says what ran. Raises StorageError."""
        if path.resolve() == self.line.resolve():
            return
        try:
            shutil.copyfile(path, self.line)
        except OSError as error:
            raise StorageError(f"{self.line}: cannot be written: {error.strerror}", "is the disk full?") from error

    def has_run(self) -> bool:
        """True once a controller has begun to record here."""
        return self._run.exists()

    def read_run(self) -> dict[str, Any]:
        """What ran here. Raises BadInputError where there is no run."""
        return _read_json(self._run, "celltwin run and celltwin demo write it; give a folder of theirs")

    def write_time_base(self, base: TimeBase, details: Mapping[str, Any]) -> None:
        """Say on which time base the simulated equipment runs. Raises StorageError."""
        content = {
            "plant_start_ns": base.plant_start_ns,
            "wall_start_ns": base.wall_start_ns,
            "speed": base.speed,
            **details,
        }
        _write_json(self._simulation, content)

    def read_scenario(self) -> str:
        """Title of the scenario that the simulated equipment plays; empty without one."""
        try:
            content = json.loads(self._simulation.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""  # the time base in the same file is read too, and complains
        return str(content.get("scenario", "")) if isinstance(content, dict) else ""

    def read_time_base(self) -> TimeBase | None:
        """The simulated equipment's time base; None where none was started with this folder. Raises BadInputError."""
        if not self._simulation.exists():
            return None
        content = _read_json(self._simulation, "delete it and start celltwin simulate again")
        try:
            return TimeBase(int(content["plant_start_ns"]), int(content["wall_start_ns"]), float(content["speed"]))
        except (KeyError, TypeError, ValueError) as error:
            hint = "delete it and start celltwin simulate again"
            raise BadInputError(f"{self._simulation}: not a time base: {error}", hint) from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all: a reader, or a crash, never sees half a file."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {error.strerror}", "is the disk full?") from error


def _read_json(path: Path, hint: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file", hint) from error
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}", hint) from error
    except ValueError as error:
        raise BadInputError(f"{path}: damaged: {error}", hint) from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: not an object", hint)
    return content
