"""Learnt browse paths as bytes: what fits comes back, everything else is left out with a reason, and nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drivers.opcua_memory import LARGEST, VERSION, Path, pack, unpack

PATHS: dict[str, Path] = {
    "force_n": (("urn:press", "Press"), ("urn:press", "Force")),
    "speed_m_s": (("urn:di", "DeviceSet"), ("urn:press", "Press"), ("urn:press", "Speed/fast \u00e9")),
}
ADDRESSES = {"force_n": "urn:press s=Press.Force", "speed_m_s": "urn:press i=7", "other": "urn:press i=8"}


def saved() -> bytes:
    out = pack(PATHS, ADDRESSES)
    assert out is not None
    return out


def test_what_was_learnt_comes_back() -> None:
    assert unpack(saved(), ADDRESSES) == (PATHS, "")
    assert pack(dict(reversed(PATHS.items())), ADDRESSES) == saved()


@pytest.mark.parametrize("now", [{"force_n": "urn:press s=Press.Force"}, {**ADDRESSES, "speed_m_s": "urn:press i=9"}])
def test_a_tag_with_another_address_or_none_is_left_out(now: dict[str, str]) -> None:
    paths, left = unpack(saved(), now)
    assert paths == {"force_n": PATHS["force_n"]}
    assert left == "tags of other addresses, or gone: speed_m_s"


def test_another_version_is_not_read() -> None:
    later = json.loads(saved()) | {"version": VERSION + 1}
    assert unpack(json.dumps(later).encode(), ADDRESSES) == ({}, "it is of version 2, and we read version 1")


def test_it_is_bounded() -> None:
    assert pack({"force_n": (("urn:press", "x" * LARGEST),)}, ADDRESSES) is None
    assert unpack(saved() + b" " * LARGEST, ADDRESSES) == ({}, "it is too large")


JSON = st.recursive(
    st.none() | st.integers(-2, 3) | st.text(max_size=3),
    lambda x: st.lists(x) | st.dictionaries(st.text(max_size=2), x),
)


@given(st.binary() | st.fixed_dictionaries({"version": st.just(1), "steps": JSON, "tags": JSON}))
def test_any_bytes_are_read_or_refused_in_words(strange: Any) -> None:
    bits = strange if isinstance(strange, bytes) else json.dumps(strange).encode()
    paths, left = unpack(bits, ADDRESSES)
    assert set(paths) <= set(ADDRESSES)
    assert all(isinstance(text, str) for path in paths.values() for step in path for text in step)
    assert left == "" or len(left) < 200
