"""Parameter sets of the twin as arrays, one row per channel, and what it assumes about its own errors. No estimation.

Units: SI, capacities in coulomb. Ranges are those of configs/schema/cell.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema.cell import CellModel
from kernels import ekf_layout as layout

Float64Array = NDArray[np.float64]
GAS_CONSTANT_J_MOL_K = 8.314462618
SECONDS_PER_DAY = 86_400.0
NODES = 41  # of the Gauss-Hermite sum over a band of SOC
OCV_BEYOND = 0.02  # SOC


@dataclass(frozen=True, slots=True)
class FilterNoise:
    """What the filter assumes about instruments and about its own model's errors; one set for all channels.

    The model's errors last: a wrong OCV or resistance is wrong for an hour, not for one sample. Taken as white they
    would be averaged away and the band would shrink to nothing. They are therefore carried by the two overpotentials
    as coloured noise, and by random walks over charge throughput.
    """

    voltage_sd_v: float = 1.0e-3  # rack noise 0.5 mV and quantisation
    uncertain_voltage_sd_v: float = 20.0e-3  # samples that the equipment itself calls uncertain
    fast_floor_sd_v: float = 2.0e-3
    slow_floor_sd_v: float = 4.0e-3  # OCV table against cells of other stoichiometry windows; temperature
    raw_floor_sd_v: float = 60.0e-3  # slow floor in a first charge, while lithium lost later still shifts the cathode
    resistance_error_fraction: float = 0.25  # R1, R2 over SOC and rate: 34 to 45 mOhm after 10 s, see the cell file
    charge_walk: float = 0.003  # SD of SOC after one capacity of throughput: current gain, efficiency after formation
    raw_charge_walk: float = 0.05  # the same in a first charge: where in it the 13 % go is unknown
    r0_design_error: float = 0.2  # relative SD of the design's R0 itself, beside the cells' spread
    r0_walk: float = 0.3  # relative SD over one capacity of throughput: R0 depends on SOC
    capacity_walk_per_day: float = 0.002  # relative
    counter_sd_c: float = 0.05  # two readings of a counter of 1e-5 Ah
    gap_s: float = 120.0  # longer without a sample: the current in between is a guess
    gap_c_rate: float = 0.25  # SD of the mean current in a gap that no counter bridges, per capacity
    gate_sd: float = 8.0  # an innovation beyond is a bad sample, not a surprise
    raw_soc: float = 0.05  # a cell that comes this empty is taken for raw: voltage cannot tell it from a discharged one
    raw_soc_sd: float = 0.02  # a raw cell holds no charge, whatever its voltage
    upper_margin_v: float = 0.02  # this far below the limit counts as having reached it
    self_discharge_sd_per_day: float = 0.002


def filter_noise(noise: FilterNoise, model: CellModel) -> Float64Array:
    """The kernel's noise vector."""
    vector = np.empty(layout.NOISE_ENTRIES)
    vector[layout.N_VOLTAGE] = noise.voltage_sd_v
    vector[layout.N_UNCERTAIN] = noise.uncertain_voltage_sd_v
    vector[layout.N_FLOOR1] = noise.fast_floor_sd_v
    vector[layout.N_FLOOR2] = noise.slow_floor_sd_v
    vector[layout.N_FLOOR_RAW] = noise.raw_floor_sd_v
    vector[layout.N_FRACTION] = noise.resistance_error_fraction
    vector[layout.N_WALK] = noise.charge_walk
    vector[layout.N_WALK_RAW] = noise.raw_charge_walk
    vector[layout.N_R0_WALK] = noise.r0_walk
    vector[layout.N_K_WALK] = noise.capacity_walk_per_day**2 / SECONDS_PER_DAY
    vector[layout.N_COUNTER] = noise.counter_sd_c
    vector[layout.N_GAP] = noise.gap_s
    vector[layout.N_GAP_RATE] = noise.gap_c_rate
    vector[layout.N_GATE] = noise.gate_sd
    vector[layout.N_RAW_SOC] = noise.raw_soc
    vector[layout.N_RAW_SD] = noise.raw_soc_sd
    vector[layout.N_UPPER] = model.voltage_max_v - noise.upper_margin_v
    vector[layout.N_WALK_TIME] = noise.self_discharge_sd_per_day**2 / SECONDS_PER_DAY
    vector[layout.N_OCV_V] = model.ocv_sd_v
    vector[layout.N_OCV_SOC] = model.ocv_sd_soc
    vector[layout.N_OCV_RATE] = 1.0 / model.ocv_correlation_soc
    return vector


