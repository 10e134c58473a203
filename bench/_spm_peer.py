"""PyBaMM's single-particle model with the numbers of one of our cell sets. Nothing of our kernels.

Foreign code computes voltage and film here: mesh, equations, solver and step logic are PyBaMM's. Its current is
positive in discharge; records come back in our sign. Needs the group `validation` (make peers).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.machines.cell_parameters import CellSet

os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")  # it asks on the terminal and reports to its makers otherwise

import pybamm

F = NDArray[np.float64]
CC_CHARGE, CV_CHARGE, REST = 1, 2, 3


def sei_option(cell: CellSet) -> str:
    """PyBaMM's name for the set's film."""
    return "tunnelling limited" if cell.film.decay_1_m > 0.0 else "ec reaction limited"


def parameter_values(cell: CellSet, x: float, y: float, kelvin: float) -> pybamm.ParameterValues:
    """PyBaMM's Chen2020 with the set's numbers, at rest at stoichiometries x (negative) and y (positive)."""
    n, q, film = cell.negative, cell.positive, cell.film

    def diffusivity(electrode: Any) -> float:
        warm = (1.0 / 298.15 - 1.0 / kelvin) / pybamm.constants.R.value
        return float(electrode.diffusivity_m2_s * np.exp(electrode.diffusion_activation_j_mol * warm))

    values = pybamm.ParameterValues("Chen2020")
    # Per area of smooth spheres, which is all that PyBaMM knows of the film.
    rate = film.rate_a_m2 * film.area_ratio
    salt = film.diffusion_mol_m_s * film.area_ratio
    new: dict[str, Any] = {
        "Negative particle diffusivity [m2.s-1]": diffusivity(n),
        "Positive particle diffusivity [m2.s-1]": diffusivity(q),
        "Initial concentration in negative electrode [mol.m-3]": x * n.full_mol_m3,
        "Initial concentration in positive electrode [mol.m-3]": y * q.full_mol_m3,
        "Contact resistance [Ohm]": cell.contact_ohm,
        "Initial SEI thickness [m]": film.start_m,
        "SEI partial molar volume [m3.mol-1]": film.molar_volume_m3_mol / film.area_ratio,
        "SEI resistivity [Ohm.m]": film.resistivity_ohm_m / film.area_ratio,
        "Ratio of lithium moles to SEI moles": film.lithium_per_mol,
        "SEI open-circuit potential [V]": film.potential_v,
        "SEI growth activation energy [J.mol-1]": film.activation_j_mol,
        "Ambient temperature [K]": kelvin,
        "Initial temperature [K]": kelvin,
        "Lower voltage cut-off [V]": 2.0,
        "Upper voltage cut-off [V]": 4.4,
    }
    if sei_option(cell) == "tunnelling limited":
        new["SEI reaction exchange current density [A.m-2]"] = rate
        new["Tunneling barrier factor [m-1]"] = film.decay_1_m
    else:
        new["EC initial concentration in electrolyte [mol.m-3]"] = 4541.0
        new["SEI kinetic rate constant [m.s-1]"] = rate / (96_485.33212 * 4541.0)
        new["EC diffusivity [m2.s-1]"] = salt / 4541.0
    values.update(new, check_already_exists=False)
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Arrays (n,); current positive in charge; film and charge minus discharge since the start; ends_s (steps,)."""

    time_s: F
    voltage_v: F
    current_a: F
    sei_c: F
    charge_c: F
    ends_s: F


class SingleParticle:
    """PyBaMM's model of one cell set, ready to run programmes in the rack's rows (no pulses)."""

    def __init__(self, cell: CellSet, x: float, y: float, kelvin: float = 298.15, points: int = 40) -> None:
        options: Mapping[str, str] = {"SEI": sei_option(cell), "contact resistance": "true"}
        self._model = pybamm.lithium_ion.SPM(dict(options))
        self._values = parameter_values(cell, x, y, kelvin)
        self._points = {**self._model.default_var_pts, "r_n": points, "r_p": points}

    def simulation(self, programme: F, period_s: float, solver: pybamm.BaseSolver | None = None) -> pybamm.Simulation:
        """The programme as PyBaMM's experiment."""
        steps = []
        for mode, _, amp, volt, end_amp, duration_s in programme:
            if mode == CV_CHARGE:
                step = pybamm.step.voltage(volt, duration=duration_s, period=period_s, termination=f"{end_amp} A")
            elif mode == REST:
                step = pybamm.step.rest(duration=duration_s, period=period_s)
            else:
                sign = -1.0 if mode == CC_CHARGE else 1.0
                step = pybamm.step.current(
                    sign * amp, duration=duration_s, period=period_s, termination=f"{volt} V" if volt > 0.0 else None
                )
            steps.append(step)
        return pybamm.Simulation(
            self._model, experiment=pybamm.Experiment([tuple(steps)]), parameter_values=self._values,
            var_pts=self._points,
            solver=solver or pybamm.IDAKLUSolver(rtol=1e-7, atol=1e-9),
        )  # fmt: skip

    def run(self, programme: F, period_s: float) -> Record:
        """Solved, and read where PyBaMM reports: every `period_s` and at the steps' ends."""
        solution = self.simulation(programme, period_s).solve()
        film, discharge = "Loss of capacity to negative SEI [A.h]", "Discharge capacity [A.h]"
        time_s, volt, amp, lost, taken = (
            solution[name].entries for name in ("Time [s]", "Voltage [V]", "Current [A]", film, discharge)
        )
        ends = np.array([step.t[-1] for step in solution.cycles[0].steps])
        return Record(time_s, volt, -amp, 3600.0 * lost, -3600.0 * taken, ends)
