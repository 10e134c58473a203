"""Diffusion in one sphere as a sum of eigenmodes; the mean is kept apart, exactly. Nothing of cells.

For a flux that enters from t = 0 on, the surface stands above the mean by g (1/5 - 2 sum exp(-mu^2 D t / R^2) / mu^2),
tan(mu) = mu (Crank 1975, eq. 6.45): each mode follows x' = -lambda x + 2/3 I/Q, lambda = mu^2 D / R^2, which has a
closed form for a current that is constant or linear. High modes are gathered (spm_layout).
"""

from __future__ import annotations

import math

from kernels._jit import helper
from kernels.spm_layout import DECAY, INVERSE_DECAY, MODES, REMAINDER, SHARE, F


@helper
def _ramp_share(k: int, gain: float, rate_h: float) -> float:
    """Response of mode k at the end of a step to a flux that rises linearly from 0 to 1."""
    z = rate_h * DECAY[k]
    return float(z * (0.5 - z / 6.0) if z < 1e-3 else 1.0 - gain * INVERSE_DECAY[k] / rate_h)


@helper
def weigh_kernel(h: float, rate: float, capacity_c: float, gains: int, c: int, s: F) -> tuple[float, float]:
    """Surface stoichiometry per ampere at the start and at the end of a step of h seconds; keeps the modes' gains."""
    total, ramp = 0.0, 0.0
    rate_h = rate * h
    for k in range(MODES):
        gain = 1.0 - math.exp(-rate_h * DECAY[k])
        s[gains + k, c] = gain
        total += SHARE[k] * gain
        ramp += SHARE[k] * _ramp_share(k, gain, rate_h)
    half, scale = 0.5 * h / capacity_c, 2.0 / (3.0 * capacity_c * rate)
    return half + scale * (total - ramp), half + scale * (ramp + REMAINDER)


@helper
def shift_kernel(
    c: int, modes: int, gains: int, first: float, last: float, h: float, rate: float, capacity_c: float, s: F
) -> None:
    """One particle's modes after a step of h seconds, for which the gains stand ready."""
    scale, rate_h = 2.0 / (3.0 * capacity_c * rate), rate * h
    for k in range(MODES):
        gain = s[gains + k, c]
        pushed = scale * SHARE[k] * (first * gain + (last - first) * _ramp_share(k, gain, rate_h))
        s[modes + k, c] += pushed - s[modes + k, c] * gain


@helper
def modes_at_kernel(
    c: int, modes: int, first: float, last: float, at: float, rate: float, capacity_c: float, s: F
) -> float:
    """Surface over mean of one particle after `at` seconds."""
    total, scale, rate_h = 0.0, 2.0 / (3.0 * capacity_c * rate), rate * at
    for k in range(MODES):
        gain = 1.0 - math.exp(-rate_h * DECAY[k])
        total += scale * SHARE[k] * (first * gain + (last - first) * _ramp_share(k, gain, rate_h))
        total += s[modes + k, c] * (1.0 - gain)
    return total + REMAINDER * scale * last
