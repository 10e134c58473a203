"""The cell filter: checks shapes, converts units, calls the kernel of the same name, hands frozen states out. No I/O.

A CellFilter follows the channels of one rack from sample to sample. Where the equipment counts charge, pass its
counter: current is seen at the stamps only, the counter also in between and over gaps and restarts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema.cell import CellModel
from kernels import ekf_layout as layout
from kernels.ekf import ekf_update as ekf_update_kernel
from twin.checkpoint import pack, unpack
from twin.parameters import FilterNoise, cell_parameters, filter_noise, ocv_levels, ocv_table
from twin.types import CellStates

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

# In the order of the kernel's output rows.
OUTPUT_NAMES = (
    "soc", "soc_sd", "u1_v", "u2_v", "r0_ohm", "r0_sd_ohm",
    "capacity_ah", "capacity_sd_ah", "innovation_v", "innovation_sd_v",
)  # fmt: skip
ZERO_CELSIUS_K = 273.15
BACK_AH = 1e-3
"""A counter that falls by more has begun anew; noise of the instrument does not move it so far."""


class CellFilter:
    """Two-RC extended Kalman filters of `channels` cells of one design, each with its own time, gaps and status."""

    def __init__(self, model: CellModel, channels: int, noise: FilterNoise | None = None) -> None:
        if channels < 1:
            raise ValueError(f"a filter needs at least one channel, not {channels}")
        self.model = model
        self.channels = channels
        assumed = noise or FilterNoise()
        self.parameters = cell_parameters(model, channels, assumed)
        self._noise = filter_noise(assumed, model)
        self._ocv = ocv_levels(ocv_table(model))
        self._unknown = np.full(channels, np.nan)
        self._state, self._last_ns, self._counter_c = self._fresh()
        self._charged_ah = self._unknown.copy()

    def _fresh(self) -> tuple[Float64Array, Int64Array, Float64Array]:
        """Prior state, time and counter of channels that have seen nothing."""
        n, par = self.channels, self.parameters
        state = np.zeros((n, layout.STATE_COLUMNS))
        state[:, layout.SOC] = 0.5
        state[:, layout.R0] = par[:, layout.PAR_R0]
        state[:, layout.K] = 1.0
        state[:, layout.P00] = layout.SOC_SD_MAX**2
        state[:, layout.P11] = state[:, layout.P22] = 1e-4
        state[:, layout.P33] = par[:, layout.PAR_R0_SD] ** 2
        state[:, layout.P44] = par[:, layout.PAR_K_SD] ** 2
        state[:, layout.TEMPERATURE] = layout.REFERENCE_K
        state[:, layout.PHASE] = layout.UNSEEN
        return state, np.zeros(n, dtype=np.int64), np.full(n, np.nan)

    def follow(self, charge_ah: Float64Array) -> None:
        """The equipment's counters of charge since a programme's start, NaN where unknown; call it before `update`.

        Where one has gone back another programme has begun, most likely on another cell: what is known of the cell that
        was there (charge, resistance, capacity) is forgotten. ValueError: not one per channel.
        """
        counter = self._column("charge_ah", charge_ah, np.float64)
        with np.errstate(invalid="ignore"):
            back = counter < self._charged_ah - BACK_AH
        if back.any():
            state, last_ns, counter_c = self._fresh()
            self._state[back], self._last_ns[back], self._counter_c[back] = state[back], last_ns[back], counter_c[back]
        np.copyto(self._charged_ah, counter, where=np.isfinite(counter))

    def update(
        self,
        time_ns: Int64Array,
        voltage_v: Float64Array,
        current_a: Float64Array,
        temperature_c: Float64Array,
        quality: NDArray[np.uint8],
        charge_moved_c: Float64Array | None = None,
        net_charge_c: Float64Array | None = None,
    ) -> CellStates:
        """One sample of every channel, arrays (channels,); current is positive in charge, quality is OPC's (0 good).

        Charge, at most one of: `net_charge_c`, the equipment's counter of charge minus discharge, of which the filter
        takes the difference itself (also over its own restarts); `charge_moved_c`, that difference since the channel's
        last good sample, taken by the caller. NaN where unknown; implausible ones (a counter was reset) are ignored.
        Any float is accepted and answered by a status. ValueError: shapes differ, or both charges are given.
        """
        if charge_moved_c is not None and net_charge_c is not None:
            raise ValueError("give charge_moved_c or net_charge_c, not both")
        stamps = self._column("time_ns", time_ns, np.int64)
        voltage = self._column("voltage_v", voltage_v, np.float64)
        current = self._column("current_a", current_a, np.float64)
        temperature_k = self._column("temperature_c", temperature_c, np.float64) + ZERO_CELSIUS_K
        grade = self._column("quality", quality, np.uint8)
        if net_charge_c is not None:
            counter = self._column("net_charge_c", net_charge_c, np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                charge = counter - self._counter_c
            before = self._last_ns.copy()
        elif charge_moved_c is not None:
            charge = self._column("charge_moved_c", charge_moved_c, np.float64)
        else:
            charge = self._unknown
        out = np.empty((layout.OUTPUT_ROWS, self.channels))
        code = np.empty(self.channels, dtype=np.uint8)
        ekf_update_kernel(
            self._state, self._last_ns, self.parameters, self._noise, self._ocv,
            stamps, voltage, current, temperature_k, grade, charge, out, code,
        )  # fmt: skip
        if net_charge_c is not None:
            np.copyto(self._counter_c, counter, where=self._last_ns != before)
        rows = {name: out[row] for row, name in enumerate(OUTPUT_NAMES)}
        return CellStates(**rows, status=code)

    def _column(self, name: str, values: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
        """`values` as the kernel wants them. ValueError: not one per channel."""
        column = np.ascontiguousarray(values, dtype=dtype)
        if column.shape != (self.channels,):
            raise ValueError(f"{name} has shape {column.shape}; this filter has {self.channels} channels")
        return column

    def checkpoint(self) -> bytes:
        """Everything that a restart needs. The next good sample after `restore` sees the time in between as a gap."""
        return pack(self._head, self._memory)

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same design and number of channels. ValueError otherwise, and nothing changed."""
        arrays = unpack(data, self._head, self._memory)
        state, parameters, last_ns = arrays["state"], arrays["parameters"], arrays["last_ns"]
        if not (np.isfinite(state).all() and np.isfinite(parameters).all() and (last_ns >= 0).all()):
            raise ValueError("checkpoint holds numbers that no filter writes")
        variances = state[:, [layout.P00, layout.P11, layout.P22, layout.P33, layout.P44]]
        if (variances <= 0.0).any() or (state[:, [layout.K, layout.TEMPERATURE]] <= 0.0).any():
            raise ValueError("checkpoint holds a variance that is not positive")
        self._state, self._last_ns = state, last_ns
        self._counter_c, self.parameters = arrays["counter_c"], parameters
        self._charged_ah = arrays["charged_ah"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-cell-filter", "version": 3, "model": self.model.name, "channels": self.channels}

    @property
    def _memory(self) -> dict[str, NDArray[Any]]:
        return {
            "state": self._state,
            "last_ns": self._last_ns,
            "counter_c": self._counter_c,
            "charged_ah": self._charged_ah,
            "parameters": self.parameters,
        }
