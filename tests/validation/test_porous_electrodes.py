"""The filter against PyBaMM's porous-electrode model (Doyle, Fuller, Newman; set Chen 2020): a cell that is no circuit.

The filter has its own cell file: OCV of the same paper, resistances measured on other cells of the type, 5.0 +- 0.1 Ah.
"""

import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest

from configs.schema import CellModel
from twin.ekf import CellFilter

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(importlib.util.find_spec("pybamm") is None, reason="PyBaMM is not installed: make peers"),
]

CELL = Path(__file__).parent / "chen2020_cell.toml"
MODEL = CellModel.model_validate(tomllib.loads(CELL.read_text(encoding="utf-8")))
START_NS = 1_700_000_000_000_000_000
DRAWS, NOISE_V, POLL_S = 8, 0.5e-3, 20.0


def cycle(pybamm, chen, charge: str, discharge: str) -> dict[str, np.ndarray]:
    """Charge to 4.2 V, hold, rest, discharge and rest, polled; SOC is the lithium in the negative electrode."""
    values, truth = chen
    steps = (
        "Rest for 10 minutes", f"Charge at {charge} until 4.2 V", "Hold at 4.2 V until C/30", "Rest for 1 hour",
        f"Discharge at {discharge} until 2.6 V", "Rest for 1 hour",
    )  # fmt: skip
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.DFN(), parameter_values=values.copy(), solver=pybamm.IDAKLUSolver(rtol=1e-6, atol=1e-6),
        experiment=pybamm.Experiment([steps], period=f"{POLL_S:.0f} seconds"),
    )  # fmt: skip
    solution = simulation.solve(initial_soc=0.12)
    t = np.arange(0.0, float(solution.t[-1]), POLL_S)
    soc = (solution["Negative electrode stoichiometry"](t) - truth["x_0"]) / (truth["x_100"] - truth["x_0"])
    capacity_ah = truth["negative_ah"] * (truth["x_100"] - truth["x_0"])
    return {
        "time_s": t, "current_a": -solution["Current [A]"](t), "voltage_v": solution["Voltage [V]"](t), "soc": soc,
        "net_charge_c": 3600.0 * capacity_ah * (soc - soc[0]), "capacity_ah": capacity_ah,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("charge", "discharge", "rms", "band"), [("C/10", "C/5", 0.004, 0.93), ("C/3", "C/2", 0.01, 0.88)]
)
def test_a_cycle_of_a_porous_electrode_cell(pybamm, chen, charge, discharge, rms, band) -> None:
    """At the rates of formation the stated band is true; at C/3 to C/2 it is too narrow: diffusion is no RC pair."""
    true = cycle(pybamm, chen, charge, discharge)
    noise = NOISE_V * np.random.default_rng(1).standard_normal((true["time_s"].size, DRAWS))
    voltage = np.rint((true["voltage_v"][:, None] + noise) * 1e4) * 1e-4
    twin = CellFilter(MODEL, DRAWS)
    rows = [
        twin.update(
            np.full(DRAWS, START_NS + round(1e9 * true["time_s"][k])), voltage[k], np.full(DRAWS, true["current_a"][k]),
            np.full(DRAWS, 25.0), np.zeros(DRAWS), net_charge_c=np.full(DRAWS, true["net_charge_c"][k]),
        )
        for k in range(true["time_s"].size)
    ]  # fmt: skip
    error = np.array([row.soc for row in rows]) - true["soc"][:, None]
    inside = (np.abs(error) < 1.96 * np.array([row.soc_sd for row in rows]))[20:].mean()
    off_ah, sd_ah = rows[-1].capacity_ah - true["capacity_ah"], rows[-1].capacity_sd_ah
    print(f"{charge}, {discharge}: SOC {100 * np.sqrt(np.mean(error[20:] ** 2)):.2f} % RMS, {inside:.3f} in the band, "
          f"capacity off by {off_ah.mean():.3f} +- {sd_ah.mean():.3f} Ah")  # fmt: skip
    assert np.sqrt(np.mean(error[20:] ** 2)) < rms
    assert inside >= band
    assert np.abs(off_ah).max() < 3.0 * sd_ah.min()
