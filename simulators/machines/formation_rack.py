"""Formation rack: registers, commands and watchdog over the cells of rack_cells. No protocol and no wall clock.

Seconds of plant time are the inner grid, aligned to the epoch: how advance() is chopped changes nothing. A command acts
at the next advance after command_seq has changed. The watchdog is armed by start and resume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from configs.schema import Access, Equipment
from kernels.spm import S as Cell
from simulators.faults import FaultKind, Settings
from simulators.machine import Values
from simulators.machines.packml import packml
from simulators.machines.plc_command import CommandWord
from simulators.machines.plc_writes import checked
from simulators.machines.rack_cells import Cells
from simulators.machines.rack_faults import DEFECTS, FAULTS
from simulators.machines.rack_kernel import Grid, Phase, S, ambient_kernel
from simulators.machines.rack_noise import NoiseSource
from simulators.machines.rack_options import rack_options
from simulators.machines.rack_programme import faults_of, programme_from
from simulators.machines.rack_states import CommandResult, RackCommand, RackEvent, RackFault, RackState, after
from simulators.timebase import NS_PER_S

LOOK_TICKS = 60  # the room is looked at on whole minutes; also bounds the noise array of one kernel call
AMBIENT_LIMIT_C = 50.0
AGE_SATURATES_S = 65_535
_NO_PROGRAMME = np.zeros((1, 6))
# Retained memory of the PLC: where each channel stands and what it has counted. Cells need no memory.
_COUNTERS = (
    S.PHASE, S.STEP, S.STEP_TIME_S, S.SHOWN_STEP, S.SHOWN_STEP_TIME_S, S.SHOWN_CYCLE,
    S.CHARGE_AH, S.DISCHARGE_AH, S.CHARGE_WH, S.DISCHARGE_WH, S.FAULT_BITS,
)  # fmt: skip
_GRID = {
    "supply_efficiency": Grid.EFFICIENCY,
    "regeneration_efficiency": Grid.REGENERATION,
    "standby_w": Grid.STANDBY_W,
    "fans_w": Grid.FANS_W,
}
_METER = [Grid.DRAWN_J, Grid.RETURNED_J]
_J_PER_KWH = 3.6e6
_FORGOTTEN = ("command", "command_seq", "heartbeat")


class FormationRack:
    """64 channels (as many as the equipment type says), each with a cell of its own.

    Parameters: `ambient_c` (mean temperature of the room), `truth_period_s`, `supply_efficiency` and others of
    SUPPLY, `spread_loading` and so on (SD of each field of Spread), `defects` (a text: `soft_short:17:20, dry_cell:3`).
    """

    defects: Mapping[str, FaultKind] = DEFECTS
    faults: Mapping[str, FaultKind] = FAULTS

    def __init__(
        self, equipment: Equipment, start_ns: int, seed: int, parameters: Mapping[str, int | float | str | bool]
    ) -> None:
        options, spread, defects = rack_options(parameters)
        found = equipment.find("voltage_v")
        if found is None:
            raise ValueError(f"equipment type '{equipment.name}' is not a formation rack: it has no tag voltage_v")
        self.scan_s = 1.0
        self.truth_period_s = options["truth_period_s"]
        self.channels = found[0].points
        self._ambient_c = options["ambient_c"]
        rng = np.random.default_rng(seed)
        self._cells = Cells(rng, self.channels, spread, defects, self._ambient_c)
        self._s = self._cells.s
        self._grid = self._cells.grid
        for name, place in _GRID.items():
            self._grid[place] = options[name]
        self._noise = NoiseSource(int(rng.integers(0, 2**63)), self.channels)
        self._tick = start_ns // NS_PER_S
        self._beat_tick = self._tick
        self._armed_tick = self._tick
        self._port = CommandWord()
        self._state = RackState.IDLE
        self._fault_bits = 0
        self._emergency = False
        self.completed = 0  # programmes that have run to their end
        self._programme, self._programme_id, self._steps = _NO_PROGRAMME, 0, 0
        self._equipment = equipment
        written = ((group, tag) for group in equipment.group for tag in group.tag if tag.access is not Access.READ)
        self._holding = {tag.name: np.zeros(group.points) for group, tag in written}
        self._run(0)  # compiles, or loads what was compiled before

    @property
    def state(self) -> RackState:
        """The rack's state."""
        return self._state

    def write(self, tag: str, values: Values) -> None:
        """Take one written tag, one value per point from the first; acts at the next advance.

        Raises ValueError for a tag that is unknown or not writable, too many values, one that is not finite or outside
        the tag's limits.
        """
        new = np.array(checked(self._equipment, tag, values))
        if tag == "heartbeat" and new[0] != self._holding[tag][0]:
            self._beat_tick = self._tick
        self._holding[tag][: len(new)] = new

    def advance(self, until_ns: int) -> None:
        """Move to the last whole second at or before `until_ns`."""
        self._take_command()
        until = until_ns // NS_PER_S
        while self._tick < until:
            ticks = min(until - self._tick, LOOK_TICKS - self._tick % LOOK_TICKS)
            if self._state is RackState.RUNNING and self._timeout_s:
                allowed = max(self._beat_tick, self._armed_tick) + self._timeout_s - self._tick
                if allowed <= 0:
                    self._happen(RackEvent.HEARTBEAT_LOST)
                    continue
                ticks = min(ticks, allowed)
            self._tick += self._run(ticks)
            self._look_around()

    def _run(self, ticks: int) -> int:
        noise = self._noise.draw(self._tick, ticks)
        running = self._state is RackState.RUNNING
        return self._cells.run(self._tick, ticks, running, self._programme, noise, self._ambient_c)

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        """Begin or end a fault at the present plant time. Raises ValueError for what this rack cannot take."""
        if name not in FAULTS:
            raise ValueError(f"nothing called '{name}' breaks in a formation rack; it has: {', '.join(FAULTS)}")
        if name == "estop":
            FAULTS[name].complete(name, settings)
            self._emergency = on
            if on:
                self._happen(RackEvent.EMERGENCY_STOP)
            return
        self._cells.fault(name, on, settings)

    def take_tray(self, cells: Iterable[Mapping[str, Any]]) -> None:
        """Cells of the line instead of the seed's; channels that no row names stay empty."""
        self._cells.take_tray(cells)

    @property
    def _timeout_s(self) -> int:
        return int(self._holding["heartbeat_timeout_s"][0])

    @property
    def _beat_is_fresh(self) -> bool:
        return not self._timeout_s or self._tick - self._beat_tick < self._timeout_s

    def _look_around(self) -> None:
        if self._tick % LOOK_TICKS == 0 and ambient_kernel(self._tick, self._ambient_c) > AMBIENT_LIMIT_C:
            self._happen(RackEvent.TOO_HOT)
        phase = self._s[S.PHASE]
        if self._state is RackState.RUNNING and not (phase == Phase.IN_PROGRAMME).any():
            self._happen(RackEvent.ALL_DONE if (phase == Phase.DONE).any() else RackEvent.ALL_FAULTED)

    def _happen(self, event: RackEvent) -> None:
        to = after(self._state, event)
        if to is None:
            return
        self._state = to
        self.completed += event is RackEvent.ALL_DONE
        if event is RackEvent.HEARTBEAT_LOST:
            self._fault_bits |= RackFault.HEARTBEAT_LOST
        if event is RackEvent.TOO_HOT:
            self._fault_bits |= RackFault.OVER_TEMPERATURE
        if event is RackEvent.EMERGENCY_STOP:
            self._fault_bits |= RackFault.EMERGENCY_STOP

    def _take_command(self) -> None:
        self._port.word = int(self._holding["command"][0])
        word = self._port.taken(int(self._holding["command_seq"][0]))
        if word is not None:
            known = word in set(RackCommand)
            self._port.result = self._obey(RackCommand(word)) if known else CommandResult.REFUSED_IN_THIS_STATE

    def _obey(self, command: RackCommand) -> CommandResult:
        to = after(self._state, command)
        if to is None or self._emergency or (command is RackCommand.RESUME and not self._beat_is_fresh):
            return CommandResult.REFUSED_IN_THIS_STATE
        if command is RackCommand.START and not self._take_programme():
            self._state = RackState.REFUSED
            self._fault_bits |= RackFault.PROGRAMME_INVALID
            return CommandResult.REFUSED_PROGRAMME
        if command in {RackCommand.START, RackCommand.RESUME}:
            self._fault_bits = 0
            self._armed_tick = self._tick
        if command is RackCommand.RESET:
            self._fault_bits = 0
            self._s[S.FAULT_BITS] = self._s[S.PHASE] = self._s[S.STEP] = self._s[S.SHOWN_STEP] = 0.0
        self._state = to
        return CommandResult.ACCEPTED

    def _take_programme(self) -> bool:
        """Take the step registers over and put every channel at the first step. False when the rack refuses them."""
        programme = programme_from(self._holding)
        programme_id = int(self._holding["programme_id"][0])
        if faults_of(programme, programme_id):
            return False
        self._programme, self._programme_id, self._steps = programme, programme_id, len(programme)
        for row in (S.STEP, S.STEP_TIME_S, S.CHARGE_AH, S.DISCHARGE_AH, S.CHARGE_WH, S.DISCHARGE_WH, S.FAULT_BITS):
            self._s[row] = 0.0
        self._s[[S.TRUE_CHARGE_AH, S.TRUE_DISCHARGE_AH]] = 0.0
        self._s[S.PHASE] = Phase.IN_PROGRAMME
        return True

    def retained(self) -> Mapping[str, Values]:
        """Recipe, the programme that runs, the channels' counters; not the command, its number, or the heartbeat."""
        recipe = {name: values for name, values in self._holding.items() if name not in _FORGOTTEN}
        own = {"rack": np.array([self._state, self._programme_id, self._steps], dtype=np.float64)}
        return {
            **recipe,
            **own,
            "meter": self._grid[_METER],
            "programme": self._programme,
            "counters": self._s[list(_COUNTERS)],
        }

    def restore_retained(self, kept: Mapping[str, Values], plant_ns: int) -> None:
        """Boot after a power fail: a rack that ran is held, as one that has lost its heartbeat; cells have rested."""
        for name, values in self._holding.items():
            values[:] = kept.get(name, 0.0)
        self._s[list(_COUNTERS)] = kept["counters"]
        state, self._programme_id, self._steps = (int(v) for v in kept["rack"])
        self._programme = kept["programme"]
        self._state = RackState.HELD if state == RackState.RUNNING else RackState(state)
        self._fault_bits = int(RackFault.HEARTBEAT_LOST) if self._state is RackState.HELD else 0
        self._port = CommandWord()
        self.advance(plant_ns)
        self._grid[_METER] = kept["meter"]
        self._beat_tick = self._armed_tick = self._tick

    def outputs(self) -> Mapping[str, Values]:
        """Every tag of the equipment type as the rack holds it after its last whole second."""
        s, one, all_channels = self._s, np.ones(1), np.ones(self.channels)
        in_programme = float(np.count_nonzero(s[S.PHASE] == Phase.IN_PROGRAMME))
        return {
            "rack_clock_s": one * self._tick,
            "rack_clock_ms": one * 0.0,
            "rack_state": one * self._state,
            "rack_fault_bits": one * self._fault_bits,
            "heartbeat_age_s": one * min(self._tick - self._beat_tick, AGE_SATURATES_S),
            "command_seq_ack": one * self._port.acknowledged,
            "command_result": one * self._port.result,
            "active_programme_id": one * self._programme_id,
            "active_steps": one * self._steps,
            "ambient_temperature_c": one * ambient_kernel(self._tick, self._ambient_c),
            "channels_running": one * in_programme,
            "unit_state": one * packml(self._state),
            "unit_power_w": self._grid[[Grid.POWER_W]],
            "unit_energy_kwh": self._grid[[Grid.DRAWN_J]] / _J_PER_KWH,
            "unit_energy_returned_kwh": self._grid[[Grid.RETURNED_J]] / _J_PER_KWH,
            "voltage_v": s[S.SHOWN_VOLTAGE_V].copy(),
            "current_a": s[S.SHOWN_CURRENT_A].copy(),
            "temperature_c": self._cells.cell_s[Cell.TEMPERATURE_C].copy(),
            "state": s[S.SHOWN_STATE].copy(),
            "step": s[S.SHOWN_STEP].copy(),
            "fault_bits": s[S.FAULT_BITS].copy(),
            "charge_ah": s[S.CHARGE_AH].copy(),
            "discharge_ah": s[S.DISCHARGE_AH].copy(),
            "charge_wh": s[S.CHARGE_WH].copy(),
            "discharge_wh": s[S.DISCHARGE_WH].copy(),
            "step_time_s": s[S.SHOWN_STEP_TIME_S].copy(),
            "clock_s": all_channels * self._tick,
            "clock_ms": all_channels * 0.0,
            "cycle": s[S.SHOWN_CYCLE].copy(),
            **{name: values.copy() for name, values in self._holding.items()},
        }

    def truth(self) -> Mapping[str, Values]:
        """True state per channel; NaN where there is no cell.

        soc: charge above the discharged end over capacity_ah, which is the charge between 2.5 and 4.2 V at rest with
        the lithium that the film has left: during the first charge both move. r0_ohm: ohmic and charge transfer, for a
        small current, at the present charge and temperature. first_cycle_efficiency from true currents, NaN until the
        first cycle's discharge has ended. x, y: mean stoichiometries; sei_ah: lithium in the film; leak_a: current
        inside the cell, a short's included; power_w, energy_kwh, unit_state: of the rack.
        """
        s = self._s
        over = (s[S.PHASE] == Phase.DONE) | (s[S.SHOWN_CYCLE] > self._programme[0, 1])
        rack = {"power_w": self._grid[Grid.POWER_W], "energy_kwh": self._grid[Grid.DRAWN_J] / _J_PER_KWH}
        whole = {name: np.full(self.channels, value) for name, value in rack.items()}
        return {**self._cells.truth(over), **whole, "unit_state": np.full(self.channels, float(packml(self._state)))}
