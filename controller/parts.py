"""What a run is made of, each built from the line file: spool, sinks, drivers, gap rules. No order of life in here.

Only the libraries that a line needs are imported: a line without OPC UA starts without asyncua.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from configs.loader import LoadedLine
from configs.schema import Equipment, Protocol
from controller.clock import Clock
from controller.drivers.base import Driver
from controller.errors import BadInputError, StorageError
from controller.historian import Sink, Spool
from controller.historian.parquet import ParquetSink
from controller.pipeline.gaps import GapDetector, StreamRule
from controller.runfolder import RunFolder


def open_spool(loaded: LoadedLine, folder: RunFolder, sinks: Sequence[str]) -> Spool:
    """The run folder is ours from here on. A folder that a person must put right is bad input; a full disk is not."""
    try:
        spool = Spool.open(folder.spool, loaded.file.spool, sinks)
    except StorageError as error:
        cause = error.__cause__
        full = (
            getattr(cause, "errno", None) == errno.ENOSPC
            or getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        )
        raise error if full else BadInputError(error.what, error.hint) from cause
    return spool


def build_sinks(loaded: LoadedLine, folder: RunFolder) -> list[Sink]:
    """Where the spool drains to. Raises BadInputError for a missing token."""
    sinks: list[Sink] = []
    if loaded.file.sinks.parquet.enabled:
        sinks.append(ParquetSink(folder.parquet, loaded.file.sinks.parquet))
    if loaded.file.sinks.influxdb is not None:
        from controller.historian.influx import InfluxSink

        sinks.append(InfluxSink(loaded.file.sinks.influxdb, loaded.file.line.name, loaded.path.parent))
    return sinks


def make_driver(
    loaded: LoadedLine,
    device_id: str,
    clock: Clock,
    on_poll: Callable[[float], None],
    newest_ns: Mapping[str, int] = MappingProxyType({}),
    spool: Spool | None = None,
) -> Driver:
    """The driver that speaks the device's protocol; only its library is imported. `newest_ns`: stamps by stream.

    `spool`: whose state keeps what a driver learns; None: it forgets that when the process ends.
    """
    device = next(d for d in loaded.file.device if d.id == device_id)
    equipment: Equipment = loaded.equipment[device_id]
    match equipment.protocol:
        case Protocol.MODBUS:
            from controller.drivers.modbus import ModbusDriver

            return ModbusDriver(device, equipment, clock, on_poll, loaded.path.parent, newest_ns)
        case Protocol.OPCUA:
            from controller.drivers.opcua import OpcUaDriver

            where, key = loaded.path.parent, f"driver/{device_id}"
            driver = partial(OpcUaDriver, device, equipment, clock, folder=where, floors_ns=newest_ns)
            if spool is None:
                return driver()
            return driver(learnt=spool.load_state(key), keep=lambda value: spool.save_state({key: value}))
    raise BadInputError(f"{device_id}: no driver for protocol {equipment.protocol}")


def gap_detector(loaded: LoadedLine, speed: float) -> GapDetector:
    """One rule for each group that comes by itself or is polled."""
    rules = {}
    for device_id, equipment in loaded.equipment.items():
        for group in equipment.group:
            if group.period_s > 0:
                polled = equipment.protocol is Protocol.MODBUS
                rules[device_id, group.name] = StreamRule(group.period_s, polled)
    return GapDetector(rules, speed)
