"""OPC UA driver: one device as Frames. Owns no protocol detail; see opcua_requests, _subscription, _intake, _frames.

Desired state, not a script: every start() makes a fresh connection and the same desired items; the subscription keeps
them true underneath. See docs/decisions/0005-opcua-desired-state.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from configs.schema import Device, Equipment
from controller.clock import Clock
from controller.drivers import opcua_codec as codec
from controller.drivers import opcua_desired as desired
from controller.drivers import opcua_status as status
from controller.drivers.opcua_addresses import Addresses
from controller.drivers.opcua_certificates import Credentials, load
from controller.drivers.opcua_commands import Commands
from controller.drivers.opcua_frames import GroupAssembler
from controller.drivers.opcua_intake import Traffic
from controller.drivers.opcua_locate import find, learn
from controller.drivers.opcua_messages import Messages
from controller.drivers.opcua_requests import Requests
from controller.drivers.opcua_subscription import Subscription
from controller.drivers.opcua_times import SourceTimes
from controller.errors import BadInputError, DeviceLostError, DeviceRefusedError, PeerError, StorageError
from controller.types import Float64Array, Frame, Write

log = logging.getLogger(__name__)

Keep = Callable[[bytes], Awaitable[None]]
"""Makes what the driver has learnt durable, for its successor."""

_START_TIMEOUTS = 10  # request deadlines that a start may take before the first chunk of items


class OpcUaDriver:
    """Driver (see base.py) for one OPC UA server. Nothing is opened before start()."""

    def __init__(
        self,
        device: Device,
        equipment: Equipment,
        clock: Clock,
        item_retry_s: float = 5.0,
        folder: Path = Path(),
        floors_ns: Mapping[str, int] = MappingProxyType({}),
        learnt: bytes | None = None,
        keep: Keep | None = None,
    ) -> None:
        """BadInputError where device or equipment are not for OPC UA, or a file of [device.security] cannot be used.
        `item_retry_s`: wall seconds between attempts to create items that the server refused; `folder`: line file's;
        `floors_ns`: by stream, the newest row of an earlier process; `learnt`: what that one gave to `keep`.
        """
        self._folder = folder
        _ = self._credentials(device)
        self._options = desired.check(device, equipment)
        self._device, self._equipment, self._clock = device, equipment, clock
        self._item_retry_s = item_retry_s
        self._groups = desired.subscribed(equipment)
        self._items = desired.desired_items(self._groups, self._options, clock.speed)
        self._group_of = np.array([item.group for item in self._items], dtype=np.int64)
        self._column_of = np.array([item.column for item in self._items], dtype=np.int64)
        self._scale = [np.array([t.scale for t in g.tag]) for g in self._groups]
        self._offset = [np.array([t.offset for t in g.tag]) for g in self._groups]
        labels = {"lot": device.lot} if device.lot else {}
        self._assemblers = [GroupAssembler(device.id, group, labels) for group in self._groups]
        self._times = [SourceTimes(device.id, g, clock.speed, floors_ns.get(g.name, 0)) for g in self._groups]
        self._messages = Messages(device.id, device.endpoint)
        self._traffic = Traffic()
        self._unreadable: dict[int, int] = {}  # client handle -> status, for values that are no number of ours
        self._wrong = 0
        self._overflows = 0
        self._requests: Requests | None = None
        self._subscription: Subscription | None = None
        self._addresses = Addresses(equipment, self._options.namespace)
        self._learning: asyncio.Task[None] | None = None
        self._kept, self._keep = learnt, keep
        if learnt is not None and (left := self._addresses.recall(learnt)):
            log.warning("%s: not used of the browse paths learnt earlier: %s", device.id, left)

    def _credentials(self, device: Device) -> Credentials | None:
        return None if device.security is None else load(device.security, self._folder, device.id)

    @property
    def device(self) -> str:
        """The device's id in the line file."""
        return self._device.id

    @property
    def counters(self) -> Mapping[str, int]:
        """What happened since the driver was made; whatever could not become a value in its own row is counted here."""
        totals = asdict(self._traffic)
        totals |= {"unreadable_values": self._wrong, "server_queue_overflows": self._overflows}
        for name in ("late_rows", "late_folded", "coalesced", "clock_steps"):
            totals[name] = sum(getattr(a.counts, name) for a in self._assemblers)
        totals["clock_steps"] += sum(times.jumps for times in self._times)
        totals["items"] = len(self._items)
        totals["items_missing"] = len(self._subscription.failed) if self._subscription else len(self._items)
        return totals

    async def start(self) -> None:
        """Connect, find the namespace, read the server's limits, create subscription and items."""
        await self.stop()
        try:
            credentials = self._credentials(self._device)  # anew: a certificate or password may have been put right
        except BadInputError as bad:
            raise DeviceRefusedError(bad.what, bad.hint) from bad
        requests = Requests(self._device.id, self._device.endpoint, self._options, credentials)
        subscription = Subscription(
            requests, self._options, self._items, self._traffic, self._item_retry_s, self._addresses
        )
        self._requests, self._subscription = requests, subscription
        chunks = len(self._items) / self._options.max_items_per_call
        try:
            async with asyncio.timeout((_START_TIMEOUTS + chunks) * self._options.timeout_s):
                await requests.connect()
                moved = self._addresses.begin(await requests.namespaces())
                await requests.read_limits()
                moved += await find(requests, self._addresses, list(self._addresses.tags))
                for assembler in self._assemblers:
                    assembler.begin()
                if self._items:
                    await subscription.open()
            for text in moved:
                subscription.box.note("warning", text)
            self._learning = asyncio.create_task(self._learn(requests), name=f"opcua paths {self.device}")
        except TimeoutError as problem:
            await self.stop()
            raise requests.lost("start took too long", "the server answers slowly or in part") from problem
        except BaseException:
            await self.stop()
            raise

    async def _learn(self, requests: Requests) -> None:
        """Where the nodes hang, for the day when their identifiers change. Beside the first rows: delays none."""
        # The connection is the subscription's to judge, and the disk the pipeline's; the next start learns on.
        with suppress(PeerError, StorageError):
            await learn(requests, self._addresses)
            memory = self._addresses.memory()
            if self._keep is not None and memory is not None and memory != self._kept:
                await self._keep(memory)
                self._kept = memory

    async def stop(self) -> None:
        """Close what is open and leave no task behind. Rows that wait for completion leave with the next start."""
        subscription, requests, learning = self._subscription, self._requests, self._learning
        self._subscription = self._requests = self._learning = None
        if subscription is not None:
            with suppress(Exception):
                await subscription.close()
        if learning is not None:
            learning.cancel()
        if requests is not None:
            await requests.close()
        if learning is not None:
            await asyncio.wait([learning])

    async def read(self) -> Sequence[Frame]:
        """The next complete rows, in order, and a Frame of events when there are any."""
        while True:
            subscription = self._subscription
            if subscription is None:
                raise DeviceLostError(f"{self.device} at {self._device.endpoint}: not connected", "start it first")
            subscription.box.news.clear()
            frames = self._collect(subscription)
            if frames:
                return frames
            if subscription.box.lost is not None:
                raise subscription.box.lost
            await subscription.box.news.wait()

    def _collect(self, subscription: Subscription) -> list[Frame]:
        box = subscription.box
        changed, box.changed = box.changed, []
        for handle, code in changed:
            self._take_change(handle, code)
        for response in subscription.intake.drain():
            fed = self._feed(subscription, response.notifications, response.more) if response.notifications else set()
            if not response.more:
                for g, assembler in enumerate(self._assemblers):
                    if g not in fed:
                        assembler.heard_nothing()
        # What is told of a clock goes before the rows that it concerns.
        frames = [frame for times in self._times for frame in times.events(self._clock.now_ns())]
        frames += [frame for assembler in self._assemblers for frame in assembler.take()]
        notes, box.notes = box.notes, []
        for severity, source, text in notes:
            self._messages.add(severity, text, source)
        return frames + self._messages.take(self._clock.now_ns())

    def _take_change(self, handle: int, code: int) -> None:
        item = self._items[handle]
        if code:
            self._assemblers[item.group].renew(item.column, code)
        self._messages.item(item.tag, code)

    def _feed(self, subscription: Subscription, notifications: Sequence[Any], more: bool) -> set[int]:
        """Give one publish response to the groups that it concerns, and return their indices."""
        now_ns = self._clock.now_ns()
        got = codec.columns(notifications, now_ns)
        known = (got.handle >= 0) & (got.handle < len(self._items))
        group = np.where(known, self._group_of[np.where(known, got.handle, 0)], -1)
        fed = set()
        for g in range(len(self._groups)):
            here = np.flatnonzero(group == g)
            if here.size == 0:
                continue
            fed.add(g)
            handle, code = got.handle[here], got.code[here]
            column = self._column_of[handle]
            chosen = got.values if here.size == len(got.values) else [got.values[k] for k in here.tolist()]
            value, trouble = codec.numeric(chosen, self._groups[g].points)
            value = value * self._scale[g][column][:, None] + self._offset[g][column][:, None]
            self._notice(subscription, handle, code, trouble)
            code = np.where((trouble > 0) & (code >> 31 == 0), trouble, code)
            first = self._assemblers[g].first(column)
            time_ns, ours = self._times[g].judge(column, got.time_ns[here], got.ours[here], first, now_ns)
            self._assemblers[g].feed(column, time_ns, code, ours, value, more)
        return fed

    def _notice(self, subscription: Subscription, handle: Any, code: Any, trouble: Any) -> None:
        """Overflow marks, values that are no number of the configured length, nodes that went away."""
        if not code.any() and not trouble.any() and not self._unreadable:
            return
        self._overflows += int(np.count_nonzero((code & status.OVERFLOW_BITS) == status.OVERFLOW_BITS))
        self._wrong += int(np.count_nonzero(trouble))
        for one, why in zip(handle.tolist(), trouble.tolist(), strict=True):
            if self._unreadable.get(one, 0) != why:
                item = self._items[one]
                self._messages.value(item.tag, self._groups[item.group].points, why)
                self._unreadable[one] = why
        self._unreadable = {one: why for one, why in self._unreadable.items() if why}
        for one in handle[(code & 0xFFFF0000) == status.BAD_NODE_UNKNOWN].tolist():
            subscription.redo(one, status.BAD_NODE_UNKNOWN)

    # --- commands ------------------------------------------------------------------------------------------------

    def _commands(self) -> Commands:
        if self._requests is None:
            raise DeviceLostError(f"{self.device} at {self._device.endpoint}: not connected", "start it first")
        return Commands(self.device, self._equipment, self._addresses, self._requests)

    async def write(self, writes: Sequence[Write]) -> None:
        """As opcua_commands.Commands."""
        await self._commands().write(writes)

    async def read_back(self, tags: Sequence[str]) -> Mapping[str, Float64Array]:
        """As opcua_commands.Commands."""
        return await self._commands().read_back(tags)
