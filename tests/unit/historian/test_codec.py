"""Frames in bytes: nothing lost, also not on the short way past Arrow, and any other bytes are our error."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controller.errors import StorageError
from controller.historian.codec import _MAX_TEMPLATES, FrameDecoder, FrameEncoder, _build_schema, _write
from controller.types import Frame, FrameKind, TimeSource


def same(a: Frame, b: Frame) -> bool:
    """Equal in every bit, NaN payloads included."""
    plain = ("device", "stream", "kind", "point_name", "time_source")
    arrays = ("time_ns", "point", "quality", "code")
    return (
        all(getattr(a, k) == getattr(b, k) for k in plain)
        and all(getattr(a, k).dtype == getattr(b, k).dtype for k in arrays)
        and all(getattr(a, k).tobytes() == getattr(b, k).tobytes() for k in arrays)
        and {k: v.tobytes() for k, v in a.columns.items()} == {k: v.tobytes() for k, v in b.columns.items()}
        and list(a.columns) == list(b.columns)
        and {k: tuple(v) for k, v in a.text.items()} == {k: tuple(v) for k, v in b.text.items()}
        and dict(a.labels) == dict(b.labels)
    )


NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    n = draw(st.integers(0, 5))

    def array(dtype: type) -> np.ndarray:
        return draw(hnp.arrays(dtype, n))

    return Frame(
        device=draw(NAME),
        stream=draw(NAME),
        kind=draw(st.sampled_from(FrameKind)),
        time_ns=array(np.int64),
        point=array(np.int32),
        point_name=draw(NAME),
        columns={name: array(np.float64) for name in draw(st.lists(NAME, unique=True, max_size=4))},
        quality=array(np.uint8),
        code=array(np.uint32),
        time_source=draw(st.sampled_from(TimeSource)),
        text=draw(st.dictionaries(NAME, st.lists(NAME, min_size=n, max_size=n), max_size=2)),
        labels=draw(st.dictionaries(NAME, NAME, max_size=2)),
    )


@given(frames())
@settings(max_examples=200, deadline=None)
def test_any_frame_comes_back_bit_for_bit(frame: Frame) -> None:
    encoder = FrameEncoder()
    first, second = encoder.encode(frame), encoder.encode(frame)
    assert first == second
    decoder = FrameDecoder()
    assert same(decoder.decode(first), frame)
    assert same(decoder.decode(second), frame)


def test_the_short_way_writes_what_arrow_writes(frame) -> None:
    encoder = FrameEncoder()
    for rows in (0, 1, 3, 64):
        for k in range(4):
            f = frame(k, rows=rows)
            arrays = [f.time_ns, f.point, f.quality, f.code, *f.columns.values()]
            assert encoder.encode(f) == _write(f, arrays, _build_schema(f))
    assert all(t.head is not None for t in encoder._templates.values())


def test_the_short_way_back_gives_what_arrow_gives(frame) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for rows in (0, 1, 3, 64):
        for k in range(4):
            f = frame(k, rows=rows)
            assert same(decoder.decode(encoder.encode(f)), f)
    assert len(decoder._kinds) == 4
    assert not decoder.decode(encoder.encode(frame(9))).time_ns.flags.writeable


def test_views_and_other_types_are_stored_as_the_frame_promises(frame) -> None:
    wide = np.arange(16, dtype=np.float64).reshape(4, 4)
    f = frame(0, columns={"a": wide[:, 1], "b": [1, 2, 3, 4]}, point=np.arange(8)[::2])
    back = FrameDecoder().decode(FrameEncoder().encode(f))
    assert back.columns["a"].tolist() == [1.0, 5.0, 9.0, 13.0]
    assert back.columns["b"].dtype == np.float64
    assert back.point.tolist() == [0, 2, 4, 6]
    assert back.point.dtype == np.int32


def test_a_payload_can_be_read_without_us(frame) -> None:
    table = pa.ipc.open_stream(FrameEncoder().encode(frame(1))).read_all()
    assert table.column_names == ["time_ns", "point", "quality", "code", "voltage_v", "current_a"]
    assert table.schema.metadata[b"label.lot"] == b"CELL-0001"


def test_columns_of_different_lengths_are_refused(frame) -> None:
    with pytest.raises(StorageError, match="rack1/channel has columns of different lengths"):
        FrameEncoder().encode(frame(0, columns={"a": np.ones(3)}))


def test_memory_stays_bounded_over_many_lots(frame) -> None:
    encoder = FrameEncoder()
    for k in range(_MAX_TEMPLATES + 50):
        encoder.encode(frame(0, labels={"lot": str(k)}))
    assert len(encoder._templates) == _MAX_TEMPLATES


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_other_bytes_are_a_storage_error(payload: bytes) -> None:
    with pytest.raises(StorageError):
        FrameDecoder().decode(payload)


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 10_000))
@settings(max_examples=300, deadline=None)
def test_damaged_payloads_are_a_storage_error_or_some_frame(at: int, flip: int, cut: int) -> None:
    n = np.arange(2)
    whole = FrameEncoder().encode(
        Frame("d", "s", FrameKind.RAW, n, n.astype(np.int32), "p", {"a": n * 1.0}, n.astype("u1"), n.astype("u4"))
    )
    decoder = FrameDecoder()
    decoder.decode(whole)
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= flip
    for payload in (bytes(damaged), whole[: cut % len(whole)]):
        with suppress(StorageError):
            assert isinstance(decoder.decode(payload), Frame)
