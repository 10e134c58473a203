"""Writes to one OPC UA server and reads back: checks before anything is sent, order, whole arrays. No subscription."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from configs.schema import Access, Equipment, Group, Tag
from controller.drivers import opcua_codec as codec
from controller.drivers import opcua_status as status
from controller.drivers.opcua_addresses import Addresses
from controller.drivers.opcua_requests import Requests
from controller.errors import CommandError, ProtocolError
from controller.types import Float64Array, Write


class Commands:
    """Commands on one connection."""

    def __init__(self, device: str, equipment: Equipment, addresses: Addresses, requests: Requests) -> None:
        self._device, self._equipment = device, equipment
        self._addresses, self._requests = addresses, requests

    def _find(self, name: str) -> tuple[Group, Tag]:
        found = self._equipment.find(name)
        if found is None:
            raise CommandError(
                f"{self._device}: equipment '{self._equipment.name}' has no tag '{name}'", "correct the tag's name"
            )
        return found

    async def write(self, writes: Sequence[Write]) -> None:
        """Write tags in the given order. CommandError: unknown or read-only tag, or a value that its type cannot hold;
        then nothing was sent. DeviceRefusedError: the server refused; writes before the named one were accepted.

        Fewer values than points: the array is read, its first values replaced, and written whole, because few PLCs
        accept a write with an index range. A change by somebody else in between is overwritten.
        """
        requests = self._requests
        for write in writes:
            self._check_write(write)
        batches: list[list[Write]] = [[]]
        for write in writes:
            _, tag = self._find(write.tag)
            # The standard leaves the order within one request to the server, so a command word goes alone, and what
            # follows it (often the sequence number that triggers it) goes after it.
            alone = tag.access is Access.COMMAND
            if alone or any(write.tag == other.tag for other in batches[-1]):
                batches.append([])
            batches[-1].append(write)
            if alone:
                batches.append([])
        for batch in batches:
            if batch:
                await self._write_batch(requests, batch)

    def _check_write(self, write: Write) -> None:
        group, tag = self._find(write.tag)
        if tag.access is Access.READ:
            raise CommandError(
                f"{self._device}: tag '{tag.name}' ({tag.address}) is measured and cannot be written",
                "write a set-point, or correct the tag's access in the equipment file",
            )
        if not 1 <= len(write.values) <= group.points:
            raise CommandError(
                f"{self._device}: tag '{tag.name}' takes 1 to {group.points} values and got {len(write.values)}",
                "give one value per point, from the first",
            )
        codec.encode(tag, np.array(write.values), len(write.values))

    async def _write_batch(self, requests: Requests, batch: Sequence[Write]) -> None:
        values = []
        for write in batch:
            group, tag = self._find(write.tag)
            full = np.array(write.values, dtype=np.float64)
            if full.size < group.points:
                full = np.concatenate([full, (await self.read_back([write.tag]))[write.tag][full.size :]])
            values.append(codec.data_value(codec.encode(tag, full, group.points)))
        tags = [self._find(write.tag)[1] for write in batch]
        nodes = [self._addresses.node(tag) for tag in tags]
        await requests.write(nodes, values, [f"'{tag.name}' ({tag.address})" for tag in tags])

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """Read tags now. DeviceRefusedError with the server's status; ProtocolError for a value that is no number of
        the configured length.
        """
        requests = self._requests
        found = [self._find(name) for name in tags]
        nodes = [self._addresses.node(tag) for _, tag in found]
        names = ", ".join(f"'{name}'" for name in tags[:5])
        answers = await requests.read(nodes, f"reading {names}")
        result = {}
        for (group, tag), answer in zip(found, answers, strict=True):
            where = f"{requests.where}: reading '{tag.name}' ({tag.address})"
            code = 0 if answer.StatusCode is None else int(answer.StatusCode.value)
            if code >> 31:
                raise status.refused(where, code)
            raw = None if answer.Value is None else answer.Value.Value
            values = codec.decode(tag, group.points, raw)
            if values is None:
                raise ProtocolError(
                    f"{where}: got {raw!r:.80} where {group.points} number(s) are configured",
                    "correct type or points in the equipment file",
                )
            result[tag.name] = values
        return result
