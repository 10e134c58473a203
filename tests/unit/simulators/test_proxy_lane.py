"""What the proxy does to bytes, without a socket: frames twice and late, delays in order, pieces, seeds."""

from __future__ import annotations

import struct
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.proxy.frames import FrameCutter
from simulators.proxy.kinds import NETWORK_FAULTS, Broken, Direction, check
from simulators.proxy.lane import Lane


def reply(transaction: int, value: int = 7) -> bytes:
    return struct.pack(">HHHBBBH", transaction, 0, 5, 1, 3, 2, value)


def lane(broken: Broken, connection: int = 1, strays: deque[bytes] | None = None) -> Lane:
    return Lane(broken, connection, Direction.TO_CLIENT, deque() if strays is None else strays)


def switch(broken: Broken, kind: str, on: bool = True, **settings: float | str) -> None:
    broken.switch(kind, on, NETWORK_FAULTS[kind].complete(kind, settings))


def through(which: Lane, *data: bytes, now_s: float = 0.0) -> bytes:
    return b"".join(piece.data for each in data for piece in which.take(each, now_s))


@given(st.lists(st.binary(min_size=1, max_size=40)), st.booleans())
def test_a_cutter_loses_nothing_whatever_comes(chunks: list[bytes], whole: bool) -> None:
    cutter = FrameCutter()
    out = b"".join(piece for chunk in chunks for piece, _ in cutter.feed(chunk, whole))
    assert out + cutter.flush() == b"".join(chunks)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(0, 60))
def test_frames_are_found_however_they_are_cut(sizes: list[int], from_byte: int) -> None:
    stream = b"".join(reply(k) for k in range(6))
    cutter, out, at = FrameCutter(), [], 0
    for size in [*sizes, len(stream)]:
        out += cutter.feed(stream[at : at + size], whole=at >= from_byte)
        at += size
    assert b"".join(piece for piece, _ in out) == stream
    frames = [piece for piece, complete in out if complete]
    assert all(piece in [reply(k) for k in range(6)] for piece in frames)
    if not from_byte:
        assert len(frames) == 6


def test_a_reply_comes_twice_at_once_or_after_the_next() -> None:
    broken = Broken(modbus=True)
    which = lane(broken)
    assert through(which, reply(1)) == reply(1)
    switch(broken, "net_duplicate")
    assert through(which, reply(2)[:5], reply(2)[5:]) == reply(2) * 2
    switch(broken, "net_duplicate", on=False)
    switch(broken, "net_duplicate", order="after_next")
    assert through(which, reply(3)) == reply(3)
    assert through(which, reply(4)) == reply(4) + reply(3)
    switch(broken, "net_duplicate", on=False, order="after_next")
    assert through(which, reply(5)) == reply(5) + reply(4)
    assert through(which, reply(6)) == reply(6)
    assert which.applied["net_duplicate"] == 3


@pytest.mark.parametrize(("order", "expected"), [("after", reply(2) + reply(1)), ("before", reply(1) + reply(2))])
def test_a_late_reply_comes_with_the_next(order: str, expected: bytes) -> None:
    broken = Broken(modbus=True)
    which = lane(broken)
    switch(broken, "net_late", share=1, order=order)
    assert through(which, reply(1)) == b""
    assert through(which, reply(2)) == expected
    assert through(which, reply(3)) == b""


def test_a_late_reply_is_held_only_so_long() -> None:
    broken = Broken(modbus=True)
    which = lane(broken)
    switch(broken, "net_late", share=1, hold_s=2)
    assert through(which, reply(1), now_s=10.0) == b""
    assert which.due_s == 12.0
    assert which.release(11.0) == []
    assert [(piece.due_s, piece.data) for piece in which.release(12.0)] == [(12.0, reply(1))]
    assert which.due_s is None


@pytest.mark.parametrize(("setting", "expected"), [("next", reply(1) + reply(9)), ("lost", reply(9))])
def test_a_late_reply_of_a_connection_that_ended(setting: str, expected: bytes) -> None:
    broken, strays = Broken(modbus=True), deque[bytes]()
    switch(broken, "net_late", share=1, connection=setting)
    first = lane(broken, 1, strays)
    assert through(first, reply(1)) == b""
    first.gone()
    switch(broken, "net_late", on=False, share=1, connection=setting)
    assert through(lane(broken, 2, strays), reply(9)) == expected


