"""Frames as line protocol: names, tags and texts survive a parser written from InfluxDB's specification."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.historian.lines import LineEncoder
from controller.types import Frame, FrameKind

Parsed = tuple[str, dict[str, str], dict[str, object], int]


def _until(text: str, at: int, stops: str) -> tuple[str, int]:
    """Unescaped token from `at` up to an unescaped character of `stops`, and that character's position."""
    out = ""
    while at < len(text) and text[at] not in stops:
        if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in ",= ":
            at += 1
        out += text[at]
        at += 1
    return out, at


def _string(text: str, at: int) -> tuple[str, int]:
    out = ""
    while text[at] != '"':
        if text[at] == "\\" and text[at + 1] in '\\"':
            at += 1
        out += text[at]
        at += 1
    return out, at + 1


def parse(line: str) -> Parsed:
    """One line of the protocol, by the rules of the InfluxDB 2 reference, independent of the encoder."""
    assert line.endswith("\n")
    line = line[:-1]
    measurement, at = _until(line, 0, ", ")
    tags: dict[str, str] = {}
    while line[at] == ",":
        name, at = _until(line, at + 1, "=")
        tags[name], at = _until(line, at + 1, ", ")
    fields: dict[str, object] = {}
    while True:
        name, at = _until(line, at + 1, "=")
        if line[at + 1] == '"':
            fields[name], at = _string(line, at + 2)
        else:
            number, at = _until(line, at + 1, ", ")
            fields[name] = int(number[:-1]) if number.endswith("i") else float(number)
        if line[at] == " ":
            return measurement, tags, fields, int(line[at + 1 :])
        assert line[at] == ","


def lines_of(frame: Frame) -> list[Parsed | None]:
    encoded = LineEncoder("a_sample").encode(frame)
    rows = [encoded.row(i).decode() for i in range(frame.rows)]
    assert "".join(rows).encode() == encoded.data
    return [parse(row) if row else None for row in rows]


def test_a_frame_of_channels(frame) -> None:
    encoded = LineEncoder("a_sample").encode(frame(2, rows=2))
    assert encoded.data.decode().splitlines() == [
        "channel,device=rack1,line=a_sample,lot=CELL-0001,channel=1 voltage_v=5,current_a=-1 1760000002000000000",
        "channel,device=rack1,line=a_sample,lot=CELL-0001,channel=2 voltage_v=5.001 1760000002000000000",
    ]


def test_records_carry_their_texts(record) -> None:
    assert lines_of(record(3)) == [
        (
            "command",
            {"device": "rack1", "line": "a_sample", "lot": "CELL-0001"},
            {"name": "start", "reason": 'an "order", no. 3\nsecond line'},
            1_760_000_003_000_000_000,
        )
    ]


def test_bad_rows_say_so_even_without_a_value(frame) -> None:
    f = frame(0, rows=2, columns={"voltage_v": np.array([np.nan, np.nan])}, quality=np.array([2, 0], np.uint8))
    f.code[0] = 7
    first, second = lines_of(f)
    assert first is not None
    assert first[2] == {"quality": 2, "code": 7}
    assert second is None


def test_an_empty_label_is_no_tag_and_a_frame_of_nothing_no_line(frame) -> None:
    (row,) = lines_of(frame(0, rows=1, labels={"lot": "", "recipe": "\\"}))
    assert row is not None
    assert set(row[1]) == {"device", "line", "channel"}
    assert LineEncoder("a").encode(frame(0, rows=0)).data == b""


NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='\\"'), min_size=1, max_size=12)
AWKWARD = st.text(st.sampled_from('a ,="\\é'), min_size=1, max_size=8).filter(
    # A name may hold backslashes, but not at its end, nor before what needs one of its own: the protocol has no way.
    lambda s: s.strip("\\") == s and not any(f"\\{c}" in s for c in '\\ ,="')
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(NAMES | AWKWARD, NAMES | AWKWARD, NAMES | AWKWARD, TEXTS, st.floats(), st.integers(0, 2**62))
@settings(max_examples=300, deadline=None)
def test_any_names_and_texts_parse_back(
    stream: str, field: str, label: str, text: str, value: float, time_ns: int
) -> None:
    frame = Frame(
        device=label,
        stream=stream,
        kind=FrameKind.RECORD,
        time_ns=np.array([time_ns], np.int64),
        point=np.array([3], np.int32),
        point_name="zone",
        columns={field: np.array([value])},
        quality=np.zeros(1, np.uint8),
        code=np.zeros(1, np.uint32),
        text={"said": (text,)},
        labels={"lot": label},
    )
    (row,) = lines_of(frame)
    expected: dict[str, object] = {"said": text}
    if math.isfinite(value):
        expected = {field: value, "said": text}
    assert row == (stream, {"device": label, "line": "a_sample", "lot": label, "zone": "3"}, expected, time_ns)


def test_the_plans_do_not_pile_up_over_months_of_lots(frame) -> None:
    encoder = LineEncoder("a")
    for k in range(1000):
        encoder.encode(frame(0, rows=1, labels={"lot": str(k)}))
    assert len(encoder._plans) <= 256
    assert b"lot=999" in encoder.encode(frame(0, rows=1, labels={"lot": "999"})).data


def test_frames_of_different_lengths_of_columns_never_reach_the_kernel(frame) -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        LineEncoder("a").encode(frame(0, columns={"a": np.ones(4), "b": np.ones(3)}))
