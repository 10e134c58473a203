"""One Modbus connection: one request at a time, each with its own wall deadline. Knows no tags and no plan.

After silence or nonsense the connection is aborted, so that a late answer has no socket left to arrive on. pymodbus
carries the bytes and numbers the transactions; its own reconnection and retries are off.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from controller.drivers.modbus_ways import Way
from controller.drivers.modbus_wire import (
    BUSY,
    GATEWAY_CODES,
    RAW_REPLIES,
    check_replies,
    check_rtu,
    explain,
    whole_replies,
)
from controller.errors import DeviceLostError, DeviceRefusedError, PeerError, ProtocolError

BUSY_PAUSES_S = (0.02, 0.05, 0.1, 0.2)  # between tries after exception 6, as far as the request's deadline allows
# Ours is the only deadline. With one of its own pymodbus waits in asyncio.wait_for, which costs as much as a timer of
# ours again and, in Python 3.11, eats a cancellation that comes together with the answer.
_NO_TIMEOUT = cast("float", None)
_TRANSACTIONS = 65_000  # pymodbus goes on with 1 after it
_BUFFER_BYTES = 1024  # pymodbus drops more than 264 bytes unread: a late and a current answer in one segment


class Link:
    """Connection by `way`. `where` names device and endpoint in every error text."""

    def __init__(self, where: str, way: Way, timeout_s: float) -> None:
        self.where = where
        self.requests = 0  # answered ones, since the link was made
        self.busy_retries = 0
        self._way, self._timeout_s = way, timeout_s
        # Transactions are numbered on over all connections, from anywhere: pymodbus begins each with 1, and a gateway
        # that delivers the answer of a lost connection on the next would have it taken for the answer to that one's.
        self._transaction = random.randrange(_TRANSACTIONS)  # noqa: S311 - no secret
        self._lock = asyncio.Lock()  # per request, so that a write waits for one answer and not for a whole poll
        self._client: AsyncModbusTcpClient | None = None
        self._pending: ModbusPDU | None = None
        self._alarm: asyncio.Timeout | None = None
        self._fault: PeerError | None = None
        logger = logging.getLogger("pymodbus.logging")
        if logger.level == logging.NOTSET:
            # What it would say at every failed attempt reaches the supervisor as an error, which logs changes only.
            logger.setLevel(logging.CRITICAL)

    async def connect(self) -> None:
        """Connects within the timeout, afresh. Raises DeviceLostError with the system's reason."""
        await self.close()
        client = AsyncModbusTcpClient(
            self._way.endpoint.host,
            port=self._way.endpoint.port,
            framer=FramerType.RTU if self._way.rtu else FramerType.SOCKET,
            reconnect_delay=0,
            retries=0,
            timeout=_NO_TIMEOUT,
            trace_packet=self._on_packet,
            trace_connect=self._on_connect,
        )
        for reply in RAW_REPLIES:
            client.register(reply)
        client.ctx.max_buffer_size = _BUFFER_BYTES
        why: list[str] = []

        async def create_and_tell() -> Any:  # pymodbus keeps the reason of a failed connection to itself
            try:
                return await self._way.open(client.ctx.handle_new_connection)
            except OSError as error:
                file = f": {error.filename}" if error.filename else ""
                why.append((error.strerror or str(error)) + file)
                raise

        client.ctx.call_create = create_and_tell
        try:
            async with asyncio.timeout(self._timeout_s):
                if await client.connect():
                    self._client = client
                    client.ctx.next_tid = self._transaction
        except TimeoutError:
            why.append(f"no answer within {self._timeout_s:g} s")
        finally:
            if self._client is None:
                _abort(client)
        if self._client is None:
            raise DeviceLostError(
                f"no connection to {self.where}: {'; '.join(why) or 'the peer hung up'}",
                "is the device on, are address and port right, does a firewall or another master hold it?",
            )

    async def close(self) -> None:
        """Aborts the connection; a request on its way ends with DeviceLostError. Never raises."""
        if self._client is not None:
            self._fail(DeviceLostError(f"the connection to {self.where} was closed by us"))
            self._drop()
            await asyncio.sleep(0)  # the transport closes its socket in the loop's next turn

    async def settle(self) -> None:
        """Hears the line out for one timeout and believes nothing of it: answers that were given up may still come."""
        await asyncio.sleep(self._timeout_s)
        if self._client is not None:
            self._client.ctx.recv_buffer = b""

    async def exchange(self, request: ModbusPDU, what: str, one_of_many: bool = False) -> ModbusPDU:
        """The answer to `request`: the right reply or an exception reply; busy ones are asked again.

        `what` names the request in error texts. Raises DeviceLostError (silence, hang-up, gateway without device),
        ProtocolError (nonsense) or DeviceRefusedError (busy until the deadline). With `one_of_many` a gateway's word
        that the unit is gone is an exception reply like others: the connection serves other units too.
        """
        loop = asyncio.get_running_loop()
        deadline = 0.0
        for pause_s in (*BUSY_PAUSES_S, None):
            async with self._lock:
                deadline = deadline or loop.time() + self._timeout_s
                reply = await self._once(request, deadline, what)
            self.requests += 1
            if reply.exception_code != BUSY:
                break
            if pause_s is None or loop.time() + pause_s >= deadline:
                name, hint = explain(BUSY)
                raise DeviceRefusedError(f"{self.where} refused {what}: {name}, for the whole time", hint, BUSY)
            self.busy_retries += 1
            await asyncio.sleep(pause_s)
        if reply.exception_code in GATEWAY_CODES and not one_of_many:
            name, hint = explain(reply.exception_code)
            raise DeviceLostError(f"{self.where}, {what}: {name}", hint)
        return reply

    async def _once(self, request: ModbusPDU, deadline: float, what: str) -> ModbusPDU:
        """Sends and waits for the answer until `deadline` (loop time). Any failure but a refusal drops the link."""
        client = self._client
        if client is None:
            raise DeviceLostError(f"{self.where}: not connected when {what}", "start connects it")
        if not client.connected:
            self._drop()
            raise DeviceLostError(f"{self.where} closed the connection before {what}", "did it restart?")
        left = client.ctx.recv_buffer  # a part of an answer would be taken for the beginning of ours
        if left and (self._way.rtu or not whole_replies(left)):
            self._drop()
            raise ProtocolError(f"{self.where} sent a part of an answer that nobody waits for, before {what}")
        if self._way.silence_s:
            await asyncio.sleep(self._way.silence_s)
        self._pending, self._fault = request, None
        try:
            async with asyncio.timeout_at(deadline) as self._alarm:
                return cast("ModbusPDU", await cast("Any", client.execute(False, request)))
        except TimeoutError:
            self._drop()
            raise self._reason(what) from None
        except ModbusException as error:
            self._drop()
            raise DeviceLostError(f"{self.where}, {what}: the connection is gone ({error})") from None
        finally:
            self._pending = self._alarm = None

    def _reason(self, what: str) -> PeerError:
        """Why the request failed: what the hooks saw, else silence."""
        if self._fault is None:
            return DeviceLostError(
                f"{self.where} did not answer within {self._timeout_s:g} s, {what}",
                "is it on and is the unit number right? A slow device needs a longer modbus.timeout_s",
            )
        return type(self._fault)(f"{self._fault.what}, {what}", self._fault.hint)

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._transaction = client.ctx.next_tid
            _abort(client)

    def _fail(self, fault: PeerError) -> None:
        """Ends the pending request now: an answer that cannot come is not waited for."""
        if self._pending is not None and self._alarm is not None and not self._alarm.expired():
            self._fault = self._fault or fault
            self._alarm.reschedule(0.0)

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        """pymodbus's hook: all bytes since the last request, again with every segment. What it returns is decoded."""
        if sending:
            return data
        if self._pending is None:
            return b""
        whole = True
        if self._way.rtu:
            fault, whole = check_rtu(data, self._pending)
        else:
            fault = check_replies(data, self._pending)
        if fault:
            hint = "do baud rate and parity fit, is there one master only, does each unit number exist once?"
            if not self._way.rtu:
                hint = "is this port really Modbus TCP, and is one master enough?"
            self._fail(ProtocolError(f"{self.where} sent {fault}", hint))
            return b""
        return data if whole else b""

    def _on_connect(self, connected: bool) -> None:
        """pymodbus's hook; it does not end the pending request itself."""
        if not connected:
            self._fail(DeviceLostError(f"{self.where} closed the connection", "did it restart?"))


def _abort(client: AsyncModbusTcpClient) -> None:
    """Closes without waiting for unsent bytes: a half-open peer would never take them."""
    transport = cast("asyncio.Transport | None", client.ctx.transport)
    if transport is not None:
        transport.abort()
    client.close()
