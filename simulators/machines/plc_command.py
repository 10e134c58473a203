"""What every simulated PLC does with a command word and a heartbeat, whatever its states are. No physics, no states.

A command counts when its sequence number changes; the PLC answers with the number that it took and a result. Only a
new value of the heartbeat is a sign of life. A timeout of 0 turns the watchdog off.
"""

from __future__ import annotations


class CommandWord:
    """Command word, sequence number, acknowledgement and result, as the registers show them."""

    def __init__(self) -> None:
        self.word = 0
        self.sequence = 0
        self.acknowledged = 0
        self.result = 0

    def taken(self, sequence: int) -> int | None:
        """The word that a changed sequence number makes the PLC take; None when it is the number that it has taken."""
        self.sequence = sequence
        if sequence == self.acknowledged:
            return None
        self.acknowledged = sequence
        return self.word


class Heartbeat:
    """The watchdog on a supervisor that has to count."""

    def __init__(self) -> None:
        self.value = 0
        self.timeout_s = 0
        self.age_s = 0.0

    @property
    def lost(self) -> bool:
        """True with a watchdog that has heard nothing for longer than its timeout."""
        return 0 < self.timeout_s < self.age_s

    def take(self, value: int) -> None:
        """A written value; the same one again is no beat."""
        if value != self.value:
            self.value, self.age_s = value, 0.0

    def take_timeout(self, seconds: int) -> None:
        """A new patience; it begins now."""
        self.timeout_s, self.age_s = seconds, 0.0

    def step(self, duration_s: float) -> None:
        """Time passes."""
        self.age_s += duration_s
