"""Heads of HTTP: whatever bytes come, they are read in one way or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.vm.http_wire import BadResponse, Refused, end_to_end, parse_request, parse_response, render

HEADS = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                b"GET ",
                b"/",
                b" HTTP/1.1",
                b"HTTP/1.1 200 OK",
                b"\r\n",
                b"\n",
                b"\r",
                b"A:",
                b" b",
                b"\0",
                b"Host: x",
            ]
        ),
        max_size=12,
    ).map(b"".join),
).map(lambda head: head + b"\r\n\r\n")


@given(HEADS)
def test_a_request_that_was_read_is_written_as_one(head: bytes) -> None:
    try:
        request = parse_request(head)
    except Refused:
        return
    written = render(f"{request.method} {request.target} HTTP/{request.version}", request.fields)
    assert parse_request(written) == request
    assert written.count(b"\r\n\r\n") == 1


@given(HEADS)
def test_a_response_that_was_read_is_written_as_one(head: bytes) -> None:
    try:
        response = parse_response(head)
    except BadResponse:
        return
    written = render(f"HTTP/{response.version} {response.status} {response.reason}", response.fields)
    assert written.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    ("version", "fields", "open_"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "connection: Keep-Alive, CLOSE\r\n", False),
        ("1.1", "Proxy-Connection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_when_a_connection_stays_open(version: str, fields: str, open_: bool) -> None:
    assert parse_request(f"GET / HTTP/{version}\r\n{fields}\r\n".encode()).keeps_open == open_


def test_neighbours_fields_stay_with_neighbours() -> None:
    fields = [("Connection", "A, b"), ("a", "1"), ("B", "2"), ("C", "3"), ("TE", "x"), ("Host", "h")]

    assert end_to_end(fields, "host") == (("C", "3"),)
