"""What the OPC UA driver tells people: texts, and their Frame. Changes only, no repetition; no I/O."""

from __future__ import annotations

import numpy as np

from configs.schema import Tag
from controller.drivers.opcua_status import BAD_LENGTH, hint_for, status_name
from controller.types import Frame, FrameKind, TimeSource


class Messages:
    """Collects events until a Frame takes them. Stream `event`, kind RECORD, text: severity, source, message."""

    def __init__(self, device: str, endpoint: str) -> None:
        self._device, self._endpoint = device, endpoint
        self._lines: list[tuple[str, str, str]] = []
        self._missing: set[str] = set()
        self._last_ns = 0

    def add(self, severity: str, text: str, source: str = "opcua") -> None:
        """One event; device and endpoint are put in front."""
        self._lines.append((severity, source, f"{self._device} at {self._endpoint}: {text}"))

    def item(self, tag: Tag, code: int) -> None:
        """A monitored item was refused (code), or made (0): said only after it had been refused."""
        if code:
            self._missing.add(tag.name)
            hint = hint_for(code) or "look at the node on the server"
            self.add("warning", f"tag '{tag.name}' ({tag.address}) cannot be read: {status_name(code)} ({hint})")
        elif tag.name in self._missing:
            self._missing.discard(tag.name)
            self.add("info", f"tag '{tag.name}' ({tag.address}) is there now")

    def value(self, tag: Tag, points: int, code: int) -> None:
        """A value cannot be used (our own code), or can again (0)."""
        where = f"tag '{tag.name}' ({tag.address})"
        if not code:
            self.add("info", f"{where} sends {points} number(s) again")
        elif code == BAD_LENGTH:
            self.add("error", f"{where} does not send {points} value(s) (correct points in the equipment file)")
        else:
            self.add("error", f"{where} sends something that is no number (correct its address in the equipment file)")

    def take(self, now_ns: int) -> list[Frame]:
        """All events as one Frame with times of their own, from `now_ns` on; none: no Frame."""
        if not self._lines:
            return []
        lines, self._lines = self._lines, []
        n = len(lines)
        start = max(now_ns, self._last_ns + 1)
        self._last_ns = start + n - 1
        return [
            Frame(
                device=self._device,
                stream="event",
                kind=FrameKind.RECORD,
                time_ns=np.arange(start, start + n, dtype=np.int64),
                point=np.zeros(n, dtype=np.int32),
                point_name="",
                columns={},
                quality=np.zeros(n, dtype=np.uint8),
                code=np.zeros(n, dtype=np.uint32),
                time_source=TimeSource.CONTROLLER,
                text={
                    "severity": [severity for severity, _, _ in lines],
                    "source": [source for _, source, _ in lines],
                    "message": [text for _, _, text in lines],
                },
            )
        ]
