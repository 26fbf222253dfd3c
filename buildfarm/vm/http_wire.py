"""HTTP/1 heads as bytes and as values, read strictly: what could be read in two ways is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD_LIMIT_BYTES = 16 << 10
FIELD_LIMIT = 100
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    413: "Content Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
# Between two neighbours only, RFC 9110 section 7.6.1.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])")
_STATUS_LINE = re.compile(r"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,15}")

Fields = tuple[tuple[str, str], ...]


class Refused(Exception):
    """A request that is answered with an error: its status, and a text for who sent it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class BadResponse(Exception):
    """An answer from upstream that cannot be passed on."""


@dataclass(frozen=True)
class Request:
    """A request's head; ``version`` is 1.0 or 1.1."""

    method: str
    target: str
    version: str
    fields: Fields = ()

    def value(self, name: str) -> str:
        """The first field of that name, "" when there is none."""
        return _value(self.fields, name)

    @property
    def length_bytes(self) -> int:
        """The length of its body; raises Refused when it does not say so in exactly one way."""
        lengths = [value for name, value in self.fields if name.lower() == "content-length"]
        if any(name.lower() == "transfer-encoding" for name, _ in self.fields):
            if lengths:
                raise Refused(400, "both Content-Length and Transfer-Encoding")
            raise Refused(411, "a body is sent with Content-Length here")
        if not lengths:
            return 0
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise Refused(400, "no single Content-Length")
        return int(lengths[0])

    @property
    def keeps_open(self) -> bool:
        """Whether the connection is to stay open after the answer."""
        return _keeps_open(self.version, self.fields)


@dataclass(frozen=True)
class Response:
    """A response's head."""

    status: int
    reason: str
    version: str
    fields: Fields = ()

    def value(self, name: str) -> str:
        """The first field of that name, "" when there is none."""
        return _value(self.fields, name)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks; raises BadResponse for other codings, or a length as well."""
        codings = [value.strip().lower() for name, value in self.fields if name.lower() == "transfer-encoding"]
        if not codings:
            return False
        if codings != ["chunked"] or self.version == "1.0" or self.value("content-length"):
            raise BadResponse("a body framed in a way that is not understood")
        return True

    @property
    def length_bytes(self) -> int | None:
        """The length of the body, None when it does not say; raises BadResponse when it says different things."""
        lengths = {value.strip() for name, value in self.fields if name.lower() == "content-length"}
        if not lengths:
            return None
        length = lengths.pop()
        if lengths or not _LENGTH.fullmatch(length):
            raise BadResponse("no single Content-Length")
        return int(length)

    @property
    def keeps_open(self) -> bool:
        """Whether the connection stays open after the body."""
        return _keeps_open(self.version, self.fields)


def parse_request(head: bytes) -> Request:
    """The request that ``head``, its empty line included, makes; raises Refused."""
    try:
        first, fields = _split(head)
    except ValueError as error:
        raise Refused(400, str(error)) from error
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise Refused(400, "no request line of HTTP")
    method, target, version = match.groups()
    if version not in ("1.0", "1.1"):
        raise Refused(505, "version 1 of HTTP is spoken here")
    if sum(name.lower() == "host" for name, _ in fields) > 1:
        raise Refused(400, "more than one Host")
    return Request(method, target, version, fields)


def parse_response(head: bytes) -> Response:
    """The response that ``head``, its empty line included, makes; raises BadResponse."""
    try:
        first, fields = _split(head)
    except ValueError as error:
        raise BadResponse(str(error)) from error
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise BadResponse("no status line of HTTP/1")
    version, status, reason = match.groups()
    return Response(int(status), reason or "", version, fields)


def end_to_end(fields: Iterable[tuple[str, str]], *but: str) -> Fields:
    """The fields that travel on: neither hop-by-hop ones, nor those that Connection names, nor ``but``."""
    kept = tuple(fields)
    named = {
        word.strip().lower()
        for name, value in kept
        if name.lower() in ("connection", "proxy-connection")
        for word in value.split(",")
    }
    away = HOP_BY_HOP | named | set(but)
    return tuple((name, value) for name, value in kept if name.lower() not in away)


def render(first: str, fields: Sequence[tuple[str, str]]) -> bytes:
    """A head, its empty line included."""
    lines = [first, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def status_line(status: int, reason: str = "") -> str:
    """The first line of our answer."""
    return f"HTTP/1.1 {status} {reason or REASONS.get(status, 'Answer')}"


def plain_answer(
    status: int, text: str, *, keep: bool, kind: str = "text/plain; charset=utf-8"
) -> tuple[bytes, bytes]:
    """An answer of our own: its head, and its body."""
    body = text.encode("utf-8", "replace")
    fields = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Connection", "keep-alive" if keep else "close"),
    ]
    return render(status_line(status), fields), body


def _split(head: bytes) -> tuple[str, Fields]:
    text = head.decode("latin-1")
    if not text.endswith("\r\n\r\n"):
        raise ValueError("lines end with CR LF here")
    first, *lines = text[:-4].split("\r\n")
    if len(lines) > FIELD_LIMIT:
        raise ValueError(f"more than {FIELD_LIMIT} header fields")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise ValueError("a header field without a name")
        if not _VALUE.fullmatch(value):
            raise ValueError("a control character in a header field")
        fields.append((name, value.strip(" \t")))
    return first, tuple(fields)


def _value(fields: Fields, name: str) -> str:
    return next((value for key, value in fields if key.lower() == name), "")


def _keeps_open(version: str, fields: Fields) -> bool:
    words = {
        word.strip().lower()
        for name, value in fields
        if name.lower() in ("connection", "proxy-connection")
        for word in value.split(",")
    }
    return "close" not in words and (version == "1.1" or "keep-alive" in words)
