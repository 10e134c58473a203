"""Registers <-> values, a whole column at a time. Pure; knows neither sockets nor time nor which blocks were read.

Bytes within a register are big-endian (Modbus Application Protocol V1.1b3, 4.2) unless the equipment turns them; the
order of registers is the plan's.
Modbus has no status per value, so rows that we judge carry codes of our own, above the one byte of its exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import ByteOrder, Tag, ValueType, WordOrder
from controller.clock import NS_PER_S
from controller.drivers.modbus_plan import Column
from controller.errors import CommandError, ProtocolError
from controller.types import Float64Array, Int64Array, Quality

Registers = NDArray[np.uint16]  # big-endian in memory, as on the wire

CODE_OUT_OF_RANGE = 0x100  # outside the tag's min and max; the value is kept, quality UNCERTAIN
CODE_NOT_A_NUMBER = 0x101  # NaN or infinity from the device; NaN in the column, quality BAD
CODE_CLOCK = 0x102  # the device's time is not believed; the row carries our clock, quality UNCERTAIN

_WIRE = {
    ValueType.BOOL: ">u2",
    ValueType.INT16: ">i2",
    ValueType.UINT16: ">u2",
    ValueType.INT32: ">i4",
    ValueType.UINT32: ">u4",
    ValueType.INT64: ">i8",
    ValueType.UINT64: ">u8",
    ValueType.FLOAT32: ">f4",
    ValueType.FLOAT64: ">f8",
}
_LAST_SECOND = 9_223_372_036.0  # beyond it nanoseconds since 1970 do not fit int64
_BELOW_A_SECOND_MS = 1000.0


def join_registers(payloads: Sequence[bytes], registers: int) -> Registers:
    """Register bytes of all blocks in plan order as one array. ProtocolError where the length is wrong."""
    data = b"".join(payloads)
    if len(data) != 2 * registers:
        raise ProtocolError(f"{len(data)} bytes of registers where {2 * registers} were asked for")
    return np.frombuffer(data, dtype=">u2")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Columns of one poll, each (points,), and the worst quality and code of each row."""

    columns: dict[str, Float64Array]
    quality: NDArray[np.uint8]
    code: NDArray[np.uint32]


class _Bundle:
    """All tags of one raw type: one gather, one conversion, one range check for all of them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        tags = [c.tag for c in columns]
        self.names = [t.name for t in tags]
        self.type = tags[0].type
        self.turned = columns[0].bytes_turned
        self.dtype = np.dtype(_WIRE[self.type])
        self.index = np.concatenate([c.index.ravel() for c in columns])
        self.scale = np.array([[t.scale] for t in tags]) if any(t.scale != 1 for t in tags) else None
        self.offset = np.array([[t.offset] for t in tags]) if any(t.offset != 0 for t in tags) else None
        self.low = np.array([[-np.inf if t.min is None else t.min] for t in tags])
        self.high = np.array([[np.inf if t.max is None else t.max] for t in tags])
        self.limited = any(t.min is not None or t.max is not None for t in tags)
        # Whole numbers cannot turn into NaN or infinity unless a scale is absurd.
        self.always_finite = self.dtype.kind != "f" and all(abs(t.scale) + abs(t.offset) < 1e200 for t in tags)

    def values(self, registers: Registers) -> Float64Array:
        """(tags, points) in the tags' units; may hold NaN and infinities."""
        words = registers.take(self.index)
        raw = (words.byteswap() if self.turned else words).view(self.dtype).astype(np.float64)
        if self.type is ValueType.BOOL:
            raw = (raw != 0).astype(np.float64)
        values = raw.reshape(len(self.names), -1)
        if self.scale is not None:
            values *= self.scale
        if self.offset is not None:
            values += self.offset
        return values


