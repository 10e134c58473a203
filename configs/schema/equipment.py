"""Equipment type: what one kind of machine offers over its protocol. Lines refer to it; 64 channels are one template.

A *group* is a table of tags that are read together and become one stream of Frames. With `points` = 64 each tag stands
for 64 values: Modbus finds point k at address + k * stride; OPC UA reads them from one array node.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Strict
from configs.schema.modbus import ByteOrder, ModbusOptions, Unit, WordOrder
from configs.schema.opcua import OpcUaOptions

_MEANING = re.compile(r"(\d+)\s+([^,;]+)")


class Protocol(Enum):
    """How the equipment speaks."""

    MODBUS = "modbus"
    OPCUA = "opcua"


class ValueType(Enum):
    """How a value lies in registers; for OPC UA, the type that is written."""

    BOOL = "bool"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"  # read into float64: exact up to 2^53
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def registers(self) -> int:
        """Modbus registers that one value takes."""
        return {"32": 2, "64": 4}.get(self.value[-2:], 1)


class Access(Enum):
    """READ is measured, WRITE a set-point that can be read back, COMMAND a word that the PLC takes and may clear."""

    READ = "read"
    WRITE = "write"
    COMMAND = "command"


class Tag(Strict):
    """One quantity. The name carries the unit; value = raw * scale + offset."""

    name: Name = Field(description="Column name, with unit: voltage_v, zone_temperature_c.")
    address: int | str = Field(
        description="Modbus: zero-based register of the first point. OPC UA: node identifier, e.g. 's=Web.Speed'; "
        "with 'nsu=URI;' before it where it is in another namespace."
    )
    path: str = Field(
        default="",
        description="OPC UA: browse names from the Objects folder to the node, joined by '/', by which it is found "
        "when its identifier has changed; empty: learnt at the first connection.",
    )
    type: ValueType = Field(default=ValueType.FLOAT32, description="Raw type.")
    scale: float = Field(default=1.0, description="Units per raw count.")
    offset: float = Field(default=0.0, description="Value at raw zero.")
    unit: str = Field(
        default="", description="UCUM unit for people: V, A, Cel, m/s, kg/m2. Empty for counts and states."
    )
    min: float | None = Field(default=None, description="Lowest believable (read) or permitted (write) value.")
    max: float | None = Field(default=None, description="Highest believable (read) or permitted (write) value.")
    access: Access = Field(default=Access.READ, description="read, write or command.")
    word_order: WordOrder | None = Field(default=None, description="Modbus only: where it is not the equipment's.")
    byte_order: ByteOrder | None = Field(default=None, description="Modbus only: where it is not the equipment's.")
    text: str = Field(default="", description="One line for people.")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}")
        if self.scale == 0:
            raise ValueError("scale is 0: every raw value would read the same")
        return self

    @property
    def meanings(self) -> dict[int, str]:
        """What the numbers of a state mean, from `text`: "0 idle, 1 running" gives {0: "idle", 1: "running"}."""
        return {int(number): words.strip() for number, words in _MEANING.findall(self.text)}


class DeviceClock(Strict):
    """Tags of a group that carry the device's own UTC time for each of its points."""

    seconds: Name = Field(description="Tag with whole seconds since 1970-01-01 UTC.")
    milliseconds: Name | None = Field(default=None, description="Tag with the milliseconds within that second.")