def cell_parameters(model: CellModel, channels: int, noise: FilterNoise) -> Float64Array:
    """The kernel's parameter rows, (channels, PARAMETER_COLUMNS): the design's values for every channel.

    The rows are the caller's to change where a channel's own values are known (grading, an earlier run).
    """
    row = np.empty(layout.PARAMETER_COLUMNS)
    row[layout.PAR_CAPACITY] = model.capacity_ah * 3600.0
    row[layout.PAR_R0] = model.r0_ohm
    row[layout.PAR_R1] = model.r1_ohm
    row[layout.PAR_RATE1] = 1.0 / model.tau1_s
    row[layout.PAR_R2] = model.r2_ohm
    row[layout.PAR_RATE2] = 1.0 / model.tau2_s
    row[layout.PAR_EA] = model.activation_energy_j_mol / GAS_CONSTANT_J_MOL_K
    row[layout.PAR_ETA] = model.first_cycle_efficiency
    row[layout.PAR_R0_SD] = np.hypot(model.r0_sd_ohm, noise.r0_design_error * model.r0_ohm)
    row[layout.PAR_K_SD] = model.capacity_sd_ah / model.capacity_ah
    return np.tile(row, (channels, 1))


def ocv_table(model: CellModel) -> Float64Array:
    """OCV [V] and its slope [V per SOC] on the model's uniform grid, (points, 2).

    Slopes after Fritsch and Butland (SIAM J. Sci. Stat. Comput. 5 (1984) 300): the weighted harmonic mean of the two
    neighbours' differences, which keeps the interpolant monotone; one-sided three-point slopes at the ends.
    """
    value = np.asarray(model.ocv_v, dtype=np.float64)
    step = 1.0 / (value.shape[0] - 1)
    secant = np.diff(value) / step
    slope = np.empty_like(value)
    slope[1:-1] = 2.0 * secant[:-1] * secant[1:] / (secant[:-1] + secant[1:])
    # All secants are positive (the schema refuses anything else), so one bound on each side keeps monotony.
    slope[0] = np.clip(1.5 * secant[0] - 0.5 * secant[1], 0.0, 3.0 * secant[0])
    slope[-1] = np.clip(1.5 * secant[-1] - 0.5 * secant[-2], 0.0, 3.0 * secant[-1])
    return np.ascontiguousarray(np.stack([value, slope], axis=1))


def ocv_levels(table: Float64Array) -> Float64Array:
    """The OCV as a cell sees it whose SOC is known to a standard deviation only, (LEVELS, points, OCV_COLUMNS).

    For a normal SOC of mean s and standard deviation w: the mean of the OCV, the slope E[OCV x] / w, and the variance
    that the slope does not explain. This is statistical linearisation (Gelb, Applied Optimal Estimation, 1974, section
    6.2), computed once instead of at every sample. Level 0 is the table itself.
    """
    points = table.shape[0]
    x, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    soc = np.linspace(0.0, 1.0, points)
    levels = np.zeros((layout.LEVELS, points, layout.OCV_COLUMNS))
    levels[0, :, :2] = table
    for level in range(1, layout.LEVELS):
        w = layout.SOC_SD_MAX * (level / (layout.LEVELS - 1)) ** 2
        v = _ocv(table, soc[:, None] + w * x)
        mean, slope = v @ weight, (v * x) @ weight / w
        rest = (v - mean[:, None] - slope[:, None] * w * x) ** 2 @ weight
        levels[level, :, layout.OCV_VALUE] = mean
        levels[level, :, layout.OCV_SLOPE] = slope
        levels[level, :, layout.OCV_REST] = rest
    return levels


def _ocv(table: Float64Array, soc: Float64Array) -> Float64Array:
    """OCV [V] by the cubic of kernels.ekf.ocv_at; beyond the ends straight for OCV_BEYOND, then level.

    No cell is there, and a straight line as long as a wide band would say volts about it.
    """
    cells = table.shape[0] - 1
    inside = np.clip(soc, 0.0, 1.0)
    k = np.minimum((inside * cells).astype(np.int64), cells - 1)
    t = inside * cells - k
    v0, v1, m0, m1 = table[k, 0], table[k + 1, 0], table[k, 1] / cells, table[k + 1, 1] / cells
    value = v0 + t * (m0 + t * (3.0 * (v1 - v0) - 2.0 * m0 - m1 + t * (m0 + m1 - 2.0 * (v1 - v0))))
    end_slope = np.where(soc < 0.5, table[0, 1], table[-1, 1])
    beyond: Float64Array = value + end_slope * np.clip(soc - inside, -OCV_BEYOND, OCV_BEYOND)
    return beyond
