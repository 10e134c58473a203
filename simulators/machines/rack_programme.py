"""The step programme as it lies in the rack's registers, and the rack's own opinion of it. Pure.

The rack is the safety system: it judges a programme by its own hard limits, whatever the recipe's author meant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulators.machine import Values
from simulators.machines.rack_kernel import CC_CHARGE, CC_DISCHARGE, CV_CHARGE, PULSE, REST

# Register tags in the order of the kernel's programme columns.
STEP_TAGS = ("step_mode", "step_cycle", "step_current_a", "step_voltage_v", "step_end_current_a", "step_duration_s")
MAX_CURRENT_A = 10.0
# Inside the hard limits at which a channel faults (rack_kernel), so that an allowed programme does not trip them.
CHARGE_VOLTAGE_V = (2.5, 4.25)
DISCHARGE_VOLTAGE_V = (2.2, 4.2)
MAX_PULSE_S = 120.0


def programme_from(holding: Mapping[str, Values]) -> Values:
    """Programme (steps, 6) from the holding registers: as many rows as programme_steps says."""
    steps = int(holding["programme_steps"][0])
    return np.stack([holding[tag][:steps] for tag in STEP_TAGS], axis=1)


def faults_of(programme: Values, programme_id: float) -> list[str]:
    """Why the rack refuses the programme; empty when it takes it."""
    found = []
    if programme_id < 1:
        found.append("programme_id is 0")
    if not len(programme):
        found.append("programme_steps is 0")
    for k, row in enumerate(programme, start=1):
        found += [f"step {k}: {why}" for why in _step_faults(*(float(v) for v in row))]
    return found


def _step_faults(
    mode: float, cycle: float, current_a: float, voltage_v: float, end_current_a: float, duration_s: float
) -> list[str]:
    if mode not in {CC_CHARGE, CV_CHARGE, REST, CC_DISCHARGE, PULSE}:
        return [f"unknown mode {mode:g}"]
    found = []
    if cycle < 1:
        found.append("cycle is 0")
    if duration_s <= 0:
        found.append("no duration")
    if mode == REST:
        return found
    if not 0 < current_a <= MAX_CURRENT_A:
        found.append(f"current {current_a:g} A is not within 0 to {MAX_CURRENT_A:g}")
    if mode == PULSE:
        if duration_s > MAX_PULSE_S:
            found.append(f"a pulse of {duration_s:g} s is longer than {MAX_PULSE_S:g}")
        return found
    low, high = DISCHARGE_VOLTAGE_V if mode == CC_DISCHARGE else CHARGE_VOLTAGE_V
    if not low <= voltage_v <= high:
        found.append(f"voltage {voltage_v:g} V is not within {low:g} to {high:g}")
    if mode == CV_CHARGE and not 0 <= end_current_a < current_a:
        found.append(f"end current {end_current_a:g} A is not below the bound {current_a:g}")
    return found
