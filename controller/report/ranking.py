"""Ranks channels from worst to best, each with its reasons in words. Robust: one bad cell is not the scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from controller.report.cells import Cell

FAULT_SCORE, UNFINISHED_SCORE = 100.0, 20.0
NOTABLE = 2.5
"""Robust standard deviations from the median beyond which a value is called out: 1.2 % of a normal distribution."""
SOC_LIMIT = 0.02

_MEASURES: tuple[tuple[str, str, float, Callable[[Cell], float | None]], ...] = (
    ("capacity", "low", -1.0, lambda c: c.capacity_ah),
    ("first-cycle efficiency", "low", -1.0, lambda c: c.first_cycle_efficiency),
    ("resistance", "high", 1.0, lambda c: c.r0_ohm),
)


def rank(cells: Sequence[Cell], fault_names: Mapping[int, str]) -> list[Cell]:
    """Fills score and reasons of every cell and returns them, worst first."""
    for cell in cells:
        cell.score, cell.reasons, cell.furthest = 0.0, [], ""
        if cell.fault_bits:
            names = [name for bit, name in fault_names.items() if cell.fault_bits & bit]
            _add(cell, FAULT_SCORE, "fault: " + (", ".join(names) or f"bits {cell.fault_bits}"))
    finished = sum(cell.completed for cell in cells)
    for cell in cells:
        # When hardly any channel has finished, the run ended early: nothing to hold against one of them.
        if not cell.completed and finished > len(cells) / 2:
            _add(cell, UNFINISHED_SCORE, "did not finish the programme")
        if cell.quality is not None and cell.quality.rms_soc > SOC_LIMIT:
            _add(cell, cell.quality.rms_soc / SOC_LIMIT, f"filter off by {cell.quality.rms_soc * 100:.1f} % SOC (RMS)")
    for name, word, sign, value_of in _MEASURES:
        _deviations(cells, name, word, sign, value_of)
    return sorted(cells, key=lambda cell: (-cell.score, cell.device, cell.channel))


def _deviations(
    cells: Sequence[Cell], name: str, word: str, sign: float, value_of: Callable[[Cell], float | None]
) -> None:
    known = [(cell, value) for cell in cells if (value := value_of(cell)) is not None]
    if len(known) < 5:  # no spread worth the name
        return
    values = np.array([value for _, value in known])
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    if spread <= 0.0:
        return
    for cell, value in known:
        z = sign * (value - middle) / spread
        if z > 0.0:
            text = f"{word} {name}: {z:.1f} robust SD from the median"
            if z > cell.score:
                cell.furthest = text
            _add(cell, z, text if z > NOTABLE else "")


def _add(cell: Cell, score: float, reason: str) -> None:
    cell.score = max(cell.score, score)
    if reason:
        cell.reasons.append(reason)
