"""The line protocol kernel against Python's own repr, and its lines against a parser written from the specification."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.line_protocol import encode as encode_lines
from kernels.line_protocol import put_float_kernel, room

_out = np.zeros(32, np.uint8)


def written(x: float) -> str:
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64, for runs without the compiler
        end = put_float_kernel(_out, 0, np.float64(x).view(np.uint64))
    assert end <= 25
    return _out[:end].tobytes().decode()


def digits(text: str) -> tuple[object, ...]:
    return tuple(Decimal(text).normalize().as_tuple())


def check(x: float) -> None:
    """Reads back to the same bits, with exactly the digits of repr (the shortest, and of those the closest)."""
    text = written(x)
    assert struct.pack("d", float(text)) == struct.pack("d", x)
    assert digits(text) == digits(repr(x))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-17.0, "-17"),
        (3.7012, "3.7012"),
        (0.1, "0.1"),
        (0.000123, "0.000123"),
        (0.00001, "1e-5"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "1.2345678901234568e20"),
        (9007199254740993.0, "9007199254740992"),
        (5e-324, "5e-324"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (float(np.float32(3.7012)), "3.701200008392334"),
    ],
)
def test_known_numbers(x: float, text: str) -> None:
    assert written(x) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=500, deadline=None)
def test_any_finite_number_reads_back_exactly(x: float) -> None:
    check(x)


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=500, deadline=None)
def test_any_finite_bit_pattern_reads_back_exactly(bits: int) -> None:
    x = struct.unpack("d", struct.pack("Q", bits))[0]
    if math.isfinite(x):
        check(x)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=300, deadline=None)
def test_what_was_a_float32_reads_back_exactly(x: float) -> None:
    check(x)


@given(st.integers(-(2**63), 2**63), st.integers(-30, 30))
@settings(max_examples=300, deadline=None)
def test_short_decimals_stay_short(units: int, exponent: int) -> None:
    check(float(f"{units % 10**9}e{exponent}"))
    check(float(units))


def test_every_power_of_two_and_its_neighbours() -> None:
    """Where the spacing of floats changes, and where a wrong entry in the table of powers would show."""
    for exponent in range(2047):
        for fraction in (0, 1, (1 << 52) - 1):
            x = struct.unpack("d", struct.pack("Q", exponent << 52 | fraction))[0]
            assert float(written(x)) == x
            assert digits(written(x)) == digits(repr(x))


def encode(
    columns: dict[str, list[float]],
    point: list[int] | None = None,
    quality: list[int] | None = None,
    code: list[int] | None = None,
    extra: list[bytes] | None = None,
    time_ns: list[int] | None = None,
) -> tuple[list[bytes], int]:
    """Lines of the rows and the length of the whole, straight from the kernel."""
    n = len(next(iter(columns.values()))) if columns else len(extra or [])
    prefix = np.frombuffer(b"m,channel=" if point else b"m", np.uint8)
    heads = [f",{k}=".encode() for k in columns]
    values = np.array(list(columns.values()), np.float64).reshape(len(columns), n)
    extra = extra or [b""] * n
    out, ends = encode_lines(
        prefix,
        bool(point),
        np.array(point or [0] * n, np.int32),
        np.frombuffer(b"".join(heads), np.uint8),
        np.cumsum([0, *map(len, heads)], dtype=np.int64),
        values,
        np.array(quality or [0] * n, np.uint8),
        np.array(code or [0] * n, np.uint32),
        np.frombuffer(b"".join(extra), np.uint8),
        np.cumsum([0, *map(len, extra)], dtype=np.int64),
        np.array(time_ns or [7] * n, np.int64),
    )
    data, stops = out.tobytes(), ends.tolist()
    return [data[a:b] for a, b in pairwise([0, *stops])], len(data)


def test_rows_points_and_times() -> None:
    lines, size = encode({"a": [1.5, 2.5], "b": [3.0, -4.0]}, point=[1, 64], time_ns=[1, -9223372036854775808])
    assert lines == [b"m,channel=1 a=1.5,b=3 1\n", b"m,channel=64 a=2.5,b=-4 -9223372036854775808\n"]
    assert size == sum(map(len, lines))


def test_values_that_are_no_numbers_are_left_out_and_so_are_rows_without_any() -> None:
    nan, inf = math.nan, math.inf
    lines, _ = encode({"a": [nan, 1.0, nan, -inf], "b": [inf, nan, 2.0, nan]}, time_ns=[5, 5, 5, 6])
    assert lines == [b"", b"m a=1 5\n", b"m b=2 5\n", b""]


def test_quality_and_code_are_told_where_they_are_not_good() -> None:
    lines, _ = encode({"a": [1.0, math.nan]}, quality=[0, 2], code=[0, 4294967295])
    assert lines == [b"m a=1 7\n", b"m quality=2i,code=4294967295i 7\n"]


def test_ready_made_fields_follow_and_can_stand_alone() -> None:
    lines, _ = encode({}, extra=[b',t="x"', b"", b',t="y",u="z"'])
    assert lines == [b'm t="x" 7\n', b"", b'm t="y",u="z" 7\n']


def test_shapes_that_do_not_agree_are_refused() -> None:
    empty, starts = np.empty(0, np.uint8), np.zeros(2, np.int64)
    one = {k: np.zeros(1, k) for k in ("u1", "u4", "i4", "i8")}
    good = [empty, False, one["i4"], empty, starts, np.ones((1, 1)), one["u1"], one["u4"], empty, starts, one["i8"]]
    encode_lines(*good)  # type: ignore[arg-type]
    for k in (2, 4, 5, 6, 7, 9, 10):
        bad = [*good[:k], np.zeros((2, 5) if k == 5 else 5, np.int64), *good[k + 1 :]]
        with pytest.raises(ValueError, match="shapes do not agree"):
            encode_lines(*bad)  # type: ignore[arg-type]


def test_no_rows_give_nothing() -> None:
    assert encode({"a": []}) == ([], 0)


def test_the_room_is_enough_for_the_longest_lines() -> None:
    longest = [-2.2250738585072014e-308, -1.7976931348623157e308, -0.00012345678901234567]
    columns = {f"c{i}": longest for i in range(40)}
    bounds = {"quality": [255] * 3, "code": [4294967295] * 3, "time_ns": [-9223372036854775808] * 3}
    lines, size = encode(columns, point=[-2147483648] * 3, **bounds)  # type: ignore[arg-type]
    assert size <= room(3, 40, len(b"m,channel="), sum(len(f",{k}=") for k in columns), 0)
    assert all(line.endswith(b" -9223372036854775808\n") for line in lines)


@given(
    st.lists(
        st.tuples(st.floats(), st.floats(), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_values_every_line_parses_back(rows: list[tuple[float, float, int, int]]) -> None:
    a, b, time_ns, point = (list(column) for column in zip(*rows, strict=True))
    lines, _ = encode({"a": a, "b": b}, point=point, time_ns=time_ns)
    for k, line in enumerate(lines):
        expected = {name: v for name, v in (("a", a[k]), ("b", b[k])) if math.isfinite(v)}
        if not expected:
            assert line == b""
            continue
        series, fields, stamp = line.decode().rstrip("\n").split(" ")
        assert series == f"m,channel={point[k]}"
        assert int(stamp) == time_ns[k]
        parsed = dict(field.split("=") for field in fields.split(","))
        assert {name: struct.pack("d", float(v)) for name, v in parsed.items()} == {
            name: struct.pack("d", v) for name, v in expected.items()
        }
