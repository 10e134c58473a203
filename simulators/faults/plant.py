"""A machine on its timetable: the Machine that the scan loop moves when a scenario is played. No socket, no wall clock.

It stops at every plant time at which something begins or ends, so that the machine breaks at the same moment however
`advance` is cut. What breaks in the server is handed on to whoever owns the server, in order.

Power: a machine that has a fault `power_fail` of its own goes on without power in its own way. One that Retains boots
with what its PLC kept. Any other stands still, whole: its own time is short of plant time from then on by the time that
it stood, its outputs are off, its counters are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from configs.schema import Equipment
from simulators.faults import POWER_FAIL, Faultable, kinds_of
from simulators.faults.clocks import read_clocks, write_clocks
from simulators.faults.instruments import Instruments, Shown
from simulators.faults.timetable import Entry, Place, Switch, next_switches
from simulators.machine import Machine, Retains, Values

Note = Callable[[Switch, str], None]
"""Told of every begin and end, and why it had no effect where it had none."""


class Plant:
    """Machine, instruments and timetable of one device."""

    def __init__(
        self,
        machine: Machine,
        equipment: Equipment,
        entries: Sequence[Entry],
        instruments: Instruments,
        base_ns: int,
        at_ns: int,
        note: Note,
    ) -> None:
        """`base_ns`: plant time that the timetable counts from; `at_ns`: plant time that the machine stands at."""
        self.scan_s = machine.scan_s
        self.truth_period_s = machine.truth_period_s
        self._machine = machine
        self._equipment = equipment
        self._entries = entries
        self._instruments = instruments
        self._base_ns = base_ns
        self.note = note
        self._at_ns = at_ns
        self._lag_ns = 0
        self._powerless: set[int] = set()  # entries that have taken the power
        self._off_ns = 0
        self._kept: Mapping[str, Values] = {}
        self._own_power = kinds_of(machine).get(POWER_FAIL)
        self._for_server: list[Switch] = []
        self._next = next_switches(entries, base_ns, base_ns - 1)

    @property
    def powered(self) -> bool:
        """False while a power fail lasts."""
        return not self._powerless

    def advance(self, until_ns: int) -> None:
        """The machine to `until_ns`, with everything that begins or ends on the way."""
        while self._next and self._next[0].plant_ns <= until_ns:
            now_ns = self._next[0].plant_ns
            self._move(now_ns)
            for switch in self._next:
                self._switch(switch, max(now_ns, self._at_ns))
            self._next = next_switches(self._entries, self._base_ns, now_ns)
        self._move(until_ns)

    def _move(self, until_ns: int) -> None:
        if until_ns <= self._at_ns:
            return
        self._at_ns = until_ns
        if self.powered or self._own_power is not None:
            self._machine.advance(until_ns - self._lag_ns)

    def _switch(self, switch: Switch, now_ns: int) -> None:
        entry, refused = switch.entry, ""
        try:
            match entry.place:
                case Place.MACHINE:
                    cast(Faultable, self._machine).fault(entry.kind, switch.on, entry.settings)
                case Place.INSTRUMENT if switch.on:
                    self._instruments.begin(entry.number, entry.kind, entry.settings, self.outputs(), now_ns)
                case Place.INSTRUMENT:
                    self._instruments.end(entry.number)
                case Place.POWER:
                    self._power(switch, now_ns)
                case Place.SERVER:
                    self._for_server.append(switch)
                    return  # noted by who switches it
        except ValueError as error:
            refused = str(error)
        self.note(switch, refused)

    def _power(self, switch: Switch, now_ns: int) -> None:
        was = self.powered
        (self._powerless.add if switch.on else self._powerless.discard)(switch.entry.number)
        if was == self.powered:
            return
        self._for_server.append(switch)
        if self._own_power is not None:
            settings = self._own_power.complete(POWER_FAIL, {})
            cast(Faultable, self._machine).fault(POWER_FAIL, switch.on, settings)
        elif was:
            self._off_ns = now_ns
            if isinstance(self._machine, Retains):
                self._kept = {name: values.copy() for name, values in self._machine.retained().items()}
        elif isinstance(self._machine, Retains):
            self._machine.restore_retained(self._kept, now_ns)
        else:
            self._lag_ns += now_ns - self._off_ns

    def write(self, tag: str, values: Values) -> None:
        """As the machine; nothing takes a value without power."""
        if not self.powered:
            raise ValueError("no power")
        self._machine.write(tag, values)

    def outputs(self) -> Mapping[str, Values]:
        """The machine's own, with its clock at plant time; instruments are not in between."""
        outputs = self._machine.outputs()
        if not self._lag_ns:
            return outputs
        values = dict(outputs)
        own = read_clocks(self._equipment, values)
        write_clocks(self._equipment, values, {name: time_ns + self._lag_ns for name, time_ns in own.items()})
        return values

    def shown(self) -> Shown:
        """What the instruments show of it now."""
        return self._instruments.show(self.outputs(), self._at_ns)

    def truth(self) -> Mapping[str, Values]:
        """As the machine."""
        return self._machine.truth()

    def server_switches(self) -> list[Switch]:
        """What has begun and ended in the server since the last call, in order; power's own are noted already."""
        found, self._for_server = self._for_server, []
        return found
