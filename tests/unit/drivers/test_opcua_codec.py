"""OPC UA values to columns and back, against bytes of the standard's encoding where it has an opinion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Tag, ValueType
from controller.drivers import opcua_codec as codec
from controller.drivers import opcua_status as status
from controller.errors import CommandError, DeviceLostError, DeviceRefusedError, ProtocolError

NOW_NS = 1_800_000_000_000_000_000


def notification(handle: int, value: Any, source: Any = None, server: Any = None, code: int = 0) -> Any:
    data = ua.DataValue(
        ua.Variant(value), StatusCode=ua.StatusCode(code), SourceTimestamp=source, ServerTimestamp=server
    )
    return ua.MonitoredItemNotification(ClientHandle=handle, Value=data)


def test_source_time_then_server_time_then_our_clock() -> None:
    source = datetime(2026, 3, 1, 12, 0, 0, 123_457, tzinfo=UTC)
    server = datetime(2026, 3, 1, 14, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    null = datetime(1601, 1, 1, tzinfo=UTC)  # how asyncua shows a DateTime of zero
    got = codec.columns(
        [
            notification(3, 1.0, source, server),
            notification(1, 2.0, None, server),
            notification(0, 3.0, null, server),
            notification(2, None, None, None, 0x80340000),
            notification(2, 4.0, datetime(9999, 12, 31, tzinfo=UTC), null),
        ],
        NOW_NS,
    )
    second = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 10**9
    assert got.time_ns.tolist() == [second + 123_457_000, second + 10**9, second + 10**9, NOW_NS, NOW_NS]
    assert got.ours.tolist() == [False, False, False, True, True]
    assert got.handle.tolist() == [3, 1, 0, 2, 2]
    assert got.code.tolist() == [0, 0, 0, 0x80340000, 0]
    assert got.values == [1.0, 2.0, 3.0, None, 4.0]


def test_a_data_value_from_the_wire_keeps_its_time() -> None:
    """Golden bytes: encoding mask 0x05 (value, source time), Double 1.5, DateTime in ticks of 100 ns since 1601."""
    ticks = 116_444_736_000_000_000 + 1_700_000_000 * 10_000_000 + 1_234_567
    wire = b"\x05\x0b" + b"\x00\x00\x00\x00\x00\x00\xf8\x3f" + ticks.to_bytes(8, "little")
    data = struct_from_binary(ua.DataValue, Buffer(wire))
    got = codec.columns([ua.MonitoredItemNotification(ClientHandle=0, Value=data)], NOW_NS)
    assert got.time_ns.tolist() == [1_700_000_000_123_456_000]  # the last tick is below asyncua's microsecond
    assert got.values == [1.5] and got.code.tolist() == [0]


def test_numbers_of_one_shape_and_each_exception() -> None:
    block, trouble = codec.numeric([1, 2.5, True, None], 1)
    np.testing.assert_array_equal(block[:, 0], [1.0, 2.5, 1.0, np.nan])
    assert not trouble.any()
    block, trouble = codec.numeric([[1.0, 2.0], [3, 4]], 2)
    assert block.tolist() == [[1.0, 2.0], [3.0, 4.0]] and not trouble.any()
    block, trouble = codec.numeric([[1.0, 2.0], [1.0], "on", None, 7.0, [[5.0], [6.0]]], 2)
    assert trouble.tolist() == [0, status.BAD_LENGTH, status.BAD_TYPE, 0, status.BAD_LENGTH, 0]
    np.testing.assert_array_equal(block, [[1, 2], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [5, 6]])
    block, trouble = codec.numeric([[4.0], [1.0, 2.0]], 1)
    assert trouble.tolist() == [0, status.BAD_LENGTH] and block[0, 0] == 4.0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(st.lists(anything, min_size=1, max_size=6), st.integers(1, 4))
def test_any_value_becomes_a_row_or_a_reason(values: list[Any], points: int) -> None:
    block, trouble = codec.numeric(values, points)
    assert block.shape == (len(values), points) and trouble.shape == (len(values),)
    assert np.isnan(block[trouble > 0]).all()


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        (ValueType.BOOL, 1.0, "0101"),
        (ValueType.INT16, -2.0, "04feff"),
        (ValueType.UINT16, 65535.0, "05ffff"),
        (ValueType.INT32, -1.0, "06ffffffff"),
        (ValueType.UINT32, 4294967295.0, "07ffffffff"),
        (ValueType.FLOAT32, 1.5, "0a0000c03f"),
        (ValueType.FLOAT64, 1.5, "0b000000000000f83f"),
    ],
)
def test_written_values_on_the_wire(kind: ValueType, value: float, wire: str) -> None:
    """Variant encoding of OPC 10000-6, 5.2.2.16: type id, then the value little-endian; no status, no time stamp."""
    variant = codec.encode(Tag(name="x", address="s=x", type=kind), np.array([value]), 1)
    assert struct_to_binary(codec.data_value(variant)).hex() == "01" + wire


def test_scale_and_arrays_on_the_way_out_and_back() -> None:
    tag = Tag(name="x", address="s=x", type="int16", scale=0.1, offset=-5.0)
    variant = codec.encode(tag, np.array([-5.0, 0.0, 12.34]), 3)
    assert variant.Value == [0, 50, 173] and variant.is_array
    back = codec.decode(tag, 3, variant.Value)
    assert back is not None
    np.testing.assert_allclose(back, [-5.0, 0.0, 12.3])
    assert codec.decode(tag, 2, variant.Value) is None and codec.decode(tag, 1, None) is None


@pytest.mark.parametrize(("kind", "value"), [("uint16", -1), ("int16", 32768), ("float32", 1e39), ("float64", np.nan)])
def test_what_the_type_cannot_hold_is_refused_by_us(kind: str, value: float) -> None:
    with pytest.raises(CommandError, match="tag 'x'"):
        codec.encode(Tag(name="x", address="s=x", type=kind), np.array([value]), 1)


def test_errors_have_a_name_a_place_and_advice() -> None:
    lost = status.translate(TimeoutError(), "plc1 at opc.tcp://h:1: reading")
    assert isinstance(lost, DeviceLostError) and "plc1 at opc.tcp://h:1: reading: no answer in time" in str(lost)
    refused = status.translate(ua.uaerrors.BadNodeIdUnknown(), "plc1: reading")
    assert isinstance(refused, DeviceRefusedError) and refused.code == status.BAD_NODE_UNKNOWN
    assert "BadNodeIdUnknown (0x80340000)" in str(refused) and "namespace" in str(refused)
    certificate = status.translate(ua.uaerrors.BadCertificateUntrusted(), "plc1: connecting")
    assert "trust this client's certificate" in str(certificate)
    assert isinstance(status.translate(ua.uaerrors.BadSessionClosed(), "x"), DeviceLostError)
    assert isinstance(status.translate(KeyError("x"), "x"), ProtocolError)
    assert status.status_name(0x9FFF0000) == "Bad (0x9FFF0000)"
