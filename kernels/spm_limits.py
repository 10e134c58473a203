"""When a single-particle cell reaches a voltage, and the current that holds one. Searches only; nothing moves."""

from __future__ import annotations

from kernels._jit import kernel
from kernels.spm_cell import attempt_kernel, voltage_now_kernel
from kernels.spm_layout import F

_VOLT = 1e-7
_AMP = 1e-9


@kernel
def time_to_limit_kernel(c: int, amp: float, limit: float, h: float, p: F, s: F, tables: F) -> float:
    """Seconds in 0..h until the terminals of cell c reach `limit` at constant current; more than h when they do not.

    At the returned time the limit is reached or passed by at most 0.1 uV. Illinois' false position.
    """
    sign = 1.0 if amp > 0.0 else -1.0
    right = sign * (attempt_kernel(c, amp, amp, h, p, s, tables) - limit)
    if not right >= 0.0:
        return h + 1.0
    left = sign * (voltage_now_kernel(c, amp, p, s, tables) - limit)
    if left >= 0.0:
        return 0.0
    low, high = 0.0, h
    value = right  # at `high`; `right` may be halved
    side = 0
    for _ in range(60):
        if value <= _VOLT or high - low <= 1e-12 * h:
            break
        mid = low + (high - low) * left / (left - right)
        if not low < mid < high:
            mid = 0.5 * (low + high)
        at = sign * (attempt_kernel(c, amp, amp, mid, p, s, tables) - limit)
        if at >= 0.0:
            high, right, value = mid, at, at
            if side == 1:
                left *= 0.5
            side = 1
        else:
            low, left = mid, at
            if side == -1:
                right *= 0.5
            side = -1
    return high


@kernel
def held_current_kernel(
    c: int, first: float, steady: bool, volt: float, bound: float, h: float, p: F, s: F, tables: F
) -> float:
    """Current between 0 and `bound` that brings cell c to `volt` after h seconds (safeguarded secant).

    steady: the same current all along; else it goes from `first` to the result linearly. h = 0: at this moment.
    """
    low, high = 0.0, bound
    at_low, at_high = _miss(c, first, steady, volt, low, h, p, s, tables), 0.0
    if not at_low < 0.0:
        return 0.0
    at_high = _miss(c, first, steady, volt, high, h, p, s, tables)
    if not at_high > 0.0:
        return bound
    side = 0
    amp = min(max(first, low), high)
    if not low < amp < high:
        amp = low + (high - low) * at_low / (at_low - at_high)
    for _ in range(60):
        at = _miss(c, first, steady, volt, amp, h, p, s, tables)
        if abs(at) <= 0.1 * _VOLT or high - low <= _AMP:
            break
        if at > 0.0:
            high, at_high = amp, at
            if side == 1:
                at_low *= 0.5
            side = 1
        else:
            low, at_low = amp, at
            if side == -1:
                at_high *= 0.5
            side = -1
        amp = low + (high - low) * at_low / (at_low - at_high)
        if not low < amp < high:
            amp = 0.5 * (low + high)
    return amp


@kernel
def _miss(c: int, first: float, steady: bool, volt: float, amp: float, h: float, p: F, s: F, tables: F) -> float:
    """Voltage above `volt` that the current `amp` would give."""
    if h <= 0.0:
        return voltage_now_kernel(c, amp, p, s, tables) - volt
    return attempt_kernel(c, amp if steady else first, amp, h, p, s, tables) - volt
