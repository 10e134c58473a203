"""OPC UA values to columns and back: notifications, read answers, values to write. No I/O, no clock, no session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from configs.schema import Tag, ValueType
from controller.drivers import opcua_status as status
from controller.errors import CommandError
from controller.types import Float64Array, Int64Array

UInt32Array = NDArray[np.uint32]
BoolArray = NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_US = np.iinfo(np.int64).max // 1000  # year 2262, the end of int64 nanoseconds
_FLOAT32_MAX = float(np.finfo(np.float32).max)

_VARIANT = {
    ValueType.BOOL: ua.VariantType.Boolean,
    ValueType.INT16: ua.VariantType.Int16,
    ValueType.UINT16: ua.VariantType.UInt16,
    ValueType.INT32: ua.VariantType.Int32,
    ValueType.UINT32: ua.VariantType.UInt32,
    ValueType.INT64: ua.VariantType.Int64,
    ValueType.UINT64: ua.VariantType.UInt64,
    ValueType.FLOAT32: ua.VariantType.Float,
    ValueType.FLOAT64: ua.VariantType.Double,
}


@dataclass(frozen=True, slots=True)
class Notifications:
    """The data changes of one publish response as columns of length n, in the order in which the server sent them."""

    handle: Int64Array  # our client handle: the index of the desired item
    time_ns: Int64Array  # UTC nanoseconds: source time, else server time, else `now_ns`
    ours: BoolArray  # True where neither source nor server gave a time
    code: UInt32Array  # OPC UA status
    values: list[Any]  # raw values: number, list or None


def columns(items: Sequence[Any], now_ns: int) -> Notifications:
    """MonitoredItemNotifications as columns. asyncua's datetimes end at the microsecond; a tick of 100 ns is cut there.

    A DateTime of zero (1601) means "none" (OPC 10000-6, 5.2.2.5) and counts as missing, like everything before 1970.
    """
    n = len(items)
    data = [item.Value for item in items]
    time_us = _microseconds([value.SourceTimestamp for value in data])
    missing = (time_us < 0) | (time_us > _MAX_US)
    ours = np.zeros(n, dtype=np.bool_)
    time_ns = time_us * 1000
    for k in np.flatnonzero(missing).tolist():
        server_us = _microseconds([data[k].ServerTimestamp])[0]
        ours[k] = not 0 <= server_us <= _MAX_US
        time_ns[k] = now_ns if ours[k] else server_us * 1000
    return Notifications(
        handle=np.array([item.ClientHandle for item in items], dtype=np.int64),
        time_ns=time_ns,
        ours=ours,
        code=np.array([0 if v.StatusCode is None else v.StatusCode.value for v in data], dtype=np.uint32),
        values=[None if v.Value is None else v.Value.Value for v in data],
    )


def _microseconds(stamps: Sequence[datetime | None]) -> Int64Array:
    return np.array([-1 if t is None else (t - _EPOCH) // _MICROSECOND for t in stamps], dtype=np.int64)


def numeric(values: Sequence[Any], points: int) -> tuple[Float64Array, UInt32Array]:
    """Raw values as floats (n, points), and per value 0 or the status that says why its row is NaN.

    BadIndexRangeDataMismatch: an array of another length. BadTypeMismatch: not a number. None gives NaN and 0: the
    caller has the server's own status for it.
    """
    n = len(values)
    trouble = np.zeros(n, dtype=np.uint32)
    try:
        block = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        block = np.empty(0)
    if block.shape == ((n,) if points == 1 else (n, points)):
        return block.reshape(n, points), trouble
    block = np.full((n, points), np.nan)
    for k, value in enumerate(values):
        if value is None:
            continue
        try:
            one = np.asarray(value, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            trouble[k] = status.BAD_TYPE
            continue
        if one.size == points:
            block[k] = one
        else:
            trouble[k] = status.BAD_LENGTH
    return block, trouble


def decode(tag: Tag, points: int, value: Any) -> Float64Array | None:
    """The tag's values (points,) in its unit from a raw value; None when it is no number or has another length."""
    block, trouble = numeric([value], points)
    if trouble[0] or value is None:
        return None
    scaled: Float64Array = block[0] * tag.scale + tag.offset
    return scaled


def encode(tag: Tag, values: Float64Array, points: int) -> Any:
    """The Variant that writes `values` (points,) in the tag's unit; CommandError for what the type cannot hold."""
    raw = (np.asarray(values, dtype=np.float64) - tag.offset) / tag.scale
    if not np.all(np.isfinite(raw)):
        raise CommandError(f"tag '{tag.name}': {list(values)} is not a finite number", "nothing was sent")
    kind = tag.type
    plain: list[Any]
    if kind is ValueType.BOOL:
        plain = (raw != 0.0).tolist()
    elif kind in {ValueType.FLOAT32, ValueType.FLOAT64}:
        if kind is ValueType.FLOAT32:
            _check_range(tag, raw, -_FLOAT32_MAX, _FLOAT32_MAX)
        plain = raw.tolist()
    else:
        limits = np.iinfo(kind.value)
        raw = np.rint(raw)
        _check_range(tag, raw, float(limits.min), float(limits.max))
        plain = [min(int(x), int(limits.max)) for x in raw]  # 2^63 - 1 is no float; as one it would be 2^63
    if points == 1:
        return ua.Variant(plain[0], _VARIANT[kind])
    return ua.Variant(plain, _VARIANT[kind], is_array=True)


def _check_range(tag: Tag, raw: Float64Array, low: float, high: float) -> None:
    if raw.min() < low or raw.max() > high:
        worst = raw[int(np.argmax(np.maximum(raw - high, low - raw)))]
        raise CommandError(
            f"tag '{tag.name}': raw value {worst:g} does not fit {tag.type.value} ({low:g} to {high:g})",
            "nothing was sent; correct the set-point, or the tag's type, scale or offset",
        )


def data_value(variant: Any) -> Any:
    """The DataValue for a write: the value alone. Many PLCs refuse writes that carry a status or a time stamp."""
    return ua.DataValue(variant, StatusCode=None)
