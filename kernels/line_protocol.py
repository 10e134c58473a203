"""Columns to InfluxDB line protocol bytes, many rows in one call. Bytes and arrays only: names come escaped.

    measurement,tag=value,channel=17 voltage_v=3.7012,current_a=-1 1760000000000000000\\n

Floats are written with the fewest digits that read back to the same float64 (Schubfach: R. Giulietti, "The Schubfach
way to render doubles", 2021): exact for every finite number, without a slow path. What a driver widened from float32
keeps its 16 or 17 digits, because that is what the float64 needs; nothing is rounded to please the eye.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import helper, kernel

UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]
Int = int | np.int64

# Unsigned constants: Numba (like NumPy) makes a float64 of uint64 and int64 mixed.
_U = np.uint64
_0, _1, _2, _4, _10, _32, _40, _52, _63 = (_U(v) for v in (0, 1, 2, 4, 10, 32, 40, 52, 63))
_100, _E4, _E8 = _U(100), _U(10**4), _U(10**8)
_LOW32, _FRACTION, _HIDDEN, _EXPONENT = _U(0xFFFFFFFF), _U((1 << 52) - 1), _U(1 << 52), _U(0x7FF)

_K_MIN, _K_MAX = -292, 324
_FLOAT_BYTES = 25  # "-0.0000" and 17 digits is 24
_INT_BYTES = 20
_TAIL_BYTES = 64  # ",quality=2i,code=4294967295i", blanks, time stamp, newline


def _power_table() -> tuple[UInt64Array, UInt64Array]:
    """High and low words of 10^k, k from _K_MIN to _K_MAX, as 128-bit significands rounded up."""
    high, low = [], []
    for k in range(_K_MIN, _K_MAX + 1):
        if k >= 0:
            power = 10**k
            shift = power.bit_length() - 128
            g = power << -shift if shift <= 0 else -(-power >> shift)
        else:
            power = 10**-k
            shift = power.bit_length() + 127
            g = -(-(1 << shift) // power)
            if g.bit_length() > 128:
                g = -(-(1 << (shift - 1)) // power)
        high.append(g >> 64)
        low.append(g & ((1 << 64) - 1))
    return np.array(high, np.uint64), np.array(low, np.uint64)


_G_HIGH, _G_LOW = _power_table()
_PAIRS = np.frombuffer("".join(f"{v:02d}" for v in range(100)).encode(), np.uint8).copy()
_QUALITY = np.frombuffer(b",quality=", np.uint8).copy()
_CODE = np.frombuffer(b"i,code=", np.uint8).copy()


@helper
def _multiply_high(a: np.uint64, b: np.uint64) -> np.uint64:
    """Upper 64 bits of the 128-bit product."""
    a0, a1, b0, b1 = a & _LOW32, a >> _32, b & _LOW32, b >> _32
    p01 = a0 * b1
    middle = a1 * b0 + ((a0 * b0) >> _32) + (p01 & _LOW32)
    return a1 * b1 + (middle >> _32) + (p01 >> _32)


@helper
def _round_to_odd(g_high: np.uint64, g_low: np.uint64, c: np.uint64) -> np.uint64:
    """g * c / 2^128, its lowest bit set when anything was cut off."""
    x_high = _multiply_high(g_low, c)
    y_low = g_high * c
    y_high = _multiply_high(g_high, c)
    total = y_low + x_high
    if total < x_high:
        y_high += _1
    if total > _1:
        y_high |= _1
    return y_high


@helper
def _shortest(bits: np.uint64) -> tuple[np.uint64, Int]:
    """(digits, exponent) of the shortest decimal that reads back to the finite, non-zero float64, sign ignored."""
    fraction = bits & _FRACTION
    biased = np.int64((bits >> _52) & _EXPONENT)
    if biased != 0:
        c, q = fraction | _HIDDEN, biased - 1075
    else:
        c, q = fraction, np.int64(-1074)
    lower_is_closer = fraction == _0 and biased > 1
    odd = c & _1
    cb = c * _4
    cbl = cb - _1 if lower_is_closer else cb - _2
    cbr = cb + _2
    k = (q * 1262611 - (524031 if lower_is_closer else 0)) >> 22
    h = _U(q + ((-k * 1741647) >> 19) + 1)
    g_high, g_low = _G_HIGH[-k - _K_MIN], _G_LOW[-k - _K_MIN]
    lower = _round_to_odd(g_high, g_low, cbl << h) + odd
    vb = _round_to_odd(g_high, g_low, cb << h)
    upper = _round_to_odd(g_high, g_low, cbr << h) - odd
    s = vb >> _2
    if s >= _10:
        tens = s // _10
        under = lower <= _40 * tens
        over = _40 * tens + _40 <= upper
        if under != over:
            return tens + (_1 if over else _0), k + 1
    under = lower <= _4 * s
    over = _4 * s + _4 <= upper
    if under != over:
        return s + (_1 if over else _0), k
    middle = _4 * s + _2
    up = vb > middle or (vb == middle and (s & _1) == _1)
    return s + (_1 if up else _0), k


@helper
def _count_digits(value: np.uint64) -> Int:
    """Decimal digits of value; 1 for 0."""
    n = 1
    while value >= _E4:
        value //= _E4
        n += 4
    while value >= _10:
        value //= _10
        n += 1
    return n


@helper
def _put_digits(out: UInt8Array, at: Int, value: np.uint64, count: Int) -> Int:
    """Writes the `count` digits of value from `at` on; returns the position behind them."""
    i = at + count
    while value >= _100:
        pair = np.int64(value % _100) * 2
        value //= _100
        i -= 2
        out[i], out[i + 1] = _PAIRS[pair], _PAIRS[pair + 1]
    if value >= _10:
        pair = np.int64(value) * 2
        out[i - 2], out[i - 1] = _PAIRS[pair], _PAIRS[pair + 1]
    else:
        out[i - 1] = 48 + np.int64(value)
    return at + count


@helper
def _put_int(out: UInt8Array, at: Int, value: Int) -> Int:
    """Writes a signed integer; returns the position behind it."""
    if value < 0:
        out[at] = 45
        at += 1
        magnitude = _0 - _U(value)
    else:
        magnitude = _U(value)
    return _put_digits(out, at, magnitude, _count_digits(magnitude))


@kernel
def put_float_kernel(out: UInt8Array, at: Int, bits: np.uint64) -> Int:
    """Writes a finite float64, given by its bits, into `out` from `at` on (25 bytes must be free); returns the end."""
    if bits >> _63:
        out[at] = 45
        at += 1
    magnitude = bits & ~(_1 << _63)
    if magnitude == _0:
        out[at] = 48
        return at + 1
    biased = np.int64(magnitude >> _52)
    if 1023 <= biased < 1076:  # 1 up to 2^53: whole numbers (states, counters) need no search for digits
        c = (magnitude & _FRACTION) | _HIDDEN
        shift = _U(1075 - biased)
        if (c >> shift) << shift == c:
            return _put_digits(out, at, c >> shift, _count_digits(c >> shift))
    digits, exponent = _shortest(magnitude)
    if digits % _E8 == _0:
        digits //= _E8
        exponent += 8
    if digits % _E4 == _0:
        digits //= _E4
        exponent += 4
    while digits % _10 == _0:
        digits //= _10
        exponent += 1
    count = _count_digits(digits)
    point = count + exponent  # places before the decimal point
    if -4 < point <= 0:  # 0.00ddd
        out[at], out[at + 1] = 48, 46
        at += 2
        for _ in range(-point):
            out[at] = 48
            at += 1
        return _put_digits(out, at, digits, count)
    if 0 < point < count:  # dd.ddd
        _put_digits(out, at + 1, digits, count)
        for i in range(at, at + point):
            out[i] = out[i + 1]
        out[at + point] = 46
        return at + count + 1
    if 0 < point <= 17:  # ddd000
        at = _put_digits(out, at, digits, count)
        for _ in range(exponent):
            out[at] = 48
            at += 1
        return at
    _put_digits(out, at + 1, digits, count)  # d.ddde-20
    out[at] = out[at + 1]
    if count > 1:
        out[at + 1] = 46
        at += count + 1
    else:
        at += 1
    out[at] = 101
    return _put_int(out, at + 1, point - 1)


@helper
def _copy(out: UInt8Array, at: Int, source: UInt8Array, start: Int, stop: Int) -> Int:
    for i in range(start, stop):
        out[at] = source[i]
        at += 1
    return at


@kernel
def encode_kernel(
    out: UInt8Array,
    ends: NDArray[np.int64],
    prefix: UInt8Array,
    has_point: bool,
    point: NDArray[np.int32],
    heads: UInt8Array,
    head_at: NDArray[np.int64],
    bits: UInt64Array,
    quality: UInt8Array,
    code: NDArray[np.uint32],
    extra: UInt8Array,
    extra_at: NDArray[np.int64],
    time_ns: NDArray[np.int64],
) -> Int:
    """Writes n lines to `out` and where each ends to `ends` (n,); returns the total length in bytes.

    A line is `prefix`, the point number where `has_point` (the prefix then ends in "name="), the fields, the time.
    Field j is heads[head_at[j]:head_at[j + 1]] (",name=") and bits[j, i], the bits of a float64; NaN and infinity are
    left out. A quality other than 0 adds ",quality=2i,code=...i". `extra` holds ready-made fields of row i, each with
    its comma, between extra_at[i] and extra_at[i + 1]. A row without any field gives no line. `room` says how large
    `out` must be; `encode` is the way in that checks all shapes.
    """
    fields = bits.shape[0]
    stamp = np.empty(_INT_BYTES, np.uint8)
    stamp_length: Int = 0
    stamped_ns = np.int64(0)
    at: Int = 0
    for i in range(time_ns.shape[0]):
        start = at
        at = _copy(out, at, prefix, 0, prefix.shape[0])
        if has_point:
            at = _put_int(out, at, np.int64(point[i]))
        empty = at  # a blank comes here in place of the first field's comma
        for j in range(fields):
            value = bits[j, i]
            if (value >> _52) & _EXPONENT != _EXPONENT:
                at = _copy(out, at, heads, head_at[j], head_at[j + 1])
                at = put_float_kernel(out, at, value)
        if quality[i] != 0:
            at = _copy(out, at, _QUALITY, 0, _QUALITY.shape[0])
            at = _put_int(out, at, np.int64(quality[i]))
            at = _copy(out, at, _CODE, 0, _CODE.shape[0])
            at = _put_int(out, at, np.int64(code[i]))
            out[at] = 105
            at += 1
        at = _copy(out, at, extra, extra_at[i], extra_at[i + 1])
        if at == empty:
            at = start
        else:
            out[empty] = 32
            if stamp_length == 0 or time_ns[i] != stamped_ns:
                stamped_ns = time_ns[i]
                stamp_length = _put_int(stamp, 0, stamped_ns)
            out[at] = 32
            at = _copy(out, at + 1, stamp, 0, stamp_length)
            out[at] = 10
            at += 1
        ends[i] = at
    return at


def room(rows: int, fields: int, prefix: int, heads: int, extra: int) -> int:
    """Bytes that `encode_kernel` may need for rows x fields, with `prefix`, `heads` and `extra` bytes of each."""
    return rows * (prefix + heads + fields * _FLOAT_BYTES + _TAIL_BYTES) + extra


def _fixed(array: NDArray[np.generic], dtype: type[np.generic]) -> NDArray[Any]:
    """The array as the kernel is compiled for: contiguous, of one type, read-only (Numba's types tell these apart)."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def encode(
    prefix: UInt8Array,
    has_point: bool,
    point: NDArray[np.int32],
    heads: UInt8Array,
    head_at: NDArray[np.int64],
    values: NDArray[np.float64],
    quality: UInt8Array,
    code: NDArray[np.uint32],
    extra: UInt8Array,
    extra_at: NDArray[np.int64],
    time_ns: NDArray[np.int64],
) -> tuple[UInt8Array, NDArray[np.int64]]:
    """The lines' bytes and where each row's line ends. Arguments as of `encode_kernel`, `values` (fields, n) as floats.

    ValueError where the shapes do not agree: the kernel itself would write beyond its arrays.
    """
    n, fields = len(time_ns), len(values)
    heads_fit = len(head_at) == fields + 1 and head_at[0] >= 0 and head_at[-1] <= len(heads)
    extra_fits = len(extra_at) == n + 1 and extra_at[0] >= 0 and extra_at[-1] <= len(extra)
    rows_fit = values.shape == (fields, n) and len(point) == len(quality) == len(code) == n
    if not (heads_fit and extra_fits and rows_fit):
        raise ValueError(f"shapes do not agree: {n} rows, {fields} fields")
    out = np.empty(room(n, fields, len(prefix), len(heads), len(extra)), np.uint8)
    ends = np.empty(n, np.int64)
    with np.errstate(over="ignore"):  # the same arithmetic modulo 2^64 when the kernel runs as plain Python
        size = encode_kernel(
            out,
            ends,
            _fixed(prefix, np.uint8),
            has_point,
            _fixed(point, np.int32),
            _fixed(heads, np.uint8),
            _fixed(head_at, np.int64),
            _fixed(np.ascontiguousarray(values, np.float64).view(np.uint64), np.uint64),
            _fixed(quality, np.uint8),
            _fixed(code, np.uint32),
            _fixed(extra, np.uint8),
            _fixed(extra_at, np.int64),
            _fixed(time_ns, np.int64),
        )
    return out[:size], ends


def warm_up() -> None:
    """Compiles, or loads what was compiled."""
    text, starts = np.frombuffer(b",a=", np.uint8), np.array([0, 3])
    one = np.ones(1)
    encode(text, True, one, text, starts, np.ones((1, 1)), one, one, text, starts, one)  # type: ignore[arg-type]
