"""The coater's PLC programme: commands with acknowledgement, ready check, heartbeat watchdog, targets for web and pump.

Scanned once per inner step. Physics is elsewhere; what leads where is the table in coater_sequence. Set-points,
sequence numbers and counters are retained when the power fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.machines.coater_parameters import STEP_S, CoaterParameters
from simulators.machines.coater_sequence import HEATED, Alarm, Command, Event, Result, State, Trigger, next_state
from simulators.machines.plc_command import CommandWord, Heartbeat

# Below this the bead breaks: the pump stays off.
MIN_COATING_SPEED_M_S = 0.01
_AT_SPEED = 0.98
# A margin past the gauge, so that it has certainly seen the last coated piece.
_RUN_OUT_M = 0.5
_TENSION_BAND = 0.3
_ZONE_COLD_K = 10.0
# Plain numbers: flags are slow to combine, and this is looked at every scan.
_GAS_WARNING, _ZONE_COLD, _FAN = int(Alarm.GAS_WARNING), int(Alarm.ZONE_COLD), int(Alarm.FAN)
_TENSION, _LOCAL = int(Alarm.TENSION), int(Alarm.LOCAL)
_PASSING = _GAS_WARNING | _ZONE_COLD | _FAN | _TENSION | _LOCAL


@dataclass(slots=True)
class Setpoints:
    """What the panel holds. A cold machine has none: it does not start."""

    zone_c: list[float]
    flow: list[float]
    exhaust_m3_s: list[float]
    speed_m_s: float = 0.0
    pump_ml_s: float = 0.0
    length_m: float = 0.0
    zones_written: bool = False

    @classmethod
    def cold(cls, p: CoaterParameters) -> Setpoints:
        """As the machine is delivered: fans at their design flow, nothing else set."""
        return cls([20.0] * p.zones, [1.0] * p.zones, [p.exhaust_m3_s] * p.zones)

    @property
    def complete(self) -> bool:
        """True when a job can run on them."""
        return (
            self.speed_m_s >= MIN_COATING_SPEED_M_S
            and self.pump_ml_s > 0.0
            and self.length_m > 0.0
            and self.zones_written
        )


@dataclass(slots=True)
class Sight:
    """What the PLC's inputs show in one scan."""

    speed_m_s: float = 0.0
    position_m: float = 0.0
    zones_ready: bool = False
    gas: float = 0.0  # highest share of the explosive limit
    tension: list[float] = field(default_factory=list)  # relative to what is set
    coldest_k: float = 0.0  # of the zones, under its set-point
    fans: bool = True