class Group(Strict):
    """Tags that are read together; one stream of Frames, one table in the historian."""

    name: Name = Field(description="Stream name: InfluxDB measurement and Parquet folder.")
    text: str = Field(default="", description="One line for people.")
    table: str = Field(
        default="input",
        pattern="^(input|holding|discrete|coil)$",
        description="Modbus only: which table the tags lie in; discrete and coil hold bits.",
    )
    unit: Unit | None = Field(
        default=None, description="Modbus only: unit behind the same endpoint, where it is not the endpoint's."
    )
    points: int = Field(default=1, ge=1, le=10_000, description="Values per tag.")
    point_name: Name | None = Field(default=None, description="What a point is: channel, lane, zone, step.")
    stride: int = Field(default=0, ge=0, le=65_535, description="Modbus only: registers from one point to the next.")
    period_s: NonNegative = Field(
        default=0.0,
        description="Plant seconds between reads (Modbus) or samples (OPC UA); 0: never read by itself.",
    )
    clock: DeviceClock | None = Field(
        default=None, description="Where the device's own time is; else our clock stamps."
    )
    tag: tuple[Tag, ...] = Field(min_length=1, description="The tags.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [t.name for t in self.tag]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"tag '{name}' is defined twice")
        if self.clock is not None:
            for wanted in (self.clock.seconds, self.clock.milliseconds):
                if wanted is not None and wanted not in names:
                    raise ValueError(f"clock names tag '{wanted}', which the group does not have")
        if (self.points > 1) != (self.point_name is not None):
            raise ValueError("points > 1 and point_name go together: say what a point is")
        return self


class MachineControl(Strict):
    """How this equipment is commanded: a command word taken when a sequence number changes, and a state to watch.

    Command codes are the same for all equipment: 1 start, 2 stop, 3 hold, 4 resume, 5 reset. Result 1 is accepted.
    """

    command: Name = Field(description="Tag of the command word.")
    sequence: Name = Field(description="Tag of the sequence number; a change makes the equipment take the command.")
    sequence_ack: Name = Field(description="Tag of the last sequence number taken.")
    result: Name = Field(description="Tag of that command's result; 1 is accepted.")
    state: Name = Field(description="Tag of the machine's state.")
    idle: tuple[int, ...] = Field(min_length=1, description="States in which a job can be loaded and started.")
    running: tuple[int, ...] = Field(min_length=1, description="States in which a job is under way.")
    held: tuple[int, ...] = Field(default=(), description="States in which a job waits for resume.")
    complete: tuple[int, ...] = Field(default=(), description="States after a job that ended well.")
    ended: tuple[int, ...] = Field(default=(), description="States after a job that was stopped, aborted or refused.")
    heartbeat: Name | None = Field(default=None, description="Tag that we change regularly.")
    heartbeat_timeout: Name | None = Field(default=None, description="Tag of the equipment's patience, plant seconds.")
    fault_bits: Name | None = Field(default=None, description="Tag of the fault word.")
    heartbeat_lost_bit: int = Field(
        default=0, ge=0, description="Bit value in it that says: held for want of our heartbeat."
    )


CONTROL_TAGS = frozenset(
    {"command", "sequence", "sequence_ack", "result", "state", "heartbeat", "heartbeat_timeout", "fault_bits"}
)
"""Keys of MachineControl that name a tag."""


class Equipment(Strict):
    """One equipment type, the contents of a file under configs/equipment."""

    name: Name = Field(description="Short name of the equipment type.")
    title: str = Field(description="What people call it.")
    protocol: Protocol
    modbus: ModbusOptions | None = Field(default=None, description="How it is read; absent: the defaults.")
    opcua: OpcUaOptions | None = Field(default=None, description="How it is read; required for opcua.")
    control: MachineControl | None = Field(default=None, description="How to command it; absent: it is only read.")
    group: tuple[Group, ...] = Field(min_length=1, description="Tables of tags.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong: list[str] = []
        if self.protocol is Protocol.OPCUA and self.opcua is None:
            wrong.append("protocol is opcua: the table [opcua] with a namespace is missing")
        seen: dict[str, str] = {}
        names = [group.name for group in self.group]
        wrong += [f"group '{name}' is defined twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        for group in self.group:
            for tag in group.tag:
                if tag.name in seen:
                    wrong.append(f"tag '{tag.name}' is in group '{seen[tag.name]}' and in group '{group.name}'")
                seen[tag.name] = group.name
                wrong += self._address_faults(group, tag)
        for where, name in self._server_tags():
            if name not in seen:
                wrong.append(f"opcua.server.{where} names tag '{name}', which no group has")
        for key, name in self.control or ():
            if key in CONTROL_TAGS and name is not None and name not in seen:
                wrong.append(f"control.{key} names tag '{name}', which no group has")
        if wrong:
            raise ValueError("\n".join(wrong))  # one mistake a line: the loader tells them all at once
        return self

    def _server_tags(self) -> list[tuple[str, str]]:
        if self.opcua is None:
            return []
        server = self.opcua.server
        return [("history", name) for name in server.history] + [("alarm", alarm.tag) for alarm in server.alarm]

    def _address_faults(self, group: Group, tag: Tag) -> list[str]:
        if self.protocol is Protocol.OPCUA:
            if isinstance(tag.address, str):
                return []
            return [f"tag '{tag.name}': an OPC UA address is a node identifier such as 's=Web.Speed'"]
        if not isinstance(tag.address, int):
            return [f"tag '{tag.name}': a Modbus address is a register number, not '{tag.address}'"]
        return self._register_faults(group, tag, tag.address)

    @staticmethod
    def _register_faults(group: Group, tag: Tag, address: int) -> list[str]:
        if group.table in {"discrete", "coil"} and tag.type is not ValueType.BOOL:
            return [f"tag '{tag.name}': table '{group.table}' holds bits, not {tag.type.value}"]
        if group.points > 1 and group.stride < tag.type.registers:
            return [f"group '{group.name}': stride {group.stride} is shorter than tag '{tag.name}'"]
        last = address + (group.points - 1) * group.stride + tag.type.registers - 1
        if address < 0 or last > 65_535:
            return [f"tag '{tag.name}': registers {address} to {last} leave the range 0 to 65535"]
        return []

    def find(self, tag_name: str) -> tuple[Group, Tag] | None:
        """The group and tag of that name, or None. Tag names are unique within an equipment type."""
        for group in self.group:
            for tag in group.tag:
                if tag.name == tag_name:
                    return group, tag
        return None
