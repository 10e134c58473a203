"""What we want of an OPC UA server: which items, how often sampled, how long queued. Pure planning, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asyncua import ua

from configs.schema import Device, Equipment, Group, OpcUaOptions, Tag
from controller.drivers.opcua_addresses import Addresses
from controller.errors import BadInputError

_UINT32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Item:
    """One desired monitored item. Its position in the desired list is its client handle."""

    group: int  # index in the list of subscribed groups
    column: int  # index of the tag in its group
    tag: Tag
    sampling_ms: float  # wall milliseconds
    queue_size: int  # samples that the server shall keep for queue_outage_s


@dataclass(frozen=True, slots=True)
class Limits:
    """Most operations in one request, after the server's OperationLimits and our own option."""

    read: int
    write: int
    monitor: int


def check(device: Device, equipment: Equipment) -> OpcUaOptions:
    """The options of an OPC UA equipment type; BadInputError names what a person must correct."""
    if equipment.opcua is None:
        raise BadInputError(
            f"device '{device.id}': equipment '{equipment.name}' has no table [opcua]",
            "give it one with a namespace, or use an equipment type that speaks OPC UA",
        )
    if not device.endpoint.startswith("opc.tcp://"):
        raise BadInputError(
            f"device '{device.id}': endpoint {device.endpoint} is not an OPC UA endpoint",
            "write opc.tcp://host:port/path",
        )
    addresses = Addresses(equipment, equipment.opcua.namespace)
    for group in equipment.group:
        for tag in group.tag:
            try:
                _ = addresses.written(tag)
            except (ua.UaError, ValueError) as problem:
                raise BadInputError(
                    f"equipment '{equipment.name}', tag '{tag.name}': '{tag.address}' is not a node identifier",
                    "write s=Text, i=Number, g=Guid or b=Base64",
                ) from problem
    return equipment.opcua


def subscribed(equipment: Equipment) -> list[Group]:
    """Groups that are read by themselves."""
    return [group for group in equipment.group if group.period_s > 0]


def desired_items(groups: list[Group], options: OpcUaOptions, speed: float) -> list[Item]:
    """One item per tag. Periods are plant time; the server samples and queues in wall time, `speed` times faster.

    A queue size of 0 is never asked for: the standard reads it as 1 (OPC 10000-4, 7.21), asyncua's server as no limit.
    """
    items: list[Item] = []
    for g, group in enumerate(groups):
        sampling_s = group.period_s / speed
        queue_size = max(2, min(_UINT32_MAX, math.ceil(options.queue_outage_s / sampling_s)))
        items.extend(Item(g, column, tag, sampling_s * 1000.0, queue_size) for column, tag in enumerate(group.tag))
    return items


def limits(options: OpcUaOptions, read: int, write: int, monitor: int) -> Limits:
    """The smaller of the server's limit (0: none offered) and our option, for each kind of request."""
    ours = options.max_items_per_call
    return Limits(*(min(ours, server) if server > 0 else ours for server in (read, write, monitor)))
