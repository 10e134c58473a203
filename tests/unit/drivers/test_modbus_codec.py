"""Registers <-> values. Expected bytes are worked out by hand from IEEE 754 and the Modbus specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Group, ModbusOptions, Tag, ValueType, WordOrder
from controller.drivers.modbus_codec import (
    CODE_NOT_A_NUMBER,
    CODE_OUT_OF_RANGE,
    Decoded,
    Decoder,
    device_time_ns,
    encode,
    join_registers,
)
from controller.drivers.modbus_plan import plan_reads
from controller.errors import CommandError, ProtocolError
from controller.types import Quality

# (type, registers high word first, value). Sign, exponent and fraction written out:
GOLDEN = [
    # Modbus Application Protocol V1.1b3, 6.3: register 108 holds 022B hex, 555 decimal.
    ("uint16", "022b", 555.0),
    ("uint16", "ffff", 65535.0),
    ("int16", "ffff", -1.0),
    ("int16", "8000", -32768.0),
    ("uint32", "0001 86a0", 100_000.0),
    ("uint32", "ffff ffff", 4_294_967_295.0),
    ("int32", "fffe 7960", -100_000.0),
    ("int32", "8000 0000", -2_147_483_648.0),
    ("float32", "3f80 0000", 1.0),  # exponent 127, fraction 0
    ("float32", "c049 0000", -3.140625),  # -1.1001001b * 2^1
    ("float32", "4086 6666", 4.19999980926513671875),  # nearest to 4.2: 8808038 * 2^-21
    ("float32", "0000 0001", 2.0**-149),  # smallest subnormal
    ("float64", "3ff8 0000 0000 0000", 1.5),
    ("float64", "c00e 0000 0000 0000", -3.75),  # -1.111b * 2^1
    ("float64", "3fb9 9999 9999 999a", 0.1),
    ("bool", "0001", 1.0),
    ("bool", "0000", 0.0),
]


def decode(tags: list[Tag], data: bytes, points: int = 1, stride: int = 0, order: str = "big") -> Decoded:
    group = Group(name="g", points=points, stride=stride, point_name="p" if points > 1 else None, tag=tuple(tags))
    plan = plan_reads(ModbusOptions.model_validate({"word_order": order}), [(group, t) for t in tags])
    return Decoder(plan.columns).decode(join_registers([data], plan.registers))


def swapped(data: bytes) -> bytes:
    """Words in the opposite order, bytes within each word as they are."""
    return b"".join(data[k : k + 2] for k in range(len(data) - 2, -1, -2))


@pytest.mark.parametrize(("kind", "registers", "value"), GOLDEN)
def test_golden_registers_both_ways_and_both_orders(kind: str, registers: str, value: float) -> None:
    data = bytes.fromhex(registers)
    tag = Tag(name="x", address=0, type=ValueType(kind))
    assert decode([tag], data).columns["x"].tolist() == [value]
    assert decode([tag], swapped(data), order="little").columns["x"].tolist() == [value]
    assert encode(tag, [value], WordOrder.BIG).astype(">u2").tobytes() == data
    assert encode(tag, [value], WordOrder.LITTLE).astype(">u2").tobytes() == swapped(data)


def test_points_and_types_are_gathered_by_stride_with_scale_and_offset() -> None:
    # Two points of [int16, float32, spare]: -5 and 1.0, 250 and -2.0
    data = bytes.fromhex("fffb 3f80 0000 dead 00fa c000 0000")
    tags = [
        Tag(name="t", address=0, type=ValueType.INT16, scale=0.5, offset=-10.0),
        Tag(name="v", address=1, type=ValueType.FLOAT32),
        Tag(name="raw", address=0, type=ValueType.UINT16),
    ]
    found = decode(tags, data, points=2, stride=4)
    assert found.columns["t"].tolist() == [-12.5, 115.0]
    assert found.columns["v"].tolist() == [1.0, -2.0]
    assert found.columns["raw"].tolist() == [65531.0, 250.0]
    assert list(found.columns) == ["t", "v", "raw"], "in the equipment file's order"
    assert found.quality.tolist() == [0, 0]


def test_out_of_range_is_uncertain_and_kept_no_number_is_bad_and_nan() -> None:
    # 6.0, quiet NaN, -infinity, signalling NaN, 5.0
    data = bytes.fromhex("40c00000 7fc00000 ff800000 7fa00000 40a00000")
    tag = Tag(name="v", address=0, min=0.0, max=5.0)
    found = decode([tag], data, points=5, stride=2)
    np.testing.assert_array_equal(found.columns["v"], [6.0, np.nan, np.nan, np.nan, 5.0])
    assert found.quality.tolist() == [Quality.UNCERTAIN, Quality.BAD, Quality.BAD, Quality.BAD, Quality.GOOD]
    bad = CODE_NOT_A_NUMBER
    assert found.code.tolist() == [CODE_OUT_OF_RANGE, bad, bad, bad, 0]


def test_the_worst_tag_decides_whatever_the_order() -> None:
    good_then_bad = [Tag(name="n", address=0, type=ValueType.UINT16, max=1), Tag(name="v", address=1)]
    data = bytes.fromhex("0002 7fc00000")
    for tags in (good_then_bad, good_then_bad[::-1]):
        found = decode(tags, data)
        assert (found.quality.tolist(), found.code.tolist()) == ([Quality.BAD], [CODE_NOT_A_NUMBER])
        assert found.columns["n"].tolist() == [2.0]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=0, max_size=40), st.sampled_from(list(ValueType)), st.sampled_from(["big", "little"]))
def test_any_bytes_decode_or_are_a_protocol_error(data: bytes, kind: ValueType, order: str) -> None:
    tag = Tag(name="x", address=0, type=kind, scale=1e300, offset=-1.0, min=-2.0, max=2.0)
    try:
        found = decode([tag], data, points=2, stride=4, order=order)
    except ProtocolError:
        assert len(data) != 2 * (4 + kind.registers)
        return
    value = found.columns["x"]
    assert (np.isnan(value) == (found.quality == Quality.BAD)).all()
    assert ((found.code == 0) == (found.quality == Quality.GOOD)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(-32768, 32767), st.sampled_from([1.0, 0.1, 1e-5, -0.5, 3.0]), st.integers(-100, 100))
def test_written_counts_read_back_the_same(count: int, scale: float, offset: int) -> None:
    tag = Tag(name="x", address=0, type=ValueType.INT16, scale=scale, offset=float(offset))
    value = count * scale + offset
    data = encode(tag, [value], WordOrder.BIG).astype(">u2").tobytes()
    assert data == (count & 0xFFFF).to_bytes(2, "big")
    assert decode([tag], data).columns["x"].tolist() == [value]


@pytest.mark.parametrize(
    ("options", "value", "text"),
    [
        ({"type": "float32"}, float("nan"), "nan is not a finite number"),
        ({"type": "float32"}, float("-inf"), "-inf is not a finite number"),
        ({"type": "float32"}, 1e39, r"1e\+39 does not fit float32 with scale 1 and offset 0"),
        ({"type": "uint16"}, -1.0, "-1 does not fit uint16"),
        ({"type": "uint16"}, 65536.0, "65536 does not fit uint16"),
        ({"type": "uint16"}, 2.5, "2.5 is not a whole number, and uint16 holds nothing else"),
        ({"type": "int16", "scale": 0.1}, 3276.8, "3276.8 does not fit int16 with scale 0.1"),
        ({"type": "uint32"}, 1e300, r"1e\+300 does not fit uint32"),
        ({"type": "bool"}, 2.0, "2 does not fit bool"),
        ({"type": "float32", "min": 0.0, "unit": "A"}, -0.5, "-0.5 is below the permitted 0 A"),
        ({"type": "float32", "max": 20.0, "unit": "A"}, 20.5, "20.5 is above the permitted 20 A"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(options: dict[str, object], value: float, text: str) -> None:
    tag = Tag.model_validate({"name": "x", "address": 7, **options})
    with pytest.raises(CommandError, match=rf"tag 'x' \(register 7\): {text}"):
        encode(tag, [value], WordOrder.BIG)


def test_refusal_names_the_point() -> None:
    with pytest.raises(CommandError, match="9 for point 2 is above the permitted 5"):
        encode(Tag(name="x", address=7, max=5.0), [1.0, 9.0], WordOrder.BIG)


def test_scaled_integers_round_to_the_nearest_count() -> None:
    tag = Tag(name="x", address=0, type=ValueType.INT16, scale=0.1)
    assert encode(tag, [23.46, -23.46], WordOrder.BIG).tolist() == [[235], [65536 - 235]]


def test_device_time_is_exact_to_the_millisecond_and_zero_when_impossible() -> None:
    seconds = np.array([1_700_000_000.0, 0.0, np.nan, 4_294_967_295.0, 1_700_000_000.0, 1e300])
    ms = np.array([999.0, 5.0, 0.0, 1.0, 1000.0, 0.0])
    found = device_time_ns(seconds, ms)
    assert found.tolist() == [1_700_000_000_999_000_000, 0, 0, 4_294_967_295_001_000_000, 0, 0]
    assert device_time_ns(np.array([1.25]), None).tolist() == [1_250_000_000]
