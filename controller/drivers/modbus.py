"""Modbus driver: polls what the plan says when the schedule says, writes, reads back. Decides nothing on retries.

Plan, codec, row clock, write plan and wire checks are pure siblings; the link moves the bytes. Reads are by block, and
another task's write goes between two blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest, WriteMultipleCoilsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
)

from configs.schema import Device, Equipment, ModbusOptions, Protocol
from controller.clock import NS_PER_S, Clock
from controller.drivers.modbus_codec import Decoder, Registers, join_registers
from controller.drivers.modbus_frames import GroupFrames
from controller.drivers.modbus_link import Link
from controller.drivers.modbus_plan import Block, Column, Poll, ReadPlan, Schedule, plan_polls, plan_reads
from controller.drivers.modbus_ways import parse_way
from controller.drivers.modbus_wire import RawRegisters, explain, refusal_hint
from controller.drivers.modbus_writes import WriteBlock, plan_writes
from controller.errors import BadInputError, CommandError, DeviceRefusedError, PeerError, ProtocolError
from controller.types import Float64Array, Frame, Write

_READS = {
    "input": ReadInputRegistersRequest,
    "holding": ReadHoldingRegistersRequest,
    "discrete": ReadDiscreteInputsRequest,
    "coil": ReadCoilsRequest,
}
_REVISION = 2  # object of the device identification (Modbus Application Protocol V1.1b3, 6.21): MajorMinorRevision
_ONE_OBJECT = 4


@dataclass(frozen=True, slots=True)
class ModbusCounters:
    """Since the driver was made."""

    polls: int  # of all groups with one period
    skipped_polls: int  # whole periods that went by because the device or the caller was slow
    repeated_rows: int  # dropped: the device's stamp had not advanced
    requests: int  # answered
    busy_retries: int


_WORDS = ("input", "holding")


def _bits(payload: bytes, count: int) -> bytes:
    """Bits as registers of 0 or 1, so that they decode like everything else."""
    bits = np.unpackbits(np.frombuffer(payload, dtype=np.uint8), bitorder="little", count=count)
    return bits.astype(">u2").tobytes()


class _PollTask:
    """One Poll with its schedule and what makes its Frames."""

    def __init__(self, poll: Poll, device: Device, speed: float, floors_ns: Mapping[str, int]) -> None:
        labels = {"lot": device.lot} if device.lot else {}
        self.schedule, self.plan = Schedule(poll.period_s), poll.plan
        self.groups = [
            GroupFrames(device.id, labels, group, poll.plan, speed, floors_ns.get(group.name, 0), k)
            for k, group in enumerate(poll.groups)
        ]


class ModbusDriver:
    """One Modbus device; see controller.drivers.base.Driver. `write` and `read_back` may raise CommandError too."""

    def __init__(
        self,
        device: Device,
        equipment: Equipment,
        clock: Clock,
        on_poll: Callable[[float], None] = lambda _: None,
        folder: Path = Path(),
        floors_ns: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`on_poll` gets the wall seconds of every poll answered in full; `folder`: the line file's; `floors_ns`: by
        stream, the newest row of an earlier process."""
        self._way, self._unit = parse_way(device, folder)
        if equipment.protocol is not Protocol.MODBUS:
            raise BadInputError(
                f"device '{device.id}': equipment '{equipment.name}' speaks {equipment.protocol.value}, not modbus",
                "endpoint and equipment type must name the same protocol",
            )
        self._polls = [_PollTask(poll, device, clock.speed, floors_ns) for poll in plan_polls(equipment)]
        if not self._polls:
            raise BadInputError(
                f"device '{device.id}': no group of equipment type '{equipment.name}' has a period_s above 0",
                "nothing would ever be read",
            )
        self._options = equipment.modbus or ModbusOptions()
        self._device, self._equipment, self._clock = device, equipment, clock
        self._link = Link(f"{device.id} ({device.endpoint})", self._way, self._options.timeout_s)
        self._read_back_plans: dict[tuple[str, ...], tuple[ReadPlan, list[Decoder]]] = {}
        self._deferred: PeerError | None = None
        self._on_poll = on_poll
        self._polled = self._skipped = self._repeated = self._probes = 0

    @property
    def device(self) -> str:
        """The device's id in the line file."""
        return self._device.id

    @property
    def counters(self) -> ModbusCounters:
        """What happened since the driver was made, over all connections."""
        link = self._link
        return ModbusCounters(self._polled, self._skipped, self._repeated, link.requests, link.busy_retries)

    async def start(self) -> None:
        """Connects within modbus.timeout_s; everything is due at once. Raises DeviceLostError.

        On a serial line, and where the equipment type names a revision, also what a request raises; ProtocolError for
        another revision.
        """
        self._deferred = None
        await self._link.connect()
        if self._way.rtu:
            await self._get_in_step()
        if self._options.revision:
            await self._check_revision(self._options.revision)
        now_ns = self._clock.now_ns()
        for poll in self._polls:
            poll.schedule.start(now_ns)

    async def stop(self) -> None:
        """Closes the connection; a request on its way ends with DeviceLostError."""
        self._deferred = None
        await self._link.close()

    async def read(self) -> Sequence[Frame]:
        """Frames of everything that is due. An error beside Frames waits for the next read: no row is lost."""
        while True:
            frames: list[Frame] = []
            for poll in await self._due():
                began = time.perf_counter()
                try:
                    frames.extend(await self._poll(poll))
                    self._on_poll(time.perf_counter() - began)
                except DeviceRefusedError as error:  # the other groups are asked all the same
                    self._deferred = self._deferred or error
                except PeerError as error:
                    self._deferred = error
                    # Last from now on: after a reconnection the others are read before it can break off again.
                    self._polls.remove(poll)
                    self._polls.append(poll)
                    break
            if frames:
                return frames

    async def write(self, writes: Sequence[Write]) -> None:
        """Writes in order; all is checked before anything is sent. CommandError: nothing was sent."""
        try:
            blocks = plan_writes(self._equipment, writes)
        except CommandError as error:
            raise CommandError(f"{self._link.where}: {error.what}", error.hint) from None
        for k, block in enumerate(blocks):
            reply = await self._link.exchange(self._write_request(block), f"writing {block}")
            if code := reply.exception_code:
                name, hint = explain(code)
                raise DeviceRefusedError(
                    f"{self._link.where} refused to write {block} ({', '.join(block.tags)}): {name}; "
                    f"{k} of {len(blocks)} requests of this command were taken before",
                    hint,
                    code,
                )

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """Values now, NaN where the device holds no number. CommandError for a tag that the equipment lacks."""
        plan, decoders = self._plan_read_back(tuple(dict.fromkeys(tags)))
        registers = await self._read_blocks(plan)
        return {name: column for d in decoders for name, column in d.decode(registers).columns.items()}

    def _write_request(self, block: WriteBlock) -> ModbusPDU:
        unit = self._unit if block.unit is None else block.unit
        if block.table == "coil":
            return WriteMultipleCoilsRequest(block.start, [word != 0 for word in block.registers], unit)
        return WriteMultipleRegistersRequest(unit, 0, block.start, 0, None, block.registers)

    async def _get_in_step(self) -> None:
        """Serial answers carry no number, so one that is late looks like that to the next request of equal length.

        After a loss the line is heard out first. A device answers in order: once a read has been answered whose length
        no other answer has, nothing older is still to come. Anything else is a ProtocolError, and the next connection
        tries again, with another length.
        """
        if self._probes:
            await self._link.settle()
        self._probes += 1
        block = self._polls[0].plan.blocks[0]
        a_byte = 1 if block.table in _WORDS else 8  # of these or fewer values no two reads differ in length
        taken = {-(-b.count // a_byte) for poll in self._polls for b in poll.plan.blocks if b.table == block.table}
        free = [n for n in range(1, 127) if n not in taken][:4]  # short ones; a refusal is an answer too
        count = free[self._probes % len(free)] * a_byte
        unit = self._unit if block.unit is None else block.unit
        request = _READS[block.table](unit, 0, block.start, count)
        await self._link.exchange(request, "getting in step", block.unit is not None)

    async def _check_revision(self, wanted: str) -> None:
        """A device with other firmware may have moved its registers: none of its values is believed."""
        request = ReadDeviceInformationRequest(_ONE_OBJECT, _REVISION, self._unit)
        reply = await self._link.exchange(request, "asking for its revision")
        hint = f"the addresses of equipment type '{self._equipment.name}' are for revision {wanted}: check them against"
        if not isinstance(reply, ReadDeviceInformationResponse):
            raise ProtocolError(
                f"{self._link.where} does not tell its revision: exception {reply.exception_code}",
                "leave modbus.revision empty for a device that has none",
            )
        found = bytes(reply.information.get(_REVISION, b"")).decode("ascii", "replace")
        if found != wanted:
            raise ProtocolError(
                f"{self._link.where} has revision '{found}'", f"{hint} the new manual, then set modbus.revision"
            )

    async def _due(self) -> list[_PollTask]:
        """Waits until something is due. Raises what an earlier poll left behind."""
        while True:
            if self._deferred is not None:
                error, self._deferred = self._deferred, None
                raise error
            now_ns = self._clock.now_ns()
            waits = [poll.schedule.wait_ns(now_ns) for poll in self._polls]
            if (shortest := min(waits)) > 0:
                await self._clock.sleep(shortest / NS_PER_S)
                continue
            due = [poll for poll, wait in zip(self._polls, waits, strict=True) if wait == 0]
            self._skipped += sum(poll.schedule.take(now_ns) for poll in due)
            return due

    async def _poll(self, poll: _PollTask) -> list[Frame]:
        """Frames of one poll; none where every row repeats."""
        now_ns = self._clock.now_ns()  # before the first request: a row without device time is never older than it says
        registers = await self._read_blocks(poll.plan)
        heard_ns = self._clock.now_ns()
        self._polled += 1
        frames: list[Frame] = []
        for group in poll.groups:
            new, repeated = group.frames(registers, now_ns, heard_ns)
            frames.extend(new)
            self._repeated += repeated
        return frames

    async def _read_blocks(self, plan: ReadPlan) -> Registers:
        """All registers of a plan, one request per block."""
        payloads = []
        for block in plan.blocks:
            unit = self._unit if block.unit is None else block.unit
            request = _READS[block.table](unit, 0, block.start, block.count)
            reply = await self._link.exchange(request, f"reading {block}", block.unit is not None)
            if not isinstance(reply, RawRegisters):
                raise self._refused(plan, block, reply)
            payloads.append(reply.payload if block.table in _WORDS else _bits(reply.payload, block.count))
        return join_registers(payloads, plan.registers)

    def _refused(self, plan: ReadPlan, block: Block, reply: ModbusPDU) -> PeerError:
        """The error for a block that was not answered with registers."""
        tags = ", ".join(plan.tags_in(block))
        if not reply.exception_code:
            return ProtocolError(f"{self._link.where} answered the read of {block} ({tags}) with {reply}")
        name, _ = explain(reply.exception_code)
        return DeviceRefusedError(
            f"{self._link.where} refused to read {block} ({tags}): exception {reply.exception_code}, {name}",
            refusal_hint(reply.exception_code, block),
            reply.exception_code,
        )

    def _plan_read_back(self, tags: tuple[str, ...]) -> tuple[ReadPlan, list[Decoder]]:
        """Plan and decoders for some tags, kept: the same commands are read back for months."""
        if (known := self._read_back_plans.get(tags)) is not None:
            return known
        wanted = []
        for name in tags:
            found = self._equipment.find(name)
            if found is None:
                raise CommandError(
                    f"{self._link.where}: tag '{name}' does not exist in equipment type '{self._equipment.name}'",
                    "nothing was read",
                )
            wanted.append(found)
        plan = plan_reads(self._options, wanted)
        by_group: dict[str, list[Column]] = {}
        for column in plan.columns:
            by_group.setdefault(column.group.name, []).append(column)
        made = plan, [Decoder(columns) for columns in by_group.values()]
        self._read_back_plans[tags] = made
        return made
