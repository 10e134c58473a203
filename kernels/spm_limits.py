"""When a single-particle cell reaches a voltage, and the current that holds one. Searches only; nothing moves."""

from __future__ import annotations

from kernels._jit import helper
from kernels.spm_cell import attempt_kernel, voltage_now_kernel
from kernels.spm_layout import F

_VOLT = 1e-7
_AMP = 1e-9


@helper
def time_to_limit_kernel(c: int, amp: float, limit: float, h: float, p: F, s: F, tables: F) -> float:
    """Seconds in 0..h until the terminals of cell c reach `limit` at constant current; more than h when they do not.

    At the returned time the limit is reached or passed by at most 0.1 uV. Illinois' false position.
    """
    sign = 1.0 if amp > 0.0 else -1.0
    return search_kernel(c, amp, limit, h, sign * (attempt_kernel(c, amp, amp, h, p, s, tables) - limit), p, s, tables)


@helper
def search_kernel(c: int, amp: float, limit: float, h: float, right: float, p: F, s: F, tables: F) -> float:
    """time_to_limit_kernel for those who know how far beyond the limit the cell is after h seconds (`right`, V)."""
    if not right >= 0.0:
        return h + 1.0
    sign = 1.0 if amp > 0.0 else -1.0
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


@helper
def held_current_kernel(
    c: int, first: float, guess: float, volt: float, bound: float, h: float, p: F, s: F, tables: F
) -> float:
    """Current between 0 and `bound` that brings cell c to `volt` after h seconds (safeguarded secant).

    The current goes from `first` to the result linearly; first < 0: it is the result all along. h = 0: at this moment.
    guess: where to begin.
    """
    low, high = 0.0, bound
    amp = min(max(guess, 0.001 * bound), 0.999 * bound)
    at = _miss(c, first, volt, amp, h, p, s, tables)
    older, at_older = 0.0, 0.0
    new = amp * (0.999 if at > 0.0 else 1.0005)
    for _ in range(60):
        if abs(at) <= 0.1 * _VOLT or high - low <= _AMP:
            break
        if at > 0.0:
            high = amp
        else:
            low = amp
        if at_older not in (at, 0.0):
            new = amp - at * (amp - older) / (at - at_older)
        # The ends of the range are tried only when the secant asks for them.
        if not low < new < high:
            if new <= 0.0 and low <= 0.0:
                new = 0.0
            elif new >= bound and high >= bound:
                new = bound
            else:
                new = 0.5 * (low + high)
        older, at_older = amp, at
        amp = new
        at = _miss(c, first, volt, amp, h, p, s, tables)
        if (amp == 0.0 and at >= 0.0) or (amp == bound and at <= 0.0):
            break
    return amp


@helper
def _miss(c: int, first: float, volt: float, amp: float, h: float, p: F, s: F, tables: F) -> float:
    """Voltage above `volt` that the current `amp` would give."""
    if h <= 0.0:
        return voltage_now_kernel(c, amp, p, s, tables) - volt
    return attempt_kernel(c, amp if first < 0.0 else first, amp, h, p, s, tables) - volt
