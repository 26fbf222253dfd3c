"""The machines' Ethernet: frames reach all the others whole, and nobody can stop or flood the rest."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.vm.lan import FRAME_LIMIT_BYTES, QUEUE_LIMIT_BYTES, Lan, Port


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan() as lan:
        yield lan


def plug(lan: Lan) -> socket.socket:
    end = lan.plug()
    end.settimeout(10)
    return end


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def read_frame(end: socket.socket) -> bytes:
    return read_whole(end, int.from_bytes(read_whole(end, 4), "big"))


def read_whole(end: socket.socket, size: int) -> bytes:
    """So many bytes: with a time-out, recv(2) gives what there is, MSG_WAITALL or not."""
    data = b""
    while len(data) < size and (block := end.recv(size - len(data))):
        data += block
    return data


def test_a_frame_reaches_all_others_and_not_its_sender(lan: Lan) -> None:
    one, two, three = plug(lan), plug(lan), plug(lan)

    one.sendall(framed(b"from one"))
    two.sendall(framed(b"from two"))

    assert sorted([read_frame(three), read_frame(three)]) == [b"from one", b"from two"]
    assert read_frame(two) == b"from one"
    assert read_frame(one) == b"from two"


def test_frames_come_whole_however_they_were_cut(lan: Lan) -> None:
    one, two = plug(lan), plug(lan)
    frames = [bytes([n]) * n * 50 for n in range(1, 60)]
    data = b"".join(framed(frame) for frame in frames)

    def send() -> None:
        for start in range(0, len(data), 997):
            one.sendall(data[start : start + 997])

    thread = threading.Thread(target=send)
    thread.start()

    assert [read_frame(two) for _ in frames] == frames
    thread.join()


def test_a_machine_that_does_not_read_loses_frames_and_stops_nobody(lan: Lan) -> None:
    sender, deaf, reader = plug(lan), plug(lan), plug(lan)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frame = framed(b"x" * 60_000)

    for number in range(100):
        sender.sendall(frame)
        assert len(read_frame(reader)) == 60_000, number

    assert lan.dropped_frames > 50
    assert lan.plugged == 3


@pytest.mark.parametrize("length", [0, FRAME_LIMIT_BYTES + 1, 0xFFFFFFFF])
def test_a_machine_whose_stream_makes_no_sense_is_unplugged(lan: Lan, length: int) -> None:
    bad, one, two = plug(lan), plug(lan), plug(lan)

    bad.sendall(length.to_bytes(4, "big") + b"x" * 10)

    assert bad.recv(1) == b""
    one.sendall(framed(b"still here"))
    assert read_frame(two) == b"still here"
    assert lan.plugged == 2


def test_a_machine_that_goes_is_forgotten(lan: Lan) -> None:
    one, two, three = plug(lan), plug(lan), plug(lan)
    two.close()

    for _ in range(5):
        one.sendall(framed(b"hello"))
        assert read_frame(three) == b"hello"

    assert lan.plugged == 2


def test_leaving_unplugs_all() -> None:
    with Lan() as lan:
        one, two = plug(lan), plug(lan)
        one.sendall(framed(b"hello"))
        assert read_frame(two) == b"hello"
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert one.recv(1) == two.recv(1) == b""
    lan.close()


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.lists(st.integers(1, 500), max_size=50))
def test_whatever_the_cuts_the_frames_are_the_same(frames: list[bytes], cuts: list[int]) -> None:
    ours, other = socket.socketpair()
    with ours, other:
        port = Port(ours)
        data = b"".join(map(framed, frames))
        taken: list[bytes] = []
        for cut in [*cuts, len(data)]:
            port.received += data[:cut]
            data = data[cut:]
            taken += port.take_frames()

    assert taken == [framed(frame) for frame in frames]
    assert not port.received


def test_a_queue_is_bounded() -> None:
    ours, other = socket.socketpair()
    with ours, other:
        port = Port(ours)
        for _ in range(1000):
            port.put(b"x" * 10_000)

    assert port.queued_bytes <= QUEUE_LIMIT_BYTES
    assert port.dropped_frames > 800