class Decoder:
    """Decodes some tags of one group, all with the same number of points."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._points = columns[0].group.points
        self._order = [c.tag.name for c in columns]
        kinds: dict[tuple[ValueType, bool], list[Column]] = {}
        for column in columns:
            kinds.setdefault((column.tag.type, column.bytes_turned), []).append(column)
        self._bundles = [_Bundle(alike) for alike in kinds.values()]

    def decode(self, registers: Registers) -> Decoded:
        """Any register contents give columns: what is no number is NaN and BAD, what is out of range is UNCERTAIN."""
        quality = np.zeros(self._points, dtype=np.uint8)
        code = np.zeros(self._points, dtype=np.uint32)
        found: dict[str, Float64Array] = {}
        # A signalling NaN sets the invalid flag when converted, a large scale may overflow: both end as NaN below.
        with np.errstate(all="ignore"):
            bundles = [(bundle, bundle.values(registers)) for bundle in self._bundles]
        for bundle, values in bundles:
            if bundle.limited:
                outside = (values < bundle.low) | (values > bundle.high)
                if outside.any():
                    rows = outside.any(axis=0) & (quality == Quality.GOOD)
                    quality[rows], code[rows] = Quality.UNCERTAIN, CODE_OUT_OF_RANGE
            if not bundle.always_finite and not (finite := np.isfinite(values)).all():
                values[~finite] = np.nan
                rows = ~finite.all(axis=0)
                quality[rows], code[rows] = Quality.BAD, CODE_NOT_A_NUMBER
            found.update(zip(bundle.names, values, strict=True))
        return Decoded({name: found[name] for name in self._order}, quality, code)


def device_time_ns(seconds: Float64Array, milliseconds: Float64Array | None) -> Int64Array:
    """UTC nanoseconds per row; 0 where the device's time cannot be a time (zero, not a number, 1000 ms and more)."""
    good = (seconds > 0) & (seconds < _LAST_SECOND)  # False for NaN
    if milliseconds is not None:
        good &= (milliseconds >= 0) & (milliseconds < _BELOW_A_SECOND_MS)
    if not good.all():
        seconds = np.where(good, seconds, 0.0)
        milliseconds = None if milliseconds is None else np.where(good, milliseconds, 0.0)
    whole = np.floor(seconds)
    rest_ns = (seconds - whole) * NS_PER_S
    if milliseconds is not None:
        rest_ns += milliseconds * 1e6
    return whole.astype(np.int64) * NS_PER_S + np.rint(rest_ns).astype(np.int64)


def encode(
    tag: Tag, values: Sequence[float], order: WordOrder, byte_order: ByteOrder = ByteOrder.BIG
) -> NDArray[np.uint16]:
    """Registers (values, registers per value), in wire order, of values in the tag's unit; its own orders go first.

    A scaled integer is rounded to the nearest count, which is the device's resolution; an unscaled one must be whole.
    Raises CommandError for what is not finite, not permitted (min, max) or does not fit the raw type.
    """
    wanted = np.asarray(values, dtype=np.float64)
    _check(tag, wanted, ~np.isfinite(wanted), "is not a finite number")
    if tag.min is not None:
        _check(tag, wanted, wanted < tag.min, f"is below the permitted {tag.min:g} {tag.unit}".rstrip())
    if tag.max is not None:
        _check(tag, wanted, wanted > tag.max, f"is above the permitted {tag.max:g} {tag.unit}".rstrip())
    with np.errstate(over="ignore"):
        raw = (wanted - tag.offset) / tag.scale
        dtype = np.dtype(_WIRE[tag.type])
        if dtype.kind == "f":
            fits = np.isfinite(raw.astype(dtype))
        else:
            counts = np.rint(raw)
            if tag.scale == 1:
                _check(tag, wanted, counts != raw, f"is not a whole number, and {tag.type.value} holds nothing else")
            info = np.iinfo(dtype)
            low, high = (0, 1) if tag.type is ValueType.BOOL else (int(info.min), int(info.max))
            fits = (counts >= low) & (counts < float(high) + 1.0)  # 2^63 - 1 is no float; as one it would be 2^63
            raw = np.where(fits, counts, 0.0)
    _check(tag, wanted, ~fits, f"does not fit {tag.type.value} with scale {tag.scale:g} and offset {tag.offset:g}")
    words = raw.astype(dtype).view(">u2").reshape(len(wanted), -1)
    if (tag.word_order or order) is WordOrder.LITTLE:
        words = words[:, ::-1]
    if (tag.byte_order or byte_order) is ByteOrder.LITTLE:
        words = words.byteswap()
    return words.astype(np.uint16)


def _check(tag: Tag, wanted: Float64Array, wrong: NDArray[np.bool_], complaint: str) -> None:
    """Raises CommandError for the first value that is wrong."""
    if wrong.any():
        k = int(np.argmax(wrong))
        which = f" for point {k + 1}" if len(wanted) > 1 else ""
        raise CommandError(
            f"tag '{tag.name}' (register {tag.address}): {wanted[k]:g}{which} {complaint}", "nothing was written"
        )
