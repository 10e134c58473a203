"""The coater's PLC programme: commands with acknowledgement, ready check, heartbeat watchdog, targets for web and pump.

Scanned once per inner step. Physics is elsewhere; what leads where is the table in coater_sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.machines.coater_parameters import STEP_S, ZONES
from simulators.machines.coater_sequence import Command, Event, Result, State, Trigger, next_state

# Below this the bead breaks: the pump stays off.
MIN_COATING_SPEED_M_S = 0.01
_AT_SPEED = 0.98
# A margin past the gauge, so that it has certainly seen the last coated piece.
_RUN_OUT_M = 0.5


@dataclass(slots=True)
class Setpoints:
    """What the panel holds. A cold machine has none: it does not start."""

    speed_m_s: float = 0.0
    pump_ml_s: float = 0.0
    length_m: float = 0.0
    zone_c: list[float] = field(default_factory=lambda: [20.0] * ZONES)
    zones_written: bool = False

    @property
    def complete(self) -> bool:
        """True when a job can run on them."""
        return (
            self.speed_m_s >= MIN_COATING_SPEED_M_S
            and self.pump_ml_s > 0.0
            and self.length_m > 0.0
            and self.zones_written
        )


class CoaterControl:
    """State, command interface, watchdog and interlocks."""

    def __init__(self, gauge_distance_m: float) -> None:
        self._run_out_m = gauge_distance_m + _RUN_OUT_M
        self._end_position_m: float | None = None
        self._heartbeat_age_s = 0.0
        self.state = State.IDLE
        self.command_word = 0
        self.sequence = 0
        self.acknowledged = 0
        self.result = Result.NONE
        self.heartbeat = 0
        self.timeout_s = 0
        self.coated_m = 0.0
        self.speed_target_m_s = 0.0
        self.pump_target_ml_s = 0.0

    @property
    def pump_on(self) -> bool:
        """True while slurry is wanted on the web."""
        return self.pump_target_ml_s > 0.0

    def take_sequence(self, sequence: int, setpoints: Setpoints) -> None:
        """A changed sequence number takes the command word; the same number again is no new command."""
        if sequence == self.sequence:
            return
        self.sequence = sequence
        self.result = self._command(setpoints)
        self.acknowledged = sequence
        self.command_word = 0

    def _command(self, setpoints: Setpoints) -> Result:
        try:
            command = Command(self.command_word)
        except ValueError:
            return Result.REFUSED_IN_STATE
        if next_state(self.state, command) is None:
            return Result.REFUSED_IN_STATE
        if command in {Command.START, Command.RESUME} and not setpoints.complete:
            return Result.REFUSED_SETPOINT
        if command is Command.START:
            self.coated_m = 0.0
            self._end_position_m = None
        self._go(command)
        return Result.ACCEPTED

    def take_heartbeat(self, value: int) -> None:
        """Only a new value is a sign of life."""
        if value != self.heartbeat:
            self._heartbeat_age_s = 0.0
        self.heartbeat = value

    def take_timeout(self, timeout_s: int) -> None:
        """Plant seconds; 0 turns the watchdog off. Setting it starts the count anew."""
        self.timeout_s = timeout_s
        self._heartbeat_age_s = 0.0

    def _go(self, trigger: Trigger) -> None:
        state = next_state(self.state, trigger)
        if state is not None:
            self.state = state

    def step(self, setpoints: Setpoints, speed_m_s: float, position_m: float, zones_ready: bool) -> None:
        """One scan: watchdog, automatic transitions, targets."""
        self._heartbeat_age_s += STEP_S
        if 0 < self.timeout_s < self._heartbeat_age_s:
            self._go(Event.HEARTBEAT_LOST)
        if self.state is State.STARTING and speed_m_s > 0.0 and speed_m_s >= _AT_SPEED * setpoints.speed_m_s:
            self._go(Event.AT_SPEED)
        elif self.state is State.EXECUTE:
            self._watch_length(setpoints, position_m)
        elif self.state is State.STOPPING and speed_m_s == 0.0:
            self._go(Event.STANDSTILL)
        self._aim(setpoints, speed_m_s, zones_ready)

    def _watch_length(self, setpoints: Setpoints, position_m: float) -> None:
        if self._end_position_m is None and self.coated_m >= setpoints.length_m:
            self._end_position_m = position_m
        if self._end_position_m is not None and position_m >= self._end_position_m + self._run_out_m:
            self._go(Event.RUN_OUT)

    def _aim(self, setpoints: Setpoints, speed_m_s: float, zones_ready: bool) -> None:
        executing = self.state is State.EXECUTE
        # Once the web moves, a zone that swings out of its band does not stop it again: that would waste web.
        starting = self.state is State.STARTING and (zones_ready or self.speed_target_m_s > 0.0)
        self.speed_target_m_s = setpoints.speed_m_s if executing or starting else 0.0
        fast_enough = speed_m_s >= max(MIN_COATING_SPEED_M_S, 0.5 * setpoints.speed_m_s)
        coating = executing and fast_enough and self._end_position_m is None
        self.pump_target_ml_s = setpoints.pump_ml_s if coating else 0.0
