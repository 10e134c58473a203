"""PyBaMM's Thevenin circuit with two RC pairs and the values of one of our cell models. Nothing of our kernels or twin.

Foreign code computes the voltage here, from the same numbers: differential equations and their solver, OCV
interpolation, Arrhenius factor, lumped temperature and charge balance are PyBaMM's. Its current is positive in
discharge; records come back in our sign. Needs the group `validation` (make peers).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import CellModel

os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")  # it asks on the terminal and reports to its makers otherwise

import pybamm

F = NDArray[np.float64]
GAS_CONSTANT_J_MOL_K = 8.314462618
INPUTS = ("soc", "u1_v", "u2_v", "r0_ohm", "capacity_ah")
"""What differs from cell to cell: the state at the beginning, and the two values that our filter learns."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One cell's record, arrays (n,), and the truth behind it. Current is positive in charge."""

    time_s: F
    current_a: F
    voltage_v: F
    temperature_c: F
    soc: F
    net_charge_c: F  # charge minus discharge since the beginning
    capacity_ah: float
    r0_ohm: float


def parameter_values(model: CellModel, ambient_c: float = 25.0, heats: bool = True) -> pybamm.ParameterValues:
    """The circuit's parameters; `heats` False holds the cell at `ambient_c`. The current is left to the caller."""
    soc, open_v = np.asarray(model.ocv_soc), np.asarray(model.ocv_v)

    def factor(cell_c: pybamm.Symbol) -> pybamm.Symbol:
        return pybamm.exp(model.activation_energy_j_mol / GAS_CONSTANT_J_MOL_K * (1 / (cell_c + 273.15) - 1 / 298.15))

    values = pybamm.ParameterValues("ECM_Example")
    values.update(
        {
            "Open-circuit voltage [V]": lambda s: pybamm.Interpolant(soc, open_v, s, "OCV", interpolator="pchip"),
            "Cell capacity [A.h]": pybamm.InputParameter("capacity_ah"),
            "Nominal cell capacity [A.h]": model.capacity_ah,
            "Initial SoC": pybamm.InputParameter("soc"),
            "Element-1 initial overpotential [V]": pybamm.InputParameter("u1_v"),
            "Element-2 initial overpotential [V]": pybamm.InputParameter("u2_v"),
            "R0 [Ohm]": lambda cell_c, i, s: pybamm.InputParameter("r0_ohm") * factor(cell_c),
            "R1 [Ohm]": lambda cell_c, i, s: model.r1_ohm * factor(cell_c),
            "C1 [F]": lambda cell_c, i, s: model.tau1_s / (model.r1_ohm * factor(cell_c)),
            "R2 [Ohm]": lambda cell_c, i, s: model.r2_ohm * factor(cell_c),
            "C2 [F]": lambda cell_c, i, s: model.tau2_s / (model.r2_ohm * factor(cell_c)),
            "Entropic change [V/K]": 0.0,
            "Upper voltage cut-off [V]": 10.0,  # a record goes where its current takes it
            "Lower voltage cut-off [V]": -10.0,
            "Initial temperature [K]": ambient_c + 273.15,
            "Ambient temperature [K]": ambient_c + 273.15,
            # 70 g at 1 J/(g K) in a tray of 0.5 kg: 2.5 A warm the cell by some kelvin.
            "Cell thermal mass [J/K]": 70.0 if heats else 1e12,
            "Cell-jig heat transfer coefficient [W/K]": 0.3,
            "Jig thermal mass [J/K]": 500.0,
            "Jig-air heat transfer coefficient [W/K]": 0.5,
        },
        check_already_exists=False,
    )
    return values


class Thevenin:
    """Replays a stepwise current: `current_a[k]` flows from `steps_s[k]` to `steps_s[k + 1]`."""

    def __init__(
        self, model: CellModel, steps_s: Sequence[float], current_a: Sequence[float], ambient_c: float = 25.0,
        heats: bool = True, tolerance: float | None = 1e-8,
    ) -> None:  # fmt: skip
        if len(steps_s) != len(current_a) + 1 or steps_s[0] != 0.0:
            raise ValueError("steps_s begins with 0 and has one entry more than current_a")
        self.model, self.steps_s = model, np.asarray(steps_s, dtype=np.float64)
        jumps = np.diff(np.asarray(current_a, dtype=np.float64), prepend=0.0)

        def current(t: pybamm.Symbol) -> pybamm.Symbol:
            return sum(-jump * (t >= at) for at, jump in zip(steps_s[:-1], jumps, strict=True))

        values = parameter_values(model, ambient_c, heats)
        values.update({"Current function [A]": current})
        circuit = pybamm.equivalent_circuit.Thevenin(options={"number of rc elements": 2})
        accuracy = {} if tolerance is None else {"rtol": tolerance, "atol": tolerance}  # None: PyBaMM's own
        solver = pybamm.IDAKLUSolver(**accuracy)
        self.simulation = pybamm.Simulation(circuit, parameter_values=values, solver=solver)

    def inputs(self, soc: float, cell: Mapping[str, float] | None = None) -> dict[str, float]:
        """Inputs of a cell of the design in equilibrium at `soc`, or as `cell` says."""
        design = {"u1_v": 0.0, "u2_v": 0.0, "r0_ohm": self.model.r0_ohm, "capacity_ah": self.model.capacity_ah}
        return design | {"soc": soc} | dict(cell or {})

    def solve(self, time_s: F, inputs: Mapping[str, float]) -> pybamm.Solution:
        """The solver alone; it stops at every step of the current, so that no step is smeared."""
        return self.simulation.solve(t_eval=self.steps_s, t_interp=time_s, inputs=dict(inputs))

    def record(self, time_s: F, soc: float, cell: Mapping[str, float] | None = None) -> Record:
        """What a cycler would log at `time_s` (n,)."""
        inputs = self.inputs(soc, cell)
        solution = self.solve(time_s, inputs)
        rows = np.minimum(np.searchsorted(solution.t, time_s), solution.t.size - 1)
        if not np.array_equal(solution.t[rows], time_s):  # its output holds these very times
            raise ValueError("the current led the cell beyond its table, and PyBaMM ended the record")
        names = ("Current [A]", "Voltage [V]", "Cell temperature [degC]", "SoC")
        current, voltage, celsius, state = (solution[name].entries[rows] for name in names)
        capacity_ah = inputs["capacity_ah"]
        return Record(
            time_s,
            -current,
            voltage,
            celsius,
            state,
            3600.0 * capacity_ah * (state - soc),
            capacity_ah,
            inputs["r0_ohm"],
        )
