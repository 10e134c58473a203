"""One subscription kept true: desired items, verification after reconnects, liveness. Never looks into values.

Theory of operation. asyncua reconnects transport and session; the subscription and its items are ours, made with the
plain services, because asyncua's `Subscription` drops items that fail on re-creation and throws the server's queue away
when it recreates. After a reconnect we look whether session, subscription and items are still there:

    same session                       go on; the server's queue and Republish fill the hole
    new session, transfer accepted     go on as above
    subscription gone                  lost: a fresh connection is needed (the supervisor's stop and start)
    single items gone                  made again, for ever, at a slow pace, like items that could not be made at first

Lost is also: transport away longer than the server can queue, or connected without a word for several keep-alives.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from asyncua import ua
from asyncua.client.ua_client import UaClientState

from configs.schema import OpcUaOptions
from controller.drivers.opcua_addresses import Addresses
from controller.drivers.opcua_desired import Item
from controller.drivers.opcua_intake import Intake, Mailbox, Traffic
from controller.drivers.opcua_locate import find
from controller.drivers.opcua_requests import Requests
from controller.drivers.opcua_status import status_name
from controller.errors import DeviceLostError, DeviceRefusedError, PeerError
from controller.records import CONNECTION

KEEP_ALIVE_S = 1.0  # wall seconds; closes the newest row when all stands still, and proves the server alive
_SILENT_KEEP_ALIVES = 3
_LIFETIME_SPARE_S = 30.0
_MAX_NOTIFICATIONS_PER_PUBLISH = 10_000


class Subscription:
    """The desired items on one connection."""

    def __init__(
        self,
        requests: Requests,
        options: OpcUaOptions,
        items: Sequence[Item],
        traffic: Traffic,
        item_retry_s: float,
        addresses: Addresses,
    ) -> None:
        self._addresses = addresses
        self._requests, self._options, self._items = requests, options, items
        self._traffic, self._item_retry_s = traffic, item_retry_s
        self._id = 0
        self._server_ids: dict[int, int] = {}  # client handle -> monitored item id
        self._dead_ids: list[int] = []  # items of nodes that went away; a second one must not share their handle
        self.failed: dict[int, int] = {}  # client handle -> status that it could not be made with
        self.box = Mailbox()
        self.intake = Intake(self.box, traffic, self._republish, self._lose)
        self._silence_s = math.inf
        self._away_since: float | None = None
        self._token: Any = None
        self._tending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the subscription and its items, and start to look after them."""
        interval_s = self._options.publishing_interval_s
        keep_alive = max(1, round(KEEP_ALIVE_S / interval_s))
        lifetime_s = self._options.queue_outage_s + _LIFETIME_SPARE_S
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=interval_s * 1000.0,
            RequestedLifetimeCount=max(3 * keep_alive, math.ceil(lifetime_s / interval_s)),
            RequestedMaxKeepAliveCount=keep_alive,
            MaxNotificationsPerPublish=_MAX_NOTIFICATIONS_PER_PUBLISH,
        )
        made = await self._requests.ask(
            "creating the subscription", self._requests.session.create_subscription(wanted, self.intake.on_publish)
        )
        self._id = made.SubscriptionId
        alive_s = made.RevisedPublishingInterval * made.RevisedMaxKeepAliveCount / 1000.0
        self._silence_s = _SILENT_KEEP_ALIVES * alive_s + self._options.timeout_s
        self._token = self._requests.session.authentication_token
        await self._make(range(len(self._items)))
        self._tending = asyncio.create_task(self._tend(), name=f"opcua {self._requests.where}")

    async def close(self) -> None:
        """Stop looking after it. The session's close deletes it on the server."""
        self.intake.close()
        if self._tending is not None:
            self._tending.cancel()
            with suppress(asyncio.CancelledError):
                await self._tending

    def redo(self, handle: int, code: int) -> None:
        """The server says of a living item that its node is gone: make it again when the node is back."""
        if handle in self._server_ids:
            self._dead_ids.append(self._server_ids.pop(handle))
            self.failed[handle] = code
            self.box.changed.append((handle, code))
            self.box.news.set()

    async def _republish(self, sequence: int) -> Any:
        return await self._requests.ask(
            f"asking again for notification message {sequence}", self._requests.session.republish(self._id, sequence)
        )

    # --- desired items -------------------------------------------------------------------------------------------

    async def _make(self, handles: Sequence[int]) -> None:
        """Create monitored items, chunked. What the server refuses goes to `failed` and is tried again for ever."""

        async def create(part: Sequence[int]) -> list[Any]:
            wanted = ua.CreateMonitoredItemsParameters(
                SubscriptionId=self._id,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ItemsToCreate=[self._request(handle) for handle in part],
            )
            made: list[Any] = await self._requests.session.create_monitored_items(wanted)
            return made

        await self._delete_dead()
        answers = await self._requests.in_chunks(
            "creating monitored items", list(handles), self._requests.limits.monitor, create
        )
        for handle, answer in zip(handles, answers, strict=True):
            code = int(answer.StatusCode.value)
            if code >> 31:
                if self.failed.get(handle) != code:
                    self.box.changed.append((handle, code))
                self.failed[handle] = code
                continue
            self.failed.pop(handle, None)
            self._server_ids[handle] = answer.MonitoredItemId
            self.box.changed.append((handle, 0))
            self._check_queue(handle, int(answer.RevisedQueueSize))
        self.box.news.set()

    async def _look_around(self) -> None:
        """Nodes may have come back under other identifiers, in a namespace with another index."""
        told = self._addresses.begin(await self._requests.namespaces(), afresh=False)
        told += await find(self._requests, self._addresses, [self._items[handle].tag.name for handle in self.failed])
        if told:  # then others have moved too, which nobody subscribes to
            told += await find(self._requests, self._addresses, list(self._addresses.tags))
        for text in told:
            self.box.note("warning", text)

    async def _delete_dead(self) -> None:
        dead, self._dead_ids = self._dead_ids, []
        if dead:
            wanted = ua.DeleteMonitoredItemsParameters(SubscriptionId=self._id, MonitoredItemIds=dead)
            with suppress(DeviceRefusedError):  # gone already is as good
                await self._requests.ask("deleting items", self._requests.session.delete_monitored_items(wanted))

    def _request(self, handle: int) -> Any:
        item = self._items[handle]
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=self._addresses.node(item.tag), AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=handle,
                SamplingInterval=item.sampling_ms,
                QueueSize=item.queue_size,
                DiscardOldest=True,
            ),
        )

    def _check_queue(self, handle: int, revised: int) -> None:
        item = self._items[handle]
        if 0 < revised < item.queue_size:
            kept_s = revised * item.sampling_ms / 1000.0
            self.box.note(
                "warning",
                f"tag '{item.tag.name}': the server queues {revised} samples ({kept_s:g} s) instead of "
                f"{item.queue_size} ({self._options.queue_outage_s:g} s); a longer outage loses data",
            )

    # --- looking after it ----------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """At every state change of the connection, and at least twice per keep-alive."""
        loop = asyncio.get_running_loop()
        retry_at = loop.time() + self._item_retry_s
        try:
            async with self._requests.client.uaclient.subscribe_state() as states:
                while self.box.lost is None:
                    with suppress(TimeoutError):
                        await states.next_change(KEEP_ALIVE_S / 2)
                    if await self._stands(loop.time()) and self.failed and loop.time() >= retry_at:
                        with suppress(DeviceRefusedError):
                            await self._look_around()
                            await self._make(sorted(self.failed))
                        retry_at = loop.time() + self._item_retry_s
        except PeerError as problem:
            self.box.lose(problem)

    async def _stands(self, now: float) -> bool:
        """Whether the connection stands; verifies everything on the first look after an interruption."""
        if self._requests.client.state is not UaClientState.CONNECTED:
            if self._away_since is None:
                self._away_since = now
                self._traffic.interruptions += 1
                outage_s = self._options.queue_outage_s
                text = f"connection interrupted; the server queues {outage_s:g} s for us"
                self.box.note("warning", text, CONNECTION)
            self._give_up_after_outage(now)
            return False
        if self._away_since is not None:
            try:
                await self._verify()
            except DeviceLostError:
                self._give_up_after_outage(now)  # it broke again while we looked
                return False
            if self.box.lost is None:
                self.box.note("info", f"connection is back after {now - self._away_since:.1f} s")
            self._away_since = None
            self.intake.touch()
        elif not self.intake.blocked and now - self.intake.heard > self._silence_s:
            self._lose(f"connected, but no notification or keep-alive for {now - self.intake.heard:.1f} s")
        return self.box.lost is None

    def _give_up_after_outage(self, now: float) -> None:
        if self._away_since is not None and now - self._away_since > self._options.queue_outage_s:
            self._lose(f"no connection for {now - self._away_since:.0f} s, longer than the server can queue")

    async def _verify(self) -> None:
        """After a reconnect: are session, subscription and items still there? Idempotent calls that ask just that."""
        requests, session = self._requests, self._requests.session
        if session.authentication_token != self._token:
            moving = ua.TransferSubscriptionsParameters(SubscriptionIds=[self._id], SendInitialValues=False)
            moved = await requests.ask("transferring the subscription", session.transfer_subscriptions(moving))
            code = int(moved[0].StatusCode.value)
            if code >> 31:
                self._lose(f"the server has forgotten the subscription ({status_name(code)}), probably by a restart")
                return
            self._token = session.authentication_token
        session.ensure_publish_loop()
        publishing = ua.SetPublishingModeParameters(PublishingEnabled=True, SubscriptionIds=[self._id])
        answer = await requests.ask("verifying the subscription", session.set_publishing_mode(publishing))
        code = int(answer[0].value)
        if code >> 31:
            self._lose(f"the server has dropped the subscription ({status_name(code)})")
            return
        await self._verify_items()

    async def _verify_items(self) -> None:
        async def enable(part: Sequence[int]) -> list[Any]:
            wanted = ua.SetMonitoringModeParameters(
                SubscriptionId=self._id,
                MonitoringMode=ua.MonitoringMode.Reporting,
                MonitoredItemIds=[self._server_ids[handle] for handle in part],
            )
            answers: list[Any] = await self._requests.session.set_monitoring_mode(wanted)
            return answers

        handles = list(self._server_ids)
        answers = await self._requests.in_chunks(
            "verifying monitored items", handles, self._requests.limits.monitor, enable
        )
        gone = [(handle, int(a.value)) for handle, a in zip(handles, answers, strict=True) if int(a.value) >> 31]
        for handle, code in gone:
            self.redo(handle, code)
        if gone:
            await self._make([handle for handle, _ in gone])

    def _lose(self, what: str) -> None:
        self.box.lose(self._requests.lost(what, "a fresh connection is made"))
