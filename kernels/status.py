"""Outcome codes of kernels: one small integer beside every value.

The codes are stored in data, so they never change meaning. Plain integers, because kernels compare them; `name` is
for people.
"""

from __future__ import annotations

OK = 0
"""The value is good and used everything that was offered."""
WAITING = 1
"""Nothing good has been seen yet; the value is the prior and means little."""
STARTED = 2
"""First good sample, or first one after a reset: the value starts from it with a wide uncertainty."""
PREDICTED = 3
"""No usable measurement this time: the value is carried forward and its uncertainty has grown."""
AFTER_GAP = 4
"""Good, but the time since the last sample was long enough that what happened in between is partly a guess."""
OUTLIER = 5
"""The measurement disagreed beyond belief and was not used; the uncertainty has grown."""
BAD_INPUT = 6
"""An input was NaN, infinite or outside its physical range; the state is as it was."""
BAD_TIME = 7
"""Time did not advance (repeat, or earlier than the last sample); the state is as it was."""
RESET = 8
"""The state had stopped being finite or positive definite and was replaced by the prior."""
OUT_OF_SPACE = 9
"""The output buffer is too small; nothing beyond it was written."""
NOT_IDENTIFIABLE = 10
"""The data cannot support a value; the uncertainty says so."""
DEGRADED = 11
"""Good, but an auxiliary input (a temperature) was unusable and its last good value stood in."""
NOT_FOUND = 12
"""The record holds nothing of the kind that was looked for."""
TOO_SHORT = 13
"""What was measured ended before the value could be read."""
NOT_SAMPLED = 14
"""No samples near enough to the instant that the value belongs to."""
NO_REST = 15
"""No true rest was recorded before it, so there is nothing to measure from."""
NOT_HELD = 16
"""What should have stood still meanwhile (a current, a temperature) moved."""
SPREAD_UNKNOWN = 17
"""The value is good, but too few samples to know its uncertainty, which is NaN."""
REDUCED = 18
"""A simpler model than the one asked for: the data cannot split what the asked one splits."""

NAMES = (
    "ok",
    "waiting",
    "started",
    "predicted",
    "after_gap",
    "outlier",
    "bad_input",
    "bad_time",
    "reset",
    "out_of_space",
    "not_identifiable",
    "degraded",
    "not_found",
    "too_short",
    "not_sampled",
    "no_rest",
    "not_held",
    "spread_unknown",
    "reduced",
)


def name(code: int) -> str:
    """The code's name in lower case; "unknown" for a code that this version does not have."""
    return NAMES[code] if 0 <= code < len(NAMES) else "unknown"
