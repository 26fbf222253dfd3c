"""What a program prints is taken from between its marks, wherever the pieces that it comes in are cut."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.vm.machine import _overlap, _Stream

BEGIN, END = b"\x1e0123 begin\n", b"\x1e0123 end\n"
# Bytes of which marks are made, so that parts of marks are common.
NEARLY_MARKS = st.lists(st.sampled_from([BEGIN[:3], END[:7], END[:-1], b"\x1e", b"0123", b"x\n"])).map(b"".join)
CONTENT = st.one_of(st.binary(max_size=60), NEARLY_MARKS).filter(lambda own: END not in own and BEGIN not in own)


def pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    return [whole[start:end] for start, end in pairwise(places)]


def fed(parts: list[bytes], room: int = 1 << 20) -> tuple[_Stream, bytes, bytes]:
    sink = io.BytesIO()
    stream = _Stream(BEGIN, END, sink, room)
    own = b"".join(stream.feed(part) for part in parts)
    return stream, own, sink.getvalue()


@given(before=CONTENT, own=CONTENT, cuts=st.lists(st.integers(0, 500), max_size=8))
def test_what_lies_between_the_marks_is_the_programs_own(before: bytes, own: bytes, cuts: list[int]) -> None:
    stream, came, sunk = fed(pieces(before + BEGIN + own + END, cuts))
    assert (came, sunk) == (own, own)
    assert stream.began
    assert stream.ended


def test_marks_are_found_wherever_they_are_cut() -> None:
    whole = b"left over" + BEGIN + b"own\n" + END
    for cut in range(len(whole) + 1):
        assert fed([whole[:cut], whole[cut:]])[1] == b"own\n"
    assert fed([whole[at : at + 1] for at in range(len(whole))])[1] == b"own\n"


@given(own=CONTENT, cuts=st.lists(st.integers(0, 500), max_size=8))
def test_nothing_is_kept_back_but_what_may_be_the_end(own: bytes, cuts: list[int]) -> None:
    stream, came, _ = fed(pieces(BEGIN + own, cuts))
    assert not stream.ended
    assert own == came + bytes(stream.pending)
    assert END.startswith(bytes(stream.pending))


@given(own=CONTENT, room=st.integers(0, 80), cuts=st.lists(st.integers(0, 500), max_size=8))
def test_no_more_than_there_is_room_for_is_kept(own: bytes, room: int, cuts: list[int]) -> None:
    stream, came, sunk = fed(pieces(BEGIN + own + END, cuts), room)
    assert came == sunk == own[:room]
    assert stream.ended
    assert stream.limit_hit == (len(own) > room)


@given(st.binary(max_size=20_000))
def test_what_comes_before_the_beginning_takes_no_memory(noise: bytes) -> None:
    stream = _Stream(BEGIN, END, None)
    for part in pieces(noise.replace(BEGIN, b""), list(range(0, 20_000, 997))):
        assert stream.feed(part) == b""
        assert len(stream.pending) <= len(BEGIN)


@given(data=st.one_of(st.binary(max_size=30), NEARLY_MARKS))
def test_the_overlap_is_the_longest_beginning_of_the_mark(data: bytes) -> None:
    kept = _overlap(bytearray(data), END)
    assert data.endswith(END[:kept])
    assert not any(data.endswith(END[:more]) for more in range(kept + 1, len(END)))