class CoaterControl:
    """State, command interface, watchdog and interlocks."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._run_out_m = p.gauge_distance_m + _RUN_OUT_M
        self._end_position_m: float | None = None
        self._gas_held = False
        self._slow = (1.0, -1.0)
        self._passing = 0
        self.state = State.IDLE
        self.port = CommandWord()
        self.beat = Heartbeat()
        self.coated_m = 0.0
        self.speed_target_m_s = 0.0
        self.pump_target_ml_s = 0.0
        self.alarms = Alarm(0)
        self.local = False
        self.powered = True
        self.false_gas_alarm = False
        self.no_room = False  # behind the machine, for what it coats
        self.trips = Alarm(0)
        """Causes of a trip that last."""

    @property
    def pump_on(self) -> bool:
        """True while slurry is wanted on the web."""
        return self.pump_target_ml_s > 0.0

    @property
    def interlocked(self) -> bool:
        """True while gas, or a false alarm of it, keeps the heaters off."""
        return self._gas_held

    @property
    def heating(self) -> bool:
        """True while the heaters follow their set-points."""
        return self.state in HEATED and not self._gas_held and self.powered

    def take_sequence(self, sequence: int, setpoints: Setpoints) -> bool:
        """A changed sequence number takes the command word; the same number again is no new command.

        True when that was an accepted reset: someone has put the machine right.
        """
        word = self.port.taken(sequence)
        if word is None:
            return False
        result = self._command(word, setpoints)
        self.port.result, self.port.word = result, 0
        return word == Command.RESET.value and result is Result.ACCEPTED

    def _command(self, word: int, setpoints: Setpoints) -> Result:
        try:
            command = Command(word)
        except ValueError:
            return Result.REFUSED_IN_STATE
        if self.local:
            return Result.REFUSED_LOCAL
        if next_state(self.state, command) is None or (command is Command.RESET and self.trips):
            return Result.REFUSED_IN_STATE
        if command in {Command.START, Command.RESUME}:
            if not setpoints.complete:
                return Result.REFUSED_SETPOINT
            if self._gas_held:
                return Result.REFUSED_INTERLOCK
        if command is Command.START:
            self.coated_m = 0.0
            self._end_position_m = None
        if command in {Command.RESET, Command.RESUME}:
            self.alarms = Alarm(self._passing)
        self._go(command)
        return Result.ACCEPTED

    def trip(self, cause: Alarm, lasts: bool = True) -> None:
        """Stop at once. A reset is refused until the cause is over; `lasts` False: it is over already."""
        if lasts:
            self.trips |= cause
        self.powered = Alarm.POWER_WAS_OFF not in self.trips
        self.alarms |= cause
        self._go(Event.TRIP)

    def over(self, cause: Alarm) -> None:
        """The cause of a trip is gone; the alarm stays until the reset."""
        self.trips &= ~cause
        self.powered = Alarm.POWER_WAS_OFF not in self.trips
        if cause is Alarm.POWER_WAS_OFF:
            self.beat.age_s = 0.0

    def slow_down(self, share: float, until_m: float) -> None:
        """Run at `share` of the set speed, and pump, until the web is at `until_m`."""
        self._slow = (share, until_m)

    def _go(self, trigger: Trigger) -> None:
        state = next_state(self.state, trigger)
        if state is not None:
            self.state = state

    def step(self, setpoints: Setpoints, sight: Sight) -> None:
        """One scan: watchdog, interlock, automatic transitions, targets."""
        self.beat.step(STEP_S)
        if self.beat.lost and next_state(self.state, Event.HEARTBEAT_LOST) is not None:
            self.alarms |= Alarm.HEARTBEAT_LOST
            self._go(Event.HEARTBEAT_LOST)
        self._watch_gas(sight.gas)
        if self.no_room and self._end_position_m is None:
            self._go(Event.BLOCKED)
        elif not self.no_room:
            self._go(Event.ROOM)
        if self.state is State.STARTING and 0.0 < sight.speed_m_s >= _AT_SPEED * self._speed(setpoints, sight):
            self._go(Event.AT_SPEED)
        elif self.state is State.EXECUTE:
            self._watch_length(setpoints, sight.position_m)
        elif self.state is State.STOPPING and sight.speed_m_s == 0.0:
            self._go(Event.STANDSTILL)
        self._aim(setpoints, sight)
        self._watch(sight)

    def _watch_gas(self, gas: float) -> None:
        if self.false_gas_alarm or gas >= self._p.lel_trip_fraction:
            self._gas_held = True
            self.alarms |= Alarm.GAS_TRIP
        elif self._gas_held and gas < self._p.lel_reset_fraction:
            self._gas_held = False
        if self._gas_held:
            self._go(Event.INTERLOCK)

    def _watch(self, sight: Sight) -> None:
        """Alarms that come and go by themselves."""
        low, high = 1.0 - _TENSION_BAND, 1.0 + _TENSION_BAND
        now = (
            (sight.gas >= self._p.lel_reset_fraction) * _GAS_WARNING
            + (self.state is State.EXECUTE and sight.coldest_k > _ZONE_COLD_K) * _ZONE_COLD
            + (not sight.fans) * _FAN
            + any(t < low or t > high for t in sight.tension) * _TENSION
            + self.local * _LOCAL
        )
        if now != self._passing:
            self.alarms = Alarm(int(self.alarms) & ~_PASSING | now)
            self._passing = now

    def _watch_length(self, setpoints: Setpoints, position_m: float) -> None:
        if self._end_position_m is None and self.coated_m >= setpoints.length_m:
            self._end_position_m = position_m
        if self._end_position_m is not None and position_m >= self._end_position_m + self._run_out_m:
            self._go(Event.RUN_OUT)

    def _speed(self, setpoints: Setpoints, sight: Sight) -> float:
        share, until_m = self._slow
        return setpoints.speed_m_s * (share if sight.position_m < until_m else 1.0)

    def _aim(self, setpoints: Setpoints, sight: Sight) -> None:
        executing = self.state is State.EXECUTE
        # Once the web moves, a zone that swings out of its band does not stop it again: that would waste web.
        starting = self.state is State.STARTING and (sight.zones_ready or self.speed_target_m_s > 0.0)
        wanted = self._speed(setpoints, sight)
        self.speed_target_m_s = wanted if executing or starting else 0.0
        fast_enough = sight.speed_m_s >= max(MIN_COATING_SPEED_M_S, 0.5 * wanted)
        coating = executing and fast_enough and self._end_position_m is None
        share = wanted / setpoints.speed_m_s if setpoints.speed_m_s > 0.0 else 1.0
        self.pump_target_ml_s = setpoints.pump_ml_s * share if coating else 0.0
