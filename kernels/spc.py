"""Control charts of many channels: I-MR with the Western Electric rules, EWMA, CUSUM, Cpk. No grades, no actions.

Every chart is one kernel for both uses: channel i reads values offsets[i] to offsets[i + 1], starts from its row of
`state` and leaves it ready for the next call, so that a stream is a batch cut anywhere. A fresh state is zeros. A
value that is not finite is no observation: its outputs are nan, its flags BAD, and the state is as it was. A channel
whose centre or sigma makes no sense gives BAD for every value.

Sources: Montgomery, Introduction to Statistical Quality Control, chapters 6, 8 and 9; Western Electric, Statistical
Quality Control Handbook, 1956; Roberts, Technometrics 1 (1959) 239 (EWMA); Page, Biometrika 41 (1954) 100 (CUSUM);
Bissell, Appl. Stat. 39 (1990) 331 (interval of Cpk).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import status
from kernels._jit import helper, kernel

F = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# Flags of one observation, to be added up.
BEYOND_3_SIGMA, TWO_OF_THREE, FOUR_OF_FIVE, EIGHT_OF_ONE_SIDE, MOVING_RANGE, ABOVE, BELOW, BAD = (
    1 << k for k in range(8)
)

CENTRE, SIGMA = 0, 1  # columns of the parameters of every chart; further ones follow
D2, D4 = 1.128379167095513, 3.266532  # of ranges of two: 2/sqrt(pi); 1 + 3 d3/d2, d3 = 0.8525025
VALUE_LIMIT = 1e150  # squares stay finite

# Columns of the I-MR chart's state: last value and whether there is one, then runs as shift registers.
LAST, SEEN, UP_2, DOWN_2, UP_1, DOWN_1, RUN = 0, 1, 2, 3, 4, 5, 6
IMR_STATE = 7
EWMA_Z, EWMA_COUNT = 0, 1  # EWMA of (x - centre)/sigma, observations
EWMA_STATE = 2
SETTLED = -20.0  # exp(2 SETTLED) is lost beside 1 in double precision
UPPER, LOWER = 0, 1
CUSUM_STATE = 2
COUNT, MEAN, M2 = 0, 1, 2
WELFORD_STATE = 3


@helper
def _usable(parameters: F, i: int) -> bool:
    centre, sigma = parameters[i, CENTRE], parameters[i, SIGMA]
    return bool(abs(centre) <= VALUE_LIMIT and 1.0 / VALUE_LIMIT <= sigma <= VALUE_LIMIT)


@helper
def _ones(register: int) -> int:
    """Yes-answers among the last five."""
    return (
        (register & 1) + ((register >> 1) & 1) + ((register >> 2) & 1) + ((register >> 3) & 1) + ((register >> 4) & 1)
    )


@kernel
def imr_update(state: F, parameters: F, values: F, offsets: Ints, out: F, flags: Bytes) -> None:
    """Individuals and moving range. parameters (n, 2): centre, sigma. out (total, 2): z, moving range.

    Western Electric's four rules on z = (x - centre)/sigma; the last point must take part in a signal. Answers
    are added without branches, which a processor would guess wrong on noise.
    """
    for i in range(offsets.shape[0] - 1):
        good = _usable(parameters, i)
        centre, sigma = parameters[i, CENTRE], parameters[i, SIGMA]
        s = state[i]
        up2, down2, up1, down1 = int(s[UP_2]), int(s[DOWN_2]), int(s[UP_1]), int(s[DOWN_1])
        run, last, seen = int(s[RUN]), s[LAST], s[SEEN] > 0.0
        for k in range(offsets[i], offsets[i + 1]):
            x = values[k]
            out[k, 0] = out[k, 1] = math.nan
            if not (good and abs(x) <= VALUE_LIMIT):
                flags[k] = BAD
                continue
            z = (x - centre) / sigma
            a2, b2, a1, b1 = int(z > 2.0), int(z < -2.0), int(z > 1.0), int(z < -1.0)
            up2, down2 = ((up2 << 1) | a2) & 7, ((down2 << 1) | b2) & 7
            up1, down1 = ((up1 << 1) | a1) & 31, ((down1 << 1) | b1) & 31
            above, below = int(z > 0.0), int(z < 0.0)
            run = above * (max(run, 0) + 1) + below * (min(run, 0) - 1)
            high, low = int(z > 3.0), int(z < -3.0)
            found = BEYOND_3_SIGMA * (high | low) + ABOVE * high + BELOW * low
            found += TWO_OF_THREE * ((a2 & int(_ones(up2) >= 2)) | (b2 & int(_ones(down2) >= 2)))
            found += FOUR_OF_FIVE * ((a1 & int(_ones(up1) >= 4)) | (b1 & int(_ones(down1) >= 4)))
            found += EIGHT_OF_ONE_SIDE * int(abs(run) >= 8)
            if seen:
                out[k, 1] = abs(x - last)
                found += MOVING_RANGE * int(out[k, 1] > D4 * D2 * sigma)
            out[k, 0] = z
            last, seen = x, True
            flags[k] = found
        s[UP_2], s[DOWN_2], s[UP_1], s[DOWN_1] = up2, down2, up1, down1
        s[RUN], s[LAST], s[SEEN] = run, last, 1.0 if seen else 0.0


@kernel
def ewma_update(state: F, parameters: F, values: F, offsets: Ints, out: F, flags: Bytes) -> None:
    """z_t = lambda u_t + (1 - lambda) z_(t-1), u = (x - centre)/sigma, z_0 = 0; ABOVE or BELOW where |z| > limit.

    parameters (n, 5): centre, sigma, lambda, L, and 1 for the exact limits of a young chart, 0 for the asymptotic ones:
    L sqrt(lambda/(2 - lambda) (1 - (1 - lambda)^2t)). out (total, 2): z and its limit, in sigmas.
    """
    for i in range(offsets.shape[0] - 1):
        weight, width, exact = parameters[i, 2], parameters[i, 3], parameters[i, 4] > 0.0
        good = _usable(parameters, i) and 0.0 < weight <= 1.0 and 0.0 < width <= VALUE_LIMIT
        z, count = state[i, EWMA_Z], state[i, EWMA_COUNT]
        centre, sigma, keep = parameters[i, CENTRE], parameters[i, SIGMA], 1.0 - weight
        young = 0.0  # observations until the limits have grown to the last digit
        if exact and good and keep > 0.0:
            young = SETTLED / math.log(keep) if keep < 1.0 else math.inf
        asymptotic = width * math.sqrt(weight / (2.0 - weight)) if good else math.nan
        # Slices, because an index counted from `offsets` might be negative, and Numba looks at each.
        own, points, marks = values[offsets[i] : offsets[i + 1]], out[offsets[i] : offsets[i + 1]], flags[offsets[i] :]
        for k in range(own.shape[0]):
            x = own[k]
            if not (good and abs(x) <= VALUE_LIMIT):
                points[k, 0] = points[k, 1] = math.nan
                marks[k] = BAD
                continue
            z = keep * z + weight * ((x - centre) / sigma)
            count += 1.0
            limit = asymptotic
            if count < young:
                limit *= math.sqrt(1.0 - keep ** (2.0 * count))
            points[k, 0], points[k, 1] = z, limit
            marks[k] = ABOVE * int(z > limit) + BELOW * int(z < -limit)
        state[i, EWMA_Z], state[i, EWMA_COUNT] = z, count


@kernel
def cusum_update(state: F, parameters: F, values: F, offsets: Ints, out: F, flags: Bytes) -> None:
    """C+ = max(0, C+ + u - k), C- = max(0, C- - u - k), u = (x - centre)/sigma; ABOVE or BELOW beyond h.

    parameters (n, 4): centre, sigma, k, h, the last two in sigmas. out (total, 2): C+ and C-. The sums go on after a
    signal: whoever acts on it starts them again with zeros.
    """
    for i in range(offsets.shape[0] - 1):
        slack, limit = parameters[i, 2], parameters[i, 3]
        good = _usable(parameters, i) and 0.0 <= slack <= VALUE_LIMIT and 0.0 < limit <= VALUE_LIMIT
        upper, lower = state[i, UPPER], state[i, LOWER]
        for k in range(offsets[i], offsets[i + 1]):
            x = values[k]
            out[k, 0] = out[k, 1] = math.nan
            if not (good and abs(x) <= VALUE_LIMIT):
                flags[k] = BAD
                continue
            u = (x - parameters[i, CENTRE]) / parameters[i, SIGMA]
            upper, lower = max(0.0, upper + u - slack), max(0.0, lower - u - slack)
            out[k, 0], out[k, 1] = upper, lower
            flags[k] = (ABOVE if upper > limit else 0) | (BELOW if lower > limit else 0)
        state[i, UPPER], state[i, LOWER] = upper, lower


@kernel
def imr_limits(values: F, offsets: Ints, out: F, code: Bytes) -> None:
    """Centre and sigma of phase I: the mean and the mean moving range / d2. out (n, 3): centre, sigma, observations."""
    for i in range(offsets.shape[0] - 1):
        n, mean, ranges, last = 0.0, 0.0, 0.0, 0.0
        for k in range(offsets[i], offsets[i + 1]):
            x = values[k]
            if not abs(x) <= VALUE_LIMIT:
                continue
            if n > 0.0:
                ranges += abs(x - last)
            n += 1.0
            mean += (x - mean) / n
            last = x
        out[i, 0] = out[i, 1] = math.nan
        out[i, 2] = n
        code[i] = status.WAITING
        if n >= 2.0:
            out[i, 0], out[i, 1] = mean, ranges / (n - 1.0) / D2
            code[i] = status.OK if out[i, 1] > 0.0 else status.NOT_IDENTIFIABLE


@kernel
def cpk_update(state: F, parameters: F, values: F, offsets: Ints, out: F, code: Bytes) -> None:
    """Cpk = min(USL - mean, mean - LSL)/(3 SD) of all observations so far, with Bissell's normal interval.

    parameters (n, 3): lower and upper limit (infinite: none), normal quantile of the interval (1.96 for 95 %). out
    (n, 6): Cpk, its low and high end, mean, SD, observations. Cpk +- q sqrt(1/(9 n) + Cpk^2/(2 n - 2)).
    """
    for i in range(offsets.shape[0] - 1):
        s = state[i]
        for k in range(offsets[i], offsets[i + 1]):
            if abs(values[k]) <= VALUE_LIMIT:
                s[COUNT] += 1.0
                away = values[k] - s[MEAN]
                s[MEAN] += away / s[COUNT]
                s[M2] += away * (values[k] - s[MEAN])
        low, high, quantile, n = parameters[i, 0], parameters[i, 1], parameters[i, 2], s[COUNT]
        for j in range(6):
            out[i, j] = math.nan
        out[i, 5] = n
        if not (low < high and quantile >= 0.0 and (abs(low) <= VALUE_LIMIT or abs(high) <= VALUE_LIMIT)):
            code[i] = status.BAD_INPUT
            continue
        code[i] = status.WAITING
        if n < 2.0:
            continue
        sd = math.sqrt(max(s[M2], 0.0) / (n - 1.0))
        out[i, 3], out[i, 4] = s[MEAN], sd
        code[i] = status.NOT_IDENTIFIABLE
        # A spread below the numbers' own digits is none.
        if sd > 1e-14 * abs(s[MEAN]) and sd > 1.0 / VALUE_LIMIT:
            cpk = min(high - s[MEAN], s[MEAN] - low) / (3.0 * sd)
            half = quantile * math.sqrt(1.0 / (9.0 * n) + cpk * cpk / (2.0 * n - 2.0))
            out[i, 0], out[i, 1], out[i, 2] = cpk, cpk - half, cpk + half
            code[i] = status.OK


def warm_up() -> None:
    """Compiles with the signatures of twin/spc.py."""
    values, offsets = np.zeros(2), np.array([0, 2], dtype=np.int64)
    out, flags = np.empty((2, 2)), np.empty(2, dtype=np.uint8)
    imr_update(np.zeros((1, IMR_STATE)), np.ones((1, 2)), values, offsets, out, flags)
    ewma_update(np.zeros((1, EWMA_STATE)), np.ones((1, 5)), values, offsets, out, flags)
    cusum_update(np.zeros((1, CUSUM_STATE)), np.ones((1, 4)), values, offsets, out, flags)
    imr_limits(values, offsets, np.empty((1, 3)), flags[:1])
    bounds = np.array([[-1.0, 1.0, 1.96]])
    cpk_update(np.zeros((1, WELFORD_STATE)), bounds, values, offsets, np.empty((1, 6)), flags[:1])