def test_the_same_seed_chooses_the_same_replies_and_another_connection_others() -> None:
    def chosen(seed: int, connection: int) -> list[bool]:
        broken = Broken(modbus=True, seed=seed)
        switch(broken, "net_duplicate", share=0.5)
        which = lane(broken, connection)
        return [len(through(which, reply(k))) > len(reply(k)) for k in range(40)]

    assert chosen(5, 1) == chosen(5, 1)
    assert 5 < sum(chosen(5, 1)) < 35
    assert chosen(5, 1) != chosen(5, 2)
    assert chosen(5, 1) != chosen(6, 1)


def test_delayed_pieces_stay_in_order_within_their_spread() -> None:
    broken = Broken(modbus=False)
    switch(broken, "net_delay", delay_s=0.2, jitter_s=0.1)
    which = Lane(broken, 1, Direction.TO_CLIENT)
    pieces = [which.take(bytes([k]), k * 0.01)[0] for k in range(100)]
    due = [piece.due_s for piece in pieces]
    assert due == sorted(due)
    assert all(0.1 <= d - 0.01 * k <= 0.31 for k, d in enumerate(due))
    assert len({round(d - 0.01 * k, 6) for k, d in enumerate(due)}) > 20
    switch(broken, "net_delay", on=False, delay_s=0.2, jitter_s=0.1)
    assert which.take(b"x", 0.995)[0].due_s == due[-1], "nobody overtakes"
    assert which.take(b"x", 5.0)[0].due_s == 5.0
    (end,) = which.end(False, 5.0)
    assert (end.due_s, end.data, end.reset) == (5.0, b"", False)


def steps(which: Lane, size: int) -> list[tuple[int, float]]:
    found = []
    while size and (step := which.step(size))[0]:
        found.append(step)
        size -= step[0]
    return found


def test_pieces_are_drawn_by_their_place_in_the_stream() -> None:
    def cuts(*sizes: int) -> list[int]:
        broken = Broken(modbus=False, seed=3)
        switch(broken, "net_fragment", bytes=7)
        which = Lane(broken, 1, Direction.TO_CLIENT)
        ends, at = [], 0
        for size in sizes:
            for count, pause_s in steps(which, size):
                assert 1 <= count <= 7
                assert pause_s == 0.001
                at += count
                ends.append(at)
        return ends

    whole, halves = cuts(100), cuts(50, 50)
    assert set(halves) - {50} <= set(whole)
    assert whole[-1] == halves[-1] == 100


def test_bandwidth_gives_each_byte_its_time_also_in_pieces() -> None:
    broken = Broken(modbus=False)
    switch(broken, "net_bandwidth", bytes_per_s=1000, direction="to_client")
    which = Lane(broken, 1, Direction.TO_CLIENT)
    found = steps(which, 500)
    assert {count for count, _ in found} == {50}
    assert sum(pause for _, pause in found) == pytest.approx(0.5)
    assert steps(Lane(broken, 1, Direction.TO_TARGET), 500) == [(500, 0.0)]
    switch(broken, "net_fragment", bytes=100, gap_s=0)
    found = steps(which, 1000)
    assert sum(count for count, _ in found) == 1000
    assert sum(pause for _, pause in found) == pytest.approx(1.0)


def test_a_reset_comes_after_so_many_bytes() -> None:
    broken = Broken(modbus=False)
    switch(broken, "net_reset", after_bytes=10)
    which = Lane(broken, 1, Direction.TO_CLIENT)
    assert steps(which, 7) == [(7, 0.0)]
    assert steps(which, 7) == [(3, 0.0)]
    assert which.step(4) == (0, 0.0)
    assert steps(Lane(broken, 1, Direction.TO_TARGET), 70) == [(70, 0.0)]


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        ("net_hole", {}, "nothing called 'net_hole'"),
        ("net_delay", {"delay_s": -1}, "'delay_s' is a number from 0 to 3600"),
        ("net_black_hole", {"direction": "up"}, "'direction' is both, to_target or to_client, not 'up'"),
        ("net_bandwidth", {"bytes_per_s": 0.5}, "'bytes_per_s' is a number from 1 to"),
        ("net_late", {"order": "at_once"}, "'order' is before or after"),
        ("net_duplicate", {"order": "before"}, "'order' is at_once or after_next"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: str, settings: dict[str, float | str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check(kind, settings, modbus=True)


def test_frames_need_modbus_and_every_default_can_be() -> None:
    with pytest.raises(ValueError, match="needs Modbus TCP"):
        check("net_late", {}, modbus=False)
    for kind, fault in NETWORK_FAULTS.items():
        needed = {key: 1.0 for key, setting in fault.settings.items() if setting.default is None}
        check(kind, fault.complete(kind, needed), modbus=True)
